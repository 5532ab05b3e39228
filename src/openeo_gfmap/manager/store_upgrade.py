"""Stores of earlier versions, brought to the layout of this one.

===== =======================================================================
 1, 2  files and items a row each; of 1, columns of jobs are missing
 3     also samples a row each, in an account that was never out
 4     files, items and samples of a job in one row each
===== =======================================================================
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from itertools import groupby
from typing import TYPE_CHECKING

from openeo_gfmap.manager.ledger import Sample, expected_samples, recovered
from openeo_gfmap.manager.lifecycle import Job, SavedFile
from openeo_gfmap.manager.packing import unpack

if TYPE_CHECKING:
    from openeo_gfmap.manager.job_store import JobStore

__all__ = ["OldTables"]


class OldTables:
    """The tables of an earlier version, moved out of the way of the new ones of the same names.

    Parameters
    ----------
    db : sqlite3.Connection
        In a transaction; what is left out of `into` is dropped at its end.
    """

    def __init__(self, db: sqlite3.Connection):
        self._db = db
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        db.execute("DROP TABLE IF EXISTS samples")
        self._moved = [name for name in ("files", "items") if name in there]
        for name in self._moved:
            db.execute(f"ALTER TABLE {name} RENAME TO old_{name}")

    def into(self, store: JobStore) -> None:
        """Copy all of it into a store with the new tables."""
        self._add_columns()
        if "files" in self._moved:
            found = self._db.execute(
                "SELECT row, path, size, checksum, item FROM old_files ORDER BY row, position"
            )
            for row, files in groupby(found.fetchall(), key=lambda each: each[0]):
                store.set_files(row, (SavedFile(p, n, c, unpack(i)) for _, p, n, c, i in files))
        if "items" in self._moved:
            found = self._db.execute("SELECT row, item FROM old_items ORDER BY row, position")
            for row, items in groupby(found.fetchall(), key=lambda each: each[0]):
                store.set_items(row, [unpack(item) for _, item in items])
        for row, samples in _accounts(store):
            store.set_samples(row, samples)
        for name in self._moved:
            self._db.execute(f"DROP TABLE old_{name}")

    def _add_columns(self) -> None:
        """Give the jobs the columns that came since."""
        there = {name for _, name, *_ in self._db.execute("PRAGMA table_info(jobs)")}
        for field in fields(Job):
            if field.name not in there:
                default = getattr(Job(0), field.name)
                self._db.execute(
                    f"ALTER TABLE jobs ADD COLUMN {field.name} DEFAULT "
                    f"{'NULL' if default is None else int(default)}"
                )


def _accounts(store: JobStore) -> Iterator[tuple[int, tuple[Sample, ...]]]:
    """Iterate over the rows with what their states and items say of their samples."""
    found = {row: [i for _, i in each] for row, each in groupby(store.items(), lambda e: e[0])}
    for job in store.jobs():
        record = store.record(job.row)
        samples = expected_samples(job.row, record.label, record.values)
        yield job.row, tuple(recovered(samples, job, found.get(job.row, [])))
