"""Labels and dimensions of raster cubes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ..axes import (
    SPATIAL,
    all_labels,
    dims_in_order,
    existing,
    label_array,
    new_dimension,
    not_spatial,
    openeo_label,
    without,
)
from ..complexity import require_small
from ..cube import Cube, kind_of
from ..demands import Demand, Window, in_order
from ..meta import CubeMeta, Unknown
from ..plan import Call, PlanContext, Rule, Scope
from ..registry import (
    ArrayOf,
    CubeData,
    Label,
    Schema,
    Text,
    process,
)

Labels = Annotated[
    Any,
    Schema({"type": "array", "items": {"type": ["string", "number"]}}),
]

KINDS = ("spatial", "temporal", "bands", "geometry", "other")


@process()
def create_data_cube() -> CubeData:
    """Make a data cube without dimensions, whose only value is missing.

    ``add_dimension`` gives it dimensions. It has no pixels, so only processes on labels and values
    work on it.

    Returns
    -------
    CubeData
        The cube.
    """
    return Cube(np.array(np.nan), (), {}, None, None)


def _rename_labels_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    dimension = existing(call, meta)
    not_spatial(call, dimension)
    target, source = _targets(call), call.args.get("source")
    if source and len(source) != len(target):
        raise OpenEOError(
            "LabelMismatch",
            f"Node {call.node.id!r}: source has {len(source)} labels, target has {len(target)}.",
            node=call.node.id,
        )
    known = meta.bands if dimension == "bands" else meta.labels.get(dimension)
    names = None
    if known is not None and target:
        names = tuple(_renamed(call, known, meta.kind(dimension)))
    if dimension == "bands":
        return meta.patch(bands=names if known is not None or source else target or None)
    labels = {d: v for d, v in meta.labels.items() if d != dimension}
    if names is not None:
        labels[dimension] = names
    meta = meta.patch(labels=labels)
    if dimension == "t":
        return meta.patch(time=f"{meta.time}/{call.node.id}", periods=True)
    return meta


def _targets(call: Call) -> tuple[Any, ...]:
    target = call.args["target"]
    if isinstance(target, Unknown):
        return ()
    if not isinstance(target, list | tuple) or not target:
        raise call.invalid("target", f"must be a list of labels, got {target!r}")
    for name in ("target", "source"):
        labels = call.args.get(name)
        for label in labels if isinstance(labels, list | tuple) else ():
            if isinstance(label, bool) or not isinstance(label, str | int | float | Unknown):
                raise call.invalid(name, f"must hold texts or numbers, got {label!r}")
    return tuple(target)


def _enumerated(labels: Sequence[Any]) -> bool:
    """Whether labels are 0, 1, 2, …, so that new names can be given to the first of them."""
    return [str(v) for v in labels] == [str(i) for i in range(len(labels))]


def _plain(labels: Sequence[Any], kind: str) -> list[Any]:
    """Return labels as planned cubes hold them: texts of bands, datetimes, plain numbers."""
    made = label_array(labels, kind)
    return list(made) if made.dtype.kind == "M" else made.tolist()


def _renamed(call: Call, have: tuple[Any, ...], kind: str) -> list[Any]:
    """Return the new name of each label."""
    target = _plain(_targets(call), kind)
    given = call.args.get("source")
    if not given and len(target) != len(have) and not _enumerated(have):
        raise OpenEOError(
            "LabelsNotEnumerated",
            f"Node {call.node.id!r}: target has {len(target)} labels for {len(have)} of the "
            "dimension; say with source which of them are renamed.",
            node=call.node.id,
        )
    source = _plain(given, kind) if given else list(have[: len(target)])
    unknown = [s for s in source if s not in have]
    if unknown:
        raise OpenEOError(
            "LabelNotAvailable",
            f"Node {call.node.id!r}: the cube has no label {', '.join(map(str, unknown))}; it has "
            f"{', '.join(map(str, have))}.",
            node=call.node.id,
        )
    names = dict(zip(source, target, strict=True))
    renamed = [names.get(label, label) for label in have]
    if len(set(renamed)) != len(renamed):
        raise OpenEOError(
            "LabelExists",
            f"Node {call.node.id!r}: two labels would have one name: "
            f"{', '.join(map(str, renamed))}.",
            node=call.node.id,
        )
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
    old = dict(zip(_renamed(call, have, "bands"), have, strict=True))
    return {"data": demand.patch(bands=in_order(have, [old[b] for b in demand.bands]))}


@process(plan=Rule(meta=_rename_labels_meta, inputs=_rename_labels_inputs))
def rename_labels(
    data: CubeData, dimension: Text, target: Labels, source: Labels = (), *, env: Any = None
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
        The old names; without them the new names are given in the dimension's order, one for
        each label (labels that are just counted, 0, 1, 2, …, may be left over).

    Returns
    -------
    CubeData
        The cube with the new labels.
    """
    kind = data.kind(dimension)
    have = list(data.labels[dimension])
    old = list(label_array(source, kind)) if source else have
    if not source and dimension == "bands" and isinstance(env, Scope) and env.call is not None:
        # Only some of the bands may have been asked for: names go by their place among all.
        old = list(env.call.cube().bands or old)
    if not source and _enumerated(old):
        old = old[: len(target)]
    if len(old) != len(target):
        raise OpenEOError(
            "LabelMismatch",
            f"{len(target)} new labels were given for the {len(old)} labels of {dimension!r}: "
            f"{', '.join(map(str, old[:10]))}.",
        )
    names = dict(zip(map(str, old), target, strict=True))
    values = label_array([names.get(str(label), label) for label in have], kind)
    return data.relabelled(dimension, values)


def _rename_dimension_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    source = existing(call, meta, "source")
    target = new_dimension(call, meta, str(call.args["target"]))
    for value, name in ((source, "source"), (target, "target")):
        not_spatial(call, value, name)
    _own_kind(call, target, meta.kind(source), "target")
    dims = dims_in_order(tuple(target if d == source else d for d in meta.dims))
    labels = {target if d == source else d: v for d, v in meta.labels.items()}
    bands = meta.bands
    if source == "bands" and bands is not None:
        labels[target], bands = bands, None
    if target == "bands":
        known = labels.pop(target, None)
        bands = None if known is None else tuple(map(str, known))
    return meta.patch(
        dims=dims,
        bands=bands,
        labels=labels,
        kinds=_kinds(meta, source, target),
        time=meta.time if "t" in dims and source != "t" else call.node.id if target == "t" else "",
        periods=meta.periods or target == "t",
    )


def _own_kind(call: Call, dimension: str, kind: str, name: str) -> None:
    """Refuse names that stand for another type here: ``t`` is time, ``bands`` are bands."""
    fixed = kind_of(dimension, {})
    if fixed not in ("other", kind):
        raise call.invalid(name, f"is {dimension!r}, which is the name of a {fixed} dimension here")


def _kinds(cube: Cube | CubeMeta, source: str, target: str) -> Mapping[str, str]:
    """Return the noted types with a dimension renamed, so that it keeps its type."""
    kind = cube.kind(source)
    kinds = {d: v for d, v in cube.kinds.items() if d != source}
    return kinds if kind_of(target, {}) == kind else {**kinds, target: kind}


@process(plan=Rule(meta=_rename_dimension_meta, inputs=all_labels))
def rename_dimension(data: CubeData, source: Text, target: Text) -> CubeData:
    """Give a dimension another name.

    Its type and its labels stay. The spatial dimensions are always x and y here.

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
    periods = {target if d == source else d: v for d, v in data.periods.items()}
    kinds = _kinds(data, source, target)
    return data.with_data(values, dims=dims, labels=labels, kinds=kinds, periods=periods)


def _add_dimension_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    name = new_dimension(call, meta, str(call.args["name"]))
    kind = str(call.args["type"])
    if kind not in KINDS:
        raise call.invalid("type", f"is {kind!r}; use one of {', '.join(KINDS)}")
    if name in SPATIAL or kind in ("spatial", "geometry"):
        raise call.invalid("type", "cannot be spatial or geometry: x and y are those of the pixels")
    _own_kind(call, name, kind if kind != "other" else kind_of(name, {}), "name")
    added = _added_kinds(name, kind)
    labels = label_array([call.args["label"]], kind_of(name, added))
    meta = meta.patch(dims=dims_in_order((*meta.dims, name)), kinds={**meta.kinds, **added})
    if name == "bands":
        return meta.patch(bands=tuple(labels.tolist()))
    meta = meta.patch(labels={**meta.labels, name: tuple(labels)})
    return meta.patch(time=call.node.id, periods=True) if name == "t" else meta


def _added_kinds(name: str, kind: str) -> dict[str, str]:
    return {name: kind} if kind not in ("other", kind_of(name, {})) else {}


def _add_dimension_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    if call.args["name"] == "bands":
        return {"data": demand.patch(bands=None)}
    return {"data": demand}


@process(plan=Rule(meta=_add_dimension_meta, inputs=_add_dimension_inputs))
def add_dimension(data: CubeData, name: Text, label: Label, type: Text = "other") -> CubeData:
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
        ``bands``, ``temporal`` or ``other``. A dimension named ``t`` is temporal and one named
        ``bands`` has bands without it.

    Returns
    -------
    CubeData
        The cube with one more dimension.
    """
    dims = dims_in_order((*data.dims, name))
    kinds = {**data.kinds, **_added_kinds(name, type)}
    labels = {**data.labels, name: label_array([label], kind_of(name, kinds))}
    values = np.expand_dims(data.data, dims.index(name))
    return data.with_data(values, dims=dims, labels=labels, kinds=kinds)


def _drop_dimension_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    name = existing(call, meta, "name")
    not_spatial(call, name, "name")
    known = meta.bands if name == "bands" else meta.labels.get(name)
    if known is not None and len(known) != 1:
        raise OpenEOError(
            "DimensionLabelCountMismatch",
            f"Node {call.node.id!r}: {name} has {len(known)} labels; only a dimension with one "
            "can be dropped.",
            node=call.node.id,
        )
    return without(meta, name)


@process(plan=Rule(meta=_drop_dimension_meta, inputs=all_labels))
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
    return data.without(name, np.squeeze(data.data, axis))


def _dimension_labels_meta(call: Call, context: PlanContext) -> Any:
    meta = call.cube()
    dimension = existing(call, meta)
    if dimension in SPATIAL:
        return _centres(meta, dimension)
    known = meta.bands if dimension == "bands" else meta.labels.get(dimension)
    if known is not None:
        return [openeo_label(v) for v in known]
    if dimension == "bands" and context.env.fetch is None:
        return Unknown()
    raise call.invalid(
        "dimension", f"is {dimension!r}, whose labels nothing tells before pixels are read"
    )


def _centres(meta: CubeMeta, dimension: str) -> list[float]:
    """Return the coordinates of the pixel centres of the whole cube."""
    box = meta.grid.cover(meta.extent)
    rows, columns = box.shape
    count = columns if dimension == "x" else rows
    require_small("dimension_labels", count=count)
    start, step = (
        (box.transform.c, box.transform.a)
        if dimension == "x"
        else (box.transform.f, box.transform.e)
    )
    return [start + (i + 0.5) * step for i in range(count)]


@process(plan=Rule(meta=_dimension_labels_meta))
def dimension_labels(data: CubeData, dimension: Text) -> ArrayOf:
    """Return the labels of a dimension, as far as they are known before pixels are read.

    Parameters
    ----------
    data
        A raster data cube.
    dimension
        ``bands``, ``x`` or ``y`` (pixel centres), or a dimension whose labels a process of the
        graph has set. The dates of a collection are not known in time.

    Returns
    -------
    ArrayOf
        The labels, in order.
    """
    raise OpenEOError(
        "Internal", "The labels of a cube are found while a graph is planned.", status=500
    )
