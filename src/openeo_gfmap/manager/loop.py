"""The loop of a run: the only thread that touches jobs and the store."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Container, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import _log
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.costs import Costs
from openeo_gfmap.manager.cpus import on_one_cpu
from openeo_gfmap.manager.crew import Crew, Outcome, threads_of
from openeo_gfmap.manager.disk import SHUT
from openeo_gfmap.manager.dispatch import Dispatcher
from openeo_gfmap.manager.display import Display, make_display
from openeo_gfmap.manager.kinds import FILES_LACK
from openeo_gfmap.manager.lifecycle import JobStatus
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.places import ParallelJobs
from openeo_gfmap.manager.progress import Progress, amount
from openeo_gfmap.manager.register import FAILED, Register
from openeo_gfmap.manager.results import Claims, places
from openeo_gfmap.manager.site import make_site
from openeo_gfmap.manager.tasks import Task
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.manager.worker import Worker

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Loop"]

_VIEW_SHARE = 0.02  # of the time may go into rewriting the CSV
_VIEW_INTERVAL = 1.0  # seconds, at least
_IDS_TOLD = 5
_CANCELLING = 8  # threads
_RECENT = 64  # rows of the user's table that are kept in memory


class Loop:
    """Drives all jobs of a tracker to a final state.

    Parameters
    ----------
    tracker : Tracker
        Open tracker.
    worker : Worker
        Performs the actions.
    parallel_jobs : mapping of str to int or callable
        Most active jobs of each back-end.
    options : ManagerOptions
        Numbers of threads, patience, policies.
    poll_sleep : float
        Fewest seconds between two looks at a job.
    processing_threads : int
        Jobs that are post-processed at once.
    display : Display, optional
        Shows how the run stands.
    """

    def __init__(
        self,
        tracker: Tracker,
        worker: Worker,
        parallel_jobs: Mapping[str, ParallelJobs],
        *,
        options: ManagerOptions,
        poll_sleep: float,
        processing_threads: int,
        display: Display | None = None,
    ):
        self._tracker = tracker
        self._worker = worker
        self._options = options
        self._display = display or make_display()
        self._sites = {
            name: make_site(name, number, options, poll_sleep)
            for name, number in parallel_jobs.items()
        }
        self._crew = Crew(worker, threads_of(parallel_jobs, options, processing_threads))
        self._desk = Dispatcher(
            self._sites, self._crew, clock=time.monotonic, job_seconds=options.job_seconds
        )
        self._register = Register(tracker.store, options, tuple(parallel_jobs), self._desk)
        # The same for several actions in a row; unpacked once.
        self._record = lru_cache(maxsize=_RECENT)(tracker.store.record)
        self._view_due = 0.0
        self._stopping = False
        self._hint = ""
        self._broke = False  # told that no more may be spent
        self._fatal: OSError | None = None
        self._gate = threading.Lock()  # held while rows come in, or the last have come
        self._closed = False
        self._began = time.monotonic()
        self._before = (self._register.done, self._register.sums.received)
        #: How the run stands; replaced as a whole, for other threads to read.
        self.progress = self._progress()

    # ------------------------------------------------------------------------------------- before

    def prepare(
        self, claims: Claims, *, restart_failed: bool | Container[int], resume_postproc: bool
    ) -> None:
        """Turn the user's wishes for old jobs into events, and remember whose files are whose."""
        some = range(0) if isinstance(restart_failed, bool) else restart_failed
        register, output_dir = self._register, self._worker.output_dir
        wanted = self._options.refetch_lost
        lost = register.lost(output_dir, checksums=wanted == "checksum") if wanted else {}
        events: list[tuple[int, life.Event]] = []
        for job in register.jobs:
            if (restart_failed is True or job.row in some) and job.status in FAILED:
                # Where only files are missing, the job itself is done and paid for.
                fetch = job.kind in FILES_LACK and job.status is JobStatus.ERROR and job.id
                events.append((job.row, life.FetchAgain() if fetch else life.Restarted()))
            elif resume_postproc and job.status is JobStatus.POSTPROCESSING_ERROR:
                events.append((job.row, life.Resumed()))
            elif not resume_postproc and job.status is JobStatus.POSTPROCESSING:
                reason = "cut off in an earlier run; run with resume_postproc=True to take it up"
                events.append((job.row, life.ProcessingFailed(reason)))
            elif job.row in lost and job.status is JobStatus.FINISHED:
                events.append((job.row, life.FilesLost(lost[job.row])))
            paths = [file.path for file in self._tracker.store.files(job.row)]
            for path in places(output_dir, paths):
                claims.take(job.row, path)
        register.apply(events)
        if lost:
            _log.warning("Files of %d jobs are lost or changed: they are fetched again.", len(lost))
        if stranded := register.stranded():
            _log.warning(
                "Jobs of an earlier run are on %s, which was not added: they stay as they are. "
                "Call add_backend for it to see them through.",
                ", ".join(stranded),
            )

    def away(self, name: str, reason: str) -> None:
        """Note that a back-end does not answer as the run begins: its jobs wait for it."""
        self._sites[name].health.away(reason, time.monotonic())

    # ------------------------------------------------------------------------- from other threads

    def stop(self, hint: str = "") -> None:
        """Begin nothing new; safe to call from a signal handler and from any thread.

        `hint` tells the user what else can be done.
        """
        self._hint = hint
        self._stopping = True
        self._crew.wake()

    def add(self, df: pd.DataFrame) -> int:
        """Add rows from another thread; return how many are new.

        Raises
        ------
        InputError
            When a row has the label of another one that is there, or the run is over.
        """
        added: Future[int] = Future()

        def enter() -> None:
            try:
                added.set_result(self._register.add(df))
            except Exception as error:  # noqa: BLE001 - it is raised where the rows come from
                added.set_exception(error)

        with self._gate:
            if self._closed or self._stopping:
                raise InputError(
                    "the run is over, or about to be: no rows can be added to it. Run again with "
                    "them, on the same tracker."
                )
            self._crew.ask(enter)
        return added.result()

    @property
    def stopped(self) -> bool:
        """Whether the user asked for the end."""
        return self._stopping and self._fatal is None

    @property
    def costs(self) -> Costs:
        """What the jobs have cost so far."""
        return self._register.book.summary()

    @property
    def farewell(self) -> str:
        """What a user who stopped the run should know."""
        remote = [job for job in self._register.jobs if job.status in life.ACTIVE and job.id]
        still = ""
        if remote:
            there = Counter(str(job.backend) for job in remote)
            where = ", ".join(f"{count} on {name}" for name, count in sorted(there.items()))
            ids = ", ".join(str(job.id) for job in remote[:_IDS_TOLD])
            more = ", …" if len(remote) > _IDS_TOLD else ""
            still = f" Jobs that go on there: {where} ({ids}{more})."
        return f"Stopped as you asked; nothing is lost.{still} Run the same again to resume."

    # ------------------------------------------------------------------------------------- running

    def run(self) -> dict[str, int]:
        """Run until nothing is left to do; return how many jobs are in each status.

        Raises
        ------
        OSError
            When the disk is full.
        """
        self._began = time.monotonic()
        self._before = (self._register.done, self._register.sums.received)
        told_to_stop = False
        _log.info("%d jobs, %d of them done.", len(self._register.jobs), self._before[0])
        self._write_view(force=True)
        try:
            with self._display as display, on_one_cpu():
                while True:
                    if self._stopping and not told_to_stop:
                        told_to_stop = True
                        _log.info("%s", self._message())
                    self._launch()
                    self.progress = self._progress()
                    display.update(self.progress)
                    if self._is_over():
                        break
                    self._settle(self._crew.receive(self._pause()))
                    self._write_view()
        finally:
            with self._gate:
                self._closed = True
            self._crew.receive(0)  # who adds rows still waits for an answer
            self._crew.dismiss()
        if self._fatal is None:
            self._write_view(force=True)
        if self._fatal is not None:
            raise self._fatal
        return self._conclude()

    def cancel(self, reason: str) -> list[str]:
        """Cancel the jobs that are queued or running, instead of running on; return their ids."""

        def end(job: life.Job) -> life.Event:
            event = self._worker.end(self._task(life.Poll(job)))
            if isinstance(event, life.Seen) and event.word == JobStatus.CANCELED.value:
                return replace(event, message=reason)
            return event

        waiting = (JobStatus.QUEUED, JobStatus.RUNNING)
        jobs = [job for job in self._register.jobs if job.status in waiting]
        try:
            with ThreadPoolExecutor(_CANCELLING) as pool:
                events = list(pool.map(end, jobs))
        finally:
            self._crew.dismiss()
        self._register.apply((job.row, event) for job, event in zip(jobs, events, strict=True))
        self._write_view(force=True)
        for job, event in zip(jobs, events, strict=True):
            if isinstance(event, life.Unreachable):
                _log.warning("Job %s goes on: %s.", job.id, event.message)
        ended = (self._register.jobs[job.row] for job in jobs)
        return [str(job.id) for job in ended if job.status is JobStatus.CANCELED]

    def _is_over(self) -> bool:
        """Tell whether nothing is left to do; then no rows can be added any more."""
        if not self._desk.at_end(launching=self._may_launch, stopping=self._stopping):
            return False
        with self._gate:
            # Rows that came in since are seen to first.
            self._closed = not self._crew.asked
            return self._closed

    @property
    def _may_launch(self) -> bool:
        return self._register.book.affordable != 0

    def _conclude(self) -> dict[str, int]:
        """Say how it ended."""
        counts: Counter[str] = Counter()
        for status, count in self._register.counts.items():
            if count:
                counts[status.shown] += count
        if self._stopping:
            _log.info("%s", self.farewell)
        elif self._desk.waiting:
            _log.warning(
                "Done as far as max_costs allows: %s. Rows that were not begun: %d. Run the same "
                "again with a higher max_costs to go on.",
                dict(counts), self._desk.waiting,
            )  # fmt: skip
        else:
            _log.info("Done: %s.", dict(counts))
        return dict(counts)

    def _launch(self) -> None:
        """Hand out what is to be done now."""
        launching = self._may_launch
        if not launching and not self._broke and self._desk.waiting:
            self._broke = True
            _log.warning("%s", self._budget())
        actions = self._desk.plan(
            launching=launching, stopping=self._stopping, most=self._register.book.affordable
        )
        # The intents are on disk before the first request is sent.
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._register.apply(
            (action.job.row, life.Intended(action.backend, uuid.uuid4().hex, at))
            for action in actions
            if isinstance(action, life.Create)
        )
        self._desk.send(actions, self._task)

    def _task(self, action: life.Action) -> Task:
        job = self._register.jobs[action.job.row]
        if isinstance(action, life.Create):
            action = replace(action, job=job)  # with the intent
        return Task(
            action,
            self._record(job.row),
            files=self._tracker.store.files(job.row) if isinstance(action, life.Process) else (),
            known_ids=self._register.ids[str(job.backend)],
            tries=self._desk.tries(job.row),
            waited=self._desk.waited(job.row),
        )

    def _pause(self) -> float:
        """Return how long to wait for outcomes: until a job has rested, or the CSV is due."""
        due = self._desk.next_due()
        return _VIEW_INTERVAL if due is None else min(_VIEW_INTERVAL, due - time.monotonic())

    def _settle(self, outcomes: list[Outcome]) -> None:
        """Take in what came back."""
        events: list[tuple[int, life.Event]] = []
        for outcome in outcomes:
            if outcome.fatal is not None:
                # The job stays as it is stored, and is taken up there when there is room.
                self._fatal = outcome.fatal
                self._stopping = True
            events += [(task.action.job.row, event) for task, event in outcome.events]
        self._register.apply(events)
        for outcome in outcomes:
            self._desk.note(outcome, self._register.jobs)

    # ---------------------------------------------------------------------------------------- view

    def _write_view(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and (now < self._view_due or self._fatal is not None):
            return
        try:
            self._tracker.write_view(self._register.jobs)
        except OSError as error:
            if error.errno not in SHUT:
                raise
            self._fatal = error
            self._stopping = True
        took = time.monotonic() - now
        self._view_due = now + max(_VIEW_INTERVAL, took / _VIEW_SHARE)

    def _progress(self) -> Progress:
        register, (done, received) = self._register, self._before
        sums = register.sums
        return Progress(
            counts={status: count for status, count in register.counts.items() if count},
            samples=sums,
            new_samples=sums.received - received,
            new_jobs=register.done - done,
            seconds=time.monotonic() - self._began,
            costs=self.costs,
            message=self._message(),
        )

    def _message(self) -> str:
        if self._stopping:
            return f"Stopping: what is in hand is finished first. {self._hint}".rstrip()
        now = time.monotonic()
        lines = [line for site in self._sites.values() if (line := site.trouble(now))]
        return "\n".join([*lines, self._budget()] if self._broke else lines)

    def _budget(self) -> str:
        costs = self.costs
        return (
            f"No more jobs are made: {amount(costs.spent)} of at most {amount(costs.limit or 0)} "
            f"spent; rows left: {self._desk.waiting}."
        )
