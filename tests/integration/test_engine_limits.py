"""Where values leave a cube, its limits hold: in files, in tables, and in merged cubes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog, pixel_values
from support.graphs import Graph, box_geojson, dataset, geojson, load, on_data, run, utm_box

WEST, NORTH = 500000, 5600800
DAY = np.datetime64("2022-01-06")
WIDE = (WEST, NORTH - 200, WEST + 200, NORTH)
SMALL = (WEST + 50, NORTH - 80, WEST + 90, NORTH - 50)


def values(band: str, box: tuple[int, int, int, int]) -> Any:
    west, south, east, north = box
    xx, yy = np.meshgrid(np.arange(west + 5, east, 10), np.arange(north - 5, south, -10))
    return pixel_values(band, DAY, xx, yy)


def table(graph: Graph, cube: Any, reducer: str, folder: Path, shapes: Any = None) -> Any:
    made = graph.aggregate_spatial(
        data=cube, geometries=shapes or box_geojson(WIDE), reducer=on_data(reducer)
    )
    saved = graph.save_result(data=made, format="Parquet")
    run(graph.result(saved), folder)
    return pd.read_parquet(folder / "openEO.parquet")


LIMITS = {
    "filter_spatial": lambda g: g.filter_spatial(
        data=load(g, ["B02"]), geometries=box_geojson(SMALL)
    ),
    "filter_bbox": lambda g: g.filter_bbox(
        data=load(g, ["B02"]), extent=utm_box(SMALL[0], SMALL[1], 40, 30)
    ),
    "spatial_extent": lambda g: load(g, ["B02"], utm_box(SMALL[0], SMALL[1], 40, 30)),
    "polygon as extent": lambda g: load(g, ["B02"], box_geojson(SMALL)),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_values_per_feature_keep_to_the_limit(tmp_path: Path, limit: str) -> None:
    g = Graph()
    frame = table(g, LIMITS[limit](g), "mean", tmp_path)
    np.testing.assert_allclose(frame["B02:2022-01-06"], values("B02", SMALL).mean())


def test_pixels_beyond_the_limit_are_missing_not_left_out(tmp_path: Path) -> None:
    g = Graph()
    cube = LIMITS["filter_spatial"](g)
    frame = table(g, cube, "count", tmp_path)
    assert frame["B02:2022-01-06"].tolist() == [12]
    every = g.aggregate_spatial(
        data=cube, geometries=box_geojson(WIDE), reducer=on_data("count", condition=True)
    )
    g.nodes = {k: {**v, "result": False} for k, v in g.nodes.items()}
    run(g.result(g.save_result(data=every, format="CSV")), tmp_path)
    assert pd.read_csv(tmp_path / "openEO.csv")["B02"].tolist() == [400] * 6


def test_one_filter_after_the_other_leaves_what_is_in_both(tmp_path: Path) -> None:
    g = Graph()
    left = (WEST, NORTH - 200, WEST + 70, NORTH)
    cube = g.filter_spatial(data=LIMITS["filter_spatial"](g), geometries=box_geojson(left))
    options = {"sample_by_feature": True}
    run(g.result(g.save_result(data=cube, format="NetCDF", options=options)), tmp_path)
    got = dataset(tmp_path / "openEO_0.nc")
    assert got.B02.shape == (6, 20, 7)
    seen = got.B02.sel(t=DAY).values.view("uint16")
    expected = np.full((20, 7), 65535)
    expected[5:8, 5:7] = values("B02", SMALL)[:, :2]
    np.testing.assert_array_equal(seen, expected)


def test_filters_that_do_not_meet_are_refused() -> None:
    g = Graph()
    far = box_geojson((WEST + 5000, NORTH, WEST + 5100, NORTH + 100))
    cube = g.filter_spatial(data=LIMITS["filter_spatial"](g), geometries=far)
    (error,) = validate(g.result(cube), catalog=FakeCatalog())
    assert error.code == "ProcessParameterInvalid"
    assert error.node == cube["from_node"]
    assert "do not touch" in error.message


def test_a_point_inside_a_box_is_no_empty_place(tmp_path: Path) -> None:
    g = Graph()
    point = {
        "type": "Feature",
        "properties": {},
        "geometry": geojson(shapely.Point(500065, 5600735)),
    }
    shapes = {**box_geojson(), "features": [point]}
    cube = g.filter_spatial(data=LIMITS["spatial_extent"](g), geometries=shapes)
    frame = table(g, cube, "mean", tmp_path, shapes)
    assert frame["B02:2022-01-06"].tolist() == [values("B02", SMALL)[1, 1]]


def merged(one: Any, two: Any) -> tuple[Graph, Any]:
    g = Graph()
    first = g.filter_spatial(data=load(g, ["B02"]), geometries=one)
    second = load(g, ["B04"], utm_box(WEST, NORTH - 200, 200, 200))
    if two is not None:
        second = g.filter_spatial(data=second, geometries=two)
    return g, g.merge_cubes(cube1=first, cube2=second)


@pytest.mark.parametrize("other", [None, (WEST + 80, NORTH - 200, WEST + 200, NORTH - 60)])
def test_merged_cubes_keep_to_their_own_filters(tmp_path: Path, other: Any) -> None:
    g, cube = merged(box_geojson(SMALL), other and box_geojson(other))
    run(g.result(cube), tmp_path)
    got = dataset(tmp_path / "openEO.nc").sel(t=DAY)
    xx, yy = np.meshgrid(got.x, got.y)
    for band, box in (("B02", SMALL), ("B04", other or WIDE)):
        expected = np.where(
            shapely.contains_xy(shapely.box(*box), xx, yy), pixel_values(band, DAY, xx, yy), 65535
        )
        np.testing.assert_array_equal(got[band].values.view("uint16"), expected)


def test_a_merge_keeps_features_that_both_cubes_have(tmp_path: Path) -> None:
    """Although each names them in a GeoJSON of its own, and one has a spatial_extent besides."""
    g, cube = merged(box_geojson(SMALL, WIDE), box_geojson(SMALL, WIDE))
    options = {"sample_by_feature": True}
    graph = g.result(g.save_result(data=cube, format="NetCDF", options=options))
    assets = run(graph, tmp_path).assets
    assert [(a.name, a.proj_shape) for a in assets] == [
        ("openEO_0.nc", (3, 4)), ("openEO_1.nc", (20, 20)),
    ]  # fmt: skip
    got = dataset(tmp_path / "openEO_0.nc").sel(t=DAY)
    np.testing.assert_array_equal(got.B04.values.view("uint16"), values("B04", SMALL))


@pytest.mark.parametrize("other", [None, box_geojson(WIDE)])
def test_files_by_feature_need_features_of_the_whole_cube(tmp_path: Path, other: Any) -> None:
    g, cube = merged(box_geojson(SMALL), other)
    options = {"sample_by_feature": True}
    graph = g.result(g.save_result(data=cube, format="NetCDF", options=options))
    (error,) = validate(graph, catalog=FakeCatalog())
    assert error.code == "FormatArgumentInvalid"
    assert "filter_spatial last" in error.message
    with pytest.raises(OpenEOError, match="filter_spatial last"):
        run(graph, tmp_path)


def test_a_mask_counts_for_nothing_beyond_its_own_filter(tmp_path: Path) -> None:
    g = Graph()
    data = load(g, ["B02"], utm_box(WEST, NORTH - 200, 200, 200))
    everywhere = g.apply(data=load(g, ["B04"]), process={"process_graph": {"one": {
        "process_id": "gte", "arguments": {"x": {"from_parameter": "x"}, "y": 0}, "result": True,
    }}})  # fmt: skip
    mask = g.filter_spatial(data=everywhere, geometries=box_geojson(SMALL))
    run(g.result(g.mask(data=data, mask=mask)), tmp_path)
    got = dataset(tmp_path / "openEO.nc").B02.sel(t=DAY).values.view("uint16")
    expected = values("B02", WIDE).copy()
    expected[5:8, 5:9] = 65535
    np.testing.assert_array_equal(got, expected)


def test_a_cube_whose_place_only_a_run_knows_merges_with_any_other() -> None:
    g = Graph()
    shapes = g.load_url(url="https://example.org/fields.parquet", format="Parquet")
    one = g.filter_spatial(data=load(g, ["B02"]), geometries=shapes)
    two = load(g, ["B04"], {"west": 20, "south": 50, "east": 20.1, "north": 50.1})
    graph = g.result(g.merge_cubes(cube1=one, cube2=two))
    assert validate(graph, catalog=FakeCatalog()) == []
