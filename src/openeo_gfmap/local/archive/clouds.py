"""Clouds, their shadows and cirrus over a cell, for many acquisitions at once.

How cloudy a day is changes smoothly over hundreds of kilometres; where the clouds are follows
from fractal noise in the world plane, another field for each pass. The shadow of a cloud lies
where the sun's ray through it meets the ground, so it is the same noise read some way towards
the sun. Fields are computed at 120 m nodes and refined with a table of fine noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from .grid import CELL_SIZE, Cell
from .landscape import WORLD_SCALE, world_plane
from .noise import block_mean, fractal, mix, uniform
from .orbits import Acquisition

__all__ = ["Sky", "cloud_share", "skies"]

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

_NODE = 120  # metres between nodes
_NODES = CELL_SIZE // _NODE


@dataclass(frozen=True)
class Sky:
    """What stands between the sun, the ground and the satellite, at 10 m.

    Attributes
    ----------
    cloud, cirrus, shadow
        Opacity of cloud, opacity of thin cirrus and depth of cloud shadow, (rows, columns)
        float32 in 0 to 1; None where there is none in the cell.
    """

    cloud: Floats | None
    cirrus: Floats | None
    shadow: Floats | None

    def coarsened(self, factor: int) -> Sky:
        """Return means of blocks of factor x factor pixels."""
        fields = (self.cloud, self.cirrus, self.shadow)
        return Sky(*(None if each is None else block_mean(each, factor) for each in fields))


def skies(cell: Cell, passes: Sequence[Acquisition], latitude: float) -> list[Sky]:
    """Work out the sky over a cell at each acquisition."""
    x, y = _nodes(cell)
    thickness = _thickness(x, y, passes)
    east, north = _shadow_offset(passes, latitude)
    shaded = _thickness(x + east, y + north, passes)
    veil = _veil(x, y, passes)
    wisps = _wisps(cell)
    return [
        Sky(
            cloud=_refine(thickness[number], each, wisps),
            shadow=_refine(shaded[number], each, wisps),
            cirrus=_upsample(veil[number]) if veil[number].max() > 0.01 else None,
        )
        for number, each in enumerate(passes)
    ]


def cloud_share(x: Floats, y: Floats, passes: Sequence[Acquisition]) -> Floats:
    """Share of some places of the world plane that is cloudy at each acquisition, 0 to 1."""
    cloudy = _opacity(_thickness(x, y, passes)) > 0.12
    cloudy |= _veil(x, y, passes) > 0.08
    share: Floats = cloudy.reshape(len(passes), -1).mean(axis=1)
    return share


def _nodes(cell: Cell) -> tuple[Floats, Floats]:
    """World coordinates of the nodes of a cell and one more node on each side."""
    west, _, _, north = cell.bounds
    steps = np.arange(-1.0, _NODES + 2) * _NODE
    return world_plane(cell.epsg, *np.meshgrid(west + steps, north - steps))


def _per_pass(values: ArrayLike) -> Floats:
    return np.array(values, dtype=np.float64)[:, None, None]


def _seeds(passes: Sequence[Acquisition], number: int) -> np.ndarray[Any, Any]:
    return mix([each.key for each in passes], number)[:, None, None]


def _thickness(x: Floats, y: Floats, passes: Sequence[Acquisition]) -> Floats:
    """Signed cloud thickness (passes, rows, columns): positive inside clouds."""
    # From fair-weather cumulus to wide sheets.
    size = 2500 * 9 ** uniform(_seeds(passes, 60))
    gain = 0.5 + 0.18 * uniform(_seeds(passes, 61))
    field = fractal(x / size, y / size, _seeds(passes, 62), octaves=6, gain=gain)
    result: Floats = field + _cloudiness(x, y, passes)
    return result


def _cloudiness(x: Floats, y: Floats, passes: Sequence[Acquisition]) -> Floats:
    """Threshold of the cloud field: the normal quantile of the cloudy share of the sky."""
    days = np.array([each.node_day.timetuple().tm_yday for each in passes])
    north = np.where(y.mean() >= 0, 1, -1)
    winter = _per_pass(north * np.cos(2 * np.pi * (days - 10) / 365.25))
    front = fractal(x / 420e3, y / 420e3, _seeds(passes, 63), octaves=2)
    # The logistic of a wide normal piles up near 0 and 1: most days are clear or overcast.
    share = 1 / (1 + np.exp(-(2.6 * front + 0.1 + 0.7 * winter)))
    result: Floats = ndtri(np.clip(share, 1e-3, 1 - 1e-3))
    return result


def _veil(x: Floats, y: Floats, passes: Sequence[Acquisition]) -> Floats:
    """Opacity of cirrus (passes, rows, columns): long streaks on a quarter of the days."""
    angle = np.pi * uniform(_seeds(passes, 64))
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    streaks = fractal(u / 38e3, v / 7e3, _seeds(passes, 65), octaves=3)
    some = np.where(uniform(_seeds(passes, 66)) < 0.3, 0.1, -9.0)
    result: Floats = np.clip(0.14 * (streaks + some), 0, 0.3)
    return result


def _shadow_offset(passes: Sequence[Acquisition], latitude: float) -> tuple[Floats, Floats]:
    """World metres from a shaded place to the cloud above it, east and north."""
    height = 700 + 1900 * uniform(_seeds(passes, 67))
    elevation = np.radians(_per_pass([each.sun_elevation for each in passes]))
    azimuth = np.radians(_per_pass([each.sun_azimuth for each in passes]))
    # The world plane stretches ground distances by WORLD_SCALE / cos(latitude).
    away = height / np.tan(elevation) * WORLD_SCALE / np.cos(np.radians(latitude))
    return away * np.sin(azimuth), away * np.cos(azimuth)


def _opacity(thickness: Floats) -> Floats:
    """Opacity of a cloud of some thickness: 0 outside, then fast to opaque."""
    opacity: Floats = 1 - np.exp(-3.6 * np.clip(thickness, 0, None))
    return opacity


def _refine(nodes: Floats, each: Acquisition, wisps: Floats) -> Floats | None:
    """Opacity at 10 m from thickness at nodes, None where there is no cloud."""
    if nodes.max() < -0.25:
        return None
    # Ragged edges and rough tops: a turn between two fields gives each pass its own.
    angle = np.float32(2 * np.pi * uniform(mix(each.key, 68)))
    opacity = _opacity(_upsample(nodes) + np.cos(angle) * wisps[0] + np.sin(angle) * wisps[1])
    return opacity if opacity.max() > 0.01 else None


def _upsample(nodes: Floats) -> Floats:
    """Nodes (with their margin) to 10 m pixels by cubic convolution."""
    weights = _cubic()
    fine: Floats = weights @ nodes.astype(np.float32) @ weights.T
    return fine


@cache
def _cubic() -> Floats:
    """Catmull-Rom weights (pixels, nodes with margin) of the 10 m pixels between nodes."""
    place = (np.arange(CELL_SIZE // 10) + 0.5) * 10 / _NODE
    weights = np.zeros((len(place), _NODES + 3), dtype=np.float32)
    base = place.astype(np.int64)
    t = place - base
    taps = (
        -0.5 * t**3 + t**2 - 0.5 * t,
        1.5 * t**3 - 2.5 * t**2 + 1,
        -1.5 * t**3 + 2 * t**2 + 0.5 * t,
        0.5 * t**3 - 0.5 * t**2,
    )
    for offset, tap in enumerate(taps):
        weights[np.arange(len(place)), base + offset] = tap
    return weights


def _wisps(cell: Cell) -> Floats:
    """Two fields of fine noise (2, rows, columns) at 10 m."""
    x, y = world_plane(cell.epsg, *cell.centres(10))
    fields = [fractal(x / 110, y / 110, seed, octaves=3, gain=0.6) for seed in (691, 692)]
    return 0.13 * np.stack(fields).astype(np.float32)
