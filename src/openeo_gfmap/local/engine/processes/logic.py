"""Comparisons, logic with missing values, and choices.

A missing operand makes a comparison missing: null for scalars, NaN in an array (see
:mod:`..values`). ``and``, ``or`` and their like follow three-valued logic: ``false and null`` is
false, ``true and null`` is null.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..instants import instant_utc, parse_instant
from ..registry import AnyValue, ArrayOf, Boolean, Number, Scalar, process
from ..values import floats, is_plain, items, missing, pack, plain, truth, with_missing

__all__: list[str] = []  # everything here is reached through the registry


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _equal(x: Any, y: Any, delta: float | None, case_sensitive: bool) -> Any:
    """Compare two present operands; differing types are not equal."""
    if isinstance(x, np.ndarray | np.datetime64) or isinstance(y, np.ndarray | np.datetime64):
        return _equal_arrays(x, y, delta)
    if isinstance(x, str) and isinstance(y, str):
        return x == y if case_sensitive else x.casefold() == y.casefold()
    if _is_number(x) and _is_number(y):
        return x == y if delta is None else abs(x - y) <= abs(delta)
    return isinstance(x, bool) and isinstance(y, bool) and x == y


def _equal_arrays(x: Any, y: Any, delta: float | None) -> Any:
    x, y = _with_instants(x, y)
    if delta is None or np.asarray(x).dtype.kind == "M":
        return x == y
    return np.abs(floats(x) - floats(y)) <= abs(delta)


def _with_instants(x: Any, y: Any) -> tuple[Any, Any]:
    """Turn a text beside an array of dates into a date."""
    for one, other in ((x, y), (y, x)):
        if isinstance(one, str) and np.asarray(other).dtype.kind == "M":
            known = parse_instant(one) is not None
            when = np.datetime64(instant_utc(one)) if known else np.datetime64("NaT")
            return (when, y) if one is x else (x, when)
    return x, y


def _gaps(*operands: Any) -> Any:
    out: Any = False
    for operand in operands:
        out = out | missing(operand)
    return out


@process()
def eq(
    x: Scalar, y: Scalar, delta: Number = None, case_sensitive: Boolean = True
) -> Boolean | None:
    """Whether two values are equal.

    Parameters
    ----------
    x
        The first value.
    y
        The second value.
    delta
        Numbers that differ by no more than this are equal.
    case_sensitive
        Whether upper and lower case differ in texts.
    """
    gaps = _gaps(x, y)
    if np.ndim(gaps) == 0 and gaps:
        return None
    return with_missing(_equal(x, y, delta, case_sensitive), gaps)


@process()
def neq(
    x: Scalar, y: Scalar, delta: Number = None, case_sensitive: Boolean = True
) -> Boolean | None:
    """Whether two values differ.

    Parameters
    ----------
    x
        The first value.
    y
        The second value.
    delta
        Numbers that differ by no more than this are equal.
    case_sensitive
        Whether upper and lower case differ in texts.
    """
    gaps = _gaps(x, y)
    if np.ndim(gaps) == 0 and gaps:
        return None
    return with_missing(np.logical_not(_equal(x, y, delta, case_sensitive)), gaps)


def _ordered(x: Any, y: Any, compare: Callable[[Any, Any], Any]) -> Any:
    gaps = _gaps(x, y)
    if np.ndim(gaps) == 0 and gaps:
        return None
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        x, y = _with_instants(x, y)
        return with_missing(np.asarray(compare(x, y)), gaps)
    x, y = _with_instants(x, y)
    if isinstance(x, np.datetime64) and isinstance(y, np.datetime64):
        return bool(compare(x, y))
    return _is_number(x) and _is_number(y) and bool(compare(x, y))


def _register_order(name: str, text: str, compare: Callable[[Any, Any], Any]) -> None:
    def compute(x: Scalar, y: Scalar) -> Boolean | None:
        return _ordered(x, y, compare)

    compute.__doc__ = (
        f"Whether x is {text} y; false unless both are numbers (``date_between`` is for dates, "
        "labels of a time dimension compare as dates).\n\n"
        f"Parameters\n----------\nx\n    The first value.\ny\n    The second value.\n"
    )
    process(name)(compute)


for _name, _text, _compare in (
    ("lt", "less than", operator.lt),
    ("lte", "less than or equal to", operator.le),
    ("gt", "greater than", operator.gt),
    ("gte", "greater than or equal to", operator.ge),
):
    _register_order(_name, _text, _compare)


@process()
def between(x: AnyValue, min: Number, max: Number, exclude_max: Boolean = False) -> Boolean | None:
    """Whether a number lies between two others; false for swapped bounds.

    Parameters
    ----------
    x
        The value.
    min
        The lower bound, inclusive.
    max
        The upper bound, inclusive unless excluded.
    exclude_max
        Whether the upper bound is excluded.
    """
    upper = _ordered(x, max, operator.lt if exclude_max else operator.le)
    return _and(_ordered(x, min, operator.ge), upper)


def _and(x: Any, y: Any) -> Any:
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        both = truth(x) & truth(y)
        neither_false = (truth(x) | missing(x)) & (truth(y) | missing(y))
        return with_missing(both, neither_false & _gaps(x, y))
    if x is None or y is None:
        return None if truth(x) or truth(y) or x is y else False
    return bool(x) and bool(y)


def _or(x: Any, y: Any) -> Any:
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        either = truth(x) | truth(y)
        return with_missing(either, ~np.asarray(either) & _gaps(x, y))
    if x is None or y is None:
        return True if truth(x) or truth(y) else None
    return bool(x) or bool(y)


@process()
def and_(x: Boolean | None, y: Boolean | None) -> Boolean | None:
    """Logical AND; null if the result hangs on a null.

    Parameters
    ----------
    x
        A truth value.
    y
        A truth value.
    """
    return _and(x, y)


@process()
def or_(x: Boolean | None, y: Boolean | None) -> Boolean | None:
    """Logical OR; null if the result hangs on a null.

    Parameters
    ----------
    x
        A truth value.
    y
        A truth value.
    """
    return _or(x, y)


@process()
def xor(x: Boolean | None, y: Boolean | None) -> Boolean | None:
    """Logical exclusive OR; null if one is null.

    Parameters
    ----------
    x
        A truth value.
    y
        A truth value.
    """
    gaps = _gaps(x, y)
    if np.ndim(gaps) == 0 and gaps:
        return None
    return with_missing(truth(x) != truth(y), gaps)


@process()
def not_(x: Boolean | None) -> Boolean | None:
    """Logical NOT; null stays null.

    Parameters
    ----------
    x
        A truth value.
    """
    if x is None:
        return None
    return with_missing(np.logical_not(truth(x)), missing(x))


@process()
def if_(value: Boolean | None, accept: AnyValue, reject: AnyValue = None) -> AnyValue:
    """Choose between two values.

    Parameters
    ----------
    value
        Decides; null counts as false.
    accept
        The result if true.
    reject
        The result if false, null by default.
    """
    if not isinstance(value, np.ndarray):
        return accept if truth(value) else reject
    chosen = [np.asarray(np.nan if v is None else floats(v)) for v in (accept, reject)]
    dtype = np.result_type(*(c.dtype for c in chosen if c.ndim), np.float32)
    return np.where(truth(value), chosen[0], chosen[1]).astype(dtype, copy=False)


@process("any")
def any_(data: ArrayOf, ignore_nodata: Boolean = True) -> Boolean | None:
    """Whether at least one value is true.

    Parameters
    ----------
    data
        Truth values.
    ignore_nodata
        Leave missing values out; otherwise they make the result null unless a value is true.
    """
    return _fold(data, ignore_nodata, _or)


@process("all")
def all_(data: ArrayOf, ignore_nodata: Boolean = True) -> Boolean | None:
    """Whether all values are true.

    Parameters
    ----------
    data
        Truth values.
    ignore_nodata
        Leave missing values out; otherwise they make the result null unless a value is false.
    """
    return _fold(data, ignore_nodata, _and)


def _fold(data: Any, ignore_nodata: bool, combine: Callable[[Any, Any], Any]) -> Any:
    elements = items(data)
    if is_plain(data):
        present = [v for v in elements if v is not None]
        if not present:
            return combine is _and  # the neutral element
        elements = present if ignore_nodata else elements
        out = elements[0]
        for element in elements[1:]:
            out = combine(out, element)
        return out
    values = pack(elements, array=True).values
    true, gaps = truth(values), missing(values)
    if combine is _or:
        out, nothing_decided = true.any(axis=0), gaps.any(axis=0) & ~true.any(axis=0)
    else:
        out = (true | gaps).all(axis=0)
        nothing_decided = gaps.any(axis=0) & out
    return with_missing(out, gaps.all(axis=0) if ignore_nodata else nothing_decided)


@process()
def is_nan(x: AnyValue) -> Boolean:
    """Whether a value is not a number; in an array that is a missing value.

    Parameters
    ----------
    x
        Any value.
    """
    if isinstance(x, np.ndarray):
        return missing(x)
    return isinstance(x, float) and bool(np.isnan(x))


@process()
def is_nodata(x: AnyValue) -> Boolean:
    """Whether a value is missing.

    Parameters
    ----------
    x
        Any value.
    """
    return missing(x)


@process()
def is_valid(x: AnyValue) -> Boolean:
    """Whether a value is neither missing nor NaN nor infinite.

    Parameters
    ----------
    x
        Any value.
    """
    if isinstance(x, np.ndarray):
        return np.isfinite(x) if x.dtype.kind == "f" else ~missing(x)
    return x is not None and (not isinstance(x, float) or bool(np.isfinite(x)))


@process()
def is_infinite(x: AnyValue) -> Boolean:
    """Whether a number is infinite.

    Parameters
    ----------
    x
        Any value.
    """
    if isinstance(x, np.ndarray):
        return np.isinf(floats(x))
    return isinstance(x, float) and bool(plain(np.isinf(x)))
