"""Aggregation over space: of features, of windows, and of everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from ...errors import OpenEOError
from ..axes import dims_in_order, new_dimension, without
from ..callbacks import BoundCallback
from ..cube import Array, Cube, placed
from ..demands import Demand, Window
from ..features import Features
from ..grid import Extent
from ..limits import confined
from ..meta import SOMEWHERE, UNKNOWN_FEATURES, CubeMeta, TableMeta
from ..plan import Call, PlanContext, Rule
from ..registry import AnyValue, Callback, CubeData, Geometries, TableData, Text, process
from .dimensions import reduced
from .filters import features_of

# Pixels of a whole cube that one value is made of: they must be in memory together.
_MOST_AT_ONCE = 1 << 24

COUNTS = ("value", "total_count", "valid_count")
"""Labels of the ``target_dimension`` of aggregate_spatial."""


def _table(meta: CubeMeta, features: Features) -> TableMeta:
    """Return metadata of the values per feature that a cube is aggregated to."""
    rest = without(without(meta, "x"), "y")
    return TableMeta(
        dims=rest.dims,
        bands=rest.bands,
        grid=meta.grid,
        extent=features.extent,
        features=features,
        time=rest.time,
        interval=rest.interval,
        periods=rest.periods,
        itemsize=8,
        kinds=rest.kinds,
        labels=rest.labels,
    )


def _spatial_meta(call: Call, context: PlanContext) -> TableMeta:
    table = _table(call.raster(), features_of(call, "geometries") or UNKNOWN_FEATURES)
    target = call.args.get("target_dimension")
    if target is None:
        return table
    name = new_dimension(call, table, str(target), "TargetDimensionExists")
    if name in ("x", "y", "t", "bands", "geometry"):
        raise call.invalid("target_dimension", f"is {name!r}; choose a name of its own")
    return replace(
        table, dims=dims_in_order((*table.dims, name)), labels={**table.labels, name: COUNTS}
    )


def _spatial_extent(call: Call) -> Extent:
    features = features_of(call, "geometries")
    return SOMEWHERE if features is None else features.extent


def _spatial_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    grid, shape = call.cube().grid, _shape(call, demand, window)
    area = window.area(grid) if shape is None else grid.cover(shape.to(grid.crs).extent)
    return {"data": demand.patch(box=area, feature=None)}


def _shape(call: Call, demand: Demand, window: Window) -> Features | None:
    """Return the feature whose values are wanted."""
    features = call.meta.features if isinstance(call.meta, TableMeta) else None
    if demand.feature is None or features is None:
        return window.shape
    return features.one(demand.feature)


@process(plan=Rule(meta=_spatial_meta, inputs=_spatial_inputs, extent=_spatial_extent))
def aggregate_spatial(
    data: CubeData,
    geometries: Geometries,
    reducer: Callback,
    target_dimension: Text = None,
    context: AnyValue = None,
    *,
    env: Any,
) -> TableData:
    """Aggregate the pixels of each feature.

    A polygon has the pixels whose centre lies inside, a point the one pixel that holds it, a line
    those that it touches. Pixels outside of what the cube was limited to before (filter_spatial,
    filter_bbox) are missing.

    Parameters
    ----------
    data
        A raster data cube.
    geometries
        GeoJSON or a vector data cube.
    reducer
        Callback on data, the array of a feature's pixels, which gives one value.
    target_dimension
        Name of a dimension to add, with the labels ``value``, ``total_count`` (pixels of the
        feature) and ``valid_count`` (those that are not missing); null adds none.
    context
        Handed to the callback.

    Returns
    -------
    TableData
        A vector data cube: values per geometry, date and band.
    """
    shape = _shape(env.call, env.demand, env.window)
    if shape is None:
        raise OpenEOError("Internal", "A table was asked for without a feature.", status=500)
    inside = shape.inside(placed(data))
    wide = confined(data, env.call.cube().limits).as_float()
    values = _reduced(wide, inside, reducer, context)
    if target_dimension is None:
        return values
    total = np.full(values.data.shape, inside.sum(), dtype=np.float64)
    valid = (~np.isnan(wide.data[..., inside])).sum(axis=-1, dtype=np.float64)
    dims = dims_in_order((*values.dims, target_dimension))
    stacked = np.stack([values.data, total, valid], axis=dims.index(target_dimension))
    labels = {**values.labels, target_dimension: np.asarray(COUNTS)}
    return values.with_data(stacked, dims=dims, labels=labels)


def _reduced(
    wide: Cube, inside: np.ndarray[Any, Any], reducer: BoundCallback, context: Any
) -> Cube:
    """Return a float cube without x and y: what a reducer makes of some of its pixels."""
    pixels = Array(np.moveaxis(wide.data[..., inside], -1, 0))
    values = (
        reduced(pixels, reducer, context) if inside.any() else np.full(wide.data.shape[:-2], np.nan)
    )
    flat = wide.without("x", np.asarray(values, dtype=np.float64), geobox=None)
    return flat.without("y", flat.data)


def _whole(call: Call) -> GeoBox:
    """Return the pixels of a whole cube, which must fit into one window."""
    meta = call.raster()
    box = meta.grid.cover(meta.extent)
    rows, columns = box.shape
    if meta.extent != SOMEWHERE and rows * columns > _MOST_AT_ONCE:
        raise OpenEOError(
            "ProcessGraphComplexity",
            f"Node {call.node.id!r}: {call.process.id!r} would need {columns:,} x {rows:,} pixels "
            f"at once, more than {_MOST_AT_ONCE:,}. Take a smaller extent, or larger pixels with "
            "resample_spatial.",
            node=call.node.id,
        )
    return box


def _reduce_spatial_meta(call: Call, context: PlanContext) -> TableMeta:
    meta, box = call.raster(), _whole(call)
    rectangle = shapely.box(*box.boundingbox.bbox)
    return _table(meta, Features((rectangle,), meta.grid.crs))


def _reduce_spatial_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {"data": demand.patch(box=_whole(call), feature=None)}


@process(plan=Rule(meta=_reduce_spatial_meta, inputs=_reduce_spatial_inputs))
def reduce_spatial(
    data: CubeData, reducer: Callback, context: AnyValue = None, *, env: Any
) -> TableData:
    """Reduce x and y to nothing, by one value for all pixels.

    Parameters
    ----------
    data
        A raster data cube.
    reducer
        Callback on data, the array of all pixels, which gives one value.
    context
        Handed to the callback.

    Returns
    -------
    TableData
        The cube without x and y: values for the place as a whole.
    """
    wide = confined(data, env.call.cube().limits).as_float()
    return _reduced(wide, np.ones(placed(data).shape, dtype=bool), reducer, context)
