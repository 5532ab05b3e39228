"""The Sentinel-2 tiling grid, computed instead of downloaded.

Sentinel-2 products come in squares of 109.8 km in UTM, named after the 100 km square of the
military grid reference system (MGRS) that each one covers. Everything about a tile follows
from its name:

- the two digits are the UTM zone, the last two letters the 100 km column and row;
- rows repeat every 2,000 km, and the band letter tells which repetition is meant: it is the
  latitude band of the square's centre (C below 72° S, then 8° each, X above 72° N);
- the upper-left corner is the square's, moved outward to a multiple of 60 m, so that the 10,
  20 and 60 m grids of all tiles of one zone nest.

Which of the possible squares are tiles is the only thing that cannot be computed; it is a bitmap
of 11 kB (``data/s2_squares.bin``, made by ``tools/make_s2_squares.py``).

The grid leaves out the poles: it is complete from 83.8° S to 84.1° N, its tiles end at 83.9° S and
84.7° N.
Longitudes may have any number of turns, so 190° E and 170° W are the same place.

The client and the embedded back-end both use this module: it needs numpy and pyproj only, and
imports nothing of the package but ``utm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from openeo_gfmap.utm import (
    checked_points,
    lonlat_to_utm,
    normalise_lon,
    utm_epsg,
    utm_to_lonlat,
    utm_zone,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "TILE_SIZE",
    "TileInfo",
    "Tiles",
    "all_tiles",
    "tile_index",
    "tile_info",
    "tile_of",
    "tiles_at",
    "utm_epsg",
]

TILE_SIZE: Final = 109_800
"""Side of a tile in metres."""

_SQUARES_FILE = Path(__file__).parent / "data" / "s2_squares.bin"
_SQUARE = 100_000  # side of an MGRS square, m
_STEP = 60  # tile corners are multiples of the coarsest pixel, m
_ZONES, _COLUMNS, _ROWS = 60, 8, 190
_FIRST_ROW = -95  # rows count 100 km squares from the equator, southern ones negative
_BAND_LETTERS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMN_LETTERS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")  # by zone modulo 3
_ROW_LETTERS = "ABCDEFGHJKLMNPQRSTUV"
_EVEN_ZONE_SHIFT = 5  # the row letters of even zones start with F at the equator
_FALSE_NORTHING = 10_000_000  # m, of the southern UTM zones

# A tile reaches past its 100 km square to the right and downward only. A point can therefore lie
# in the tile of its own square, of the square to the left, of the one above, or of both.
_NEIGHBOURS = ((0, 0), (-1, 0), (0, 1), (-1, 1))
# Near 84° N a tile spans more than a whole zone, and in Svalbard every second zone is left out.
_NEAR_ZONES = (0, -1, 1, -2, 2)


@dataclass(frozen=True, slots=True)
class TileInfo:
    """One Sentinel-2 tile.

    Attributes
    ----------
    id : str
        Five characters, such as ``"31UFS"``.
    epsg : int
        UTM zone, 32601 to 32660 in the north and 32701 to 32760 in the south.
    xmin, ymin, xmax, ymax : int
        Outer pixel edges in metres, in ``epsg``.
    lon, lat : float
        Centre of the square in degrees (WGS 84), longitude in [-180, 180).
    """

    id: str
    epsg: int
    xmin: int
    ymin: int
    xmax: int
    ymax: int
    lon: float
    lat: float

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """``(xmin, ymin, xmax, ymax)`` in metres."""
        return self.xmin, self.ymin, self.xmax, self.ymax


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """All Sentinel-2 tiles, ordered by id, as arrays of one length.

    Attributes
    ----------
    id : ndarray of str
        Tile ids (``U5``).
    epsg : ndarray of int
        UTM zones.
    xmin, ymin, xmax, ymax : ndarray of int
        Outer pixel edges in metres, in ``epsg``.
    lon, lat : ndarray of float
        Centres in degrees (WGS 84).
    """

    id: NDArray[np.str_]
    epsg: Ints
    xmin: Ints
    ymin: Ints
    xmax: Ints
    ymax: Ints
    lon: Floats
    lat: Floats

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """The tiles, and the way from a square to its tile."""

    tiles: Tiles
    lookup: NDArray[np.int32]  # (zone - 1, column, row - first row) -> index of the tile, or -1


def all_tiles() -> Tiles:
    """All 56,686 tiles of the grid.

    Returns
    -------
    Tiles
        Read-only arrays, shared by all callers.
    """
    return _grid().tiles


def tile_info(tile_id: str) -> TileInfo:
    """Projection, bounds and centre of one tile.

    Parameters
    ----------
    tile_id : str
        Such as ``"31UFS"``; the product names' ``"T31UFS"`` is understood too.

    Raises
    ------
    ValueError
        The grid has no such tile.
    """
    tiles = all_tiles()
    wanted = tile_id.upper()
    if len(wanted) == 6:  # the T of product names
        wanted = wanted.removeprefix("T")
    at = int(np.searchsorted(tiles.id, wanted))
    if at == len(tiles) or tiles.id[at] != wanted:
        raise ValueError(
            f"{tile_id!r} is not a Sentinel-2 tile; expected two digits and three letters of an "
            'existing tile, such as "31UFS". tile_of(lon, lat) gives the tile of a place.'
        )
    return TileInfo(
        id=wanted,
        epsg=int(tiles.epsg[at]),
        xmin=int(tiles.xmin[at]),
        ymin=int(tiles.ymin[at]),
        xmax=int(tiles.xmax[at]),
        ymax=int(tiles.ymax[at]),
        lon=float(tiles.lon[at]),
        lat=float(tiles.lat[at]),
    )


def tile_of(
    lon: ArrayLike, lat: ArrayLike, *, choose: Literal["native", "margin"] = "native"
) -> NDArray[np.object_]:
    """Id of the tile of each point.

    Parameters
    ----------
    lon, lat : array_like of float
        WGS 84 degrees; scalars are taken as one point.
    choose : {"native", "margin"}
        Tiles overlap by 9.8 km. ``"native"`` takes the tile of the MGRS square that the point
        lies in, with the UTM zones of Norway and Svalbard. The point may then lie within metres
        of the tile's upper or left edge. ``"margin"`` takes, among the tiles of the point's own
        UTM zone, the one with the widest margin around it: at least 4.9 km in the inside of a
        zone, so that a patch around the point fits.

        Where the point's own square is not a tile, as happens along zone borders, both take the
        tile with the widest margin in any zone.

    Returns
    -------
    ndarray of object
        One ``str`` per point, ``None`` where no tile lies (the poles).

    Raises
    ------
    ValueError
        Coordinates that are not finite, or latitudes outside [-90, 90].
    """
    index = tile_index(lon, lat, choose=choose)
    ids = all_tiles().id.astype(object)[index]
    ids[index < 0] = None
    return ids


def tile_index(
    lon: ArrayLike, lat: ArrayLike, *, choose: Literal["native", "margin"] = "native"
) -> Ints:
    """Like `tile_of`, as positions in `all_tiles`; -1 where no tile lies."""
    if choose not in ("native", "margin"):
        raise ValueError(f'choose={choose!r} is not known; expected "native" or "margin".')
    lon, lat = checked_points(lon, lat)
    zone = utm_zone(lon, lat)
    easting, northing = lonlat_to_utm(lon, lat, zone)
    column, row = _square_of(easting, northing)
    index = _tile_at(zone, column, row)
    missing = np.flatnonzero(index < 0)
    if choose == "margin":
        found = np.flatnonzero(index >= 0)
        index[found] = _roomiest(lon[found], lat[found], zone[found], zone_offsets=(0,))
    index[missing] = _roomiest(lon[missing], lat[missing], zone[missing], _NEAR_ZONES)
    return index


def tiles_at(lon: ArrayLike, lat: ArrayLike) -> list[list[str]]:
    """All tiles that hold each point, those with the widest margin first.

    Parameters
    ----------
    lon, lat : array_like of float
        WGS 84 degrees; scalars are taken as one point.

    Returns
    -------
    list of list of str
        For each point the ids of the tiles, of any UTM zone, whose 109.8 km square holds it,
        edges included. Empty where no tile lies (the poles).

    Raises
    ------
    ValueError
        Coordinates that are not finite, or latitudes outside [-90, 90].
    """
    lon, lat = checked_points(lon, lat)
    index, margin = _candidates(lon, lat, utm_zone(lon, lat), _NEAR_ZONES)
    margin[index < 0] = -1.0
    order = np.argsort(-margin, axis=0, kind="stable")
    index = np.take_along_axis(index, order, axis=0)
    count = (np.take_along_axis(margin, order, axis=0) >= 0).sum(axis=0)
    ids = all_tiles().id
    return [ids[index[:n, i]].tolist() for i, n in enumerate(count)]


@lru_cache(maxsize=1)
def _grid() -> _Grid:
    packed = np.frombuffer(_SQUARES_FILE.read_bytes(), dtype=np.uint8)
    exists = np.unpackbits(packed, count=_ZONES * _COLUMNS * _ROWS).astype(bool)
    zone, column, row = np.nonzero(exists.reshape(_ZONES, _COLUMNS, _ROWS))
    zone, row = zone + 1, row + _FIRST_ROW
    ids = _square_ids(zone, column, row)
    order = np.argsort(ids)
    zone, column, row, ids = zone[order], column[order], row[order], ids[order]

    lookup = np.full((_ZONES, _COLUMNS, _ROWS), -1, dtype=np.int32)
    lookup[zone - 1, column, row - _FIRST_ROW] = np.arange(len(ids))

    xmin, ymax = _corner(column, row)
    lon, lat = utm_to_lonlat(zone, xmin + TILE_SIZE / 2, ymax - TILE_SIZE / 2)
    south = row < 0
    ymax = ymax + np.where(south, _FALSE_NORTHING, 0)
    tiles = Tiles(
        id=ids,
        epsg=np.where(south, 32700, 32600) + zone,
        xmin=xmin,
        ymin=ymax - TILE_SIZE,
        xmax=xmin + TILE_SIZE,
        ymax=ymax,
        lon=normalise_lon(lon),
        lat=lat,
    )
    for array in (ids, tiles.epsg, xmin, tiles.ymin, tiles.xmax, ymax, tiles.lon, lat, lookup):
        array.flags.writeable = False
    return _Grid(tiles, lookup)


def _square_ids(zone: Ints, column: Ints, row: Ints) -> NDArray[np.str_]:
    """MGRS names of 100 km squares, with the band letter of the square's centre."""
    centre_easting = (column + 1.5) * _SQUARE
    _, lat = utm_to_lonlat(31, centre_easting, (row + 0.5) * _SQUARE)
    band = np.clip((lat + 80) // 8, 0, len(_BAND_LETTERS) - 1).astype(int)
    shift = np.where(zone % 2 == 0, _EVEN_ZONE_SHIFT, 0)
    columns = np.array([list(letters) for letters in _COLUMN_LETTERS])
    parts: list[NDArray[np.str_]] = [
        np.char.zfill(zone.astype("U2"), 2),
        np.array(list(_BAND_LETTERS))[band],
        columns[zone % 3, column],
        np.array(list(_ROW_LETTERS))[(row + shift) % len(_ROW_LETTERS)],
    ]
    ids = parts[0]
    for part in parts[1:]:
        ids = np.char.add(ids, part)
    return ids


def _corner(column: Ints, row: Ints) -> tuple[Ints, Ints]:
    """Upper-left corner of the tiles of squares; northings signed, in metres."""
    left = (column + 1) * _SQUARE // _STEP * _STEP
    top = -(-(row + 1) * _SQUARE // _STEP) * _STEP
    return left, top


def _square_of(easting: Floats, northing: Floats) -> tuple[Ints, Ints]:
    column = (easting // _SQUARE).astype(np.int64) - 1
    row = (northing // _SQUARE).astype(np.int64)
    return column, row


def _tile_at(zone: Ints, column: Ints, row: Ints) -> Ints:
    """Index of the tile of each square; -1 where the square is none."""
    row = row - _FIRST_ROW
    inside = (column >= 0) & (column < _COLUMNS) & (row >= 0) & (row < _ROWS)
    index = np.full(len(zone), -1, dtype=np.int64)
    index[inside] = _grid().lookup[zone[inside] - 1, column[inside], row[inside]]
    return index


def _candidates(
    lon: Floats, lat: Floats, zone: Ints, zone_offsets: tuple[int, ...]
) -> tuple[Ints, Floats]:
    """Tiles that may hold each point, and the point's distance to the nearest tile edge.

    Returns two arrays of shape (candidates, points): tile index or -1, and margin in metres,
    negative outside of the tile.
    """
    shape = (len(zone_offsets) * len(_NEIGHBOURS), len(lon))
    index, margin = np.empty(shape, dtype=np.int64), np.empty(shape)
    slot = 0
    for zone_offset in zone_offsets:
        near = (zone - 1 + zone_offset) % _ZONES + 1
        easting, northing = lonlat_to_utm(lon, lat, near)
        # Far from its central meridian the projection overflows; there is no square anyway.
        usable = np.isfinite(easting) & (np.abs(easting) < 10 * _SQUARE)
        easting, northing = np.where(usable, easting, -1.0), np.where(usable, northing, 0.0)
        column, row = _square_of(easting, northing)
        for right, up in _NEIGHBOURS:
            left, top = _corner(column + right, row + up)
            index[slot] = _tile_at(near, column + right, row + up)
            margin[slot] = np.minimum(
                TILE_SIZE / 2 - np.abs(easting - (left + TILE_SIZE / 2)),
                TILE_SIZE / 2 - np.abs(northing - (top - TILE_SIZE / 2)),
            )
            slot += 1
    index[margin < 0] = -1
    return index, margin


def _roomiest(lon: Floats, lat: Floats, zone: Ints, zone_offsets: tuple[int, ...]) -> Ints:
    """Index of the tile with the widest margin around each point; -1 where no tile holds it."""
    index, margin = _candidates(lon, lat, zone, zone_offsets)
    margin[index < 0] = -1.0
    best = margin.argmax(axis=0)  # the first of equals: the own zone and square come first
    widest: Ints = index[best, np.arange(len(lon))]
    return widest
