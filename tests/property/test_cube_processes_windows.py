"""A window with context gives just what the whole cube gives there, for each spatial process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.grid import extent_of
from support.graphs import callback, geojson, on_data, on_x, utm_box
from support.random_cubes import GRID, LEFT, TOP, TYPES, cubes, floats, run

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WEST, NORTH = 10.0 * LEFT, -10.0 * TOP
# Types with room for what is missing, as there is nothing around these cubes.
OPEN = tuple(t for t in TYPES if t != ("uint16", None))
KERNEL = [[1, 2, 3], [0, 5, 0], [-1, 2, 4]]


def pixels(**sizes: int) -> list[dict[str, Any]]:
    return [{"dimension": d, "unit": "px", "value": v} for d, v in sizes.items()]


def blur(code_size: int = 3) -> dict[str, Any]:
    code = f"""
import numpy as np
from scipy.ndimage import uniform_filter
from openeo.udf import XarrayDataCube

def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
    values = np.nan_to_num(array.values.astype("float64"))
    size = (1,) * (values.ndim - 2) + ({code_size}, {code_size})
    return XarrayDataCube(array.copy(data=uniform_filter(values, size, mode="constant")))
"""
    return callback("run_udf", data={"from_parameter": "data"}, udf=code, runtime="Python")


FIELDS = {
    "type": "FeatureCollection",
    "crs": {"type": "name", "properties": {"name": GRID.crs}},
    "features": [
        {"type": "Feature", "properties": {"n": i}, "geometry": geojson(shapely.box(*b))}
        for i, b in enumerate(
            [(WEST, NORTH - 40, WEST + 30, NORTH), (WEST + 40, NORTH - 60, WEST + 70, NORTH - 20)]
        )
    ],
}

CHAINS: dict[str, Any] = {
    "apply": lambda g, c: g.apply(data=c, process=on_x("add", y=1)),
    "kernel": lambda g, c: g.apply_kernel(data=c, kernel=KERNEL),
    "kernel, replicate": lambda g, c: g.apply_kernel(data=c, kernel=KERNEL, border="replicate"),
    "kernel, reflect": lambda g, c: g.apply_kernel(data=c, kernel=KERNEL, border="reflect"),
    "kernel, wrap": lambda g, c: g.apply_kernel(data=c, kernel=KERNEL, border="wrap"),
    "kernels": lambda g, c: g.apply_kernel(
        data=g.apply_kernel(data=c, kernel=KERNEL), kernel=[[1, 1, 1, 1, 1]], factor=0.2),
    "neighborhood": lambda g, c: g.apply_neighborhood(
        data=c, size=pixels(x=3, y=2), process=on_data("sum")),
    "neighborhood, udf": lambda g, c: g.apply_neighborhood(
        data=c, size=pixels(x=2, y=2), overlap=pixels(x=1, y=1), process=blur()),
    "polygon": lambda g, c: g.apply_polygon(data=c, geometries=FIELDS, process=on_data("mean")),
    "mask_polygon": lambda g, c: g.mask_polygon(data=c, mask=FIELDS),
    "bbox": lambda g, c: g.filter_bbox(data=c, extent=utm_box(WEST + 10, NORTH - 60, 40, 50)),
    "coarse": lambda g, c: g.resample_spatial(data=c, resolution=30, method="average"),
    "fine": lambda g, c: g.resample_spatial(data=c, resolution=5, align="lower-left"),
    "raster of features": lambda g, c: g.vector_to_raster(
        data=g.load_geojson(data=FIELDS, properties=["n"]), target=c),
    "values of features": lambda g, c: g.vector_to_raster(
        data=g.aggregate_spatial(data=c, geometries=FIELDS, reducer=on_data("mean")), target=c),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
@few
@given(cubes(side=(4, 7), dates=(1, 2), bands=(1, 2), types=OPEN), st.data())
def test_windows_are_cuts_of_the_whole(name: str, cube: Cube, data: st.DataObject) -> None:
    whole = run(CHAINS[name], cube)
    rows, columns = whole.geobox.shape
    left, top = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    right = data.draw(st.integers(left + 1, columns))
    bottom = data.draw(st.integers(top + 1, rows))
    part = run(CHAINS[name], cube, cut=(left, top, right, bottom))
    assert part.geobox == whole.geobox[top:bottom, left:right]
    np.testing.assert_allclose(
        floats(part), floats(whole)[..., top:bottom, left:right], rtol=1e-6, atol=1e-6
    )


# Ours by scipy's names.
BORDERS: dict[str, Any] = {
    "constant": 0, "nearest": "replicate", "reflect": "reflect", "mirror": "reflect_pixel",
    "grid-wrap": "wrap",
}  # fmt: skip


@few
@given(
    cubes(side=(1, 7), types=OPEN),
    st.sampled_from(sorted(BORDERS)),
    st.sampled_from([(1, 3), (3, 3), (5, 1), (5, 7)]),
    st.randoms(use_true_random=False),
)
def test_kernels_are_those_of_scipy(cube: Cube, mode: str, shape: Any, random: Any) -> None:
    kernel = [[random.randint(-3, 3) for _ in range(shape[1])] for _ in range(shape[0])]
    found = run(lambda g, c: g.apply_kernel(data=c, kernel=kernel, border=BORDERS[mode]), cube)
    values = np.nan_to_num(floats(cube))
    planes = [ndimage.correlate(p, np.asarray(kernel, float), mode=mode)
              for p in values.reshape(-1, *values.shape[-2:])]  # fmt: skip
    np.testing.assert_allclose(found.data, np.reshape(planes, values.shape), atol=1e-9)


@few
@given(cubes(side=(3, 7)), st.data())
def test_a_box_keeps_the_pixels_whose_centre_it_holds(cube: Cube, data: st.DataObject) -> None:
    rows, columns = cube.data.shape[-2:]
    width, height = (data.draw(st.integers(11, 10 * n)) for n in (columns, rows))
    x, y = (
        data.draw(st.integers(0, 10 * columns - width)),
        data.draw(st.integers(0, 10 * rows - height)),
    )
    extent = utm_box(WEST + x, NORTH - y - height, width, height)
    found = run(lambda g, c: g.filter_bbox(data=c, extent=extent), cube)
    in_x = [i for i in range(columns) if x <= 10 * i + 5 <= x + width]
    in_y = [i for i in range(rows) if y <= 10 * i + 5 <= y + height]
    wanted = cube.data[..., in_y[0] : in_y[-1] + 1, in_x[0] : in_x[-1] + 1]
    np.testing.assert_array_equal(found.data, wanted)
    assert extent_of(found.geobox).bounds[0] == WEST + 10 * in_x[0]
