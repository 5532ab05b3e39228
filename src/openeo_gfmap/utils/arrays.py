"""Small operations on patches held as xarray arrays with dimensions bands, t, y, x."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openeo_gfmap.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["array_bounds", "arrays_cosine_similarity", "normalize_array", "select_optical_bands"]

_OPTICAL_PREFIX = "S2-L2A-B"


def normalize_array(inarr: xr.DataArray, percentile: float = 0.99) -> xr.DataArray:
    """Scale values to 0..1, band by band.

    Parameters
    ----------
    inarr : xarray.DataArray
        Dimensions t, y, x and any others, such as bands; NaN is nodata.
    percentile : float, default 0.99
        The quantile over t, y and x that becomes 1; larger values become 1 as well. The minimum
        becomes 0.

    Returns
    -------
    xarray.DataArray
        Floats of the same shape; NaN stays NaN, and a constant band becomes 0.

    Raises
    ------
    InputError
        When `percentile` is not within 0..1.
    """
    if not 0 < percentile <= 1:
        raise InputError(f"percentile={percentile!r} is not within 0..1; pass one such as 0.99.")
    dims = ["t", "y", "x"]
    minimum = inarr.min(dims)
    span = inarr.quantile(percentile, dims).drop_vars("quantile") - minimum
    return ((inarr - minimum) / span.where(span > 0, np.inf)).clip(max=1.0)


def select_optical_bands(inarr: xr.DataArray) -> xr.DataArray:
    """Return the reflectance bands of Sentinel-2, without SCL and other classes.

    Parameters
    ----------
    inarr : xarray.DataArray
        Has a `bands` coordinate of harmonised names.
    """
    names = [str(band) for band in inarr.coords["bands"].to_numpy()]
    return inarr.sel(bands=[name for name in names if name.startswith(_OPTICAL_PREFIX)])


def array_bounds(inarr: xr.DataArray) -> tuple[float, float, float, float]:
    """Return west, south, east and north of the pixel centres, in units of the x and y axes."""
    x, y = inarr.coords["x"], inarr.coords["y"]
    return (x.min().item(), y.min().item(), x.max().item(), y.max().item())


def arrays_cosine_similarity(first_array: xr.DataArray, second_array: xr.DataArray) -> float:
    """Return the cosine of the angle between two patches taken as vectors.

    Parameters
    ----------
    first_array, second_array : xarray.DataArray
        Same dimensions and sizes, values on a common scale; positions where either is NaN are left
        out.

    Returns
    -------
    float
        1 for patches equal up to a factor, 0 for unrelated ones.

    Raises
    ------
    InputError
        When the shapes differ, or one patch has nothing but zeros and nodata.
    """
    if dict(first_array.sizes) != dict(second_array.sizes):
        raise InputError(
            f"The patches have sizes {dict(first_array.sizes)} and {dict(second_array.sizes)}; "
            "crop or resample them to the same."
        )
    first = first_array.to_numpy().astype(float)
    second = second_array.transpose(*first_array.dims).to_numpy().astype(float)
    valid = np.isfinite(first) & np.isfinite(second)
    norms = np.linalg.norm(first[valid]) * np.linalg.norm(second[valid])
    if norms == 0:
        raise InputError(
            "A patch of nothing but zeros and nodata has no direction; leave it out of the "
            "comparison."
        )
    return float(first[valid] @ second[valid] / norms)
