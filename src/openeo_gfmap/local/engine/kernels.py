"""Array kernels that are worth more than a chain of value processes: SCL dilation, scaling cast."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["SCL_MASK1", "SCL_MASK2", "gaussian_kernel", "linear_scale_cast", "scl_dilation_mask"]

SCL_MASK1 = (2, 4, 5, 6, 7)
"""SCL classes that are clear; all others are dilated by the small kernel."""

SCL_MASK2 = (3, 8, 9, 10, 11)
"""SCL classes that are cloud, shadow, cirrus or snow; dilated by the large kernel."""

_THRESHOLD1, _THRESHOLD2 = 0.057, 0.025

# Pixels along a block of the separable convolution: longer ones multiply more zeros, shorter ones
# more context. And pixels per batch of frames: the floats of one stay in the caches.
_BLOCK = 64
_BATCH_PIXELS = 2**18


def scl_dilation_mask(  # noqa: PLR0917  (the order of the openEO parameters)
    scl: np.ndarray[Any, Any],
    nodata: float | None = None,
    kernel1_size: int = 17,
    kernel2_size: int = 77,
    mask1_values: Collection[int] = SCL_MASK1,
    mask2_values: Collection[int] = SCL_MASK2,
    erosion_kernel_size: int = 0,
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mask clouds, their shadows and their surroundings from a scene classification.

    Mask 1 is set where ``scl`` is *not* one of ``mask1_values`` (missing pixels are set), mask 2
    where it *is* one of ``mask2_values``. Each is eroded, then dilated; the result is their OR.

    - Erosion: by a centred disk of radius ``erosion_kernel_size // 2``. A pixel stays set if all
      pixels with dx² + dy² <= r² around it are set. Pixels beyond the array do not count.
    - Dilation: convolution with a Gaussian of side k and sigma k / 6, built as integers
      ``floor(10000 exp(-(dx² + dy²) / 2 sigma²))`` and divided by their sum, set where the
      result exceeds 0.057 (mask 1) or 0.025 (mask 2). Beyond the array nothing is set.
    - If every pixel of a frame is set in mask 1 before the erosion, all of it is masked.

    A mask whose kernel size is 0 goes into the result undilated.

    Parameters
    ----------
    scl
        Scene classification, any integer or float dtype, dims (..., y, x); with
        ``kernel2_size // 2`` pixels of context around the pixels of interest.
    nodata
        Value of missing pixels, besides NaN.
    kernel1_size, kernel2_size
        Sides of the two kernels in pixels; 0 skips the dilation.
    mask1_values, mask2_values
        SCL classes, see above.
    erosion_kernel_size
        Diameter of the erosion disk in pixels; 0 skips the erosion.

    Returns
    -------
    numpy.ndarray
        Boolean array of the same shape, True where masked.
    """
    frames = scl.reshape(-1, *scl.shape[-2:])
    valid = np.ones(frames.shape, dtype=bool) if nodata is None else frames != nodata
    mask1 = ~(_is_in(frames, mask1_values) & valid)
    mask2 = _is_in(frames, mask2_values) & valid
    nothing_clear = mask1.all(axis=(1, 2))
    radius = erosion_kernel_size // 2
    mask = _dilate(_erode(mask1, radius), kernel1_size, _THRESHOLD1)
    mask |= _dilate(_erode(mask2, radius), kernel2_size, _THRESHOLD2)
    mask[nothing_clear] = True
    return mask.reshape(scl.shape)


def _is_in(
    values: np.ndarray[Any, Any], classes: Collection[int]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    found: np.ndarray[Any, np.dtype[np.bool_]]
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        table = np.zeros(np.iinfo(values.dtype).max + 1, dtype=bool)
        table[[c for c in classes if 0 <= c < len(table)]] = True
        found = table[values]
    else:
        found = np.isin(values, list(classes))
    return found


def _erode(mask: np.ndarray[Any, Any], radius: int) -> np.ndarray[Any, Any]:
    """Erode by a Euclidean disk, row of the disk by row: 4 r array operations, exact."""
    if radius <= 0:
        return mask
    out = mask.copy()
    # A row dy of the disk reaches to dx = sqrt(r² - dy²); `across` is the mask eroded along x by
    # that much, which grows as dy shrinks.
    across, reach = mask.copy(), 0
    for dy in range(radius, -1, -1):
        while reach < math.isqrt(radius**2 - dy**2):
            reach += 1
            if reach < mask.shape[2]:
                across[:, :, reach:] &= mask[:, :, :-reach]
                across[:, :, :-reach] &= mask[:, :, reach:]
        if dy == 0:
            out &= across
        elif dy < mask.shape[1]:
            out[:, dy:] &= across[:, :-dy]
            out[:, :-dy] &= across[:, dy:]
    return out


@lru_cache(maxsize=16)
def gaussian_kernel(size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the integer Gaussian of side ``size`` and sigma size / 6, 10000 in the centre.

    For an even side the centre is at index ``size // 2``.
    """
    offsets = np.arange(size) - size // 2
    squared = offsets[:, np.newaxis] ** 2 + offsets**2
    weights = 10000 * np.exp(-squared / (2 * (size / 6) ** 2))
    kernel: np.ndarray[Any, np.dtype[np.int64]] = np.floor(weights).astype(np.int64)
    kernel.setflags(write=False)
    return kernel


def _dilate(mask: np.ndarray[Any, Any], size: int, threshold: float) -> np.ndarray[Any, Any]:
    """Convolve with the Gaussian and compare with the threshold, exactly.

    The convolution is a sum of integers, so that ``sum / total > threshold`` is the same as
    ``sum >= limit`` for an integer limit. The Gaussian before its rounding down is the product of
    two vectors: two matrix products find its sums, which are greater than those of integers by no
    more than all that was rounded off. The few pixels this leaves open are summed in integers.
    """
    if size <= 0:
        return mask
    out = np.zeros(mask.shape, dtype=bool)
    busy = np.flatnonzero(mask.any(axis=(1, 2)))
    kernel = gaussian_kernel(size)
    total = int(kernel.sum())
    limit = _limit(total, threshold)
    profile = _profile(size)
    rounded_off = float(np.outer(profile, profile).sum()) - total
    # Rounding of two chains of at most _BLOCK + size products and sums in single precision.
    chain = 2 * (_BLOCK + size) * float(np.finfo(np.float32).eps)
    below = limit / (1 + chain) - 1
    above = (limit + rounded_off) / (1 - chain) + 1
    batch = max(1, _BATCH_PIXELS // (mask.shape[1] * mask.shape[2]))
    for start in range(0, busy.size, batch):
        index = busy[start : start + batch]
        sums = _separable_sums(mask[index], size)
        decided = sums >= above
        near = np.argwhere((sums >= below) & ~decided)
        if near.size:
            decided[tuple(near.T)] = _exact_sums(mask[index], near, kernel) >= limit
        out[index] = decided
    return out


def _limit(total: int, threshold: float) -> int:
    """Return the smallest integer whose quotient by ``total`` exceeds the threshold."""
    limit = math.floor(threshold * total) - 1
    while limit / total <= threshold:
        limit += 1
    return limit


def _profile(size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the vector whose outer product with itself is the Gaussian before rounding down."""
    offsets = np.arange(size) - size // 2
    return np.asarray(100 * np.exp(-(offsets**2) / (2 * (size / 6) ** 2)))


@lru_cache(maxsize=16)
def _band_matrix(size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the matrix that turns a stretch of pixels with context into a block of sums.

    Its shape is (_BLOCK + size - 1, _BLOCK); column j holds the profile from row j on.
    """
    matrix = np.zeros((_BLOCK + size - 1, _BLOCK), dtype=np.float32)
    for column in range(_BLOCK):
        matrix[column : column + size, column] = _profile(size)
    matrix.setflags(write=False)
    return matrix


def _separable_sums(masks: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Convolve masks (frame, row, column) with the unrounded Gaussian, in single precision."""
    frames, rows, columns = masks.shape
    before, after = size // 2, size - 1 - size // 2
    matrix = _band_matrix(size)
    flat = masks.reshape(frames * rows, columns).astype(np.float32)
    across = np.empty_like(flat)
    for low, high, first, last in _blocks(columns, before, after):
        part = matrix[first - low + before : last - low + before, : high - low]
        np.matmul(flat[:, first:last], part, out=across[:, low:high])
    across = across.reshape(masks.shape)
    sums = flat.reshape(masks.shape)  # no longer needed as the masks
    for low, high, first, last in _blocks(rows, before, after):
        part = matrix[first - low + before : last - low + before, : high - low]
        np.matmul(part.T, across[:, first:last], out=sums[:, low:high])
    return sums


def _blocks(length: int, before: int, after: int) -> Iterator[tuple[int, int, int, int]]:
    """Split a side: each block's start and end, and those of the pixels that it depends on."""
    for low in range(0, length, _BLOCK):
        high = min(low + _BLOCK, length)
        yield low, high, max(low - before, 0), min(high + after, length)


def _exact_sums(
    masks: np.ndarray[Any, Any], pixels: np.ndarray[Any, Any], kernel: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Sum the kernel over the set pixels around each of some pixels (frame, row, column)."""
    size = kernel.shape[0]
    before, after = size // 2, size - 1 - size // 2
    padded = np.pad(masks, ((0, 0), (before, after), (before, after)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(1, 2))
    # Sums of integers are exact in floats that hold the largest of them, and faster.
    exact = np.float32 if int(kernel.sum()) < 2**24 else np.float64
    weights = kernel.astype(exact).ravel()
    sums = np.empty(len(pixels), dtype=exact)
    for start in range(0, len(pixels), 64):  # the gathered windows stay in the caches
        chosen = windows[tuple(pixels[start : start + 64].T)].astype(exact)
        sums[start : start + 64] = chosen.reshape(len(chosen), -1) @ weights
    return sums


def linear_scale_cast(  # noqa: PLR0917  (the order of the openEO parameters)
    data: np.ndarray[Any, Any],
    nodata: float | None,
    input_min: float,
    input_max: float,
    output_min: float = 0,
    output_max: float = 1,
) -> tuple[np.ndarray[Any, Any], float | None]:
    """Scale values linearly; integer output bounds double as a cast, as on CDSE.

    Values are clipped to the input range first. The output dtype follows from the output bounds
    when both are integers (``65534``, not ``65534.0``), at least 0, and more than 1 apart:
    uint8 with nodata 255 up to 254, uint16 with nodata 65535 up to 65534; the fraction is cut
    off. Otherwise the result is float with NaN for missing.

    Parameters
    ----------
    data
        Values of any numeric dtype and shape; NaN is missing.
    nodata
        Value of missing pixels in an integer array.
    input_min, input_max
        Range of the input.
    output_min, output_max
        Range of the output.

    Returns
    -------
    tuple
        The scaled array and its nodata value (None for floats).
    """
    target, missing_value = _cast_target(output_min, output_max)
    identity = input_min == output_min and input_max == output_max
    if target is not None and identity and data.dtype.kind in "iu":
        # Integers that only change their type never go through float.
        info = np.iinfo(data.dtype)
        low, high = max(math.ceil(input_min), info.min), min(math.floor(input_max), info.max)
        out = np.clip(data, low, high).astype(target)
        if nodata is not None:
            out[data == nodata] = missing_value
        return out, missing_value
    wide = data.dtype.itemsize > (4 if data.dtype.kind == "f" else 2) or target is not None
    values: np.ndarray[Any, Any] = data.astype(np.float64 if wide else np.float32)
    if nodata is not None and data.dtype.kind != "f":
        values[data == nodata] = np.nan
    np.clip(values, input_min, input_max, out=values)
    if not identity:
        with np.errstate(divide="ignore", invalid="ignore"):
            # A range of no width has no scale: NaN, which is missing.
            scale = np.float64(output_max - output_min) / np.float64(input_max - input_min)
            np.subtract(values, input_min, out=values)
            np.multiply(values, scale, out=values)
            np.add(values, output_min, out=values)
    if target is None or missing_value is None:
        return values, None
    missing = np.isnan(values)
    values[missing] = missing_value
    return values.astype(target), missing_value


def _cast_target(low: float, high: float) -> tuple[np.dtype[Any] | None, int | None]:
    integers = isinstance(low, int) and isinstance(high, int)
    if not integers or low < 0 or high - low <= 1:
        return None, None
    if high <= 254:
        return np.dtype(np.uint8), 255
    if high <= 65534:
        return np.dtype(np.uint16), 65535
    return None, None
