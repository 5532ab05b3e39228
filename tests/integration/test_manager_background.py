"""Runs in a background thread, against a real HTTP back-end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openeo
import pandas as pd
import pytest

from openeo_gfmap.errors import InputError, TrackerLocked
from openeo_gfmap.manager.background import Run
from openeo_gfmap.manager.display import LogDisplay, TerminalDisplay
from openeo_gfmap.manager.ledger import Sums
from openeo_gfmap.manager.lifecycle import JobStatus
from support.fake_backend import FakeBackend, Script, fake_backend
from support.manager_run import manager, start_job, table
from support.patches import patch_bytes

WAIT = 60


@pytest.fixture
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeBackend]:
    folder = tmp_path_factory.mktemp("patches")
    with fake_backend() as running:
        running.default = Script(assets={"openEO_0.nc": patch_bytes(folder, seed=0, size=30)})
        yield running


class Gate:
    """A post-job action that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, items: list[Any], row: pd.Series) -> list[Any]:
        self.reached.set()
        self.open.wait(WAIT)
        return items


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def test_a_run_in_the_background(tmp_path: Path, backend: FakeBackend, gate: Gate) -> None:
    handlers = signal.getsignal(signal.SIGINT)
    maker = manager(tmp_path, backend.url, post_job_action=gate)
    run = maker.start(table(5), start_job, tmp_path / "tracker.csv")
    assert gate.reached.wait(WAIT)
    assert signal.getsignal(signal.SIGINT) is handlers
    assert run.running and repr(run).startswith("<Run running: ")
    status = run.status()
    assert status.jobs == 5 and status.done == 0
    with pytest.raises(TimeoutError, match="the run goes on"):
        run.join(timeout=0.01)
    with pytest.raises(TrackerLocked):  # one run at a time
        maker.start(table(5), start_job, tmp_path / "tracker.csv")
    gate.open.set()
    assert run.join(WAIT) == {"finished": 5}
    assert run.join() == {"finished": 5}
    status = run.status()
    assert status.counts == {JobStatus.FINISHED: 5} and status.samples == Sums(received=5)
    assert status.costs.spent == 15 == maker.costs().spent
    assert not run.running and "5 of 5 jobs done" in repr(run) and "ended" in repr(run)
    assert (tmp_path / "out" / "stac" / "collection.json").exists()
    assert set(backend.created().values()) == set(backend.started().values()) == {1}
    with pytest.raises(InputError, match="the run is over"):
        run.add(table(6))
    assert maker.start(table(6), start_job, tmp_path / "tracker.csv").join(WAIT) == {"finished": 6}
    assert set(backend.created().values()) == {1}


def test_it_is_stopped_and_taken_up(
    tmp_path: Path, backend: FakeBackend, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    maker = manager(tmp_path, backend.url, post_job_action=gate)
    with caplog.at_level(logging.INFO, "openeo_gfmap.manager"):
        run = maker.start(table(9), start_job, tmp_path / "tracker.csv")
        assert gate.reached.wait(WAIT)
        run.stop()
        gate.open.set()
        counts = run.join(WAIT)
    assert counts["finished"] >= 1 and sum(counts.values()) == 9 and set(counts) != {"finished"}
    assert "Run the same again to resume" in caplog.text and "Ctrl-C" not in caplog.text
    with pytest.raises(InputError, match="the run is over"):
        run.add(table(10))
    assert maker.start(table(9), start_job, tmp_path / "tracker.csv").join(WAIT) == {"finished": 9}
    assert set(backend.created().values()) == set(backend.started().values()) == {1}


def test_rows_are_added_to_it(tmp_path: Path, backend: FakeBackend, gate: Gate) -> None:
    maker = manager(tmp_path, backend.url, post_job_action=gate)
    run = maker.start(table(2), start_job, tmp_path / "tracker.csv")
    assert gate.reached.wait(WAIT)
    added: list[int] = []
    # From several threads at once, with rows that overlap: each row once.
    threads = [
        threading.Thread(target=lambda n=rows: added.append(run.add(table(n))))
        for rows in (4, 6, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sum(added) == 5
    with pytest.raises(InputError, match="is not the row of that label"):
        run.add(table(1).assign(title="another"))
    gate.open.set()
    assert run.join(WAIT) == {"finished": 7}
    assert backend.created() == {f"job {row}": 1 for row in range(7)}
    assert list(pd.read_csv(tmp_path / "tracker.csv").title) == [f"job {row}" for row in range(7)]


def test_an_error_is_raised_where_it_is_asked_for(
    tmp_path: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openeo_gfmap.manager import results

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    maker = manager(tmp_path, backend.url)
    with monkeypatch.context() as patched:
        patched.setattr(results, "move", full)
        run = maker.start(table(2), start_job, tmp_path / "tracker.csv")
        with pytest.raises(OSError, match="No space left"):
            run.join(WAIT)
    assert "No space left" in run.status().message and "failed" in repr(run)
    with pytest.raises(InputError, match="no back-end"):
        type(maker)(tmp_path / "out", lambda root_folder, geometry_index, row: "x").start(
            table(1), start_job
        )
    assert maker.start(table(2), start_job, tmp_path / "tracker.csv").join(WAIT) == {"finished": 2}


def test_a_block_waits_for_it_or_stops_it(tmp_path: Path, backend: FakeBackend, gate: Gate) -> None:
    gate.open.set()
    maker = manager(tmp_path, backend.url, post_job_action=gate)
    with maker.start(table(2), start_job, tmp_path / "tracker.csv") as run:
        assert isinstance(run, Run)
    assert not run.running and run.status().done == 2
    with (
        pytest.raises(ZeroDivisionError),
        maker.start(table(40), start_job, tmp_path / "tracker.csv") as other,
    ):
        raise ZeroDivisionError
    assert not other.running and other.status().done < 40


def test_there_is_no_live_table_in_the_background(
    tmp_path: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[type] = []
    for kind in (LogDisplay, TerminalDisplay):
        enter = kind.__enter__

        def entered(display: Any, enter: Any = enter) -> Any:
            shown.append(type(display))
            return enter(display)

        monkeypatch.setattr(kind, "__enter__", entered)
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda console: True))
    manager(tmp_path, backend.url).start(table(1), start_job).join(WAIT)
    assert shown == [LogDisplay]


def test_costs_are_asked_for_after_a_run(tmp_path: Path, backend: FakeBackend) -> None:
    maker = manager(tmp_path, backend.url)
    with pytest.raises(InputError, match="run_jobs before costs"):
        maker.costs()

    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob | None:
        return start_job(row, connection) if row.name else None

    df = table(3).assign(recipe=["wheat", "wheat", "maize"])
    maker.run_jobs(df, start)
    costs = maker.costs()
    assert (costs.spent, costs.left) == (6.0, 0.0)
    assert costs.by_backend == {"fake": 6.0}
    assert costs.by_recipe == {"wheat": 3.0, "maize": 3.0}
