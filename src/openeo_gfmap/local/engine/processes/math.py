"""Arithmetic and elementary functions, number by number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import OpenEOError
from ..registry import AnyValue, Integer, Number, process
from ..values import elementwise

__all__: list[str] = []  # everything here is reached through the registry


def _register_unary(name: str, summary: str, function: Callable[[Any], Any]) -> None:
    def compute(x: Number | None) -> Number | None:
        return elementwise(function, x)

    compute.__doc__ = (
        f"{summary}\n\nParameters\n----------\nx\n    A number; null gives null.\n\n"
        f"Returns\n-------\nThe computed number.\n"
    )
    process(name)(compute)


def _register_binary(name: str, summary: str, function: Callable[[Any, Any], Any]) -> None:
    def compute(x: Number | None, y: Number | None) -> Number | None:
        return elementwise(function, x, y)

    compute.__doc__ = (
        f"{summary}\n\nParameters\n----------\nx\n    The first number; null gives null.\n"
        f"y\n    The second number; null gives null.\n\nReturns\n-------\nThe computed number.\n"
    )
    process(name)(compute)


for _name, _summary, _unary in (
    ("absolute", "Absolute value.", np.abs),
    ("sgn", "Signum: -1, 0 or 1.", np.sign),
    ("sqrt", "Square root; NaN for negative numbers.", np.sqrt),
    ("ln", "Natural logarithm.", np.log),
    ("trunc", "Cut off the fraction.", np.trunc),
    ("sin", "Sine of an angle in radians.", np.sin),
    ("cos", "Cosine of an angle in radians.", np.cos),
    ("tan", "Tangent of an angle in radians.", np.tan),
    ("sinh", "Hyperbolic sine.", np.sinh),
    ("cosh", "Hyperbolic cosine.", np.cosh),
    ("tanh", "Hyperbolic tangent.", np.tanh),
    ("arcsin", "Inverse sine, in radians.", np.arcsin),
    ("arccos", "Inverse cosine, in radians.", np.arccos),
    ("arctan", "Inverse tangent, in radians.", np.arctan),
    ("arsinh", "Inverse hyperbolic sine.", np.arcsinh),
    ("arcosh", "Inverse hyperbolic cosine.", np.arccosh),
    ("artanh", "Inverse hyperbolic tangent.", np.arctanh),
):
    _register_unary(_name, _summary, _unary)

for _name, _summary, _binary in (
    ("add", "Add two numbers.", np.add),
    ("subtract", "Subtract the second number from the first.", np.subtract),
    ("multiply", "Multiply two numbers.", np.multiply),
    ("divide", "Divide the first number by the second; x / 0 is infinite or NaN.", np.divide),
):
    _register_binary(_name, _summary, _binary)


@process()
def floor(x: Number | None) -> Integer | None:
    """Round down to an integer.

    Parameters
    ----------
    x
        A number; null gives null.
    """
    return elementwise(np.floor, x)


@process()
def ceil(x: Number | None) -> Integer | None:
    """Round up to an integer.

    Parameters
    ----------
    x
        A number; null gives null.
    """
    return elementwise(np.ceil, x)


@process()
def normalized_difference(x: Number, y: Number) -> Number:
    """Compute the normalized difference, (x - y) / (x + y).

    Parameters
    ----------
    x
        The first number.
    y
        The second number.
    """
    return elementwise(lambda a, b: np.divide(np.subtract(a, b), np.add(a, b)), x, y)


@process()
def arctan2(y: Number | None, x: Number | None) -> Number | None:
    """Inverse tangent of y / x, in radians, in the quadrant of the point (x, y).

    Parameters
    ----------
    y
        The dividend.
    x
        The divisor.
    """
    return elementwise(np.arctan2, y, x)


@process()
def power(base: Number | None, p: Number | None) -> Number | None:
    """Raise a number to a power.

    Parameters
    ----------
    base
        The number.
    p
        The exponent.
    """
    # Integers have no negative powers in numpy.
    return elementwise(lambda b, e: np.power(np.multiply(b, 1.0), e), base, p)


@process()
def exp(p: Number | None) -> Number | None:
    """Raise e to a power.

    Parameters
    ----------
    p
        The exponent.
    """
    return elementwise(np.exp, p)


@process()
def log(x: Number | None, base: Number | None) -> Number | None:
    """Logarithm to a base.

    Parameters
    ----------
    x
        The number.
    base
        The base of the logarithm.
    """
    if isinstance(base, int | float) and base in (2, 10):
        return elementwise(np.log2 if base == 2 else np.log10, x)
    return elementwise(lambda v, b: np.log(v) / np.log(b), x, base)


@process()
def mod(x: Number | None, y: Number | None) -> Number | None:
    """Remainder of x / y, with the sign of y.

    Parameters
    ----------
    x
        The dividend.
    y
        The divisor; 0 is an error for a single number and NaN in an array.
    """
    if isinstance(y, int | float) and y == 0 and x is not None:
        raise OpenEOError("DivisionByZero", "mod: the divisor is 0, which leaves no remainder.")

    def remainder(a: Any, b: Any) -> Any:
        # C and IEEE: a finite number is its own remainder for an infinite divisor.
        return np.where(np.isinf(b) & np.isfinite(a), a, np.mod(a, b))

    return elementwise(remainder, x, y)


@process()
def clip(x: Number | None, min: Number, max: Number) -> Number | None:
    """Limit a number to a range.

    Parameters
    ----------
    x
        The number.
    min
        What smaller numbers become.
    max
        What larger numbers become.
    """
    if isinstance(min, int | float) and isinstance(max, int | float) and min > max:
        raise OpenEOError(
            "MinMaxSwapped", f"clip: min {min} is larger than max {max}; swap the two."
        )
    return elementwise(lambda v, low, high: np.minimum(np.maximum(v, low), high), x, min, max)


@process("round")
def round_(x: Number | None, p: Integer = 0) -> Number | None:
    """Round to a number of decimals, halves to the even neighbour (IEEE 754).

    Parameters
    ----------
    x
        The number.
    p
        Decimals; negative for tens, hundreds, and so on.
    """
    return elementwise(lambda v: _rounded(v, p), x)


# Powers of ten beyond are no floats.
_MOST_DECIMALS = 308


def _rounded(values: Any, decimals: int) -> Any:
    places = min(max(decimals, -_MOST_DECIMALS), _MOST_DECIMALS)
    made = np.round(np.asarray(values), places)
    # numpy multiplies by the power of ten; a number that is too large for that has no decimals.
    return np.where(np.isfinite(made), made, values)[()]


@process("int")
def int_(x: Number | None) -> Integer | None:
    """Integer part of a number.

    Parameters
    ----------
    x
        The number; NaN gives null.
    """
    if isinstance(x, float) and math.isnan(x):
        return None
    return elementwise(np.trunc, x)


@process()
def linear_scale_range(
    x: Number | None,
    inputMin: Number,  # noqa: N803  (the openEO name)
    inputMax: Number,  # noqa: N803
    outputMin: Number = 0,  # noqa: N803
    outputMax: Number = 1,  # noqa: N803
) -> Number | None:
    """Scale a number linearly from one range to another, clipped to the first.

    Alone in the callback of ``apply`` and with integer output bounds it is also a cast: see
    ``kernels.linear_scale_cast``.

    Parameters
    ----------
    x
        The number.
    inputMin
        Lower bound of the input.
    inputMax
        Upper bound of the input.
    outputMin
        What ``inputMin`` becomes.
    outputMax
        What ``inputMax`` becomes.
    """

    def scale(v: Any, in0: Any, in1: Any, out0: Any, out1: Any) -> Any:
        clipped = np.clip(v, np.minimum(in0, in1), np.maximum(in0, in1))
        return np.divide(np.subtract(clipped, in0), np.subtract(in1, in0)) * (out1 - out0) + out0

    return elementwise(scale, x, inputMin, inputMax, outputMin, outputMax)


@process()
def pi() -> Number:
    """Give the number pi."""
    return math.pi


@process()
def e() -> Number:
    """Give Euler's number."""
    return math.e


@process()
def nan() -> AnyValue:
    """Give "not a number"."""
    return math.nan


@process()
def constant(x: AnyValue) -> AnyValue:
    """Give back a value.

    Parameters
    ----------
    x
        Any value.
    """
    return x
