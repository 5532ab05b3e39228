"""The store in a SQLite file, which is the truth of a run.

One small row a job in ``jobs``, which is all that a change of state touches; the user's columns
with their geometries lie apart in ``payload``. These, and what a job has of files, items and
samples, are compressed JSON in one row each.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.job_store import SENSOR, Item, Record
from openeo_gfmap.manager.ledger import Sample, SampleState, initial
from openeo_gfmap.manager.lifecycle import Job, JobStatus, SavedFile
from openeo_gfmap.manager.packing import (
    Kept,
    pack,
    pack_files,
    pack_items,
    pack_samples,
    unpack,
    unpack_files,
    unpack_items,
    unpack_samples,
)
from openeo_gfmap.manager.store_upgrade import OldTables

__all__ = ["SqliteJobStore"]

_VERSION = 4
_COLUMNS = tuple(f.name for f in fields(Job))
_values = attrgetter(*_COLUMNS)  # astuple copies each of them
_STATES = tuple(state.value for state in SampleState)

_FULL = 1 << 16  # bytes left, with which SQLite cannot work


def _ask_for_room(error: sqlite3.OperationalError, path: Path) -> None:
    """Say of a full disk what the system says of one elsewhere.

    Raises
    ------
    OSError
        With ``ENOSPC``, when the disk is full; SQLite has several words for it.
    """
    code = error.sqlite_errorcode & 0xFF  # the rest says in which file of its own
    is_full = code == sqlite3.SQLITE_FULL or (
        code == sqlite3.SQLITE_IOERR and shutil.disk_usage(path.parent).free < _FULL
    )
    if is_full:
        message = "the disk of the tracker is full; make room and run the same again"
        raise OSError(errno.ENOSPC, message, str(path)) from error


_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    {_COLUMNS[0]} INTEGER PRIMARY KEY,
    {", ".join(_COLUMNS[1:])}
);
CREATE TABLE IF NOT EXISTS past (
    {", ".join(_COLUMNS)}, PRIMARY KEY (row, attempt)
);
CREATE TABLE IF NOT EXISTS payload (
    row INTEGER PRIMARY KEY, label TEXT NOT NULL, record BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS files (
    row INTEGER PRIMARY KEY, entries BLOB
);
CREATE TABLE IF NOT EXISTS items (
    row INTEGER PRIMARY KEY, number INTEGER, entries BLOB
);
CREATE TABLE IF NOT EXISTS samples (
    row INTEGER PRIMARY KEY, {", ".join(f"{state} INTEGER" for state in _STATES)}, entries BLOB
);
"""
# Column names are those of a dataclass of ours, never input.
_VALUES = f"({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_SAVE = f"INSERT OR REPLACE INTO jobs {_VALUES}"
_KEEP = f"INSERT OR REPLACE INTO past {_VALUES}"
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM"
_SET_SAMPLES = (
    f"INSERT OR REPLACE INTO samples "  # noqa: S608 - ours, too
    f"VALUES (?, {', '.join('?' * len(_STATES))}, ?)"
)
_COUNT_SAMPLES = f"SELECT {', '.join(f'SUM({state})' for state in _STATES)} FROM samples"  # noqa: S608

# A change of state writes the page that it is on, so pages are small. What is in the log goes to
# its place when there is more than so much of it: rows that change often go there once.
_PAGE_SIZE = 1024
_LOG_PAGES = 8192


class SqliteJobStore:
    """A `JobStore` in a SQLite file in WAL mode.

    A kill loses nothing; a power cut can lose the last commits, which the next run finds again on
    the back-end.

    Parameters
    ----------
    path : Path
        The file; made when it does not exist.
    read_only : bool
        Look only, also while another process writes: nothing is made, mended or changed.

    Raises
    ------
    InputError
        When the file is not a store, or of a newer version.
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        self.path = path
        self._has_log = self._log_due = False
        if read_only:
            self._db = _open_to_read(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The tracker's lock sees to it that one thread of one process writes.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            if not read_only:
                self._prepare()
            version = int(self.noted("version") or _VERSION)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise InputError(
                f"{path} is not a job store ({error}). Move it away, or name another tracker."
            ) from error
        if version > _VERSION:
            self._db.close()
            raise InputError(
                f"{path} was written by a newer openeo-gfmap (store version {version}, this "
                f"one knows {_VERSION}). Update openeo-gfmap, or name another tracker."
            )
        if version < _VERSION:
            self._db.close()
            raise InputError(
                f"{path} was written by an older openeo-gfmap (store version {version}), "
                "which cannot be looked at as it is; run the jobs on once, which brings it up to "
                "date."
            )
        if not read_only and self._execute("SELECT 1 FROM jobs LIMIT 1").fetchone():
            self._use_log()

    def _prepare(self) -> None:
        """Make the tables of a new store, and bring an older one to this version."""
        self._execute(f"PRAGMA page_size={_PAGE_SIZE}")  # of a file that is new
        with self.transaction():
            version = self._stated_version()
            old = OldTables(self._db) if 0 < version < _VERSION else None
            for statement in _SCHEMA.split(";"):
                self._execute(statement)
            if old is not None:
                old.into(self)
            if version < _VERSION:
                self.note("version", str(_VERSION))

    def _stated_version(self) -> int:
        """Return the version of the file, 0 for a new one."""
        there = self._execute("SELECT 1 FROM sqlite_master WHERE name = 'notes'").fetchone()
        return int(self.noted("version") or 0) if there else 0

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.OperationalError as error:
            _ask_for_room(error, self.path)
            raise

    def _use_log(self) -> None:
        """Have changes appended to a log: what costs least, and survives a kill.

        Not before there are rows: those of a new table would be written twice.
        """
        self._execute("PRAGMA journal_mode=WAL")
        self._execute("PRAGMA synchronous=NORMAL")
        self._execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        self._has_log, self._log_due = True, False

    def jobs(self) -> list[Job]:
        """Return all jobs, by row."""
        return list(map(_job, self._execute(f"{_SELECT} jobs ORDER BY row")))

    def columns(self) -> list[str]:
        """Return the user's column names in their order."""
        return list(json.loads(self.noted("columns") or "[]"))

    def record(self, row: int) -> Record:
        """Return the user's part of a row."""
        label, values = self._execute(
            "SELECT label, record FROM payload WHERE row = ?", (row,)
        ).fetchone()
        return Record(json.loads(label), Kept(values))

    def records(self) -> Iterator[Record]:
        """Iterate over the user's part of all rows, by row."""
        for label, values in self._execute("SELECT label, record FROM payload ORDER BY row"):
            yield Record(json.loads(label), unpack(values))

    def files(self, row: int) -> tuple[SavedFile, ...]:
        """Return the files that were downloaded for a row."""
        found = self._execute("SELECT entries FROM files WHERE row = ?", (row,)).fetchone()
        return unpack_files(found[0]) if found else ()

    def items(self) -> Iterator[tuple[int, Item]]:
        """Iterate over the catalogue: row and item, by row and position."""
        for row, entries in self._execute("SELECT row, entries FROM items ORDER BY row"):
            for item in unpack_items(entries):
                yield row, item

    def count_items(self) -> int:
        """Return how many items the catalogue holds."""
        return int(self._execute("SELECT TOTAL(number) FROM items").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Bundle writes: after a kill, all of them hold or none."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite ends it by itself when the disk is full
                self._execute("ROLLBACK")
            raise
        if self._log_due:
            self._use_log()

    def add(self, columns: Sequence[str], rows: Iterable[tuple[Job, Record]]) -> int:
        """Append rows with the samples they are to bring, return how many."""
        self.note("columns", json.dumps(list(columns)))
        sensor = self.noted(SENSOR) or ""
        added = 0
        for job, record in rows:
            added += 1
            self.save(job)
            self._execute(
                "INSERT INTO payload VALUES (?, ?, ?)",
                (job.row, json.dumps(record.label), pack(record.values)),
            )
            self.set_samples(job.row, initial(job, record.label, record.values, sensor))
        self._log_due = not self._has_log
        return added

    def save(self, job: Job) -> None:
        """Write a job's state."""
        self._execute(_SAVE, _values(job))

    def set_files(self, row: int, files: Iterable[SavedFile]) -> None:
        """Replace what is known of a row's files."""
        files = tuple(files)
        if files:
            self._execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (row, pack_files(files)))
        else:
            self._execute("DELETE FROM files WHERE row = ?", (row,))

    def set_items(self, row: int, items: Iterable[Item]) -> None:
        """Replace a row's items in the catalogue."""
        items = tuple(items)
        if items:
            values = (row, len(items), pack_items(items))
            self._execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", values)
        else:
            self._execute("DELETE FROM items WHERE row = ?", (row,))

    def samples(self) -> Iterator[Sample]:
        """Iterate over the samples of all rows, by row and feature."""
        found = self._execute("SELECT row, entries FROM samples ORDER BY row")
        return (sample for row, entries in found for sample in unpack_samples(row, entries))

    def samples_of(self, row: int) -> tuple[Sample, ...]:
        """Return the samples of a row, by feature."""
        found = self._execute("SELECT entries FROM samples WHERE row = ?", (row,)).fetchone()
        return unpack_samples(row, found[0]) if found else ()

    def set_samples(self, row: int, samples: Iterable[Sample]) -> None:
        """Replace what is known of the samples of a row."""
        samples = tuple(samples)
        counts = Counter(sample.state for sample in samples)
        numbers = (counts[state] for state in SampleState)
        self._execute(_SET_SAMPLES, (row, *numbers, pack_samples(samples)))

    def states(self) -> dict[SampleState, int]:
        """Return how many samples are in each state that occurs."""
        counts = self._execute(_COUNT_SAMPLES).fetchone()
        return {state: n for state, n in zip(SampleState, counts, strict=True) if n}

    def keep(self, job: Job) -> None:
        """Remember a failed job of a row that is about to get a new one."""
        self._execute(_KEEP, _values(job))

    def past(self, row: int) -> tuple[Job, ...]:
        """Return the earlier jobs of a row, oldest first."""
        found = self._execute(f"{_SELECT} past WHERE row = ? ORDER BY attempt", (row,))
        return tuple(map(_job, found))

    def past_jobs(self) -> Iterator[Job]:
        """Iterate over the earlier jobs of all rows."""
        return map(_job, self._execute(f"{_SELECT} past ORDER BY row, attempt"))

    def note(self, key: str, value: str) -> None:
        """Remember a text."""
        self._execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, value))

    def noted(self, key: str) -> str | None:
        """Return a remembered text."""
        found = self._execute("SELECT value FROM notes WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def close(self) -> None:
        """Release the store."""
        if self._has_log:
            # A store without a log can be read where nothing may be written, and leaves no files
            # beside it. Whoever reads it just now keeps the log; so does a disk that is full.
            with suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()

    def reopen(self) -> SqliteJobStore:
        """Return the store, which was closed, to read from again."""
        if not self.path.exists():
            raise InputError(f"{self.path}, which remembered the jobs, is no longer there.")
        return SqliteJobStore(self.path)


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open a store to look at it.

    Its log needs a file beside it, which cannot be made where nothing may be written; then there is
    no writer either, so the store is read as it lies.

    Raises
    ------
    InputError
        When there is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path}, where jobs are remembered, is not there.")
    log = path.with_name(path.name + "-wal")
    alone = not os.access(path.parent, os.W_OK) and not log.exists()
    address = f"{path.absolute().as_uri()}?{'immutable=1' if alone else 'mode=ro'}"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)


def _job(values: Sequence[Any]) -> Job:
    row, status, *rest = values
    return Job(row, JobStatus(status), *rest)
