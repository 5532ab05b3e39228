"""From when to when: the period of a job, from its samples or fixed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from openeo_gfmap.errors import InputError

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
        if self.before < 0 or self.after < 0 or self.before + self.after == 0:
            raise InputError(
                f"AroundDate has before={self.before} and after={self.after}; expected days, not "
                "negative, and one of them more than 0."
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

        undated = job.sample_id[job.valid_date.isna()]
        if len(undated):
            raise InputError(
                f"{len(undated)} samples have no date, such as {undated.iloc[0]!r}; add a column "
                "valid_date, name yours in SampleColumns(valid_date=…), or use FixedDates."
            )
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
        try:
            first, last = date.fromisoformat(self.start), date.fromisoformat(self.end)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"FixedDates({self.start!r}, {self.end!r}): {error}; expected dates such as "
                "'2021-01-01'."
            ) from error
        if first >= last:
            raise InputError(
                f"FixedDates({self.start!r}, {self.end!r}) is empty; the end must be after the "
                "start."
            )

    def of(self, job: gpd.GeoDataFrame) -> tuple[str, str]:
        """Return start and end (exclusive), as ISO dates."""
        return self.start, self.end


Period: TypeAlias = AroundDate | FixedDates


def _next_month(moment: pd.Timestamp) -> pd.Timestamp:
    first = moment.replace(day=1)
    if first == moment:
        return first
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
