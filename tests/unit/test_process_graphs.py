"""Graphs of the whole client side equal, in meaning, those that openeo-gfmap 0.4.9 made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openeo
import pytest
from pytest_httpserver import HTTPServer

from openeo_gfmap import Backend, BackendContext, BoundingBoxExtent, FetchType, TemporalContext
from openeo_gfmap.fetching import build_sentinel2_l2a_extractor
from openeo_gfmap.preprocessing import (
    bap_masking,
    get_bap_score,
    linear_interpolation,
    mask_scl_dilation,
    mean_compositing,
    median_compositing,
)
from openeo_gfmap.preprocessing.scaling import compress_uint16
from support.fake_openeo import FakeOpenEO
from support.process_graphs import canonical

BANDS = [f"S2-L2A-{name}" for name in ("B02", "B03", "B04", "B08", "B11", "B12", "SCL")]
BOX = BoundingBoxExtent(west=5.05, south=51.21, east=5.06, north=51.22)
YEAR = TemporalContext("2022-01-01", "2022-12-31")
QUINTADS = [("2022-01-01", "2022-01-05"), ("2022-01-06", "2022-01-10")]


class Maker:
    """Builds cubes as the published graphs were built."""

    def __init__(self, connection: openeo.Connection, geometries: dict[str, Any]) -> None:
        self.connection = connection
        self.geometries = geometries

    def extract(self, kind: FetchType, bands: list[str] = BANDS, **params: Any) -> openeo.DataCube:
        extractor = build_sentinel2_l2a_extractor(
            BackendContext(Backend.CDSE), bands, kind, **params
        )
        place = BOX if kind is FetchType.TILE else self.geometries
        return extractor.get_cube(self.connection, place, YEAR)

    def tile(self, **params: Any) -> openeo.DataCube:
        return self.extract(FetchType.TILE, **params)

    def patches(self, **params: Any) -> openeo.DataCube:
        return self.extract(FetchType.POLYGON, **params)

    def points(self) -> openeo.rest.vectorcube.VectorCube:
        return self.extract(FetchType.POINT).aggregate_spatial(self.geometries, reducer="mean")


def _netcdf(cube: openeo.DataCube, **options: Any) -> openeo.DataCube:
    return cube.save_result("NetCDF", options=options)


GRAPHS: dict[str, Callable[[Maker], Any]] = {
    "s2_tile": lambda m: _netcdf(m.tile()),
    "s2_tile_3035_20m": lambda m: _netcdf(m.tile(target_crs=3035, target_resolution=20)),
    "s2_tile_scl_dilation": lambda m: _netcdf(mask_scl_dilation(m.tile())),
    "s2_point_aggregate_spatial": lambda m: m.points().save_result("Parquet"),
    "s2_polygon_samplebyfeature": lambda m: _netcdf(
        m.patches(target_crs=3035), sample_by_feature=True
    ),
    "s2_polygon_cloudcover_property": lambda m: _netcdf(
        m.patches(load_collection={"eo:cloud_cover": lambda value: value <= 95.0}),
        sample_by_feature=True,
    ),
    "s2_polygon_wc_extraction": lambda m: _netcdf(
        m.patches(target_crs=32633),
        sample_by_feature=True,
        feature_id_property="sample_id",
        filename_prefix="S2-L2A-10m",
    ),
    "median_compositing_month": lambda m: _netcdf(
        median_compositing(mask_scl_dilation(m.tile()), "month")
    ),
    "mean_dekad_linear_interpolation_uint16": lambda m: _netcdf(
        compress_uint16(linear_interpolation(mean_compositing(m.tile(), "dekad")))
    ),
    "bap_score": lambda m: _netcdf(get_bap_score(m.extract(FetchType.TILE, ["S2-L2A-SCL"]))),
    "bap_masking_dekad": lambda m: _netcdf(bap_masking(m.tile(), "dekad")),
    "bap_masking_quintad": lambda m: _netcdf(bap_masking(m.tile(), QUINTADS)),
}


@pytest.fixture
def published(shared_data: Path) -> Callable[[str], dict[str, Any]]:
    folder = shared_data / "process_graphs" / "gfmap_generated"

    def load(name: str) -> dict[str, Any]:
        return json.loads((folder / f"{name}.json").read_text("utf-8"))["process_graph"]

    return load


def _find_geometries(graph: dict[str, Any]) -> dict[str, Any]:
    for node in graph.values():
        if "geometries" in node["arguments"]:
            return node["arguments"]["geometries"]
    return {}


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_means_what_the_published_one_means(
    name: str, published: Callable[[str], dict[str, Any]], httpserver: HTTPServer
) -> None:
    expected = published(name)
    maker = Maker(FakeOpenEO(httpserver).connect(), _find_geometries(expected))
    assert canonical(GRAPHS[name](maker).flat_graph()) == canonical(expected)


def test_every_published_sentinel_2_graph_is_compared(shared_data: Path) -> None:
    names = {p.stem for p in (shared_data / "process_graphs" / "gfmap_generated").glob("*.json")}
    assert names - set(GRAPHS) == {"s1_grd_tile"}
