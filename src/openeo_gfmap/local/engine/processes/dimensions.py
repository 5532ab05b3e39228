"""Callbacks along one dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import OpenEOError
from ..axes import dims_in_order, existing, label_array, new_dimension, not_spatial, without
from ..callbacks import BoundCallback, evaluate_callback, only_call
from ..cube import Array, Cube
from ..demands import Demand, Window, in_order
from ..graph import ParameterRef, ProcessGraph
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule
from ..registry import AnyValue, Callback, CubeData, Text, process
from ..values import along
from .udf import after_udf, has_udf


def _reduce_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    dimension = existing(call, meta)
    not_spatial(call, dimension)
    if dimension == "bands" and meta.bands is not None:
        _require_bands(call, meta.bands)
    reduced = without(meta, dimension).patch(itemsize=max(4, meta.itemsize))
    udf = has_udf(call.args["reducer"]) and "bands" in reduced.dims
    return after_udf(reduced) if udf else reduced


def _require_bands(call: Call, have: tuple[str, ...]) -> None:
    """Refuse a reducer that picks a band which the cube does not have."""
    callback = call.args["reducer"]
    nodes = callback.nodes.values() if isinstance(callback, ProcessGraph) else ()
    for node in nodes:
        label, index = node.arguments.get("label"), node.arguments.get("index")
        of_cube = node.arguments.get("data") == ParameterRef("data")
        if node.process != "array_element" or not of_cube or node.arguments.get("return_nodata"):
            continue
        lacking = isinstance(label, str) and label not in have
        beyond = type(index) is int and not 0 <= index < len(have)
        if lacking or beyond:
            raise OpenEOError(
                "ArrayElementNotAvailable",
                f"Node {call.node.id!r}: the reducer takes {'band' if lacking else 'index'} "
                f"{label if lacking else index!r}; the cube has {', '.join(have)}.",
                node=call.node.id,
            )


def _reduce_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    dimension, callback = str(call.args["dimension"]), call.args["reducer"]
    if has_udf(callback):
        return {"data": demand.patch(bands=None, interval=(None, None))}
    if dimension == "bands":
        used, have = _labels_used(callback), call.cube().bands
        wanted = in_order(have, sorted(used)) if used and have else None
        return {"data": demand.patch(bands=wanted or None)}
    return {"data": demand.patch(interval=(None, None)) if dimension == "t" else demand}


def _labels_used(callback: Any) -> set[str] | None:
    """Return the bands a callback picks by label; None when it may look at any."""
    if not isinstance(callback, ProcessGraph):
        return None
    used: set[str] = set()
    for node in callback.nodes.values():
        picks = node.process == "array_element" and isinstance(node.arguments.get("label"), str)
        for value in node.arguments.values():
            if isinstance(value, ProcessGraph):
                return None
            if isinstance(value, ParameterRef) and value.name == "data" and not picks:
                return None
        if picks:
            used.add(node.arguments["label"])
    return used


@process(plan=Rule(meta=_reduce_meta, inputs=_reduce_inputs))
def reduce_dimension(
    data: CubeData, reducer: Callback, dimension: Text, context: AnyValue = None
) -> CubeData:
    """Reduce a dimension to nothing, by one value for all its labels.

    Parameters
    ----------
    data
        A raster data cube.
    reducer
        Callback on data, the labeled array along the dimension, which gives one value.
    dimension
        The dimension: t, bands, or another that is not spatial.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The cube without the dimension. Its values are floats, except where the callback is only
        first, last, min, max or array_element, which keep the data type.
    """
    if has_udf(reducer):
        cube = evaluate_callback(reducer, {"data": data, "context": context})
        return _dropped(cube, dimension)
    values = reduced(along_axis(data, dimension), reducer, context)
    return in_type_of(data, data.without(dimension, values, nodata=None), reducer)


def _dropped(cube: Cube, dimension: str) -> Cube:
    if dimension not in cube.dims:
        return cube
    axis = cube.axis(dimension)
    if cube.data.shape[axis] != 1:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The UDF in reduce_dimension left {cube.data.shape[axis]} labels of {dimension!r}; it "
            "must reduce them to one.",
        )
    return cube.without(dimension, cube.data.squeeze(axis))


def along_axis(cube: Cube, dimension: str) -> Array:
    """Return the float values with a dimension at axis 0, and its labels."""
    values = np.moveaxis(cube.as_float().data, cube.axis(dimension), 0)
    return Array(values, cube.labels.get(dimension))


def reduced(array: Array, reducer: BoundCallback, context: Any) -> np.ndarray[Any, Any]:
    """Return what a reducer makes of an array: one value per element of the batch."""
    batch = array.values.shape[1:]
    result = evaluate_callback(reducer, {"data": array, "context": context})
    several = isinstance(result, Array | list | tuple)
    values = np.empty(0) if several else np.asarray(np.nan if result is None else result)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if several or values.shape not in {batch, ()} or values.dtype.kind not in "iuf":
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The reducer gave {_named(result)} instead of one number; use apply_dimension to keep "
            "several values.",
        )
    return values if values.shape == batch else np.full(batch, values)


def _named(result: Any) -> str:
    if isinstance(result, Array | list | tuple | np.ndarray):
        return f"an array of {len(result)} values"
    return repr(result)[:60]


# Reducers that give one of the values they get.
_CHOOSING = ("first", "last", "min", "max", "array_element")


def in_type_of(source: Cube, made: Cube, reducer: BoundCallback) -> Cube:
    """Give a reduced cube the data type of its source where the reducer only chooses values."""
    whole = np.issubdtype(source.data.dtype, np.integer)
    if not whole or source.nodata is None or not any(only_call(reducer, n) for n in _CHOOSING):
        return made
    # Floats hold the integers exactly, see Cube.as_float.
    missing = np.isnan(made.data)
    values = np.where(missing, source.nodata, made.data).astype(source.data.dtype)
    return replace(made, data=values, nodata=source.nodata)


def _apply_dimension_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    dimension = existing(call, meta)
    not_spatial(call, dimension)
    target = call.args.get("target_dimension") or dimension
    meta = meta.patch(itemsize=max(4, meta.itemsize))
    if has_udf(call.args["process"]):
        meta = after_udf(meta)
    if "bands" in (dimension, target):
        meta = meta.patch(bands=None)
    meta = meta.patch(labels={d: v for d, v in meta.labels.items() if d != target})
    if target == dimension:
        return meta.patch(time=f"{meta.time}/{call.node.id}") if dimension == "t" else meta
    not_spatial(call, target, "target_dimension")
    rest = without(meta, dimension)
    if target not in rest.dims:
        new_dimension(call, rest, str(target))
    return rest.patch(dims=dims_in_order(tuple(dict.fromkeys((*rest.dims, target)))))


def _apply_dimension_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    dimension = str(call.args["dimension"])
    touched = {dimension, call.args.get("target_dimension") or dimension}
    if has_udf(call.args["process"]):
        touched = {"t", "bands"}
    if "bands" in touched:
        demand = demand.patch(bands=None)
    return {"data": demand.patch(interval=(None, None)) if "t" in touched else demand}


@process(plan=Rule(meta=_apply_dimension_meta, inputs=_apply_dimension_inputs))
def apply_dimension(
    data: CubeData,
    process: Callback,
    dimension: Text,
    target_dimension: Text = None,
    context: AnyValue = None,
) -> CubeData:
    """Apply a callback to all values along a dimension.

    As many values as before keep their labels; another number, or values for a
    target_dimension, get those that the callback makes, else 0, 1, 2, …

    Parameters
    ----------
    data
        A raster data cube.
    process
        Callback on data, the labeled array along the dimension, which gives an array.
    dimension
        The dimension, not x or y.
    target_dimension
        Where the results go instead; the source dimension is dropped. Results per label of an
        existing target dimension follow each other there, label by label.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The cube with the new values.
    """
    target = target_dimension or dimension
    if has_udf(process):
        cube: Cube = evaluate_callback(process, {"data": data, "context": context})
        return cube if target == dimension else _dropped(cube, dimension)
    source = along_axis(data, dimension)
    result = evaluate_callback(process, {"data": source, "context": context})
    values, labels = _values(result, source)
    rest = tuple(d for d in data.dims if d != dimension)
    others = {d: v for d, v in data.labels.items() if d != dimension}
    if target == dimension:
        moved = np.moveaxis(values, 0, data.axis(dimension))
        if len(values) == len(source.values) and source.labels is not None:
            return data.with_data(moved, nodata=None)
        return data.with_data(moved, nodata=None).relabelled(dimension, labels)
    if target in rest:
        axis = rest.index(target)
        stacked = np.moveaxis(values, 0, axis + 1)  # after the labels that are there
        shape = list(stacked.shape)
        shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
        names = [f"{label}_{i}" for label in others[target] for i in range(len(values))]
        return data.without(dimension, stacked.reshape(shape), nodata=None).relabelled(
            target, np.asarray(names, dtype=str)
        )
    dims = dims_in_order((*rest, target))
    # The result's axes are the target and then the rest in order.
    order = [((target, *rest)).index(d) for d in dims]
    named = label_array(list(labels), data.kind(target))
    made = data.without(dimension, np.transpose(values, order), nodata=None)
    return replace(made, dims=dims, labels={**others, target: named})


def _values(result: Any, source: Array) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return a callback's values with the dimension at axis 0, and labels for it."""
    labels = result.labels if isinstance(result, Array) else None
    batch = source.values.shape[1:]
    if not isinstance(result, Array | np.ndarray | list | tuple):
        result = [result]  # one value for all
    values = along(result) if not isinstance(result, np.ndarray) else result
    if values.shape == batch and source.values.shape != values.shape:
        values = values[np.newaxis]  # a reducer: one value per pixel
    if values.ndim == 1 and len(batch):
        values = np.broadcast_to(values.reshape(-1, *(1,) * len(batch)), (len(values), *batch))
    return values, np.asarray(labels) if labels is not None else np.arange(len(values))
