"""Callbacks over the pixels of polygons."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from ...errors import OpenEOError
from ..callbacks import BoundCallback
from ..cube import Cube, crop, placed
from ..demands import Demand, Window
from ..features import Features
from ..grid import Grid
from ..loading import wider
from ..meta import CubeMeta, Unknown
from ..plan import Call, PlanContext, Rule
from ..registry import AnyValue, Callback, CubeData, Geometries, Schema, process
from .masking import replaced
from .neighborhood import joined, on_box, on_chunk
from .udf import after_udf, takes_cubes

MaskValue = Annotated[Any, Schema({"type": ["number", "boolean", "string", "null"]})]


# Pixels of a polygon: they must be in memory together.
_MOST_AT_ONCE = 1 << 24


def _polygons(call: Call) -> Features | None:
    """Return the polygons; None when only a run can know them."""
    name = "geometries" if "geometries" in call.args else "chunks"
    value = call.args[name]
    if isinstance(value, Unknown):
        return None
    features = Features.parse(value)
    other = {g.geom_type for g in features.geometries} - {"Polygon", "MultiPolygon"}
    if other:
        raise call.invalid(name, f"must be polygons, got {', '.join(sorted(other))}")
    return features


def _meta(call: Call, context: PlanContext) -> CubeMeta:
    meta, features = call.raster(), _polygons(call)
    if features is not None:
        _require_room(call, features, meta.grid)
    if takes_cubes(call.args["process"]):
        return after_udf(meta)
    return meta.patch(itemsize=max(4, meta.itemsize))


def _require_room(call: Call, features: Features, grid: Grid) -> None:
    """Refuse polygons that are too large for one callback."""
    bounds = shapely.bounds(list(features.to(grid.crs).geometries))
    pixels = np.prod((bounds[:, 2:] - bounds[:, :2]) / grid.resolution, axis=1)
    if pixels.max() > _MOST_AT_ONCE:
        raise OpenEOError(
            "ProcessGraphComplexity",
            f"Node {call.node.id!r}: polygon {int(pixels.argmax())} covers about "
            f"{int(pixels.max()):,} pixels, more than the {_MOST_AT_ONCE:,} that a callback can "
            "get at once. Take smaller polygons, or larger pixels with resample_spatial.",
            node=call.node.id,
        )


def _inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    """Ask for all of each polygon that a window touches: callbacks must not see it cut."""
    bands = None if takes_cubes(call.args["process"]) else demand.bands
    wanted = demand.patch(bands=bands, interval=(None, None))
    features = _polygons(call)
    if demand.box is None or features is None:
        return {"data": wanted}
    box = demand.box
    for _, part in _touching(features, box, call.cube().grid):
        box = wider(box, part)
    return {"data": wanted.patch(box=box)}


@lru_cache(maxsize=8)
def _tree(features: Features, crs: str) -> tuple[Features, shapely.STRtree]:
    moved = features.to(crs)
    return moved, shapely.STRtree(moved.geometries)


def _touching(features: Features, box: GeoBox, grid: Grid) -> list[tuple[Features, GeoBox]]:
    """Return the polygons that touch a box, each with the pixels that it covers."""
    moved, tree = _tree(features, grid.crs)
    around = shapely.box(*box.boundingbox.bbox)
    found = [moved.one(i) for i in np.sort(tree.query(around, predicate="intersects"))]
    return [(one, grid.cover(one.extent)) for one in found]


@process(plan=Rule(meta=_meta, inputs=_inputs))
def apply_polygon(
    data: CubeData,
    geometries: Geometries,
    process: Callback,
    mask_value: MaskValue = None,
    context: AnyValue = None,
    *,
    env: Any,
) -> CubeData:
    """Apply a callback to the pixels of each polygon.

    The callback gets the rectangle of pixels that holds the polygon, and what it gives is kept
    for the pixels whose centre lies inside. Pixels in no polygon are missing in the result.

    Parameters
    ----------
    data
        A raster data cube.
    geometries
        Polygons that do not share pixels, as GeoJSON or a vector data cube.
    process
        Callback on data, as in apply_neighborhood.
    mask_value
        Stands for the pixels of the rectangle outside the polygon; null makes them missing.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        A cube on the same pixels.
    """
    return _by_polygon(data, process, mask_value, context, env)


@process(plan=Rule(meta=_meta, inputs=_inputs))
def chunk_polygon(
    data: CubeData,
    chunks: Geometries,
    process: Callback,
    mask_value: MaskValue = None,
    context: AnyValue = None,
    *,
    env: Any,
) -> CubeData:
    """Apply a callback to the pixels of each polygon: the former name of apply_polygon.

    Parameters
    ----------
    data
        As in apply_polygon.
    chunks
        As geometries in apply_polygon.
    process
        As in apply_polygon.
    mask_value
        As in apply_polygon.
    context
        As in apply_polygon.

    Returns
    -------
    CubeData
        As in apply_polygon.
    """
    return _by_polygon(data, process, mask_value, context, env)


def _by_polygon(
    data: Cube, callback: BoundCallback, mask_value: Any, context: Any, env: Any
) -> Cube:
    features = _polygons(env.call)
    if features is None:
        raise OpenEOError("Internal", "The polygons are not known yet.", status=500)
    box, have = env.demand.box, placed(data)
    taken = np.zeros(have.shape, dtype=bool)
    parts = []
    grid = env.call.cube().grid
    column, row = grid.position(have)
    for polygon, part in _touching(features, box, grid):
        inside = polygon.inside(part)
        left, top = grid.position(part)
        rows = slice(top - row, top - row + part.shape[0])
        columns = slice(left - column, left - column + part.shape[1])
        if (taken[rows, columns] & inside).any():
            raise OpenEOError(
                "GeometriesOverlap", "Polygons share pixels; each pixel must be of one polygon."
            )
        taken[rows, columns] |= inside
        chunk = crop(data, part)
        hidden = replaced(chunk, np.broadcast_to(~inside, chunk.data.shape), mask_value)
        parts.append((on_box(on_chunk(hidden, callback, context), part), inside))
    return joined(data, parts, box)
