"""What a cube was limited to: bounding boxes and features, whose outside is missing in the end.

Processes that look around themselves must see the pixels beyond, so a limit hides nothing when it
is set. It is kept in the metadata and applied where values leave the cube for good: in a file, in
the values of ``aggregate_spatial``, or next to a cube with other limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from .cube import Cube, hide
from .features import Features
from .grid import Extent, Grid, crs_name

__all__ = ["Limit", "beyond", "confined", "held", "inside"]

Limit = Extent | Features
"""Pixels that a bounding box touches, or whose centre lies in one of some features."""


def inside(limits: Sequence[Limit], box: GeoBox) -> np.ndarray[Any, Any]:
    """Return which pixels of a box lie within all limits: a boolean array with dims (y, x)."""
    found = np.ones(box.shape, dtype=bool)
    for limit in limits:
        found &= limit.inside(box) if isinstance(limit, Features) else _touched(limit, box)
    return found


def confined(cube: Cube, limits: Sequence[Limit]) -> Cube:
    """Return the cube without the pixels beyond its limits."""
    if not limits or cube.geobox is None:
        return cube
    return hide(cube, ~inside(limits, cube.geobox))


def held(limit: Limit, limits: Sequence[Limit]) -> bool:
    """Whether a limit, or one that says the same, is among others."""
    return any(_same(limit, other) for other in limits)


def beyond(limits: Sequence[Limit], others: Sequence[Limit]) -> tuple[Limit, ...]:
    """Return the limits that are not among others."""
    return tuple(limit for limit in limits if not held(limit, others))


def _same(one: Limit, two: Limit) -> bool:
    if isinstance(one, Features):
        return isinstance(two, Features) and one.same_as(two)
    return one == two


def _touched(extent: Extent, box: GeoBox) -> np.ndarray[Any, Any]:
    size = box.transform.a
    grid = Grid(crs_name(box.crs), size, (box.transform.c, box.transform.f))
    cover = grid.cover(extent)
    left, top = grid.position(cover)
    found = np.zeros(box.shape, dtype=bool)
    bottom, right = top + cover.shape[0], left + cover.shape[1]
    found[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return found
