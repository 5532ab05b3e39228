"""The computed Sentinel-2 grid against the table of all tiles, and places whose tile is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openeo_gfmap.tiling import TILE_SIZE, all_tiles, tile_index, tile_info, tile_of, tiles_at
from openeo_gfmap.utm import normalise_lon, utm_epsg, utm_to_lonlat


@pytest.fixture(scope="module")
def table(shared_data: Path) -> pd.DataFrame:
    path = shared_data / "tiling_grid" / "s2_tiles.parquet"
    return pd.read_parquet(path).sort_values("tile", ignore_index=True)


def test_every_tile_is_there_with_its_utm_zone(table: pd.DataFrame) -> None:
    tiles = all_tiles()
    assert len(tiles) == 56_686
    assert (tiles.id == table.tile).all()
    assert (tiles.epsg == table.epsg).all()


def test_bounds_are_the_reference_bounds(table: pd.DataFrame) -> None:
    tiles = all_tiles()
    # South of 81° S the table's northings are 2,000 km off the table's own centroids, which lie
    # where ours do: rows of 100 km repeat every 2,000 km, and its northings took the wrong turn.
    turned = (table.centroid_lat < -81).to_numpy()
    assert turned.sum() == 240
    known = table.xmin.notna().to_numpy()
    plain = known & ~turned
    assert plain.sum() == 56_444
    for name in ("xmin", "ymin", "xmax", "ymax"):
        ours, reference = getattr(tiles, name), table[name].to_numpy(dtype=float)
        assert np.array_equal(ours[plain], reference[plain]), name
        shift = 2_000_000 if name.startswith("y") else 0
        assert np.abs(reference - ours - shift)[turned].max() < 60, name


def test_centroids_are_the_reference_centroids(table: pd.DataFrame) -> None:
    tiles = all_tiles()
    # The table's centroids are planar ones, in degrees. They mean nothing for tiles that cross
    # the antimeridian, and stay within 1 km of the centre of the square for all others.
    whole = np.abs(tiles.lon) < 172
    assert whole.sum() > 53_000
    assert np.abs(tiles.lat - table.centroid_lat).max() * 111.2 < 1.0
    east = np.abs(tiles.lon - table.centroid_lon) * np.cos(np.radians(tiles.lat)) * 111.2
    assert east[whole].max() < 1.0


def test_the_arrays_cannot_be_changed_by_accident() -> None:
    tiles = all_tiles()
    for name in ("id", "epsg", "xmin", "ymin", "xmax", "ymax", "lon", "lat"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(tiles, name)[0] = getattr(tiles, name)[1]


@pytest.mark.parametrize(
    ("place", "lon", "lat", "tile", "epsg"),
    [
        ("Brussels", 4.35, 50.85, "31UES", 32631),
        ("Bergen: Norway's exception", 5.32, 60.39, "32VKN", 32632),
        ("Longyearbyen: Svalbard's exception", 15.63, 78.22, "33XWG", 32633),
        ("Lilongwe, south of the equator", 33.78, -13.97, "36LWK", 32736),
        ("Quito, just south of the equator", -78.5, -0.2, "17MQV", 32717),
        ("on the equator", 9.0, 0.0, "32NNF", 32632),
        ("Taveuni, Fiji, on the antimeridian", 180.0, -16.85, "01KAB", 32701),
        ("the same, from the other side", -180.0, -16.85, "01KAB", 32701),
        ("the same, turned once more", 540.0, -16.85, "01KAB", 32701),
    ],
)
def test_tile_of_known_places(place: str, lon: float, lat: float, tile: str, epsg: int) -> None:
    assert tile_of(lon, lat).tolist() == [tile], place
    assert utm_epsg(lon, lat).tolist() == [epsg], place
    assert tile_info(tile).epsg == epsg


def test_utm_zones_have_the_exceptions_of_norway_and_svalbard() -> None:
    lon = np.array([2.9, 3.0, 5.9, 11.9, 0.0, 8.9, 9.0, 20.9, 21.0, 32.9, 33.0, 41.9, 42.0])
    norway = utm_epsg(lon[:4], np.full(4, 60.0)) - 32600
    svalbard = utm_epsg(lon[4:], np.full(9, 75.0)) - 32600
    assert norway.tolist() == [31, 32, 32, 32]
    assert svalbard.tolist() == [31, 31, 33, 33, 35, 35, 37, 37, 38]
    assert (utm_epsg(5.0, 64.0) - 32600).tolist() == [31], "the exception ends at 64° N"


def test_tile_info_of_a_tile() -> None:
    info = tile_info("31UFS")
    assert info.bounds == (600_000, 5_590_200, 709_800, 5_700_000)
    assert (info.epsg, info.xmax - info.xmin) == (32631, TILE_SIZE)
    assert (info.lon, info.lat) == pytest.approx((5.2046, 50.9367), abs=1e-4)
    assert tile_info("T31UFS") == tile_info("31ufs") == info


@pytest.mark.parametrize("name", ["31UZZ", "", "99XXX", "31U", "nonsense", "31UFS1"])
def test_tile_info_of_no_tile_says_what_is_expected(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is not a Sentinel-2 tile.*31UFS"):
        tile_info(name)


def test_poles_have_no_tile() -> None:
    assert tile_of([0, 120, 0], [90, -90, 88]).tolist() == [None, None, None]
    assert tile_index(0, 90).tolist() == [-1]
    assert tiles_at([0, 0], [90, -90]) == [[], []]


def test_every_place_between_the_polar_gaps_has_a_tile() -> None:
    rng = np.random.default_rng(7)
    lon, lat = rng.uniform(-180, 180, 100_000), rng.uniform(-83.8, 84.1, 100_000)
    assert (tile_index(lon, lat) >= 0).all()
    assert (tile_index(lon, lat, choose="margin") >= 0).all()


def test_margin_keeps_away_from_the_edges() -> None:
    # 30 m inside of the left edge of 31UFS, 9.7 km inside of the right edge of 31UES.
    lon, lat = utm_to_lonlat(31, 600_030.0, 5_640_000.0)
    assert tile_of(lon, lat).tolist() == ["31UFS"]
    assert tile_of(lon, lat, choose="margin").tolist() == ["31UES"]
    assert tiles_at(lon, lat) == [["31UES", "31UFS"]]


def test_tiles_at_lists_the_tile_of_the_point() -> None:
    rng = np.random.default_rng(11)
    lon, lat = rng.uniform(-180, 180, 3_000), rng.uniform(-83, 84, 3_000)
    for choose in ("native", "margin"):
        for tile, around in zip(tile_of(lon, lat, choose=choose), tiles_at(lon, lat), strict=True):
            assert tile in around
            assert len(set(around)) == len(around)


def test_coordinates_that_are_none_are_named() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 points .* position 1: lon=5.0, lat=95.0"):
        tile_of([4.0, 5.0], [50.0, 95.0])
    with pytest.raises(ValueError, match="not on the globe"):
        utm_epsg(np.nan, 0.0)
    with pytest.raises(ValueError, match='expected "native" or "margin"'):
        tile_of(4.0, 50.0, choose="nearest")  # type: ignore[call-overload]


def test_no_points_no_tiles() -> None:
    assert tile_of([], []).tolist() == []
    assert tiles_at([], []) == []


def test_normalise_lon_keeps_what_is_inside() -> None:
    inside = np.array([-180.0, -1e-300, 0.1, 179.99999999999997])
    assert np.array_equal(normalise_lon(inside), inside)
    assert normalise_lon([180.0, 190.0, -190.0, 360.0, -540.0]).tolist() == [
        -180.0,
        -170.0,
        170.0,
        0.0,
        -180.0,
    ]
    assert (normalise_lon(np.nextafter([-180.0, 180.0], [-200.0, 200.0])) < 180).all()
