"""UDFs that give back other pixels or dimensions than they got: told, never taken for something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import pixel_values
from support.graphs import Graph, callback, dataset, load, on_data, run, utm_box

PLACE = utm_box(500000, 5600000, 120, 80)
HEAD = "from openeo.udf import XarrayDataCube\ndef apply_datacube(cube, context):\n    "


def udf(body: str) -> dict[str, Any]:
    code = f"{HEAD}a = cube.get_array()\n    return XarrayDataCube({body})\n"
    return callback("run_udf", data={"from_parameter": "data"}, udf=code, runtime="Python")


FINER = (
    "a.interp(x=[float(a.x[0]) - 2.5 + 5 * i for i in range(2 * a.sizes['x'])],"
    " y=[float(a.y[0]) + 2.5 - 5 * i for i in range(2 * a.sizes['y'])]).fillna(0)"
)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (FINER, "gave 24 x 16 of 5 from x 500000"),
        ("a.isel(x=slice(0, 5))", "gave 5 x 8 of 10"),
        ("a.coarsen(x=2, y=2).mean()", "gave 6 x 4 of 20"),
        ("a.assign_coords(x=a.x + 4)", "from x 500004"),
        ("a.mean(('y', 'x'))", "gave none"),
    ],
)
def test_other_pixels_are_refused(tmp_path: Path, body: str, told: str) -> None:
    g = Graph()
    ref = g.apply_dimension(data=load(g, ["B02"], PLACE), process=udf(body), dimension="t")
    with pytest.raises(OpenEOError, match="The pixels 12 x 8 of 10 from x 500000") as caught:
        run(g.result(ref), tmp_path)
    assert told in caught.value.message
    assert caught.value.node == ref["from_node"]


@pytest.mark.parametrize(
    "after",
    [
        lambda g, c: g.reduce_dimension(data=c, reducer=on_data("mean"), dimension="t"),
        lambda g, c: g.filter_temporal(data=c, extent=["2022-01-03", "2022-01-20"]),
        lambda g, c: g.aggregate_temporal_period(data=c, period="month", reducer=on_data("mean")),
    ],
)
def test_dimensions_that_a_udf_took_are_told_where_they_are_needed(
    tmp_path: Path, after: Any
) -> None:
    g = Graph()
    cube = g.apply_dimension(
        data=load(g, ["B02"], PLACE), process=udf("a.mean('t')"), dimension="t"
    )
    ref = after(g, cube)
    with pytest.raises(OpenEOError, match="bands, y, x from a UDF instead of t, bands") as caught:
        run(g.result(ref), tmp_path)
    assert (caught.value.code, caught.value.node) == ("DimensionMissing", ref["from_node"])


def test_bands_of_a_udf_go_on(tmp_path: Path) -> None:
    """New names and another number of them, also where another process asks for one."""
    g = Graph()
    body = "a.isel(bands=[1, 0, 1]).assign_coords(bands=['one', 'two', 'three'])"
    cube = g.apply_dimension(
        data=load(g, ["B02", "B04"], PLACE), process=udf(body), dimension="bands"
    )
    run(g.result(g.filter_bands(data=cube, bands=["three"])), tmp_path)
    got = dataset(tmp_path / "openEO.nc")
    assert [v for v in got.data_vars if v != "crs"] == ["three"]
    xx, yy = np.meshgrid(got.x, got.y)
    for plane, day in zip(got["three"].values.view("uint16"), got.t.values, strict=True):
        np.testing.assert_array_equal(plane, pixel_values("B04", day, xx, yy))


def test_a_result_without_any_valid_pixel_is_no_file(tmp_path: Path) -> None:
    g = Graph()
    cube = load(g, ["B02"], PLACE)
    everywhere = g.apply(data=cube, process=callback("gte", x={"from_parameter": "x"}, y=0))
    with pytest.raises(OpenEOError, match="nothing to write") as caught:
        run(g.result(g.mask(data=cube, mask=everywhere)), tmp_path)
    assert caught.value.code == "NoDataAvailable"
    assert not list(tmp_path.iterdir())
