"""A run as its folder shows it: read only, also while another process is at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import run_notes, tracker_lock
from openeo_gfmap.manager.costs import Costs
from openeo_gfmap.manager.job_store import Item, Record
from openeo_gfmap.manager.ledger import Sample, Sums
from openeo_gfmap.manager.model import Job
from openeo_gfmap.manager.register import open_book
from openeo_gfmap.manager.sqlite_store import SqliteJobStore
from openeo_gfmap.utils.html import facts_table

__all__ = ["RunFolder"]

_STORE = ".sqlite"
_USUAL = "job_tracker.csv"


class RunFolder:
    """What is known of a run, from the store beside its tracker.

    Nothing is written. Each method reads anew, so a run that goes on can be watched. Use it in a
    ``with`` statement, or `close` it.

    Parameters
    ----------
    output_dir : path
        The output folder of the run.
    tracker : path, optional
        Its tracker; by default ``job_tracker.csv`` in the folder, or else the only one there.

    Attributes
    ----------
    output_dir, tracker
        As absolute paths.

    Raises
    ------
    InputError
        When there is no tracker, or several, or the store is none of ours.
    """

    def __init__(self, output_dir: str | Path, tracker: str | Path | None = None):
        self.output_dir = Path(output_dir).absolute()
        self.tracker = Path(tracker).absolute() if tracker else _find(self.output_dir)
        self._store = SqliteJobStore(
            self.tracker.with_name(self.tracker.name + _STORE), read_only=True
        )

    def jobs(self) -> list[Job]:
        """Return all jobs, by row."""
        return self._store.jobs()

    def past_jobs(self) -> Iterator[Job]:
        """Iterate over the earlier jobs of all rows, which failed and were made again."""
        return self._store.past_jobs()

    def attempts(self, row: int) -> list[Job]:
        """Return all jobs that were made for a row, oldest first; the last is as it stands now.

        Raises
        ------
        InputError
            When there is no such row.
        """
        jobs = self._store.jobs()
        if not 0 <= row < len(jobs):
            raise InputError(f"there is no row {row}; the tracker has rows 0 to {len(jobs) - 1}.")
        return [*self._store.past(row), jobs[row]]

    def columns(self) -> list[str]:
        """Return the columns of the user's table."""
        return self._store.columns()

    def record(self, row: int) -> Record:
        """Return the user's part of a row."""
        return self._store.record(row)

    def records(self) -> Iterator[Record]:
        """Iterate over the user's part of all rows, by row."""
        return self._store.records()

    def samples(self) -> Iterator[Sample]:
        """Iterate over the account of all samples, by row and feature."""
        return self._store.samples()

    def sums(self) -> Sums:
        """Return how many samples are in each state."""
        return Sums.of(self._store.states())

    def items(self) -> Iterator[tuple[int, Item]]:
        """Iterate over the catalogue: row and item; addresses are relative to the output folder."""
        return self._store.items()

    def count_items(self) -> int:
        """Return how many items the catalogue holds."""
        return self._store.count_items()

    def costs(self) -> Costs:
        """Return what the jobs have cost, and what the rest may cost."""
        book = open_book(self._store)
        for job in self._store.jobs():
            book.add(job)
        return book.summary()

    def asked(self) -> dict[str, Any]:
        """Return what was noted of the run: settings, versions, and when it was begun and ended.

        ``runs`` has one entry for each time that it was run, the last one without ``ended`` while
        it goes on or when it was killed.
        """
        return run_notes.noted(self._store)

    def holder(self) -> str | None:
        """Return which process runs the jobs now; None for none."""
        return tracker_lock.holder(self.tracker.with_name(self.tracker.name + ".lock"))

    def running(self) -> bool:
        """Whether a process runs the jobs now."""
        return self.holder() is not None

    def _repr_html_(self) -> str:
        states = Counter(job.status.shown for job in self.jobs())
        facts = [
            ("Samples", str(self.sums())),
            ("Jobs", ", ".join(f"{count} {state}" for state, count in states.items()) or "none"),
            ("Run now by", self.holder() or "nobody"),
        ]
        return facts_table(facts, str(self.output_dir))

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _find(folder: Path) -> Path:
    """Return the tracker in an output folder.

    Raises
    ------
    InputError
        When it is not clear which.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the output folder of a run.")
    usual = folder / _USUAL
    if usual.with_name(usual.name + _STORE).is_file():
        return usual
    found = sorted(path.with_suffix("") for path in folder.glob(f"*.csv{_STORE}"))
    if not found:
        raise InputError(
            f"{folder} holds no tracker ({_USUAL}{_STORE}); name the output folder of a run, or "
            "its tracker."
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder} holds several trackers ({names}); name one.")
    return found[0]
