"""Cube processes give what plain numpy gives on small random cubes, and lose nothing."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.errors import OpenEOError
from support.graphs import callback, on_data, on_x
from support.random_cubes import DATES, cubes, floats, run

few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet_numpy() -> Any:
    """Means of nothing are NaN here, without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Mean of empty|All-NaN|Degrees of freedom)")
        yield


def same(found: Cube, values: np.ndarray, rtol: float = 1e-6) -> None:
    np.testing.assert_allclose(floats(found), values, rtol=rtol, atol=1e-9)


def unchanged(found: Cube, cube: Cube, *but: str) -> None:
    """Check the labels of all dimensions but some, and the place."""
    assert set(found.dims) - set(but) == set(cube.dims) - set(but)
    for dim, labels in cube.labels.items():
        if dim not in but:
            np.testing.assert_array_equal(found.labels[dim], labels)
            assert found.kind(dim) == cube.kind(dim)
    if not {"x", "y"} & set(but):
        assert found.geobox == cube.geobox


def kept_type(found: Cube, cube: Cube) -> None:
    assert (found.data.dtype, found.nodata) == (cube.data.dtype, cube.nodata)


REDUCERS = {
    "mean": np.nanmean, "median": np.nanmedian, "sum": np.nansum, "sd": lambda v, axis:
    np.nanstd(v, axis=axis, ddof=1), "min": np.nanmin, "max": np.nanmax,
}  # fmt: skip


def reduced(name: str, values: np.ndarray, axis: int) -> np.ndarray:
    made = REDUCERS[name](values, axis=axis)
    nothing = np.isnan(values).all(axis=axis)
    return np.where(nothing, np.nan, made)


@few
@given(cubes(), st.sampled_from(["t", "bands"]), st.sampled_from(sorted(REDUCERS)))
def test_reduce_dimension(cube: Cube, dimension: str, name: str) -> None:
    found = run(lambda g, c: g.reduce_dimension(
        data=c, dimension=dimension, reducer=on_data(name)), cube)  # fmt: skip
    same(found, reduced(name, floats(cube), cube.axis(dimension)), rtol=1e-5)
    unchanged(found, cube, dimension)
    if name in ("min", "max") and cube.nodata is not None:
        kept_type(found, cube)


@few
@given(cubes(bands=(2, 3)), st.data())
def test_filter_bands_and_elements(cube: Cube, data: st.DataObject) -> None:
    have = cube.labels["bands"].tolist()
    wanted = data.draw(st.permutations(have)).copy()[: data.draw(st.integers(1, len(have)))]
    found = run(lambda g, c: g.filter_bands(data=c, bands=wanted), cube)
    index = [have.index(b) for b in wanted]
    np.testing.assert_array_equal(found.data, cube.data[:, index])
    kept_type(found, cube)
    assert found.labels["bands"].tolist() == wanted
    one = run(lambda g, c: g.reduce_dimension(
        data=c, dimension="bands", reducer=on_data("array_element", label=wanted[0])),
        cube)  # fmt: skip
    same(one, floats(cube)[:, index[0]])


@few
@given(cubes(dates=(1, 5)), st.integers(0, 5), st.integers(0, 5))
def test_filter_temporal(cube: Cube, first: int, last: int) -> None:
    assume(first < last)
    start, end = (str(DATES[i])[:10] for i in (first, last))
    found = run(lambda g, c: g.filter_temporal(data=c, extent=[start, end]), cube)
    keep = (cube.labels["t"] >= DATES[first]) & (cube.labels["t"] < DATES[last])
    np.testing.assert_array_equal(found.data, cube.data[keep])
    np.testing.assert_array_equal(found.labels["t"], cube.labels["t"][keep])
    kept_type(found, cube)
    unchanged(found, cube, "t")


PANDAS = {"month": "MS", "year": "YS", "day": "D"}


@few
@given(cubes(dates=(1, 4)), st.sampled_from(sorted(PANDAS)), st.sampled_from(["mean", "max"]))
def test_aggregate_temporal_period(cube: Cube, period: str, name: str) -> None:
    found = run(lambda g, c: g.aggregate_temporal_period(
        data=c, period=period, reducer=on_data(name)), cube)  # fmt: skip
    stamps = pd.DatetimeIndex(cube.labels["t"])
    starts = stamps.to_period(PANDAS[period][0])
    labels = pd.period_range(starts.min(), starts.max(), freq=PANDAS[period][0])
    np.testing.assert_array_equal(found.labels["t"], labels.to_timestamp().to_numpy())
    values = floats(cube)
    for i, label in enumerate(labels):
        mine = values[np.asarray(starts == label)]
        wanted = reduced(name, mine, 0) if len(mine) else np.full(values.shape[1:], np.nan)
        np.testing.assert_allclose(floats(found)[i], wanted, rtol=1e-6)
    unchanged(found, cube, "t")


@few
@given(cubes(), st.floats(-3, 3, width=32))
def test_apply(cube: Cube, factor: float) -> None:
    found = run(lambda g, c: g.apply(data=c, process=on_x("multiply", y=factor)), cube)
    same(found, floats(cube) * factor, rtol=1e-5)
    unchanged(found, cube)


@few
@given(cubes(types=(("uint16", 65535), ("uint8", 255))))
def test_a_cast_stays_in_integers(cube: Cube) -> None:
    found = run(lambda g, c: g.apply(data=c, process=on_x(
        "linear_scale_range", inputMin=0, inputMax=254, outputMin=0, outputMax=254)),
        cube)  # fmt: skip
    assert (found.data.dtype, found.nodata) == (np.dtype("uint8"), 255)
    same(found, floats(cube))


@few
@given(cubes(dates=(2, 5)))
def test_apply_dimension(cube: Cube) -> None:
    found = run(lambda g, c: g.apply_dimension(
        data=c, dimension="t", process=on_data("cumsum")), cube)  # fmt: skip
    values = floats(cube)
    sums = np.where(np.isnan(values), np.nan, np.nancumsum(values, axis=0))
    same(found, sums, rtol=1e-5)
    unchanged(found, cube)


@few
@given(cubes(dates=(2, 5)))
def test_apply_dimension_to_another(cube: Cube) -> None:
    process = on_data("quantiles", probabilities=[0.25, 0.5])
    found = run(lambda g, c: g.apply_dimension(
        data=c, dimension="t", target_dimension="q", process=process), cube)  # fmt: skip
    assert found.dims == ("bands", "q", "y", "x")
    assert found.kind("q") == "other"
    wanted = np.nanquantile(floats(cube), [0.25, 0.5], axis=0)
    same(found, np.moveaxis(wanted, 0, 1), rtol=1e-5)


@few
@given(st.data())
def test_merge_of_bands(data: st.DataObject) -> None:
    one = data.draw(cubes(names="abc"))
    two = data.draw(cubes(names="xyz", like=one))
    found = run(lambda g, a, b: g.merge_cubes(cube1=a, cube2=b), one, two)
    assert found.labels["bands"].tolist() == [*one.labels["bands"], *two.labels["bands"]]
    same(found, np.concatenate([floats(one), floats(two)], axis=1))
    if (one.data.dtype, one.nodata) == (two.data.dtype, two.nodata):
        kept_type(found, one)


@few
@given(st.data(), st.sampled_from(["add", "max"]))
def test_merge_with_a_resolver(data: st.DataObject, name: str) -> None:
    one = data.draw(cubes(bands=(2, 2)))
    two = data.draw(cubes(bands=(2, 2), like=one))
    x, y = {"from_parameter": "x"}, {"from_parameter": "y"}
    resolver = callback("add", x=x, y=y) if name == "add" else callback("max", data=[x, y])
    found = run(
        lambda g, a, b: g.merge_cubes(cube1=a, cube2=b, overlap_resolver=resolver), one, two
    )
    a, b = floats(one), floats(two)
    same(found, a + b if name == "add" else np.fmax(a, b))
    unchanged(found, one)


@few
@given(st.data())
def test_merge_of_other_dates_keeps_both(data: st.DataObject) -> None:
    one = data.draw(cubes(dates=(1, 2), bands=(1, 1), side=(2, 2)))
    two = data.draw(cubes(dates=(1, 2), bands=(1, 1), side=(2, 2), types=(("float32", None),)))
    assume(not set(one.labels["t"].tolist()) & set(two.labels["t"].tolist()))
    found = run(lambda g, a, b: g.merge_cubes(cube1=a, cube2=b), one, two)
    values = {**dict(zip(one.labels["t"].tolist(), floats(one), strict=True)),
              **dict(zip(two.labels["t"].tolist(), floats(two), strict=True))}  # fmt: skip
    assert found.labels["t"].tolist() == sorted(values)
    same(found, np.stack([values[t] for t in sorted(values)]))


@few
@given(st.data(), st.sampled_from([None, 7, 0.5]))
def test_mask(data: st.DataObject, replacement: float | None) -> None:
    cube = data.draw(cubes())
    mask = data.draw(cubes(bands=(1, 1), like=cube, types=(("uint8", 255),)))
    zeros = Cube(mask.data * (mask.data > 100), mask.dims, mask.labels, mask.geobox, mask.nodata)
    found = run(lambda g, c, m: g.mask(data=c, mask=m, replacement=replacement), cube, zeros)
    where = np.broadcast_to((zeros.data != 0) & ~zeros.missing(), cube.data.shape)
    same(found, np.where(where, np.nan if replacement is None else replacement, floats(cube)))
    unchanged(found, cube)
    if replacement != 0.5 and cube.nodata is not None:
        kept_type(found, cube)


@few
@given(cubes(bands=(2, 3)), st.booleans())
def test_ndvi(cube: Cube, add: bool) -> None:
    target = "index" if add else None
    found = run(lambda g, c: g.ndvi(data=c, nir="a", red="b", target_band=target), cube)
    values = floats(cube)
    with np.errstate(all="ignore"):
        index = (values[:, 0] - values[:, 1]) / (values[:, 0] + values[:, 1])
    got = floats(found)
    if add:
        assert found.labels["bands"].tolist() == [*cube.labels["bands"], "index"]
        np.testing.assert_array_equal(got[:, :-1], values)
        got = got[:, -1]
    np.testing.assert_allclose(got, index, rtol=1e-5)


@few
@given(cubes())
def test_labels_and_dimensions(cube: Cube) -> None:
    def build(g: Any, c: Any) -> Any:
        names = [f"{b}2" for b in cube.labels["bands"]]
        c = g.rename_labels(data=c, dimension="bands", target=names)
        c = g.add_dimension(data=c, name="run", label=7)
        c = g.rename_dimension(data=c, source="t", target="when")
        return g.rename_dimension(data=c, source="bands", target="layer")

    found = run(build, cube)
    assert set(found.dims) == {"when", "layer", "run", "y", "x"}
    assert [found.kind(d) for d in ("when", "layer", "run")] == ["temporal", "bands", "other"]
    np.testing.assert_array_equal(found.labels["when"], cube.labels["t"])
    assert found.labels["layer"].tolist() == [f"{b}2" for b in cube.labels["bands"]]
    assert found.labels["run"].tolist() == [7]
    kept_type(found, cube)
    order = [found.dims.index(d) for d in ("run", "when", "layer", "y", "x")]
    np.testing.assert_array_equal(np.transpose(found.data, order)[0], cube.data)


@few
@given(cubes())
def test_flatten_and_unflatten_give_the_cube_back(cube: Cube) -> None:
    def build(g: Any, c: Any) -> Any:
        c = g.flatten_dimensions(data=c, dimensions=["t", "bands"], target_dimension="all")
        return g.unflatten_dimension(data=c, dimension="all", target_dimensions=["d", "b"])

    found = run(build, cube)
    kept_type(found, cube)
    order = [found.dims.index(d) for d in ("d", "b", "y", "x")]
    np.testing.assert_array_equal(np.transpose(found.data, order), cube.data)


@few
@given(st.data(), st.sampled_from([None, 0, 8, 400]))
def test_resample_cube_temporal(data: st.DataObject, within: float | None) -> None:
    cube = data.draw(cubes(dates=(1, 5), side=(2, 2)))
    target = data.draw(cubes(bands=(1, 1), side=(2, 2)))
    found = run(lambda g, c, t: g.resample_cube_temporal(
        data=c, target=t, valid_within=within), cube, target)  # fmt: skip
    have, wanted = cube.labels["t"], target.labels["t"]
    np.testing.assert_array_equal(found.labels["t"], wanted)
    if np.array_equal(have, wanted):
        return  # nothing to do, whatever is valid
    values = floats(cube)
    away = np.abs(wanted[:, None] - have[None]) / np.timedelta64(1, "D")
    if within is None:
        np.testing.assert_array_equal(found.data, cube.data[np.argmin(away, axis=1)])
        kept_type(found, cube)
        return
    for i in range(len(wanted)):
        expected = np.full(values.shape[1:], np.nan)
        for k in sorted(range(len(have)), key=lambda k: (away[i, k], have[k])):
            if away[i, k] <= within:
                expected = np.where(np.isnan(expected), values[k], expected)
        np.testing.assert_array_equal(floats(found)[i], expected)


@few
@given(cubes(side=(2, 7)), st.sampled_from([2, 3]), st.sampled_from([2, 3]))
def test_neighborhoods_are_reduced_one_by_one(cube: Cube, width: int, height: int) -> None:
    size = [{"dimension": d, "unit": "px", "value": v} for d, v in (("x", width), ("y", height))]
    found = run(lambda g, c: g.apply_neighborhood(
        data=c, size=size, process=on_data("max")), cube)  # fmt: skip
    values = floats(cube)
    wanted = np.empty_like(values)
    for top in range(0, values.shape[2], height):
        for left in range(0, values.shape[3], width):
            part = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
            wanted[part] = np.nanmax(values[part], axis=(0, 2, 3), keepdims=True)
    same(found, wanted)
    unchanged(found, cube)


@few
@given(st.data())
def test_cubes_of_other_pixels_are_not_joined(data: st.DataObject) -> None:
    cube = data.draw(cubes())
    with pytest.raises(OpenEOError, match="resample_cube_spatial"):
        run(lambda g, c: g.merge_cubes(
            cube1=c, cube2=g.resample_spatial(data=c, resolution=20)), cube)  # fmt: skip
