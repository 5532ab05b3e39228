"""The life of a job: what can happen to it, and what to do next.

Pure functions on frozen values: no clock, no thread, no I/O. ``TRANSITIONS`` is the documentation;
`apply` looks an event up in it, and `plan` reads off the states what to do next. Resuming a run
therefore needs no code of its own: the stored states say what comes next.

::

    not_started ──Intended──▶ creating ──Created/Found──▶ created ──▶ queued ──▶ running
         ▲                    │  │  │                        └─────────┴──────────┤ Seen
         ├──────NotMade───────┘  │  └─Skipped─▶ skipped                           ▼
         │              CreationFailed                          error, canceled, downloading
         │                       ▼                                                │ Fetched
         │                 start_failed                                           ▼
         │                        finished ◀──────────Processed──────────── postprocessing
         │                        postprocessing-error ◀──ProcessingFailed────────┘
         │
         └──Restarted (by the user) or Retried (by policy)── error, canceled, start_failed
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from openeo_gfmap.errors import InvalidTransition
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.model import (
    ACTIVE,
    FINAL,
    Action,
    AnswerLost,
    Cancel,
    Create,
    Created,
    CreationFailed,
    Event,
    Fetch,
    FetchAgain,
    Fetched,
    FetchFailed,
    FilesChanged,
    FilesLost,
    Found,
    Intended,
    Job,
    JobStatus,
    NotMade,
    Poll,
    Process,
    Processed,
    ProcessedPartly,
    ProcessingFailed,
    Restarted,
    Resumed,
    Retried,
    SavedFile,
    Search,
    Seen,
    Skipped,
    Start,
    StartFailed,
    TimedOut,
    Unreachable,
    Vanished,
)

__all__ = [
    "ACTIVE",
    "FINAL",
    "REMOTE",
    "TRANSITIONS",
    "Action",
    "AnswerLost",
    "Cancel",
    "Create",
    "Created",
    "CreationFailed",
    "Event",
    "Fetch",
    "FetchAgain",
    "FetchFailed",
    "Fetched",
    "FilesChanged",
    "FilesLost",
    "Found",
    "Intended",
    "Job",
    "JobStatus",
    "Limits",
    "NotMade",
    "Poll",
    "Process",
    "Processed",
    "ProcessedPartly",
    "ProcessingFailed",
    "Restarted",
    "Resumed",
    "Retried",
    "SavedFile",
    "Search",
    "Seen",
    "Skipped",
    "Start",
    "StartFailed",
    "TimedOut",
    "Unreachable",
    "Vanished",
    "apply",
    "plan",
    "validate_state",
]

# ------------------------------------------------------------------------------------------- table

_S = JobStatus

#: What the back-end's word for a job's state means. Any other word changes nothing: it may be new.
REMOTE: Mapping[str, JobStatus] = {
    "created": _S.CREATED,
    "queued": _S.QUEUED,
    "running": _S.RUNNING,
    "finished": _S.DOWNLOADING,
    "error": _S.ERROR,
    "canceled": _S.CANCELED,
}

_Target: TypeAlias = JobStatus | Mapping[str, JobStatus]

#: State -> event -> next state. `Seen` leads where `REMOTE` says.
TRANSITIONS: Mapping[JobStatus, Mapping[type[Any], _Target]] = {
    _S.NOT_STARTED: {
        Intended: _S.CREATING,
    },
    _S.CREATING: {
        Created: _S.CREATED,
        Found: _S.CREATED,
        Skipped: _S.SKIPPED,
        NotMade: _S.NOT_STARTED,
        CreationFailed: _S.START_FAILED,
        AnswerLost: _S.CREATING,
        Unreachable: _S.CREATING,
    },
    _S.CREATED: {
        Seen: REMOTE,
        StartFailed: _S.START_FAILED,
        Vanished: _S.ERROR,
        Unreachable: _S.CREATED,
    },
    _S.QUEUED: {
        Seen: REMOTE,
        Vanished: _S.ERROR,
        Unreachable: _S.QUEUED,
    },
    _S.RUNNING: {
        Seen: REMOTE,
        TimedOut: _S.ERROR,
        Vanished: _S.ERROR,
        Unreachable: _S.RUNNING,
    },
    _S.DOWNLOADING: {
        Fetched: _S.POSTPROCESSING,
        FetchFailed: _S.ERROR,
        Vanished: _S.ERROR,
        Unreachable: _S.DOWNLOADING,
    },
    _S.POSTPROCESSING: {
        Processed: _S.FINISHED,
        ProcessedPartly: _S.ERROR,
        ProcessingFailed: _S.POSTPROCESSING_ERROR,
        FilesChanged: _S.DOWNLOADING,
    },
    _S.POSTPROCESSING_ERROR: {
        Resumed: _S.POSTPROCESSING,
    },
    _S.ERROR: {
        Restarted: _S.NOT_STARTED,
        Retried: _S.NOT_STARTED,
        FetchAgain: _S.DOWNLOADING,
    },
    _S.CANCELED: {
        Restarted: _S.NOT_STARTED,
        Retried: _S.NOT_STARTED,
    },
    _S.START_FAILED: {
        Restarted: _S.NOT_STARTED,
        Retried: _S.NOT_STARTED,
    },
    _S.SKIPPED: {},
    _S.FINISHED: {
        FilesLost: _S.DOWNLOADING,
    },
}


def apply(job: Job, event: Event) -> Job:
    """Return the job after the event.

    Raises
    ------
    InvalidTransition
        When the table has no such event in the job's state.
    """
    target = TRANSITIONS[job.status].get(type(event))
    if target is None:
        allowed = ", ".join(kind.__name__ for kind in TRANSITIONS[job.status]) or "nothing"
        raise InvalidTransition(
            f"row {job.row} is {job.status.value!r}, where {type(event).__name__} cannot happen; "
            f"expected {allowed}. This is a bug in the job manager; the tracker was not changed."
        )
    if isinstance(target, JobStatus):
        status = target
    else:
        status = target.get(event.word, job.status) if isinstance(event, Seen) else job.status
    return replace(job, status=status, **_changes(job, event))


def _changes(job: Job, event: Event) -> dict[str, Any]:
    """Return the fields of the job that the event sets; an old message never outlives it."""
    if isinstance(event, Restarted | Retried):
        blank = Job(job.row, attempt=job.attempt + 1)
        changes = {name: getattr(blank, name) for name in _FORGOTTEN}
        if isinstance(event, Retried):
            changes |= {"backend": event.backend, "overrides": event.overrides}
            changes["retries"] = job.retries + 1
        return changes
    if isinstance(event, FetchAgain):
        return {"message": None, "kind": None, "retries": job.retries + 1}
    if isinstance(event, Unreachable):
        return {}
    changes = {"message": None, "kind": None}
    changes.update({f.name: getattr(event, f.name) for f in fields(event) if f.name in _FIELDS})
    if isinstance(event, Seen):
        changes.update(event.facts)
    # Neither an outage nor a back-end that is full says anything of the job.
    if isinstance(event, NotMade) and not event.outage and event.kind is not ErrorKind.CAPACITY:
        changes["attempts"] = job.attempts + 1
    return changes


_FIELDS = frozenset(f.name for f in fields(Job))
_FORGOTTEN = _FIELDS - {"row", "status", "backend"}


#: What a job needs next; also the states in which it has been made, or may have been.
_NEXT: Mapping[JobStatus, type[Search | Start | Poll | Fetch | Process]] = {
    _S.CREATING: Search,
    _S.CREATED: Start,
    _S.QUEUED: Poll,
    _S.RUNNING: Poll,
    _S.DOWNLOADING: Fetch,
    _S.POSTPROCESSING: Process,
}


@dataclass(frozen=True)
class Limits:
    """What the planner must keep to.

    Attributes
    ----------
    parallel_jobs
        Most active jobs of each back-end that was added.
    held
        Rows that are not to be touched now: an action on them is under way, or they rest between
        two looks.
    paused
        Back-ends that are not to be asked for anything now.
    overdue
        Rows whose job has run for longer than it may.
    launching
        Make new jobs; without it, those that are there are seen through.
    stopping
        Begin nothing new; only see through what has been downloaded.
    """

    parallel_jobs: Mapping[str, int]
    held: Container[int] = frozenset()
    paused: Container[str] = frozenset()
    overdue: Container[int] = frozenset()
    launching: bool = True
    stopping: bool = False


def plan(jobs: Iterable[Job], limits: Limits) -> list[Action]:
    """Return what to do next, at most one action a job, in the order of the jobs.

    A job that is not started goes to the back-end its row names when that one was added, else to
    the one with the most free places.
    """
    jobs = list(jobs)
    room = dict(limits.parallel_jobs)
    for job in jobs:
        if job.status in ACTIVE and job.backend in room:
            room[job.backend] -= 1
    open_ = {name: free for name, free in room.items() if name not in limits.paused}
    launching = limits.launching and not limits.stopping and bool(open_)
    actions: list[Action] = []
    for job in jobs:
        if job.row in limits.held:
            continue
        if job.status is _S.NOT_STARTED:
            backend = _choose(job, room, open_) if launching else None
            if backend is not None:
                open_[backend] -= 1
                actions.append(Create(job, backend))
        elif job.status is _S.POSTPROCESSING:
            if job.backend in room:
                actions.append(Process(job))  # needs nothing of the back-end
        elif job.status in _NEXT and job.backend in open_ and not limits.stopping:
            overdue = job.status is _S.RUNNING and job.row in limits.overdue
            actions.append(Cancel(job) if overdue else _NEXT[job.status](job))
    return actions


def _choose(job: Job, room: Mapping[str, int], open_: Mapping[str, int]) -> str | None:
    """Return the back-end that makes the job now, if one does."""
    backend = str(job.backend) if job.backend in room else max(open_, key=lambda name: open_[name])
    return backend if open_.get(backend, 0) > 0 else None


_MADE = frozenset(_NEXT) - {_S.CREATING} | {_S.FINISHED, _S.POSTPROCESSING_ERROR}


def validate_state(jobs: Iterable[Job], limits: Limits) -> None:
    """Check what must hold of all jobs at any time.

    Raises
    ------
    InvalidTransition
        Names the row and what is wrong with it.
    """
    active: dict[str, int] = {}
    for job in jobs:
        if job.status in _MADE and not (job.id and job.backend):
            raise InvalidTransition(f"row {job.row} is {job.status.value} without a job id")
        if job.status is _S.CREATING and not (job.mark and job.backend):
            raise InvalidTransition(f"row {job.row} is being created without an intent")
        if job.status in ACTIVE and job.backend is not None:
            active[job.backend] = active.get(job.backend, 0) + 1
    for backend, count in active.items():
        if count > limits.parallel_jobs.get(backend, count):
            raise InvalidTransition(
                f"{count} jobs are active on {backend}, at most "
                f"{limits.parallel_jobs[backend]} may be"
            )
