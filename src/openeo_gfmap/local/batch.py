"""The queue of batch jobs: starts each in a child, watches it, and picks up after a restart.

Everything here runs in the server's event loop, so no two steps of it overlap; only waiting and
work on files is given away. What a job is, is in the store; what its processes are, is told by
the lock in its folder (see :mod:`child`). So the server can be killed at any moment:

- a job whose child still runs is watched on by the next server,
- one whose child has finished meanwhile gets its result,
- one whose child is gone as well is queued again, up to `MAX_INTERRUPTIONS` times.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .child import Child, Limits, Stopped, adopt, start, supervise
from .errors import OpenEOError
from .fair import Turns
from .joblog import JobLog, rfc3339
from .nursery import Nursery
from .run import (
    WORKER,
    Ending,
    discard_results,
    discard_stored,
    memory_limit,
    prepare,
    read_ending,
    read_progress,
    read_workers,
)
from .settings import Settings
from .store import Job, JobStore

__all__ = ["MAX_INTERRUPTIONS", "BatchQueue", "Running"]

_log = logging.getLogger(__name__)

#: A job that has vanished together with the server more often than this is given up: it may well
#: be what brings the machine down.
MAX_INTERRUPTIONS = 2

_CANCELED = Stopped("JobCanceled", "The job was canceled.")
_SHUT_DOWN = Stopped("ServerStopped", "The server was stopped.")


@dataclass
class _ProgressNote:
    """Store a job's progress when it has changed."""

    store: JobStore
    job_id: str
    folder: Path
    last: float = 0

    def look(self) -> None:
        """Take over what the job's process has written."""
        percent = read_progress(self.folder)
        if percent != self.last:
            self.last = percent
            self.store.update(self.job_id, progress=percent)


@dataclass
class Running:
    """A job at work.

    Attributes
    ----------
    job
        As it was when it started.
    folder
        Where it works.
    child
        Its processes; None for the moment until they are there.
    """

    job: Job
    folder: Path
    child: Child | None

    @property
    def memory(self) -> int:
        """Bytes that its processes use."""
        return self.child.usage.memory if self.child else 0

    def describe(self) -> dict[str, Any]:
        """Return what is worth knowing, as plain JSON types."""
        usage = self.child.usage if self.child else None
        return {
            "progress": read_progress(self.folder),
            "seconds": round(usage.duration, 1) if usage else 0.0,
            "pid": self.child.group if self.child else None,
            "processes": usage.processes if usage else 0,
            "memory": self.memory,
            "cpu_seconds": round(usage.cpu, 1) if usage else 0.0,
            "cluster": read_workers(self.folder) or None,
        }


class BatchQueue:
    """Runs the queued jobs of a store, a few at a time.

    Attributes
    ----------
    server
        Root URL of this server; file URLs that start with it mean the workspace.
    graph_of
        Gives the process graph of a job's process, with user-defined processes written out.
    nursery
        Where the processes of jobs come from.
    """

    def __init__(self, store: JobStore, settings: Settings):
        self.server = ""
        self.graph_of: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _graph_of
        self._store = store
        self._settings = settings
        self.nursery = Nursery()
        self._turns = Turns(settings.user_jobs)
        self._running: dict[str, Running] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, asyncio.Future[Stopped]] = {}
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether any job runs; a queued one always has a running one before it."""
        return bool(self._tasks)

    @property
    def running(self) -> list[Running]:
        """The jobs at work, those that have been longest first."""
        return list(self._running.values())

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self._settings.folder.jobs / job_id

    def log(self, job: Job) -> JobLog:
        """Return the log of a job."""
        return JobLog(self.folder(job.id) / "log.jsonl", job.log_level)

    def recover(self) -> None:
        """Take up what the server before this one left, then start what is queued."""
        for job in self._store.with_status(["running"]):
            child = adopt(self.folder(job.id))
            if child:
                self.log(job)("info", "The server was restarted; the job kept running meanwhile.")
                self._launch(job, child)
                continue
            ending = read_ending(self.folder(job.id), None, None)
            if ending.result is not None or ending.logged:
                self._finish(job, ending, None)
            elif job.interrupted >= MAX_INTERRUPTIONS:
                self.log(job)(
                    "error",
                    f"The job was interrupted {job.interrupted + 1} times together with the "
                    "server, and is given up. It may need more memory than this machine has.",
                    "JobCrashed",
                )
                self._update(job, status="error")
            else:
                self.log(job)(
                    "warning", "The job was interrupted together with the server; it starts anew."
                )
                self._update(job, status="queued", progress=0, interrupted=job.interrupted + 1)
        self._start_waiting()

    def submit(self, job: Job) -> None:
        """Queue a job; no effect on one that is queued or running already."""
        if job.status in ("queued", "running"):
            return
        # Now, not when it starts: results of an earlier run must never pass for those of this one.
        discard_results(self.folder(job.id))
        self._store.enqueue(job.id, rfc3339())
        self.log(job)("info", "The job was queued.")
        self._start_waiting()

    async def cancel(self, job: Job) -> None:
        """End a queued or running job and wait for its end; no effect on any other."""
        task = self._tasks.get(job.id)
        if task is not None:
            self._request_stop(job.id, _CANCELED)
            # Shielded: a client that goes away must not cut short the bookkeeping.
            await asyncio.shield(task)
        elif job.status == "queued":
            self.log(job)("info", _CANCELED.message)
            self._update(job, status="canceled")

    async def delete(self, job: Job) -> None:
        """End a job if need be, and remove it with everything it left."""
        await self.cancel(job)
        await asyncio.to_thread(discard_stored, self.folder(job.id))
        self._store.delete(job.id)
        await asyncio.to_thread(shutil.rmtree, self.folder(job.id), ignore_errors=True)

    async def stop(self) -> None:
        """End all children; their jobs go on, from their start, with the next server."""
        self._stopping = True
        for job_id in self._tasks:
            self._request_stop(job_id, _SHUT_DOWN)
        await asyncio.gather(*self._tasks.values())
        self.nursery.close()

    def _request_stop(self, job_id: str, reason: Stopped) -> None:
        stop = self._stops[job_id]
        if not stop.done():
            stop.set_result(reason)

    def _start_waiting(self) -> None:
        """Start queued jobs, as long as there is room for one more."""
        while not self._stopping and self._has_room():
            at_work = [running.job for running in self._running.values()]
            job = self._turns.next(self._store.heads(), at_work)
            if job is None:
                return
            self._update(job, status="running", started=rfc3339())
            self._launch(job, None)

    def _has_room(self) -> bool:
        if len(self._tasks) >= self._settings.parallel_jobs:
            return False
        # What is used, not what is allowed: most jobs need a fraction of what they may have.
        used = sum(running.memory for running in self._running.values())
        return not used or used + self._settings.job_share <= self._settings.memory

    def _launch(self, job: Job, child: Child | None) -> None:
        self._stops[job.id] = asyncio.get_running_loop().create_future()
        self._running[job.id] = Running(job, self.folder(job.id), child)
        self._tasks[job.id] = asyncio.create_task(self._run(job, child))

    async def _run(self, job: Job, child: Child | None) -> None:
        """Run one job from its start, or from wherever an adopted child is, to its end."""
        stop = self._stops[job.id]
        memory = memory_limit(job.options, self._settings)
        folder = self.folder(job.id)
        try:
            if child is None:
                graph = await asyncio.to_thread(self.graph_of, self._store.process(job.id))
                await asyncio.to_thread(
                    prepare, folder, graph, self._settings,
                    servers=(self.server, job.server), memory=memory, log_level=job.log_level,
                    batch=True,
                )  # fmt: skip
                self.log(job)("info", "The job starts.")
                child = start(folder, WORKER, self.nursery)
                self._running[job.id].child = child
            _log.info("Job %s runs", job.id)
            limits = Limits(memory, self._settings.job_seconds)
            note = _ProgressNote(self._store, job.id, folder)

            def look() -> None:
                note.look()
                self._start_waiting()  # there may be room since memory was freed

            stopped = await supervise(child, limits, stop, look)
            if stopped is _SHUT_DOWN:
                self.log(job)("warning", f"{_SHUT_DOWN.message} The job starts anew with it.")
                self._update(job, status="queued", progress=0)
                return
            ending = await asyncio.to_thread(read_ending, folder, child, stopped)
            if stopped is _CANCELED:
                await asyncio.to_thread(self._discard_stored, job)
            self._finish(job, ending, child)
        except OpenEOError as error:  # a user-defined process that is gone since
            self._finish(job, Ending(error=error), child)
        except Exception as error:  # noqa: BLE001 - a full disk, no more processes, or a bug:
            # the job must reach its end, and the server must go on with the others.
            if child is not None:
                await asyncio.to_thread(child.kill)
            _log.error("Job %s could not be run", job.id, exc_info=error)
            self._update(job, status="error")
            self._say(job, "error", f"The server could not run the job: {error}.", "Internal")
        finally:
            del self._tasks[job.id], self._stops[job.id], self._running[job.id]
            self._start_waiting()

    def _discard_stored(self, job: Job) -> None:
        try:
            discard_stored(self.folder(job.id))
        except OpenEOError as error:
            # Not the user's concern: it is tried again when the job is started or deleted.
            _log.warning("Results of job %s are left over: %s", job.id, error)

    def _finish(self, job: Job, ending: Ending, child: Child | None) -> None:
        """Log how a job ended and store its final state, in this order: readers poll the state."""
        canceled = ending.error is not None and ending.error.code == _CANCELED.code
        if ending.output:
            self._say(job, "info", f"Output of the job's process:\n{ending.output}")
        if ending.error is not None and not ending.logged:
            level = "info" if canceled else "error"
            self._say(job, level, ending.error.message, ending.error.code)
        usage = child.usage.as_openeo(ending.cpu) if child else {}
        _log.info("Job %s ended%s", job.id, f": {ending.error.code}" if ending.error else "")
        if canceled:
            discard_results(self.folder(job.id))
            self._update(job, status="canceled", usage=usage)
        elif ending.error is not None:
            self._update(job, status="error", usage=usage)
        else:
            count = len((ending.result or {}).get("assets", ()))
            self._say(job, "info", f"The job finished with {count} result files.")
            self._update(job, status="finished", progress=100, usage=usage)
        shutil.rmtree(self.folder(job.id) / "scratch", ignore_errors=True)

    def _say(self, job: Job, level: str, message: str, code: str | None = None) -> None:
        try:
            self.log(job)(level, message, code)
        except OSError as error:
            # A disk that is full must not keep a job from reaching its end.
            _log.error("The log of job %s cannot be written", job.id, exc_info=error)

    def _update(self, job: Job, **changes: object) -> None:
        self._store.update(job.id, updated=rfc3339(), **changes)


def _graph_of(process: Mapping[str, Any]) -> Mapping[str, Any]:
    graph: Mapping[str, Any] = process["process_graph"]
    return graph
