"""Callbacks over pixels, along dimensions and over neighbourhoods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..callbacks import evaluate_callback, only_call
from ..cube import Cube
from ..demands import Demand, Window
from ..graph import NodeRef, ParameterRef, references
from ..kernels import linear_scale_cast
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule
from ..registry import AnyValue, Callback, CubeData, process
from .udf import has_udf, whole

__all__ = ["evaluate_callback"]


def _apply_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    if only_call(call.args["process"], "linear_scale_range"):
        return meta
    return meta.patch(itemsize=max(4, meta.itemsize))


def _apply_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return whole(call, demand, window) if has_udf(call.args["process"]) else {"data": demand}


@process(plan=Rule(meta=_apply_meta, inputs=_apply_inputs))
def apply(data: CubeData, process: Callback, context: AnyValue = None) -> CubeData:
    """Apply a callback to each value.

    Values become floats, except in a callback that only calls linear_scale_range: with integer
    bounds from 0 to 65534 (or 254) that is a cast to uint16 (uint8), nodata 65535 (255).

    Parameters
    ----------
    data
        A raster data cube.
    process
        Callback on x.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The cube with the new values.
    """
    scale = only_call(process, "linear_scale_range")
    if scale is not None and not any(isinstance(r, NodeRef) for r in references(scale.arguments)):
        return linear_scale(data, scale.arguments)
    if has_udf(process):
        made: Cube = evaluate_callback(process, {"x": data, "context": context})
        return made
    wide = data.as_float()
    result = evaluate_callback(process, {"x": wide.data, "context": context})
    return from_values(wide, result)


def linear_scale(data: Cube, arguments: Mapping[str, Any]) -> Cube:
    """Scale a cube; integer bounds make it an integer cube."""
    bounds = [
        default if isinstance(value := arguments.get(name, default), ParameterRef) else value
        for name, default in (
            ("inputMin", 0),
            ("inputMax", 1),
            ("outputMin", 0),
            ("outputMax", 1),
        )
    ]
    values, nodata = linear_scale_cast(data.data, data.nodata, *bounds)
    return data.with_data(values, nodata=nodata)


def from_values(like: Cube, values: Any) -> Cube:
    """Return a cube around what a callback gave: an array, or one value for all pixels."""
    array = np.asarray(np.nan if values is None else values)
    if array.shape != like.data.shape:
        array = np.broadcast_to(array, like.data.shape).copy()
    return like.with_data(array, nodata=None)
