"""Cells: the squares of a UTM zone that the archive makes pixels for.

All Sentinel-2 tiles of a zone have corners at multiples of 60 m, so one grid of cells serves
them all, and overlapping tiles show the very same pixels. South of the equator the grid hangs
on the equator (false northing 10,000,000 m), as the tiles do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pyproj

__all__ = ["CELL_SIZE", "Cell", "cells_within"]

# A 640 m patch with the context of a cloud mask touches four such cells on average; smaller
# cells mean more files, larger ones more pixels nobody asked for. A multiple of 60 m.
CELL_SIZE = 1440

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, order=True)
class Cell:
    """One cell of a zone's grid.

    Attributes
    ----------
    epsg
        EPSG code of the UTM zone.
    column, row
        Position counted from the zone's origin, northwards.
    """

    epsg: int
    column: int
    row: int

    @property
    def name(self) -> str:
        """Short name, unique inside the zone."""
        return f"E{self.column:03d}{'N' if self.row >= 0 else 'S'}{abs(self.row):04d}"

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """West, south, east, north in the zone's metres."""
        west = self.column * CELL_SIZE
        south = self.row * CELL_SIZE + _false_northing(self.epsg)
        return west, south, west + CELL_SIZE, south + CELL_SIZE

    @property
    def corners(self) -> tuple[Floats, Floats]:
        """Longitudes and latitudes of the corners, each [[NW, NE], [SW, SE]]."""
        return _corners(self)

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of the centre."""
        west, south, _, _ = self.bounds
        half = CELL_SIZE / 2
        lon, lat = _to_lonlat(self.epsg).transform(west + half, south + half)
        return float(lon), float(lat)

    def centres(self, resolution: float) -> tuple[Floats, Floats]:
        """Eastings and northings of the pixel centres, each (rows, columns), north up."""
        west, _, _, north = self.bounds
        steps = (np.arange(int(CELL_SIZE / resolution)) + 0.5) * resolution
        x, y = np.meshgrid(west + steps, north - steps)
        return x, y


def cells_within(epsg: int, bounds: tuple[float, float, float, float]) -> Iterator[Cell]:
    """Cells that share area with a box in the zone's metres, row by row."""
    west, south, east, north = bounds
    down, up = south - _false_northing(epsg), north - _false_northing(epsg)
    for row in range(math.floor(down / CELL_SIZE), math.ceil(up / CELL_SIZE)):
        for column in range(math.floor(west / CELL_SIZE), math.ceil(east / CELL_SIZE)):
            yield Cell(epsg, column, row)


@cache
def _to_lonlat(epsg: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)


@lru_cache(maxsize=1024)  # every item of a cell asks again
def _corners(cell: Cell) -> tuple[Floats, Floats]:
    west, south, east, north = cell.bounds
    lon, lat = _to_lonlat(cell.epsg).transform([west, east] * 2, [north] * 2 + [south] * 2)
    corners = np.reshape(lon, (2, 2)), np.reshape(lat, (2, 2))
    for each in corners:
        each.setflags(write=False)
    return corners


def _false_northing(epsg: int) -> int:
    return 10_000_000 if epsg // 100 == 327 else 0
