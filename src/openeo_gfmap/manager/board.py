"""Which jobs can go on now, found without looking at all the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import islice
from typing import TypeAlias

from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.lifecycle import Job, JobStatus

__all__ = ["Board", "Need"]


class Need(Enum):
    """What a job waits for."""

    MAKE = "make"
    SEARCH = "search"
    START = "start"
    LOOK = "look"
    FETCH = "fetch"
    PROCESS = "process"


_NEEDS: Mapping[JobStatus, Need] = {
    JobStatus.NOT_STARTED: Need.MAKE,
    JobStatus.CREATING: Need.SEARCH,
    JobStatus.CREATED: Need.START,
    JobStatus.QUEUED: Need.LOOK,
    JobStatus.RUNNING: Need.LOOK,
    JobStatus.DOWNLOADING: Need.FETCH,
    JobStatus.POSTPROCESSING: Need.PROCESS,
}

_Queue: TypeAlias = tuple[Need, str | None]


class Board:
    """The jobs by what they wait for; each change costs the same, however many jobs there are.

    Parameters
    ----------
    backends : iterable of str
        Those that were added. A job that exists on another one is not seen through.

    Attributes
    ----------
    active, started
        Jobs that take a place on each back-end; of these, those that it was told to run.
    waiting, under_way
        Jobs that are still to be made; those that exist and are not at their end.
    """

    def __init__(self, backends: Iterable[str]):
        self._backends = frozenset(backends)
        self._jobs: dict[int, Job] = {}  # those that are not at their end
        self._queues: dict[_Queue, dict[int, Job]] = {}  # of these, those that nothing holds
        self.active: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.waiting = 0

    @property
    def under_way(self) -> int:
        """Jobs that exist, or may exist, and are not at their end."""
        return len(self._jobs) - self.waiting

    def put(self, job: Job) -> None:
        """Take note of a job's state: it can go on."""
        self._take_out(job.row)
        need = _NEEDS.get(job.status)
        if need is None or (need is not Need.MAKE and job.backend not in self._backends):
            return
        self._jobs[job.row] = job
        self._count(job, 1)
        self.free(job.row)

    def _take_out(self, row: int) -> None:
        self.hold(row)
        old = self._jobs.pop(row, None)
        if old is not None:
            self._count(old, -1)

    def _count(self, job: Job, by: int) -> None:
        if job.status is JobStatus.NOT_STARTED:
            self.waiting += by
        elif job.status in life.ACTIVE:
            self.active[str(job.backend)] += by
            self.started[str(job.backend)] += by * (_NEEDS[job.status] is Need.LOOK)

    def hold(self, row: int) -> None:
        """Keep a job from going on: an action on it is under way, or it rests."""
        job = self._jobs.get(row)
        if job is not None:
            self._queues.get(self._queue(job), {}).pop(row, None)

    def free(self, row: int) -> None:
        """Let a job go on, after those that wait for the same."""
        job = self._jobs.get(row)
        if job is not None:
            self._queues.setdefault(self._queue(job), {})[row] = job

    def _queue(self, job: Job) -> _Queue:
        need = _NEEDS[job.status]
        if need is Need.PROCESS:
            return need, None  # needs nothing of the back-end
        return need, job.backend if job.backend in self._backends else None

    def first(self, need: Need, backend: str | None, most: int | None = None) -> list[Job]:
        """Return the jobs that have waited longest for something that a back-end is to do.

        Without a back-end those that wait for any of them.
        """
        queue = self._queues.get((need, backend), {})
        return list(islice(queue.values(), most))

    def count(self, need: Need, backend: str | None) -> int:
        """Return how many jobs wait for something, and nothing holds them."""
        return len(self._queues.get((need, backend), ()))
