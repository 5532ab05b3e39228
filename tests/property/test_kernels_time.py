"""The kernels along time against numpy's own functions, pixel by pixel."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.engine import kernels_time
from openeo_gfmap.local.engine.kernels_time import interpolate_gaps, mean, quantiles


@st.composite
def series(draw: st.DrawFn) -> np.ndarray:
    """Series of some pixels, from no gap to nothing but gaps, with values that repeat."""
    length, rows, columns = (
        draw(st.integers(1, 60)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 5)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-20, 20, (length, rows, columns)) * 0.37
    values[rng.random(values.shape) < draw(st.sampled_from([0, 0.3, 0.9, 1]))] = np.nan
    return values.astype(draw(st.sampled_from(["float32", "float64"])))


def silently(function, *args, **kwargs):
    """Call a numpy function that warns of pixels without values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*args, **kwargs)


@settings(max_examples=150, deadline=None)
@given(series(), st.lists(st.sampled_from([0, 0.1, 0.25, 0.5, 0.77, 1]), min_size=1, max_size=3))
def test_quantiles_are_those_of_numpy(values: np.ndarray, probabilities: list[float]) -> None:
    before = values.copy()
    found = quantiles(values, probabilities)
    for probability, plane in zip(probabilities, found, strict=True):
        expected = silently(np.nanquantile, values, probability, axis=0)
        assert plane.dtype == values.dtype
        np.testing.assert_allclose(plane, expected, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("length", range(1, 40))
def test_every_length_is_sorted(length: int) -> None:
    """Whatever sorts a series of this length: all zeros and ones in it come out in order."""
    rng = np.random.default_rng(length)
    every = length <= 12  # a network that sorts all zeros and ones sorts anything
    bits = np.arange(2**length) if every else rng.integers(0, 2**length, 4000)
    values = ((bits >> np.arange(length)[:, np.newaxis]) & 1).astype("float32")
    ranks = [i / max(length - 1, 1) for i in range(length)]
    np.testing.assert_allclose(quantiles(values, ranks), np.sort(values, axis=0), atol=1e-5)


def test_infinite_values_are_values() -> None:
    infinite, nan = np.inf, np.nan
    values = np.array([[infinite, -infinite, 1, nan], [1, nan, infinite, nan], [2, 5, nan, nan]])
    (median,) = quantiles(values, [0.5])
    np.testing.assert_array_equal(median, [2, -infinite, infinite, nan])
    np.testing.assert_array_equal(mean(values), [infinite, -infinite, infinite, nan])
    gaps = np.array([[infinite, 0.0], [nan, nan], [1.0, -infinite]])
    filled = interpolate_gaps(gaps, np.arange(3.0))
    np.testing.assert_array_equal(filled[1], [infinite, -infinite])


@settings(max_examples=100, deadline=None)
@given(series())
def test_mean_is_that_of_numpy(values: np.ndarray) -> None:
    expected = silently(np.nanmean, values.astype("float64"), axis=0)
    np.testing.assert_allclose(mean(values), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(series(), st.booleans(), st.integers(0, 2**32 - 1))
def test_interpolation_is_that_of_numpy(values: np.ndarray, even: bool, seed: int) -> None:
    steps = np.random.default_rng(seed).integers(1, 9, len(values))
    positions = np.arange(len(values)) if even else 19_000 + np.cumsum(steps)
    found = interpolate_gaps(values, positions.astype(float))
    assert found.dtype == values.dtype
    flat, flat_found = values.reshape(len(values), -1), found.reshape(len(values), -1)
    for pixel, filled in zip(flat.T, flat_found.T, strict=True):
        known = ~np.isnan(pixel)
        np.testing.assert_array_equal(filled[known], pixel[known])
        if known.any():
            expected = np.interp(
                positions, positions[known], pixel[known], left=np.nan, right=np.nan
            )
            np.testing.assert_allclose(filled, expected, rtol=2e-6, atol=2e-6)
        else:
            assert np.isnan(filled).all()


def test_blocks_of_pixels_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    values = rng.random((9, 7, 31)).astype("float32")
    values[rng.random(values.shape) < 0.4] = np.nan
    whole = [*quantiles(values, [0.5]), mean(values), interpolate_gaps(values, np.arange(9.0))]
    monkeypatch.setattr(kernels_time, "_PIXELS", 10)
    parts = [*quantiles(values, [0.5]), mean(values), interpolate_gaps(values, np.arange(9.0))]
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
