"""What a user-defined function may use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["UdfLimits"]


@dataclass(frozen=True)
class UdfLimits:
    """Limits of the process that user-defined functions run in.

    Attributes
    ----------
    seconds
        Longest time of one call, on one window.
    cpu_seconds
        CPU time of one call, all its threads together.
    memory
        Bytes the process may allocate; 0 leaves it to the system.
    """

    seconds: float = 600.0
    cpu_seconds: float = 600.0
    memory: int = 0
