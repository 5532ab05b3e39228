"""The words of the life cycle: a job, its states, what can happen to it, what can be done with it.

Frozen values only; what they mean together is in `openeo_gfmap.manager.lifecycle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeAlias

from openeo_gfmap.manager.kinds import ErrorKind


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
        How often its creation was asked for in vain while the back-end answered.
    title, description, start_time, costs, cpu, memory, duration
        What the back-end says of the job; None when it does not.
    message, kind
        Why the job is in a failed state, or was not made yet, and the kind of error.
    attempt
        Number of this job among those that were made for the row, from 1.
    retries
        How many of them the retry policy asked for since the user last did.
    options, overrides
        Job options as they were sent, and those of them that the retry policy changed; JSON.
    running_since
        When the back-end was first seen to run it; ISO 8601, UTC.
    missing
        Which of its files cannot be had, and why, while the others are seen through.
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
    kind: str | None = None
    attempt: int = 1
    retries: int = 0
    options: str | None = None
    overrides: str | None = None
    running_since: str | None = None
    missing: str | None = None

    def _repr_html_(self) -> str:
        from openeo_gfmap.utils.html import facts_table, told  # noqa: PLC0415

        known = ((field.name, getattr(self, field.name)) for field in fields(self))
        return facts_table((name, told(value)) for name, value in known if value is not None)


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
    """The back-end answered with a job id; `options` are the job options it was sent, as JSON."""

    id: str
    options: str | None = None


@dataclass(frozen=True, slots=True)
class Found(Created):
    """A job with the intent's mark exists: the answer was lost, the job was not."""


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    kind: ErrorKind | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """The user's callback returned no job."""


@dataclass(frozen=True, slots=True)
class NotMade(_Failure):
    """The back-end certainly has no such job, and asking again may help.

    `outage` tells whether it did not answer properly; `retry_after` are the seconds that it asked
    for.
    """

    outage: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class CreationFailed(_Failure):
    """Asking again would not help; `id` is that of a job which the callback made but lost."""

    id: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerLost(_Failure):
    """The creation was asked for; whether it happened is not known."""

    outage: bool = True
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class StartFailed(_Failure):
    """The back-end refused to start the job."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The back-end's word for how the job stands, and what else it says: fields of the job."""

    word: str
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    message: str | None = None
    kind: ErrorKind | None = None


@dataclass(frozen=True, slots=True)
class Vanished(_Failure):
    """The back-end no longer knows the job."""


@dataclass(frozen=True, slots=True)
class TimedOut(_Failure):
    """It ran longer than it may, and was cancelled."""

    costs: float | None = None


@dataclass(frozen=True, slots=True)
class Unreachable(_Failure):
    """Nothing is known that was not known before.

    `outage` tells whether the back-end did not answer properly, or there is only nothing to see
    yet; `retry_after` are the seconds that it asked for.
    """

    outage: bool = True
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Absence:
    """A sample of which no file is in place.

    Attributes
    ----------
    feature
        Its geometry index; None for each sample of the job, where files are no sample's own.
    reason
        Why.
    rejected
        Whether its file came, but was not good enough.
    path
        Where a rejected file lies, relative to the output folder.
    """

    feature: int | None
    reason: str
    rejected: bool = False
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result files are in place; `missing` says which are not, for good, and why.

    `features` are the geometry indices of the files, where their names tell them; `absent` are the
    samples without a file; `kind` is set where some are missing.
    """

    files: tuple[SavedFile, ...] = ()
    missing: str | None = None
    kind: ErrorKind | None = field(default=None, kw_only=True)
    features: tuple[int, ...] = ()
    absent: tuple[Absence, ...] = ()


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
class ProcessedPartly(_Failure):
    """The user's action is done on the files that there are; `items` go to the catalogue."""

    items: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)


@dataclass(frozen=True, slots=True)
class ProcessingFailed(_Failure):
    """The user's action raised, or took too long."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The user wants the job made anew; the old one is kept as a past attempt."""


@dataclass(frozen=True, slots=True)
class Retried:
    """The retry policy wants the job made anew, there and with those job options changed."""

    backend: str | None
    overrides: str | None = None


@dataclass(frozen=True, slots=True)
class FetchAgain:
    """The results are still on the back-end: only the download is to be done again."""


@dataclass(frozen=True, slots=True)
class FilesLost:
    """Files of a finished job are no longer there, and are wanted back; `paths` says which."""

    paths: frozenset[str] = frozenset()


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
    | TimedOut
    | Unreachable
    | Fetched
    | FetchFailed
    | FilesChanged
    | FilesLost
    | Processed
    | ProcessedPartly
    | ProcessingFailed
    | Restarted
    | Retried
    | FetchAgain
    | Resumed
    # fmt: on
)


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
class Cancel(_Action):
    """End a job that takes too long: TimedOut, or Seen when it was quicker."""


@dataclass(frozen=True, slots=True)
class Fetch(_Action):
    """Download and verify the result files."""


@dataclass(frozen=True, slots=True)
class Process(_Action):
    """Run the user's action on the files."""


Action: TypeAlias = Create | Search | Start | Poll | Cancel | Fetch | Process
