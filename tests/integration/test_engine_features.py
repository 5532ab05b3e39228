"""Features as results, and features in unusual places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.engine.result import JobResult
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog
from support.graphs import Graph, geojson, load, on_data, run


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    frame = gpd.GeoDataFrame(
        {
            "crop": ["maize", None],
            "area": [1.5, 2.0],
            "seen": pd.to_datetime(["2022-01-01", None]),
            "n": [1, 2],
        },
        geometry=[shapely.box(500000, 5600000, 500640, 5600640), shapely.Point(500000.25, 5600000)],
        crs=32631,
    )
    path = tmp_path / "fields.parquet"
    frame.to_parquet(path)
    return path


def saved(fields: Path, format: str | None, folder: Path) -> JobResult:
    g = Graph()
    ref = g.load_url(url=str(fields), format="Parquet")
    if format is not None:
        ref = g.save_result(data=ref, format=format)
    graph = g.result(ref)
    assert validate(graph, catalog=FakeCatalog()) == []
    return run(graph, folder)


def test_features_as_parquet_come_back_as_they_were(fields: Path, tmp_path: Path) -> None:
    (asset,) = saved(fields, "Parquet", tmp_path / "out").assets
    assert (asset.name, asset.media_type) == ("openEO.parquet", "application/vnd.apache.parquet")
    got = gpd.read_parquet(tmp_path / "out" / asset.name)
    assert_geodataframe_equal(got, gpd.read_parquet(fields), check_like=True, check_dtype=False)


@pytest.mark.parametrize("format", ["JSON", None])
def test_features_as_geojson(fields: Path, tmp_path: Path, format: str | None) -> None:
    (asset,) = saved(fields, format, tmp_path / "out").assets
    assert (asset.name, asset.media_type) == ("openEO.json", "application/geo+json")
    assert asset.bbox is not None
    document = json.loads((tmp_path / "out" / asset.name).read_text())
    assert document["features"][1]["properties"] == {
        "crop": None, "area": 2.0, "seen": None, "n": 2,
    }  # fmt: skip
    assert document["features"][0]["properties"]["seen"].startswith("2022-01-01")
    back = gpd.read_file(tmp_path / "out" / asset.name).to_crs(32631)
    assert back.distance(gpd.read_parquet(fields), align=False).max() < 1e-3


def test_features_as_csv(fields: Path, tmp_path: Path) -> None:
    saved(fields, "CSV", tmp_path / "out")
    frame = pd.read_csv(tmp_path / "out" / "openEO.csv")
    assert list(frame.columns) == ["crop", "area", "seen", "n", "geometry"]
    assert shapely.from_wkt(frame.geometry[1]) == shapely.Point(500000.25, 5600000)


@pytest.mark.parametrize("format", ["NetCDF", "GTiff"])
def test_features_do_not_fit_into_raster_formats(fields: Path, format: str) -> None:
    g = Graph()
    ref = g.save_result(data=g.load_url(url=str(fields), format="Parquet"), format=format)
    (error,) = validate(g.result(ref), catalog=FakeCatalog())
    assert error.code == "FormatUnsuitable"
    assert "features without values" in error.message


def test_a_raster_process_refuses_features(fields: Path, tmp_path: Path) -> None:
    g = Graph()
    ref: Any = g.ndvi(data=g.load_url(url=str(fields), format="Parquet"))
    with pytest.raises(OpenEOError, match="must be a data cube") as caught:
        run(g.result(ref), tmp_path)
    assert caught.value.node == ref["from_node"]


def antimeridian(shapes: list[Any]) -> dict[str, Any]:
    features = [{"type": "Feature", "properties": {}, "geometry": geojson(s)} for s in shapes]
    return {"type": "FeatureCollection", "features": features}


CUT = shapely.MultiPolygon(
    [shapely.box(179.995, -17.01, 180, -17), shapely.box(-180, -17.01, -179.995, -17)]
)


@pytest.mark.parametrize(
    "shapes",
    [
        [shapely.box(179.8, -17.01, 179.81, -17), shapely.box(-179.81, -17.01, -179.8, -17)],
        [CUT],
        [shapely.Point(179.9, -17), CUT, shapely.Point(-179.7, -17)],
    ],
)
def test_features_on_both_sides_of_the_antimeridian(tmp_path: Path, shapes: list[Any]) -> None:
    """Not in zone 31, where the bounds that go round the world have their centre."""
    g = Graph()
    cube = g.filter_spatial(data=load(g, ["B02"]), geometries=antimeridian(shapes))
    options = {"sample_by_feature": True}
    assets = run(
        g.result(g.save_result(data=cube, format="NetCDF", options=options)), tmp_path
    ).assets
    assert len(assets) == len(shapes)
    for asset, shape in zip(assets, shapes, strict=True):
        assert asset.proj_epsg in {32701, 32760}
        assert asset.proj_shape is not None
        assert max(asset.proj_shape) < 120
        assert asset.bbox is not None
        if shape is CUT:
            assert asset.bbox[0] > 179.9
            assert asset.bbox[2] < -179.9


def test_tables_across_the_antimeridian_have_close_bounds(tmp_path: Path) -> None:
    shapes = [shapely.Point(179.9, -17), shapely.Point(-179.7, -17)]
    g = Graph()
    table = g.aggregate_spatial(
        data=load(g, ["B02"]), geometries=antimeridian(shapes), reducer=on_data("mean")
    )
    (asset,) = run(g.result(g.save_result(data=table, format="JSON")), tmp_path).assets
    assert asset.bbox == pytest.approx((179.9, -17, -179.7, -17))
    values = json.loads((tmp_path / asset.name).read_text())
    assert all(row[0] is not None for rows in values.values() for row in rows)
