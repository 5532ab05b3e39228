"""The batch jobs of a server, in SQLite.

One connection, one lock: the server is the only writer. WAL with ``synchronous=NORMAL`` loses
nothing when a process is killed; only a power cut may take back the last commits. The process
graph, which can be large, is kept out of the table that is listed and updated.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = ["ACTIVE", "Job", "JobStore", "UnknownJobError"]

#: States of a job that the queue still has to do with.
ACTIVE = ("queued", "running")


class UnknownJobError(KeyError):
    """No job has this id."""


@dataclass(frozen=True)
class Job:
    """A batch job without its process graph.

    Attributes
    ----------
    id, title, description, plan, budget, log_level, options
        What the client said; ``options`` are the request's ``job_options``.
    status
        created, queued, running, canceled, finished or error.
    progress
        Per cent, 0 to 100.
    created, updated
        RFC 3339.
    server
        Root URL under which the client created the job: file URLs in its process graph start
        with it, also when the server has moved to another port since.
    queued_at
        Position in the queue: the larger, the later.
    interrupted
        How often the job's processes vanished together with the server, in a row.
    usage
        openEO usage metrics.
    number
        Order of creation.
    owner
        User, where a reverse proxy tells users apart.
    started
        RFC 3339, when the present or last run began.
    """

    id: str
    title: str | None = None
    description: str | None = None
    plan: str | None = None
    budget: float | None = None
    log_level: str = "info"
    options: Mapping[str, Any] = field(default_factory=dict)
    status: str = "created"
    progress: float = 0
    created: str = ""
    updated: str = ""
    server: str = ""
    queued_at: int = 0
    interrupted: int = 0
    usage: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    owner: str = ""
    started: str = ""

    @property
    def queue(self) -> str:
        """Name of the job option ``queue``: jobs of one user with different names take turns."""
        name = self.options.get("queue")
        return name if isinstance(name, str) else ""


_COLUMNS = tuple(f.name for f in fields(Job))
_JSON = ("options", "usage")
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    {", ".join(name for name in _COLUMNS if name not in ("number", "id"))}
);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, queued_at);
CREATE TABLE IF NOT EXISTS processes (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    process TEXT NOT NULL
) WITHOUT ROWID;
"""


class JobStore:
    """Jobs by id. Safe to use from several threads of one process."""

    def __init__(self, path: Path):
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=30, cached_statements=64
        )
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_SCHEMA)
        # Made by an earlier release: it gets the columns that it lacks.
        known = {row["name"] for row in self._db.execute("PRAGMA table_info(jobs)")}
        for name in _COLUMNS:
            if name not in known:
                self._db.execute(f"ALTER TABLE jobs ADD COLUMN {name} DEFAULT ''")

    def close(self) -> None:
        """Close the database; the store cannot be used afterwards."""
        with self._lock:
            self._db.close()

    def add(self, job: Job, process: Mapping[str, Any]) -> None:
        """Store a new job with its process."""
        row = {name: value for name, value in _row(job).items() if name != "number"}
        with self._lock, self._db:
            self._db.execute("BEGIN")
            self._db.execute(
                f"INSERT INTO jobs ({', '.join(row)}) VALUES ({_marks(row)})",  # noqa: S608 - column names are ours
                tuple(row.values()),
            )
            self._db.execute("INSERT INTO processes VALUES (?, ?)", (job.id, json.dumps(process)))

    def get(self, job_id: str) -> Job:
        """Return a job; UnknownJobError when there is none."""
        found = self._select("WHERE id = ?", (job_id,))
        if not found:
            raise UnknownJobError(job_id)
        return found[0]

    def process(self, job_id: str) -> dict[str, Any]:
        """Return the process of a job; UnknownJobError when there is none."""
        with self._lock:
            row = self._db.execute(
                "SELECT process FROM processes WHERE job_id = ?", (job_id,)
            ).fetchone()
        if row is None:
            raise UnknownJobError(job_id)
        document: dict[str, Any] = json.loads(row["process"])
        return document

    def page(self, limit: int | None = None, before: int | None = None) -> list[Job]:
        """Return jobs, the newest first; ``before`` is the number of the last one already seen."""
        return self._select(
            "WHERE (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?",
            (before, before, -1 if limit is None else limit),
        )

    def waiting(self, limit: int | None = None) -> list[Job]:
        """Return queued jobs, the first in the queue first."""
        return self._select(
            "WHERE status = 'queued' ORDER BY queued_at LIMIT ?", (-1 if limit is None else limit,)
        )

    def heads(self) -> list[Job]:
        """Return the first queued job of each queue of each user: one of them is next."""
        return self._select(
            "WHERE status = 'queued' AND queued_at IN (SELECT min(queued_at) FROM jobs WHERE"
            " status = 'queued' GROUP BY owner, json_extract(options, '$.queue'))",
            (),
        )

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self._lock:
            rows = self._db.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall()
        return {row[0]: row[1] for row in rows}

    def with_status(self, statuses: Iterable[str]) -> list[Job]:
        """Return all jobs in one of these states, the oldest first."""
        wanted = tuple(statuses)
        return self._select(f"WHERE status IN ({_marks(wanted)}) ORDER BY number", wanted)

    def enqueue(self, job_id: str, updated: str) -> None:
        """Put a job at the end of the queue and forget what an earlier run left."""
        with self._lock:
            self._db.execute(
                "UPDATE jobs SET status = 'queued', progress = 0, usage = '{}', updated = ?,"
                " interrupted = 0,"
                " queued_at = (SELECT coalesce(max(queued_at), 0) + 1 FROM jobs) WHERE id = ?",
                (updated, job_id),
            )

    def update(self, job_id: str, **changes: Any) -> None:
        """Change columns of a job."""
        values = tuple(_encode(name, value) for name, value in changes.items())
        assignments = ", ".join(f"{name} = ?" for name in changes)
        with self._lock:
            self._db.execute(
                f"UPDATE jobs SET {assignments} WHERE id = ?",  # noqa: S608 - names come from our code
                (*values, job_id),
            )

    def replace_process(self, job_id: str, process: Mapping[str, Any]) -> None:
        """Give a job another process."""
        with self._lock:
            self._db.execute(
                "UPDATE processes SET process = ? WHERE job_id = ?", (json.dumps(process), job_id)
            )

    def delete(self, job_id: str) -> None:
        """Remove a job and its process."""
        with self._lock:
            self._db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def _select(self, condition: str, arguments: tuple[Any, ...]) -> list[Job]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM jobs {condition}",  # noqa: S608 - ours
                arguments,
            ).fetchall()
        return [Job(**{name: _decode(name, row[name]) for name in _COLUMNS}) for row in rows]


def _row(job: Job) -> dict[str, Any]:
    return {name: _encode(name, getattr(job, name)) for name in _COLUMNS}


def _encode(name: str, value: Any) -> Any:
    return json.dumps(value) if name in _JSON else value


def _decode(name: str, value: Any) -> Any:
    return json.loads(value) if name in _JSON else value


def _marks(values: Iterable[Any]) -> str:
    return ", ".join("?" for _ in values)
