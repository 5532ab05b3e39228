"""The two job stores: the same in what they keep, and whole after anything."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.job_store import JobStore, Record
from openeo_gfmap.manager.ledger import Sample, SampleState
from openeo_gfmap.manager.lifecycle import Job, JobStatus, SavedFile
from openeo_gfmap.manager.memory_store import MemoryJobStore
from openeo_gfmap.manager.sqlite_store import SqliteJobStore

JOBS = [
    Job(0, backend="cdse"),
    Job(1, JobStatus.RUNNING, "cdse", id="j-1", mark="m", costs=2.5, message="späť"),
]
RECORDS = [Record(0, {"a": 1, "geometry": "{}"}), Record("label", {"a": None, "geometry": "x"})]
ITEM = '{"properties": {"sample_id": "i"}, "assets": {}}'
FILES = (SavedFile("a/b.nc", 3, "ff", {"id": "i"}), SavedFile("a/c.nc", 4, "ee", {"id": "k"}))


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    return SqliteJobStore(tmp_path / "t.sqlite") if request.param == "sqlite" else MemoryJobStore()


@pytest.fixture
def filled(store: JobStore) -> JobStore:
    with store.transaction():
        store.add(["a", "geometry"], zip(JOBS, RECORDS, strict=True))
    return store


def test_an_empty_store(store: JobStore) -> None:
    assert store.jobs() == []
    assert store.columns() == []
    assert list(store.items()) == []
    assert store.noted("anything") is None


def test_jobs_and_records_come_back(filled: JobStore) -> None:
    assert filled.jobs() == JOBS
    assert filled.columns() == ["a", "geometry"]
    assert list(filled.records()) == RECORDS
    assert filled.record(1) == RECORDS[1]


def test_a_saved_job_replaces_the_old_one(filled: JobStore) -> None:
    changed = Job(1, JobStatus.FINISHED, "cdse", id="j-1")
    filled.save(changed)
    assert filled.jobs() == [JOBS[0], changed]


def test_files_and_items_are_replaced_as_a_whole(filled: JobStore) -> None:
    filled.set_files(1, FILES)
    filled.set_items(1, [{"id": "x"}, {"id": "y"}])
    filled.set_items(0, [{"id": "w"}])
    assert filled.files(1) == FILES
    assert filled.files(0) == ()
    assert list(filled.items()) == [(0, {"id": "w"}), (1, {"id": "x"}), (1, {"id": "y"})]
    assert filled.count_items() == 3
    filled.set_items(1, [{"id": "z"}])
    filled.set_files(1, ())
    assert list(filled.items()) == [(0, {"id": "w"}), (1, {"id": "z"})]
    assert filled.files(1) == ()


def test_samples_are_replaced_as_a_whole_and_counted(filled: JobStore) -> None:
    assert filled.samples_of(1) == (Sample(1, 0, "label"),)
    assert filled.states() == {SampleState.OPEN: 2}
    came = (
        Sample(1, 0, "ä", "s2", SampleState.RECEIVED, path="a/b.nc"),
        Sample(1, 1, "c", "s2", SampleState.REJECTED, "all cloud", "quarantine/c.nc"),
    )
    filled.set_samples(1, came)
    assert filled.samples_of(1) == came and filled.samples_of(7) == ()
    assert list(filled.samples()) == [Sample(0, 0, "0"), *came]
    assert filled.states() == dict.fromkeys(
        (SampleState.OPEN, SampleState.RECEIVED, SampleState.REJECTED), 1
    )
    filled.set_samples(1, ())
    assert filled.states() == {SampleState.OPEN: 1}


def test_a_transaction_holds_or_does_not(filled: JobStore) -> None:
    def fail_inside() -> None:
        with filled.transaction():
            filled.save(Job(0, JobStatus.ERROR))
            filled.set_files(0, FILES)
            filled.set_items(0, [{"id": "i"}])
            filled.set_samples(0, ())
            filled.note("key", "value")
            filled.add(["b"], [(Job(2), Record(2, {}))])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_inside()
    assert filled.jobs() == JOBS
    assert filled.columns() == ["a", "geometry"]
    assert filled.files(0) == ()
    assert filled.count_items() == 0
    assert filled.states() == {SampleState.OPEN: 2}
    assert filled.noted("key") is None


def test_a_sqlite_store_is_still_there_after_closing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.sqlite"
    first = SqliteJobStore(path)
    with first.transaction():
        first.add(["a", "geometry"], zip(JOBS, RECORDS, strict=True))
        first.set_files(1, FILES)
    first.note("key", "value")
    first.close()
    second = SqliteJobStore(path)
    assert second.jobs() == JOBS
    assert second.files(1) == FILES
    assert second.noted("key") == "value"
    second.close()


def test_a_kill_inside_a_transaction_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    program = f"""
import os, signal
from pathlib import Path
from openeo_gfmap.manager.job_store import Record
from openeo_gfmap.manager.sqlite_store import SqliteJobStore
from openeo_gfmap.manager.lifecycle import Job, JobStatus
store = SqliteJobStore(Path({str(path)!r}))
with store.transaction():
    store.add(["a"], [(Job(row), Record(row, {{"a": "x" * 10_000}})) for row in range(30)])
with store.transaction():
    for row in range(30):
        store.save(Job(row, JobStatus.ERROR))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -9
    store = SqliteJobStore(path)
    assert store.jobs() == [Job(row) for row in range(30)]
    assert len(list(store.records())) == 30
    store.close()


def test_a_status_change_does_not_touch_the_payload(tmp_path: Path) -> None:
    """The geometries lie in a table of their own, so a change costs the same however large."""
    store = SqliteJobStore(tmp_path / "t.sqlite")
    with store.transaction():
        rows = [(Job(row), Record(row, {"geometry": "x" * 40_000})) for row in range(200)]
        store.add(["geometry"], rows)
    store.close()
    wal = tmp_path / "t.sqlite-wal"
    store = SqliteJobStore(tmp_path / "t.sqlite")
    before = wal.stat().st_size if wal.exists() else 0
    with store.transaction():
        store.save(Job(77, JobStatus.QUEUED))
    assert wal.stat().st_size - before < 20_000
    store.close()


def _text(path: Path) -> None:
    path.write_text("no database, but long enough to be taken for one" * 30)


def _newer(path: Path) -> None:
    store = SqliteJobStore(path)
    store.note("version", "99")
    store.close()


@pytest.mark.parametrize(
    ("make", "reason"), [(_text, "is not a job store"), (_newer, "newer openeo-gfmap")]
)
def test_a_file_that_is_no_store_is_refused(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "t.sqlite"
    make(path)
    with pytest.raises(InputError, match=reason):
        SqliteJobStore(path)


def test_changes_go_to_a_log_but_the_rows_of_a_new_table_do_not(tmp_path: Path) -> None:
    store = SqliteJobStore(tmp_path / "t.sqlite")
    rows = [(Job(row), Record(row, {"geometry": "x" * 40_000})) for row in range(50)]
    with store.transaction():
        store.add(["geometry"], rows)
    assert not (tmp_path / "t.sqlite-wal").exists() or not (
        (tmp_path / "t.sqlite-wal").stat().st_size
    )
    other = sqlite3.connect(tmp_path / "t.sqlite")
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    store.close()


def test_earlier_jobs_of_a_row_are_kept(filled: JobStore) -> None:
    first = Job(1, JobStatus.ERROR, "cdse", id="j-1", costs=2.0, message="why", kind="transient")
    second = Job(1, JobStatus.ERROR, "cdse", id="j-2", attempt=2, options='{"a": "1G"}')
    other = Job(0, JobStatus.CANCELED, "cdse", id="j-0")
    for job in (first, other, second):
        filled.keep(job)
    assert filled.past(1) == (first, second)
    assert filled.past(0) == (other,)
    assert list(filled.past_jobs()) == [other, first, second]
    assert filled.jobs() == JOBS


def test_a_store_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    old_columns = (
        "row, status, backend, id, mark, intended_at, attempts, title, description, start_time, "
        "costs, cpu, memory, duration, message"
    )
    with sqlite3.connect(path) as db:
        db.executescript(
            f"""
            CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL);
            INSERT INTO notes VALUES ('version', '1'), ('columns', '["a"]');
            CREATE TABLE jobs ({old_columns.replace("row,", "row INTEGER PRIMARY KEY,", 1)});
            INSERT INTO jobs (row, status, backend, id, attempts, costs)
                VALUES (0, 'running', 'cdse', 'j-1', 1, 2.5);
            CREATE TABLE payload (row INTEGER PRIMARY KEY, label TEXT NOT NULL,
                record TEXT NOT NULL);
            INSERT INTO payload VALUES (0, '0', '{{"a": 1}}');
            CREATE TABLE files (row INTEGER, position INTEGER, path TEXT, size INTEGER,
                checksum TEXT, item BLOB, PRIMARY KEY (row, position)) WITHOUT ROWID;
            INSERT INTO files VALUES (0, 1, 'a/c.nc', 4, 'ee', '{{"id": "k"}}'),
                (0, 0, 'a/b.nc', 3, 'ff', '{{"id": "i"}}');
            CREATE TABLE items (row INTEGER, position INTEGER, item BLOB,
                PRIMARY KEY (row, position)) WITHOUT ROWID;
            INSERT INTO items VALUES (0, 1, '{ITEM.replace('"i"', '"k"')}'), (0, 0, '{ITEM}');
            """
        )
    db.close()
    with pytest.raises(InputError, match=r"older .* \(store version 1\).*run the jobs on once"):
        SqliteJobStore(path, read_only=True)
    for _ in range(2):  # and opened again as what it is now
        store = SqliteJobStore(path)
        assert store.files(0) == FILES
        assert [item["properties"]["sample_id"] for _, item in store.items()] == ["i", "k"]
        assert store.count_items() == 2
        assert store.jobs() == [Job(0, JobStatus.RUNNING, "cdse", id="j-1", attempts=1, costs=2.5)]
        assert store.record(0) == Record(0, {"a": 1})
        store.keep(Job(0, JobStatus.ERROR))
        assert len(store.past(0)) == 1
        assert store.noted("version") == "4"
        assert [s.state for s in store.samples()] == [SampleState.OPEN]
        store.close()
