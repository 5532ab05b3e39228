"""UDF: score of every observation as the best available pixel (BAP) of its period.

Sent to the back-end as text, so it stands alone: numpy, xarray and the openEO client only.

Input: a cube (t, bands, y, x) whose first band is the Sentinel-2 scene classification (SCL), 0
where nothing was observed.
Output: float64, same dimensions and coordinates, one band: 0 where nothing was observed, else the
weighted mean of three scores, each greater for better.
"""

import math
from typing import Any

import numpy as np
import xarray as xr
from openeo.udf import XarrayDataCube

WEIGHT_DISTANCE, WEIGHT_DAY, WEIGHT_COVERAGE = 1.0, 0.8, 0.5

EROSION_RADIUS = 3  # px: specks of cloud smaller than this are taken for misclassification
CLEAR_DISTANCE = 50  # px: beyond this a cloud no longer matters
STEEPNESS = 0.2  # of the logistic curve of the distance, per px
BEST_DAY, DAY_SPREAD = 15, 5  # mean and standard deviation of the day of the month


def score_distance(clouds: np.ndarray) -> np.ndarray:
    """Score the chessboard distance to cloud of masks (t, y, x) by a logistic curve."""
    distance = distance_transform(erode_by_disk(clouds, EROSION_RADIUS))
    distance[distance == -1] = CLEAR_DISTANCE  # a frame without cloud
    reach = np.minimum(distance, CLEAR_DISTANCE) - CLEAR_DISTANCE / 2
    return np.asarray(1 / (1 + np.exp(-STEEPNESS * reach)))


def score_day(days: np.ndarray) -> np.ndarray:
    """Score days of the month by the normal density around the best one."""
    deviation = (days - BEST_DAY) / DAY_SPREAD
    return np.asarray(np.exp(-0.5 * deviation**2) / (DAY_SPREAD * np.sqrt(2 * np.pi)))


def score_coverage(clouds: np.ndarray) -> np.ndarray:
    """Return the share of clear pixels of masks (t, y, x), one per frame."""
    return np.asarray(1 - clouds.mean(axis=(1, 2)))


# The following functions are those of udf_distance_to_cloud.py: UDFs cannot import each other.


def erode_by_disk(masks: np.ndarray, radius: int) -> np.ndarray:
    """Erode each mask of (t, y, x): set stays what is set all around, up to `radius`.

    Beyond the edge counts as set, so that a cloud cut by the edge is not eroded from there.
    """
    out = masks.copy()
    # A row dy of the disk reaches to dx = sqrt(r² - dy²); `across` is the masks eroded along x by
    # that much, which grows as dy shrinks. All frames at once: 4 operations per pixel of radius.
    across, reach = masks.copy(), 0
    for dy in range(radius, -1, -1):
        while reach < math.isqrt(radius**2 - dy**2):
            reach += 1
            across[:, :, reach:] &= masks[:, :, :-reach]
            across[:, :, :-reach] &= masks[:, :, reach:]
        rows = max(masks.shape[1] - dy, 0)
        out[:, dy:] &= across[:, :rows]
        out[:, :rows] &= across[:, dy:]
    return out


def distance_transform(targets: np.ndarray, metric: str = "chessboard") -> np.ndarray:
    """Return the distance of each pixel of (t, y, x) to the nearest target of its frame, int32.

    The metric is "chessboard" or "taxicab"; frames without target have -1. Equal to
    ``scipy.ndimage.distance_transform_cdt(~target, metric)`` frame by frame, five times as fast:
    the loops go over columns and rows, whose pixels in all frames are one vector.
    """
    distance = np.empty(targets.shape, dtype=np.int32)
    some, only = targets.any(axis=(1, 2)), targets.all(axis=(1, 2))
    distance[~some] = -1
    distance[only] = 0
    mixed = np.flatnonzero(some & ~only)
    if not mixed.size:
        return distance
    rows, columns = targets.shape[1:]
    diagonal = metric == "chessboard"
    far = max(rows, columns) if diagonal else rows + columns  # more than any distance
    kind = np.min_scalar_type(far + max(rows, columns))

    # Pixel x of all rows and frames is a line. Distances within a row spread from line to line.
    turned = np.empty((columns, mixed.size, rows), dtype=bool)
    for place, frame in enumerate(mixed):
        turned[:, place] = targets[frame].T
    clear = np.logical_not(turned, out=turned)
    across = np.multiply(clear, kind.type(far), dtype=kind)
    spread(across)

    # The same for y. With diagonal steps, a column of far pixels keeps frames apart.
    pad = int(diagonal)
    down = np.full((rows, mixed.size, columns + 2 * pad), far, dtype=kind)
    inner = down[:, :, pad : pad + columns]
    for place in range(mixed.size):
        inner[:, place] = np.ascontiguousarray(across[:, place]).T
    spread(down, diagonal)
    for place, frame in enumerate(mixed):
        distance[frame] = inner[:, place]
    return distance


def spread(lines: np.ndarray, diagonal: bool = False) -> None:
    """Lower each line, in place, to the least of any line plus its distance, in lines.

    With `diagonal`, a step to the next line may also go one pixel to either side along the last
    axis; the first and the last pixel there belong to nobody.
    """
    # The distance is added before and taken off after, so that each step is a plain minimum.
    # Unsigned numbers wrap around and back.
    count = len(lines)
    place = np.arange(count).reshape(-1, 1, 1)
    lines += (count - 1 - place).astype(lines.dtype)
    sweep(lines, diagonal)
    lines += (2 * place + 1 - count).astype(lines.dtype)
    sweep(lines[::-1], diagonal)
    lines -= place.astype(lines.dtype)


def sweep(lines: np.ndarray, diagonal: bool) -> None:
    """Lower each line, in place, to the one before it; the first stays."""
    if not diagonal:
        before = lines[0]
        for line in lines[1:]:
            np.minimum(line, before, out=line)
            before = line
        return
    flat = lines.reshape(len(lines), -1)
    ends = np.zeros(lines.shape[1:], dtype=lines.dtype)
    ends[:, [0, -1]] = np.iinfo(lines.dtype).max
    ends = ends.ravel()[1:-1]
    least = np.empty_like(ends)
    left, middle, right = flat[:-1, :-2], flat[:-1, 1:-1], flat[:-1, 2:]
    # Back-ends may have a Python older than 3.10, whose zip is never strict.
    for a, b, c, line in zip(left, middle, right, flat[1:, 1:-1]):  # noqa: B905
        np.minimum(a, c, out=least)
        np.minimum(least, b, out=least)
        np.maximum(least, ends, out=least)
        np.minimum(line, least, out=line)


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
