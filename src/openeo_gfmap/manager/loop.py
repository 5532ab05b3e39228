"""The loop of a run: the only thread that touches jobs and the store."""

from __future__ import annotations

import errno
import queue
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from openeo_gfmap.manager import _log
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.answers import seconds_since
from openeo_gfmap.manager.board import Board
from openeo_gfmap.manager.display import Display, Progress, make_display
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.pool import Pool
from openeo_gfmap.manager.results import Claims, place
from openeo_gfmap.manager.tasks import Task
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.manager.worker import Worker

__all__ = ["Loop"]

_Outcome: TypeAlias = tuple[Task, life.Event | Exception]

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FAILED = frozenset({JobStatus.ERROR, JobStatus.CANCELED, JobStatus.START_FAILED})
_VIEW_SHARE = 0.05  # of the time may go into rewriting the CSV
_VIEW_INTERVAL = 1.0  # seconds, at least


class Loop:
    """Drives all jobs of a tracker to a final state.

    Parameters
    ----------
    tracker : Tracker
        Open tracker.
    worker : Worker
        Performs the actions.
    parallel_jobs : mapping of str to int
        Most active jobs of each back-end.
    options : ManagerOptions
        Numbers of threads, patience.
    poll_sleep : float
        Seconds between two looks at a job.
    processing_threads : int
        Jobs that are post-processed at once.
    display : Display, optional
        Shows how the run stands.
    """

    def __init__(
        self,
        tracker: Tracker,
        worker: Worker,
        parallel_jobs: Mapping[str, int],
        *,
        options: ManagerOptions,
        poll_sleep: float,
        processing_threads: int,
        display: Display | None = None,
    ):
        self._tracker = tracker
        self._store = tracker.store
        self._worker = worker
        self._parallel_jobs = dict(parallel_jobs)
        self._options = options
        self._poll_sleep = poll_sleep
        self._display = display or make_display()
        self._jobs = self._store.jobs()
        self._counts = Counter(job.status for job in self._jobs)
        self._board = Board(self._jobs, self._parallel_jobs)
        self._events: queue.SimpleQueue[_Outcome | None] = queue.SimpleQueue()
        self._in_flight: dict[int, Task] = {}
        self._rest_until: dict[int, float] = {}
        self._failures: Counter[int] = Counter()
        self._down: dict[str, str] = {}  # back-ends that fail, and how
        self._view_due = 0.0
        self._samples = self._store.count_items()
        self._stopping = False
        self._fatal: Exception | None = None
        requests: Pool[Task] = Pool("requests", options.request_threads or 8, self._perform)
        fetches: Pool[Task] = Pool("downloads", options.download_threads, self._perform)
        processing: Pool[Task] = Pool("processing", processing_threads, self._perform)
        self._pools: Mapping[type[Any], Pool[Task]] = {
            life.Create: requests,
            life.Search: requests,
            life.Start: requests,
            life.Poll: requests,
            life.Cancel: requests,
            life.Fetch: fetches,
            life.Process: processing,
        }

    # ------------------------------------------------------------------------------------- before

    def prepare(self, claims: Claims, *, restart_failed: bool, resume_postproc: bool) -> None:
        """Turn the user's wishes for old jobs into events, and remember whose files are whose."""
        events: list[tuple[int, life.Event]] = []
        for job in self._jobs:
            if restart_failed and job.status in _FAILED:
                events.append((job.row, life.Restarted()))
            elif resume_postproc and job.status is JobStatus.POSTPROCESSING_ERROR:
                events.append((job.row, life.Resumed()))
            elif not resume_postproc and job.status is JobStatus.POSTPROCESSING:
                reason = "cut off in an earlier run; run with resume_postproc=True to take it up"
                events.append((job.row, life.ProcessingFailed(reason)))
            for file in self._store.files(job.row):
                claims.take(job.row, place(self._worker.output_dir, file.path))
        self._apply(events)
        stranded = {
            str(job.backend)
            for job in self._jobs
            if job.status not in life.FINAL
            and job.status is not JobStatus.NOT_STARTED
            and job.backend not in self._parallel_jobs
        }
        if stranded:
            _log.warning(
                "Jobs of an earlier run are on %s, which was not added: they stay as they are. "
                "Call add_backend for it to see them through.",
                ", ".join(sorted(stranded)),
            )

    @property
    def stopped(self) -> bool:
        """Whether the user asked for the end."""
        return self._stopping

    @property
    def farewell(self) -> str:
        """What a user who stopped the run should know."""
        remote = [job for job in self._jobs if job.status in life.ACTIVE and job.id]
        there = ", ".join(sorted({str(job.backend) for job in remote}))
        still = f" Jobs that go on on {there}: {len(remote)}." if remote else ""
        return f"Stopped as you asked; nothing is lost.{still} Run the same again to resume."

    def stop(self) -> None:
        """Begin nothing new; safe to call from a signal handler."""
        self._stopping = True
        self._events.put(None)

    # ------------------------------------------------------------------------------------- running

    def run(self) -> dict[str, int]:
        """Run until nothing is left to do; return how many jobs are in each status."""
        started = time.monotonic()
        before = (self._done(), self._samples)
        told_to_stop = False
        _log.info("%d jobs, %d of them done.", len(self._jobs), before[0])
        self._write_view(force=True)
        try:
            with self._display as display:
                while True:
                    if self._stopping and not told_to_stop:
                        told_to_stop = True
                        self._withdraw()
                    self._launch()
                    display.update(self._progress(started, *before))
                    waiting = self._rest_until and not self._stopping
                    if not self._in_flight and not waiting:
                        break
                    self._apply_outcomes(self._collect())
                    self._write_view()
        finally:
            for pool in set(self._pools.values()):
                pool.close()
            if self._fatal is None:
                self._write_view(force=True)
        if self._fatal is not None:
            raise self._fatal
        counts = Counter(job.status.shown for job in self._jobs)
        _log.info("%s", self.farewell if self._stopping else f"Done: {dict(counts)}.")
        return dict(counts)

    def _launch(self) -> None:
        """Hand out what is to be done now."""
        now = time.monotonic()
        for row in [row for row, until in self._rest_until.items() if until <= now]:
            del self._rest_until[row]
        held = frozenset(self._in_flight.keys() | self._rest_until.keys())
        limits = life.Limits(self._parallel_jobs, held=held, stopping=self._stopping)
        actions = life.plan(self._board.candidates(held), limits)
        # The intents are on disk before the first request is sent.
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._apply(
            (action.job.row, life.Intended(action.backend, uuid.uuid4().hex, at))
            for action in actions
            if isinstance(action, life.Create)
        )
        for action in actions:
            job = self._jobs[action.job.row]
            if isinstance(action, life.Create):
                action = life.Create(job, action.backend)  # noqa: PLW2901 - with the intent
            task = Task(
                action,
                self._store.record(job.row),
                files=self._store.files(job.row) if isinstance(action, life.Process) else (),
                known_ids=(
                    frozenset(j.id for j in self._jobs if j.id)
                    if isinstance(action, life.Search)
                    else frozenset()
                ),
                tries=self._failures[job.row],
                waited=seconds_since(job.intended_at),
            )
            self._in_flight[job.row] = task
            self._pools[type(action)].submit(task)

    def _perform(self, task: Task) -> None:
        """Run an action in a pool's thread."""
        try:
            event = self._worker.perform(task)
        except BaseException as error:  # noqa: BLE001 - the run goes on without this job, also when
            # a callback wants to exit: a thread that ended would keep the run waiting for ever.
            _log.debug("%s raised:\n%s", type(task.action).__name__, traceback.format_exc())
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                self._events.put((task, error))
                return
            event = _unexpected(task.action, error)
        self._events.put((task, event))

    def _collect(self) -> list[_Outcome]:
        """Wait for outcomes, at most until a job has rested or the CSV is due."""
        now = time.monotonic()
        until = min([*self._rest_until.values(), now + _VIEW_INTERVAL])
        outcomes = []
        try:
            got = self._events.get(timeout=max(0.0, until - now))
            while True:
                if got is not None:
                    outcomes.append(got)
                got = self._events.get_nowait()
        except queue.Empty:
            return outcomes

    def _withdraw(self) -> None:
        """Take back what no thread has begun."""
        _log.info("Stopping: what is in hand is finished first; Ctrl-C again stops at once.")
        undone: list[tuple[int, life.Event]] = []
        for pool in set(self._pools.values()):
            for task in pool.withdraw():
                job = task.action.job
                del self._in_flight[job.row]
                if isinstance(task.action, life.Create):
                    undone.append((job.row, life.NotMade("stopped before it was created")))
        self._apply(undone)

    # -------------------------------------------------------------------------------------- events

    def _apply_outcomes(self, outcomes: list[_Outcome]) -> None:
        events: list[tuple[int, life.Event]] = []
        for task, event in outcomes:
            row = task.action.job.row
            self._in_flight.pop(row, None)
            if isinstance(event, Exception):
                # The job stays as it is stored, and is taken up there when there is room.
                self._fatal = event
                self._stopping = True
                continue
            self._pace(task, event)
            events.append((row, event))
        self._apply(events)

    def _pace(self, task: Task, event: life.Event) -> None:
        """Decide when the job is looked at next."""
        row, now = task.action.job.row, time.monotonic()
        backend = str(task.action.job.backend)
        if isinstance(event, life.Unreachable | life.NotMade):
            self._failures[row] += 1
            doubled = self._poll_sleep * 2.0 ** min(self._failures[row] - 1, 20)
            self._rest_until[row] = now + min(self._options.longest_wait, doubled)
            if isinstance(event, life.Unreachable) and event.outage:
                if backend not in self._down:
                    _log.warning("%s: %s. Trying again.", backend, event.message)
                self._down[backend] = event.message
            return
        self._failures.pop(row, None)
        if backend in self._down and not isinstance(task.action, life.Create | life.Process):
            del self._down[backend]
            _log.info("%s answers again.", backend)
        if isinstance(event, life.Seen) and event.word not in ("finished", "error", "canceled"):
            self._rest_until[row] = now + self._poll_sleep

    def _apply(self, events: Iterable[tuple[int, life.Event]]) -> None:
        """Change jobs and store by a batch of events, in one transaction."""
        events = list(events)
        if not events:
            return
        changed: dict[int, Job] = {}
        with self._store.transaction():
            for row, event in events:
                job = life.apply(changed.get(row, self._jobs[row]), event)
                changed[row] = job
                self._store.save(job)
                match event:
                    case life.Fetched():
                        self._store.set_files(row, event.files)
                        self._store.set_items(row, ())
                    case life.Processed() | life.ProcessedPartly():
                        self._store.set_items(row, event.items)
                    case life.Restarted():
                        self._store.keep(self._jobs[row])
                        self._store.set_files(row, ())
        # Counted along, since to ask the store for all of them takes longer with every job. A job
        # has none before it is processed, and is processed once.
        self._samples += sum(
            len(e.items) for _, e in events if isinstance(e, life.Processed | life.ProcessedPartly)
        )
        for row, job in changed.items():
            self._tell(self._jobs[row], job)
            self._counts[self._jobs[row].status] -= 1
            self._counts[job.status] += 1
            self._jobs[row] = job
            self._board.put(job)

    def _tell(self, old: Job, new: Job) -> None:
        """Say what became of a job, once."""
        if new.status is old.status:
            return
        name = f"Job {new.id} of row {new.row}" if new.id else f"Row {new.row}"
        if new.status in _FAILED or new.status is JobStatus.POSTPROCESSING_ERROR:
            _log.error("%s: %s: %s", name, new.status.value, new.message or "no reason given")
        else:
            _log.debug("%s is %s (on back-end %s).", name, new.status.value, new.backend)

    # ---------------------------------------------------------------------------------------- view

    def _write_view(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now >= self._view_due:
            self._tracker.write_view(self._jobs)
            took = time.monotonic() - now
            self._view_due = now + max(_VIEW_INTERVAL, took / _VIEW_SHARE)

    def _done(self) -> int:
        return sum(self._counts[status] for status in life.FINAL)

    def _progress(self, started: float, done: int, samples: int) -> Progress:
        return Progress(
            counts={status: count for status, count in self._counts.items() if count},
            samples=self._samples,
            new_samples=self._samples - samples,
            new_jobs=self._done() - done,
            seconds=time.monotonic() - started,
            message=self._message(),
        )

    def _message(self) -> str:
        if self._stopping:
            return "Stopping: what is in hand is finished first. Ctrl-C again stops at once."
        if self._down:
            reasons = (f"{backend}: {reason}" for backend, reason in sorted(self._down.items()))
            return f"Trying again. {'; '.join(reasons)}"
        return ""


def _unexpected(action: life.Action, error: BaseException) -> life.Event:
    """Return what an action's failure means that it did not foresee."""
    message = f"{type(action).__name__} failed unexpectedly: {type(error).__name__}: {error}"
    match action:
        case life.Create():
            return life.AnswerLost(message)
        case life.Fetch():
            return life.FetchFailed(message)
        case life.Process():
            return life.ProcessingFailed(message)
        case _:
            return life.Unreachable(message)
