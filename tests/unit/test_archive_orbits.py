"""The simulated archive's calendar is the real mission's."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from openeo_gfmap.local.archive.orbits import (
    FIRST_DAY,
    acquisitions,
    covering_orbits,
    sun_position,
    swath_margin,
)


def passes(lon: float, lat: float, start: date, end: date):
    orbits = covering_orbits(np.array([lon]), np.array([lat]))
    return acquisitions(lon, lat, orbits, start, end)


def test_two_orbits_see_a_place_in_belgium_on_the_real_days():
    # The days on which Sentinel-2 really saw this place.
    found = passes(5.055, 51.219, date(2023, 4, 1), date(2023, 5, 1))
    assert [each.day.day for each in found] == [2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30]
    assert {each.orbit for each in found} == {8, 51}
    assert [each.platform for each in found[:4]] == ["S2A", "S2A", "S2B", "S2B"]


def test_days_agree_with_real_items(shared_data: Path):
    names = sorted(path.name for path in (shared_data / "s2_series" / "items").glob("S2_*.json"))
    real = [datetime.strptime(name.split("_")[2], "%Y%m%d").date() for name in names]
    found = passes(5.056, 51.218, date(2023, 4, 1), date(2023, 5, 1))
    assert [each.day for each in found] == real


def test_one_orbit_sees_a_place_in_apulia_every_five_days():
    found = passes(17.709, 40.588, date(2023, 6, 20), date(2023, 9, 22))
    assert {each.orbit for each in found} == {36}
    assert found[0].day == date(2023, 6, 23)
    assert {b.day - a.day for a, b in pairwise(found)} == {timedelta(days=5)}


@pytest.mark.parametrize(
    ("lon", "lat", "day", "platform", "orbit"),
    [
        (11.0, 46.45, date(2023, 6, 2), "S2A", 22),
        (35.3, 2.2, date(2020, 3, 22), "S2B", 135),
        (-148.0, 60.8, date(2019, 6, 29), "S2B", 43),
    ],
)
def test_passes_of_real_products(lon, lat, day, platform, orbit):
    found = passes(lon, lat, day, day + timedelta(days=1))
    assert [(each.platform, each.orbit) for each in found] == [(platform, orbit)]


def test_time_and_sun_of_a_real_product():
    # Tile 32TPS on 2023-06-02: 10:18:03 UTC, sun azimuth 150.26, elevation 63.23 degrees.
    (found,) = passes(11.05, 46.45, date(2023, 6, 2), date(2023, 6, 3))
    assert abs(found.time - datetime(2023, 6, 2, 10, 18, 3, tzinfo=UTC)) < timedelta(seconds=30)
    assert found.sun_azimuth == pytest.approx(150.26, abs=0.5)
    assert found.sun_elevation == pytest.approx(63.23, abs=0.3)


def test_the_sun_stands_in_the_south_at_noon_and_below_the_horizon_at_night():
    azimuth, elevation = sun_position(datetime(2021, 3, 20, 12, 7, tzinfo=UTC), 0.0, 50.0)
    assert azimuth == pytest.approx(180, abs=1)
    assert elevation == pytest.approx(40, abs=0.7)
    assert sun_position(datetime(2021, 3, 20, 0, 7, tzinfo=UTC), 0.0, 50.0)[1] < -30


def test_swaths_are_290_km_wide():
    lon = np.linspace(0, 12, 4000)
    inside = swath_margin(lon, np.full(lon.shape, 50.0), np.array(8)) > 0
    width = inside.sum() * (lon[1] - lon[0]) * 111_200 * np.cos(np.radians(50))
    # The line crosses the slanting track; a little more than the swath itself.
    assert 290_000 < width < 305_000


def test_no_pass_by_polar_night_nor_at_the_pole():
    assert not passes(20.0, 72.0, date(2021, 12, 1), date(2021, 12, 20))
    assert passes(20.0, 72.0, date(2021, 6, 1), date(2021, 6, 3))
    assert covering_orbits(np.array([0.0]), np.array([89.0])) == []


def test_a_window_of_dates_is_a_slice_of_a_longer_one():
    long = passes(5.0, 51.0, date(2020, 1, 1), date(2022, 1, 1))
    short = passes(5.0, 51.0, date(2020, 12, 25), date(2021, 1, 6))
    assert short == [e for e in long if date(2020, 12, 25) <= e.day < date(2021, 1, 6)]
    assert passes(5.0, 51.0, date(2021, 1, 6), date(2021, 1, 6)) == []


def test_no_pass_before_the_mission():
    found = passes(5.05, 51.2, date(2014, 5, 1), date(2017, 9, 1))
    assert FIRST_DAY["S2A"] <= found[0].day <= FIRST_DAY["S2A"] + timedelta(days=10)
    first_b = next(each for each in found if each.platform == "S2B")
    assert FIRST_DAY["S2B"] <= first_b.day <= FIRST_DAY["S2B"] + timedelta(days=10)
