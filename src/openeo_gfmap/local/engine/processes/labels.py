"""Labels and dimensions of raster cubes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ..demands import Demand, Window, in_order
from ..plan import Call, CubeMeta, PlanContext, Rule, Scope, Unknown
from ..registry import AnyValue, ArrayOf, CubeData, Schema, Text, process

Labels = Annotated[
    Any,
    Schema(
        [
            {"type": "array", "items": {"type": ["string", "number"]}},
            {"type": "null"},
        ]
    ),
]

_SPATIAL = ("y", "x")


def _rename_labels_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    dimension = existing(call, meta)
    if dimension != "bands":
        return (
            meta.patch(time=f"{meta.time}/{call.node.id}", periods=True)
            if (dimension == "t")
            else meta
        )
    target, source = _targets(call), call.args.get("source")
    if meta.bands is None:
        return meta.patch(bands=target if not source else None)
    return meta.patch(bands=tuple(_renamed(call, meta.bands)))


def _targets(call: Call) -> tuple[str, ...]:
    target = call.args["target"]
    if isinstance(target, Unknown):
        return ()
    if not isinstance(target, list | tuple) or not target:
        raise call.invalid("target", f"must be a list of labels, got {target!r}")
    return tuple(map(str, target))


def _renamed(call: Call, bands: tuple[str, ...]) -> list[str]:
    """Return the new name of each band."""
    target = _targets(call)
    source = [str(s) for s in call.args.get("source") or bands[: len(target)]]
    if not call.args.get("source") and len(target) != len(bands):
        raise call.invalid("target", f"has {len(target)} labels for {len(bands)} bands")
    if len(source) != len(target):
        raise call.invalid("source", f"has {len(source)} labels, target has {len(target)}")
    unknown = [s for s in source if s not in bands]
    if unknown:
        raise call.invalid(
            "source", f"names {', '.join(unknown)}, but the cube has {', '.join(bands)}"
        )
    names = dict(zip(source, target, strict=True))
    renamed = [names.get(b, b) for b in bands]
    if len(set(renamed)) != len(renamed):
        raise call.invalid("target", f"would give two bands one name: {', '.join(renamed)}")
    return renamed


def _rename_labels_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    have = call.cube().bands
    dimension = existing(call, call.cube())
    if dimension == "t":
        return {"data": demand.patch(interval=(None, None))}
    if dimension != "bands" or demand.bands is None:
        return {"data": demand}
    if have is None:
        return {"data": demand.patch(bands=None)}
    old = dict(zip(_renamed(call, have), have, strict=True))
    return {"data": demand.patch(bands=in_order(have, [old[b] for b in demand.bands]))}


@process(plan=Rule(meta=_rename_labels_meta, inputs=_rename_labels_inputs))
def rename_labels(
    data: CubeData, dimension: Text, target: Labels, source: Labels = None, *, env: Any = None
) -> CubeData:
    """Give labels of a dimension other names.

    Parameters
    ----------
    data
        A data cube.
    dimension
        The dimension, for example ``bands``.
    target
        The new names.
    source
        The old names; without them the new names are given in the dimension's order.

    Returns
    -------
    CubeData
        The cube with the new labels.
    """
    have = data.labels[dimension]
    old = list(source or have.tolist())
    if not source and dimension == "bands" and isinstance(env, Scope) and env.call is not None:
        # Only some of the bands may have been asked for: names go by their place among all.
        old = list(env.call.cube().bands or old)
    if len(old) != len(target):
        raise OpenEOError(
            "LabelMismatch",
            f"{len(target)} new labels were given for the {len(old)} labels of {dimension!r}: "
            f"{', '.join(map(str, old[:10]))}.",
        )
    names = dict(zip(old, target, strict=True))
    labels = [names.get(label, label) for label in have.tolist()]
    values = np.asarray(labels, dtype="datetime64[ns]" if dimension == "t" else str)
    return data.with_data(data.data, labels={**data.labels, dimension: values})


def existing(call: Call, meta: CubeMeta, name: str = "dimension") -> str:
    """Return the name of a dimension that an argument gives and the cube has."""
    dimension = str(call.args[name])
    if dimension not in meta.dims:
        raise OpenEOError(
            "DimensionNotAvailable",
            f"Node {call.node.id!r}: the cube has no dimension {dimension!r}; it has "
            f"{', '.join(meta.dims)}.",
            node=call.node.id,
        )
    return dimension


def _other_dims(meta: CubeMeta, name: str) -> tuple[str, ...]:
    """Insert a dimension where the axis order of cubes wants it."""
    return dims_in_order((*meta.dims, name))


def dims_in_order(dims: tuple[str, ...]) -> tuple[str, ...]:
    """Sort dimension names: t, bands, others as they came, y, x."""
    rank = {"t": 0, "bands": 1, "y": 3, "x": 4}
    return tuple(sorted(dims, key=lambda d: rank.get(d, 2)))


def not_spatial(call: Call, dimension: str, name: str = "dimension") -> None:
    """Refuse x and y, which windows cut."""
    if dimension in _SPATIAL:
        raise call.invalid(name, "cannot be x or y; use aggregate_spatial or resample_spatial")


def _rename_dimension_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    source, target = existing(call, meta, "source"), str(call.args["target"])
    for value, name in ((source, "source"), (target, "target")):
        not_spatial(call, value, name)
    if target in meta.dims:
        raise OpenEOError(
            "DimensionExists",
            f"Node {call.node.id!r}: the cube has a dimension {target!r} already.",
            node=call.node.id,
        )
    dims = dims_in_order(tuple(target if d == source else d for d in meta.dims))
    bands = None if source == "bands" or target == "bands" else meta.bands
    return meta.patch(dims=dims, bands=bands)


def _all_bands(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    """Demand every band and date, for processes that move labels between dimensions."""
    return {"data": demand.patch(bands=None, interval=(None, None))}


@process(plan=Rule(meta=_rename_dimension_meta, inputs=_all_bands))
def rename_dimension(data: CubeData, source: Text, target: Text) -> CubeData:
    """Give a dimension another name.

    Parameters
    ----------
    data
        A data cube.
    source
        The name it has.
    target
        The new name.

    Returns
    -------
    CubeData
        The cube with the renamed dimension.
    """
    labels = {target if d == source else d: v for d, v in data.labels.items()}
    renamed = tuple(target if d == source else d for d in data.dims)
    dims = dims_in_order(renamed)
    values = np.transpose(data.data, [renamed.index(d) for d in dims])
    return data.with_data(values, dims=dims, labels=labels)


def _add_dimension_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta, name = call.cube(), str(call.args["name"])
    if name in meta.dims:
        raise OpenEOError(
            "DimensionExists",
            f"Node {call.node.id!r}: the cube has a dimension {name!r} already.",
            node=call.node.id,
        )
    meta = meta.patch(dims=_other_dims(meta, name))
    if name == "bands":
        return meta.patch(bands=(str(call.args["label"]),))
    return meta.patch(time=call.node.id, periods=True) if name == "t" else meta


def _add_dimension_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    if call.args["name"] == "bands":
        return {"data": demand.patch(bands=None)}
    return {"data": demand}


@process(plan=Rule(meta=_add_dimension_meta, inputs=_add_dimension_inputs))
def add_dimension(data: CubeData, name: Text, label: AnyValue, type: Text = "other") -> CubeData:
    """Add a dimension with one label.

    Parameters
    ----------
    data
        A data cube without that dimension.
    name
        Name of the dimension.
    label
        Its only label.
    type
        ``bands``, ``temporal`` or ``other``; the name decides here: ``t`` holds dates.

    Returns
    -------
    CubeData
        The cube with one more dimension.
    """
    dims = dims_in_order((*data.dims, name))
    values = np.expand_dims(data.data, dims.index(name))
    labels = np.asarray([label], dtype="datetime64[ns]" if name == "t" else str)
    return data.with_data(values, dims=dims, labels={**data.labels, name: labels})


def _drop_dimension_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    name = existing(call, meta, "name")
    not_spatial(call, name, "name")
    if name == "bands" and meta.bands is not None and len(meta.bands) != 1:
        raise OpenEOError(
            "DimensionLabelCountMismatch",
            f"Node {call.node.id!r}: bands has {len(meta.bands)} labels; only a dimension with one "
            "can be dropped.",
            node=call.node.id,
        )
    return without(meta, name)


def without(meta: CubeMeta, dimension: str) -> CubeMeta:
    """Return metadata without a dimension."""
    dims = tuple(d for d in meta.dims if d != dimension)
    return meta.patch(
        dims=dims,
        bands=None if dimension == "bands" else meta.bands,
        time="" if dimension == "t" else meta.time,
    )


@process(plan=Rule(meta=_drop_dimension_meta, inputs=_all_bands))
def drop_dimension(data: CubeData, name: Text) -> CubeData:
    """Drop a dimension that has one label.

    Parameters
    ----------
    data
        A data cube.
    name
        The dimension.

    Returns
    -------
    CubeData
        The cube without it.
    """
    axis = data.axis(name)
    if data.data.shape[axis] != 1:
        raise OpenEOError(
            "DimensionLabelCountMismatch",
            f"Dimension {name!r} has {data.data.shape[axis]} labels; only one with a single label "
            "can be dropped.",
        )
    labels = {d: v for d, v in data.labels.items() if d != name}
    dims = tuple(d for d in data.dims if d != name)
    return data.with_data(np.squeeze(data.data, axis), dims=dims, labels=labels)


def _dimension_labels_meta(call: Call, context: PlanContext) -> Any:
    meta = call.cube()
    dimension = existing(call, meta)
    if dimension != "bands":
        raise call.invalid("dimension", "must be 'bands': other labels are known to a run only")
    return list(meta.bands) if meta.bands is not None else Unknown()


@process(plan=Rule(meta=_dimension_labels_meta))
def dimension_labels(data: CubeData, dimension: Text) -> ArrayOf:
    """Return the band names of a cube.

    Parameters
    ----------
    data
        A raster data cube.
    dimension
        ``bands``.

    Returns
    -------
    ArrayOf
        The labels, in order.
    """
    return data.labels[dimension]  # type: ignore[return-value]  # a plain list of labels
