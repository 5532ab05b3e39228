"""From when to when: the period of a job, from its samples or fixed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from openeo_gfmap.errors import InputError
from openeo_gfmap.recipes.samples import some

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["AroundDate", "FixedDates", "Period"]


@dataclass(frozen=True)
class AroundDate:
    """So many days before and after the date of the samples.

    A job has one period: it reaches from before the earliest to after the latest date among the
    samples that it extracts, so that no sample loses a day by the company it is in.

    Parameters
    ----------
    before, after : int
        Days. The default is nine months each way: the growing season is complete whatever the crop.
    whole_months : bool
        Begin on the first of the month, and end after the last of the month.
    """

    before: int = 275
    after: int = 275
    whole_months: bool = False

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}; expected days, 0 or more.",
                    about=f"period.{name}",
                )
        if self.before + self.after == 0:
            raise InputError(
                "before and after are both 0 days, which is no period; one of them must be more.",
                about="period.before",
            )

    def check(self, samples: gpd.GeoDataFrame) -> None:
        """Check that each sample has a date.

        Raises
        ------
        InputError
            When one has none.
        """
        undated = samples.sample_id[samples.valid_date.isna()]
        if len(undated):
            raise InputError(
                lambda words: (
                    f"{len(undated):,} of {len(samples):,} samples to be extracted have no date, "
                    f"such as {some(undated)}; fill it in, name its column as "
                    f"{words.name('SampleColumns(valid_date=…)', 'columns.valid_date')}, or give "
                    "all samples one period: "
                    f"{words.name('FixedDates(start, end)', 'period.start', 'period.end')}."
                ),
                about="columns.valid_date",
            )

    def of(self, job: gpd.GeoDataFrame) -> tuple[str, str]:
        """Return start and end (exclusive) of a job, as ISO dates.

        Parameters
        ----------
        job : GeoDataFrame
            The samples that it extracts.

        Raises
        ------
        InputError
            When one has no date.
        """
        import pandas as pd  # noqa: PLC0415

        self.check(job)
        start = job.valid_date.min() - pd.Timedelta(days=self.before)
        end = job.valid_date.max() + pd.Timedelta(days=self.after)
        if self.whole_months:
            start, end = start.replace(day=1), _next_month(end)
        return start.strftime("%Y-%m-%d"), end.strftime("%Y-%m-%d")


@dataclass(frozen=True)
class FixedDates:
    """The same period for all jobs.

    Parameters
    ----------
    start, end : str
        ISO dates; the end is exclusive, as everywhere in openEO.
    """

    start: str
    end: str

    def __post_init__(self) -> None:
        if _day("start", self.start) >= _day("end", self.end):
            raise InputError(
                f"the period from {self.start} to {self.end} is empty; the end, which is "
                "exclusive, must be after the start.",
                about="period.end",
            )

    def check(self, samples: gpd.GeoDataFrame) -> None:
        """Need no dates of the samples."""

    def of(self, job: gpd.GeoDataFrame) -> tuple[str, str]:
        """Return start and end (exclusive), as ISO dates."""
        return self.start, self.end


Period: TypeAlias = AroundDate | FixedDates


def _day(name: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} is {value!r} ({error}); expected a date such as '2021-01-01'.",
            about=f"period.{name}",
        ) from error


def _next_month(moment: pd.Timestamp) -> pd.Timestamp:
    first = moment.replace(day=1)
    if first == moment:
        return first
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
