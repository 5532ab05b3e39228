"""Operations on patches agree with plain numpy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openeo_gfmap.errors import InputError
from openeo_gfmap.utils import (
    array_bounds,
    arrays_cosine_similarity,
    normalize_array,
    select_optical_bands,
)

BANDS = ["S2-L2A-B04", "S2-L2A-SCL", "S2-L2A-B8A", "COP-DEM"]
values = st.floats(-1e6, 1e6, width=32) | st.just(np.nan)
stacks = hnp.arrays(np.float64, (4, 3, 4, 5), elements=values)


def patch(data: np.ndarray) -> xr.DataArray:
    _, dates, rows, columns = data.shape
    return xr.DataArray(
        data,
        dims=("bands", "t", "y", "x"),
        coords={
            "bands": BANDS[: data.shape[0]],
            "t": np.datetime64("2023-01-01", "ns") + np.arange(dates) * np.timedelta64(5, "D"),
            "y": 5_000_005.0 - 10 * np.arange(rows),
            "x": 500_005.0 + 10 * np.arange(columns),
        },
    )


@given(stacks, st.floats(0.01, 1))
@settings(deadline=None)  # the first example pays for imports
def test_normalised_values_are_numpys(data: np.ndarray, percentile: float) -> None:
    with warnings.catch_warnings():
        # A band of nothing but nodata has no quantile, and numpy says so.
        warnings.simplefilter("ignore", RuntimeWarning)
        result = normalize_array(patch(data), percentile)
        low = np.nanmin(data, axis=(1, 2, 3), keepdims=True)
        high = np.nanquantile(data, percentile, axis=(1, 2, 3), keepdims=True)
        expected = np.minimum((data - low) / np.where(high > low, high - low, np.inf), 1)
    np.testing.assert_allclose(result.values, expected)
    np.testing.assert_array_equal(np.isnan(result.values), np.isnan(data))
    finite = result.values[np.isfinite(result.values)]
    assert ((finite >= 0) & (finite <= 1)).all()
    assert result.dims == ("bands", "t", "y", "x")
    assert set(result.coords) == {"bands", "t", "y", "x"}


@pytest.mark.parametrize("percentile", [-0.1, 0, 1.1, 99])
def test_percentile_is_a_share(percentile: float) -> None:
    with pytest.raises(InputError, match="percentile"):
        normalize_array(patch(np.ones((1, 1, 1, 1))), percentile)


def test_optical_bands_are_the_reflectances() -> None:
    optical = select_optical_bands(patch(np.ones((4, 1, 2, 2))))
    assert optical.bands.values.tolist() == ["S2-L2A-B04", "S2-L2A-B8A"]


def test_bounds_are_those_of_the_pixel_centres() -> None:
    bounds = array_bounds(patch(np.ones((1, 1, 3, 4))))
    assert bounds == (500_005.0, 4_999_985.0, 500_035.0, 5_000_005.0)


positive = hnp.arrays(np.float64, (2, 2, 3, 3), elements=st.floats(1, 1e4))


@given(positive, positive, st.floats(0.1, 10))
@settings(deadline=None)  # the first example pays for imports
def test_similarity_is_the_cosine(first: np.ndarray, second: np.ndarray, factor: float) -> None:
    similarity = arrays_cosine_similarity(patch(first), patch(second))
    expected = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
    assert similarity == pytest.approx(expected)
    assert arrays_cosine_similarity(patch(second), patch(first)) == pytest.approx(similarity)
    assert arrays_cosine_similarity(patch(first), patch(first * factor)) == pytest.approx(1)


def test_similarity_leaves_nodata_out_and_finds_dimensions_by_name() -> None:
    first, second = np.ones((1, 1, 2, 3)), np.ones((1, 1, 2, 3))
    first[..., 0], second[..., 1] = np.nan, np.nan
    similarity = arrays_cosine_similarity(
        patch(first), patch(second).transpose("x", "y", "t", "bands")
    )
    assert similarity == pytest.approx(1)


def test_similarity_of_what_cannot_be_compared() -> None:
    ones = patch(np.ones((1, 1, 2, 2)))
    with pytest.raises(InputError, match="sizes"):
        arrays_cosine_similarity(ones, patch(np.ones((1, 1, 2, 3))))
    with pytest.raises(InputError, match="zeros"):
        arrays_cosine_similarity(ones, patch(np.zeros((1, 1, 2, 2))))
