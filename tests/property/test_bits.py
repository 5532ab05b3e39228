"""Choosing bit by bit against numpy's ``where``."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openeo_gfmap.local.engine.bits import as_floats, put

TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int64", "float32", "float64"]


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values, some of them in a view with other strides, and a mask that broadcasts to them."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    values = draw(hnp.arrays(draw(st.sampled_from(TYPES)), shape))
    if draw(st.booleans()):
        values = np.moveaxis(values, 0, -1)
    narrow = [draw(st.sampled_from([1, n])) for n in values.shape]
    where = draw(hnp.arrays(bool, narrow[draw(st.integers(0, values.ndim - 1)) :]))
    return values, where


@settings(max_examples=200, deadline=None)
@given(arrays(), st.sampled_from([0, 1, 127]))
def test_put_is_where(case: tuple[np.ndarray, np.ndarray], value: int) -> None:
    values, where = case
    before = values.copy()
    found = put(values, where, value)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, np.where(where, values.dtype.type(value), values))
    np.testing.assert_array_equal(values, before)
    if values.dtype.kind == "f":
        np.testing.assert_array_equal(
            np.isnan(put(values, where, np.nan)), where | np.isnan(values)
        )


@settings(max_examples=200, deadline=None)
@given(arrays(), st.sampled_from(["float32", "float64"]))
def test_floats_have_nan_for_nodata(case: tuple[np.ndarray, np.ndarray], dtype: str) -> None:
    values, _ = case
    nodata = values.flat[0].item()
    with np.errstate(over="ignore"):  # large doubles as singles
        expected = values.astype(dtype)
        np.testing.assert_array_equal(as_floats(values, None, dtype), expected)
        expected[values == nodata] = np.nan
        found = as_floats(values, nodata, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_a_mask_of_dates_is_worked_out_once_for_all_bands() -> None:
    values = np.arange(2 * 3 * 4 * 5, dtype="uint16").reshape(2, 3, 4, 5)
    where = np.random.default_rng(0).random((2, 1, 4, 5)) < 0.5
    wide = np.broadcast_to(where, values.shape)
    np.testing.assert_array_equal(put(values, wide, 9), np.where(wide, np.uint16(9), values))
