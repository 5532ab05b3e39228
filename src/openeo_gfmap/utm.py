"""UTM zones and coordinates of many points at once, in whatever zones they lie.

Longitudes may have any number of turns, so 190° E and 170° W are the same place. The module needs
numpy and pyproj only, and imports nothing of the package.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "checked_points",
    "lonlat_to_utm",
    "normalise_lon",
    "utm_epsg",
    "utm_to_lonlat",
    "utm_zone",
]


def utm_epsg(lon: ArrayLike, lat: ArrayLike) -> Ints:
    """EPSG code of the UTM zone of each point, with the exceptions of Norway and Svalbard.

    Parameters
    ----------
    lon, lat : array_like of float
        WGS 84 degrees.

    Returns
    -------
    ndarray of int
        32600 + zone north of the equator and on it, 32700 + zone south of it. UTM is defined
        from 80° S to 84° N; beyond, the zone of the longitude is given.

    Raises
    ------
    ValueError
        Coordinates that are not finite, or latitudes outside [-90, 90].
    """
    lon, lat = checked_points(lon, lat)
    return np.where(lat < 0, 32700, 32600) + utm_zone(lon, lat)


def utm_zone(lon: Floats, lat: Floats) -> Ints:
    """UTM zones, 1 to 60, of points that went through `checked_points`, as MGRS has them."""
    # Not (lon + 180) // 6 + 1: just west of 180° the sum rounds up, into a zone 61.
    zone = (lon // 6).astype(np.int64) + 31
    north = np.flatnonzero(lat >= 56)
    if north.size:
        x, y, z = lon[north], lat[north], zone[north]
        # South-western Norway belongs to zone 32; Svalbard leaves out 32, 34 and 36.
        z[(y < 64) & (x >= 3) & (x < 12)] = 32
        svalbard = (y >= 72) & (x >= 0) & (x < 42)
        z[svalbard] = 31 + 2 * np.searchsorted([9.0, 21.0, 33.0], x[svalbard], side="right")
        zone[north] = z
    return zone


def lonlat_to_utm(lon: Floats, lat: Floats, zone: Ints) -> tuple[Floats, Floats]:
    """UTM coordinates of points in the zones given.

    Parameters
    ----------
    lon, lat : ndarray of float
        WGS 84 degrees.
    zone : ndarray of int
        1 to 60, not necessarily the zone that a point lies in.

    Returns
    -------
    easting, northing : ndarray of float
        Metres; northings south of the equator negative, that is without the false 10,000,000.
    """
    from_centre = normalise_lon(lon - (zone * 6.0 - 183.0))
    easting, northing = _zone_31().transform(from_centre + 3.0, lat)
    return easting, northing


def utm_to_lonlat(
    zone: ArrayLike, easting: ArrayLike, northing: ArrayLike
) -> tuple[Floats, Floats]:
    """Longitude and latitude of UTM coordinates in many zones at once.

    Parameters
    ----------
    zone : array_like of int
        1 to 60; broadcast against the coordinates.
    easting, northing : array_like of float
        Metres; northings south of the equator negative, that is without the false 10,000,000.

    Returns
    -------
    lon, lat : ndarray of float
        WGS 84 degrees. Longitudes are *not* brought back to [-180, 180), so that the outline of a
        square that crosses the antimeridian stays in one piece.
    """
    zone, easting, northing = np.broadcast_arrays(zone, easting, northing)
    lon, lat = _zone_31().transform(easting, northing, direction="INVERSE")
    return lon + (zone - 31) * 6.0, lat


def normalise_lon(lon: ArrayLike) -> Floats:
    """Longitudes brought to [-180, 180); those inside already keep every bit.

    Parameters
    ----------
    lon : array_like of float
        Degrees.
    """
    lon = np.asarray(lon, dtype=np.float64)
    outside = (lon < -180.0) | (lon >= 180.0)
    if not outside.any():
        return lon
    # The modulo of a tiny negative number rounds up to 360 itself: 180 must not come back.
    turned = (lon + 180.0) % 360.0 - 180.0
    return np.where(outside, np.where(turned >= 180.0, -180.0, turned), lon)


def checked_points(lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
    """Coordinates as flat float arrays of one length, longitudes normalised.

    Parameters
    ----------
    lon, lat : array_like of float
        WGS 84 degrees; scalars become one point, arrays are broadcast and flattened.

    Raises
    ------
    ValueError
        Coordinates that are not finite, or latitudes outside [-90, 90].
    """
    lon, lat = np.broadcast_arrays(
        np.atleast_1d(np.asarray(lon, dtype=np.float64)),
        np.atleast_1d(np.asarray(lat, dtype=np.float64)),
    )
    lon, lat = lon.ravel(), lat.ravel()
    bad = ~(np.isfinite(lon) & (np.abs(lat) <= 90))  # a NaN latitude fails the comparison too
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{bad.sum()} of {len(lon)} points are not on the globe, the first one at position "
            f"{first}: lon={lon[first]}, lat={lat[first]}; expected finite degrees with latitudes "
            "from -90 to 90. Are longitude and latitude swapped, or the coordinates projected?"
        )
    return normalise_lon(lon), lat


@lru_cache(maxsize=1)
def _zone_31() -> Any:
    # All zones have the same projection but for the central meridian: one transformer does for
    # all of them, with longitudes moved to zone 31. pyproj's transformers are safe in threads.
    return Transformer.from_crs(4326, 32631, always_xy=True)
