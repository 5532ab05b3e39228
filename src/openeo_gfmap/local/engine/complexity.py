"""Bounds on plain values, so that a short graph cannot ask for more memory than there is.

Values that do not depend on pixels are computed while a graph is validated, in the server's own
process. What goes into a value process is weighed before it runs, and processes that make more than
they are given weigh their result before they make it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import OpenEOError
from .cube import Array

__all__ = ["MOST", "require_small", "weight"]

MOST = 100_000
"""Most scalars and characters in a plain value."""


def weight(value: Any) -> int:
    """Return how many scalars and characters a value would have if written out.

    A list that stands in a value several times counts as often. Counting ends soon after
    :data:`MOST`. Arrays over pixels are no plain values and count as one.
    """
    total = 0
    todo = [value]
    while todo and total <= MOST:
        item = todo.pop()
        if isinstance(item, Array) and item.values.ndim <= 1:
            item = item.values
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, Mapping):
            total += len(item)
            todo.extend(item.values())
        elif isinstance(item, list | tuple):
            total += len(item)
            todo.extend(v for v in item if isinstance(v, str | list | tuple | Mapping | Array))
        elif isinstance(item, np.ndarray) and item.ndim == 1 and item.dtype.kind == "O":
            todo.append(item.tolist())
        else:
            total += 1
    return total


def require_small(process: str, values: Iterable[Any] = (), *, count: int = 0) -> None:
    """Refuse values that together are too large, or a count of values to be made.

    Raises
    ------
    OpenEOError
        ProcessGraphComplexity.
    """
    for value in values:
        count += weight(value)
        if count > MOST:
            break
    if count > MOST:
        raise OpenEOError(
            "ProcessGraphComplexity",
            f"Process {process!r} would handle {count:,} values or characters, more than the "
            f"{MOST:,} that a plain value may have. Arrays of this size belong into data cubes.",
        )
