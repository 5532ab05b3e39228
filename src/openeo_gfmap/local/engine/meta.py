"""What is known of a cube before any pixel is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import shapely

from .cube import kind_of
from .demands import Interval
from .features import Features
from .grid import Extent, Grid
from .limits import Limit

__all__ = ["SOMEWHERE", "UNKNOWN_FEATURES", "CubeMeta", "Meta", "TableMeta", "Unknown"]


@dataclass(frozen=True)
class CubeMeta:
    """What is known of a raster cube.

    Attributes
    ----------
    dims
        Dimension names in axis order.
    bands
        Labels of ``bands``; None when only evaluation tells (a UDF made them).
    grid
        The pixel grid.
    extent
        What a dense result would cover.
    features
        The features of the last ``filter_spatial``, which ``sample_by_feature`` keeps apart.
    limits
        Pixels outside any of them are missing in the result; see :mod:`limits`.
    time
        Names the time axis: cubes of the same name have the same dates in every window.
    interval
        Dates that were asked for; open ends are None.
    periods
        The time axis holds computed labels instead of acquisition dates.
    block
        Pixels that a tile's edge must be a multiple of, so that chunks stay whole.
    margin
        Context pixels around a window, all processes so far together (an estimate for memory).
    itemsize
        Bytes a value (an estimate for memory).
    kinds
        As :attr:`cube.Cube.kinds`.
    labels
        Labels of dimensions other than ``bands``, as far as they are known without reading:
        temporal ones are datetime64[ns] or texts.
    calibration
        Of radar data: openEO's name of the coefficient, where the source tells.
    """

    dims: tuple[str, ...]
    bands: tuple[str, ...] | None
    grid: Grid
    extent: Extent
    features: Features | None = None
    limits: tuple[Limit, ...] = ()
    time: str = ""
    interval: Interval = (None, None)
    periods: bool = False
    block: int = 1
    margin: int = 0
    itemsize: int = 2
    kinds: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    calibration: str | None = None

    def kind(self, dim: str) -> str:
        """Type of a dimension: ``spatial``, ``temporal``, ``bands`` or ``other``."""
        return kind_of(dim, self.kinds)

    def patch(self, **changes: Any) -> CubeMeta:
        """Return a copy with changes."""
        return replace(self, **changes)


@dataclass(frozen=True)
class TableMeta(CubeMeta):
    """What is known of a vector cube: values per feature, computed feature by feature.

    Of one feature the values are a cube without x and y, so that all processes that do not look
    at pixels work on them as on any cube. ``features`` are those that the rows stand for.
    """


@dataclass(frozen=True)
class Unknown:
    """A value that only a run can tell, such as the content of a remote file."""


Meta = CubeMeta | TableMeta

SOMEWHERE = Extent((3.0, 45.0, 3.01, 45.01))
"""Stands for a place that only a run will know, while a graph is validated."""

UNKNOWN_FEATURES = Features((shapely.box(*SOMEWHERE.bounds),), SOMEWHERE.crs)
"""Stands for features that only a run will know."""
