"""UDF: mask of the observations that are not the best of their interval.

Sent to the back-end as text, so it stands alone: numpy, xarray and the openEO client only.

Input: a cube (t, bands, y, x) whose first band is a score, and the context ``{"intervals": [[first
date, last date], ...]}``, both dates inclusive.
Output: uint8, same dimensions and coordinates, one band: 0 where an observation has the greatest
score of its interval, 1 where it has not, or lies within no interval.
"""

from typing import Any

import numpy as np
import xarray as xr
from openeo.udf import XarrayDataCube


def mask_all_but_best(
    score: np.ndarray, dates: np.ndarray, intervals: list[list[str]]
) -> np.ndarray:
    """Return the mask for a score (t, y, x) observed on `dates`."""
    mask = np.ones(score.shape, dtype=np.uint8)
    days = dates.astype("datetime64[D]")
    for first, last in intervals:
        inside = (days >= np.datetime64(first, "D")) & (days <= np.datetime64(last, "D"))
        if inside.any():
            best = score[inside].max(axis=0)
            mask[inside] = score[inside] != best
    return mask


def apply_datacube(cube: XarrayDataCube, context: dict[str, Any]) -> XarrayDataCube:
    """Entry point of the back-end."""
    intervals = context.get("intervals")
    if not isinstance(intervals, list):
        raise ValueError(f"context['intervals'] is {intervals!r}; expected a list of date pairs")
    array = cube.get_array().transpose("t", "bands", "y", "x").isel(bands=slice(0, 1))
    mask = mask_all_but_best(array.values[:, 0], array["t"].values, intervals)
    return XarrayDataCube(xr.DataArray(mask[:, None], dims=array.dims, coords=array.coords))
