"""Dates and times."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ...errors import OpenEOError
from ..instants import instant_utc, to_instant
from ..registry import AnyValue, Boolean, Integer, Number, Text, process

__all__: list[str] = []  # everything here is reached through the registry

_SECONDS = {
    "millisecond": 0.001,
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 7 * 86400,
}
_MONTHS = {"month": 1, "year": 12}
_FIELDS = ("second", "minute", "hour", "day", "month", "year")


def _unknown(name: str, value: Any, known: tuple[str, ...]) -> OpenEOError:
    return OpenEOError(
        "ProcessParameterInvalid", f"{name}: {value!r} is none of {', '.join(known)}."
    )


def _add_months(moment: datetime, months: int) -> datetime:
    """Shift by months; a day that the month does not have becomes its last."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def _written_like(date: Any, moment: datetime) -> Any:
    """Return an instant in the form that the given one had."""
    if isinstance(date, np.datetime64):
        return np.datetime64(moment.replace(tzinfo=None), "ns")
    return str(to_instant(date).to(moment))


@process()
def date_shift(date: Text, value: Integer, unit: Text) -> Text:
    """Add a number of units to a date; negative numbers subtract.

    Parameters
    ----------
    date
        A date or date-time; the result is written the same way.
    value
        How many units.
    unit
        millisecond, second, minute, hour, day, week, month or year. A shift by months or years
        to a day that does not exist gives the last day of that month.
    """
    moment = to_instant(date).moment
    if unit in _MONTHS:
        shifted = _add_months(moment, int(value) * _MONTHS[unit])
    elif unit in _SECONDS:
        shifted = moment + timedelta(seconds=value * _SECONDS[unit])
    else:
        raise _unknown("unit", unit, (*_SECONDS, *_MONTHS))
    return _written_like(date, shifted)


@process()
def date_difference(date1: Text, date2: Text, unit: Text = "second") -> Number:
    """Return the time from the first date to the second, in a unit, with fraction.

    Parameters
    ----------
    date1
        The first date.
    date2
        The second date.
    unit
        millisecond, second, minute, hour, day, week, month or year.
    """
    start, end = to_instant(date1).moment, to_instant(date2).moment
    if unit in _SECONDS:
        return (end - start).total_seconds() / _SECONDS[unit]
    if unit not in _MONTHS:
        raise _unknown("unit", unit, (*_SECONDS, *_MONTHS))
    whole = (end.year - start.year) * 12 + end.month - start.month
    if _add_months(start, whole) > end:
        whole -= 1
    anchor, following = _add_months(start, whole), _add_months(start, whole + 1)
    return (whole + (end - anchor) / (following - anchor)) / _MONTHS[unit]


@process()
def date_replace_component(date: Text, value: Integer, component: Text) -> Text:
    """Replace the year, month, day, hour, minute, second or millisecond of a date.

    Parameters
    ----------
    date
        A date or date-time; the result is written the same way.
    value
        The new value. A day that the month does not have becomes its last.
    component
        Which part.
    """
    moment = to_instant(date).moment
    if component == "millisecond":
        return _written_like(date, moment.replace(microsecond=int(value) * 1000))
    if component not in _FIELDS:
        raise _unknown("component", component, (*_FIELDS, "millisecond"))
    fields: dict[str, Any] = {name: getattr(moment, name) for name in ("year", "month", "day")}
    try:
        if component in fields:
            fields[component] = int(value)
            last = calendar.monthrange(fields["year"], fields["month"])[1]
            fields["day"] = min(fields["day"], last)
        else:
            fields = {component: int(value)}
        return _written_like(date, moment.replace(**fields))
    except (ValueError, calendar.IllegalMonthError) as error:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"date_replace_component: {value} is no {component} for {date}: {error}.",
        ) from error


@process()
def date_between(
    x: AnyValue, min: AnyValue, max: AnyValue, exclude_max: Boolean = False
) -> Boolean:
    """Whether a date lies between two others.

    Parameters
    ----------
    x
        The date.
    min
        The lower bound, inclusive.
    max
        The upper bound, inclusive unless excluded.
    exclude_max
        Whether the upper bound is excluded.
    """
    if x is None:
        return None
    low, high = (np.datetime64(instant_utc(v, n)) for v, n in ((min, "min"), (max, "max")))
    when = x if isinstance(x, np.ndarray) else np.datetime64(instant_utc(x, "x"))
    inside = (when >= low) & ((when < high) if exclude_max else (when <= high))
    return inside if isinstance(inside, np.ndarray) else bool(inside)
