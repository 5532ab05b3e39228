"""Statistics of the numbers along a dimension."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from .. import kernels_time
from ..registry import AnyValue, ArrayOf, Boolean, Integer, Number, Schema, process
from ..values import Elements, along, floats, is_plain, items, pack, plain

__all__: list[str] = []  # everything here is reached through the registry

NdArray = np.ndarray[Any, Any]

_MOST_QUANTILES = 1000

Probabilities = Annotated[Any, Schema([{"type": "array", "items": {}}, {"type": "integer"}])]
Condition = Annotated[
    Any,
    Schema(
        [
            {"type": "object", "subtype": "process-graph"},
            {"const": True, "type": "boolean"},
            {"type": "null"},
        ]
    ),
]


def _reduce(data: Any, ignore_nodata: bool, statistic: Callable[[NdArray], Any]) -> Any:
    """Reduce an array; ``statistic`` works along axis 0 and ignores NaN.

    In an array of scalars null is ignored or makes the result null, and NaN makes it NaN; in an
    array over pixels NaN is what null is.
    """
    if is_plain(data):
        elements = items(data)
        present = [v for v in elements if v is not None]
        if not present or (len(present) < len(elements) and not ignore_nodata):
            return None
        numbers = np.asarray(present, dtype=np.float64)
        if np.isnan(numbers).any():
            return math.nan
        with np.errstate(all="ignore"):
            result = plain(statistic(numbers))
        # Of finite numbers only too few have no result; infinite ones have NaN.
        return result if np.isfinite(result) or not np.isfinite(numbers).all() else None
    values = along(data)
    if values.shape[0] == 0:
        return np.full(values.shape[1:], np.nan, dtype=np.float32)
    with np.errstate(all="ignore"):
        result = np.asarray(statistic(values), dtype=values.dtype)
    if not ignore_nodata:
        result[..., np.isnan(values).any(axis=0)] = np.nan  # of several results, in each
    return result


def _where_valid(values: NdArray, fill: float) -> tuple[NdArray, NdArray]:
    """Return the values with NaN replaced, and how many are not NaN."""
    gaps = np.isnan(values)
    return np.where(gaps, values.dtype.type(fill), values), values.shape[0] - gaps.sum(axis=0)


def _variance(values: NdArray) -> NdArray:
    gaps = np.isnan(values)
    count = values.shape[0] - gaps.sum(axis=0)
    # Gaps add nothing; but an infinite value makes its own deviation, and the result, NaN.
    squares = np.where(gaps, 0, (values - kernels_time.mean(values)) ** 2)
    return np.asarray(
        squares.sum(axis=0, dtype=np.float64) / np.where(count < 2, np.nan, count - 1)
    )


def _quantile(values: NdArray, probability: float) -> NdArray:
    return kernels_time.quantiles(values, [probability])[0]


@process("sum")
def sum_(data: ArrayOf, ignore_nodata: Boolean = True) -> Number | None:
    """Sum of the numbers.

    Parameters
    ----------
    data
        Numbers.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.
    """
    return _reduce(data, ignore_nodata, _or_nan(lambda v: v.sum(axis=0, dtype=np.float64), 0))


@process()
def product(data: ArrayOf, ignore_nodata: Boolean = True) -> Number | None:
    """Product of the numbers.

    Parameters
    ----------
    data
        Numbers.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.
    """
    return _reduce(data, ignore_nodata, _or_nan(lambda v: v.prod(axis=0, dtype=np.float64), 1))


def _or_nan(total: Callable[[NdArray], Any], neutral: float) -> Callable[[NdArray], Any]:
    """Ignore NaN by putting the neutral element there; NaN where nothing is left."""

    def statistic(values: NdArray) -> Any:
        filled, count = _where_valid(values, neutral)
        return np.where(count == 0, np.nan, total(filled))

    return statistic


@process("min")
def min_(data: ArrayOf, ignore_nodata: Boolean = True) -> Number | None:
    """Smallest of the numbers.

    Parameters
    ----------
    data
        Numbers.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.
    """
    return _reduce(data, ignore_nodata, lambda v: np.fmin.reduce(v, axis=0))


@process("max")
def max_(data: ArrayOf, ignore_nodata: Boolean = True) -> Number | None:
    """Largest of the numbers.

    Parameters
    ----------
    data
        Numbers.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.
    """
    return _reduce(data, ignore_nodata, lambda v: np.fmax.reduce(v, axis=0))


@process()
def mean(data: ArrayOf, ignore_nodata: Boolean = True) -> Number | None:
    """Arithmetic mean.

    Parameters
    ----------
    data
        Numbers.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.
    """
    return _reduce(data, ignore_nodata, kernels_time.mean)


@process()
def median(data: ArrayOf, ignore_nodata: Boolean = True) -> Number | None:
    """Median; of an even number of values the mean of the two in the middle.

    Parameters
    ----------
    data
        Numbers.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.
    """
    return _reduce(data, ignore_nodata, partial(_quantile, probability=0.5))


@process()
def variance(data: ArrayOf, ignore_nodata: Boolean = True) -> Number | None:
    """Sample variance (divided by n - 1).

    Parameters
    ----------
    data
        Numbers, at least two.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.
    """
    return _reduce(data, ignore_nodata, _variance)


@process()
def sd(data: ArrayOf, ignore_nodata: Boolean = True) -> Number | None:
    """Sample standard deviation (n - 1).

    Parameters
    ----------
    data
        Numbers, at least two.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.
    """
    return _reduce(data, ignore_nodata, lambda v: np.sqrt(_variance(v)))


@process()
def extrema(data: ArrayOf, ignore_nodata: Boolean = True) -> Elements:
    """Smallest and largest of the numbers.

    Parameters
    ----------
    data
        Numbers.
    ignore_nodata
        Leave missing values out; otherwise any makes the result null.

    Returns
    -------
    An array of two: minimum, maximum.
    """
    low, high = min_(data, ignore_nodata), max_(data, ignore_nodata)
    return pack([low, high])


@process()
def quantiles(
    data: ArrayOf,
    probabilities: Probabilities = None,
    q: Integer = None,
    ignore_nodata: Boolean = True,
) -> Elements:
    """Quantiles, linear between order statistics (type 7).

    Parameters
    ----------
    data
        Numbers.
    probabilities
        Probabilities between 0 and 1, or the number of intervals of equal probability.
    q
        Deprecated: number of intervals of equal probability.
    ignore_nodata
        Leave missing values out; otherwise any makes the results null.

    Returns
    -------
    One number per probability; per inner border for a number of intervals.
    """
    wanted = probabilities if probabilities is not None else q
    if wanted is None:
        raise OpenEOError(
            "QuantilesParameterMissing",
            "quantiles: give 'probabilities', a list of probabilities or a number of intervals.",
        )
    if not isinstance(wanted, int | float):
        chosen = [float(p) for p in items(wanted)]
    elif 2 <= wanted <= _MOST_QUANTILES and float(wanted).is_integer():
        chosen = [i / int(wanted) for i in range(1, int(wanted))]
    else:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"quantiles: the number of intervals is {wanted}; it must be an integer from 2 to "
            f"{_MOST_QUANTILES}.",
        )
    outside = [p for p in chosen if not 0 <= p <= 1]
    if outside or len(chosen) > _MOST_QUANTILES:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"quantiles: probabilities lie in 0..1, not {outside[0]}."
            if outside
            else f"quantiles: {len(chosen)} probabilities, more than {_MOST_QUANTILES}.",
        )
    if is_plain(data) or not len(along(data)) or not chosen:
        return pack(
            [_reduce(data, ignore_nodata, partial(_quantile, probability=p)) for p in chosen]
        )
    # Over pixels: sorted once for all probabilities.
    planes = _reduce(data, ignore_nodata, lambda v: np.stack(kernels_time.quantiles(v, chosen)))
    return pack(list(planes))


def _cumulate(data: Any, ignore_nodata: bool, function: np.ufunc, neutral: float) -> Any:
    values = along(data)
    gaps = np.isnan(values)
    if ignore_nodata:
        out = function.accumulate(np.where(gaps, values.dtype.type(neutral), values), axis=0)
    else:
        gaps = np.logical_or.accumulate(gaps, axis=0)
        out = function.accumulate(values, axis=0)
    out = np.where(gaps, values.dtype.type(np.nan), out)
    if is_plain(data):
        known = items(data)
        nulls = np.asarray([v is None for v in known])
        nulls = nulls if ignore_nodata else np.logical_or.accumulate(nulls)
        return [None if n else plain(v) for n, v in zip(nulls, out, strict=True)]
    return pack(list(out), labels=getattr(data, "labels", None), array=True)


def _register_cumulative(name: str, what: str, function: np.ufunc, neutral: float) -> None:
    def compute(data: ArrayOf, ignore_nodata: Boolean = True) -> Elements:
        return _cumulate(data, ignore_nodata, function, neutral)

    compute.__doc__ = (
        f"Cumulative {what}.\n\nParameters\n----------\ndata\n    Numbers.\nignore_nodata\n"
        f"    Step over missing values; otherwise all after the first are null.\n\n"
        f"Returns\n-------\nAn array of the same length.\n"
    )
    process(name)(compute)


for _name, _what, _ufunc, _neutral in (
    ("cumsum", "sum", np.add, 0.0),
    ("cumproduct", "product", np.multiply, 1.0),
    ("cummin", "minimum", np.minimum, math.inf),
    ("cummax", "maximum", np.maximum, -math.inf),
):
    _register_cumulative(_name, _what, _ufunc, _neutral)


@process()
def count(data: ArrayOf, condition: Condition = None, context: AnyValue = None) -> Number:
    """Count elements: the valid ones, all, or those that meet a condition.

    Parameters
    ----------
    data
        Any values.
    condition
        Null counts valid values (finite, not null), true counts all; a process on ``x`` that
        gives true for the elements to count.
    context
        Passed on to the condition.
    """
    elements = items(data)
    if condition is True:
        return len(elements)
    hits: Any = 0
    for element in elements:
        if condition is None:
            hit: Any = _valid(element)
        else:
            outcome = condition(x=element, element=element, context=context)
            hit = np.nan_to_num(floats(np.asarray(outcome is not None and outcome))) != 0
        hits = hits + np.asarray(hit, dtype=np.float32)
    return plain(np.asarray(hits))


def _valid(element: Any) -> Any:
    if isinstance(element, np.ndarray):
        return np.isfinite(element) if element.dtype.kind == "f" else np.ones(element.shape)
    return element is not None and not (isinstance(element, float) and not math.isfinite(element))
