"""What validation refuses: nothing is read, and the node and openEO's code are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openeo_gfmap.local.engine import validate
from support.fake_source import FakeCatalog
from support.graphs import Graph, load, on_data, utm_box

PLACE = utm_box(500000, 5600000, 640, 640)
Ref = dict[str, str]


def loaded(g: Graph, **changes: Any) -> Ref:
    return load(g, ["B04", "B08"], {**PLACE, **changes})


def reduced(**element: Any) -> Callable[[Graph], Ref]:
    reducer = on_data("array_element", **element)
    return lambda g: g.reduce_dimension(data=loaded(g), dimension="bands", reducer=reducer)


def saved(g: Graph, data: Ref) -> Ref:
    return g.save_result(data=data, format="GTiff")


REFUSED: dict[str, tuple[Callable[[Graph], Ref], str, str, str]] = {
    "a CRS without a map": (
        lambda g: loaded(g, crs=4978),
        "CRSInvalid",
        "load_collection0",
        "Geocentric",
    ),
    "a CRS of heights": (
        lambda g: g.resample_spatial(data=loaded(g), resolution=10, projection=5703),
        "CRSInvalid",
        "resample_spatial1",
        "Vertical",
    ),
    "west of the antimeridian to east of it": (
        lambda g: loaded(g, west=179.9, east=-179.9, south=50, north=51, crs=4326),
        "ProcessParameterInvalid",
        "load_collection0",
        "east=180.1",
    ),
    "pixels of ten degrees": (
        lambda g: g.resample_spatial(data=loaded(g), resolution=10, projection=4326),
        "ProcessGraphComplexity",
        "load_collection0",
        "a window of",
    ),
    "a reducer that takes an unknown band": (
        reduced(label="B99"),
        "ArrayElementNotAvailable",
        "reduce_dimension1",
        "the cube has B04, B08",
    ),
    "a reducer that takes a third of two bands": (
        reduced(index=2),
        "ArrayElementNotAvailable",
        "reduce_dimension1",
        "index 2",
    ),
    "a GeoTIFF of too many dimensions": (
        lambda g: saved(g, g.add_dimension(data=loaded(g), name="run", label="a")),
        "FormatUnsuitable",
        "save_result2",
        "t, bands, run, y, x",
    ),
    "a moment before the first year": (
        lambda g: load(g, ["B04"], PLACE, ["0001-01-01T00:00:00+14:00", None]),
        "ProcessParameterInvalid",
        "load_collection0",
        "dates look like",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_code_node_and_reason(what: str) -> None:
    make, code, node, reason = REFUSED[what]
    g = Graph()
    (error,) = validate(g.result(make(g)), catalog=FakeCatalog(), memory=10**10)
    assert (error.code, error.node) == (code, node)
    assert reason in error.message


@pytest.mark.parametrize(
    "make",
    [
        reduced(label="B08"),
        reduced(index=1),
        reduced(label="B99", return_nodata=True),
        lambda g: g.resample_spatial(data=loaded(g), resolution=0.0001, projection=4326),
        lambda g: g.resample_spatial(data=loaded(g), resolution=0.5, projection=4326),
        lambda g: saved(g, g.rename_dimension(data=loaded(g), source="bands", target="b")),
        lambda g: load(g, ["B04"], PLACE, ["2022-01-01", "9999-12-31T23:59:59Z"]),
    ],
)
def test_what_looks_like_it_is_allowed(make: Callable[[Graph], Ref]) -> None:
    g = Graph()
    assert validate(g.result(make(g)), catalog=FakeCatalog(), memory=10**10) == []


@pytest.mark.parametrize("mark", ["yes", 1, [], {}])
def test_the_mark_of_the_result_is_a_truth_value(mark: Any) -> None:
    graph = {"a": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": mark}}
    (error,) = validate(graph, catalog=FakeCatalog())
    assert (error.code, error.node) == ("ProcessGraphInvalid", "a")
