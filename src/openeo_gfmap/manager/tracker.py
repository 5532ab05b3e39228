"""The tracker: the CSV that the user names, the store beside it, and the lock on both.

The store is the truth and the CSV is a view of it, replaced as a whole so that whoever opens it
sees one moment. A CSV that was there before the store is the tracker of another tool: its jobs are
taken over.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import _log
from openeo_gfmap.manager.answers import amount_of
from openeo_gfmap.manager.job_store import SENSOR, JobStore, Record
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.memory_store import MemoryJobStore
from openeo_gfmap.manager.rows import (
    CONTRACT_COLUMNS,
    FURTHER_COLUMNS,
    merge,
    pack,
    records_of,
    shadowed,
    text_of,
)
from openeo_gfmap.manager.sqlite_store import SqliteJobStore
from openeo_gfmap.manager.tracker_lock import TrackerLock
from openeo_gfmap.manager.view import View

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tracker"]

_DIGEST = "view"  # note: digests of the views we wrote; another file is not ours to overwrite


class Tracker:
    """An open tracker; use it in a ``with`` statement.

    Parameters
    ----------
    path : Path or None
        The CSV; None keeps the jobs in memory only.
    df : pandas.DataFrame
        The user's table, merged with what the tracker has.
    sensor : str, optional
        That of the samples of new rows which do not name one.

    Raises
    ------
    TrackerLocked
        When another process runs jobs on it.
    InputError
        When the CSV is damaged, or of other jobs than the table's.
    """

    def __init__(self, path: Path | None, df: pd.DataFrame, sensor: str | None = None):
        self.path = path
        self.store: JobStore = MemoryJobStore()
        self._view = View(path) if path is not None else None
        self._lock: TrackerLock | None = None
        if path is None:
            self.store.note(SENSOR, sensor or "")
            self._merge(df)
            return
        if path.suffix in {".parquet", ".sqlite", ".json"}:
            raise InputError(f"the tracker {path} is written as CSV; name it {path.stem}.csv.")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = TrackerLock(path.with_name(path.name + ".lock"))
        try:
            self.store = SqliteJobStore(path.with_name(path.name + ".sqlite"))
            self.store.note(SENSOR, sensor or "")
            if path.exists() and not self.store.columns() and not self._is_ours(path):
                columns, rows = _read(path, df)
                with self.store.transaction():
                    self.store.add(columns, rows)
                # From here on the file is ours to write: what it was stays beside it.
                backup = self._back_up()
                _log.warning(
                    "Took over %d jobs of %s, which another tool wrote; as it was it is kept as "
                    "%s.", len(rows), path, backup.name,
                )  # fmt: skip
            elif not path.exists() and self.store.columns():
                _log.warning(
                    "%s is not there, but %s.sqlite beside it remembers its jobs: it is written "
                    "anew from that. To start from nothing, remove both.",
                    path, path.name,
                )  # fmt: skip
            self._merge(df)
            self._keep_foreign_view()
        except BaseException:
            self.close()
            raise

    def _merge(self, df: pd.DataFrame) -> None:
        added = merge(self.store, df)
        _log.debug("%d rows of the table are new to the tracker.", added)
        if names := shadowed(df):
            _log.warning(
                "The table's columns %s are not read: the manager writes those itself. Rename "
                "them if your callbacks need them.",
                ", ".join(names),
            )

    def write_view(self, jobs: Iterable[Job]) -> None:
        """Replace the CSV by the jobs as they stand."""
        if self._view is None:
            return
        self._view.write(jobs, self.store, self._note_digest)

    def _note_digest(self, digest: str) -> None:
        # Noted before the file is replaced, next to the one before: a kill in between leaves a CSV
        # that is known either way.
        previous = (self.store.noted(_DIGEST) or "").split()[:1]
        self.store.note(_DIGEST, " ".join([digest, *previous]))

    def _is_ours(self, path: Path) -> bool:
        """Tell whether the CSV is as we left it; a run of no rows leaves one, too."""
        return _digest(path) in (self.store.noted(_DIGEST) or "").split()

    def _keep_foreign_view(self) -> None:
        """Save a CSV that somebody else wrote or changed before it is overwritten."""
        if self.path is None or not self.path.exists():
            return
        if self._is_ours(self.path):
            return
        backup = self._back_up()
        _log.warning(
            "%s is not as this tool left it. What it says of jobs is not read, since %s.sqlite "
            "beside it remembers them; your version is kept as %s.",
            self.path, self.path.name, backup.name,
        )  # fmt: skip

    def _back_up(self) -> Path:
        """Copy the CSV to a name of its own; return that."""
        path = cast("Path", self.path)
        digest = _digest(path)
        backup = path.with_name(f"{path.name}.{digest[:8]}.bak")
        shutil.copy2(path, backup)
        self.store.note(_DIGEST, digest)
        return backup

    def close(self) -> None:
        """Release store and lock."""
        self.store.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _digest(path: Path) -> str:
    with path.open("rb") as file:  # as large as the user's table
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------- taking over

#: What another tool's word for a state means here. "finished" and "postprocessing" are not taken
#: at their word: those tools write them before the files are here. The job is asked for again.
_PEERS: Mapping[str, JobStatus] = {
    "created": JobStatus.CREATED,
    "queued_for_start": JobStatus.CREATED,
    "queued": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "finished": JobStatus.RUNNING,
    "postprocessing": JobStatus.RUNNING,
    "postprocessing-error": JobStatus.RUNNING,
    "error": JobStatus.ERROR,
    "canceled": JobStatus.CANCELED,
}
_WITHOUT_ID: Mapping[str, JobStatus] = {
    "start_failed": JobStatus.START_FAILED,
    "skipped": JobStatus.SKIPPED,
}


def _read(path: Path, df: pd.DataFrame) -> tuple[list[str], list[tuple[Job, Record]]]:
    """Return columns and rows of another tool's tracker, each row under its label in `df`."""
    import pandas as pd  # noqa: PLC0415

    header, lines = _parse(path)
    columns, wanted = records_of(df)
    common = [name for name in columns if name in header and name not in CONTRACT_COLUMNS]
    if "status" not in header or not common:
        raise InputError(
            f"{path} exists and is no tracker of these jobs: it needs a column 'status' and "
            f"columns of the table ({', '.join(columns)}); it has {', '.join(header)}. Name "
            "another tracker."
        )
    matching: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in wanted:
        matching[tuple(_loose(text_of(record.values[name])) for name in common)].append(record)
    typed = pd.read_csv(path).to_dict("records")
    rows: list[tuple[Job, Record]] = []
    matched = 0
    for row, (line, values) in enumerate(zip(lines, typed, strict=True)):
        candidates = matching[tuple(_loose(line[name]) for name in common)]
        if candidates:
            record = candidates.pop(0)
            matched += 1
        else:
            cells = {
                str(name): pack(value, f"{path}, line {row + 2}, column {name!r}")
                for name, value in values.items()
                if name not in CONTRACT_COLUMNS or name == "backend_name"
            }
            record = Record(f"{path.name} line {row + 2}", cells)
        rows.append((_peer_job(row, line), record))
    if rows and not matched:
        raise InputError(
            f"none of the {len(rows)} rows of {path} is a row of the table (compared by "
            f"{', '.join(common)}). Name another tracker."
        )
    ours = {*CONTRACT_COLUMNS, *FURTHER_COLUMNS}
    extra = [name for name in header if name not in columns and name not in ours]
    return [*columns, *(extra if matched < len(rows) else [])], rows


def _loose(text: str) -> str:
    """Return a cell so that numbers are equal whose last digits or ``.0`` a tool has changed."""
    number = _number(text)
    return text if number is None else f"{number:.12g}"


def _parse(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return header and lines of a CSV that is whole.

    Raises
    ------
    InputError
        When it was cut short or is not CSV.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # geometries are longer than the default
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file, strict=True))
    except (csv.Error, UnicodeDecodeError, ValueError) as error:
        raise InputError(_damaged(path, str(error))) from error
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise InputError(
                _damaged(path, f"row {number} has {len(line)} fields, the header {len(header)}")
            )
    return header, [dict(zip(header, line, strict=True)) for line in lines]


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path} is cut short or no CSV ({why}), so what became of its jobs is not known. Restore "
        "a copy of it, or move it away to start anew."
    )


def _peer_job(row: int, line: Mapping[str, str]) -> Job:
    def text(name: str) -> str | None:
        return line.get(name) or None

    word, job_id = line["status"], text("id")
    status = _WITHOUT_ID.get(word, JobStatus.NOT_STARTED)
    message = None
    if job_id is not None and word not in _WITHOUT_ID:
        status = _PEERS.get(word, JobStatus.RUNNING)
    elif word == "finished":
        status, message = JobStatus.ERROR, "the tracker taken over says finished but names no job"
    return Job(
        row,
        status=status,
        backend=text("backend_name"),
        id=None if status is JobStatus.NOT_STARTED else job_id,
        description=text("description"),
        start_time=text("start_time"),
        costs=amount_of(text("costs")),
        cpu=text("cpu"),
        memory=text("memory"),
        duration=text("duration"),
        message=message,
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None  # what the other tool wrote there is no amount
