"""Dimensions of cubes while a graph is planned: which there are, and of which type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import numpy as np

from ..errors import OpenEOError
from .cube import Cube
from .demands import Demand, Window
from .instants import parse_instant
from .meta import CubeMeta
from .plan import Call

__all__ = [
    "SPATIAL",
    "all_labels",
    "band_axis",
    "dates_of",
    "dims_in_order",
    "existing",
    "label_array",
    "new_dimension",
    "not_spatial",
    "of_kind",
    "openeo_label",
    "temporal",
    "without",
]

SPATIAL = ("y", "x")


def existing(call: Call, meta: CubeMeta, name: str = "dimension") -> str:
    """Return the name of a dimension that an argument gives and the cube has."""
    return _existing(call, meta, str(call.args[name]))


def _existing(call: Call, meta: CubeMeta, dimension: str) -> str:
    if dimension not in meta.dims:
        raise OpenEOError(
            "DimensionNotAvailable",
            f"Node {call.node.id!r}: the cube has no dimension {dimension!r}; it has "
            f"{', '.join(meta.dims)}.",
            node=call.node.id,
        )
    return dimension


def of_kind(meta: CubeMeta, kind: str) -> tuple[str, ...]:
    """Return the dimensions of a type, in the cube's order."""
    return tuple(d for d in meta.dims if meta.kind(d) == kind)


def temporal(call: Call, meta: CubeMeta, name: str = "dimension") -> str:
    """Return the temporal dimension that an argument names, or the only one there is.

    Raises
    ------
    OpenEOError
        DimensionNotAvailable; TooManyDimensions when there are several and none is named.
    """
    given = call.args.get(name)
    found = of_kind(meta, "temporal")
    if given is not None:
        dimension = _existing(call, meta, str(given))
        if dimension not in found:
            raise call.invalid(
                name, f"is {dimension!r}, a dimension of type {meta.kind(dimension)!r}, not time"
            )
        return dimension
    if not found:
        raise OpenEOError(
            "DimensionNotAvailable",
            f"Node {call.node.id!r}: the cube has no time dimension; it has "
            f"{', '.join(meta.dims)}.",
            node=call.node.id,
        )
    if len(found) > 1:
        raise OpenEOError(
            "TooManyDimensions",
            f"Node {call.node.id!r}: the cube has the time dimensions {', '.join(found)}; name "
            f"one with {name!r}.",
            node=call.node.id,
        )
    return found[0]


def band_axis(call: Call, meta: CubeMeta) -> str:
    """Return the dimension that has the bands; DimensionMissing without one."""
    found = of_kind(meta, "bands")
    if not found:
        raise OpenEOError(
            "DimensionMissing",
            f"Node {call.node.id!r}: the cube has no bands; it has the dimensions "
            f"{', '.join(meta.dims)}.",
            node=call.node.id,
        )
    return "bands" if "bands" in found else found[0]


def new_dimension(call: Call, meta: CubeMeta, dimension: str, code: str = "DimensionExists") -> str:
    """Return the name of a dimension to be made, which the cube must not have yet.

    It is a name that files can have, too.
    """
    if dimension in meta.dims:
        raise OpenEOError(
            code,
            f"Node {call.node.id!r}: the cube has a dimension {dimension!r} already.",
            node=call.node.id,
        )
    if dimension in ("", ".", "crs") or "/" in dimension:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"Node {call.node.id!r}: {dimension!r} cannot name a dimension; give a name without a "
            "slash, and not 'crs', which files keep for the projection.",
            node=call.node.id,
        )
    return dimension


def not_spatial(call: Call, dimension: str, name: str = "dimension") -> None:
    """Refuse x and y, which windows cut."""
    if dimension in SPATIAL:
        raise call.invalid(
            name, "cannot be x or y; use reduce_spatial, aggregate_spatial or resample_spatial"
        )


def dims_in_order(dims: tuple[str, ...]) -> tuple[str, ...]:
    """Sort dimension names: t, bands, others as they came, y, x."""
    rank = {"t": 0, "bands": 1, "y": 3, "x": 4}
    return tuple(sorted(dims, key=lambda d: rank.get(d, 2)))


def without(meta: CubeMeta, dimension: str) -> CubeMeta:
    """Return metadata without a dimension."""
    return meta.patch(
        dims=tuple(d for d in meta.dims if d != dimension),
        bands=None if dimension == "bands" else meta.bands,
        time="" if dimension == "t" else meta.time,
        kinds={d: v for d, v in meta.kinds.items() if d != dimension},
        labels={d: v for d, v in meta.labels.items() if d != dimension},
    )


def all_labels(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    """Demand every band and date, for processes that move labels between dimensions."""
    return {"data": demand.patch(bands=None, interval=(None, None))}


def dates_of(cube: Cube, dimension: str, call: Call) -> np.ndarray[Any, Any]:
    """Return the labels of a temporal dimension, which must be dates."""
    labels = cube.labels[dimension]
    if labels.dtype.kind != "M":
        raise call.invalid(
            "data",
            f"has names such as {labels[:1].tolist()} along {dimension!r}, and no dates",
        )
    return labels


def openeo_label(label: Any) -> Any:
    """Return a label as openEO knows it: RFC 3339 texts for dates, plain texts and numbers."""
    if isinstance(label, np.datetime64):
        return f"{np.datetime_as_string(label, unit='s')}Z"
    return label.item() if isinstance(label, np.generic) else label


def label_array(values: Sequence[Any], kind: str) -> np.ndarray[Any, Any]:
    """Return labels as cubes hold them.

    Labels of a temporal dimension become datetime64[ns] when all are dates, else texts; those of
    bands are texts; others stay numbers where all are numbers.
    """
    if kind == "temporal":
        moments = [_moment(v) for v in values]
        if all(m is not None for m in moments):
            return np.asarray(moments, dtype="datetime64[ns]")
        return np.asarray([str(v) for v in values], dtype=str)
    numbers = all(isinstance(v, int | float | np.number) for v in values)
    if numbers and len(values):
        return np.asarray(values)
    return np.asarray([str(v) for v in values], dtype=str)


def _moment(value: Any) -> np.datetime64 | None:
    if isinstance(value, np.datetime64):
        moment: np.datetime64 = value.astype("datetime64[ns]")
        return moment
    instant = parse_instant(value) if isinstance(value, str) else None
    if instant is None:
        return None
    return np.datetime64(instant.moment.astimezone(UTC).replace(tzinfo=None), "ns")
