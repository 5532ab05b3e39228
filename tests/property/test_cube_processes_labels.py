"""Cube processes that choose or aggregate labels and pixels give what plain numpy gives."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.registry import all_processes
from support.graphs import callback, geojson, on_data
from support.random_cubes import DATES, GRID, LEFT, TOP, TYPES, cubes, floats, run

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WEST, NORTH = 10.0 * LEFT, -10.0 * TOP
VALUE = {"from_parameter": "value"}
# Types with room for what is missing, as there is nothing around these cubes.
OPEN = tuple(t for t in TYPES if t != ("uint16", None))


@pytest.fixture(autouse=True)
def _quiet_numpy() -> Any:
    """Means of nothing are NaN here, without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Mean of empty|All-NaN)")
        yield


def polygons(*shapes: shapely.Geometry) -> dict[str, Any]:
    crs = {"type": "name", "properties": {"name": GRID.crs}}
    features = [
        {"type": "Feature", "properties": {"n": i + 1}, "geometry": geojson(shape)}
        for i, shape in enumerate(shapes)
    ]
    return {"type": "FeatureCollection", "crs": crs, "features": features}


@st.composite
def triangles(draw: st.DrawFn, cube: Cube) -> shapely.Polygon:
    """Draw a triangle around the centre of a pixel of the cube; no edge goes through a centre."""
    rows, columns = cube.data.shape[-2:]
    x = WEST + 10 * draw(st.integers(0, columns - 1)) + 5
    y = NORTH - 10 * draw(st.integers(0, rows - 1)) - 5
    reach = draw(st.sampled_from([3.1, 17.3, 41.7]))
    return shapely.Polygon(
        [(x - reach, y - 0.61 * reach), (x + reach, y - 0.53 * reach), (x + 0.17, y + reach)]
    )


def inside(cube: Cube, shape: shapely.Geometry) -> np.ndarray:
    """Return which pixels have their centre in a shape, dims (y, x)."""
    rows, columns = cube.data.shape[-2:]
    x, y = np.meshgrid(WEST + 10 * np.arange(columns) + 5, NORTH - 10 * np.arange(rows) - 5)
    return np.asarray(shapely.contains_xy(shape, x, y))


def kept_type(found: Cube, cube: Cube) -> None:
    assert (found.data.dtype, found.nodata) == (cube.data.dtype, cube.nodata)


@few
@given(cubes(), st.lists(st.tuples(st.integers(0, 80), st.integers(1, 60)), min_size=1, max_size=3),
       st.sampled_from(["mean", "max", "median"]))  # fmt: skip
def test_aggregate_temporal(cube: Cube, spans: list[tuple[int, int]], name: str) -> None:
    """Intervals may overlap and be empty; the start is of them, the end is not."""
    first = pd.Timestamp("2021-12-28")
    intervals = [(first + pd.Timedelta(days=a), first + pd.Timedelta(days=a + n)) for a, n in spans]
    texts = [[f"{start:%Y-%m-%d}", f"{end:%Y-%m-%d}"] for start, end in intervals]
    labels = [f"part {i}" for i in range(len(texts))]
    found = run(lambda g, c: g.aggregate_temporal(
        data=c, intervals=texts, labels=labels, reducer=on_data(name)), cube)  # fmt: skip
    reducers: dict[str, Any] = {"mean": np.nanmean, "max": np.nanmax, "median": np.nanmedian}
    values, dates = floats(cube), cube.labels["t"]
    for i, (start, end) in enumerate(intervals):
        part = values[(dates >= start.to_datetime64()) & (dates < end.to_datetime64())]
        wanted = reducers[name](part, axis=0) if len(part) else np.full(values.shape[1:], np.nan)
        np.testing.assert_allclose(floats(found)[i], wanted, rtol=1e-5)
    assert found.labels["t"].tolist() == labels
    np.testing.assert_array_equal(found.labels["bands"], cube.labels["bands"])
    assert found.geobox == cube.geobox


@few
@given(cubes(bands=(2, 3)), st.data())
def test_filter_labels(cube: Cube, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(cube.labels["bands"].tolist()))
    for process, keep in (
        ("eq", cube.labels["bands"] == name),
        ("neq", cube.labels["bands"] != name),
    ):
        found = run(lambda g, c, process=process: g.filter_labels(
            data=c, dimension="bands", condition=callback(process, x=VALUE, y=name)),
            cube)  # fmt: skip
        np.testing.assert_array_equal(found.data, cube.data[:, keep])
        assert found.labels["bands"].tolist() == cube.labels["bands"][keep].tolist()
        kept_type(found, cube)
    date = data.draw(st.sampled_from(list(DATES)))
    later = callback("date_between", x=VALUE, min=f"{date.astype('M8[D]')}", max="2023-01-01")
    found = run(lambda g, c: g.filter_labels(data=c, dimension="t", condition=later), cube)
    np.testing.assert_array_equal(found.data, cube.data[cube.labels["t"] >= date])
    kept_type(found, cube)


@few
@given(cubes())
def test_dropping_a_dimension(cube: Cube) -> None:
    band = cube.labels["bands"].tolist()[0]

    def build(g: Any, c: Any) -> Any:
        return g.drop_dimension(data=g.filter_bands(data=c, bands=[band]), name="bands")

    found = run(build, cube)
    assert found.dims == ("t", "y", "x")
    np.testing.assert_array_equal(found.data, cube.data[:, 0])
    np.testing.assert_array_equal(found.labels["t"], cube.labels["t"])
    kept_type(found, cube)


@few
@given(cubes())
def test_labels_of_one_cube_name_those_of_another(cube: Cube) -> None:
    def build(g: Any, c: Any) -> Any:
        names = g.dimension_labels(data=c, dimension="bands")
        others = [f"other {i}" for i in range(len(cube.labels["bands"]))]
        other = g.rename_labels(data=c, dimension="bands", target=others)
        return g.rename_labels(data=other, dimension="bands", target=names)

    found = run(build, cube)
    assert found.labels["bands"].tolist() == cube.labels["bands"].tolist()
    np.testing.assert_array_equal(found.data, cube.data)


@few
@given(st.data(), st.sampled_from([None, 9]), st.booleans())
def test_mask_polygon(data: st.DataObject, replacement: float | None, within: bool) -> None:
    cube = data.draw(cubes(types=OPEN))
    shape = data.draw(triangles(cube))
    found = run(lambda g, c: g.mask_polygon(
        data=c, mask=polygons(shape), replacement=replacement, inside=within), cube)  # fmt: skip
    replaced = inside(cube, shape) == within
    new = np.nan if replacement is None else replacement
    np.testing.assert_array_equal(floats(found), np.where(replaced, new, floats(cube)))
    if cube.nodata is not None:
        kept_type(found, cube)


@few
@given(st.data(), st.sampled_from(["mean", "max", "count"]))
def test_aggregate_spatial(data: st.DataObject, name: str) -> None:
    """The values of a polygon, put back into its pixels."""
    cube = data.draw(cubes(types=OPEN))
    shape = data.draw(triangles(cube))

    def build(g: Any, c: Any) -> Any:
        table = g.aggregate_spatial(data=c, geometries=polygons(shape), reducer=on_data(name))
        return g.vector_to_raster(data=table, target=c)

    found = run(build, cube)
    here, values = inside(cube, shape), floats(cube)
    made = _over_pixels(name, values[..., here])
    np.testing.assert_allclose(
        floats(found), np.where(here, made[..., None, None], np.nan), rtol=1e-5)  # fmt: skip


@few
@given(cubes(), st.sampled_from(["mean", "max", "count"]))
def test_reduce_spatial(cube: Cube, name: str) -> None:
    def build(g: Any, c: Any) -> Any:
        table = g.reduce_spatial(data=c, reducer=on_data(name))
        return g.vector_to_raster(data=table, target=c)

    found, values = run(build, cube), floats(cube)
    made = _over_pixels(name, values.reshape(*values.shape[:2], -1))
    wanted = np.broadcast_to(made[..., None, None], values.shape)
    np.testing.assert_allclose(floats(found), wanted, rtol=1e-5)


def _over_pixels(name: str, values: np.ndarray) -> np.ndarray:
    reducers: dict[str, Any] = {
        "mean": np.nanmean, "max": np.nanmax,
        "count": lambda v, axis: (~np.isnan(v)).sum(axis=axis),
    }  # fmt: skip
    return np.asarray(reducers[name](values, axis=-1))


@few
@given(st.data())
def test_apply_polygon(data: st.DataObject) -> None:
    cube = data.draw(cubes(types=OPEN))
    shape = data.draw(triangles(cube))
    found = run(lambda g, c: g.apply_polygon(
        data=c, geometries=polygons(shape), process=on_data("max")), cube)  # fmt: skip
    here, values = inside(cube, shape), floats(cube)
    most = np.nanmax(values[..., here], axis=(0, 2))
    wanted = np.broadcast_to(np.where(here, most[None, :, None, None], np.nan), values.shape)
    np.testing.assert_allclose(floats(found), wanted, rtol=1e-5)


@few
@given(st.data())
def test_vector_to_raster(data: st.DataObject) -> None:
    cube = data.draw(cubes())
    shape = data.draw(triangles(cube))
    found = run(lambda g, c: g.vector_to_raster(
        data=g.load_geojson(data=polygons(shape), properties=["n"]), target=c), cube)  # fmt: skip
    wanted = np.where(inside(cube, shape), 1, np.nan)
    np.testing.assert_array_equal(floats(found).reshape(wanted.shape), wanted)
    assert found.geobox == cube.geobox


@few
@given(cubes(types=OPEN), st.sampled_from(["near", "average", "max", "min"]))
def test_resample_spatial(cube: Cube, method: str) -> None:
    """Half as large pixels repeat; twice as large ones are made of those that they hold."""
    fine = run(lambda g, c: g.resample_spatial(data=c, resolution=5), cube)
    repeated = cube.data.repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(fine.data, repeated)
    kept_type(fine, cube)
    if method == "near":
        return
    coarse = run(lambda g, c: g.resample_spatial(data=c, resolution=20, method=method), cube)
    rows, columns = cube.data.shape[-2:]
    room = ((0, 0), (0, 0), (0, rows % 2), (0, columns % 2))
    values = np.pad(floats(cube), room, constant_values=np.nan)
    blocks = values.reshape(*values.shape[:2], values.shape[2] // 2, 2, values.shape[3] // 2, 2)
    reducers: dict[str, Any] = {"average": np.nanmean, "max": np.nanmax, "min": np.nanmin}
    kept_type(coarse, cube)
    # Averages of integers are rounded.
    rounding = 0.5 if method == "average" and cube.data.dtype.kind in "iu" else 0
    wanted = reducers[method](blocks, axis=(3, 5))
    np.testing.assert_allclose(floats(coarse), wanted, rtol=1e-5, atol=rounding)


@few
@given(cubes(types=OPEN), cubes(dates=(1, 1), bands=(1, 1), types=OPEN))
def test_resample_cube_spatial(cube: Cube, target: Cube) -> None:
    """The target says which pixels, not how many of them."""

    def build(g: Any, c: Any, t: Any) -> Any:
        return g.resample_cube_spatial(data=c, target=g.resample_spatial(data=t, resolution=5))

    found = run(build, cube, target)
    np.testing.assert_array_equal(found.data, cube.data.repeat(2, axis=2).repeat(2, axis=3))
    kept_type(found, cube)


@few
@given(cubes(dates=(2, 5)))
def test_normals_and_anomalies(cube: Cube) -> None:
    def normals(g: Any, c: Any) -> Any:
        return g.climatological_normal(
            data=c, period="month", climatology_period=["2021", "2022"])  # fmt: skip

    found = run(normals, cube)
    values = floats(cube)
    months = pd.DatetimeIndex(cube.labels["t"]).month.to_numpy()
    means = np.full((12, *values.shape[1:]), np.nan)
    for month in set(months):
        means[month - 1] = np.nanmean(values[months == month], axis=0)
    np.testing.assert_allclose(floats(found), means, rtol=1e-5)
    away = run(lambda g, c: g.anomaly(data=c, normals=normals(g, c), period="month"), cube)
    np.testing.assert_allclose(floats(away), values - means[months - 1], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(away.labels["t"], cube.labels["t"])


# Cube processes that are not compared with numpy in these files, and where they are tested.
ELSEWHERE = {
    "load_collection": "test_reader_oracle.py: every value",
    "load_stac": "test_reader_oracle.py: every value",
    "chunk_polygon": "test_engine_shapes.py: the former name of apply_polygon",
    "inspect": "test_engine_shapes.py: writes to the log only",
    "sar_backscatter": "test_engine_shapes.py: changes nothing, or refuses",
    "filter_spatial": "test_engine_cubes.py: its polygons hide pixels when files are written",
    "trim_cube": "test_engine_shapes.py: trims files by feature only",
    "save_result": "test_writers.py",
    "run_udf": "test_udf.py, and test_cube_processes_windows.py for its windows",
    "predict_onnx": "test_engine_models.py",
    "to_scl_dilation_mask": "test_kernels.py",
    "mask_scl_dilation": "test_kernels.py",
}


def test_every_cube_process_is_compared() -> None:
    files = Path(__file__).parent.glob("test_cube_processes*.py")
    used = set(re.findall(r"\bg\.(\w+)\(", "".join(f.read_text("utf-8") for f in files)))
    cube_processes = {p.id for p in all_processes().values() if p.plan is not None}
    assert cube_processes - used == ELSEWHERE.keys()
