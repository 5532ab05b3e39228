"""The tracker: a faithful CSV, other tools' trackers taken over, one manager at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Point

from openeo_gfmap.errors import InputError, TrackerLocked
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.memory_store import MemoryJobStore
from openeo_gfmap.manager.rows import CONTRACT_COLUMNS, FURTHER_COLUMNS, merge, row_of
from openeo_gfmap.manager.tracker import Tracker


def table(rows: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "backend_name": ["cdse"] * rows,
            "out_prefix": [f"S2, {row}" for row in range(rows)],
            "start_date": ["2020-08-30"] * rows,
            "geometry": [
                json.dumps({"type": "FeatureCollection", "n": row, "s": 'a "quote"\nand more'})
                for row in range(rows)
            ],
            "nb_polygons": range(rows),
            "confidence": [0.1 + 0.2, np.nan, 1e-7][:rows],
            "extract": [True, False, None][:rows],
        }
    )


def test_the_csv_is_the_table_and_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "job_tracker.csv"
    with Tracker(path, table()) as tracker:
        jobs = [
            Job(0, JobStatus.RUNNING, "cdse-staging", id="j-0", costs=3.0, cpu="4 cpu-seconds"),
            Job(1, JobStatus.CREATING, "cdse", mark="m"),
            Job(2, JobStatus.DOWNLOADING, "cdse", id="j-2"),
        ]
        tracker.write_view(jobs)
    shown = pd.read_csv(path)
    own = [name for name in CONTRACT_COLUMNS if name != "backend_name"]
    assert list(shown.columns) == [*table().columns, *own, *FURTHER_COLUMNS]
    assert list(shown.backend_name) == ["cdse-staging", "cdse", "cdse"]
    assert list(shown.status) == ["running", "not_started", "postprocessing"]
    assert shown.costs[0] == 3.0 and np.isnan(shown.costs[1])
    users = [name for name in table().columns if name != "backend_name"]
    table().to_csv(tmp_path / "by_pandas.csv", index=False)
    pd.testing.assert_frame_equal(shown[users], pd.read_csv(tmp_path / "by_pandas.csv")[users])
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "job_tracker.csv", "job_tracker.csv.lock", "job_tracker.csv.sqlite",
    ]  # fmt: skip


def test_rows_come_back_with_their_types_and_label(tmp_path: Path) -> None:
    df = gpd.GeoDataFrame(
        {
            "when": [pd.Timestamp("2021-05-01 12:00", tz="UTC"), pd.NaT],
            "count": np.array([1, 2], dtype="int64"),
            "bands": [["B02", "B03"], ("B04",)],
            "options": [{"a": {"b": None}}, {}],
        },
        geometry=[Point(5, 51), Point(6, 52)],
        crs=4326,
        index=["first", "second"],
    )
    with Tracker(tmp_path / "t.csv", df) as tracker:
        row = row_of(Job(0, backend="cdse"), tracker.store.record(0))
        other = row_of(Job(1), tracker.store.record(1))
        tracker.write_view(tracker.store.jobs())
    assert row.name == "first" and other.name == "second"
    assert row.when == df.when.iloc[0] and other.when is pd.NaT
    assert row["count"] == 1 and isinstance(row["count"], int)
    assert row.bands == ["B02", "B03"] and row.options == {"a": {"b": None}}
    assert row.geometry == Point(5, 51)
    assert row.status == "not_started" and row.backend_name == "cdse"


def test_a_label_of_several_levels_comes_back() -> None:
    index = pd.MultiIndex.from_tuples([("be", 1), ("be", 2)])
    store = MemoryJobStore()
    merge(store, pd.DataFrame({"a": [1, 2]}, index=index))
    assert row_of(Job(1), store.record(1)).name == ("be", 2)


def test_a_cell_that_cannot_be_kept_is_named() -> None:
    df = pd.DataFrame({"a": [object()]}, index=["x"])
    with pytest.raises(InputError, match=r"row 'x', column 'a' holds a object"):
        merge(MemoryJobStore(), df)


def test_the_same_table_again_adds_nothing(tmp_path: Path) -> None:
    with Tracker(tmp_path / "t.csv", table()) as tracker:
        tracker.store.save(Job(1, JobStatus.FINISHED, "cdse", id="j"))
    with Tracker(tmp_path / "t.csv", table()) as tracker:
        statuses = [job.status for job in tracker.store.jobs()]
        assert statuses == [JobStatus.NOT_STARTED, JobStatus.FINISHED, JobStatus.NOT_STARTED]


def test_new_rows_are_added_and_dropped_rows_stay(tmp_path: Path) -> None:
    with Tracker(tmp_path / "t.csv", table(2)):
        pass
    with Tracker(tmp_path / "t.csv", table(3).iloc[1:]) as tracker:
        assert [record.values["nb_polygons"] for record in tracker.store.records()] == [0, 1, 2]


def test_equal_rows_are_jobs_of_their_own(tmp_path: Path) -> None:
    df = pd.concat([table(1), table(1)], ignore_index=True)
    for _ in range(2):
        with Tracker(tmp_path / "t.csv", df) as tracker:
            assert len(tracker.store.jobs()) == 2


def test_another_table_under_the_same_labels_is_refused(tmp_path: Path) -> None:
    with Tracker(tmp_path / "t.csv", table()):
        pass
    other = table().assign(start_date="2021-01-01")
    with pytest.raises(InputError, match=r"row 0 .* start_date differs"):
        Tracker(tmp_path / "t.csv", other)


# -------------------------------------------------------------------------------------- taking over


def peer_tracker(path: Path, **columns: list[object]) -> None:
    """Write a tracker as openeo's MultiBackendJobManager and openeo-gfmap 0.4 do."""
    df = table()
    for name in ("status", "id", "start_time", "running_start_time", "cpu", "memory", "duration"):
        df[name] = columns.get(name)
    df["costs"] = columns.get("costs")
    df.assign(**columns).to_csv(path, index=False)


def test_another_tools_tracker_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "job_tracker.csv"
    peer_tracker(
        path,
        status=["finished", "running", "not_started"],
        id=["j-a", "j-b", None],
        backend_name=["cdse", "cdse-staging", "cdse"],
        costs=[4, None, None],
        cpu=["1200 cpu-seconds", None, None],
    )
    original = path.read_bytes()
    with Tracker(path, table()) as tracker:
        first, second, third = tracker.store.jobs()
        # Its "finished" is not ours: whether the files are here is not known. It is asked again.
        assert (first.status, first.id, first.costs) == (JobStatus.RUNNING, "j-a", 4.0)
        assert first.cpu == "1200 cpu-seconds"
        assert (second.status, second.backend) == (JobStatus.RUNNING, "cdse-staging")
        assert third == Job(2, backend="cdse")
        assert row_of(first, tracker.store.record(0)).nb_polygons == 0
        tracker.write_view(tracker.store.jobs())
    (backup,) = tmp_path.glob("*.bak")
    assert backup.read_bytes() == original
    with Tracker(path, table()) as tracker:
        assert len(tracker.store.jobs()) == 3
    assert len(list(tmp_path.glob("*.bak"))) == 1  # our own view needs no backup


def test_a_tracker_that_lost_rows_gets_them_back(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    peer_tracker(path, status=["queued", "queued", "queued"], id=["j-0", "j-1", "j-2"])
    pd.read_csv(path).iloc[:1].to_csv(path, index=False)
    with Tracker(path, table()) as tracker:
        assert [job.id for job in tracker.store.jobs()] == ["j-0", None, None]


def test_rows_that_the_table_does_not_have_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    peer_tracker(path, status=["queued", "error", "start_failed"], id=["j-0", "j-1", None])
    with Tracker(path, table(1)) as tracker:
        jobs = tracker.store.jobs()
        assert [job.status for job in jobs] == [
            JobStatus.QUEUED, JobStatus.ERROR, JobStatus.START_FAILED,
        ]  # fmt: skip
        assert tracker.store.record(1).values["out_prefix"] == "S2, 1"


def cut_in_the_middle(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def not_a_table(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


def of_other_jobs(path: Path) -> None:
    frame = pd.read_csv(path)
    frame["out_prefix"] = "other"
    frame.to_csv(path, index=False)


def without_status(path: Path) -> None:
    pd.read_csv(path).drop(columns="status").to_csv(path, index=False)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_in_the_middle, "cut short or no CSV"),
        (not_a_table, "cut short or no CSV"),
        (of_other_jobs, "none of the 3 rows"),
        (without_status, "needs a column 'status'"),
    ],
)
def test_a_tracker_that_cannot_be_trusted_is_refused_and_left_alone(
    tmp_path: Path, damage: object, reason: str
) -> None:
    path = tmp_path / "t.csv"
    peer_tracker(path, status=["queued", "queued", "queued"], id=["j-0", "j-1", "j-2"])
    damage(path)  # type: ignore[operator]
    content = path.read_bytes()
    for _ in range(2):  # also not the second time
        with pytest.raises(InputError, match=reason):
            Tracker(path, table())
        assert path.read_bytes() == content


def test_a_csv_changed_by_hand_is_kept_before_it_is_overwritten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.csv"
    with Tracker(path, table()) as tracker:
        tracker.write_view(tracker.store.jobs())
    edited = path.read_text().replace("S2, 1", "by hand")
    path.write_text(edited)
    with Tracker(path, table()) as tracker:
        tracker.write_view(tracker.store.jobs())
    (backup,) = tmp_path.glob("*.bak")
    assert backup.read_text() == edited
    (told,) = caplog.records
    assert "What it says of jobs is not read" in told.message and backup.name in told.message


def test_who_removes_only_the_csv_is_told_how_to_start_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.csv"
    with Tracker(path, table()) as tracker:
        tracker.store.save(Job(1, JobStatus.FINISHED, "cdse", id="j"))
        tracker.write_view(tracker.store.jobs())
    path.unlink()
    with Tracker(path, table()) as tracker:
        assert tracker.store.jobs()[1].status is JobStatus.FINISHED
    (told,) = caplog.records
    assert "To start from nothing, remove both" in told.message


def test_columns_of_the_table_that_the_manager_writes_itself_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    df = table().assign(id=["field-1", None, None], costs=None)
    with Tracker(None, df) as tracker:
        assert "id" not in tracker.store.columns()
    (told,) = caplog.records
    assert "columns id are not read" in told.message


# -------------------------------------------------------------------------------------------- lock


def test_a_second_manager_is_told_who_holds_the_tracker(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with Tracker(path, table()):
        program = f"""
import pandas as pd, pathlib
from openeo_gfmap.manager.tracker import Tracker
Tracker(pathlib.Path({str(path)!r}), pd.DataFrame({{"a": [1]}}))
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        import os

        assert "TrackerLocked" in done.stderr
        assert f"{path} is in use by process {os.getpid()} on " in done.stderr
        with pytest.raises(TrackerLocked):
            Tracker(path, table())
    with Tracker(path, table()):
        pass  # free again


def test_the_name_of_the_tracker_must_be_that_of_a_csv(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name it jobs\.csv"):
        Tracker(tmp_path / "jobs.parquet", table())


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Tracker(None, table()) as tracker:
        tracker.write_view(tracker.store.jobs())
        assert len(tracker.store.jobs()) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_users_column_goes_before_one_of_the_managers_further_ones(tmp_path: Path) -> None:
    df = table().assign(attempt="mine")
    path = tmp_path / "jobs.csv"
    with Tracker(path, df) as tracker:
        job = Job(0, JobStatus.ERROR, "cdse", id="j", kind="transient", message="why", attempt=2)
        tracker.write_view([job, *tracker.store.jobs()[1:]])
        row = row_of(job, tracker.store.record(0))
    shown = pd.read_csv(path)
    assert list(shown["attempt"]) == ["mine"] * len(df)
    assert shown["error_kind"][0] == "transient"
    assert shown["error_message"][0] == "why"
    assert row["attempt"] == "mine"
    assert row["error_kind"] == "transient"
