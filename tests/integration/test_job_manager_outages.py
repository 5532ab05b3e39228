"""Nothing keeps a run waiting for ever, and what may pass costs no job."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openeo
import pandas as pd
import pystac
import pytest

from openeo_gfmap.manager.job_manager import GFMAPJobManager
from support.fake_backend import FakeBackend, Script, fake_backend
from support.manager_run import QUICK, output_path, start_job, table
from support.patches import patch_bytes


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("patches")
    return {f"openEO_{n}.nc": patch_bytes(folder, seed=n) for n in range(2)}


@pytest.fixture
def backend(files: dict[str, bytes]) -> Iterator[FakeBackend]:
    with fake_backend() as running:
        running.default = Script(assets=files)
        yield running


def impatient(backend: FakeBackend) -> openeo.Connection:
    """Return a connection without the client's own retries, which take their time."""
    return openeo.connect(backend.url, retry=False).authenticate_basic("user", "secret")


def manager(folder: Path, backend: FakeBackend, **settings: Any) -> GFMAPJobManager:
    settings = {"output_path_generator": output_path, "options": QUICK, **settings}
    made = GFMAPJobManager(folder / "out", poll_sleep=0.05, **settings)
    made.add_backend("fake", lambda: impatient(backend), parallel_jobs=3)
    return made


def test_a_callback_that_exits_fails_its_own_job(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """As scripts do that were written for one job; the exit ended a thread, and the run hung."""

    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        return sys.exit("no field here") if row.name == 0 else start_job(row, connection)

    def path(root_folder: Path, geometry_index: int, row: pd.Series) -> Path:
        return (
            sys.exit("no path") if row.name == 1 else root_folder / f"{row.name}_{geometry_index}"
        )

    def act(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        return sys.exit("no label") if row.name == 2 else items

    run = manager(tmp_path, backend, output_path_generator=path, post_job_action=act)
    counts = run.run_jobs(table(4), start)
    assert counts == {"start_failed": 1, "error": 1, "postprocessing-error": 1, "finished": 1}
    for reason in ("no field here", "no path", "no label"):
        told = [r for r in caplog.records if r.levelno >= logging.WARNING]
        assert sum(reason in record.message for record in told) == 1


def test_a_back_end_that_comes_back_elsewhere_is_found(
    tmp_path: Path, backend: FakeBackend, files: dict[str, bytes]
) -> None:
    """As the embedded one does, when it was ended and is asked for again."""
    backend.default.states = ("queued", *["running"] * 5, "finished")
    moved = threading.Event()

    def move() -> None:
        while len(backend.jobs) < 2:
            time.sleep(0.01)
        with fake_backend(backend):
            moved.set()
            done.wait(60)

    done = threading.Event()
    mover = threading.Thread(target=move)
    mover.start()
    try:
        assert manager(tmp_path, backend).run_jobs(table(6), start_job) == {"finished": 6}
    finally:
        done.set()
        mover.join()
    assert moved.is_set()
    assert set(backend.created().values()) == set(backend.started().values()) == {1}


def test_a_back_end_that_cannot_start_a_job_is_not_asked_for_ever(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.scripts["job 0"] = Script(start_failures=99)
    backend.scripts["job 1"] = Script(assets=backend.default.assets, start_failures=2)
    backend.scripts["job 2"] = Script(
        assets=backend.default.assets, start_failures=6, start_status=429
    )
    with caplog.at_level(logging.WARNING, "openeo_gfmap.manager"):
        counts = manager(tmp_path, backend).run_jobs(table(4), start_job)
    assert counts == {"start_failed": 1, "finished": 3}
    assert backend.scripts["job 0"].start_failures == 99 - 11
    told = [record.message for record in caplog.records]
    assert sum("start on fake did not work 3 times" in message for message in told) == 1
    assert sum("refused to start" in message for message in told) == 1


def test_who_waits_for_jobs_that_are_not_made_is_told_why(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.default.creation_status = 500
    assert manager(tmp_path, backend).run_jobs(table(1), start_job) == {"start_failed": 1}
    told = [record.message for record in caplog.records if "did not work" in record.message]
    assert len(told) == 1 and "[500]" in told[0]
