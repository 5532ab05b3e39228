"""Processes on features without values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely

from openeo_gfmap.local.engine.callbacks import call_process
from openeo_gfmap.local.engine.features import Features
from openeo_gfmap.local.engine.registry import get_process
from openeo_gfmap.local.errors import OpenEOError

UTM = "EPSG:32631"
DENTED = shapely.Polygon([(0, 0), (100, 0), (100, 100), (50, 10), (0, 100)])
HOLLOW = shapely.box(0, 0, 90, 90).difference(shapely.box(20, 20, 70, 70))
LINE = shapely.LineString([(0, 0), (30, 0), (30, 45)])


def features(*shapes: Any, crs: str = UTM) -> Features:
    return Features(tuple(shapes), crs, tuple({"id": i} for i in range(len(shapes))))


def call(process: str, **arguments: Any) -> Features:
    made = call_process(get_process(process), arguments, None)
    assert isinstance(made, Features)
    return made


def test_buffers_keep_properties() -> None:
    made = call("vector_buffer", geometries=features(shapely.Point(5, 5), DENTED), distance=10)
    assert made.properties == ({"id": 0}, {"id": 1})
    assert made.geometries[0].area == pytest.approx(np.pi * 100, rel=0.01)
    assert made.geometries[1].contains(DENTED)
    shrunk = call("vector_buffer", geometries=features(HOLLOW), distance=-4)
    assert HOLLOW.contains(shrunk.geometries[0])


def test_a_geometry_that_vanishes_is_named() -> None:
    with pytest.raises(OpenEOError, match="1 of 2 geometries are null, empty"):
        call("vector_buffer", geometries=features(HOLLOW, DENTED), distance=-15)


@pytest.mark.parametrize("process", ["vector_buffer", "vector_to_regular_points"])
def test_metres_are_wanted(process: str) -> None:
    place = features(shapely.box(5, 50, 5.1, 50.1), crs="EPSG:4326")
    name = "geometries" if process == "vector_buffer" else "data"
    with pytest.raises(OpenEOError, match="vector_reproject") as caught:
        call(process, **{name: place}, distance=10)
    assert caught.value.code == "UnitMismatch"


def test_another_crs_and_back() -> None:
    there = call("vector_reproject", data=features(DENTED), projection=3035)
    assert there.crs == "EPSG:3035"
    back = call("vector_reproject", data=there, projection=UTM)
    assert shapely.equals_exact(back.geometries[0], DENTED, tolerance=1e-3)


@pytest.mark.parametrize(
    ("relation", "kept"),
    [("intersects", [0, 1]), ("disjoint", [2]), ("within", [0]), ("overlaps", [1])],
)
def test_features_are_kept_by_their_relation(relation: str, kept: list[int]) -> None:
    all_of_them = features(
        shapely.box(10, 10, 20, 20), shapely.box(40, 40, 60, 60), shapely.box(90, 90, 99, 99)
    )
    others = features(shapely.box(0, 0, 30, 50), shapely.box(29, 0, 50, 50))
    made = call("filter_vector", data=all_of_them, geometries=others, relation=relation)
    assert [p["id"] for p in made.properties] == kept


def test_regular_points() -> None:
    made = call("vector_to_regular_points", data=features(HOLLOW, LINE), distance=30)
    grid = {(x, y) for x in (15.0, 45.0, 75.0) for y in (15.0, 45.0, 75.0)} - {(45.0, 45.0)}
    assert {(p.x, p.y) for p in made.geometries[0].geoms} == grid
    along = [(p.x, p.y) for p in made.geometries[1].geoms]
    assert along == [(0, 0), (30, 0), (30, 30)]
    assert made.properties == ({"id": 0}, {"id": 1})
    single = call("vector_to_regular_points", data=features(HOLLOW), distance=30, group=False)
    assert {g.geom_type for g in single.geometries} == {"Point"}
    assert len(single) == len(grid)
    sliver = call("vector_to_regular_points", data=features(DENTED), distance=500)
    assert [(p.x, p.y) for p in sliver.geometries[0].geoms] == [(0, 0)]


@pytest.mark.parametrize(
    "shape", [DENTED, HOLLOW, shapely.MultiPolygon([DENTED, shapely.box(200, 0, 300, 1)])]
)
def test_random_points_lie_inside_evenly(shape: Any) -> None:
    made = call("vector_to_random_points", data=features(shape), geometry_count=4000, seed=1)
    points = shapely.get_parts(made.geometries[0])
    assert len(points) == 4000
    assert shapely.intersects(points, shape.buffer(1e-9)).all()
    left = shape.intersection(shapely.box(*shape.bounds[:2], 30, shape.bounds[3]))
    assert (shapely.get_x(points) < 30).mean() == pytest.approx(left.area / shape.area, abs=0.03)


def test_random_points_are_the_same_for_a_seed_and_counted() -> None:
    three = features(DENTED, LINE, shapely.MultiPoint([(0, 0), (1, 1)]))
    one, two = (
        call("vector_to_random_points", data=three, geometry_count=3, total_count=8, seed=5)
        for _ in range(2)
    )
    assert [len(g.geoms) for g in one.geometries] == [3, 3, 2]
    assert one.geometries == two.geometries
    assert shapely.distance(one.geometries[1], LINE) < 1e-9
    with pytest.raises(OpenEOError, match="3 geometries") as caught:
        call("vector_to_random_points", data=three, total_count=2)
    assert caught.value.code == "CountMismatch"


@pytest.mark.parametrize(
    ("process", "arguments"),
    [
        ("vector_to_regular_points", {"distance": 1e-4}),
        ("vector_to_random_points", {"geometry_count": 10**9}),
        ("vector_to_regular_points", {"distance": 0}),
        ("vector_to_random_points", {"geometry_count": 0}),
    ],
)
def test_absurd_numbers_of_points_are_refused(process: str, arguments: Any) -> None:
    with pytest.raises(OpenEOError):
        call(process, data=features(DENTED), **arguments)
