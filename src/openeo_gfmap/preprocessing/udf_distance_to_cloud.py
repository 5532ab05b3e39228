"""UDF: distance of every pixel to the nearest cloud, in pixels.

Sent to the back-end as text, so it stands alone: numpy, scipy, xarray and the openEO client only.

Input: a cube (t, bands, y, x) whose first band is the Sentinel-2 scene classification (SCL).
Output: int32, same dimensions and coordinates, one band: the chessboard distance to the nearest
cloud pixel (0 on a cloud), or -1 in a frame without cloud.
"""

from typing import Any

import numpy as np
import xarray as xr
from openeo.udf import XarrayDataCube
from scipy import ndimage

EROSION_RADIUS = 3  # px: specks of cloud smaller than this are taken for misclassification


def disk(radius: int) -> np.ndarray:
    """Return the pixels within `radius` of the centre, as a boolean square."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x**2 + y**2 <= radius**2)


def distance_to_cloud(scl: np.ndarray) -> np.ndarray:
    """Return the distance to cloud of each frame of an SCL array (t, y, x).

    Clouds are SCL 3 (shadow) and 8 to 10 (medium and high probability, cirrus).
    """
    clouds = ((scl >= 8) & (scl < 11)) | (scl == 3)
    distance = np.empty(scl.shape, dtype=np.int32)
    footprint = disk(EROSION_RADIUS)
    for frame, cloud in enumerate(clouds):
        # Beyond the edge counts as cloud, so that a cloud cut by the edge is not eroded from there.
        eroded = ndimage.binary_erosion(cloud, footprint, border_value=1)
        distance[frame] = ndimage.distance_transform_cdt(~eroded)
    return distance


def apply_datacube(cube: XarrayDataCube, context: dict[str, Any]) -> XarrayDataCube:
    """Entry point of the back-end."""
    array = cube.get_array().transpose("t", "bands", "y", "x")
    scl = array.isel(bands=slice(0, 1))
    distance = distance_to_cloud(scl.values[:, 0])
    return XarrayDataCube(xr.DataArray(distance[:, None], dims=scl.dims, coords=scl.coords))
