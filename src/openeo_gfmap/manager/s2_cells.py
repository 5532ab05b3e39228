"""S2 cells (Google's spherical grid, not Sentinel-2) of many points at once.

The sphere is projected on the six faces of a cube; each face is divided into a quadtree of 30
levels, numbered along a Hilbert curve. A cell's 64-bit id holds the face in 3 bits, two bits for
each level, a 1, and zeros. Formulas: https://s2geometry.io/devguide/s2cell_hierarchy
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from openeo_gfmap.manager.blocks import map_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    CellIds = NDArray[np.uint64]

__all__ = ["MAX_LEVEL", "leaf_cells", "parent_cells"]

MAX_LEVEL: Final = 30
"""Level of the leaf cells, about 1 cm wide."""

# Position on the curve of the quadrant (i, j), as 2 i + j, by the curve's orientation (bit 0: i
# and j swapped, bit 1: both inverted), and what each position does to the orientation below it.
_POSITION = np.array([[0, 1, 3, 2], [0, 3, 1, 2], [2, 3, 1, 0], [2, 1, 3, 0]])
_TURN = np.array([1, 0, 0, 3])
_BITS = 5  # levels per look-up: six look-ups make a leaf


def leaf_cells(lon: Floats, lat: Floats) -> CellIds:
    """Ids of the leaf cells that hold the points.

    Parameters
    ----------
    lon, lat : ndarray of float
        Degrees, finite; longitudes may have any number of turns.

    Returns
    -------
    ndarray of uint64
        In ascending order, they follow the Hilbert curve.
    """
    return map_blocks(_leaf_block, lon, lat)


def parent_cells(cells: CellIds, level: int) -> CellIds:
    """Ids of the cells of ``level`` (0 to 30) that hold the given, finer cells."""
    marker = np.uint64(1 << 2 * (MAX_LEVEL - level))
    above = np.uint64((1 << 64) - (1 << 2 * (MAX_LEVEL - level)))
    parents: CellIds = (cells & above) | marker
    return parents


def _leaf_block(lon: Floats, lat: Floats) -> CellIds:
    lon, lat = np.radians(lon), np.radians(lat)
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    xyz = np.stack([x, y, z])
    axis = np.abs(xyz).argmax(axis=0)
    major = np.take_along_axis(xyz, axis[None], axis=0)[0]
    face = axis + np.where(major < 0, 3, 0)
    # Coordinates on the six faces, as the S2 library lays them out.
    u = np.choose(face, [y, -x, -x, z, z, -y]) / major
    v = np.choose(face, [z, z, -y, y, -x, -x]) / major
    i, j = _to_leaf_index(u), _to_leaf_index(v)

    table = _curve()
    orientation = face & 1
    curve = np.zeros(len(lon), dtype=np.int64)
    mask = (1 << _BITS) - 1
    for shift in range(MAX_LEVEL - _BITS, -1, -_BITS):
        key = orientation << 2 * _BITS | (i >> shift & mask) << _BITS | (j >> shift & mask)
        entry: NDArray[np.int64] = table[key]
        curve = curve << 2 * _BITS | entry >> 2
        orientation = entry & 3
    ids: CellIds = (face.astype(np.uint64) << np.uint64(61)) | (
        curve.astype(np.uint64) << np.uint64(1) | np.uint64(1)
    )
    return ids


def _to_leaf_index(u: Floats) -> NDArray[np.int64]:
    """Column or row on a face; the quadratic transform evens out the areas of the cells."""
    root = 0.5 * np.sqrt(1 + 3 * np.abs(u))
    side = np.where(u >= 0, root, 1 - root)
    index: NDArray[np.int64] = np.clip(np.floor(side * 2**MAX_LEVEL), 0, 2**MAX_LEVEL - 1).astype(
        np.int64
    )
    return index


@lru_cache(maxsize=1)
def _curve() -> NDArray[np.int64]:
    """Hilbert curve of `_BITS` levels: (orientation, i, j) -> (position, orientation below)."""
    key = np.arange(4 << 2 * _BITS)
    orientation = key >> 2 * _BITS
    position = np.zeros_like(key)
    for bit in range(_BITS - 1, -1, -1):
        quadrant = 2 * (key >> _BITS + bit & 1) + (key >> bit & 1)
        step = _POSITION[orientation, quadrant]
        position = position << 2 | step
        orientation = orientation ^ _TURN[step]
    return position << 2 | orientation
