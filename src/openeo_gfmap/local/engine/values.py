"""What the value processes share: the meeting of Python scalars, lists and numpy arrays.

In a callback a value is a Python scalar (null is None), a numpy array over a batch of pixels
(null is NaN), or a :class:`~openeo_gfmap.local.engine.cube.Array` along a dimension. A list is an
array literal of the graph, whose items may be any of the first two. On scalars null and NaN are
told apart as the openEO specification wants; on arrays both are NaN, as everywhere in raster work.

Truth values with missing ones are float arrays of 1, 0 and NaN; without, booleans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np

from .cube import Array
from .registry import Schema

__all__ = [
    "Elements",
    "along",
    "elementwise",
    "floats",
    "is_plain",
    "items",
    "labels_of",
    "missing",
    "pack",
    "plain",
    "truth",
    "with_missing",
]

NdArray = np.ndarray[Any, Any]

# What a process that makes an array returns: a list of scalars, or an Array over pixels.
Elements = Annotated[Any, Schema({"type": "array", "items": {}})]


# Products of two integers below this fit into 64 bits; numpy wraps others around.
_EXACT = 2**31


def floats(value: Any) -> Any:
    """Return integer and boolean arrays as floats (float32 up to 16 bits), all else as it is.

    Large integers become floats as well: in 64 bits they would overflow, and beyond those grow
    without bound.
    """
    if isinstance(value, int) and not -_EXACT < value < _EXACT:
        return float(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biu":
        return value.astype(np.float64 if value.dtype.itemsize > 2 else np.float32)
    return value


def plain(value: Any) -> Any:
    """Return numpy scalars and arrays without axes as Python scalars."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind != "M":
        return value.item()
    return value


def elementwise(function: Callable[..., Any], *operands: Any) -> Any:
    """Apply a numpy function to scalars and arrays; null in any operand gives null."""
    if any(o is None for o in operands):
        return _null_like(operands)
    with np.errstate(all="ignore"):
        return plain(function(*(floats(o) for o in operands)))


def _null_like(operands: Sequence[Any]) -> Any:
    shapes = [o.shape for o in operands if isinstance(o, np.ndarray)]
    if not shapes:
        return None
    return np.full(np.broadcast_shapes(*shapes), np.nan, dtype=np.float32)


def missing(value: Any) -> Any:
    """Return where an array is missing, or whether a scalar is null. NaN scalars are numbers."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            return np.isnan(value)
        if value.dtype.kind in "mM":
            return np.isnat(value)
        return np.zeros(value.shape, dtype=bool)
    return value is None


def truth(value: Any) -> Any:
    """Return where a value is true, as a boolean array or scalar; missing is not true."""
    if isinstance(value, np.ndarray):
        return (value != 0) & ~missing(value)
    return value is not None and bool(value)


def with_missing(result: Any, gaps: Any) -> Any:
    """Return truth values with gaps: booleans without any, else a float array with NaN."""
    if not isinstance(result, np.ndarray) and not isinstance(gaps, np.ndarray):
        return None if gaps else bool(result)
    if not np.any(gaps):
        return np.broadcast_to(result, np.broadcast_shapes(np.shape(result), np.shape(gaps)))
    return np.where(gaps, np.float32(np.nan), np.asarray(result, dtype=np.float32))


def is_plain(data: Any) -> bool:
    """Whether an array holds scalars that tell null from NaN: a list, or objects along 1 axis."""
    if isinstance(data, Array):
        return bool(data.values.dtype.kind == "O")
    return isinstance(data, list | tuple) and not any(isinstance(v, np.ndarray) for v in data)


def items(data: Any) -> list[Any]:
    """Return the elements of an array along its dimension."""
    if data is None:
        return []
    if isinstance(data, Array):
        return [plain(v) for v in data.values]
    if isinstance(data, list | tuple | np.ndarray):
        return [plain(v) for v in data]
    return [data]


def labels_of(data: Any) -> list[Any] | None:
    """Return the labels of a labeled array, None for a plain one."""
    if isinstance(data, Array) and data.labels is not None:
        return [plain(v) for v in data.labels]
    return None


def pack(
    elements: Sequence[Any], *, labels: Sequence[Any] | None = None, array: bool = False
) -> Elements:
    """Make an array of elements: stacked where they are arrays, a list where they are scalars.

    Parameters
    ----------
    elements
        Scalars, None, or arrays that broadcast to one shape.
    labels
        Labels of the elements; they ask for an :class:`Array`.
    array
        Ask for an :class:`Array` even of scalars without labels.
    """
    shapes = [e.shape for e in elements if isinstance(e, np.ndarray)]
    if not shapes and labels is None and not array:
        return list(elements)
    return Array(
        _stack(elements, shapes) if shapes else _column(elements),
        None if labels is None else _labels(labels),
    )


def _stack(elements: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> NdArray:
    shape = np.broadcast_shapes(*shapes)
    planes = [np.asarray(np.nan if e is None else floats(e)) for e in elements]
    # Scalars take the type of the arrays: a constant band does not widen the others.
    dtype = np.result_type(*(p.dtype for p in planes if p.ndim), np.float32)
    return np.stack([np.broadcast_to(p, shape).astype(dtype, copy=False) for p in planes])


def _column(elements: Sequence[Any]) -> NdArray:
    if elements and all(type(e) in (int, float) for e in elements):
        return np.asarray(elements)
    column = np.empty(len(elements), dtype=object)
    column[:] = elements
    return column


def _labels(labels: Sequence[Any] | NdArray) -> NdArray:
    if isinstance(labels, np.ndarray):
        return labels
    kinds = {type(v) for v in labels}
    if len(kinds) == 1 and kinds <= {str, int, float, np.datetime64}:
        return np.asarray(labels)
    return _column(labels)


def along(data: Any) -> NdArray:
    """Return an array's numbers as floats, its dimension at axis 0, NaN for null."""
    if isinstance(data, Array) and data.values.dtype.kind != "O":
        return np.asarray(floats(data.values))
    elements = items(data)
    shapes = [e.shape for e in elements if isinstance(e, np.ndarray)]
    if shapes:
        return _stack(elements, shapes)
    return np.asarray([np.nan if e is None else e for e in elements], dtype=np.float64)
