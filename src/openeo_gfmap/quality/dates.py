"""Dates of a file against the period that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

from openeo_gfmap.errors import InputError
from openeo_gfmap.quality.finding import Finding, count, some
from openeo_gfmap.quality.gates import QualityGates
from openeo_gfmap.stac.items import CubeFile

__all__ = ["Period", "judge_dates"]


@dataclass(frozen=True)
class Period:
    """Dates of a file, and the first and last day (inclusive) it should cover, where known."""

    dates: tuple[date, ...]
    first: date | None
    last: date | None

    @classmethod
    def of(cls, start: str | None, end: str | None, cube: CubeFile) -> Period:
        """Return the period for ISO dates, whose end is exclusive.

        Raises
        ------
        InputError
            When one of them is no date.
        """
        first, end_day = _day("start", start), _day("end", end)
        return cls(
            tuple(datetime.fromisoformat(time).date() for time in cube.times),
            first,
            end_day - timedelta(days=1) if end_day else None,
        )

    def outside(self) -> list[date]:
        """Return the dates that were not asked for."""
        return [each for each in self.dates if not self._holds(each)]

    def gap(self, chosen: Sequence[date]) -> tuple[int, date, date]:
        """Return the longest time between two of the dates, or to an end of the period."""
        first = self.first or min(self.dates, default=None)
        last = self.last or max(self.dates, default=None)
        inside = [each for each in chosen if self._holds(each)]
        days = sorted({*inside, *(each for each in (first, last) if each is not None)})
        gaps = [((b - a).days, a, b) for a, b in pairwise(days)]
        return max(gaps, key=lambda gap: gap[0], default=(0, date.min, date.min))

    def _holds(self, day: date) -> bool:
        return (self.first or date.min) <= day <= (self.last or date.max)


def judge_dates(cube: CubeFile, gates: QualityGates, period: Period) -> Iterator[Finding]:
    """Iterate over what is wrong with the dates."""
    if gates.within_period and (outside := period.outside()):
        first, last = period.first or "…", period.last or "…"
        yield Finding("within_period", f"has dates outside of {first} to {last}: {some(outside)}")
    if gates.min_dates is not None and len(cube.times) < gates.min_dates:
        have = count(len(cube.times), "date")
        yield Finding("min_dates", f"has {have}, expected {gates.min_dates} or more")


def _day(name: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text[:10]) if text else None
    except ValueError as error:
        raise InputError(f"{name} is {text!r}; expected an ISO date, as 2021-05-01.") from error
