"""Processes that change a cube's shape: dimensions flattened, split, trimmed; other dates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ..axes import (
    all_labels,
    dates_of,
    dims_in_order,
    existing,
    label_array,
    new_dimension,
    not_spatial,
    of_kind,
    without,
)
from ..cube import Cube, kind_of, select
from ..demands import Demand, Window
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule
from ..registry import CubeData, Schema, Text, process

Names = Annotated[Any, Schema({"type": "array", "items": {"type": "string"}})]
Days = Annotated[Any, Schema({"type": ["number", "null"]})]


def _names(call: Call, name: str) -> tuple[str, ...]:
    names = tuple(map(str, call.args[name]))
    if not names or len(set(names)) != len(names):
        raise call.invalid(name, f"must name different dimensions, got {list(names)}")
    return names


def _flatten_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    target = new_dimension(call, meta, str(call.args["target_dimension"]), "TargetDimensionExists")
    not_spatial(call, target, "target_dimension")
    _plain_name(call, target, "target_dimension")
    rest = meta
    for dimension in _names(call, "dimensions"):
        if dimension not in meta.dims:
            raise OpenEOError(
                "DimensionNotAvailable",
                f"Node {call.node.id!r}: the cube has no dimension {dimension!r}; it has "
                f"{', '.join(meta.dims)}.",
                node=call.node.id,
            )
        not_spatial(call, dimension, "dimensions")
        rest = without(rest, dimension)
    return rest.patch(dims=dims_in_order((*rest.dims, target)))


def _plain_name(call: Call, dimension: str, name: str) -> None:
    """Refuse names that stand for time or bands: what is made here is of type other."""
    if kind_of(dimension, {}) != "other":
        raise call.invalid(
            name,
            f"is {dimension!r}, the name of a {kind_of(dimension, {})} "
            "dimension; choose another and rename it afterwards",
        )


@process(plan=Rule(meta=_flatten_meta, inputs=all_labels))
def flatten_dimensions(
    data: CubeData, dimensions: Names, target_dimension: Text, label_separator: Text = "~"
) -> CubeData:
    """Make one dimension of several.

    Parameters
    ----------
    data
        A data cube.
    dimensions
        The dimensions to combine, the first the slowest; not x or y.
    target_dimension
        Name of the new dimension, of type other.
    label_separator
        Stands between the labels that are joined.

    Returns
    -------
    CubeData
        The cube with one dimension in place of those.
    """
    rest = [d for d in data.dims if d not in dimensions]
    moved = np.transpose(data.data, [data.axis(d) for d in (*dimensions, *rest)])
    values = moved.reshape(-1, *moved.shape[len(dimensions) :])
    parts = (map(str, data.names(d)) for d in dimensions)
    labels = np.asarray([label_separator.join(v) for v in product(*parts)], dtype=str)
    dims = dims_in_order((*rest, target_dimension))
    made = data
    for dimension in dimensions:
        made = made.without(dimension, values)
    order = [(target_dimension, *rest).index(d) for d in dims]
    return replace(
        made,
        data=np.transpose(values, order),
        dims=dims,
        labels={**made.labels, target_dimension: labels},
    )


def _unflatten_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    dimension = existing(call, meta)
    not_spatial(call, dimension)
    targets = _names(call, "target_dimensions")
    for name in targets:
        new_dimension(call, meta, name, "TargetDimensionExists")
        not_spatial(call, name, "target_dimensions")
        _plain_name(call, name, "target_dimensions")
    rest = without(meta, dimension)
    return rest.patch(dims=dims_in_order((*rest.dims, *targets)))


@process(plan=Rule(meta=_unflatten_meta, inputs=all_labels))
def unflatten_dimension(
    data: CubeData, dimension: Text, target_dimensions: Names, label_separator: Text = "~"
) -> CubeData:
    """Make several dimensions of one, by splitting its labels.

    Parameters
    ----------
    data
        A data cube.
    dimension
        The dimension to split; its labels hold the separator once for two new dimensions, twice
        for three, and so on.
    target_dimensions
        Names of the new dimensions, of type other.
    label_separator
        Where labels are split.

    Returns
    -------
    CubeData
        The cube with the new dimensions. Combinations of labels that were not there are missing.
    """
    parts = [str(v).split(label_separator) for v in data.names(dimension)]
    wrong = [p for p in parts if len(p) != len(target_dimensions)]
    if wrong:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The label {label_separator.join(wrong[0])!r} of {dimension!r} has {len(wrong[0])} "
            f"parts for {len(target_dimensions)} dimensions.",
        )
    labels = [list(dict.fromkeys(p[i] for p in parts)) for i in range(len(target_dimensions))]
    rest = tuple(d for d in data.dims if d != dimension)
    source = np.moveaxis(data.data, data.axis(dimension), 0)
    shape = (*(len(v) for v in labels), *source.shape[1:])
    index = tuple(np.asarray([have.index(p[i]) for p in parts]) for i, have in enumerate(labels))
    full = len(parts) == int(np.prod(shape[: len(labels)]))
    like = data if full else data.as_float()
    missing = np.zeros(shape, dtype=bool) if full else np.ones(shape, dtype=bool)
    values = np.empty(shape, dtype=like.data.dtype)
    values[index] = np.moveaxis(like.data, like.axis(dimension), 0)
    missing[index] = False
    if not full:
        values[missing] = np.nan
    dims = dims_in_order((*rest, *target_dimensions))
    order = [(*target_dimensions, *rest).index(d) for d in dims]
    made = like.without(dimension, np.transpose(values, order))
    named = {
        name: label_array(have, "other")
        for name, have in zip(target_dimensions, labels, strict=True)
    }
    return replace(made, dims=dims, labels={**made.labels, **named})


@process(plan=Rule(inputs=all_labels))
def trim_cube(data: CubeData, *, env: Any) -> CubeData:
    """Remove labels that have no values.

    Of results by feature, and of values per feature, all dimensions are trimmed but x and y. Tiles
    of a large result must fit together: its dates without any data are left out when it is
    written, as always.

    Parameters
    ----------
    data
        A data cube.

    Returns
    -------
    CubeData
        The cube with fewer labels.
    """
    if env.window is not None and env.window.shape is None:
        return data
    for dimension in data.labels:
        axes = tuple(i for i, d in enumerate(data.dims) if d != dimension)
        seen = (~data.missing()).any(axis=axes)
        if seen.any() and not seen.all():
            data = select(data, dimension, data.labels[dimension][seen])
    return data


def _temporal_meta(call: Call, context: PlanContext) -> CubeMeta:
    data, target = call.cube(), call.cube("target")
    within = call.args.get("valid_within")
    if within is not None and not 0 <= within < 1e6:
        raise call.invalid("valid_within", f"is {within} days; give 0 or more")
    labels = dict(data.labels)
    for dimension in _axes(call):
        labels.pop(dimension, None)
        if dimension in target.labels:
            labels[dimension] = target.labels[dimension]
    meta = data.patch(labels=labels)
    if "t" not in _axes(call):
        return meta
    return meta.patch(time=target.time, interval=target.interval, periods=target.periods)


def _axes(call: Call) -> tuple[str, ...]:
    """Return the temporal dimensions to resample: the one named, or all that both cubes have."""
    data, target = call.cube(), call.cube("target")
    if call.args.get("dimension") is None:
        common = [d for d in of_kind(data, "temporal") if d in of_kind(target, "temporal")]
        if not common:
            raise OpenEOError(
                "DimensionMismatch",
                f"Node {call.node.id!r}: the cubes have no time dimension of the same name; they "
                f"have {', '.join(data.dims)} and {', '.join(target.dims)}.",
                node=call.node.id,
            )
        return tuple(common)
    dimension = existing(call, data)
    existing(call, target)
    if {data.kind(dimension), target.kind(dimension)} != {"temporal"}:
        raise OpenEOError(
            "DimensionMismatch",
            f"Node {call.node.id!r}: {dimension!r} is not a time dimension of both cubes.",
            node=call.node.id,
        )
    return (dimension,)


def _temporal_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    data, target = call.cube(), call.cube("target")
    needs = {"data": demand.patch(interval=(None, None))}
    if data.time != target.time or _axes(call) != ("t",):
        bands = None if target.bands is None else target.bands[:1]
        box = window.box if target.grid == data.grid and demand.box is not None else None
        needs["target"] = Demand(demand.box if box is not None else box, bands)
    return needs


@process(plan=Rule(meta=_temporal_meta, inputs=_temporal_inputs))
def resample_cube_temporal(
    data: CubeData,
    target: CubeData,
    dimension: Text = None,
    valid_within: Days = None,
    *,
    env: Any,
) -> CubeData:
    """Bring a cube onto the dates of another: those nearest in time.

    Of two dates equally near the earlier one counts.

    Parameters
    ----------
    data
        A data cube with dates.
    target
        The cube that has the wanted dates.
    dimension
        The time dimension; by default all that both cubes have.
    valid_within
        Days: each pixel takes the nearest value that is not missing, if there is one as near as
        this. By default it takes that of the nearest date, missing or not.

    Returns
    -------
    CubeData
        The cube with the dates of the target.
    """
    if "target" not in _temporal_inputs(env.call, env.demand, env.window):
        return data  # both have the very same dates
    for axis in _axes(env.call):
        have, wanted = dates_of(data, axis, env.call), dates_of(target, axis, env.call)
        if not np.array_equal(have, wanted):
            data = _nearest(data, axis, have, wanted, valid_within)
            data = replace(
                data,
                periods={**data.periods, **{d: p for d, p in target.periods.items() if d == axis}},
            )
    return data


def _nearest(
    cube: Cube,
    axis: str,
    have: np.ndarray[Any, Any],
    wanted: np.ndarray[Any, Any],
    valid_within: float | None,
) -> Cube:
    away = np.abs(wanted[:, np.newaxis] - have[np.newaxis]).astype(np.int64)
    if valid_within is None and len(have):
        order = np.argsort(have, kind="stable")
        nearest = order[np.argmin(away[:, order], axis=1)]
        return cube.with_data(cube.data.take(nearest, cube.axis(axis))).relabelled(axis, wanted)
    wide = cube.as_float()
    source = np.moveaxis(wide.data, wide.axis(axis), 0)
    out = np.full((len(wanted), *source.shape[1:]), np.nan, dtype=source.dtype)
    limit = int((valid_within or 0) * 86_400e9)
    earlier_first = np.argsort(have, kind="stable")
    for i in range(len(wanted)):
        for k in earlier_first[np.argsort(away[i][earlier_first], kind="stable")]:
            if away[i, k] > limit:
                break
            np.copyto(out[i], source[k], where=np.isnan(out[i]))
    return wide.with_data(np.moveaxis(out, 0, wide.axis(axis))).relabelled(axis, wanted)
