"""Which jobs a plan needs to look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.lifecycle import Job, JobStatus

__all__ = ["Board"]


class Board:
    """The jobs that a plan needs to know of, found without looking at all the others.

    Of the jobs that wait to be started only the first few can be started now; the rest, and those
    in a final state, need not be looked at after every event.
    """

    def __init__(self, jobs: Iterable[Job], parallel_jobs: Mapping[str, int]):
        self._parallel_jobs = parallel_jobs
        self._most = sum(parallel_jobs.values())
        self._open: dict[int, Job] = {}
        self._waiting: dict[str | None, dict[int, Job]] = {None: {}}
        for name in parallel_jobs:
            self._waiting[name] = {}
        for job in jobs:
            self.put(job)

    def put(self, job: Job) -> None:
        """Take note of a job's state."""
        queue_name = job.backend if job.backend in self._parallel_jobs else None
        for waiting in self._waiting.values():
            waiting.pop(job.row, None)
        self._open.pop(job.row, None)
        if job.status is JobStatus.NOT_STARTED:
            self._waiting[queue_name][job.row] = job
        elif job.status not in life.FINAL:
            self._open[job.row] = job

    def candidates(self, held: frozenset[int]) -> list[Job]:
        """Return the open jobs, and of the waiting ones as many as could be started."""
        jobs = list(self._open.values())
        for waiting in self._waiting.values():
            free = (job for row, job in waiting.items() if row not in held)
            jobs += islice(free, self._most)
        return sorted(jobs, key=lambda job: job.row)
