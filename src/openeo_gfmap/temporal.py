"""When to extract: a period between two dates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from openeo_gfmap.errors import InputError

__all__ = ["TemporalContext"]

_FORMAT = "%Y-%m-%d"


@dataclass(frozen=True)
class TemporalContext:
    """A period given by its first and last date.

    An openEO back-end reads the period as half open: `end_date` itself is no longer loaded.

    Parameters
    ----------
    start_date, end_date : str
        Dates written as ``YYYY-MM-DD``.

    Raises
    ------
    InputError
        When a date is not written that way, or the period ends before it starts.
    """

    start_date: str
    end_date: str

    def __post_init__(self) -> None:
        start, end = self.to_datetime()
        if end < start:
            raise InputError(
                f"The period {self.start_date} to {self.end_date} ends before it starts; "
                "swap the two dates."
            )

    def to_datetime(self) -> tuple[datetime, datetime]:
        """Return both dates as midnight datetimes without a time zone."""
        return _parse("start_date", self.start_date), _parse("end_date", self.end_date)


def _parse(name: str, value: str) -> datetime:
    try:
        return datetime.strptime(value, _FORMAT)
    except (TypeError, ValueError):
        raise InputError(
            f"{name}={value!r} is not a date; expected text such as '2020-01-31' "
            "(use .strftime('%Y-%m-%d') on a date object)."
        ) from None
