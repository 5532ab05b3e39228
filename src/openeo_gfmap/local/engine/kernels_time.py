"""Kernels along the first axis, most often time: quantiles, mean, and gaps filled in.

All work on float arrays in which NaN is missing, on many pixels at a time. What decides on a
pixel's value is arithmetic, not indexing: numpy's minimum, maximum and bitwise operations run at
the speed of memory, ten times as fast as selecting with a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .bits import bit_masks, choose

__all__ = ["interpolate_gaps", "mean", "quantiles"]

NdArray = np.ndarray[Any, Any]

# Up to this many values a sorting network on whole rows of pixels beats sorting pixel by pixel.
_NETWORK = 24
# Pixels that are worked on together: enough to make calls worth it, few enough for the caches.
_PIXELS = 2**14


def quantiles(values: NdArray, probabilities: Sequence[float]) -> list[NdArray]:
    """Return quantiles along axis 0, linear between order statistics (type 7), ignoring NaN.

    Parameters
    ----------
    values
        Float array, any shape, at least one value along axis 0.
    probabilities
        Each from 0 to 1.

    Returns
    -------
    list of numpy.ndarray
        One array per probability, of the shape of the other axes; NaN where all values are.
    """
    flat = values.reshape(len(values), -1)
    results = [np.empty(flat.shape[1], dtype=values.dtype) for _ in probabilities]
    for part in _blocks(flat.shape[1]):
        count = len(flat) - _sum_of_true(np.isnan(flat[:, part]))
        # Rows of the sorted values as one line, and the step from one order statistic to the next.
        line, step, start = _sorted(flat[:, part])
        for result, probability in zip(results, probabilities, strict=True):
            position = np.maximum(count - 1, 0) * probability
            low = np.floor(position).astype(np.intp)
            high = np.ceil(position).astype(np.intp)
            weight = (position - low).astype(values.dtype)
            lower, upper = line.take(low * step + start), line.take(high * step + start)
            with np.errstate(invalid="ignore"):
                # No weighting where both are one, so that infinite values stay.
                between = lower * (1 - weight) + upper * weight
            found = np.where(low == high, lower, between)
            found[count == 0] = np.nan
            result[part] = found
    return [result.reshape(values.shape[1:]) for result in results]


def _sorted(values: NdArray) -> tuple[NdArray, int, NdArray]:
    """Sort along axis 0; NaN comes last, as infinity.

    Returns the values in one line, the step from a value of a pixel to its next, and where the
    first value of each pixel is.
    """
    length, pixels = values.shape
    if length > _NETWORK:
        turned = np.array(values.T, order="C")
        np.fmin(turned, np.inf, out=turned)
        turned.sort(axis=-1)
        return turned.reshape(-1), 1, np.arange(pixels) * length
    ordered = np.fmin(values, np.inf, order="C")
    rows = list(ordered)
    smaller = np.empty(pixels, dtype=values.dtype)
    for first, second in _network(length):
        np.minimum(rows[first], rows[second], out=smaller)
        np.maximum(rows[first], rows[second], out=rows[second])
        rows[first][:] = smaller
    return ordered.reshape(-1), pixels, np.arange(pixels)


@lru_cache(maxsize=_NETWORK)
def _network(length: int) -> tuple[tuple[int, int], ...]:
    """Return the comparisons of Batcher's odd-even merge sort, smaller index first."""
    found = []
    merged = 1
    while merged < length:
        step = merged
        while step:
            for start in range(step % merged, length - step, 2 * step):
                for i in range(start, min(start + step, length - step)):
                    if i // (2 * merged) == (i + step) // (2 * merged):
                        found.append((i, i + step))
            step //= 2
        merged *= 2
    return tuple(found)


def mean(values: NdArray) -> NdArray:
    """Return the mean along axis 0, ignoring NaN, in double precision; NaN where all values are.

    Parameters
    ----------
    values
        Float array, any shape.
    """
    flat = values.reshape(len(values), -1)
    total = np.zeros(flat.shape[1])
    for part in _blocks(flat.shape[1]):
        count = len(flat) - _sum_of_true(np.isnan(flat[:, part]))
        for row in flat[:, part]:
            # Both are 0 for NaN, and one of them is 0 otherwise.
            total[part] += np.fmax(row, 0)
            total[part] += np.fmin(row, 0)
        total[part] /= np.where(count == 0, np.nan, count)
    return total.reshape(values.shape[1:])


def interpolate_gaps(values: NdArray, positions: NdArray) -> NdArray:
    """Fill NaN between values along axis 0, linearly in the positions.

    Parameters
    ----------
    values
        Float array, any shape.
    positions
        Ascending positions along axis 0.

    Returns
    -------
    numpy.ndarray
        The filled array; NaN before the first and after the last value of a pixel stays.
    """
    flat = values.reshape(len(values), -1)
    places = (positions - positions[:1]).astype(values.dtype)
    out = np.empty(flat.shape, dtype=values.dtype)
    for part in _blocks(flat.shape[1]):
        _fill(flat[:, part], places, out[:, part])
    return out.reshape(values.shape)


def _fill(values: NdArray, places: NdArray, out: NdArray) -> None:
    """Sweep back to note the next value of each pixel, and forth to fill in."""
    pixels = values.shape[1]
    after = np.empty((len(values), pixels), dtype=values.dtype)
    after_place = np.empty_like(after)
    missing = np.full(pixels, np.nan, dtype=values.dtype)
    masks = [bit_masks(row, values.dtype) for row in np.isnan(values)]
    following, following_place = missing, missing
    for i in range(len(values) - 1, -1, -1):
        place = np.full(pixels, places[i])
        choose(masks[i], following, values[i], after[i])
        choose(masks[i], following_place, place, after_place[i])
        following, following_place = after[i], after_place[i]
    known, known_place = missing.copy(), missing.copy()
    with np.errstate(all="ignore"):
        for i, mask in enumerate(masks):
            place = np.full(pixels, places[i])
            choose(mask, known, values[i], known)
            choose(mask, known_place, place, known_place)
            weight = (places[i] - known_place) / (after_place[i] - known_place)
            # Weighted ends, not a slope: infinite neighbours stay infinite. At the ends of the
            # series one neighbour is NaN, and so is the result.
            filled = known * (1 - weight) + after[i] * weight
            choose(mask, filled, values[i], out[i])


def _sum_of_true(found: NdArray) -> NdArray:
    """Count along axis 0, in the smallest type that can hold it."""
    kind = np.min_scalar_type(len(found))
    count: NdArray = np.add.reduce(found.view(np.uint8), axis=0, dtype=kind)
    return count.astype(np.intp)


def _blocks(pixels: int) -> Iterator[slice]:
    for start in range(0, pixels, _PIXELS):
        yield slice(start, min(start + _PIXELS, pixels))
