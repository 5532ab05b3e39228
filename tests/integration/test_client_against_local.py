"""The client side against the embedded back-end, over HTTP as against any other."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import openeo
import pytest
import requests
from shapely.geometry import box

from openeo_gfmap import Backend, BoundingBoxExtent, FetchType, TemporalContext
from openeo_gfmap.backend import BACKEND_CONNECTIONS, cdse_connection, local_connection
from openeo_gfmap.fetching import build_sentinel2_l2a_extractor
from openeo_gfmap.launcher import running_server
from openeo_gfmap.preprocessing import (
    UDF_DISTANCE_TO_CLOUD,
    bap_masking,
    linear_interpolation,
    mask_scl_dilation,
    median_compositing,
)
from openeo_gfmap.preprocessing.compositing import max_ndvi_compositing
from openeo_gfmap.preprocessing.scaling import compress_uint16
from openeo_gfmap.sources import Product, find_source
from openeo_gfmap.utils import quintad_intervals, upload_geoparquet


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openeo.Connection]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("OPENEO_GFMAP_HOME", str(home))
        yield local_connection()
        server = running_server(home)
        assert server is not None
        os.kill(server.pid, signal.SIGTERM)


@pytest.fixture
def patches() -> gpd.GeoDataFrame:
    squares = [box(x, 5_600_000, x + 640, 5_600_640) for x in (500_000, 510_000)]
    return gpd.GeoDataFrame({"sample_id": ["a", "b"]}, geometry=squares, crs=32631)


def test_connection_is_logged_in_and_reaches_the_same_server(
    connection: openeo.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connection.describe_account()["user_id"]
    assert BACKEND_CONNECTIONS[Backend.LOCAL]().root_url == connection.root_url
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", "local")
    assert cdse_connection().root_url == connection.root_url


def test_collection_has_the_bands_the_source_table_names(connection: openeo.Connection) -> None:
    source = find_source(Backend.LOCAL, Product.SENTINEL2_L2A)
    served = connection.collection_metadata(source.collection_id).band_names
    assert set(source.bands) <= set(served)


def test_geometries_reach_the_workspace(
    connection: openeo.Connection, patches: gpd.GeoDataFrame, tmp_path: Path
) -> None:
    url = upload_geoparquet(patches, "jobs/patches", connection)
    copy = tmp_path / "copy.parquet"
    answer = requests.get(url, auth=connection.auth, timeout=10)
    copy.write_bytes(answer.content)
    assert gpd.read_parquet(copy).geom_equals(patches).all()


def extract(connection: openeo.Connection, kind: FetchType, place: Any) -> openeo.DataCube:
    extractor = build_sentinel2_l2a_extractor(
        Backend.LOCAL,
        list(find_source(Backend.LOCAL, Product.SENTINEL2_L2A).bands.values()),
        kind,
        target_resolution=10,
        load_collection={"eo:cloud_cover": lambda value: value <= 95.0},
    )
    return extractor.get_cube(connection, place, TemporalContext("2023-05-01", "2023-06-01"))


BOX = BoundingBoxExtent(5.05, 51.21, 5.06, 51.22)
POINTS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {},
            "geometry": {"type": "Point", "coordinates": [5.05, 51.21]},
        }
    ],
}
RESULTS: dict[str, Callable[[openeo.Connection], Any]] = {
    "tile": lambda c: extract(c, FetchType.TILE, BOX).save_result("NetCDF"),
    "point": lambda c: (
        extract(c, FetchType.POINT, POINTS)
        .aggregate_spatial(POINTS, reducer="mean")
        .save_result("Parquet")
    ),
    "masked": lambda c: mask_scl_dilation(extract(c, FetchType.TILE, BOX)).save_result("NetCDF"),
    "monthly": lambda c: compress_uint16(
        linear_interpolation(median_compositing(extract(c, FetchType.TILE, BOX), "month"))
    ).save_result("NetCDF"),
    "best of month": lambda c: bap_masking(extract(c, FetchType.TILE, BOX), "month").save_result(
        "NetCDF"
    ),
    "best of quintads": lambda c: bap_masking(
        extract(c, FetchType.TILE, BOX),
        quintad_intervals(TemporalContext("2023-05-01", "2023-05-31")),
    ).save_result("NetCDF"),
    "greenest of month": lambda c: max_ndvi_compositing(
        extract(c, FetchType.TILE, BOX), "month"
    ).save_result("NetCDF"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_graph_is_valid(name: str, connection: openeo.Connection) -> None:
    assert list(RESULTS[name](connection).validate()) == []


def test_graph_of_the_reference_pipeline_is_valid(
    connection: openeo.Connection, patches: gpd.GeoDataFrame
) -> None:
    url = upload_geoparquet(patches, "jobs/patches", connection)
    cube = extract(connection, FetchType.POLYGON, url)
    distance = cube.filter_bands(["S2-L2A-SCL"]).apply_neighborhood(
        process=openeo.UDF.from_file(UDF_DISTANCE_TO_CLOUD),
        size=[{"dimension": name, "unit": "px", "value": 256} for name in "xy"],
        overlap=[{"dimension": name, "unit": "px", "value": 16} for name in "xy"],
    )
    merged = cube.merge_cubes(distance.rename_labels("bands", ["S2-L2A-DISTANCE-TO-CLOUD"]))
    result = merged.linear_scale_range(0, 65534, 0, 65534).save_result(
        "NetCDF", options={"sample_by_feature": True}
    )
    assert list(result.validate()) == []


def test_a_proxy_is_not_asked_for_this_machine(
    connection: openeo.Connection, patches: gpd.GeoDataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nobody answers
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    direct = local_connection()
    assert direct.list_collection_ids() == ["SENTINEL2_L2A"]
    assert upload_geoparquet(patches, "behind_proxy", direct).startswith("http://127.0.0.1")
    job = direct.create_job(
        {"a": {"process_id": "add", "arguments": {"x": 3, "y": 5}, "result": True}}
    )
    job.start_and_wait(print=lambda _: None, max_poll_interval=0.2)
    (asset,) = job.get_results().get_assets()
    assert asset.load_json() == 8
