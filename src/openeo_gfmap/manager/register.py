"""The jobs of a run, in memory and in the store: events in, one transaction a batch."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from openeo_gfmap.manager import _log, ledger
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.costs import CostBook
from openeo_gfmap.manager.dispatch import Dispatcher
from openeo_gfmap.manager.intact import KnownFile, defects
from openeo_gfmap.manager.job_store import JobStore, Record
from openeo_gfmap.manager.ledger import SampleState, Sums
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.policy import decide
from openeo_gfmap.manager.rows import merge, wanted_backend

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FAILED", "UNSUCCESSFUL", "Register", "open_book"]

#: States that the retry policy, and a user who restarts failed jobs, may lead out of.
FAILED = frozenset({JobStatus.ERROR, JobStatus.CANCELED, JobStatus.START_FAILED})

#: States that somebody should look at: these, and that of a job whose post-processing raised.
UNSUCCESSFUL = FAILED | {JobStatus.POSTPROCESSING_ERROR}

_RECIPE = "recipe"  # column of the user's table


class Register:
    """All jobs as they stand.

    Parameters
    ----------
    store : JobStore
        Remembers them.
    options : ManagerOptions
        The policies.
    backends : sequence of str
        Those that were added.
    desk : Dispatcher
        Is told of each change.

    Attributes
    ----------
    jobs
        By row.
    counts
        Jobs in each state.
    book
        What the jobs have cost.
    ids
        Those of all jobs that were made on each back-end, also of past ones.
    """

    def __init__(
        self, store: JobStore, options: ManagerOptions, backends: Sequence[str], desk: Dispatcher
    ):
        self._store = store
        self._policy = options.retry
        self._backends = tuple(backends)
        self._desk = desk
        self.jobs: list[Job] = []
        self.counts: Counter[JobStatus] = Counter()
        self._states = Counter(store.states())
        self._moved: Counter[SampleState] = Counter()  # by the batch that is being written
        self.book = open_book(store, options.max_costs)
        self._unpriced: set[str] = set()  # back-ends that do not say what jobs cost
        self.ids: defaultdict[str, set[str]] = defaultdict(set)
        for past in store.past_jobs():
            self._know(past)
        for job in store.jobs():
            self._enter(job)

    def _enter(self, job: Job) -> None:
        self.jobs.append(job)
        self.counts[job.status] += 1
        self.book.add(job)
        self._know(job)
        self._desk.take_up(job)

    def _know(self, job: Job) -> None:
        if job.id:
            self.ids[str(job.backend)].add(job.id)

    @property
    def done(self) -> int:
        """Jobs in a final state."""
        return sum(self.counts[status] for status in life.FINAL)

    def add(self, df: pd.DataFrame) -> int:
        """Add the rows of a table that are not there yet; return how many those are.

        Raises
        ------
        InputError
            When a row has the label of another one that is there.
        """
        merge(self._store, df)
        known = len(self.jobs)
        for job in self._store.jobs()[known:]:
            _name_recipe(self.book, job.row, self._store.record(job.row))
            self._enter(job)
        self._states = Counter(self._store.states())
        return len(self.jobs) - known

    @property
    def sums(self) -> Sums:
        """Samples in each state."""
        return Sums.of(self._states)

    # -------------------------------------------------------------------------------------- events

    def apply(self, events: Iterable[tuple[int, life.Event]]) -> None:
        """Change jobs and store by a batch of events, and by what the policy says of them.

        All of it holds after a kill, or nothing.

        Raises
        ------
        OSError
            When the disk is full.
        """
        steps: list[tuple[Job, life.Event, Job]] = []
        latest: dict[int, Job] = {}
        rests: list[tuple[int, float]] = []
        events = list(events)
        if not events:
            return
        self._moved.clear()
        with self._store.transaction():
            for row, event in events:
                old = latest.get(row, self.jobs[row])
                new = self._step(old, event)
                steps.append((old, event, new))
                if new.status in FAILED and new.status is not old.status:
                    remedy = decide(self._policy, new, self._store.past(row), self._backends)
                    if remedy is not None:
                        rests.append((row, self._policy.wait(new)))
                        steps.append((new, remedy, self._step(new, remedy)))
                        new = steps[-1][2]
                latest[row] = new
        self._account(steps)
        for row, job in latest.items():
            before, self.jobs[row] = self.jobs[row], job
            self._desk.changed(before, job)
        for row, seconds in rests:
            self._desk.pause(row, seconds)

    def _step(self, old: Job, event: life.Event) -> Job:
        """Write what one event changes."""
        new = life.apply(old, event)
        if isinstance(event, life.NotMade) and not old.retries:
            # Whoever has room may make it now, unless the user said who.
            new = replace(new, backend=wanted_backend(self._store.record(old.row)))
        match event:
            case life.Restarted() | life.Retried():
                self._store.keep(old)
                self._store.set_files(old.row, ())
            case life.Fetched():
                self._store.set_files(old.row, event.files)
                self._store.set_items(old.row, ())
            case life.Processed() | life.ProcessedPartly():
                self._store.set_items(old.row, event.items)
        if new != old:  # most looks at a job find it as it was
            self._store.save(new)
        if ledger.concerns(event, new):
            self._settle_samples(event, new)
        return new

    def _settle_samples(self, event: life.Event, job: Job) -> None:
        """Write what an event says of the samples of its job."""
        before = self._store.samples_of(job.row)
        now = ledger.after(before, event, job)
        if now == before:
            return
        self._store.set_samples(job.row, now)
        self._moved.subtract(sample.state for sample in before)
        self._moved.update(sample.state for sample in now)

    def _account(self, steps: Sequence[tuple[Job, life.Event, Job]]) -> None:
        """Keep the sums, and say what happened."""
        self._states.update(self._moved)
        for position, (old, event, new) in enumerate(steps):
            self.counts[old.status] -= 1
            self.counts[new.status] += 1
            self.book.change(old, new)
            self._know(new)
            remedied = position + 1 < len(steps) and steps[position + 1][0] is new
            if position and steps[position - 1][2] is old:
                self._tell_remedy(old, event, new)
            elif not remedied:
                self._tell(old, new)

    def _tell(self, old: Job, new: Job) -> None:
        """Say what became of a job, once."""
        if new.status is old.status:
            return
        if new.status is JobStatus.FINISHED and new.costs is None:
            self._tell_unpriced(new)
        if new.status in FAILED or new.status is JobStatus.POSTPROCESSING_ERROR:
            reason = new.message or "no reason given"
            _log.error("%s: %s: %s", _named(new), new.status.value, reason)
        else:
            _log.debug("%s is %s (on back-end %s).", _named(new), new.status.value, new.backend)

    def _tell_unpriced(self, job: Job) -> None:
        """Say that a limit does not hold where nobody says what jobs cost; once a back-end."""
        backend = str(job.backend)
        if self.book.limit is None or backend in self._unpriced:
            return
        self._unpriced.add(backend)
        _log.warning(
            "%s does not say what job %s has cost: max_costs does not hold what is spent there. "
            "Look at its own accounts.",
            backend, job.id,
        )  # fmt: skip

    def _tell_remedy(self, failed: Job, event: life.Event, new: Job) -> None:
        """Say that a job failed, and what the policy does about it."""
        again = isinstance(event, life.FetchAgain)
        how = "its files are fetched again" if again else f"made again{_differently(failed, new)}"
        _log.warning(
            "%s: %s: %s; %s (attempt %d of %d).",
            _named(failed), failed.kind or failed.status.value, failed.message or "no reason given",
            how, new.retries + 1, self._policy.max_attempts,
        )  # fmt: skip

    # ------------------------------------------------------------------------------- what is there

    def stranded(self) -> list[str]:
        """Return the back-ends with jobs that go on, which were not added."""
        open_ = (job for job in self.jobs if job.status not in life.FINAL)
        there = {str(job.backend) for job in open_ if job.status is not JobStatus.NOT_STARTED}
        return sorted(there.difference(self._backends))

    def lost(self, output_dir: Path, *, checksums: bool = False) -> dict[int, frozenset[str]]:
        """Return by row the files of finished jobs that are not as the catalogue says.

        With checksums, all files are read.
        """
        lost: defaultdict[int, set[str]] = defaultdict(set)
        owners: list[tuple[int, str]] = []
        files: list[KnownFile] = []
        for row, item in self._store.items():
            for asset in item["assets"].values():
                href = str(asset["href"])
                if "://" not in href:
                    size, checksum = asset.get("file:size"), asset.get("file:checksum")
                    owners.append((row, href))
                    files.append(KnownFile(output_dir / href, size, checksum))
        if checksums:
            _log.info("Reading %d files for their checksums.", len(files))
        for (row, href), defect in zip(owners, defects(files, checksums=checksums), strict=True):
            if defect:
                lost[row].add(href)
        return {row: frozenset(paths) for row, paths in lost.items()}


def open_book(store: JobStore, limit: float | None = None) -> CostBook:
    """Return a book with the earlier jobs of all rows, which knows the rows' recipes."""
    book = CostBook(limit=limit)
    if _RECIPE in store.columns():
        for row, record in enumerate(store.records()):
            _name_recipe(book, row, record)
    for past in store.past_jobs():
        book.add_past(past)
    return book


def _name_recipe(book: CostBook, row: int, record: Record) -> None:
    recipe = record.values.get(_RECIPE)
    if isinstance(recipe, str) and recipe:
        book.name(row, recipe)


def _named(job: Job) -> str:
    return f"Job {job.id} of row {job.row}" if job.id else f"Row {job.row}"


def _differently(old: Job, new: Job) -> str:
    """Say what is other about the next attempt."""
    before, after = json.loads(old.overrides or "{}"), json.loads(new.overrides or "{}")
    larger = [f"{name} {value}" for name, value in after.items() if before.get(name) != value]
    parts = [f" with {', '.join(larger)}"] if larger else []
    if new.backend != old.backend:
        parts.append(f" on {new.backend}")
    return "".join(parts)
