"""When Sentinel-2 passes over a place, which part its swath covers, and where the sun stands.

The two satellites fly one circular sun-synchronous orbit: 143 revolutions in 10 days, half a
cycle apart. That fixes every ground track once one descending node is known, so the dates of
the archive are the dates of the real mission.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

__all__ = [
    "FIRST_DAY",
    "Acquisition",
    "acquisitions",
    "acquisitions_of",
    "covering_orbits",
    "cross_track",
    "sun_position",
    "swath_margin",
]

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

_ORBITS = 143
_CYCLE = timedelta(days=10)
_HALF_CYCLE = _CYCLE / 2
_PERIOD = _CYCLE / _ORBITS
_INCLINATION = np.radians(98.5624)
# Degrees of longitude that the track falls behind per degree of orbit, as the Earth turns below.
_DRIFT = 10 / _ORBITS
_EARTH_RADIUS = 6_371_000.0
_HALF_SWATH = 145_000.0
# Descending node of relative orbit 22, Sentinel-2A; the mean local time there is 10:30.
_EPOCH = datetime(2023, 6, 2, 10, 31, 11, tzinfo=UTC)
_EPOCH_ORBIT = 22
_EPOCH_LONGITUDE = -0.3
# MSI records only where the sun stands at least 8 degrees above the horizon.
_LOWEST_SUN = 8.0


FIRST_DAY = {"S2A": date(2015, 7, 1), "S2B": date(2017, 7, 1)}
"""From when on each satellite's scenes are in the archive: first products of the mission's data
hub, to the month."""


@dataclass(frozen=True)
class Acquisition:
    """One pass as seen from one place.

    Attributes
    ----------
    orbit
        Relative orbit number, 1 to 143.
    turn
        Half cycles of 5 days since the reference pass; even ones are Sentinel-2A's.
    node_day
        UTC day on which the pass crosses the equator: the same wherever it is seen from.
    time
        Time over the place, UTC, whole seconds.
    sun_azimuth, sun_elevation
        Degrees at the place; azimuth clockwise from north.
    """

    orbit: int
    turn: int
    node_day: date
    time: datetime
    sun_azimuth: float
    sun_elevation: float

    @property
    def day(self) -> date:
        """The UTC day."""
        return self.time.date()

    @property
    def platform(self) -> str:
        """``"S2A"`` or ``"S2B"``."""
        return "S2B" if self.turn % 2 else "S2A"

    @property
    def key(self) -> int:
        """An integer that is the same wherever this pass is seen from: seeds its clouds."""
        return self.turn * 1000 + self.orbit


def _unit(longitude: Floats, latitude: Floats) -> Floats:
    """Return unit vectors (..., 3) of geocentric degrees."""
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _track(node: Floats, angle: Floats) -> Floats:
    """Return the unit vector to the ground track ``angle`` radians after the node (deg)."""
    latitude = np.degrees(np.arcsin(-np.sin(_INCLINATION) * np.sin(angle)))
    offset = np.arctan2(np.cos(_INCLINATION) * np.sin(angle), np.cos(angle))
    return _unit(node + np.degrees(offset) - _DRIFT * np.degrees(angle), latitude)


def _nodes(orbits: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
    """Longitudes (deg) of the descending nodes of relative orbits."""
    return _EPOCH_LONGITUDE - 360.0 * _DRIFT * (orbits - _EPOCH_ORBIT)


def cross_track(
    longitude: Floats, latitude: Floats, orbits: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[Floats, Floats]:
    """Distance of places from ground tracks.

    Parameters
    ----------
    longitude, latitude
        Geodetic degrees, broadcast with ``orbits``.
    orbits
        Relative orbit numbers.

    Returns
    -------
    Distance in metres (positive to the left of the flight) and orbit angle in radians from the
    descending node to the point abeam, negative before the node.
    """
    # Tracks are on the sphere of geocentric latitudes.
    geocentric = np.degrees(np.arctan((1 - 0.00669438) * np.tan(np.radians(latitude))))
    place = _unit(np.asarray(longitude), geocentric)
    node = _nodes(orbits)
    ratio = np.sin(np.radians(geocentric)) / np.sin(_INCLINATION)
    angle = np.broadcast_to(
        -np.arcsin(np.clip(ratio, -1, 1)), np.broadcast_shapes(node.shape, place.shape[:-1])
    )
    step = 1e-4
    for _ in range(4):
        below = _track(node, angle)
        forward = (_track(node, angle + step) - below) / step
        speed = np.sum(forward * forward, axis=-1)
        # Newton towards the point abeam; clipped so that tracks on the far side stay harmless.
        angle = angle + np.clip(np.sum((place - below) * forward, axis=-1) / speed, -0.2, 0.2)
    below = _track(node, angle)
    forward = _track(node, angle + step) - below
    normal = np.cross(below, forward)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    distance = _EARTH_RADIUS * np.arcsin(np.clip(np.sum(place * normal, axis=-1), -1, 1))
    # Tracks farther than 8 degrees have not converged, and do not matter; the other half of the
    # orbit climbs, by night.
    near = (np.sum(place * below, axis=-1) > 0.99) & (np.abs(angle) < np.pi / 2)
    return np.where(near, distance, np.inf), angle


def swath_margin(
    longitude: Floats, latitude: Floats, orbits: np.ndarray[Any, np.dtype[np.int64]]
) -> Floats:
    """Metres to the swath's edge, positive inside, for places broadcast with orbits."""
    return _HALF_SWATH - np.abs(cross_track(longitude, latitude, orbits)[0])


def covering_orbits(longitude: Floats, latitude: Floats) -> list[int]:
    """Relative orbits whose swath holds at least one of the places, ascending."""
    orbits = np.arange(1, _ORBITS + 1)
    margin = swath_margin(np.ravel(longitude)[:, None], np.ravel(latitude)[:, None], orbits)
    return [int(orbit) for orbit in orbits[(margin > 0).any(axis=0)]]


def acquisitions(
    longitude: float, latitude: float, orbits: Sequence[int], start: date, end: date
) -> list[Acquisition]:
    """List passes of some relative orbits by daylight, start <= UTC day < end, in order of time.

    A satellite has no passes before :data:`FIRST_DAY`.

    Parameters
    ----------
    longitude, latitude
        The place whose time and sun the passes have (a tile's centre), degrees.
    orbits
        Relative orbits to list, see :func:`covering_orbits`.
    """
    first = (datetime(start.year, start.month, start.day, tzinfo=UTC) - _EPOCH) // _HALF_CYCLE
    last = (datetime(end.year, end.month, end.day, tzinfo=UTC) - _EPOCH) // _HALF_CYCLE
    # A pass lies from minutes before to two half cycles after its turn begins.
    keys = [(turn, orbit) for turn in range(first - 2, last + 2) for orbit in orbits]
    seen = acquisitions_of(keys, longitude, latitude)
    by_day = [
        each for each in seen if start <= each.day < end and FIRST_DAY[each.platform] <= each.day
    ]
    return sorted(
        (each for each in by_day if each.sun_elevation >= _LOWEST_SUN),
        key=lambda each: (each.time, each.orbit),
    )


def acquisitions_of(
    passes: Sequence[tuple[int, int]], longitude: float, latitude: float
) -> list[Acquisition]:
    """Given passes (turn, relative orbit) as seen from a place, in the order given."""
    orbits = sorted({orbit for _, orbit in passes})
    _, angles = cross_track(np.array(longitude), np.array(latitude), np.array(orbits, dtype=int))
    angle_of = dict(zip(orbits, np.ravel(angles), strict=True))
    result = []
    for turn, orbit in passes:
        node = _EPOCH + turn * _HALF_CYCLE + ((orbit - _EPOCH_ORBIT) % _ORBITS) * _PERIOD
        time = (node + float(angle_of[orbit]) / (2 * np.pi) * _PERIOD).replace(microsecond=0)
        sun = sun_position(time, longitude, latitude)
        result.append(Acquisition(orbit, turn, node.date(), time, *sun))
    return result


def sun_position(time: datetime, longitude: float, latitude: float) -> tuple[float, float]:
    """Azimuth (clockwise from north) and elevation of the sun in degrees, to about 0.1 degree.

    The short series of Spencer (1971) for declination and equation of time.
    """
    day = time.timetuple().tm_yday - 1 + (time.hour - 12) / 24
    g = 2 * np.pi * day / 365
    equation = 229.18 * (
        0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g)
        - 0.014615 * np.cos(2 * g) - 0.040849 * np.sin(2 * g)
    )  # fmt: skip
    declination = (
        0.006918 - 0.399912 * np.cos(g) + 0.070257 * np.sin(g) - 0.006758 * np.cos(2 * g)
        + 0.000907 * np.sin(2 * g) - 0.002697 * np.cos(3 * g) + 0.00148 * np.sin(3 * g)
    )  # fmt: skip
    minutes = time.hour * 60 + time.minute + time.second / 60 + equation + 4 * longitude
    hour = np.radians(minutes / 4 - 180)
    phi = np.radians(latitude)
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(hour)
    azimuth = float(np.degrees(np.arctan2(east, north)) % 360)
    return azimuth, float(np.degrees(np.arcsin(np.clip(up, -1, 1))))
