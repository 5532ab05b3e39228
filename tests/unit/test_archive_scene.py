"""What the simulated pixels look like: seasons, clouds, classes, nodata, number format."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from openeo_gfmap.local.archive.clouds import cloud_share
from openeo_gfmap.local.archive.grid import Cell
from openeo_gfmap.local.archive.landscape import Kind, landscape, world_plane
from openeo_gfmap.local.archive.orbits import acquisitions, covering_orbits, swath_margin
from openeo_gfmap.local.archive.phenology import BANDS, reflectances
from openeo_gfmap.local.archive.scene import LAYOUT, baseline, offset_of, render

CELL = Cell(32631, 450, 3940)  # farmland, a village and a river in Flanders


def passes(cell: Cell, start: date, end: date):
    return acquisitions(*cell.centre, covering_orbits(*cell.corners), start, end)


@pytest.fixture(scope="module")
def year():
    return list(render(CELL, passes(CELL, date(2021, 1, 1), date(2022, 1, 1))))


def reflectance(picture, band: str) -> np.ndarray:
    resolution = next(r for r, names in LAYOUT.items() if band in names)
    numbers = picture.bands[resolution][LAYOUT[resolution].index(band)].astype(float)
    numbers[numbers == 0] = np.nan
    return (numbers - offset_of(picture.acquisition.node_day)) / 10_000


def scl(picture) -> np.ndarray:
    return picture.bands[20][LAYOUT[20].index("SCL")]


def at_20m(values: np.ndarray) -> np.ndarray:
    return values.reshape(72, 2, 72, 2).mean(axis=(1, 3))


def test_bands_have_their_native_resolution(year):
    assert {r: b.shape for r, b in year[0].bands.items()} == {
        10: (4, 144, 144),
        20: (8, 72, 72),
        60: (2, 24, 24),
    }
    assert all(bands.dtype == np.uint16 for bands in year[0].bands.values())


def test_the_sky_has_clear_broken_and_overcast_days(year):
    cloudy = np.array([(scl(each) >= 8).mean() for each in year])
    assert (cloudy < 0.02).mean() > 0.2
    assert (cloudy > 0.98).mean() > 0.2
    assert ((cloudy > 0.02) & (cloudy < 0.98)).mean() > 0.1
    assert 0.3 < cloudy.mean() < 0.75


def test_classes_agree_with_the_pixels(year):
    seen = set()
    for each in year:
        classes = scl(each)
        seen |= set(np.unique(classes))
        blue, red = at_20m(reflectance(each, "B02")), at_20m(reflectance(each, "B04"))
        near, short = at_20m(reflectance(each, "B08")), reflectance(each, "B11")
        ndvi = (near - red) / (near + red)
        assert (blue[classes == 9] > 0.2).all()
        assert (near[classes == 6] < 0.2).all()
        assert (short[classes == 6] < 0.15).all()
        # Thin cloud edges and shadows below the thresholds of their classes remain.
        assert (ndvi[classes == 4] > 0.25).all()
        assert (ndvi[classes == 5] < 0.45).all()
    assert seen >= {3, 4, 5, 6, 8, 9, 10}
    assert seen <= {2, 3, 4, 5, 6, 8, 9, 10, 11}


def test_shadows_are_darker_than_the_same_ground_in_the_sun(year):
    # Compare each shadow with the next clear picture of the same pixels, at most 10 days apart.
    darker = []
    for one, other in pairwise(year):
        both = (scl(one) == 3) & np.isin(scl(other), (4, 5))
        if both.sum() > 50 and other.acquisition.time - one.acquisition.time < timedelta(days=10):
            ratio = at_20m(reflectance(one, "B08"))[both] / at_20m(reflectance(other, "B08"))[both]
            darker.append(np.median(ratio))
    assert darker
    assert max(darker) < 0.95


def test_shadows_lie_away_from_the_sun(year):
    # Seen along the direction to the sun, a cloud comes before its shadow: shifting the shadow
    # towards the sun covers the cloud better than shifting it the other way. Sun in the south.
    towards, away = 0.0, 0.0
    for each in year:
        cloud = (scl(each) >= 8) & (scl(each) != 10)
        shadow = scl(each) == 3
        if 0.05 < cloud.mean() < 0.6 and shadow.mean() > 0.02:
            for shift in range(2, 36, 3):  # rows of 20 m; a greater row is further south
                towards += (cloud[shift:] & shadow[:-shift]).mean()
                away += (shadow[shift:] & cloud[:-shift]).mean()
    assert towards > away


def test_a_20m_band_sees_the_same_ground_as_a_10m_band(year):
    clear = max(year, key=lambda each: np.isin(scl(each), (2, 4, 5, 6)).mean())
    assert np.isin(scl(clear), (2, 4, 5, 6)).mean() > 0.99
    near, narrow = at_20m(reflectance(clear, "B08")), reflectance(clear, "B8A")
    assert np.corrcoef(near.ravel(), narrow.ravel())[0, 1] > 0.99
    coarse = at_20m(reflectance(clear, "B02")).reshape(24, 3, 24, 3).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), reflectance(clear, "B01").ravel())[0, 1] > 0.95


def test_fields_green_up_and_are_harvested():
    land = landscape(CELL)
    days = [date(2021, 1, 1) + timedelta(days=10 * i) for i in range(36)]
    values = reflectances(land, days, *CELL.centre)
    red, near = values[:, BANDS.index("B04")], values[:, BANDS.index("B08")]
    ndvi = (near - red) / (near + red)
    fields = ndvi[:, land.kind == Kind.FIELD]
    assert fields.shape[1] > 20
    assert (np.ptp(fields, axis=0) > 0.4).mean() > 0.9, "nearly every field has a season"
    # Different crops peak at different times.
    peaks = fields.argmax(axis=0)
    assert np.ptp(peaks) >= 8
    # Needles stay green, and water never is.
    assert np.ptp(ndvi[:, land.kind == Kind.WATER]) < 0.05
    assert ndvi[:, land.kind == Kind.WATER].max() < 0


def test_the_southern_hemisphere_has_summer_in_january():
    land = landscape(CELL)
    days = [date(2021, 1, 15), date(2021, 7, 15)]

    def ndvi(latitude: float) -> np.ndarray:
        values = reflectances(land, days, 20.0, latitude)[:, :, land.kind == Kind.BROADLEAF]
        red, near = values[:, BANDS.index("B04")], values[:, BANDS.index("B08")]
        return ((near - red) / (near + red)).mean(axis=1)

    north, south = ndvi(48.0), ndvi(-34.0)
    assert north[1] > north[0] + 0.2
    assert south[0] > south[1] + 0.2


def test_it_snows_in_the_far_north_and_not_in_the_tropics():
    cold, warm = Cell(32635, 300, 4900), Cell(32635, 300, 50)
    land = landscape(cold)
    days = [date(2021, 2, 1) + timedelta(days=5 * i) for i in range(6)]
    white = reflectances(land, days, *cold.centre)[:, BANDS.index("B03"), land.kind == Kind.FIELD]
    green = reflectances(land, days, *warm.centre)[:, BANDS.index("B03"), land.kind == Kind.FIELD]
    assert white.max() > 0.7
    assert green.max() < 0.3


def test_numbers_follow_the_processing_baseline():
    before, after = date(2022, 1, 24), date(2022, 1, 25)
    assert (baseline(before), offset_of(before)) == ("03.01", 0)
    assert (baseline(after), offset_of(after)) == ("04.00", 1000)
    assert baseline(date(2023, 6, 2)) == "05.09"
    pictures = list(render(CELL, passes(CELL, date(2022, 1, 1), date(2022, 2, 28))))
    for each in pictures:
        dark = each.bands[20][LAYOUT[20].index("B12")].min()
        offset = offset_of(each.acquisition.node_day)
        assert dark > offset or offset == 0
    assert {offset_of(each.acquisition.node_day) for each in pictures} == {0, 1000}


def test_nodata_beyond_the_swath_is_the_same_in_all_bands():
    # Walk along a parallel until the eastern end of orbit 51's swath cuts a cell.
    orbit = np.array(51)
    walk = (Cell(32631, column, 3940) for column in range(440, 540))
    margins = ((cell, swath_margin(*cell.corners, orbit)) for cell in walk)
    cell = next(cell for cell, margin in margins if margin.min() < 0 < margin.max())
    seen = [p for p in passes(cell, date(2021, 6, 1), date(2021, 6, 12)) if p.orbit == 51]
    assert seen
    for picture in render(cell, seen):
        missing = (picture.bands[60][0] == 0).astype(np.uint8)
        assert 0 < missing.mean() < 1
        for r, bands in picture.bands.items():
            block = missing.repeat(60 // r, axis=0).repeat(60 // r, axis=1)
            assert ((bands == 0) == block).all()
        # The track runs from north-northeast to south-southwest: the edge leans to the west.
        ends = (missing == 0).sum(axis=1)
        assert ends[0] >= ends[-1]
        assert (np.diff(ends.astype(int)) <= 0).all()


def test_the_cloud_cover_of_a_place_is_that_of_its_pixels():
    seen = passes(CELL, date(2021, 3, 1), date(2021, 6, 1))
    x, y = world_plane(CELL.epsg, *CELL.centres(60))
    share = cloud_share(x, y, seen)
    pixels = [(scl(each) >= 8).mean() for each in render(CELL, seen)]
    assert np.abs(share - pixels).mean() < 0.06
