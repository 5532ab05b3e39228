"""What is said of a file that does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Finding", "count", "some"]

_SHOWN: Final = 3  # dates or bands in a message


@dataclass(frozen=True, slots=True)
class Finding:
    """A gate that a file does not pass.

    Attributes
    ----------
    gate
        Name of the field of `QualityGates`; "opens" for a file that cannot be read as what it is.
    message
        What the file has, and what was expected.
    """

    gate: str
    message: str

    def __str__(self) -> str:
        return self.message


def some(names: Sequence[object]) -> str:
    """Return the first few of many, for a message."""
    return ", ".join(map(str, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")


def count(number: int, noun: str) -> str:
    """Return "1 date", "2 dates"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
