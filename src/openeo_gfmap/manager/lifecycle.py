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
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, TypeAlias

from openeo_gfmap.errors import InvalidTransition


class JobStatus(StrEnum):
    """Where a job stands."""

    NOT_STARTED = "not_started"
    #: The intent to create it is stored; whether the back-end has it is not known yet.
    CREATING = "creating"
    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    #: Done on the back-end; its files are not all here yet.
    DOWNLOADING = "downloading"
    #: Its files are here and verified; the user's action is not done yet.
    POSTPROCESSING = "postprocessing"
    #: Downloaded, verified, post-processed and in the catalogue.
    FINISHED = "finished"
    SKIPPED = "skipped"
    START_FAILED = "start_failed"
    ERROR = "error"
    CANCELED = "canceled"
    POSTPROCESSING_ERROR = "postprocessing-error"

    @property
    def shown(self) -> str:
        """The word the tracker uses, which knows eleven states."""
        return _SHOWN.get(self, self.value)


_SHOWN = {
    JobStatus.CREATING: JobStatus.NOT_STARTED.value,
    JobStatus.DOWNLOADING: JobStatus.POSTPROCESSING.value,
}

#: States that take one of the places a back-end gives.
ACTIVE = frozenset(
    {JobStatus.CREATING, JobStatus.CREATED, JobStatus.QUEUED, JobStatus.RUNNING},
)

#: States that a run leaves as they are.
FINAL = frozenset(
    {
        JobStatus.FINISHED,
        JobStatus.SKIPPED,
        JobStatus.START_FAILED,
        JobStatus.ERROR,
        JobStatus.CANCELED,
        JobStatus.POSTPROCESSING_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the tracker, without the user's columns.

    Attributes
    ----------
    row
        Position in the tracker.
    status
        Where it stands.
    backend
        Name of the back-end it runs on; before it is created, the one the user asked for.
    id
        The back-end's job id.
    mark
        Text in the description of the job by which it is found after a lost answer.
    intended_at
        When the creation was about to be asked for; ISO 8601, UTC.
    attempts
        How often the creation was asked for.
    title, description, start_time, costs, cpu, memory, duration
        What the back-end says of the job; None when it does not.
    message
        Why the job is in a failed state, or was not made yet.
    """

    row: int
    status: JobStatus = JobStatus.NOT_STARTED
    backend: str | None = None
    id: str | None = None
    mark: str | None = None
    intended_at: str | None = None
    attempts: int = 0
    title: str | None = None
    description: str | None = None
    start_time: str | None = None
    costs: float | None = None
    cpu: str | None = None
    memory: str | None = None
    duration: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A downloaded and verified result file.

    Attributes
    ----------
    path
        Relative to the output folder, with "/".
    size, checksum
        Bytes, and the SHA-256 in hex, of the file as it was downloaded.
    item
        STAC item that describes it.
    """

    path: str
    size: int
    checksum: str
    item: Mapping[str, Any] = field(hash=False)


# ------------------------------------------------------------------------------------------ events
# What happened. A field that has the name of a job's field is copied into it; the table below says
# the next state.


@dataclass(frozen=True, slots=True)
class Intended:
    """The job is about to be created; stored before the request is made."""

    backend: str
    mark: str
    intended_at: str


@dataclass(frozen=True, slots=True)
class Created:
    """The back-end answered with a job id."""

    id: str


@dataclass(frozen=True, slots=True)
class Found(Created):
    """A job with the intent's mark exists: the answer was lost, the job was not."""


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """The user's callback returned no job."""


@dataclass(frozen=True, slots=True)
class NotMade(_Failure):
    """The back-end certainly has no such job, and asking again may help."""


@dataclass(frozen=True, slots=True)
class CreationFailed(_Failure):
    """Asking again would not help; `id` is that of a job which the callback made but lost."""

    id: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerLost(_Failure):
    """The creation was asked for; whether it happened is not known."""


@dataclass(frozen=True, slots=True)
class StartFailed(_Failure):
    """The back-end refused to start the job."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The back-end's word for how the job stands, and what else it says: fields of the job."""

    word: str
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Vanished(_Failure):
    """The back-end no longer knows the job."""


@dataclass(frozen=True, slots=True)
class Unreachable(_Failure):
    """The back-end did not answer properly; nothing is known that was not known before."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """All result files are in place."""

    files: tuple[SavedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchFailed(_Failure):
    """Result files are missing for good, or have no safe place."""


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """Files are not what was downloaded: an action was cut short, or somebody touched them."""


@dataclass(frozen=True, slots=True)
class Processed:
    """The user's action is done; `items` go to the catalogue."""

    items: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)


@dataclass(frozen=True, slots=True)
class ProcessingFailed(_Failure):
    """The user's action raised."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The user wants the job made anew: all that was known of the old one is forgotten."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The user wants the post-processing tried again."""


Event: TypeAlias = (
    # fmt: off
    Intended
    | Created
    | Found
    | Skipped
    | NotMade
    | CreationFailed
    | AnswerLost
    | StartFailed
    | Seen
    | Vanished
    | Unreachable
    | Fetched
    | FetchFailed
    | FilesChanged
    | Processed
    | ProcessingFailed
    | Restarted
    | Resumed
    # fmt: on
)

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
    changes: dict[str, Any] = {"message": None}
    changes.update({f.name: getattr(event, f.name) for f in fields(event) if f.name in _FIELDS})
    if isinstance(event, Seen):
        changes.update(event.facts)
    if isinstance(event, Intended):
        changes["attempts"] = job.attempts + 1
    return changes


_FIELDS = frozenset(f.name for f in fields(Job))
_FORGOTTEN = _FIELDS - {"row", "status", "backend"}


# ----------------------------------------------------------------------------------------- actions


@dataclass(frozen=True, slots=True)
class _Action:
    job: Job


@dataclass(frozen=True, slots=True)
class Create(_Action):
    """Ask the user's callback for a job on `backend`. Answers with any event of CREATING."""

    backend: str


@dataclass(frozen=True, slots=True)
class Search(_Action):
    """Look for the job with the intent's mark: Found, NotMade or Unreachable."""


@dataclass(frozen=True, slots=True)
class Start(_Action):
    """Start the job unless it runs already."""


@dataclass(frozen=True, slots=True)
class Poll(_Action):
    """Ask how the job stands."""


@dataclass(frozen=True, slots=True)
class Fetch(_Action):
    """Download and verify the result files."""


@dataclass(frozen=True, slots=True)
class Process(_Action):
    """Run the user's action on the files."""


Action: TypeAlias = Create | Search | Start | Poll | Fetch | Process

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
