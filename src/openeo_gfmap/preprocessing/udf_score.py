"""UDF: score of every observation as the best available pixel (BAP) of its period.

Sent to the back-end as text, so it stands alone: numpy, scipy, xarray and the openEO client only.

Input: a cube (t, bands, y, x) whose first band is the Sentinel-2 scene classification (SCL), 0
where nothing was observed.
Output: float64, same dimensions and coordinates, one band: 0 where nothing was observed, else the
weighted mean of three scores, each greater for better.
"""

from typing import Any

import numpy as np
import xarray as xr
from openeo.udf import XarrayDataCube
from scipy import ndimage

WEIGHT_DISTANCE, WEIGHT_DAY, WEIGHT_COVERAGE = 1.0, 0.8, 0.5

EROSION_RADIUS = 3  # px: specks of cloud smaller than this are taken for misclassification
CLEAR_DISTANCE = 50  # px: beyond this a cloud no longer matters
STEEPNESS = 0.2  # of the logistic curve of the distance, per px
BEST_DAY, DAY_SPREAD = 15, 5  # mean and standard deviation of the day of the month


def disk(radius: int) -> np.ndarray:
    """Return the pixels within `radius` of the centre, as a boolean square."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x**2 + y**2 <= radius**2)


def score_distance(clouds: np.ndarray) -> np.ndarray:
    """Score the chessboard distance to cloud of masks (t, y, x) by a logistic curve."""
    footprint = disk(EROSION_RADIUS)
    distance = np.empty(clouds.shape)
    for frame, cloud in enumerate(clouds):
        # Beyond the edge counts as cloud, so that a cloud cut by the edge is not eroded from there.
        eroded = ndimage.binary_erosion(cloud, footprint, border_value=1)
        distance[frame] = ndimage.distance_transform_cdt(~eroded)
    distance[distance == -1] = CLEAR_DISTANCE  # scipy's answer for a frame without cloud
    reach = np.minimum(distance, CLEAR_DISTANCE) - CLEAR_DISTANCE / 2
    return np.asarray(1 / (1 + np.exp(-STEEPNESS * reach)))


def score_day(days: np.ndarray) -> np.ndarray:
    """Score days of the month by the normal density around the best one."""
    deviation = (days - BEST_DAY) / DAY_SPREAD
    return np.asarray(np.exp(-0.5 * deviation**2) / (DAY_SPREAD * np.sqrt(2 * np.pi)))


def score_coverage(clouds: np.ndarray) -> np.ndarray:
    """Return the share of clear pixels of masks (t, y, x), one per frame."""
    return np.asarray(1 - clouds.mean(axis=(1, 2)))


def apply_datacube(cube: XarrayDataCube, context: dict[str, Any]) -> XarrayDataCube:
    """Entry point of the back-end."""
    array = cube.get_array().transpose("t", "bands", "y", "x").isel(bands=slice(0, 1))
    scl = array.values[:, 0]
    clouds = ((scl >= 8) & (scl < 11)) | (scl == 3)
    total = (
        WEIGHT_DISTANCE * score_distance(clouds)
        + WEIGHT_DAY * score_day(array["t"].dt.day.values)[:, None, None]
        + WEIGHT_COVERAGE * score_coverage(clouds)[:, None, None]
    )
    score = total / (WEIGHT_DISTANCE + WEIGHT_DAY + WEIGHT_COVERAGE)
    score[scl == 0] = 0
    return XarrayDataCube(xr.DataArray(score[:, None], dims=array.dims, coords=array.coords))
