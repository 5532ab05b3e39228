"""Dates and times."""

from __future__ import annotations

import calendar
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ..instants import instant_utc, to_instant
from ..registry import Boolean, Date, Integer, Number, Schema, Text, process

__all__: list[str] = []  # everything here is reached through the registry

DateOrTime = Annotated[
    Any,
    Schema(
        [
            {"type": "string", "subtype": "date-time", "format": "date-time"},
            {"type": "string", "subtype": "date", "format": "date"},
            {"type": "string", "subtype": "time"},
        ]
    ),
]

_SECONDS = {
    "millisecond": 0.001,
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 7 * 86400,
}
_MONTHS = {"month": 1, "year": 12}
_LIMITS = {
    "millisecond": (0, 999),
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "year": (1, 9999),
}
_TIME = re.compile(r"\d\d:\d\d:\d\d")


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
def date_shift(date: Date, value: Integer, unit: Text) -> Date:
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
def date_difference(date1: Date, date2: Date, unit: Text = "second") -> Number:
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
def date_replace_component(date: Date, component: Text, value: Integer) -> Date:
    """Replace the year, month, day, hour, minute, second or millisecond of a date.

    Parameters
    ----------
    date
        A date or date-time. A date gets a time when a part of the time is replaced.
    component
        Which part.
    value
        The new value; one that is out of range becomes the nearest that is not.
    """
    if component not in _LIMITS:
        raise _unknown("component", component, tuple(_LIMITS))
    known = to_instant(date)
    moment = known.moment
    low, high = _LIMITS[component]
    wanted = min(max(int(value), low), high)
    if component == "millisecond":
        changed = moment.replace(microsecond=wanted * 1000)
    elif component in ("year", "month", "day"):
        fields: dict[str, Any] = {name: getattr(moment, name) for name in ("year", "month", "day")}
        fields[component] = wanted
        last = calendar.monthrange(fields["year"], fields["month"])[1]
        fields["day"] = min(fields["day"], last)
        changed = moment.replace(**fields)
    else:
        part: dict[str, Any] = {component: wanted}
        changed = moment.replace(**part)
    if known.date_only and component not in ("year", "month", "day"):
        return str(replace(known, date_only=False).to(changed))
    return _written_like(date, changed)


@process()
def date_between(
    x: DateOrTime, min: DateOrTime, max: DateOrTime, exclude_max: Boolean = False
) -> Boolean | None:
    """Whether a date lies between two others.

    Parameters
    ----------
    x
        A date, a date-time, or a time of day such as 12:30:00 between two others.
    min
        The lower bound, inclusive.
    max
        The upper bound, inclusive unless excluded.
    exclude_max
        Whether the upper bound is excluded.
    """
    if x is None:
        return None
    if not isinstance(x, np.ndarray) and _is_time(x):
        if not (_is_time(min) and _is_time(max)):
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"date_between: {x!r} is a time of day, but not both of {min!r} and {max!r} are.",
            )
        return bool(min <= x and (x < max if exclude_max else x <= max))
    low, high = (np.datetime64(instant_utc(v, n)) for v, n in ((min, "min"), (max, "max")))
    when = x if isinstance(x, np.ndarray) else np.datetime64(instant_utc(x, "x"))
    inside = (when >= low) & ((when < high) if exclude_max else (when <= high))
    return inside if isinstance(inside, np.ndarray) else bool(inside)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None
