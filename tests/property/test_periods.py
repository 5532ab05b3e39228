"""Calendar periods against plain calendar arithmetic."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_gfmap.local.engine.periods import PERIODS, period_start, split_periods


def first_instant(when: datetime, period: str) -> datetime:
    """The period's start, in words."""
    day = datetime(when.year, when.month, when.day)
    if period == "hour":
        return day + timedelta(hours=when.hour)
    if period == "day":
        return day
    if period == "week":
        return day - timedelta(days=when.weekday())
    if period == "dekad":
        return day.replace(day=1 if when.day <= 10 else 11 if when.day <= 20 else 21)
    if period == "month":
        return day.replace(day=1)
    if period == "season":
        month = {12: 12, 1: 12, 2: 12}.get(when.month, when.month // 3 * 3)
        return datetime(when.year - (when.month < 3), month, 1)
    if period == "tropical-season":
        if 5 <= when.month <= 10:
            return datetime(when.year, 5, 1)
        return datetime(when.year - (when.month < 5), 11, 1)
    if period == "year":
        return datetime(when.year, 1, 1)
    if period == "decade":
        return datetime(when.year // 10 * 10, 1, 1)
    return datetime((when.year - 1) // 10 * 10 + 1, 1, 1)


moments = st.datetimes(datetime(1801, 1, 1), datetime(2200, 1, 1))


@given(st.sampled_from(PERIODS), st.lists(moments, max_size=20))
def test_starts(period: str, times: list[datetime]) -> None:
    found = period_start(np.asarray(times, dtype="datetime64[us]"), period)
    wanted = np.asarray([first_instant(t, period) for t in times], dtype="datetime64[ns]")
    np.testing.assert_array_equal(found, wanted)


@given(
    st.sampled_from([p for p in PERIODS if p != "hour"]),
    st.lists(st.datetimes(datetime(2019, 1, 1), datetime(2021, 1, 1)), max_size=30),
)
def test_every_date_is_in_its_one_period(period: str, times: list[datetime]) -> None:
    stamps = np.asarray(times, dtype="datetime64[ns]")
    groups = split_periods(stamps, period)
    chosen = np.concatenate([index for _, index in groups]) if groups else np.empty(0, int)
    assert sorted(chosen) == list(range(len(times)))
    labels = [label for label, _ in groups]
    assert labels == sorted(set(labels))
    for label, index in groups:
        assert (period_start(stamps[index], period) == label).all()
        assert list(index) == sorted(index)
    for one, two in itertools.pairwise(labels):
        assert period_start(np.asarray([two - np.timedelta64(1, "ns")]), period)[0] == one


def test_periods_of_the_interval_are_there_without_dates() -> None:
    times = np.asarray(["2020-01-15", "2020-03-31", "2020-01-31"], dtype="datetime64[D]")
    groups = split_periods(
        times, "month", start=np.datetime64("2019-12-31"), end=np.datetime64("2020-05-01")
    )
    assert [(str(label)[:10], index.tolist()) for label, index in groups] == [
        ("2019-12-01", []),
        ("2020-01-01", [0, 2]),
        ("2020-02-01", []),
        ("2020-03-01", [1]),
        ("2020-04-01", []),
    ]
    assert split_periods(times[:0], "year") == []
    dekads = split_periods(times[:2], "dekad", end=np.datetime64(date(2020, 4, 1)))
    assert [str(label)[5:10] for label, _ in dekads] == [
        "01-11",
        "01-21",
        "02-01",
        "02-11",
        "02-21",
        "03-01",
        "03-11",
        "03-21",
    ]
    with pytest.raises(ValueError, match="'fortnight' is none of hour"):
        split_periods(times, "fortnight")
