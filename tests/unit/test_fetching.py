"""Extraction of Sentinel-2 on every back-end, in every form, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import openeo
import pytest
from pytest_httpserver import HTTPServer

from openeo_gfmap import Backend, BackendContext, BoundingBoxExtent, FetchType, TemporalContext
from openeo_gfmap.bands import BASE_SENTINEL2_L2A_MAPPING
from openeo_gfmap.errors import InputError, UnknownBand, UnsupportedBackend
from openeo_gfmap.fetching import CollectionFetcher, build_sentinel2_l2a_extractor
from openeo_gfmap.fetching.commons import (
    convert_band_names,
    load_geometries,
    rename_bands,
    resample_reproject,
)
from openeo_gfmap.sources import Product, find_source
from support.fake_openeo import FakeOpenEO
from support.process_graphs import canonical

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
BANDS = ["S2-L2A-B02", "S2-L2A-B8A", "S2-L2A-SCL"]
BOX = BoundingBoxExtent(west=5.05, south=51.21, east=5.06, north=51.22)
SUMMER = TemporalContext("2023-06-01", "2023-09-01")
PARCELS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"sample_id": "a"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[5.05, 51.21], [5.06, 51.21], [5.06, 51.22], [5.05, 51.21]]],
            },
        }
    ],
}
PLACES = {FetchType.TILE: BOX, FetchType.POINT: PARCELS, FetchType.POLYGON: PARCELS}


@pytest.fixture
def connection(httpserver: HTTPServer) -> openeo.Connection:
    return FakeOpenEO(httpserver).connect()


def extract(connection: openeo.Connection, kind: FetchType, place: Any, **params: Any) -> Any:
    extractor = build_sentinel2_l2a_extractor(Backend.CDSE, BANDS, kind, **params)
    return extractor.get_cube(connection, place, SUMMER).flat_graph()


def steps(graph: dict[str, Any]) -> list[str]:
    return [node["process_id"] for node in graph.values()]


@pytest.mark.parametrize("kind", FetchType)
@pytest.mark.parametrize("backend", Backend)
def test_golden_graph(backend: Backend, kind: FetchType, connection: openeo.Connection) -> None:
    extractor = build_sentinel2_l2a_extractor(BackendContext(backend), BANDS, kind)
    graph = extractor.get_cube(connection, PLACES[kind], SUMMER).flat_graph()
    golden = GOLDEN / f"s2_{backend.value}_{kind.value}.json"
    if os.environ.get("GFMAP_UPDATE_GOLDEN"):
        golden.write_text(json.dumps(graph, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(golden.read_text("utf-8"))
    assert canonical(graph) == canonical(expected), (
        f"differs from {golden.name}; when that is meant, run with GFMAP_UPDATE_GOLDEN=1"
    )


def test_golden_files_are_all_in_use() -> None:
    names = {f"s2_{b.value}_{k.value}.json" for b in Backend for k in FetchType}
    assert {path.name for path in GOLDEN.glob("s2_*.json")} == names


@pytest.mark.parametrize("backend", Backend)
def test_every_backend_serves_the_reference_pipelines_bands(backend: Backend) -> None:
    source = find_source(backend, Product.SENTINEL2_L2A)
    optical = [b for b in BASE_SENTINEL2_L2A_MAPPING.values() if not b.endswith(("SNW", "AOT"))]
    assert set(optical) <= set(source.bands.values())


@pytest.mark.parametrize(
    ("url", "file_format"),
    [
        ("https://store.example/a/patches_1.parquet", "Parquet"),
        ("http://127.0.0.1:8000/files/patches.parquet", "Parquet"),
        ("https://store.example/get?file=p.parquet&token=x", "Parquet"),
        ("https://store.example/PATCHES.GEOPARQUET", "Parquet"),
        ("https://store.example/patches.geojson", "GeoJSON"),
        ("https://store.example/features?f=json", "GeoJSON"),
    ],
)
def test_url_is_loaded_in_its_format(
    url: str, file_format: str, connection: openeo.Connection
) -> None:
    graph = extract(connection, FetchType.POLYGON, url)
    assert graph["loadurl1"]["arguments"] == {"url": url, "format": file_format}
    assert graph["filterspatial1"]["arguments"]["geometries"] == {"from_node": "loadurl1"}
    assert graph["loadcollection1"]["arguments"]["spatial_extent"] is None


def test_native_grid_is_left_when_no_resolution_is_asked_for(
    connection: openeo.Connection,
) -> None:
    assert "resample_spatial" not in steps(
        extract(connection, FetchType.TILE, BOX, target_resolution=None)
    )


@pytest.mark.parametrize("crs", [32631, "32631", "EPSG:32631", "epsg:32631"])
def test_target_grid(crs: int | str, connection: openeo.Connection) -> None:
    graph = extract(
        connection,
        FetchType.TILE,
        BOX,
        target_crs=crs,
        target_resolution=20,
        resampling_method="bilinear",
    )
    arguments = graph["resamplespatial1"]["arguments"]
    assert arguments["projection"] == 32631
    assert arguments["resolution"] == 20
    assert arguments["method"] == "bilinear"


def test_update_arguments_reach_the_load_node(connection: openeo.Connection) -> None:
    flags = {"featureflags": {"tilesize": 1}}
    graph = extract(connection, FetchType.TILE, BOX, update_arguments=flags)
    assert graph["loadcollection1"]["arguments"]["featureflags"] == {"tilesize": 1}


def test_mask_and_merge_come_before_the_geometries(connection: openeo.Connection) -> None:
    mask = connection.load_collection("SENTINEL2_L2A", bands=["SCL"])
    more = connection.load_collection("SENTINEL2_L2A", bands=["B12"])
    extractor = build_sentinel2_l2a_extractor(
        Backend.CDSE, BANDS, FetchType.POLYGON, pre_mask=mask, pre_merge=more
    )
    cube = extractor.get_cube(connection, PARCELS, SUMMER)
    order = [s for s in steps(cube.flat_graph()) if s in {"mask", "merge_cubes", "filter_spatial"}]
    assert order == ["mask", "mask", "merge_cubes", "filter_spatial"]
    assert cube.metadata.band_names == [*BANDS, "S2-L2A-B12"]


def test_period_and_bands_are_passed_on(connection: openeo.Connection) -> None:
    arguments = extract(connection, FetchType.TILE, BOX)["loadcollection1"]["arguments"]
    assert arguments["bands"] == ["B02", "B8A", "SCL"]
    assert arguments["temporal_extent"] == ["2023-06-01", "2023-09-01"]
    assert arguments["spatial_extent"]["crs"] == "EPSG:4326"


@pytest.mark.parametrize(
    ("kind", "place", "hint"),
    [
        (FetchType.TILE, PARCELS, "BoundingBoxExtent"),
        (FetchType.TILE, "https://store.example/a.parquet", "BoundingBoxExtent"),
        (FetchType.POLYGON, BOX, "FetchType.TILE"),
        (FetchType.POINT, BOX, "FetchType.TILE"),
        (FetchType.POLYGON, "/home/me/a.parquet", "upload_geoparquet"),
        (FetchType.POLYGON, {"type": "Polygon", "coordinates": []}, "FeatureCollection"),
        (FetchType.POLYGON, {"type": "FeatureCollection", "features": []}, "features"),
        (FetchType.POLYGON, None, "FeatureCollection"),
    ],
)
def test_wrong_place_is_refused(
    kind: FetchType, place: Any, hint: str, connection: openeo.Connection
) -> None:
    with pytest.raises(InputError, match=hint):
        extract(connection, kind, place)


@pytest.mark.parametrize(
    ("params", "hint"),
    [
        ({"target_resolutoin": 10}, "target_resolutoin"),
        ({"target_resolution": 0}, "positive"),
        ({"target_resolution": "ten"}, "positive"),
        ({"target_resolution": None, "target_crs": 3035}, "target_resolution"),
        ({"target_crs": 1}, "EPSG"),
        ({"target_crs": "UTM31"}, "EPSG"),
        ({"resampling_method": "nearest"}, "near"),
        ({"load_collection": ["eo:cloud_cover"]}, "dictionary"),
        ({"update_arguments": "x"}, "dictionary"),
        ({"pre_mask": "x"}, "DataCube"),
        ({"pre_merge": 1}, "DataCube"),
    ],
)
def test_wrong_parameter_is_refused_before_anything_is_sent(
    params: dict[str, Any], hint: str
) -> None:
    with pytest.raises(InputError, match=hint):
        build_sentinel2_l2a_extractor(Backend.CDSE, BANDS, FetchType.TILE, **params)


def test_wrong_band_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownBand, match=r"S2-L2A-B10.*S2-L2A-B01"):
        build_sentinel2_l2a_extractor(Backend.CDSE, ["S2-L2A-B10"], FetchType.TILE)


@pytest.mark.parametrize("bands", [[], "S2-L2A-B02", ["S2-L2A-B02", "S2-L2A-B02"]])
def test_unusable_band_lists_are_refused(bands: Any) -> None:
    with pytest.raises(InputError):
        build_sentinel2_l2a_extractor(Backend.CDSE, bands, FetchType.TILE)


def test_backend_and_fetch_type_by_name() -> None:
    extractor = build_sentinel2_l2a_extractor("cdse", BANDS, "tile")
    assert extractor.backend == BackendContext(Backend.CDSE)
    with pytest.raises(UnsupportedBackend, match=r"Backend\.CDSE"):
        build_sentinel2_l2a_extractor("earthengine", BANDS, "tile")
    with pytest.raises(InputError, match=r"FetchType\.TILE"):
        build_sentinel2_l2a_extractor("cdse", BANDS, "pixel")


def test_period_must_be_one_and_not_empty(connection: openeo.Connection) -> None:
    extractor = build_sentinel2_l2a_extractor(Backend.CDSE, BANDS, FetchType.TILE)
    with pytest.raises(InputError, match="TemporalContext"):
        extractor.get_cube(connection, BOX, ["2023-01-01", "2023-02-01"])
    with pytest.raises(InputError, match="empty"):
        extractor.get_cube(connection, BOX, TemporalContext("2023-01-01", "2023-01-01"))


def test_fetcher_runs_callables_of_ones_own(connection: openeo.Connection) -> None:
    seen: list[Any] = []

    def fetch(connection: Any, place: Any, period: Any, bands: Any, **params: Any) -> Any:
        seen.append((place, period, bands, params))
        return connection.load_collection("SENTINEL2_L2A", bands=["B02"])

    def harmonise(cube: openeo.DataCube, **params: Any) -> openeo.DataCube:
        seen.append(params)
        return rename_bands(cube, {"B02": "blue", "B03": "green"})

    fetcher = CollectionFetcher(Backend.CDSE, ["blue"], fetch, harmonise, speed=3)
    cube = fetcher.get_cube(connection, BOX, SUMMER)
    assert cube.metadata.band_names == ["blue"]
    assert seen == [(BOX, SUMMER, ["blue"], {"speed": 3}), {"speed": 3}]


def test_band_names_are_converted_in_the_order_asked_for() -> None:
    assert convert_band_names(["S2-L2A-SCL", "S2-L2A-B01"], BASE_SENTINEL2_L2A_MAPPING) == [
        "SCL",
        "B01",
    ]


def test_resample_reproject_checks_its_arguments(connection: openeo.Connection) -> None:
    cube = connection.load_collection("SENTINEL2_L2A")
    assert "resample_spatial" in steps(resample_reproject(cube, 10.0).flat_graph())
    for arguments in [(-1.0, None, "near"), (10.0, 99, "near"), (10.0, None, "close")]:
        with pytest.raises(InputError):
            resample_reproject(cube, *arguments)


def test_geometries_as_geojson_stay_as_they_are(connection: openeo.Connection) -> None:
    assert load_geometries(connection, PARCELS) == PARCELS
