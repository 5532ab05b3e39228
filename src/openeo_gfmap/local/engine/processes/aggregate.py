"""Aggregation over time and over features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ...stac_source import as_utc
from ..callbacks import BoundCallback
from ..cube import Array, Cube, placed
from ..demands import Demand, Window
from ..features import Features
from ..grid import Extent
from ..limits import confined
from ..periods import PERIODS, split_periods
from ..plan import (
    SOMEWHERE,
    UNKNOWN_FEATURES,
    Call,
    CubeMeta,
    PlanContext,
    Rule,
    TableMeta,
)
from ..registry import AnyValue, Callback, CubeData, Geometries, Schema, TableData, Text, process
from ..vector import VectorCube
from .dimensions import along_axis, reduced
from .filters import features_of
from .labels import existing

Intervals = Annotated[Any, Schema({"type": "array", "subtype": "temporal-intervals"})]
Labels = Annotated[Any, Schema([{"type": "array"}, {"type": "null"}])]


def _time_meta(call: Call) -> CubeMeta:
    meta = call.cube()
    existing(call, meta.patch(), "dimension") if call.args.get("dimension") else None
    if "t" not in meta.dims:
        raise OpenEOError(
            "DimensionNotAvailable",
            f"Node {call.node.id!r}: the cube has no time dimension; it has "
            f"{', '.join(meta.dims)}.",
            node=call.node.id,
        )
    return meta.patch(
        time=f"{meta.time}/{call.node.id}", periods=True, itemsize=max(4, meta.itemsize)
    )


def _period_meta(call: Call, context: PlanContext) -> CubeMeta:
    if call.args["period"] not in PERIODS:
        raise call.invalid("period", f"is {call.args['period']!r}; use one of {', '.join(PERIODS)}")
    return _time_meta(call)


def _all_dates(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {"data": demand.patch(interval=(None, None))}


@process(plan=Rule(meta=_period_meta, inputs=_all_dates))
def aggregate_temporal_period(
    data: CubeData,
    period: Text,
    reducer: Callback,
    dimension: Text = None,
    context: AnyValue = None,
    *,
    env: Any = None,
) -> CubeData:
    """Aggregate the dates of each calendar period.

    The labels are the first day of each period, as on CDSE, so that results keep a time axis
    (the openEO texts want strings). There is one for every period of the interval that was asked
    for when loading, whether it holds data or not.

    Parameters
    ----------
    data
        A raster data cube.
    period
        hour, day, week, dekad, month, season, tropical-season, year, decade or decade-ad.
    reducer
        Callback on data, the labeled array of a period's values, which gives one value.
    dimension
        The time dimension, ``t``.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The cube with one date per period.
    """
    interval = env.call.cube().interval if env is not None and env.call else (None, None)
    start, end = (
        None if v is None else np.datetime64(v.replace(tzinfo=None), "ns") for v in interval
    )
    groups = split_periods(data.labels["t"], period, start=start, end=end)
    labels = np.asarray([label for label, _ in groups], dtype="datetime64[ns]")
    return _aggregated(data, [index for _, index in groups], labels, reducer, context)


def _aggregated(
    cube: Cube, groups: list[Any], labels: Any, reducer: BoundCallback, context: Any
) -> Cube:
    source = along_axis(cube, "t")
    times = cube.labels["t"]
    out = np.full((len(groups), *source.values.shape[1:]), np.nan, dtype=source.values.dtype)
    for i, index in enumerate(groups):
        if len(index):
            part = Array(source.values[index], times[index])
            out[i] = reduced(part, reducer, context)
    values = np.moveaxis(out, 0, cube.axis("t"))
    return Cube(values, cube.dims, {**cube.labels, "t": labels}, cube.geobox)


def _temporal_meta(call: Call, context: PlanContext) -> CubeMeta:
    _intervals(call)
    return _time_meta(call)


def _intervals(call: Call) -> list[tuple[Any, Any]]:
    intervals = call.args["intervals"]
    if not isinstance(intervals, list) or not intervals:
        raise call.invalid("intervals", f"must be a list of [start, end], got {intervals!r}")
    found: list[tuple[Any, Any]] = []
    for entry in intervals:
        try:
            start, end = (np.datetime64(as_utc(v).replace(tzinfo=None), "ns") for v in entry)
        except (TypeError, ValueError, AttributeError):
            raise call.invalid("intervals", f"has {entry!r}; expected [start, end]") from None
        if start >= end:
            raise OpenEOError(
                "TemporalExtentEmpty",
                f"Node {call.node.id!r}: the interval {entry!r} is empty.",
                node=call.node.id,
            )
        found.append((start, end))
    names = call.args.get("labels")
    if names and len(names) != len(found):
        raise call.invalid("labels", f"has {len(names)} labels for {len(found)} intervals")
    return found


@process(plan=Rule(meta=_temporal_meta, inputs=_all_dates))
def aggregate_temporal(  # noqa: PLR0917  (the order of the openEO parameters)
    data: CubeData,
    intervals: Intervals,
    reducer: Callback,
    labels: Labels = None,
    dimension: Text = None,
    context: AnyValue = None,
    *,
    env: Any,
) -> CubeData:
    """Aggregate the dates of each of some intervals.

    Parameters
    ----------
    data
        A raster data cube.
    intervals
        Each [start, end], the end not included; they may overlap.
    reducer
        Callback on data, the labeled array of an interval's values, which gives one value.
    labels
        Dates that label the results; by default the starts.
    dimension
        The time dimension, ``t``.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The cube with one date per interval.
    """
    times, found = data.labels["t"], _intervals(env.call)
    groups = [np.flatnonzero((times >= start) & (times < end)) for start, end in found]
    try:
        names: list[Any] = [
            np.datetime64(as_utc(v).replace(tzinfo=None), "ns") for v in labels or ()
        ]
    except (TypeError, ValueError, AttributeError):
        raise env.call.invalid("labels", f"must be dates here, got {labels!r}") from None
    stamps = np.asarray(names or [start for start, _ in found], dtype="datetime64[ns]")
    return _aggregated(data, groups, stamps, reducer, context)


def _spatial_meta(call: Call, context: PlanContext) -> TableMeta:
    meta = call.cube()
    features = features_of(call, "geometries") or UNKNOWN_FEATURES
    dims = ("geometry", *(d for d in meta.dims if d not in ("y", "x")))
    return TableMeta(dims, meta.bands, features, meta.periods)


def _spatial_extent(call: Call) -> Extent:
    features = features_of(call, "geometries")
    return SOMEWHERE if features is None else features.extent


def _spatial_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {"data": demand.patch(box=window.area(call.cube().grid))}


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

    A polygon has the pixels whose centre lies inside, a point the one pixel that holds it. Those
    outside of what the cube was limited to before (filter_spatial, filter_bbox) are missing.

    Parameters
    ----------
    data
        A raster data cube.
    geometries
        GeoJSON or a vector data cube.
    reducer
        Callback on data, the array of a feature's pixels, which gives one value.
    target_dimension
        Not used: values are per geometry, date and band.
    context
        Handed to the callback.

    Returns
    -------
    TableData
        A vector data cube: values per geometry, date and band.
    """
    shape: Features = env.window.shape
    inside = shape.inside(placed(data))
    wide = confined(data, env.call.cube().limits).as_float()
    pixels = Array(np.moveaxis(wide.data[..., inside], -1, 0))
    values = (
        reduced(pixels, reducer, context) if inside.any() else np.full(wide.data.shape[:-2], np.nan)
    )
    dims = ("geometry", *wide.dims[:-2])
    labels = {d: v for d, v in wide.labels.items() if d in dims}
    return VectorCube(
        np.asarray(values, dtype=np.float64)[np.newaxis],
        dims,
        labels,
        shape.geometries,
        shape.crs,
        shape.properties,
    )


__all__ = ["aggregate_spatial", "aggregate_temporal", "aggregate_temporal_period", "along_axis"]
