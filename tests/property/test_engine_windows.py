"""Windows are independent of each other: together they give what one evaluation of all gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.engine.demands import Window
from openeo_gfmap.local.engine.evaluate import Evaluation
from openeo_gfmap.local.engine.graph import parse
from openeo_gfmap.local.engine.kernels import scl_dilation_mask
from openeo_gfmap.local.engine.loading import find_scenes
from openeo_gfmap.local.engine.meta import CubeMeta
from openeo_gfmap.local.engine.plan import Env
from openeo_gfmap.local.engine.planner import make_plan
from support.fake_source import FIRST_DAY, FakeCatalog, FakeCollection, FakeReader, pixel_values
from support.graphs import Graph, callback, load, on_data, on_x, utm_box

WEST, NORTH = 500000, 5600800
WIDTH, HEIGHT = 96, 80
PLACE = utm_box(WEST, NORTH - 10 * HEIGHT, 10 * WIDTH, 10 * HEIGHT)

BLUR = """
import numpy as np
from scipy.ndimage import uniform_filter
from openeo.udf import XarrayDataCube

def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
    values = uniform_filter(array.values.astype("float64"), (0, 0, 5, 5), mode="constant")
    return XarrayDataCube(array.copy(data=values))
"""


def evaluation(graph: dict[str, Any], collection: FakeCollection) -> tuple[Evaluation, CubeMeta]:
    parsed, errors = parse(graph)
    assert parsed is not None, errors
    env = Env(FakeCatalog(collection), fetch=Path)
    plan = make_plan(parsed, env)
    assert not plan.problems, plan.problems
    meta = plan.calls[plan.result].meta
    assert isinstance(meta, CubeMeta)
    scenes = {
        id: find_scenes(spec, [meta.grid.cover(meta.extent)], (None, None), spec.interval[1])
        for id, spec in plan.loads.items()
    }
    return Evaluation(plan, env, scenes, FakeReader(collection)), meta


def window_of(meta: CubeMeta, left: int, top: int, width: int, height: int) -> Window:
    column, row = meta.grid.position(meta.grid.cover(meta.extent))
    return Window(0, meta.grid.box(column + left, row + top, width, height), meta.extent)


def dilation(g: Graph, cube: Any) -> Any:
    return g.to_scl_dilation_mask(
        data=cube, scl_band_name="SCL", kernel1_size=5, kernel2_size=13, erosion_kernel_size=3
    )


def chain(g: Graph, cube: Any) -> Any:
    """Dilate, mask, blur with overlap, and compose by dekad: context upon context."""
    masked = g.mask_scl_dilation(data=cube, kernel1_size=5, kernel2_size=9)
    filled = g.apply(data=masked, process=_zero_for_missing())
    size = [{"dimension": d, "unit": "px", "value": 32} for d in "xy"]
    overlap = [{"dimension": d, "unit": "px", "value": 2} for d in "xy"]
    blurred = g.apply_neighborhood(data=filled, process=udf(BLUR), size=size, overlap=overlap)
    return g.aggregate_temporal_period(data=blurred, period="dekad", reducer=on_data("mean"))


def udf(code: str) -> dict[str, Any]:
    data = {"from_parameter": "data"}
    return callback("run_udf", data=data, udf=code, runtime="Python")


def _zero_for_missing() -> dict[str, Any]:
    x = {"from_parameter": "x"}
    return {
        "process_graph": {
            "n": {"process_id": "is_nan", "arguments": {"x": x}},
            "i": {
                "process_id": "if",
                "arguments": {"value": {"from_node": "n"}, "accept": 0, "reject": x},
                "result": True,
            },
        }
    }


def coarse(g: Graph, cube: Any) -> Any:
    scaled = g.resample_spatial(data=cube, resolution=30, method="bilinear")
    return g.apply(data=scaled, process=on_x("add", y=1))


def other_crs(g: Graph, cube: Any) -> Any:
    return g.resample_spatial(data=dilation(g, cube), resolution=20, projection=3035)


CHAINS = {
    "plain": lambda g, c: c,
    "dilation": dilation,
    "chain": chain,
    "coarse": coarse,
    "other crs": other_crs,
    "merged": lambda g, c: g.merge_cubes(cube1=c, cube2=dilation(g, c)),
}


@pytest.mark.parametrize("name", CHAINS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_window_is_a_cut_of_the_whole(name: str, data: st.DataObject) -> None:
    collection = FakeCollection(count=3)
    g = Graph()
    graph = g.result(CHAINS[name](g, load(g, ["B02", "B11", "SCL"], PLACE)))
    work, meta = evaluation(graph, collection)
    height, width = meta.grid.cover(meta.extent).shape
    left = data.draw(st.integers(0, width - 1))
    top = data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    whole = work.window(window_of(meta, 0, 0, width, height))
    part = work.window(window_of(meta, left, top, right - left, bottom - top))
    assert part.geobox == whole.geobox[top:bottom, left:right]
    expected = whole.as_float().data[..., top:bottom, left:right]
    # A summed-up blur differs in the last bits with where the sums start.
    np.testing.assert_allclose(part.as_float().data, expected, rtol=1e-6, atol=1e-6)


def test_context_of_the_mask_comes_from_beyond_the_window() -> None:
    """The mask of a window is a cut of the mask of a much larger scene."""
    collection = FakeCollection(count=6)
    g = Graph()
    work, meta = evaluation(g.result(dilation(g, load(g, ["SCL", "B02"], PLACE))), collection)
    got = work.window(window_of(meta, 40, 30, 20, 10))
    assert got.labels["bands"].tolist() == ["SCL_DILATED_MASK"]
    margin = 60
    x = WEST + 10 * (np.arange(40 - margin, 60 + margin) + 0.5)
    y = NORTH - 10 * (np.arange(30 - margin, 40 + margin) + 0.5)
    xx, yy = np.meshgrid(x, y)
    for i, day in enumerate(got.labels["t"]):
        scene = pixel_values("SCL", day, xx, yy)
        expected = scl_dilation_mask(scene, None, 5, 13, erosion_kernel_size=3)
        cut = expected[margin:-margin, margin:-margin]
        np.testing.assert_array_equal(got.data[i, 0], cut)
    assert 0.1 < got.data.mean() < 0.9


def test_only_what_a_process_needs_is_read_with_context() -> None:
    """All bands for the window, and the classes with the reach of the kernels around it."""
    collection = FakeCollection(count=2)
    g = Graph()
    cube = load(g, ["B02", "B11", "SCL"], PLACE)
    merged = g.merge_cubes(cube1=cube, cube2=dilation(g, cube))
    work, meta = evaluation(g.result(merged), collection)
    reader = FakeReader(collection)
    Evaluation(work.plan, work.env, work.scenes, reader).window(window_of(meta, 16, 16, 32, 32))
    context = 32 + 2 * (13 // 2 + 3 // 2)
    assert reader.reads == [(("B02", "B11"), (32, 32)), (("SCL",), (context, context))]


def test_bands_and_dates_that_nobody_wants_are_not_read() -> None:
    collection = FakeCollection(count=6)
    g = Graph()
    cube = g.rename_labels(
        data=load(g, ["B02", "B03", "B04"], PLACE), dimension="bands", target=["a", "b", "c"]
    )
    cube = g.filter_temporal(data=cube, extent=["2022-01-05", "2022-01-12"])
    cube = g.filter_bands(data=g.apply(data=cube, process=on_x("add", y=0)), bands=["c", "a"])
    work, meta = evaluation(g.result(cube), collection)
    got = work.window(window_of(meta, 0, 0, 8, 8))
    assert got.labels["bands"].tolist() == ["c", "a"]
    assert [str(t)[:10] for t in got.labels["t"]] == ["2022-01-06", "2022-01-11"]
    assert isinstance(work.reader, FakeReader)
    assert work.reader.reads == [(("B02", "B04"), (8, 8))]
    day = np.datetime64(FIRST_DAY.date()) + np.timedelta64(5, "D")
    xx, yy = np.meshgrid(WEST + 10 * np.arange(8) + 5, NORTH - 10 * np.arange(8) - 5)
    np.testing.assert_array_equal(got.data[0, 0], pixel_values("B04", day, xx, yy))
