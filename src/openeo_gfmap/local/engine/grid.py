"""Pixel grids and extents: where a cube's pixels may lie, and the windows cut out of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from ...tiling import utm_epsg
from ..errors import OpenEOError

__all__ = ["Bounds", "Extent", "Grid", "crs_name", "extent_of", "is_utm", "utm_of"]

Bounds = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax."""

# Extents come out of reprojections with noise in the last digits: a bound this close (in pixels)
# to a grid line lies on it.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Extent:
    """A rectangle in a CRS.

    Attributes
    ----------
    bounds
        xmin, ymin, xmax, ymax in the CRS's units, x before y.
    crs
        As :func:`crs_name` gives it.
    """

    bounds: Bounds
    crs: str = "EPSG:4326"

    def to(self, crs: str) -> Extent:
        """Return the smallest extent in another CRS that holds this one."""
        if crs == self.crs:
            return self
        box = _transformer(self.crs, crs).transform_bounds(*self.bounds, densify_pts=21)
        if not all(map(math.isfinite, box)):
            raise OpenEOError(
                "CoordinateOutOfBounds",
                f"The extent {self.bounds} in {self.crs} lies outside of where {crs} is defined.",
            )
        return Extent(box, crs)

    def union(self, other: Extent) -> Extent:
        """Return the smallest extent, in this one's CRS, that holds both."""
        a, b = self.bounds, other.to(self.crs).bounds
        low, high = (min(a[0], b[0]), min(a[1], b[1])), (max(a[2], b[2]), max(a[3], b[3]))
        return Extent((*low, *high), self.crs)

    def intersection(self, other: Extent) -> Extent | None:
        """Return the common part in the other's CRS, None when there is none."""
        a, b = self.to(other.crs).bounds, other.bounds
        low, high = (max(a[0], b[0]), max(a[1], b[1])), (min(a[2], b[2]), min(a[3], b[3]))
        if low[0] > high[0] or low[1] > high[1]:  # a point's extent has no width, and may meet
            return None
        return Extent((*low, *high), other.crs)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Extent:
        """Read an openEO bounding box object; ProcessParameterInvalid says what is wrong."""
        try:
            west, south, east, north = (float(value[k]) for k in ("west", "south", "east", "north"))
        except (KeyError, TypeError, ValueError):
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The bounding box {dict(value)!r} needs the numbers west, south, east, north.",
            ) from None
        crs = crs_name(value.get("crs") or value.get("srs") or 4326)
        box = (west, south, east, north)
        if not all(map(math.isfinite, box)) or west >= east or south >= north:
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The bounding box west={west}, south={south}, east={east}, north={north} is "
                "empty; west must be less than east and south less than north. Across the "
                "antimeridian, east is beyond 180, as in west=179.9, east=180.1.",
            )
        if crs == "EPSG:4326" and (abs(south) > 90 or abs(north) > 90 or max(-west, east) > 360):
            raise OpenEOError(
                "CoordinateOutOfBounds",
                f"The bounding box west={west}, south={south}, east={east}, north={north} is not "
                "in degrees; give its crs, for example 'EPSG:32631'.",
            )
        return cls(box, crs)


@dataclass(frozen=True)
class Grid:
    """North-up square pixels of one size, whose corners are multiples of it from an origin.

    Attributes
    ----------
    crs
        As :func:`crs_name` gives it.
    resolution
        Pixel size in the CRS's units.
    origin
        x and y of any pixel corner. Sentinel-2 needs no other than 0, 0: all its tiles start
        at multiples of 60 m.
    """

    crs: str
    resolution: float
    origin: tuple[float, float] = (0.0, 0.0)

    def box(self, column: int, row: int, width: int, height: int) -> GeoBox:
        """Return the pixels from ``column`` to the right and from ``row`` down."""
        size = self.resolution
        x, y = self.origin[0] + column * size, self.origin[1] - row * size
        return GeoBox((height, width), Affine(size, 0.0, x, 0.0, -size, y), self.crs)

    def position(self, box: GeoBox) -> tuple[int, int]:
        """Column and row of the upper-left pixel of a box that lies on this grid."""
        column = (box.transform.c - self.origin[0]) / self.resolution
        row = (self.origin[1] - box.transform.f) / self.resolution
        return round(column), round(row)

    def cover(self, extent: Extent) -> GeoBox:
        """Return the box of all pixels that an extent touches, at least one."""
        xmin, ymin, xmax, ymax = extent.to(self.crs).bounds
        size, (x0, y0) = self.resolution, self.origin
        left = math.floor((xmin - x0) / size + _TOLERANCE)
        top = math.floor((y0 - ymax) / size + _TOLERANCE)
        right = math.ceil((xmax - x0) / size - _TOLERANCE)
        bottom = math.ceil((y0 - ymin) / size - _TOLERANCE)
        return self.box(left, top, max(1, right - left), max(1, bottom - top))

    def centred(self, extent: Extent) -> Extent:
        """Return the rectangle of the pixels whose centres lie in an extent, edges included.

        An extent without any pixel's centre gives the pixels that it touches.
        """
        half = self.resolution / 2
        xmin, ymin, xmax, ymax = extent.to(self.crs).bounds
        if xmax - xmin < 2 * half or ymax - ymin < 2 * half:
            return extent_of(self.cover(extent))
        x0, y0 = self.origin
        left = math.ceil((xmin - half - x0) / self.resolution - _TOLERANCE)
        top = math.ceil((y0 - ymax - half) / self.resolution - _TOLERANCE)
        right = math.floor((xmax + half - x0) / self.resolution + _TOLERANCE)
        bottom = math.floor((y0 - ymin + half) / self.resolution + _TOLERANCE)
        return extent_of(self.box(left, top, max(1, right - left), max(1, bottom - top)))

    def holds(self, box: GeoBox) -> bool:
        """Whether a box is made of pixels of this grid."""
        if box.crs is None or crs_name(box.crs) != self.crs:
            return False
        if abs(box.transform.a - self.resolution) > _TOLERANCE * self.resolution:
            return False
        column, row = self.position(box)
        back = self.box(column, row, 1, 1).transform
        slack = _TOLERANCE * self.resolution
        return abs(back.c - box.transform.c) < slack and abs(back.f - box.transform.f) < slack


def extent_of(box: GeoBox) -> Extent:
    """Return the rectangle that a box of pixels covers."""
    xmin, ymin, xmax, ymax = box.boundingbox.bbox
    return Extent((xmin, ymin, xmax, ymax), crs_name(box.crs))


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def crs_name(value: Any) -> str:
    """Return the one name the engine uses for a CRS: ``EPSG:n`` where it has a code, else WKT.

    Parameters
    ----------
    value
        Anything pyproj reads: 4326, ``"EPSG:4326"``, ``"32631"``, WKT, PROJJSON.

    Raises
    ------
    OpenEOError
        CRSInvalid.
    """
    return _crs_name(str(value) if not isinstance(value, dict | int) else repr(value))


@lru_cache(maxsize=256)
def _crs_name(text: str) -> str:
    try:
        crs = CRS.from_user_input(int(text) if text.isdigit() else text)
    except CRSError:
        raise OpenEOError(
            "CRSInvalid", f"{text[:80]!r} is no CRS; use an EPSG code such as 32631."
        ) from None
    if not (crs.is_geographic or crs.is_projected):
        raise OpenEOError(
            "CRSInvalid",
            f"{text[:80]!r} ({crs.type_name}) has no x and y on a map; use a geographic or "
            "projected CRS, such as 4326 or 32631.",
        )
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def is_utm(crs: str) -> bool:
    """Whether a CRS is one of WGS 84 / UTM, whose grids Sentinel-2 uses."""
    return len(crs) == 10 and crs[5:8] in {"326", "327"}


def utm_of(extent: Extent) -> str:
    """Return the UTM zone of an extent's centre."""
    west, south, east, north = extent.to("EPSG:4326").bounds
    if west > east:  # across the antimeridian
        east += 360.0
    lon = ((west + east) / 2 + 180.0) % 360.0 - 180.0
    return f"EPSG:{int(np.ravel(utm_epsg(lon, (south + north) / 2))[0])}"
