"""Filters: fewer bands, less area, less time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import OpenEOError
from ...stac_source import as_utc
from ..cube import select
from ..demands import Demand, Window, in_order, meet
from ..features import Features
from ..grid import Extent
from ..plan import SOMEWHERE, UNKNOWN_FEATURES, Call, CubeMeta, PlanContext, Rule, Unknown
from ..registry import CubeData, Geometries, Object, Text, process
from .load import BandNames, TemporalExtent, parse_interval


def _filter_bands_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    wanted = _names(call)
    if "bands" not in meta.dims:
        raise OpenEOError(
            "DimensionMissing",
            f"Node {call.node.id!r}: the cube has no bands to filter; it has the dimensions "
            f"{', '.join(meta.dims)}.",
            node=call.node.id,
        )
    if meta.bands is not None:
        unknown = [b for b in wanted if b not in meta.bands]
        if unknown:
            raise call.invalid(
                "bands", f"names {', '.join(unknown)}, but the cube has {', '.join(meta.bands)}"
            )
    return meta.patch(bands=wanted)


def _names(call: Call) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(map(str, call.args.get("bands") or ())))
    if not wanted:
        raise call.invalid("bands", "must name at least one band")
    return wanted


def _filter_bands_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    wanted = demand.bands or _names(call)
    have = call.cube().bands
    return {"data": demand.patch(bands=in_order(have, wanted) if have is not None else None)}


@process(plan=Rule(meta=_filter_bands_meta, inputs=_filter_bands_inputs))
def filter_bands(data: CubeData, bands: BandNames = None, wavelengths: Any = None) -> CubeData:
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
    have = data.labels["bands"].tolist()
    return select(data, "bands", [b for b in bands if b in have])


def _bbox_extent(call: Call) -> Extent:
    given = call.args["extent"]
    if not isinstance(given, Mapping):
        raise call.invalid("extent", f"must be an object with west, south, east, north: {given!r}")
    return Extent.parse(given)


def _filter_bbox_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta, box = call.cube(), _bbox_extent(call)
    common = box if meta.extent == SOMEWHERE else meta.extent.intersection(box)
    if common is None:
        raise call.invalid("extent", "does not touch the extent of the cube")
    return meta.patch(extent=common, limits=(*meta.limits, box))


@process(plan=Rule(meta=_filter_bbox_meta, extent=_bbox_extent))
def filter_bbox(data: CubeData, extent: Object) -> CubeData:
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
        The pixels that the box touches; as with filter_spatial, processes that look around
        themselves still see those beyond.
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
    meta = call.cube()
    features = features_of(call, "geometries") or UNKNOWN_FEATURES
    apart = (
        features is not UNKNOWN_FEATURES
        and _has_place(meta)
        and meta.extent.intersection(features.extent) is None
    )
    if apart:
        raise call.invalid("geometries", "do not touch the extent of the cube")
    limits = (*meta.limits, features)
    return meta.patch(features=features, extent=features.extent, limits=limits)


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
    if "t" not in meta.dims:
        raise OpenEOError(
            "DimensionNotAvailable",
            f"Node {call.node.id!r}: the cube has no time dimension to filter.",
            node=call.node.id,
        )
    interval = parse_interval(call.args["extent"], call, "extent")
    common = meet(meta.interval, interval)
    if common[0] is not None and common[1] is not None and common[0] >= common[1]:
        raise OpenEOError(
            "TemporalExtentEmpty",
            f"Node {call.node.id!r}: no dates are left of those that were loaded.",
            node=call.node.id,
        )
    return meta.patch(interval=common, time=f"{meta.time}[{interval}]")


def _filter_temporal_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    if call.cube().periods:
        return {"data": demand}
    interval = parse_interval(call.args["extent"], call, "extent")
    return {"data": demand.patch(interval=meet(demand.interval, interval))}


@process(plan=Rule(meta=_filter_temporal_meta, inputs=_filter_temporal_inputs))
def filter_temporal(data: CubeData, extent: TemporalExtent, dimension: Text = None) -> CubeData:
    """Limit the cube to an interval of time.

    Parameters
    ----------
    data
        A raster data cube.
    extent
        Start (included) and end (not included); either may be null.
    dimension
        The time dimension, ``t``.

    Returns
    -------
    CubeData
        The cube with the dates inside.
    """
    times = data.labels["t"]
    keep = np.ones(len(times), dtype=bool)
    for edge, bound in zip(("start", "end"), extent or (None, None), strict=True):
        if bound is not None:
            moment = np.datetime64(as_utc(bound).replace(tzinfo=None), "ns")
            keep &= times >= moment if edge == "start" else times < moment
    return select(data, "t", times[keep])
