"""Whether a plan's windows can fit into memory at all, judged before anything is read."""

from __future__ import annotations

import numpy as np
import shapely
from pyproj import CRS

from ..errors import OpenEOError
from .grid import Grid
from .meta import CubeMeta
from .plan import Plan

__all__ = ["require_memory"]

# Two satellites, overlapping orbits: an acquisition every two and a half days.
_DAYS_BETWEEN = 2.5
_UNKNOWN_DATES = 150
_UNKNOWN_BANDS = 4

# Pixels: tiles of a dense result are made smaller down to this.
_SMALLEST_TILE = 64

_EARTH_RADIUS = 6_371_000.0


def require_memory(plan: Plan, memory: int) -> None:
    """Refuse a plan one of whose cubes is larger than memory in a single window.

    The estimate is low: one cube at a time, with the dates that two satellites see. What passes may
    still fail; what is refused cannot succeed.

    Parameters
    ----------
    plan
        A plan without problems.
    memory
        Bytes that a job may have.

    Raises
    ------
    OpenEOError
        ProcessGraphComplexity, with the node of the largest cube.
    """
    result = plan.calls[plan.result].meta if plan.result in plan.calls else None
    if not isinstance(result, CubeMeta):
        return
    by_feature = bool(plan.save and (plan.save.args.get("options") or {}).get("sample_by_feature"))
    for id, call in plan.calls.items():
        meta = call.meta
        if not isinstance(meta, CubeMeta):
            continue
        rows, columns = _window(result, meta.grid, by_feature)
        rows, columns = rows + 2 * meta.margin, columns + 2 * meta.margin
        dates, bands = _dates(meta), len(meta.bands or ()) or _UNKNOWN_BANDS
        values = rows * columns * dates * (bands if "bands" in meta.dims else 1)
        needed = values * meta.itemsize
        if needed > memory:
            raise OpenEOError(
                "ProcessGraphComplexity",
                f"Node {id!r}: a window of {columns:,.0f} x {rows:,.0f} pixels, {bands} bands and "
                f"about {dates} dates takes {needed / 1e9:,.1f} GB, more than the "
                f"{memory / 1e9:,.1f} GB that a job may have. Take smaller features, fewer bands, "
                "a shorter time or smaller chunks.",
                node=id,
            )


def _window(result: CubeMeta, grid: Grid, by_feature: bool) -> tuple[float, float]:
    """Return rows and columns of the largest window, in pixels of a grid."""
    scale = _pixel_metres(result.grid) / _pixel_metres(grid)
    if by_feature and result.features is not None:
        shapes = result.features.to(result.grid.crs).geometries
        west, south, east, north = shapely.bounds(np.asarray(shapes, dtype=object)).T
        size = result.grid.resolution / scale
        return float(np.max(north - south)) / size, float(np.max(east - west)) / size
    rows, columns = (
        max(min(_SMALLEST_TILE, edge), result.block) * scale
        for edge in result.grid.cover(result.extent).shape
    )
    return rows, columns


def _pixel_metres(grid: Grid) -> float:
    """Return about how large a pixel is on the ground."""
    crs = CRS.from_user_input(grid.crs)
    unit = crs.axis_info[0].unit_conversion_factor  # to metres, or to radians
    return grid.resolution * unit * (_EARTH_RADIUS if crs.is_geographic else 1.0)


def _dates(meta: CubeMeta) -> int:
    start, end = meta.interval
    if "t" not in meta.dims:
        return 1
    if start is None or end is None:
        return _UNKNOWN_DATES
    return max(1, int((end - start).days / _DAYS_BETWEEN))
