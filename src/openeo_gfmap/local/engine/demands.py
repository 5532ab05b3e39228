"""What a window wants of a cube, and so of sources: pixels, bands, dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from ..stac_source import Scene
from .features import Features
from .grid import Extent, Grid

__all__ = ["Demand", "Interval", "Request", "Window", "in_order", "meet", "union_of", "within"]

Interval = tuple[datetime | None, datetime | None]
"""Start (inclusive) and end (exclusive), UTC; None is open."""


@dataclass(frozen=True)
class Window:
    """The unit of work: a feature, or a tile of a dense result.

    Attributes
    ----------
    index
        Position among all windows.
    box
        The window's pixels on the result's grid; None when the result is a table.
    feature
        Index of the feature that the window is for.
    region
        What chunk grids are anchored to: the feature, or the whole dense result.
    shape
        The feature itself.
    near
        Windows of one value lie near to each other: they read the same blocks of files, so one
        process should evaluate them. None stands for no neighbours.
    """

    index: int
    box: GeoBox | None
    region: Extent
    feature: int | None = None
    shape: Features | None = None
    near: tuple[int, int] | None = None

    def area(self, grid: Grid) -> GeoBox:
        """Return the pixels of the region on a grid."""
        if self.shape is not None:
            return grid.cover(self.shape.to(grid.crs).extent)
        return grid.cover(self.region)


@dataclass(frozen=True)
class Request:
    """Pixels that one window needs of one source.

    Attributes
    ----------
    scenes
        Acquisitions to read from.
    bands, names
        Bands as the cube and as the source call them.
    geobox
        The pixels.
    times
        Days, as ``datetime64[ns]``.
    """

    scenes: Sequence[Scene]
    bands: tuple[str, ...]
    names: tuple[str, ...]
    geobox: GeoBox
    times: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Demand:
    """What a consumer wants of a cube.

    Attributes
    ----------
    box
        Pixels on the cube's grid, context included; None for tables.
    bands
        Band labels in the cube's own order; None for all.
    interval
        Dates outside are not looked at.
    feature
        Of a table: the one feature whose values are wanted; None for that of the window.
    """

    box: GeoBox | None
    bands: tuple[str, ...] | None = None
    interval: Interval = (None, None)
    feature: int | None = None

    def patch(self, **changes: Any) -> Demand:
        """Return a copy with changes."""
        return replace(self, **changes)

    def padded(self, pixels: int) -> Demand:
        """Return the demand with context pixels on all sides."""
        if self.box is None or pixels == 0:
            return self
        return replace(self, box=self.box.pad(pixels))


def in_order(bands: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the wanted bands in a cube's own order."""
    if wanted is None:
        return tuple(bands)
    keep = set(wanted)
    return tuple(b for b in bands if b in keep)


def within(moment: datetime, interval: Interval) -> bool:
    """Whether a time lies in an interval, to the day: time axes are made of days."""
    start, end = interval
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return (start is None or day >= start) and (end is None or day < end)


def meet(a: Interval, b: Interval) -> Interval:
    """Return the common part of two intervals."""
    starts = [v for v in (a[0], b[0]) if v is not None]
    ends = [v for v in (a[1], b[1]) if v is not None]
    return (max(starts) if starts else None, min(ends) if ends else None)


def union_of(intervals: Sequence[Interval]) -> Interval:
    """Return the interval from the first start to the last end."""
    starts = [i[0] for i in intervals]
    ends = [i[1] for i in intervals]
    start = None if None in starts else min(v for v in starts if v is not None)
    end = None if None in ends else max(v for v in ends if v is not None)
    return (start, end)
