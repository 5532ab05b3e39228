"""The tile of a point, wherever the point is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from openeo_gfmap.tiling import TILE_SIZE, all_tiles, tile_info, tile_of, tiles_at
from openeo_gfmap.utm import lonlat_to_utm, utm_to_lonlat

longitudes = st.one_of(
    st.floats(-180, 180), st.integers(-60, 60).map(lambda n: 3.0 * n), st.floats(179.9, 180)
)
latitudes = st.one_of(st.floats(-83.7, 84.1), st.sampled_from([0.0, -1e-9, 56.0, 64.0, 72.0]))


def margin(tile: str, lon: float, lat: float) -> float:
    """Distance of a point to the nearest edge of a tile, by pyproj alone."""
    info = tile_info(tile)
    x, y = Transformer.from_crs(4326, info.epsg, always_xy=True).transform(lon, lat)
    return min(x - info.xmin, info.xmax - x, y - info.ymin, info.ymax - y)


@given(lon=longitudes, lat=latitudes)
@settings(max_examples=150, deadline=None)
def test_a_point_lies_in_its_tile(lon: float, lat: float) -> None:
    (native,), (roomy,) = tile_of(lon, lat), tile_of(lon, lat, choose="margin")
    (around,) = tiles_at(lon, lat)
    assert {native, roomy} <= set(around)
    margins = [margin(tile, lon, lat) for tile in around]
    assert min(margins) > -1e-3
    assert all(a >= b - 1e-3 for a, b in pairwise(margins))
    assert margins[around.index(roomy)] >= margins[around.index(native)] - 1e-3
    if native[:2] == roomy[:2]:  # of the tiles of one zone, the one with the widest margin
        assert roomy == next(tile for tile in around if tile[:2] == roomy[:2])


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_tiles_at_misses_none(seed: int) -> None:
    # Every tile whose square holds the point, found by asking all of the near ones.
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-180, 180), rng.uniform(-83.5, 84.5)
    tiles = all_tiles()
    zone = tiles.epsg % 100
    x, y = lonlat_to_utm(np.full(len(tiles), lon), np.full(len(tiles), lat), zone)
    bottom = tiles.ymin - np.where(tiles.epsg > 32700, 10_000_000, 0)
    near = np.abs((tiles.lon - lon + 180) % 360 - 180) < 60
    holds = near & (x >= tiles.xmin) & (x <= tiles.xmax) & (y >= bottom) & (y <= bottom + TILE_SIZE)
    assert set(tiles_at(lon, lat)[0]) == set(tiles.id[holds].tolist())


@given(zone=st.integers(1, 60), x=st.floats(166_000, 834_000), y=st.floats(-9_300_000, 9_300_000))
@settings(max_examples=60, deadline=None)
def test_utm_is_that_of_pyproj(zone: int, x: float, y: float) -> None:
    epsg, false_northing = (32600 + zone, 0) if y >= 0 else (32700 + zone, 10_000_000)
    expected = Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y + false_northing)
    lon, lat = utm_to_lonlat(zone, x, y)
    assert abs((lon - expected[0] + 180) % 360 - 180) < 1e-10
    assert abs(lat - expected[1]) < 1e-10
