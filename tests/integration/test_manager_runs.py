"""How the job manager treats back-ends: how many jobs, how many looks, what about failures."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openeo
import pandas as pd
import pytest
import requests

from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.policy import Again, ChangeOptions, Grow, OtherBackend, RetryPolicy
from support.fake_backend import FakeBackend, Script, fake_backend
from support.manager_run import GRAPH, QUICK, manager, output_path, start_job, table
from support.patches import patch_bytes

LOGGER = "openeo_gfmap.manager"
ONE_LOOK_A_SECOND = replace(QUICK, longest_poll=1.0)


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("patches")
    return {f"openEO_{n}.nc": patch_bytes(folder, seed=n, size=30) for n in range(2)}


@pytest.fixture
def backend(files: dict[str, bytes]) -> Iterator[FakeBackend]:
    with fake_backend() as running:
        running.default = Script(assets=files)
        yield running


def when(moment: Callable[[], bool], then: Callable[[], object]) -> threading.Thread:
    """Do something in a thread once a moment has come."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not moment() and time.monotonic() < deadline:
            time.sleep(0.005)
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def statuses(folder: Path) -> list[str]:
    return list(pd.read_csv(folder / "tracker.csv").status)


# ------------------------------------------------------------------------------- how many at once


def test_twenty_jobs_are_active_at_once(tmp_path: Path, backend: FakeBackend) -> None:
    """None of them ends before all of them run."""
    backend.default.states = ("queued", "running")
    run = GFMAPJobManager(tmp_path / "out", output_path, poll_sleep=0.05, options=QUICK)
    run.add_backend("fake", backend.connection, parallel_jobs=20)
    when(
        lambda: backend.most_active >= 20,
        lambda: setattr(backend.default, "states", ("running", "finished")),
    )
    assert run.run_jobs(table(30), start_job) == {"finished": 30}
    assert backend.most_active == 20
    assert set(backend.created().values()) == set(backend.started().values()) == {1}


def test_the_number_of_jobs_follows_the_time(tmp_path: Path, backend: FakeBackend) -> None:
    asked: list[Any] = []

    def places(time: Any) -> int:
        asked.append(time)
        return 0 if len(asked) < 4 else 3

    run = GFMAPJobManager(tmp_path / "out", output_path, poll_sleep=0.05, options=QUICK)
    run.add_backend("fake", backend.connection, parallel_jobs=places)
    assert run.run_jobs(table(6), start_job) == {"finished": 6}
    assert all(moment.tzinfo is not None for moment in asked)
    assert 1 <= backend.most_active <= 3


def test_a_back_end_that_is_away_at_the_start_is_waited_for(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def connect() -> openeo.Connection:
        tries.append(len(backend.jobs))
        if len(tries) < 3:
            raise requests.ConnectionError("connection refused")
        return other.connection()

    with fake_backend() as other, caplog.at_level(logging.INFO, LOGGER):
        other.default = backend.default
        run = manager(tmp_path, backend.url)
        run.add_backend("other", connect)
        df = table(6).assign(backend_name=["other", "fake"] * 3)
        assert run.run_jobs(df, start_job) == {"finished": 6}
    assert len(backend.jobs) == len(other.jobs) == 3
    told = [record.message for record in caplog.records if record.message.startswith("other ")]
    assert len(told) == 2 and "connection refused" in told[0] and "answers again" in told[1]


def test_when_no_back_end_answers_at_the_start_that_is_said(tmp_path: Path) -> None:
    def connect() -> openeo.Connection:
        raise requests.ConnectionError("no such host")

    run = GFMAPJobManager(tmp_path / "out", output_path)
    run.add_backend("a", connect)
    with pytest.raises(requests.ConnectionError, match="no such host"):
        run.run_jobs(table(1), start_job, tmp_path / "tracker.csv")
    run.add_backend("a", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ZeroDivisionError):  # and the tracker is free again
        run.run_jobs(table(1), start_job, tmp_path / "tracker.csv")


# ------------------------------------------------------------------------------------------- looks


def test_jobs_are_looked_at_through_the_list(tmp_path: Path, backend: FakeBackend) -> None:
    backend.page = 100
    backend.default.states = ("queued", *["running"] * 12, "finished")
    run = GFMAPJobManager(tmp_path / "out", output_path, poll_sleep=0.1, options=ONE_LOOK_A_SECOND)
    run.add_backend("fake", backend.connection, parallel_jobs=30)
    assert run.run_jobs(table(30), start_job) == {"finished": 30}
    # One by one there would be 14 a job. What is left: one before the start, one at the end, and
    # those of jobs that were due alone.
    assert backend.requests["GET /jobs/{id}"] <= 30 * 4
    assert 5 <= backend.requests["GET /jobs"] <= 60


def test_where_the_list_is_long_few_jobs_are_looked_at_one_by_one(
    tmp_path: Path, backend: FakeBackend
) -> None:
    backend.page = 5
    connection = backend.connection()
    for _ in range(40):  # of other runs; newer ones come first in the list
        connection.create_job(GRAPH, title="somebody else's")
    backend.default.states = ("queued", *["running"] * 20, "finished")

    def late(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        job = start_job(row, connection)
        for _ in range(10):
            connection.create_job(GRAPH, title="somebody else's")
        return job

    run = manager(tmp_path, backend.url)
    assert run.run_jobs(table(3), late) == {"finished": 3}
    # Learnt after the first pages of it.
    assert backend.requests["GET /jobs"] <= 40 < backend.requests["GET /jobs/{id}"]


# ---------------------------------------------------------------------------------------- policies


def test_jobs_that_run_too_long_are_ended_and_made_again(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.scripts["job 1"] = Script(states=("running",))
    policy = RetryPolicy(2, {ErrorKind.TIME_LIMIT: Again()})
    options = replace(QUICK, job_seconds=0.5, retry=policy)
    run = manager(tmp_path, backend.url, options=options)
    counts = run.run_jobs(table(3), start_job, tmp_path / "tracker.csv")
    assert counts == {"finished": 2, "error": 1}
    assert backend.created() == {"job 0": 1, "job 1": 2, "job 2": 1}
    assert [job.status for job in backend.jobs.values()].count("canceled") == 2
    told = [r.message for r in caplog.records if "time-limit" in r.message]
    assert len(told) == 1 and "(attempt 2 of 2)" in told[0]


def test_a_job_is_made_again_with_more_memory(tmp_path: Path, backend: FakeBackend) -> None:
    backend.default.states = ("running", "error")
    backend.default.logs = (
        {"id": "1", "level": "error", "message": "Container killed, exit code 137, OOMKilled"},
    )
    larger = ChangeOptions({"executor-memory": Grow(2, ceiling="8G")})

    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        job = connection.create_job(
            GRAPH, title=row.title, additional={"job_options": {"executor-memory": "2G", "x": 1}}
        )
        if len(backend.jobs) == 3:
            backend.default.states = ("running", "finished")
        return job

    options = replace(QUICK, retry=RetryPolicy(5, {ErrorKind.OUT_OF_MEMORY: larger}))
    run = manager(tmp_path, backend.url, options=options)
    assert run.run_jobs(table(1), start, tmp_path / "tracker.csv") == {"finished": 1}
    sent = [job.document["job_options"] for job in backend.jobs.values()]
    assert sent == [{"executor-memory": size, "x": 1} for size in ("2G", "4G", "8G")]
    assert run.costs().spent == 9.0  # of all three


def test_a_job_goes_to_another_back_end(tmp_path: Path, backend: FakeBackend) -> None:
    backend.scripts["job 0"] = Script(
        states=("error",),
        logs=({"id": "1", "level": "error", "message": "java.lang.NullPointerException"},),
    )
    options = replace(QUICK, retry=RetryPolicy(3, {ErrorKind.BACKEND_BUG: OtherBackend()}))
    with fake_backend() as other:
        other.default = backend.default
        run = manager(tmp_path, backend.url, options=options)
        run.add_backend("other", other.connection)
        df = table(2).assign(backend_name="fake")
        assert run.run_jobs(df, start_job, tmp_path / "tracker.csv") == {"finished": 2}
        assert other.created() == {"job 0": 1}
    tracker = pd.read_csv(tmp_path / "tracker.csv")
    assert list(tracker.backend_name) == ["other", "fake"]


def test_only_files_that_are_missing_are_fetched_when_failed_jobs_are_restarted(
    tmp_path: Path, backend: FakeBackend
) -> None:
    backend.scripts["job 0"] = script = Script(
        assets=backend.default.assets, absent_downloads=10_000
    )
    options = replace(QUICK, download_attempts=2)
    first = manager(tmp_path, backend.url, options=options)
    counts = first.run_jobs(table(2), start_job, tmp_path / "tracker.csv")
    assert counts == {"error": 1, "finished": 1}
    script.absent_downloads = 0
    again = manager(tmp_path, backend.url, restart_failed=True)
    assert again.run_jobs(table(2), start_job, tmp_path / "tracker.csv") == {"finished": 2}
    assert backend.created() == {"job 0": 1, "job 1": 1}


def test_files_that_got_lost_are_fetched_again_when_asked_for(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    manager(tmp_path, backend.url).run_jobs(table(4), start_job, tmp_path / "tracker.csv")
    (tmp_path / "out/job_1/patch_0.nc").unlink()
    (tmp_path / "out/job_2/patch_1.nc").write_bytes(b"cut")
    before = backend.requests["GET /jobs/{id}/results"]
    manager(tmp_path, backend.url).run_jobs(table(4), start_job, tmp_path / "tracker.csv")
    assert backend.requests["GET /jobs/{id}/results"] == before
    wanted = manager(tmp_path, backend.url, options=replace(QUICK, refetch_lost=True))
    counts = wanted.run_jobs(table(4), start_job, tmp_path / "tracker.csv")
    assert counts == {"finished": 4}
    assert "Files of 2 jobs are lost or changed" in caplog.text
    assert backend.requests["GET /jobs/{id}/results"] == before + 2
    for row in range(4):
        for n, content in enumerate(backend.default.assets.values()):
            assert (tmp_path / f"out/job_{row}/patch_{n}.nc").read_bytes() == content
    # What has the same size and another content is found when all files are read.
    patch = tmp_path / "out/job_3/patch_0.nc"
    patch.write_bytes(bytes(reversed(patch.read_bytes())))
    for how, asked in (("size", before + 2), ("checksum", before + 3)):
        wanted = manager(tmp_path, backend.url, options=replace(QUICK, refetch_lost=how))
        wanted.run_jobs(table(4), start_job, tmp_path / "tracker.csv")
        assert backend.requests["GET /jobs/{id}/results"] == asked
    assert patch.read_bytes() == next(iter(backend.default.assets.values()))
    assert len(backend.jobs) == 4


# ---------------------------------------------------------------------------------------- stopping


def test_who_stops_is_told_what_goes_on(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A real Ctrl-C while three jobs run on the back-end."""
    backend.default.states = ("running",)
    when(
        lambda: sum(job.active for job in list(backend.jobs.values())) == 3,
        lambda: os.kill(os.getpid(), signal.SIGINT),
    )
    run = manager(tmp_path, backend.url)
    with (
        caplog.at_level(logging.INFO, LOGGER),
        pytest.raises(KeyboardInterrupt, match="Jobs that go on there: 3 on fake") as caught,
    ):
        run.run_jobs(table(9), start_job, tmp_path / "tracker.csv")
    assert all(identifier in str(caught.value) for identifier in backend.jobs)
    assert "Run the same again to resume" in str(caught.value)
    assert sum("Ctrl-C again stops at once" in r.message for r in caplog.records) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(backend.jobs) == 3
    backend.default.states = ("running", "finished")
    again = manager(tmp_path, backend.url)
    assert again.run_jobs(table(9), start_job, tmp_path / "tracker.csv") == {"finished": 9}
    assert set(backend.created().values()) == set(backend.started().values()) == {1}
