"""Periods for temporal aggregation."""

from __future__ import annotations

from datetime import datetime, timedelta

from openeo_gfmap.temporal import TemporalContext

__all__ = ["quintad_intervals"]

_FORMAT = "%Y-%m-%d"
_LAST_QUINTAD_START = 26


def quintad_intervals(temporal_extent: TemporalContext) -> list[tuple[str, str]]:
    """Split a period into quintads: the five-day sixths of each month.

    Every month has six, starting on days 1, 6, 11, 16, 21 and 26; the last lasts until the end of
    the month, so it has three to six days. The first and the last quintad of the period are cut to
    it.

    Parameters
    ----------
    temporal_extent : TemporalContext
        The period; its last date belongs to it.

    Returns
    -------
    list of tuple of str
        First and last day of each quintad, both inclusive, as ``YYYY-MM-DD``.
    """
    start, end = temporal_extent.to_datetime()
    intervals = []
    while start <= end:
        last = min(_quintad_end(start), end)
        intervals.append((start.strftime(_FORMAT), last.strftime(_FORMAT)))
        start = last + timedelta(days=1)
    return intervals


def _quintad_end(day: datetime) -> datetime:
    """Return the last day of the quintad that holds `day`."""
    if day.day >= _LAST_QUINTAD_START:
        first_of_next_month = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
        return first_of_next_month - timedelta(days=1)
    return day.replace(day=(day.day - 1) // 5 * 5 + 5)
