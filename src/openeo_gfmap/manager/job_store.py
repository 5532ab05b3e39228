"""Where jobs are remembered: what the job manager needs of a store.

Two stores do: `openeo_gfmap.manager.sqlite_store`, which outlives the process, and
`openeo_gfmap.manager.memory_store`, its twin for tests and for runs that nobody wants to resume.

A store is written by one thread only, in transactions: after a kill it holds either all of a batch
of events or none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from openeo_gfmap.manager.ledger import Sample, SampleState
from openeo_gfmap.manager.lifecycle import Job, SavedFile

__all__ = ["SENSOR", "Item", "JobStore", "Record"]

#: Note: sensor of the samples whose row names none.
SENSOR = "sensor"

#: A STAC item as a dictionary.
Item: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A row of the user's table.

    Attributes
    ----------
    label
        Label in the index of the user's DataFrame.
    values
        The user's columns, as JSON types (see `openeo_gfmap.manager.rows`).
    """

    label: Any
    values: Mapping[str, Any]


class JobStore(Protocol):
    """What the job manager needs of a store."""

    def jobs(self) -> list[Job]:
        """Return all jobs, by row."""

    def columns(self) -> list[str]:
        """Return the user's column names in their order."""

    def record(self, row: int) -> Record:
        """Return the user's part of a row."""

    def records(self) -> Iterator[Record]:
        """Iterate over the user's part of all rows, by row."""

    def files(self, row: int) -> tuple[SavedFile, ...]:
        """Return the files that were downloaded for a row."""

    def items(self) -> Iterator[tuple[int, Item]]:
        """Iterate over the catalogue: row and item, by row and position."""

    def count_items(self) -> int:
        """Return how many items the catalogue holds."""

    def transaction(self) -> AbstractContextManager[None]:
        """Bundle writes: after a kill, all of them hold or none."""

    def add(self, columns: Sequence[str], rows: Iterable[tuple[Job, Record]]) -> int:
        """Append rows with the samples they are to bring, return how many.

        `columns` are the user's columns from now on.
        """

    def save(self, job: Job) -> None:
        """Write a job's state."""

    def set_files(self, row: int, files: Iterable[SavedFile]) -> None:
        """Replace what is known of a row's files."""

    def set_items(self, row: int, items: Iterable[Item]) -> None:
        """Replace a row's items in the catalogue."""

    def samples(self) -> Iterator[Sample]:
        """Iterate over the samples of all rows, by row and feature."""

    def samples_of(self, row: int) -> tuple[Sample, ...]:
        """Return the samples of a row, by feature."""

    def set_samples(self, row: int, samples: Iterable[Sample]) -> None:
        """Replace what is known of the samples of a row; their order is that of their features."""

    def states(self) -> dict[SampleState, int]:
        """Return how many samples are in each state that occurs."""

    def keep(self, job: Job) -> None:
        """Remember a failed job of a row that is about to get a new one."""

    def past(self, row: int) -> tuple[Job, ...]:
        """Return the earlier jobs of a row, oldest first."""

    def past_jobs(self) -> Iterator[Job]:
        """Iterate over the earlier jobs of all rows."""

    def note(self, key: str, value: str) -> None:
        """Remember a text."""

    def noted(self, key: str) -> str | None:
        """Return a remembered text."""

    def close(self) -> None:
        """Release the store."""

    def reopen(self) -> JobStore:
        """Return the store, which was closed, to read from again."""
