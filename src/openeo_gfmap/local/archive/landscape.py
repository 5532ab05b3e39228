"""The ground of a cell: fields, woods, water and villages, and how each pixel mixes them.

The world plane is spherical Mercator, which is conformal and has no seams where there are
tiles, scaled so that its unit is a metre on the ground at 50 degrees of latitude. The ground is
sampled at 5 m; every sample belongs to one *surface* (a field, a stand of trees, a road). A pixel
of any band is the mean of its samples, so the 10, 20 and 60 m bands agree with each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
import pyproj
from scipy import sparse

from .grid import Cell
from .noise import block_mean, fractal, mix, smooth, uniform

__all__ = ["WORLD_SCALE", "Kind", "Landscape", "ground", "landscape", "world_plane"]

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]

# Mercator metres are longer than ground metres by 1 / cos(latitude).
WORLD_SCALE = float(np.cos(np.radians(50.0)))
_SAMPLE = 5
_BLOCK = 800.0  # spacing of the land blocks that share one direction of ploughing
_VILLAGE = 2600.0


class Kind(IntEnum):
    """What a surface is; decides its spectrum and how rough it looks."""

    FIELD = 0
    GRASS = 1
    BROADLEAF = 2
    CONIFER = 3
    WATER = 4
    ROOF = 5
    ROAD = 6
    GARDEN = 7


# Share of brightness that varies from pixel to pixel inside a surface of each kind.
_ROUGHNESS = np.array([0.05, 0.05, 0.13, 0.15, 0.02, 0.18, 0.06, 0.12])


@dataclass(frozen=True)
class Landscape:
    """The unchanging ground of one cell.

    Attributes
    ----------
    kind
        :class:`Kind` of each of n surfaces, (n,).
    key
        A hash of each surface, the same in every cell that shows it, (n,).
    mixing
        Per resolution in metres a sparse (pixels, n) matrix of area shares; rows sum to 1.
    texture
        Per resolution a (rows, columns) float32 factor around 1 for the brightness of pixels.
    """

    kind: np.ndarray[Any, np.dtype[np.int64]]
    key: Hashes
    mixing: dict[int, sparse.csr_array]
    texture: dict[int, np.ndarray[Any, np.dtype[np.float32]]]


def world_plane(epsg: int, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """World coordinates of projected coordinates: Mercator, in metres at 50 degrees."""
    easting, northing = _to_mercator(epsg).transform(x, y)
    return np.asarray(easting) * WORLD_SCALE, np.asarray(northing) * WORLD_SCALE


@cache
def _to_mercator(epsg: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(epsg, 3857, always_xy=True)


def landscape(cell: Cell) -> Landscape:
    """Draw the ground of a cell."""
    x, y = world_plane(cell.epsg, *cell.centres(_SAMPLE))
    key, kind, texture = ground(x, y)
    keys, first, index = np.unique(key.ravel(), return_index=True, return_inverse=True)
    kinds = kind.ravel()[first]

    mixing = {r: _mixing(index.reshape(x.shape), len(keys), r // _SAMPLE) for r in (10, 20, 60)}
    textures = {r: block_mean(texture, r // _SAMPLE).astype(np.float32) for r in (10, 20, 60)}
    return Landscape(kinds, keys, mixing, textures)


def ground(x: Floats, y: Floats) -> tuple[Hashes, np.ndarray[Any, Any], Floats]:
    """Surface hash, :class:`Kind` and texture factor of points in the world plane."""
    block, border, road = _blocks(x, y)
    key, u, v, edge = _parcels(x, y, block)

    broad = fractal(x / 3100, y / 3100, 11, octaves=3)
    chance = uniform(mix(key, 1))
    kind = np.where(chance < 0.18 + 0.08 * broad, Kind.GRASS, Kind.FIELD).astype(np.int64)
    # Grass verges between fields, and now and then a farm track.
    verge = edge < 2.5
    key = np.where(verge, mix(block, 2), key)
    kind[verge] = Kind.GRASS

    rough = fractal(x / 130, y / 130, 12, octaves=3)
    wooded = fractal(x / 2300, y / 2300, 13, octaves=4, gain=0.55) + 0.05 * rough
    # Woods follow blocks where they are thin, and their own outline where they are deep.
    wood = wooded + 0.7 * (uniform(mix(block, 3)) - 0.5) > 1.05
    needles = smooth(x / 5200, y / 5200, 14) + 0.8 * (uniform(mix(block, 4)) - 0.5) > 0.25
    kind = np.where(wood, np.where(needles, Kind.CONIFER, Kind.BROADLEAF), kind)
    key = np.where(wood, mix(block, 5, needles), key)

    lined = (border < 7) & (road > 0.45) & (road < 0.75) & ~wood
    kind[lined] = Kind.BROADLEAF
    key = np.where(lined, mix(block, 6), key)
    paved = (border < 4.5) & (road >= 0.75)
    kind[paved] = Kind.ROAD
    key = np.where(paved, mix(block, 7), key)

    key, kind = _villages(x, y, key, kind)

    # A river where a smooth field crosses zero, with trees along it; ponds in hollows.
    river = np.abs(fractal(x / 7800, y / 7800, 15, octaves=3, gain=0.35))
    hollow = fractal(x / 900, y / 900, 16, octaves=3)
    water = (river < 0.006 + 0.004 * smooth(x / 4000, y / 4000, 17)) | (hollow > 2.75)
    bank = (river < 0.02 + 0.01 * rough) & ~water
    kind = np.where(bank, Kind.BROADLEAF, np.where(water, Kind.WATER, kind))
    key = np.where(bank, mix(block, 8), np.where(water, mix(9), key))

    # Soil patches inside fields, plough lines along them, crowns in woods.
    lines = smooth(u / 400, v / 26, mix(block, 10))
    crowns = smooth(x / 14, y / 14, 18)
    is_field = (kind == Kind.FIELD) | (kind == Kind.GRASS)
    relief = np.where(is_field, 0.75 * rough + 0.9 * lines, 0.4 * rough + 1.5 * crowns)
    return key, kind, np.clip(1 + _ROUGHNESS[kind] * relief, 0.55, 1.6)


def _blocks(x: Floats, y: Floats) -> tuple[Hashes, Floats, Floats]:
    """Voronoi blocks of jittered lattice sites.

    Returns the hash of each point's block, the distance to its border in world metres, and a
    number in [0, 1) that belongs to that stretch of border.
    """
    # Bent a little, borders look like lanes and not like geometry.
    x = x + 25 * smooth(x / 420, y / 420, 21)
    y = y + 25 * smooth(x / 420, y / 420, 22)
    i, j = np.floor(x / _BLOCK).astype(np.int64), np.floor(y / _BLOCK).astype(np.int64)
    best = np.full(x.shape, np.inf)
    second = np.full(x.shape, np.inf)
    site: list[Any] = [np.zeros(x.shape, np.uint64), np.zeros(x.shape), np.zeros(x.shape)]
    other: list[Any] = [each.copy() for each in site]
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            key = mix(20, i + di, j + dj)
            sx = (i + di + 0.1 + 0.8 * uniform(key, 1)) * _BLOCK
            sy = (j + dj + 0.1 + 0.8 * uniform(key, 2)) * _BLOCK
            distance = np.hypot(x - sx, y - sy)
            nearest = distance < best
            runner_up = ~nearest & (distance < second)
            second = np.where(nearest, best, np.where(runner_up, distance, second))
            best = np.where(nearest, distance, best)
            for slot, value in enumerate((key, sx, sy)):
                other[slot] = np.where(nearest, site[slot], np.where(runner_up, value, other[slot]))
                site[slot] = np.where(nearest, value, site[slot])
    apart = np.hypot(site[1] - other[1], site[2] - other[2])
    border = (second**2 - best**2) / (2 * apart)
    stretch = mix(np.minimum(site[0], other[0]), np.maximum(site[0], other[0]))
    return site[0], border, uniform(stretch)


def _parcels(x: Floats, y: Floats, block: Hashes) -> tuple[Hashes, Floats, Floats, Floats]:
    """Cut blocks into strips, and strips into fields.

    Returns the hash of each point's field, its coordinates along and across the strips, and the
    distance to the field's edge.
    """
    angle = np.pi * uniform(block, 1)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    width = 60 + 150 * uniform(block, 2) ** 1.5
    strip, across = _jittered(v, width, block)
    length = width * (1.3 + 2.4 * uniform(mix(block, strip), 3))
    row = mix(block, strip)
    # Boundaries across the strips are not quite square to them.
    field, along = _jittered(u + 0.25 * (uniform(row, 4) - 0.5) * v, length, row)
    return mix(row, field), u, v, np.minimum(across, along)


def _jittered(
    x: Floats, spacing: Floats, seed: Hashes
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], Floats]:
    """Index of the interval of a jittered row of boundaries, and the distance to the nearest."""
    t = x / spacing
    i = np.floor(t).astype(np.int64)
    lower = i + 0.6 * (uniform(mix(seed, i)) - 0.5)
    upper = i + 1 + 0.6 * (uniform(mix(seed, i + 1)) - 0.5)
    below, above = t < lower, t >= upper
    gap = np.where(below, lower - t, np.where(above, t - upper, np.minimum(t - lower, upper - t)))
    return i - below + above, gap * spacing


def _villages(
    x: Floats, y: Floats, key: Hashes, kind: np.ndarray[Any, Any]
) -> tuple[Hashes, np.ndarray[Any, Any]]:
    """Put houses, streets and gardens where a village is."""
    built = np.full(x.shape, -np.inf)
    for sx, sy, radius in _village_sites(x, y):
        built = np.maximum(built, radius - np.hypot(x - sx, y - sy))
    # The outline is ragged by up to 70 m.
    if built.max() < -70:
        return key, kind
    inside = built + 70 * smooth(x / 160, y / 160, 31) > 0
    if not inside.any():
        return key, kind
    px, py = x[inside], y[inside]
    street = np.minimum(
        np.abs(fractal(px / 170, py / 170, 32, octaves=1)),
        np.abs(smooth(px / 230, py / 230, 33)) * 2,
    )
    plot = mix(34, np.floor(px / 17).astype(np.int64), np.floor(py / 17).astype(np.int64))
    chance = uniform(plot)
    # A handful of garden, roof and street colours is enough, and keeps the surfaces few.
    tone = (uniform(plot, 1) * 6).astype(np.int64)
    what = np.where(chance < 0.42, Kind.ROOF, Kind.GARDEN)
    what = np.where(street < 0.09, Kind.ROAD, what)
    kind, key = kind.copy(), key.copy()
    kind[inside] = what
    key[inside] = mix(35, what, np.where(what == Kind.ROAD, 0, tone))
    return key, kind


def _village_sites(x: Floats, y: Floats) -> Iterator[tuple[float, float, float]]:
    """Yield centre and radius of the villages on or near some points."""
    for j in _near(y):
        for i in _near(x):
            site = mix(30, i, j)
            if uniform(site, 3) < 0.45:
                radius = 120 + 320 * float(uniform(site, 4)) ** 2
                yield (
                    (i + float(uniform(site, 1))) * _VILLAGE,
                    (j + float(uniform(site, 2))) * _VILLAGE,
                    radius,
                )


def _near(values: Floats) -> list[int]:
    """Lattice lines of villages at and next to some coordinates.

    Not a range from the least to the greatest: at the antimeridian that goes round the world.
    """
    own = {int(each) for each in np.unique(values // _VILLAGE)}
    return sorted({each + step for each in own for step in (-1, 0, 1)})


def _mixing(index: np.ndarray[Any, Any], surfaces: int, factor: int) -> sparse.csr_array:
    """Area shares of the surfaces in pixels of factor x factor samples."""
    rows = index.shape[0] // factor
    pixel = np.arange(rows * rows).reshape(rows, rows)
    pixel = pixel.repeat(factor, axis=0).repeat(factor, axis=1)
    share = np.full(index.size, 1 / factor**2, dtype=np.float32)
    matrix = sparse.coo_array(
        (share, (pixel.ravel(), index.ravel())), shape=(rows * rows, surfaces)
    )
    return matrix.tocsr()  # sums the samples of one surface in one pixel
