"""What to do about each kind of error, in a sentence: for the report and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openeo_gfmap.manager.kinds import ErrorKind

__all__ = ["ADVICE", "advice_for"]

#: By kind of error.
ADVICE: Final[Mapping[ErrorKind, str]] = MappingProxyType(
    {
        ErrorKind.TRANSIENT: "It usually passes: try again, or let [retry] max_attempts do it.",
        ErrorKind.CAPACITY: (
            "The back-end is full, or credits are used up: wait, run fewer jobs at once, or look "
            "at your account there."
        ),
        ErrorKind.OUT_OF_MEMORY: (
            "Give the jobs more memory (recipe.job_options), make them smaller "
            "(recipe.max_samples), or let [retry] max_attempts raise it."
        ),
        ErrorKind.TIME_LIMIT: "Make the jobs smaller (recipe.max_samples), or raise job_seconds.",
        ErrorKind.BAD_INPUT: (
            "There are no data for this place and time, or the input cannot be read: check period, "
            "cloud filter and geometries. To try again changes nothing."
        ),
        ErrorKind.BAD_GRAPH: (
            "The process graph does not fit the back-end: check bands and processes. To try again "
            "changes nothing."
        ),
        ErrorKind.BACKEND_BUG: "Try again, or elsewhere; report the log to its operators.",
        ErrorKind.VANISHED: "The back-end no longer has the job: try again, which makes it anew.",
        ErrorKind.RESULTS: "The job is done, but files are missing: a retry fetches only these.",
        ErrorKind.CALLBACK: "A function of yours raised, as the message says; mend it, then retry.",
        ErrorKind.UNKNOWN: "The log of the job may say more.",
    }
)


def advice_for(kind: str | None) -> str:
    """Return what to do about a kind of error, as the tracker has it."""
    if kind is None or kind not in set(ErrorKind):
        return ADVICE[ErrorKind.UNKNOWN]
    return ADVICE[ErrorKind(kind)]
