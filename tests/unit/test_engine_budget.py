"""Results that cannot fit into memory are refused before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from openeo_gfmap.local.engine import validate
from support.fake_source import FakeCatalog
from support.graphs import Graph, box_geojson, callback, load, utm_box

YEARS = ["2018-01-01", "2023-01-01"]
BANDS = ["B02", "B03", "B04", "B08"]
GB = 10**9


def by_feature(size: float, dates: Any = YEARS) -> dict[str, Any]:
    """Patches of a size in metres: one small one, and one of that size."""
    g = Graph()
    cube = load(g, BANDS, None, dates)
    shapes = box_geojson((500000, 5600000, 500640, 5600640), (5e5, 56e5, 5e5 + size, 56e5 + size))
    cube = g.filter_spatial(data=cube, geometries=shapes)
    options = {"sample_by_feature": True}
    return g.result(g.save_result(data=cube, format="NetCDF", options=options))


def dense(chunk: int | None) -> dict[str, Any]:
    g = Graph()
    cube = load(g, BANDS, utm_box(500000, 5600000, 100_000, 100_000), YEARS)
    if chunk:
        same = callback("absolute", x={"from_parameter": "data"})
        size = [{"dimension": d, "value": chunk, "unit": "px"} for d in "xy"]
        cube = g.apply_neighborhood(data=cube, size=size, process=same)
    return g.result(g.save_result(data=cube, format="NetCDF"))


def problems(graph: dict[str, Any], memory: int | None = GB) -> list[tuple[str, str | None]]:
    return [(e.code, e.node) for e in validate(graph, catalog=FakeCatalog(), memory=memory)]


def test_a_feature_that_is_too_large_is_refused_with_its_node() -> None:
    assert problems(by_feature(640)) == []
    assert problems(by_feature(20_000)) == [("ProcessGraphComplexity", "load_collection0")]
    assert problems(by_feature(20_000), 100 * GB) == []
    assert problems(by_feature(20_000), None) == []


def test_less_time_needs_less_memory() -> None:
    assert problems(by_feature(20_000, ["2022-01-01", "2022-02-01"])) == []


@pytest.mark.parametrize(("chunk", "fits"), [(None, True), (256, True), (4096, False)])
def test_a_dense_result_is_cut_but_not_its_chunks(chunk: int | None, fits: bool) -> None:
    found = problems(dense(chunk))
    assert found == [] if fits else [code for code, _ in found] == ["ProcessGraphComplexity"]
