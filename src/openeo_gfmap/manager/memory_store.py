"""The store in memory, which ends with the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from openeo_gfmap.manager.job_store import SENSOR, Item, Record
from openeo_gfmap.manager.ledger import Sample, SampleState, initial
from openeo_gfmap.manager.lifecycle import Job, SavedFile

__all__ = ["MemoryJobStore"]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class MemoryJobStore:
    """A `JobStore` that ends with the process; it keeps what the other one keeps."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._records: dict[int, Record] = {}
        self._columns: dict[str, list[str]] = {}
        self._files: dict[int, tuple[SavedFile, ...]] = {}
        self._items: dict[int, tuple[Item, ...]] = {}
        self._past: dict[int, tuple[Job, ...]] = {}
        self._samples: dict[int, tuple[Sample, ...]] = {}
        self._notes: dict[str, str] = {}
        self._undo: list[Callable[[], object]] | None = None

    def jobs(self) -> list[Job]:
        """Return all jobs, by row."""
        return [self._jobs[row] for row in sorted(self._jobs)]

    def columns(self) -> list[str]:
        """Return the user's column names in their order."""
        return list(self._columns.get("", ()))

    def record(self, row: int) -> Record:
        """Return the user's part of a row."""
        return self._records[row]

    def records(self) -> Iterator[Record]:
        """Iterate over the user's part of all rows, by row."""
        return (self._records[row] for row in sorted(self._records))

    def files(self, row: int) -> tuple[SavedFile, ...]:
        """Return the files that were downloaded for a row."""
        return self._files.get(row, ())

    def items(self) -> Iterator[tuple[int, Item]]:
        """Iterate over the catalogue: row and item, by row and position."""
        return ((row, item) for row in sorted(self._items) for item in self._items[row])

    def count_items(self) -> int:
        """Return how many items the catalogue holds."""
        return sum(map(len, self._items.values()))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Bundle writes: an exception undoes all of them."""
        self._undo = []
        try:
            yield
        except BaseException:
            for undo in reversed(self._undo):
                undo()
            raise
        finally:
            self._undo = None

    def _put(self, table: dict[_Key, _Value], key: _Key, value: _Value) -> None:
        """Set a value so that a transaction can take it back."""
        if self._undo is not None:
            if key in table:
                self._undo.append(partial(table.__setitem__, key, table[key]))
            else:
                self._undo.append(partial(table.pop, key, None))
        table[key] = value

    def add(self, columns: Sequence[str], rows: Iterable[tuple[Job, Record]]) -> int:
        """Append rows with the samples they are to bring, return how many."""
        self._put(self._columns, "", list(columns))
        sensor = self.noted(SENSOR) or ""
        added = 0
        for job, record in rows:
            added += 1
            self._put(self._jobs, job.row, job)
            self._put(self._records, job.row, record)
            self.set_samples(job.row, initial(job, record.label, record.values, sensor))
        return added

    def save(self, job: Job) -> None:
        """Write a job's state."""
        self._put(self._jobs, job.row, job)

    def set_files(self, row: int, files: Iterable[SavedFile]) -> None:
        """Replace what is known of a row's files."""
        self._put(self._files, row, tuple(files))

    def set_items(self, row: int, items: Iterable[Item]) -> None:
        """Replace a row's items in the catalogue."""
        self._put(self._items, row, tuple(items))

    def samples(self) -> Iterator[Sample]:
        """Iterate over the samples of all rows, by row and feature."""
        return (sample for row in sorted(self._samples) for sample in self._samples[row])

    def samples_of(self, row: int) -> tuple[Sample, ...]:
        """Return the samples of a row, by feature."""
        return self._samples.get(row, ())

    def set_samples(self, row: int, samples: Iterable[Sample]) -> None:
        """Replace what is known of the samples of a row."""
        self._put(self._samples, row, tuple(samples))

    def states(self) -> dict[SampleState, int]:
        """Return how many samples are in each state that occurs."""
        return dict(Counter(sample.state for sample in self.samples()))

    def keep(self, job: Job) -> None:
        """Remember a failed job of a row that is about to get a new one."""
        self._put(self._past, job.row, (*self.past(job.row), job))

    def past(self, row: int) -> tuple[Job, ...]:
        """Return the earlier jobs of a row, oldest first."""
        return self._past.get(row, ())

    def past_jobs(self) -> Iterator[Job]:
        """Iterate over the earlier jobs of all rows."""
        return (job for row in sorted(self._past) for job in self._past[row])

    def note(self, key: str, value: str) -> None:
        """Remember a text."""
        self._put(self._notes, key, value)

    def noted(self, key: str) -> str | None:
        """Return a remembered text."""
        return self._notes.get(key)

    def close(self) -> None:
        """Do nothing: it goes with the process."""

    def reopen(self) -> MemoryJobStore:
        """Return itself: closing changes nothing."""
        return self
