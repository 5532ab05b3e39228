"""What a run costs stays the same however many jobs there are: operations counted, not timed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import shapely

from openeo_gfmap.manager import job_store, packing, rows
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.sqlite_store import SqliteJobStore
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.stac.tree import write_collection

REMARKS = (None, "two\nlines", "an old\rline", "")


def table(count: int, corners: int = 200) -> pd.DataFrame:
    """Rows with a polygon each, and cells that a CSV has to quote or to leave empty."""
    circle = shapely.Point(3.7, 50.9).buffer(0.01, quad_segs=corners // 4)
    return pd.DataFrame(
        {
            "name": [f'field "{row}", west' for row in range(count)],
            "backend_name": "cdse",
            "geometry": [shapely.affinity.translate(circle, row / 100) for row in range(count)],
            "remark": [REMARKS[row % 4] for row in range(count)],
        }
    )


class Reads:
    """Counts how often rows of the user are read from the store."""

    def __init__(self, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        read = tracker.store.record

        def record(row: int) -> job_store.Record:
            self.count += 1
            return read(row)

        monkeypatch.setattr(tracker.store, "record", record)


def progressed(tracker: Tracker, row: int) -> list[Job]:
    """Let a job go on and return all."""
    job = Job(row, JobStatus.RUNNING, "cdse", id=f"j-{row}", costs=1.5)
    with tracker.store.transaction():
        tracker.store.save(job)
    return tracker.store.jobs()


def anew(path: Path) -> bytes:
    """Return the CSV as a process writes it that has never written it before."""
    with Tracker(path, table(0)) as tracker:
        tracker.write_view(tracker.store.jobs())
    return path.read_bytes()


def test_the_view_reads_no_row_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.csv"
    with Tracker(path, table(10)) as tracker:
        reads = Reads(tracker, monkeypatch)
        tracker.write_view(tracker.store.jobs())
        assert reads.count == 10
        for row in (3, 9, 0):
            tracker.write_view(progressed(tracker, row))
        assert reads.count == 10
        copied = path.read_bytes()
    assert copied == anew(path)
    read = pd.read_csv(path)
    assert list(read["status"].value_counts().items()) == [("not_started", 7), ("running", 3)]
    assert list(read["name"]) == list(table(10)["name"])
    assert shapely.equals_exact(shapely.from_wkt(read["geometry"]), table(10)["geometry"]).all()


def test_rows_that_come_in_are_read_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.csv"
    with Tracker(path, table(4)) as tracker:
        tracker.write_view(tracker.store.jobs())
        rows.merge(tracker.store, table(6))
        reads = Reads(tracker, monkeypatch)
        tracker.write_view(progressed(tracker, 5))
        assert reads.count == 2
        rows.merge(tracker.store, table(8).assign(further="x").tail(2))
        tracker.write_view(tracker.store.jobs())
        copied = path.read_bytes()
    assert copied == anew(path)


def _in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"!" * 500)


def _replaced(path: Path) -> None:
    path.with_suffix(".new").write_bytes(path.read_bytes()[::-1])
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("edit", [_in_place, _replaced, Path.unlink])
def test_nothing_is_copied_from_a_view_that_somebody_has_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: object
) -> None:
    path = tmp_path / "jobs.csv"
    with Tracker(path, table(4)) as tracker:
        tracker.write_view(tracker.store.jobs())
        # As a file system tells it that keeps times by the second.
        before = path.stat()
        edit(path)  # type: ignore[operator]
        if path.exists():
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        reads = Reads(tracker, monkeypatch)
        tracker.write_view(progressed(tracker, 1))
        assert reads.count == 4
        written = path.read_bytes()
    assert written == anew(path)


def test_nothing_is_copied_from_a_view_that_is_edited_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.csv"
    with Tracker(path, table(4)) as tracker:
        tracker.write_view(tracker.store.jobs())
        jobs = progressed(tracker, 1)
        sync, edits = os.fsync, []

        def edit_once(descriptor: int) -> None:
            sync(descriptor)
            if not edits:
                edits.append(_in_place(path))

        with mock.patch.object(os, "fsync", edit_once):
            tracker.write_view(jobs)
        written = path.read_bytes()
    assert edits
    assert written == anew(path)


def statements(store: SqliteJobStore, jobs: Iterable[Job]) -> list[str]:
    """Return the SQL that saving jobs in one transaction takes."""
    said: list[str] = []
    store._db.set_trace_callback(said.append)
    with store.transaction():
        for job in jobs:
            store.save(job)
    store._db.set_trace_callback(None)
    return said


@pytest.mark.parametrize("count", [100, 2000])
def test_a_change_writes_the_same_however_many_rows_there_are(tmp_path: Path, count: int) -> None:
    store = SqliteJobStore(tmp_path / "t.sqlite")
    payload = {"geometry": os.urandom(20_000).hex()}
    with store.transaction():
        store.add(
            ["geometry"], ((Job(row), job_store.Record(row, payload)) for row in range(count))
        )
    log = tmp_path / "t.sqlite-wal"
    assert not log.exists()
    said = statements(store, [Job(row, JobStatus.QUEUED, id="j") for row in range(20, 24)])
    assert [text.split()[0] for text in said] == ["BEGIN", *["INSERT"] * 4, "COMMIT"]
    assert log.stat().st_size <= 4 * 3 * 1100  # for each job its page, and two above it
    store.close()


def test_most_actions_do_not_unpack_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Tracker(tmp_path / "jobs.csv", table(2)) as tracker:
        unpack = mock.Mock(wraps=packing.unpack)
        monkeypatch.setattr(packing, "unpack", unpack)
        record = tracker.store.record(1)
        assert not unpack.called
        assert record.values["name"] == 'field "1", west'
        assert record == next(r for r in tracker.store.records() if r.label == 1)


def item(row: int, position: int) -> dict[str, object]:
    path = f"field-{row}/patch_{position}.nc"
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"patch_{row}_{position}",
        "geometry": None,
        "properties": {"datetime": "2021-05-01T00:00:00Z"},
        "links": [],
        "assets": {"data": {"href": path, "roles": ["data"]}},
    }


def test_only_new_items_are_written_to_the_catalogue(tmp_path: Path) -> None:
    """A run that is resumed, or `create_stac` after it, leaves what is there as it is."""

    def write(count: int) -> set[str]:
        items = [(row, item(row, position)) for row in range(count) for position in range(3)]
        before = {path: path.stat().st_ino for path in tmp_path.rglob("*.json")}
        write_collection(
            tmp_path / "stac", items, count=len(items), output_dir=tmp_path, identifier="c",
            description="d",
        )  # fmt: skip
        files = tmp_path.rglob("*.json")
        return {path.name for path in files if path.stat().st_ino != before.get(path)}

    assert len(write(5)) == 5 * 3 + 1
    assert write(5) == set()
    assert write(6) == {f"patch_5_{n}.json" for n in range(3)} | {"collection.json"}
