"""Time the array kernels against scipy, scikit-image and plain numpy, in one run.

    pip install -e .[local,benchmarks]
    python benchmarks/bench_kernels.py
    python benchmarks/bench_kernels.py --size 288 --rounds 9

Frames are clouds in blobs, from cloud-free to overcast as a year has them (``--mixed``: no such
frame, the hardest case for the distance transform). Everything runs in one thread, peers and
kernels in turn; the best of the rounds counts. Results are compared before they are timed.
"""

# ruff: noqa: E402 - the number of threads is to be set before numpy is loaded

from __future__ import annotations

import os

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage, signal
from skimage.morphology import disk, erosion

from openeo_gfmap.local.engine.kernels import gaussian_kernel, scl_dilation_mask
from openeo_gfmap.local.engine.kernels_time import interpolate_gaps, mean, quantiles
from openeo_gfmap.preprocessing.udf_distance_to_cloud import distance_transform, erode_by_disk

FRAMES = 60
RADIUS = 3


def clouds(size: int, mixed: bool) -> np.ndarray:
    """Return masks (frame, y, x) of blobs of some 20 px."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((FRAMES, size, size)), (0, 8, 8))
    field /= field.std()
    # Sentinel-2 over Europe: a quarter of the frames clear, a quarter overcast.
    cover = np.linspace(0.1, 0.9, FRAMES) if mixed else np.linspace(-0.5, 1.5, FRAMES).clip(0, 1)
    order = np.sort(field.reshape(FRAMES, -1), axis=1)
    rank = ((1 - cover) * (size * size - 1)).astype(int)
    limit = order[np.arange(FRAMES), rank]
    limit[cover == 0], limit[cover == 1] = np.inf, -np.inf
    return field > limit[:, None, None]


def direct_dilation(scl: np.ndarray) -> np.ndarray:
    """openEO's dilation with scipy's convolution by FFT in double precision."""
    out = np.zeros(scl.shape, dtype=bool)
    for frame, masked in zip(scl, out, strict=True):
        suspect, cloud = frame != 4, frame == 9
        masked[...] = suspect.all()
        for mask, size, limit in ((suspect, 17, 0.057), (cloud, 77, 0.025)):
            kernel = gaussian_kernel(size).astype(float)
            sums = np.rint(signal.fftconvolve(mask.astype(float), kernel, mode="same"))
            np.logical_or(masked, sums / kernel.sum() > limit, out=masked)
    return out


def gathered(values: np.ndarray) -> np.ndarray:
    """Interpolate by indices of the neighbours: numpy's own functions only."""
    count = len(values)
    flat, place = values.reshape(count, -1), np.arange(count)[:, None]
    gaps = np.isnan(flat)
    before = np.maximum.accumulate(np.where(gaps, -1, place), axis=0)
    after = np.minimum.accumulate(np.where(gaps, count, place)[::-1], axis=0)[::-1]
    row, pixel = np.nonzero(gaps & (before >= 0) & (after < count))
    low, high = before[row, pixel], after[row, pixel]
    weight = ((row - low) / (high - low)).astype(values.dtype)
    out = flat.copy()
    out[row, pixel] = flat[low, pixel] * (1 - weight) + flat[high, pixel] * weight
    return out.reshape(values.shape)


def by_pixel(values: np.ndarray) -> np.ndarray:
    """Interpolate pixel by pixel, as a UDF with apply_along_axis does."""
    place = np.arange(len(values))

    def one(series: np.ndarray) -> np.ndarray:
        known = ~np.isnan(series)
        if not known.any():
            return series
        return np.interp(place, place[known], series[known], left=np.nan, right=np.nan)

    return np.apply_along_axis(one, 0, values)


def sorted_median(values: np.ndarray) -> np.ndarray:
    """Median by one sort along the first axis."""
    return _middle(np.sort(values.reshape(len(values), -1), axis=0), values)


def turned_median(values: np.ndarray) -> np.ndarray:
    """Median by one sort along a contiguous last axis, for which numpy has vector instructions."""
    turned = np.sort(np.ascontiguousarray(values.reshape(len(values), -1).T), axis=-1)
    return _middle(turned.T, values)


def _middle(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    count = len(ordered) - np.isnan(ordered).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.maximum(count, 1) // 2
    pixel = np.arange(ordered.shape[1])
    return ((ordered[low, pixel] + ordered[high, pixel]) / 2).reshape(values.shape[1:])


def timed(rounds: int, size: int, cases: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return nanoseconds per pixel, the cases taking turns."""
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: seconds / size * 1e9 for name, seconds in best.items()}


def report(what: str, found: dict[str, float]) -> None:
    ours, *peers = found
    least = min(found[peer] for peer in peers)
    row = ", ".join(f"{peer} {found[peer]:.1f}" for peer in peers)
    print(f"| {what} | {found[ours]:.2f} | {row} | {least / found[ours]:.1f} |", flush=True)


def spatial(size: int, rounds: int, mixed: bool) -> None:
    masks = clouds(size, mixed)
    scl = np.where(masks, 9, 4).astype("uint8")
    footprint = disk(RADIUS)
    expected = [ndimage.binary_erosion(frame, footprint, border_value=1) for frame in masks]
    eroded = erode_by_disk(masks, RADIUS)
    np.testing.assert_array_equal(eroded, expected)
    np.testing.assert_array_equal(scl_dilation_mask(scl), direct_dilation(scl))
    report("SCL dilation, 17 and 77", timed(rounds, masks.size, {
        "kernel": lambda: scl_dilation_mask(scl),
        "scipy fftconvolve": lambda: direct_dilation(scl),
    }))  # fmt: skip
    report(f"erosion by a disk of {RADIUS}", timed(rounds, masks.size, {
        "kernel": lambda: erode_by_disk(masks, RADIUS),
        "scipy": lambda: [ndimage.binary_erosion(f, footprint, border_value=1) for f in masks],
        "scikit-image": lambda: [erosion(frame, footprint) for frame in masks],
    }))  # fmt: skip
    for metric in ("chessboard", "taxicab"):
        expected = [ndimage.distance_transform_cdt(~frame, metric) for frame in eroded]
        np.testing.assert_array_equal(distance_transform(eroded, metric), expected)
        report(f"distance, {metric}", timed(rounds, masks.size, {
            "kernel": lambda m=metric: distance_transform(eroded, m),
            "scipy": lambda m=metric: [ndimage.distance_transform_cdt(~f, m) for f in eroded],
        }))  # fmt: skip
    report("erosion and distance, as the UDF", timed(rounds, masks.size, {
        "kernel": lambda: distance_transform(erode_by_disk(masks, RADIUS)),
        "scikit-image and scipy": lambda: [
            ndimage.distance_transform_cdt(~erosion(frame, footprint)) for frame in masks
        ],
    }))  # fmt: skip


def temporal(rounds: int) -> None:
    rng = np.random.default_rng(0)
    for dates, pixels in ((10, 2**18), (100, 13 * 64 * 64)):
        values = rng.random((dates, pixels), dtype="float32")
        values[rng.random(values.shape) < 0.3] = np.nan
        np.testing.assert_allclose(quantiles(values, [0.5])[0], sorted_median(values), rtol=1e-6)
        report(f"median of {dates}", timed(rounds, values.size, {
            "kernel": lambda v=values: quantiles(v, [0.5]),
            "numpy nanmedian": lambda v=values: np.nanmedian(v, axis=0),
            "sort": lambda v=values: sorted_median(v),
            "sort, turned": lambda v=values: turned_median(v),
        }))  # fmt: skip
        report(f"mean of {dates}", timed(rounds, values.size, {
            "kernel": lambda v=values: mean(v),
            "numpy nanmean": lambda v=values: np.nanmean(v, axis=0),
        }))  # fmt: skip
    np.testing.assert_allclose(
        interpolate_gaps(values, np.arange(100.0)), gathered(values), rtol=1e-5
    )
    report("interpolation of 100", timed(min(rounds, 3), values.size, {
        "kernel": lambda: interpolate_gaps(values, np.arange(100.0)),
        "numpy by indices": lambda: gathered(values),
        "apply_along_axis": lambda: by_pixel(values),
    }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=140, help="pixels along a frame")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mixed", action="store_true", help="no clear or overcast frames")
    args = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # of pixels without values
    print("| kernel | ns a value | peers | times the fastest |\n|-|-|-|-|")
    spatial(args.size, args.rounds, args.mixed)
    temporal(args.rounds)


if __name__ == "__main__":
    main()
