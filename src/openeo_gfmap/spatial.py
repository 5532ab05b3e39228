"""Where to extract: a bounding box, GeoJSON geometries or the address of a geometry file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry import Polygon, box, mapping

from openeo_gfmap.errors import InputError

__all__ = ["BoundingBoxExtent", "SpatialContext"]

_WGS84 = 4326


@dataclass(frozen=True)
class BoundingBoxExtent:
    """A rectangle in the axes of one coordinate reference system.

    Iterating gives the key-value pairs of an openEO bounding box, so ``dict(extent)`` goes
    straight into a process graph.

    Parameters
    ----------
    west, south, east, north : float
        Bounds in the units of the CRS (degrees for EPSG:4326, metres for UTM).
    epsg : int, default 4326
        EPSG code of the CRS.

    Raises
    ------
    InputError
        When a bound is not finite, the rectangle is empty or reversed, the EPSG code is unknown,
        or degrees lie outside the globe.
    """

    west: float
    south: float
    east: float
    north: float
    epsg: int = _WGS84

    def __post_init__(self) -> None:
        # numpy scalars, as in gdf.total_bounds, become plain numbers: JSON knows no others.
        try:
            for name in ("west", "south", "east", "north"):
                object.__setattr__(self, name, float(getattr(self, name)))
        except (TypeError, ValueError):
            raise InputError(
                f"The bounds {self._bounds} are not numbers; "
                "give west, south, east and north as floats."
            ) from None
        if not all(math.isfinite(value) for value in self._bounds):
            raise InputError(f"The bounds {self._bounds} are not finite; give real coordinates.")
        if self.west >= self.east or self.south >= self.north:
            raise InputError(
                f"The box {self._bounds} is empty or reversed: expected west < east and "
                "south < north. Split a box that crosses the antimeridian in two."
            )
        self._check_crs()
        in_range = max(-self.west, self.east) <= 180 and max(-self.south, self.north) <= 90
        if self.epsg == _WGS84 and not in_range:
            raise InputError(
                f"The box {self._bounds} is not in degrees of longitude (-180 to 180) and latitude "
                "(-90 to 90); pass epsg= for coordinates of a projected CRS."
            )

    @property
    def _bounds(self) -> tuple[float, float, float, float]:
        return (self.west, self.south, self.east, self.north)

    def _check_crs(self) -> None:
        try:
            object.__setattr__(self, "epsg", int(self.epsg))
            CRS.from_epsg(self.epsg)
        except (CRSError, TypeError, ValueError):
            raise InputError(
                f"epsg={self.epsg!r} is not a known EPSG code; expected a number such as 4326 "
                "(degrees) or 32631 (UTM zone 31N)."
            ) from None

    def __iter__(self) -> Iterator[tuple[str, float | str]]:
        yield "west", self.west
        yield "south", self.south
        yield "east", self.east
        yield "north", self.north
        yield "crs", f"EPSG:{self.epsg}"

    def to_geometry(self) -> Polygon:
        """Return the rectangle as a shapely polygon, in the axes of its own CRS."""
        return box(*self._bounds)

    def to_geojson(self) -> dict[str, Any]:
        """Return the rectangle as a GeoJSON Polygon, in the axes of its own CRS."""
        return dict(mapping(self.to_geometry()))


#: A bounding box, a GeoJSON mapping (``geojson`` objects are mappings), or the URL of a
#: GeoParquet or GeoJSON file that the back-end can read.
SpatialContext: TypeAlias = BoundingBoxExtent | Mapping[str, Any] | str
