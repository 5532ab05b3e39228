"""Calendar periods of openEO on time axes.

Every period has an integer ordinal, counted from the one that holds 1970-01-01: dates become
ordinals, ordinals become first instants, and no calendar is walked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

__all__ = ["PERIODS", "period_names", "period_start", "split_periods"]

Times = np.ndarray[Any, Any]
Ordinals = np.ndarray[Any, np.dtype[np.int64]]

# Multiples of a fixed duration: length in seconds, and first instant counted from 1970-01-01.
_DURATIONS = {
    "hour": (3600, 0),
    "day": (86400, 0),
    "week": (7 * 86400, -3 * 86400),  # ISO weeks: 1969-12-29 was a Monday
}
# Multiples of months: length, and first month counted from 1970-01.
_MONTHS = {
    "month": (1, 0),
    "season": (3, -1),  # December to February, …
    "tropical-season": (6, -2),  # November to April, May to October
    "year": (12, 0),
    "decade": (120, 0),  # years 0 to 9
    "decade-ad": (120, 12),  # years 1 to 10
}

PERIODS = ("hour", "day", "week", "dekad", *_MONTHS)
"""The periods that openEO names; a dekad is a third of a month: days 1, 11, 21 to the next."""


def split_periods(
    times: Times,
    period: str,
    *,
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
) -> list[tuple[np.datetime64, np.ndarray[Any, np.dtype[np.intp]]]]:
    """Group the dates of a time axis by calendar period.

    Parameters
    ----------
    times
        datetime64 of any unit and order.
    period
        One of :data:`PERIODS`.
    start, end
        Bounds of the time that was asked for, the end not included; its periods are all there,
        with dates or without. Without bounds the dates' own range counts.

    Returns
    -------
    list
        (first instant of the period as datetime64[ns], indices into ``times``), ascending and
        without gaps; indices ascending.

    Raises
    ------
    ValueError
        An unknown period.
    """
    if period not in PERIODS:
        raise ValueError(f"period {period!r} is none of {', '.join(PERIODS)}")
    # The end is outside: what counts is the last nanosecond before it.
    last = [] if end is None else [end.astype("datetime64[ns]") - np.timedelta64(1, "ns")]
    first = [] if start is None else [start.astype("datetime64[ns]")]
    stamps = np.asarray(times).astype("datetime64[ns]")
    known = np.concatenate([stamps, np.asarray([*first, *last], dtype="datetime64[ns]")])
    if known.size == 0:
        return []
    bounds = _ordinals(known, period)
    wanted = np.arange(bounds.min(), bounds.max() + 1)
    ordinals = bounds[: len(stamps)]
    order = np.argsort(ordinals, kind="stable")
    edges = np.searchsorted(ordinals[order], [*wanted, wanted[-1] + 1])
    return [
        (label, order[low:high])
        for label, low, high in zip(_starts(wanted, period), edges[:-1], edges[1:], strict=True)
    ]


def period_start(times: Times, period: str) -> Times:
    """Return the first instant of the period that holds each date, as datetime64[ns]."""
    return _starts(_ordinals(np.asarray(times).astype("datetime64[ns]"), period), period)


def _ordinals(times: Times, period: str) -> Ordinals:
    if period in _DURATIONS:
        length, offset = _DURATIONS[period]
        seconds = times.astype("datetime64[s]").astype(np.int64)
        return np.asarray((seconds - offset) // length)
    months = times.astype("datetime64[M]")
    if period == "dekad":
        days = (times.astype("datetime64[D]") - months).astype(np.int64)
        return np.asarray(months.astype(np.int64) * 3 + np.minimum(days // 10, 2))
    length, offset = _MONTHS[period]
    return np.asarray((months.astype(np.int64) - offset) // length)


def _starts(ordinals: Ordinals, period: str) -> Times:
    if period in _DURATIONS:
        length, offset = _DURATIONS[period]
        return (ordinals * length + offset).astype("datetime64[s]").astype("datetime64[ns]")
    if period == "dekad":
        months = (ordinals // 3).astype("datetime64[M]").astype("datetime64[D]")
        starts: Times = (months + ordinals % 3 * np.timedelta64(10, "D")).astype("datetime64[ns]")
        return starts
    length, offset = _MONTHS[period]
    return (ordinals * length + offset).astype("datetime64[M]").astype("datetime64[ns]")


_SEASONS = ("djf", "mam", "jja", "son")
_TROPICAL_SEASONS = ("ndjfma", "mjjaso")


def period_names(starts: Times, period: str) -> list[str]:
    """Return the names that openEO gives to periods.

    Parameters
    ----------
    starts
        First instants of periods, as :func:`split_periods` gives them.
    period
        One of :data:`PERIODS`.

    Returns
    -------
    list of str
        ``2020-06-01-00`` (hour), ``2020-153`` (day of the year), ``2022-49`` (ISO week),
        ``2024-03`` (dekad from 1, or month), ``2023-djf``, ``2023-ndjfma``, ``2020`` (year, or
        the first of a decade). A season has the year in which it starts, a week that of ISO.
    """
    ordinals = _ordinals(np.asarray(starts).astype("datetime64[ns]"), period)
    return [
        _name(moment.item(), int(n), period)
        for moment, n in zip(
            _starts(ordinals, period).astype("datetime64[s]"), ordinals, strict=True
        )
    ]


def _name(start: datetime, ordinal: int, period: str) -> str:
    week = start.isocalendar()
    names = {
        "hour": f"{start:%Y-%m-%d-%H}",
        "day": f"{start:%Y-%j}",
        "week": f"{week.year:04d}-{week.week:02d}",
        "dekad": f"{start:%Y}-{ordinal % 36 + 1:02d}",
        "month": f"{start:%Y-%m}",
        "season": f"{start:%Y}-{_SEASONS[ordinal % 4]}",
        "tropical-season": f"{start:%Y}-{_TROPICAL_SEASONS[ordinal % 2]}",
    }
    return names.get(period, f"{start:%Y}")
