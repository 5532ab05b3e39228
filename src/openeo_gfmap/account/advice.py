"""What to do about each kind of error, in a sentence: for the report and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.model import Job, JobStatus

__all__ = ["ADVICE", "advice_for", "kind_of"]

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
        ErrorKind.RESULTS: (
            "The job is done, but files did not come, or have no place: a retry fetches only these."
        ),
        ErrorKind.REJECTED: (
            "All files came, and [gates] rejected some: look at them in quarantine/. Where the "
            "gates are too strict, change them, and retry."
        ),
        ErrorKind.CALLBACK: "A function of yours raised, as the message says; mend it, then retry.",
        ErrorKind.UNKNOWN: "The log of the job may say more.",
    }
)


_CANCELED = "Somebody cancelled it, here or on the back-end: a retry makes it anew."


def kind_of(job: Job) -> str:
    """Return the kind of error of a job that did not succeed: one of `ErrorKind`, or "canceled"."""
    if job.kind is None and job.status is JobStatus.CANCELED:
        return JobStatus.CANCELED.value
    return job.kind or ErrorKind.UNKNOWN.value


def advice_for(kind: str | None) -> str:
    """Return what to do about a kind of error, as `kind_of` has it."""
    if kind == JobStatus.CANCELED.value:
        return _CANCELED
    if kind is None or kind not in set(ErrorKind):
        return ADVICE[ErrorKind.UNKNOWN]
    return ADVICE[ErrorKind(kind)]
