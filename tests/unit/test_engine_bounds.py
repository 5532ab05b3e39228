"""Short graphs that ask for far too much: refused before anything is allocated."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog
from support.graphs import Graph, callback, load, run, utm_box


def create(g: Graph) -> Any:
    return g.array_create(data=[1, 2], repeat=1e9)


def negative(g: Graph) -> Any:
    return g.array_create(data=[1, 2], repeat=-3)


def many_quantiles(g: Graph) -> Any:
    return g.quantiles(data=[1, 2, 3], probabilities=10**9)


def many_probabilities(g: Graph) -> Any:
    return g.quantiles(data=[1], probabilities=g.array_create(data=[0.5], repeat=5000))


def doubled_array(g: Graph) -> Any:
    ref = g.array_create(data=[1, 2])
    for _ in range(60):
        ref = g.array_concat(array1=ref, array2=ref)
    return ref


def doubled_text(g: Graph) -> Any:
    ref = g.text_concat(data=["ab"])
    for _ in range(60):
        ref = g.text_concat(data=[ref] * 8)
    return ref


def nested_lists(g: Graph) -> Any:
    ref = g.array_create(data=[1, 2])
    for _ in range(60):
        ref = g.array_create(data=[ref, ref])
    return ref


def text_of_lists(g: Graph) -> Any:
    return g.text_concat(data=[[1, 2], 3])


def long_separator(g: Graph) -> Any:
    long = g.text_concat(data=["x" * 500])
    return g.text_concat(data=g.array_create(data=[""], repeat=5000), separator=long)


def in_callbacks(g: Graph) -> Any:
    many = g.array_create(data=[0], repeat=50_000)
    inner = callback("array_create", data=[{"from_parameter": "x"}], repeat=50_000)
    return g.array_apply(data=many, process=inner)


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (create, "ProcessGraphComplexity", "2,000,000,000 values"),
        (negative, "ProcessParameterInvalid", "-3"),
        (many_quantiles, "ProcessParameterInvalid", "from 2 to 1000"),
        (many_probabilities, "ProcessParameterInvalid", "5000 probabilities"),
        (doubled_array, "ProcessGraphComplexity", "100,000"),
        (doubled_text, "ProcessGraphComplexity", "100,000"),
        (nested_lists, "ProcessGraphComplexity", "100,000"),
        (text_of_lists, "ProcessParameterInvalid", "not arrays"),
        (long_separator, "ProcessGraphComplexity", "2,500,000"),
        (in_callbacks, "ProcessGraphComplexity", "array_apply"),
    ],
)
def test_far_too_much_is_refused(make: Any, code: str, told: str) -> None:
    g = Graph()
    graph = g.result(make(g))
    tracemalloc.start()
    try:
        (error,) = validate(graph, catalog=FakeCatalog())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, OpenEOError)
    assert (error.code, error.node in graph) == (code, True)
    assert told in error.message
    assert len(error.message) < 500
    assert peak < 100e6


def test_large_integers_neither_wrap_around_nor_grow(tmp_path: Path) -> None:
    g = Graph()
    ref = g.multiply(x=2**40, y=2**40)
    run(g.result(ref), tmp_path)
    assert float((tmp_path / "openEO.json").read_text()) == 2.0**80
    g = Graph()
    ref = g.multiply(x=10**18, y=10**18)
    for _ in range(50):
        ref = g.multiply(x=ref, y=ref)
    assert validate(g.result(ref), catalog=FakeCatalog()) == []
    run(g.nodes, tmp_path)
    assert (tmp_path / "openEO.json").read_text() == "null"  # infinite, which JSON cannot hold


def test_geojson_may_be_as_large_as_the_request() -> None:
    ring = [[i * 1e-6, (i % 7) * 1e-9] for i in range(60_000)]
    ring += [[0.05, 1.0], ring[0]]
    g = Graph()
    ref = g.load_geojson(data={"type": "Polygon", "coordinates": [ring]})
    assert validate(g.result(ref), catalog=FakeCatalog()) == []


PLACE = utm_box(500000, 5600000, 1000, 1000)


def chunks(value: int) -> list[dict[str, Any]]:
    return [{"dimension": d, "unit": "px", "value": value} for d in ("x", "y")]


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (
            lambda g: load(g, ["B02"], {"west": 0, "south": 45, "east": 15, "north": 55}),
            "ProcessGraphComplexity",
            "more than 10,000,000,000 together",
        ),
        (
            lambda g: g.resample_spatial(data=load(g, ["B02"], PLACE), resolution=1e-6),
            "ProcessGraphComplexity",
            "pixels of 1e-06 in EPSG:32631",
        ),
        (
            lambda g: g.mask_scl_dilation(data=load(g, ["SCL"], PLACE), kernel2_size=10**7),
            "ProcessParameterInvalid",
            "is 10000000; give 0 to 1001 pixels",
        ),
        (
            lambda g: g.apply_neighborhood(
                data=load(g, ["B02"], PLACE),
                process=callback(
                    "run_udf", data={"from_parameter": "data"}, udf="", runtime="Python"
                ),
                size=chunks(256),
                overlap=chunks(10**8),
            ),
            "ProcessParameterInvalid",
            "is 100000000 pixels; give 1024 at most",
        ),
    ],
)
def test_too_many_pixels_are_refused(make: Any, code: str, told: str) -> None:
    g = Graph()
    (error,) = validate(g.result(make(g)), catalog=FakeCatalog())
    assert (error.code, error.node in g.nodes) == (code, True)
    assert told in error.message


@pytest.mark.parametrize(
    ("x", "p", "wanted"),
    [(1.5, 10**12, 1.5), (1.5, -(10**12), 0.0), (3e307, 5, 3e307), (2.25, 1, 2.2)],
)
def test_rounding_to_any_number_of_decimals(x: float, p: int, wanted: float) -> None:
    assert all_processes()["round"].function(x, p) == wanted
