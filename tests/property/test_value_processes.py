"""The value processes over pixels, against numpy's own NaN-aware functions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openeo_gfmap.local.engine.callbacks import call_process
from openeo_gfmap.local.engine.cube import Array
from openeo_gfmap.local.engine.registry import get_process
from openeo_gfmap.local.errors import OpenEOError

# Unevenly spaced: CDSE interpolates by index all the same.
DAYS = np.datetime64("2023-01-01", "ns") + np.array([0, 5, 6, 30, 31, 80]) * np.timedelta64(1, "D")

pixels = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4)),
    elements=st.integers(-50, 50).map(float) | st.just(np.nan),
)


def call(name: str, **arguments):
    return call_process(get_process(name), arguments, None)


REFERENCE = {
    "min": np.nanmin,
    "max": np.nanmax,
    "mean": np.nanmean,
    "median": np.nanmedian,
    "sd": lambda v, axis: np.nanstd(v, axis=axis, ddof=1),
    "variance": lambda v, axis: np.nanvar(v, axis=axis, ddof=1),
}


@pytest.mark.parametrize("name", REFERENCE)
@given(pixels)
@settings(max_examples=40, deadline=None)
def test_statistics_ignore_missing_pixels(name: str, values: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns of empty slices
        wanted = REFERENCE[name](values, axis=0)
    found = call(name, data=Array(values))
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    strict = call(name, data=Array(values), ignore_nodata=False)
    gaps = np.isnan(values).any(axis=0)
    assert np.isnan(strict[gaps]).all()
    np.testing.assert_array_equal(strict[~gaps], found[~gaps])


@given(pixels, st.lists(st.floats(0, 1), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_quantiles(values: np.ndarray, probabilities: list[float]) -> None:
    found = call("quantiles", data=Array(values), probabilities=probabilities)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = np.nanquantile(values, probabilities, axis=0)
    np.testing.assert_allclose(found.values, wanted, atol=1e-9)


@given(pixels)
@settings(max_examples=60, deadline=None)
def test_interpolation_goes_by_index_and_fills_gaps_only_inside(values: np.ndarray) -> None:
    labels = DAYS[: len(values)]
    found = call("array_interpolate_linear", data=Array(values, labels))
    assert found.labels is not None
    for position in np.ndindex(values.shape[1:]):
        series = values[(slice(None), *position)]
        known = np.flatnonzero(~np.isnan(series))
        wanted = series.copy()
        if known.size:
            inside = np.arange(known[0], known[-1] + 1)
            wanted[inside] = np.interp(inside, known, series[known])
        np.testing.assert_allclose(found.values[(slice(None), *position)], wanted, atol=1e-9)


@given(pixels, st.booleans(), st.sampled_from([True, False, None]))
@settings(max_examples=60, deadline=None)
def test_order_and_sort(values: np.ndarray, asc: bool, nodata: bool | None) -> None:
    ordered = call("sort", data=Array(values), asc=asc, nodata=nodata).values
    indices = call("order", data=Array(values), asc=asc, nodata=nodata)
    again = call("rearrange", data=Array(values), order=indices).values
    np.testing.assert_array_equal(ordered, again)
    for position in np.ndindex(values.shape[1:]):
        series = values[(slice(None), *position)]
        present = np.sort(series[~np.isnan(series)])
        present = present if asc else present[::-1]
        gaps = np.full(len(series) - len(present), np.nan)
        parts = (gaps, present) if nodata is False else (present, gaps)
        np.testing.assert_array_equal(ordered[(slice(None), *position)], np.concatenate(parts))


VALUES = np.array([[1, np.nan], [3, np.nan], [np.nan, np.nan], [2, 5]], dtype="float32")


def test_first_last_sum_count() -> None:
    data = Array(VALUES)
    np.testing.assert_array_equal(call("first", data=data), [1, 5])
    np.testing.assert_array_equal(call("last", data=data), [2, 5])
    np.testing.assert_array_equal(call("first", data=data, ignore_nodata=False), [1, np.nan])
    np.testing.assert_array_equal(call("sum", data=data), [6, 5])
    np.testing.assert_array_equal(call("product", data=data), [6, 5])
    np.testing.assert_array_equal(call("count", data=data), [3, 1])
    assert call("count", data=data, condition=True) == 4
    np.testing.assert_array_equal(call("sum", data=Array(VALUES[:, 1:][:3])), [np.nan])
    assert call("mean", data=data).dtype == np.float32
    np.testing.assert_array_equal(
        call("cumsum", data=data).values, [[1, np.nan], [4, np.nan], [np.nan, np.nan], [6, 5]]
    )


def test_integers_become_floats_and_do_not_overflow() -> None:
    small = np.array([[250, 10], [250, 20]], dtype="uint8")
    np.testing.assert_array_equal(call("add", x=small[0], y=small[1]), [500, 30])
    np.testing.assert_array_equal(call("sum", data=Array(small)), [500, 30])
    assert call("subtract", x=small[0], y=small[1]).dtype == np.float32


def test_comparisons_of_missing_pixels_are_missing() -> None:
    x = np.array([1, np.nan, 3], dtype="float32")
    full = call("gt", x=np.array([1.0, 3.0]), y=2)
    assert full.dtype == bool
    np.testing.assert_array_equal(call("gt", x=x, y=2), [0, np.nan, 1])
    np.testing.assert_array_equal(call("eq", x=x, y=3), [0, np.nan, 1])
    np.testing.assert_array_equal(call("neq", x=x, y=3), [1, np.nan, 0])
    np.testing.assert_array_equal(call("not", x=call("gt", x=x, y=2)), [1, np.nan, 0])
    np.testing.assert_array_equal(call("between", x=x, min=2, max=4), [0, np.nan, 1])
    np.testing.assert_array_equal(call("is_nodata", x=x), [False, True, False])
    np.testing.assert_array_equal(call("is_valid", x=x), [True, False, True])
    np.testing.assert_array_equal(call("add", x=x, y=None), [np.nan] * 3)


def test_three_valued_logic_over_pixels() -> None:
    cases = [(a, b) for a in (1, 0, np.nan) for b in (1, 0, np.nan)]
    x, y = np.array(cases, dtype="float32").T
    null = {1: True, 0: False}
    for name in ("and", "or", "xor"):
        found = call(name, x=x, y=y)
        for (a, b), value in zip(cases, found, strict=True):
            scalar = call(name, x=null.get(a), y=null.get(b))
            assert (None if np.isnan(value) else bool(value)) is scalar, (name, a, b)
    data = np.array(cases, dtype="float32").T
    for name in ("any", "all"):
        for ignore in (True, False):
            found = call(name, data=Array(data), ignore_nodata=ignore)
            for (a, b), value in zip(cases, found, strict=True):
                scalar = call(name, data=[null.get(a), null.get(b)], ignore_nodata=ignore)
                # Nothing known: missing over pixels; the test cases want the neutral element.
                both = np.isnan(a) and np.isnan(b)
                assert both or (None if np.isnan(value) else bool(value)) is scalar, (name, a, b)


def test_choices_over_pixels() -> None:
    value = np.array([1, 0, np.nan], dtype="float32")
    np.testing.assert_array_equal(call("if", value=value, accept=5, reject=7), [5, 7, 7])
    chosen = call("if", value=value, accept=np.float32([1, 2, 3]))
    np.testing.assert_array_equal(chosen, [1, np.nan, np.nan])
    assert chosen.dtype == np.float32


def test_arrays_of_bands() -> None:
    bands = Array(np.arange(12, dtype="float32").reshape(3, 4), np.array(["B02", "B03", "B04"]))
    red = call("array_element", data=bands, label="B04")
    np.testing.assert_array_equal(red, [8, 9, 10, 11])
    np.testing.assert_array_equal(call("array_element", data=bands, index=1), [4, 5, 6, 7])
    made = call("array_create", data=[red, 1, None])
    assert made.values.dtype == np.float32
    np.testing.assert_array_equal(made.values[1:, 0], [1, np.nan])
    both = call("array_concat", array1=bands, array2=[red])
    assert both.values.shape == (4, 4)
    assert both.labels is None
    more = call("array_append", data=bands, value=red, label="NIR")
    assert more.labels.tolist() == ["B02", "B03", "B04", "NIR"]
    np.testing.assert_array_equal(
        call("array_find", data=bands, value=9), [np.nan, 2, np.nan, np.nan]
    )
    np.testing.assert_array_equal(call("array_contains", data=bands, value=9), [0, 1, 0, 0])
    for classes in (np.array([0, 3, 255], "u1"), np.array([0, 3, np.nan], "f4")):
        found = call("array_contains", data=[3, 300, -1, 2.5, np.nan], value=classes)
        assert found.dtype == bool and found.tolist() == [False, True, False]
    np.testing.assert_array_equal(call("max", data=[red, 9.5]), [9.5, 9.5, 10, 11])
    low, high = call("extrema", data=bands).values
    np.testing.assert_array_equal(high - low, [8, 8, 8, 8])


def test_labels_of_a_time_axis_compare_as_dates() -> None:
    assert call("gte", x=DAYS[1], y="2023-01-06") is True
    assert call("eq", x=DAYS[1], y="2023-01-06T00:00:00Z") is True
    assert call("date_between", x=DAYS[1], min="2023-01-01", max="2023-01-06") is True
    assert call("date_shift", date=DAYS[1], value=1, unit="month") == np.datetime64("2023-02-06")
    assert call("date_difference", date1="2020-01-31", date2="2020-03-01", unit="month") == (
        pytest.approx(1 + 1 / 31)
    )
    shifted = call("date_replace_component", date="2020-03-31", value=2, component="month")
    assert shifted == "2020-02-29"


def test_scalars_stay_python_scalars() -> None:
    for value in (call("add", x=1, y=2), call("sqrt", x=4), call("mean", data=[1, 2])):
        assert type(value) in (int, float)
    assert call("add", x=1, y=None) is None
    assert type(call("gt", x=2, y=1)) is bool


@pytest.mark.parametrize(
    ("process", "arguments"),
    [
        ("add", {"x": True, "y": 1}),
        ("add", {"x": "1", "y": 1}),
        ("and", {"x": 1, "y": True}),
        ("if", {"value": 1, "accept": 2}),
        ("text_begins", {"data": 5, "pattern": "5"}),
        ("round", {"x": 1.26, "p": 1.5}),
        ("array_element", {"data": [1], "index": "0"}),
        ("date_shift", {"date": 2020, "value": 1, "unit": "day"}),
    ],
)
def test_what_nodes_give_is_held_to_the_types_as_well(process: str, arguments: Any) -> None:
    """Validation sees literals; this is what meets the results of other nodes."""
    with pytest.raises(OpenEOError) as caught:
        call(process, **arguments)
    assert caught.value.code == "ProcessParameterInvalid"
    assert process in caught.value.message
