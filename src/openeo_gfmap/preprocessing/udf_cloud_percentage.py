"""UDF: mask of the observations that are almost all cloud.

Sent to the back-end as text, so it stands alone: numpy, xarray and the openEO client only.

Input: a cube (t, bands, y, x) whose first band is the Sentinel-2 scene classification (SCL), and
the context ``{"percentage": share from 0 to 1}``.
Output: uint8, same dimensions and coordinates, one band: 1 on dates where the share of high
probability cloud (class 9) exceeds the given one, else 0.
"""

from typing import Any

import numpy as np
import xarray as xr
from openeo.udf import XarrayDataCube

HIGH_PROBABILITY_CLOUD = 9


def apply_datacube(cube: XarrayDataCube, context: dict[str, Any]) -> XarrayDataCube:
    """Entry point of the back-end."""
    array = cube.get_array().transpose("t", "bands", "y", "x").isel(bands=slice(0, 1))
    share = (array.values == HIGH_PROBABILITY_CLOUD).mean(axis=(1, 2, 3))
    mask = np.zeros(array.shape, dtype=np.uint8)
    mask[share > context["percentage"]] = 1
    return XarrayDataCube(xr.DataArray(mask, dims=array.dims, coords=array.coords))
