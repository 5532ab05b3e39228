"""The order in which places are visited: neighbours follow each other."""

from __future__ import annotations

__all__ = ["z_order"]

_BITS = 32


def z_order(row: int, column: int) -> int:
    """Return the position of a cell on a curve that fills the plane square by square.

    Sorted by it, the cells of any 2 x 2, 4 x 4, … block follow each other, so that file blocks of
    any size are left for good as early as possible.
    """
    return _spread(row + (1 << 31)) << 1 | _spread(column + (1 << 31))


def _spread(number: int) -> int:
    """Put a zero before each bit."""
    return int(f"{number:0{_BITS}b}", base=4)
