"""Temporal compositing: fewer, better observations.

A period is either the name of a calendar period ("week", "dekad", "month" and so on) or a list of
date pairs such as `openeo_gfmap.utils.quintad_intervals` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import openeo
from openeo.processes import ProcessBuilder

from openeo_gfmap.errors import InputError
from openeo_gfmap.metadata import band_names

__all__ = [
    "Period",
    "max_ndvi_compositing",
    "mean_compositing",
    "median_compositing",
    "sum_compositing",
]

#: Name of a calendar period, or pairs of first and last date.
Period: TypeAlias = str | Sequence[Sequence[str]]

#: Calendar periods of openEO's ``aggregate_temporal_period``.
CALENDAR_PERIODS = (
    "hour",
    "day",
    "week",
    "dekad",
    "month",
    "season",
    "tropical-season",
    "year",
    "decade",
    "decade-ad",
)

_NEAR_INFRARED, _RED = "S2-L2A-B08", "S2-L2A-B04"


def median_compositing(cube: openeo.DataCube, period: Period) -> openeo.DataCube:
    """Return the median of each pixel, band and period; nodata is left out.

    Parameters
    ----------
    cube : openeo.DataCube
        Dimensions t, bands, y, x.
    period : str or list of pairs of str
        Calendar period, or first and last date of each interval.

    Returns
    -------
    openeo.DataCube
        One t per period.

    Raises
    ------
    InputError
        When `period` is neither.
    """
    return _aggregate(cube, period, "median")


def mean_compositing(cube: openeo.DataCube, period: Period) -> openeo.DataCube:
    """Return the mean of each pixel, band and period; see `median_compositing`."""
    return _aggregate(cube, period, "mean")


def sum_compositing(cube: openeo.DataCube, period: Period) -> openeo.DataCube:
    """Return the sum of each pixel, band and period; see `median_compositing`."""
    return _aggregate(cube, period, "sum")


def max_ndvi_compositing(cube: openeo.DataCube, period: str) -> openeo.DataCube:
    """Return, for each pixel and period, all bands of the observation with the greatest NDVI.

    Parameters
    ----------
    cube : openeo.DataCube
        Has the bands S2-L2A-B04 and S2-L2A-B08.
    period : str
        Calendar period.

    Raises
    ------
    InputError
        When a band is missing or `period` is no calendar period.
    """
    if not isinstance(period, str):
        raise InputError(
            f"period={period!r}: the greatest NDVI is found for calendar periods only; use one of "
            f"{', '.join(CALENDAR_PERIODS)}."
        )
    check_period(period)
    missing = sorted({_NEAR_INFRARED, _RED}.difference(band_names(cube)))
    if missing:
        raise InputError(f"The cube lacks {missing}, which the NDVI is made of; load them too.")
    ndvi = cube.ndvi(nir=_NEAR_INFRARED, red=_RED)
    return cube.mask(mask_all_but_best(ndvi, period)).aggregate_temporal_period(period, "first")


def mask_all_but_best(score: openeo.DataCube, period: str) -> openeo.DataCube:
    """Return a mask that is true for each pixel whose score is not the greatest of its period.

    Parameters
    ----------
    score : openeo.DataCube
        One value per pixel and date.
    period : str
        Calendar period.
    """

    def is_not_best(scores: ProcessBuilder) -> ProcessBuilder:
        best = scores.max()
        return scores.array_apply(lambda value: value != best)

    return score.apply_neighborhood(
        is_not_best,
        size=[
            {"dimension": "x", "unit": "px", "value": 1},
            {"dimension": "y", "unit": "px", "value": 1},
            {"dimension": "t", "value": period},
        ],
        overlap=[],
    )


def _aggregate(cube: openeo.DataCube, period: Period, reducer: str) -> openeo.DataCube:
    check_period(period)
    if isinstance(period, str):
        return cube.aggregate_temporal_period(period=period, reducer=reducer, dimension="t")
    intervals = [list(interval) for interval in period]
    return cube.aggregate_temporal(intervals=intervals, reducer=reducer, dimension="t")


def check_period(period: object) -> None:
    """Raise unless `period` is a calendar period or a list of date pairs."""
    if isinstance(period, str):
        good = period in CALENDAR_PERIODS
    else:
        good = isinstance(period, Sequence) and bool(period) and all(map(_is_interval, period))
    if not good:
        raise InputError(
            f"period={period!r} is neither one of {', '.join(CALENDAR_PERIODS)} nor a list of "
            "pairs of dates; pass for instance 'month' or quintad_intervals(temporal_context)."
        )


def _is_interval(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
