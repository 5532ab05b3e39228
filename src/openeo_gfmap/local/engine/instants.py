"""Dates and times as texts: the RFC 3339 subset that openEO arguments use."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import numpy as np

from ..errors import OpenEOError

__all__ = ["Instant", "instant_utc", "parse_instant", "to_instant"]

_PATTERN = re.compile(
    r"^(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?)?$"
)


@dataclass(frozen=True)
class Instant:
    """A date or an instant, which remembers how it was written.

    Attributes
    ----------
    moment
        The instant, with its time zone; midnight UTC for a date.
    date_only
        Whether it was written as a date.
    """

    moment: datetime
    date_only: bool

    def to(self, moment: datetime) -> Instant:
        """Return another instant written the same way."""
        return replace(self, moment=moment)

    def __str__(self) -> str:
        if self.date_only:
            return self.moment.date().isoformat()
        precision = "milliseconds" if self.moment.microsecond else "seconds"
        return self.moment.isoformat(timespec=precision).replace("+00:00", "Z")


def parse_instant(text: str) -> Instant | None:
    """Parse a date or an instant; None for any other text.

    A leap second counts as the second before it.
    """
    match = _PATTERN.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z", "z") else zone
    try:
        moment = datetime.fromisoformat(f"{year}-{month}-{day}T00:00:00{zone}")
        if hour is not None:
            clock = time(int(hour), int(minute), min(int(second), 59))
            moment = datetime.combine(moment.date(), clock, moment.tzinfo)
            moment += timedelta(seconds=float(fraction or 0))
    except ValueError:  # 2021-02-30, 25:00:00
        return None
    return Instant(moment, date_only=hour is None)


def to_instant(value: Any, name: str = "date") -> Instant:
    """Return a text or a ``datetime64`` as an instant.

    Raises
    ------
    OpenEOError
        ProcessParameterInvalid: no date.
    """
    if isinstance(value, np.datetime64):
        micros = int(value.astype("datetime64[us]").astype(np.int64))
        return Instant(datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros), False)
    found = parse_instant(value) if isinstance(value, str) else None
    if found is None:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"{name}: {value!r} is no date or time; write 2020-01-31 or 2020-01-31T12:00:00Z.",
        )
    return found


def instant_utc(value: Any, name: str = "date") -> datetime:
    """Return a date or instant as a naive datetime in UTC; errors as :func:`to_instant`."""
    return to_instant(value, name).moment.astimezone(UTC).replace(tzinfo=None)
