"""Bounding boxes, periods and quintads hold what they promise for any input."""

from __future__ import annotations

import calendar
import json
from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import shape

from openeo_gfmap import BoundingBoxExtent, TemporalContext
from openeo_gfmap.errors import InputError
from openeo_gfmap.utils import quintad_intervals

days = st.dates(date(1985, 1, 1), date(2040, 12, 31))
longitudes = st.floats(-180, 180)
latitudes = st.floats(-90, 90)


@given(longitudes, longitudes, latitudes, latitudes)
@settings(deadline=None)  # the first example pays for imports
def test_box_keeps_its_bounds_in_every_form(a: float, b: float, c: float, d: float) -> None:
    west, east = sorted((a, b))
    south, north = sorted((c, d))
    assume(west < east and south < north)
    box = BoundingBoxExtent(west, south, east, north)
    assert dict(box) == {
        "west": west,
        "south": south,
        "east": east,
        "north": north,
        "crs": "EPSG:4326",
    }
    assert box.to_geometry().bounds == (west, south, east, north)
    assert shape(box.to_geojson()).bounds == (west, south, east, north)
    assert box.to_geojson()["type"] == "Polygon"


@given(st.floats(), st.floats(), st.floats(), st.floats())
@settings(deadline=None)  # the first example pays for imports
def test_box_is_either_refused_or_has_an_area(
    west: float, south: float, east: float, north: float
) -> None:
    try:
        box = BoundingBoxExtent(west, south, east, north, epsg=32631)
    except InputError:
        return
    assert box.west < box.east
    assert box.south < box.north


@pytest.mark.parametrize(
    ("bounds", "epsg", "hint"),
    [
        ((6, 51, 5, 52), 4326, "antimeridian"),
        ((5, 52, 6, 51), 4326, "south < north"),
        ((5, 51, 5, 52), 4326, "empty"),
        ((500000, 5600000, 500640, 5600640), 4326, "epsg="),
        ((5, 51, 6, float("nan")), 4326, "finite"),
        ((5, 51, 6, "north"), 4326, "floats"),
        ((5, 51, 6, None), 4326, "floats"),
        ((5, 51, 6, 52), 999_999, "999999"),
        ((5, 51, 6, 52), "utm", "'utm'"),
    ],
)
def test_unusable_box_is_refused(bounds: tuple, epsg: int, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        BoundingBoxExtent(*bounds, epsg=epsg)


def test_box_in_metres_names_its_crs() -> None:
    box = BoundingBoxExtent(500_000, 5_600_000, 500_640, 5_600_640, epsg=32631)
    assert dict(box)["crs"] == "EPSG:32631"
    assert box.to_geometry().area == 640**2


@given(days, days)
@settings(deadline=None)  # the first example pays for imports
def test_period_gives_its_dates_back(a: date, b: date) -> None:
    start, end = sorted((a, b))
    context = TemporalContext(start.isoformat(), end.isoformat())
    assert context.to_datetime() == (
        datetime(start.year, start.month, start.day),
        datetime(end.year, end.month, end.day),
    )


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2022-02-01", "2022-01-31"),
        ("2022-02-30", "2022-03-01"),
        ("01-02-2022", "2022-03-01"),
        ("2022-01-01T00:00:00Z", "2022-03-01"),
        (None, "2022-03-01"),
        (date(2022, 1, 1), "2022-03-01"),
    ],
)
def test_unusable_period_is_refused(start: str, end: str) -> None:
    with pytest.raises(InputError):
        TemporalContext(start, end)


@given(days, st.integers(0, 800))
@settings(deadline=None)  # the first example pays for imports
def test_quintads_tile_the_period(start: date, length: int) -> None:
    end = start + timedelta(days=length)
    quintads = [
        (date.fromisoformat(first), date.fromisoformat(last))
        for first, last in quintad_intervals(TemporalContext(start.isoformat(), end.isoformat()))
    ]
    assert quintads[0][0] == start
    assert quintads[-1][1] == end
    assert all(last + timedelta(days=1) == first for (_, last), (first, _) in pairwise(quintads))
    for first, last in quintads:
        assert (first.year, first.month) == (last.year, last.month)
        assert (last - first).days < 6
        assert first == start or first.day in {1, 6, 11, 16, 21, 26}
        last_of_month = calendar.monthrange(last.year, last.month)[1]
        assert last == end or last.day in {5, 10, 15, 20, 25, last_of_month}


def test_quintads_of_a_leap_february() -> None:
    assert quintad_intervals(TemporalContext("2024-02-08", "2024-03-02")) == [
        ("2024-02-08", "2024-02-10"),
        ("2024-02-11", "2024-02-15"),
        ("2024-02-16", "2024-02-20"),
        ("2024-02-21", "2024-02-25"),
        ("2024-02-26", "2024-02-29"),
        ("2024-03-01", "2024-03-02"),
    ]


def test_box_of_numpy_scalars_goes_into_json() -> None:
    bounds = np.array([5, 51, 6, 52], dtype=np.float32)
    box = BoundingBoxExtent(*bounds, epsg=np.int64(4326))
    assert json.loads(json.dumps(dict(box)))["east"] == 6
    assert box == BoundingBoxExtent(5, 51, 6, 52)
