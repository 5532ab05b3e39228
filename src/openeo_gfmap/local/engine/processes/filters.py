"""Filters: fewer bands, less area, less time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ..axes import band_axis, dates_of, existing, not_spatial, of_kind, openeo_label, temporal
from ..callbacks import BoundCallback, evaluate_callback
from ..cube import select
from ..demands import Demand, Window, in_order, meet
from ..features import Features
from ..graph import ProcessGraph
from ..grid import Extent
from ..meta import SOMEWHERE, UNKNOWN_FEATURES, CubeMeta, Unknown
from ..plan import Call, PlanContext, Rule
from ..registry import (
    AnyValue,
    BoundingBox,
    Callback,
    CubeData,
    Geometries,
    Schema,
    Text,
    process,
)
from .load import BandNames, parse_interval

Interval = Annotated[Any, Schema({"type": "array", "subtype": "temporal-interval"})]
Wavelengths = Annotated[Any, Schema({"type": "array", "items": {"type": "array"}})]


def _filter_bands_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    dimension, wanted = band_axis(call, meta), _names(call)
    have = meta.bands if dimension == "bands" else meta.labels.get(dimension)
    if have is not None:
        unknown = [b for b in wanted if b not in map(str, have)]
        if unknown:
            raise call.invalid(
                "bands",
                f"names {', '.join(unknown)}, but the cube has {', '.join(map(str, have))}",
            )
    if dimension == "bands":
        return meta.patch(bands=wanted)
    return meta.patch(labels={**meta.labels, dimension: wanted})


def _names(call: Call) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(map(str, call.args.get("bands") or ())))
    if not wanted:
        raise OpenEOError(
            "BandFilterParameterMissing",
            f"Node {call.node.id!r}: filter_bands needs 'bands' with at least one name.",
            node=call.node.id,
        )
    return wanted


def _filter_bands_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    if band_axis(call, call.cube()) != "bands":
        return {"data": demand}
    wanted = demand.bands or _names(call)
    have = call.cube().bands
    return {"data": demand.patch(bands=in_order(have, wanted) if have is not None else None)}


@process(plan=Rule(meta=_filter_bands_meta, inputs=_filter_bands_inputs))
def filter_bands(data: CubeData, bands: BandNames = (), wavelengths: Wavelengths = ()) -> CubeData:
    """Keep some bands.

    Parameters
    ----------
    data
        A raster data cube.
    bands
        Band names, which also give the order.
    wavelengths
        Not available here; name the bands.

    Returns
    -------
    CubeData
        The cube with the bands in the order given.
    """
    (dimension,) = [d for d in data.dims if data.kind(d) == "bands"][:1]
    have = [str(b) for b in data.labels[dimension]]
    # Only some of them may have been asked for.
    return select(
        data, dimension, data.labels[dimension][[have.index(b) for b in bands if b in have]]
    )


def _bbox_extent(call: Call) -> Extent:
    given = call.args["extent"]
    if not isinstance(given, Mapping):
        raise call.invalid("extent", f"must be an object with west, south, east, north: {given!r}")
    return Extent.parse(given)


def _filter_bbox_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.raster()
    box = meta.grid.centred(_bbox_extent(call))
    common = box if meta.extent == SOMEWHERE else meta.extent.intersection(box)
    if common is None:
        raise call.invalid("extent", "does not touch the extent of the cube")
    return meta.patch(extent=common, limits=(*meta.limits, box))


@process(plan=Rule(meta=_filter_bbox_meta, extent=_bbox_extent))
def filter_bbox(data: CubeData, extent: BoundingBox) -> CubeData:
    """Limit the cube to a bounding box.

    Parameters
    ----------
    data
        A raster data cube.
    extent
        west, south, east, north, and crs (by default degrees).

    Returns
    -------
    CubeData
        The pixels whose centre lies in the box; as with filter_spatial, processes that look
        around themselves still see those beyond.
    """
    return data


def features_of(call: Call, name: str) -> Features | None:
    """Return the features of an argument; None when only a run can know them."""
    value = call.args[name]
    return None if isinstance(value, Unknown) else Features.parse(value)


def _spatial_extent(call: Call) -> Extent:
    features = features_of(call, "geometries")
    return SOMEWHERE if features is None else features.extent


def _filter_spatial_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.raster()
    features = features_of(call, "geometries") or UNKNOWN_FEATURES
    apart = (
        features is not UNKNOWN_FEATURES
        and _has_place(meta)
        and meta.extent.intersection(features.extent) is None
    )
    if apart:
        raise call.invalid("geometries", "do not touch the extent of the cube")
    limits = (*meta.limits, features)
    if features is UNKNOWN_FEATURES:
        return meta.patch(features=features, extent=SOMEWHERE, limits=limits)
    extent = features.to(meta.grid.crs).extent
    if all(g.geom_type in ("Polygon", "MultiPolygon") for g in features.geometries):
        extent = meta.grid.centred(extent)  # as far as polygons have pixels; points have any
    if _has_place(meta):
        extent = meta.extent.intersection(extent) or extent
    return meta.patch(features=features, extent=extent, limits=limits)


def _has_place(meta: CubeMeta) -> bool:
    """Whether the place of a cube is known, and is a limit of its own."""
    return bool(meta.limits) and meta.extent != SOMEWHERE


@process(plan=Rule(meta=_filter_spatial_meta, extent=_spatial_extent))
def filter_spatial(data: CubeData, geometries: Geometries) -> CubeData:
    """Limit the cube to features.

    Pixels whose centre lies in no feature are missing in the result. Processes that look at a
    pixel's surroundings (dilations, neighbourhoods) still see the pixels outside: they are
    hidden when the result is written or aggregate_spatial counts them.

    Parameters
    ----------
    data
        A raster data cube.
    geometries
        GeoJSON or a vector data cube. A point stands for the pixel that holds it.

    Returns
    -------
    CubeData
        The cube, limited to the extent of the features.
    """
    return data


def _filter_temporal_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    dimensions = _filtered_axes(call)
    interval = parse_interval(call.args["extent"], call, "extent")
    known = {d: v for d, v in meta.labels.items() if d not in dimensions}
    meta = meta.patch(labels=known)
    if "t" not in dimensions:
        return meta
    common = meet(meta.interval, interval)
    if common[0] is not None and common[1] is not None and common[0] >= common[1]:
        raise OpenEOError(
            "TemporalExtentEmpty",
            f"Node {call.node.id!r}: no dates are left of those that were loaded.",
            node=call.node.id,
        )
    return meta.patch(interval=common, time=f"{meta.time}[{interval}]")


def _filtered_axes(call: Call) -> tuple[str, ...]:
    """Return the dimension that is named, or all that hold dates."""
    meta = call.cube()
    if call.args.get("dimension") is not None or not of_kind(meta, "temporal"):
        return (temporal(call, meta),)
    return of_kind(meta, "temporal")


def _filter_temporal_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    if call.cube().periods or "t" not in _filtered_axes(call):
        return {"data": demand}
    interval = parse_interval(call.args["extent"], call, "extent")
    return {"data": demand.patch(interval=meet(demand.interval, interval))}


@process(plan=Rule(meta=_filter_temporal_meta, inputs=_filter_temporal_inputs))
def filter_temporal(
    data: CubeData, extent: Interval, dimension: Text = None, *, env: Any
) -> CubeData:
    """Limit the cube to an interval of time.

    Parameters
    ----------
    data
        A data cube.
    extent
        Start (included) and end (not included); either may be null.
    dimension
        A time dimension; by default all that the cube has.

    Returns
    -------
    CubeData
        The cube with the dates inside.
    """
    start, end = (
        None if v is None else np.datetime64(v.replace(tzinfo=None), "ns")
        for v in parse_interval(extent, env.call, "extent")
    )
    for axis in _filtered_axes(env.call):
        times = dates_of(data, axis, env.call)
        keep = np.ones(len(times), dtype=bool)
        if start is not None:
            keep &= times >= start
        if end is not None:
            keep &= times < end
        data = select(data, axis, times[keep])
    return data


def _filter_labels_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    dimension = existing(call, meta)
    not_spatial(call, dimension)
    if dimension == "bands":
        return meta.patch(bands=_kept(call, meta.bands))
    known = meta.labels.get(dimension)
    labels = {d: v for d, v in meta.labels.items() if d != dimension}
    if known is not None:
        labels[dimension] = _kept(call, known) or ()
    time = f"{meta.time}/{call.node.id}" if dimension == "t" else meta.time
    return meta.patch(labels=labels, time=time)


def _kept(call: Call, labels: Sequence[Any] | None) -> tuple[Any, ...] | None:
    """Return the labels for which the condition holds; None while they are not known."""
    callback = call.args["condition"]
    if labels is None or not isinstance(callback, ProcessGraph | BoundCallback):
        return None
    context = call.args.get("context")
    return tuple(v for v in labels if _holds(callback, v, context))


def _holds(callback: ProcessGraph | BoundCallback, label: Any, context: Any) -> bool:
    """Evaluate a condition on a label; null counts as false."""
    result = evaluate_callback(callback, {"value": openeo_label(label), "context": context})
    return result is not None and bool(np.all(result))


def _filter_labels_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    meta, dimension = call.cube(), str(call.args["dimension"])
    if dimension != "bands":
        return {"data": demand}
    kept = _kept(call, meta.bands)
    if meta.bands is None or kept is None:
        return {"data": demand.patch(bands=None)}
    return {"data": demand.patch(bands=in_order(meta.bands, demand.bands or kept))}


@process(plan=Rule(meta=_filter_labels_meta, inputs=_filter_labels_inputs))
def filter_labels(
    data: CubeData, condition: Callback, dimension: Text, context: AnyValue = None
) -> CubeData:
    """Keep the labels of a dimension for which a condition holds.

    Parameters
    ----------
    data
        A data cube.
    condition
        Callback on value, a label: a text for bands; an RFC 3339 text for a date, or the name of
        the period it stands for.
    dimension
        The dimension, not x or y.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The cube with these labels.
    """
    kept = [_holds(condition, name, context) for name in data.names(dimension)]
    return select(data, dimension, data.labels[dimension][np.asarray(kept, dtype=bool)])
