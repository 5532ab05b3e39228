"""The life of a job: what can happen to it, and what to do next.

Pure functions on frozen values: no clock, no thread, no I/O. ``TRANSITIONS`` is the documentation;
`apply` looks an event up in it, and `plan` reads off the states what to do next. Resuming a run
therefore needs no code of its own: the stored states say what comes next.

::

    not_started ──Intended──▶ creating ──Created/Found──▶ created ──▶ queued ──▶ running
         ▲                    │  │  │                        └─────────┴──────────┤ Seen
         └──────NotMade───────┘  │  └─Skipped─▶ skipped                           ▼
                        CreationFailed                          error, canceled, downloading
                                 ▼                                                │ Fetched
                           start_failed                                           ▼
                                  finished ◀──────────Processed──────────── postprocessing
                                  postprocessing-error ◀──ProcessingFailed────────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from openeo_gfmap.errors import InvalidTransition
from openeo_gfmap.manager.model import (
    ACTIVE,
    FINAL,
    Action,
    AnswerLost,
    Create,
    Created,
    CreationFailed,
    Event,
    Fetch,
    Fetched,
    FetchFailed,
    FilesChanged,
    Found,
    Intended,
    Job,
    JobStatus,
    NotMade,
    Poll,
    Process,
    Processed,
    ProcessingFailed,
    Restarted,
    Resumed,
    SavedFile,
    Search,
    Seen,
    Skipped,
    Start,
    StartFailed,
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
    "Create",
    "Created",
    "CreationFailed",
    "Event",
    "Fetch",
    "FetchFailed",
    "Fetched",
    "FilesChanged",
    "Found",
    "Intended",
    "Job",
    "JobStatus",
    "Limits",
    "NotMade",
    "Poll",
    "Process",
    "Processed",
    "ProcessingFailed",
    "Restarted",
    "Resumed",
    "SavedFile",
    "Search",
    "Seen",
    "Skipped",
    "Start",
    "StartFailed",
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
        ProcessingFailed: _S.POSTPROCESSING_ERROR,
        FilesChanged: _S.DOWNLOADING,
    },
    _S.POSTPROCESSING_ERROR: {
        Resumed: _S.POSTPROCESSING,
    },
    _S.ERROR: {Restarted: _S.NOT_STARTED},
    _S.CANCELED: {Restarted: _S.NOT_STARTED},
    _S.START_FAILED: {Restarted: _S.NOT_STARTED},
    _S.SKIPPED: {},
    _S.FINISHED: {},
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
    if isinstance(event, Restarted):
        blank = Job(job.row)
        return {name: getattr(blank, name) for name in _FORGOTTEN}
    if isinstance(event, Unreachable):
        return {}
    changes: dict[str, Any] = {"message": None}
    changes.update({f.name: getattr(event, f.name) for f in fields(event) if f.name in _FIELDS})
    if isinstance(event, Seen):
        changes.update(event.facts)
    if isinstance(event, Intended):
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
    stopping
        Begin nothing new; only see through what has been downloaded.
    """

    parallel_jobs: Mapping[str, int]
    held: frozenset[int] = frozenset()
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
    actions: list[Action] = []
    for job in jobs:
        if job.row in limits.held:
            continue
        if job.status is JobStatus.NOT_STARTED:
            if limits.stopping or not room:
                continue
            pinned = job.backend in room
            backend = str(job.backend) if pinned else max(room, key=lambda name: room[name])
            if room[backend] > 0:
                room[backend] -= 1
                actions.append(Create(job, backend))
        elif job.status in _NEXT and job.backend in room:
            action = _NEXT[job.status]
            if action is Process or not limits.stopping:
                actions.append(action(job))
    return actions


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
