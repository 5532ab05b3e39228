"""Trackers that were cut short, made by other tools, changed by hand, or are in use."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openeo
import pandas as pd
import pytest
from openeo.extra.job_management import CsvJobDatabase, MultiBackendJobManager

from faults.proxy import until
from faults.world import World
from openeo_gfmap.errors import InputError, TrackerLocked
from support.manager_run import start_job

TESTS = Path(__file__).parents[1]


class _EnoughError(BaseException):
    """Ends another tool's run in the middle."""


def peers_run(world: World, jobs: int, *, to_the_end: bool = False) -> None:
    """Let openeo's own manager begin on the table, and leave its tracker."""
    manager = MultiBackendJobManager(poll_sleep=0, root_dir=world.folder / "peer")
    manager.add_backend("fake", connection=world.backend.connection(), parallel_jobs=2)
    made: list[str] = []

    def start(row: pd.Series, connection: openeo.Connection, **_: Any) -> openeo.BatchJob:
        if len(made) == jobs:
            raise _EnoughError
        made.append(row.title)
        return start_job(row, connection)

    database = CsvJobDatabase(world.tracker).initialize_from_df(world.table())
    try:
        manager.run_jobs(start_job=start, job_db=database)
    except _EnoughError:
        assert not to_the_end
    world.caplog.clear()  # it has things of its own to say


def untouched(world: World, content: bytes) -> None:
    """The tracker is as it was, and nothing was done."""
    assert world.tracker.read_bytes() == content
    assert not (world.folder / "tracker.csv.part").exists()


# -------------------------------------------------------------------------------- other tools'


def test_a_run_of_openeos_own_manager_is_seen_through(world: World) -> None:
    """Its "finished" means that the back-end is done; the files are fetched here."""
    peers_run(world, jobs=4)
    before = pd.read_csv(world.tracker)
    assert {"not_started"} < set(before.status)
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=1)
    assert len(list(world.folder.glob("tracker.csv.*.bak"))) == 1
    assert sum("Took over 5 jobs" in text for text in world.warnings()) == 1
    kept = world.rows().id
    assert list(kept[before.id.notna()]) == list(before.id.dropna())


def test_a_finished_run_of_openeos_own_manager_is_fetched(world: World) -> None:
    peers_run(world, jobs=world.jobs, to_the_end=True)
    assert set(pd.read_csv(world.tracker).status) == {"finished"}
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=1)


def test_a_tracker_of_the_former_manager_is_seen_through(world: World) -> None:
    """openeo-gfmap 0.4 wrote its columns in this order, and words of its own."""
    connection = world.backend.connection()
    made = [start_job(row, connection) for _, row in world.table().iloc[:4].iterrows()]
    for job in made[:3]:
        job.start()
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    frame = world.table().drop(columns="backend_name").assign(
        status=["finished", "postprocessing", "postprocessing-error", "created", "not_started"],
        id=[*(job.job_id for job in made), None],
        start_time=now, cpu="12.5 cpu-seconds", memory=None, duration=None,
        backend_name="fake", description="old", costs=[1.5, None, None, None, None],
    )  # fmt: skip
    frame.to_csv(world.tracker, index=False)
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=1)


def test_columns_and_rows_added_to_anothers_tracker_are_kept(world: World) -> None:
    peers_run(world, jobs=1)
    by_hand = pd.read_csv(world.tracker)
    by_hand["remark"] = "look at this"
    extra = by_hand.iloc[[-1]].assign(title="job 5", geometry='{"n": 5}', id=None)
    pd.concat([by_hand, extra]).to_csv(world.tracker, index=False)
    assert world.run() == {"finished": world.jobs + 1}
    rows = world.rows()
    assert list(rows.title) == [f"job {n}" for n in range(6)]
    assert set(world.backend.created().values()) == {1}


@pytest.mark.parametrize("amount", ["nan", "inf", "1e999", "much"])
def test_costs_in_anothers_tracker_that_are_no_amount_are_none(world: World, amount: str) -> None:
    peers_run(world, jobs=2)
    by_hand = pd.read_csv(world.tracker, dtype=object)
    by_hand["costs"] = amount
    by_hand.to_csv(world.tracker, index=False)
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=1)
    assert world.rows().costs.sum() == 3 * world.jobs


def test_rows_come_into_the_tracker_of_a_run_without_any(world: World) -> None:
    """Its CSV is one of no columns, and not another tool's."""
    assert world.run(df=world.table().iloc[:0]) == {}
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)
    assert not list(world.folder.glob("*.bak"))


def test_a_table_that_no_csv_can_hold_is_refused(world: World) -> None:
    """Before a job is made: names of columns that a CSV cannot tell apart, and broken texts."""
    with pytest.raises(InputError, match="columns twice: 1"):
        world.run(df=world.table().assign(**{"1": "a"}).assign(**{"x": 0}).rename(columns={"x": 1}))
    with pytest.raises(
        InputError, match=r"row 0, column 'path' is '\\udcff.tif', .+ no valid text"
    ):
        world.run(df=world.table().assign(path="\udcff.tif"))
    assert not world.backend.jobs
    assert world.run() == {"finished": world.jobs}


# ------------------------------------------------------------------------------------- damaged


@pytest.mark.parametrize("share", [0.0, 0.3, 0.55, 0.9])
def test_anothers_tracker_that_was_cut_short_is_refused(world: World, share: float) -> None:
    peers_run(world, jobs=2)
    content = world.tracker.read_bytes()
    cut = content[: int(len(content) * share)].rstrip(b"\n")
    world.tracker.write_bytes(cut)
    with pytest.raises(InputError, match=r"cut short|no tracker of these jobs|empty"):
        world.run()
    untouched(world, cut)
    assert len(world.backend.jobs) == 2


def test_a_tracker_of_other_jobs_is_refused(world: World) -> None:
    pd.DataFrame({"a": [1], "status": ["finished"], "id": ["j-1"]}).to_csv(
        world.tracker, index=False
    )
    content = world.tracker.read_bytes()
    with pytest.raises(InputError, match="no tracker of these jobs"):
        world.run()
    untouched(world, content)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_our_own_csv_that_was_cut_short_is_written_anew(world: World, share: float) -> None:
    """The store beside it knows; what was in the file is kept under another name."""
    world.run()
    content = world.tracker.read_bytes()
    cut = content[: int(len(content) * share)]
    world.tracker.write_bytes(cut)
    assert world.run() == {"finished": world.jobs}
    assert world.tracker.read_bytes() == content
    (backup,) = world.folder.glob("tracker.csv.*.bak")
    assert backup.read_bytes() == cut
    world.check(warnings=1)


@pytest.mark.parametrize("what", ["column", "row", "status", "sorted"])
def test_our_own_csv_that_was_changed_by_hand_is_kept_aside(world: World, what: str) -> None:
    world.run()
    content, rows = world.tracker.read_bytes(), world.rows()
    match what:
        case "column":
            rows["remark"] = "look at this"
        case "row":
            rows = pd.concat([rows, rows.iloc[[0]].assign(title="job 9", id=None)])
        case "status":
            rows.loc[2, "status"] = "not_started"
        case "sorted":
            rows = rows.iloc[::-1]
    rows.to_csv(world.tracker, index=False)
    changed = world.tracker.read_bytes()
    assert world.run() == {"finished": world.jobs}
    assert world.tracker.read_bytes() == content
    (backup,) = world.folder.glob("tracker.csv.*.bak")
    assert backup.read_bytes() == changed
    assert sum("is not as this tool left it" in text for text in world.warnings()) == 1
    world.check(warnings=1)


@pytest.mark.parametrize("damage", ["cut", "overwritten", "empty", "garbage"])
def test_a_damaged_store_is_refused_and_left_alone(world: World, damage: str) -> None:
    world.run()
    store = world.folder / "tracker.csv.sqlite"
    content = store.read_bytes()
    broken = {
        "cut": content[: len(content) // 2],
        "overwritten": content[:4096] + os.urandom(len(content) - 8192) + content[-4096:],
        "empty": b"",
        "garbage": b"this is no store" * 1000,
    }[damage]
    store.write_bytes(broken)
    view = world.tracker.read_bytes()
    if damage == "empty":
        # As good as none: the jobs are taken over from the CSV.
        assert world.run() == {"finished": world.jobs}
        assert set(world.backend.created().values()) == {1}
        return
    with pytest.raises(InputError, match=r"tracker\.csv\.sqlite"):
        world.run()
    assert store.read_bytes() == broken and world.tracker.read_bytes() == view
    assert len(world.backend.jobs) == world.jobs


def test_a_store_that_is_gone_is_made_from_the_csv(world: World) -> None:
    world.run()
    for path in world.folder.glob("tracker.csv.sqlite*"):
        path.unlink()
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=1)


# -------------------------------------------------------------------------------------- in use


def test_a_second_manager_says_who_has_the_tracker_and_stops(world: World) -> None:
    command = [sys.executable, "-m", "support.manager_run", str(world.folder), world.proxy.url]
    first = subprocess.Popen([*command, "5", "slow"], cwd=TESTS, stderr=subprocess.PIPE)
    try:
        until((world.folder / "in_action").exists)
        jobs = len(world.backend.jobs)
        with pytest.raises(TrackerLocked, match=f"in use by process {first.pid} on .+ since"):
            world.run()
        second = subprocess.run(
            [*command, "5"], cwd=TESTS, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 1 and f"process {first.pid}" in second.stderr
        assert len(world.backend.jobs) == jobs
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    # The lock went with its holder.
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)


def test_a_tracker_that_cannot_be_written_stops_the_run(world: World) -> None:
    """Nothing was done by then."""
    world.tracker.mkdir()
    with pytest.raises((InputError, OSError)):
        world.run()
    assert not world.backend.jobs
    shutil.rmtree(world.tracker)
