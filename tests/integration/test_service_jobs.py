"""Batch jobs and what can befall them: cancel, crash, limits, and a server that is killed."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import openeo
import pytest
import requests
from openeo.rest import OpenEoApiError

from openeo_gfmap.local.child import Limits, adopt, start, supervise
from openeo_gfmap.local.joblog import JobLog
from openeo_gfmap.local.run import memory_limit
from openeo_gfmap.local.settings import Settings
from openeo_gfmap.local.store import JobStore
from support.service import ADD, ServerProcess, children_of, ended, wait_for
from support.slow_source import SlowSource


@pytest.fixture
def slow() -> Iterator[SlowSource]:
    with SlowSource() as source:
        yield source


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "home", "--parallel-jobs", "1").start()
    yield server
    server.stop()


def hanging(connection: openeo.Connection, slow: SlowSource) -> openeo.BatchJob:
    """Start a job and wait until it waits for the slow source."""
    before = slow.requests
    job = connection.create_job(slow.graph, validate=False)
    job.start()
    wait_for(lambda: slow.requests > before, explain=lambda: str(job.logs()))
    assert job.status() == "running"
    return job


def messages(job: openeo.BatchJob, level: str = "debug") -> str:
    return "\n".join(entry["message"] for entry in job.logs(level=level))


def folder_of(server: ServerProcess, job: openeo.BatchJob) -> Path:
    return server.state / "jobs" / job.job_id


class TestQueue:
    def test_one_at_a_time_in_order(self, server: ServerProcess, slow: SlowSource) -> None:
        connection = server.connect()
        first = hanging(connection, slow)
        second, third = (connection.create_job(ADD).start() for _ in range(2))
        assert [second.status(), third.status()] == ["queued", "queued"]
        with pytest.raises(OpenEoApiError, match="JobNotFinished"):
            second.get_results().get_metadata()
        with pytest.raises(OpenEoApiError, match="JobLocked"):
            connection.patch(f"/jobs/{second.job_id}", json={"title": "x"})
        second.stop()
        assert second.status() == "canceled"
        slow.release()
        assert ended(first) == ended(third) == "finished"
        assert second.status() == "canceled"
        second.start()  # may be started again
        assert ended(second) == "finished"

    def test_starting_twice_starts_once(self, server: ServerProcess, slow: SlowSource) -> None:
        job = hanging(server.connect(), slow)
        job.start()
        slow.release()
        assert ended(job) == "finished"
        assert slow.requests == 1 and messages(job).count("queued") == 1

    def test_cancel_ends_the_process(self, server: ServerProcess, slow: SlowSource) -> None:
        job = hanging(server.connect(), slow)
        assert children_of(folder_of(server, job))
        job.stop()
        assert job.status() == "canceled"
        assert not children_of(folder_of(server, job))
        assert "canceled" in messages(job) and not messages(job, "error")
        with pytest.raises(OpenEoApiError, match="JobNotStarted"):
            job.get_results().get_metadata()

    def test_delete_ends_the_process(self, server: ServerProcess, slow: SlowSource) -> None:
        job = hanging(server.connect(), slow)
        job.delete()
        assert not children_of(folder_of(server, job)) and not folder_of(server, job).exists()

    def test_a_synchronous_request_that_nobody_waits_for(
        self, server: ServerProcess, slow: SlowSource
    ) -> None:
        token = server.connect().auth.bearer
        address = urlsplit(server.known["url"])
        client = http.client.HTTPConnection(address.hostname or "", address.port)
        body = json.dumps({"process": {"process_graph": slow.graph}})
        client.request("POST", "/openeo/1.2/result", body, {"Authorization": f"Bearer {token}"})
        wait_for(lambda: slow.requests == 1, 60)
        client.close()
        wait_for(lambda: not list((server.state / "sync").iterdir()))
        assert not children_of(server.state / "sync")


class TestFailures:
    def test_a_killed_child(self, server: ServerProcess, slow: SlowSource) -> None:
        job = hanging(server.connect(), slow)
        (child,) = children_of(folder_of(server, job))
        os.kill(child, signal.SIGKILL)
        assert ended(job) == "error"
        (entry,) = job.logs(level=logging.ERROR)
        assert entry["code"] == "JobCrashed"
        assert "SIGKILL" in entry["message"] and "memory" in entry["message"]
        with pytest.raises(OpenEoApiError, match=r"\[424\] JobCrashed"):
            job.get_results().get_metadata()
        job.start()  # may be started again
        slow.release()
        assert ended(job) == "finished"

    def test_a_crash_shows_what_the_process_printed(
        self, server: ServerProcess, slow: SlowSource
    ) -> None:
        job = hanging(server.connect(), slow)
        (child,) = children_of(folder_of(server, job))
        os.kill(child, signal.SIGSEGV)
        assert ended(job) == "error"
        assert "SIGSEGV" in messages(job, "error")
        assert "Segmentation fault" in messages(job) and "files.py" in messages(job)

    def test_the_time_limit(self, tmp_path: Path, slow: SlowSource) -> None:
        server = ServerProcess(
            tmp_path / "home", "--job-seconds", "2.5", "--sync-seconds", "2"
        ).start()
        try:
            connection = server.connect()
            job = connection.create_job(slow.graph, validate=False).start()
            assert ended(job) == "error"
            (entry,) = job.logs(level="error")
            assert entry["code"] == "TimeLimitExceeded" and "2 s" in entry["message"]
            assert not children_of(folder_of(server, job))
            with pytest.raises(OpenEoApiError, match="TimeLimitExceeded"):
                connection.execute(slow.graph, validate=False)
        finally:
            server.stop()

    def test_the_memory_limit(self, tmp_path: Path) -> None:
        server = ServerProcess(tmp_path / "home", "--job-memory", "800M").start()
        try:
            connection = server.connect()
            cube = connection.load_collection(
                "SENTINEL2_L2A",
                spatial_extent={"west": 3.70, "south": 50.93, "east": 3.701, "north": 50.931},
                temporal_extent=["2021-05-01", "2021-05-06"],
                bands=["B04"],
            )
            greedy = (
                "def apply_datacube(cube, context):\n"
                "    return [b'x' * 2**20 for _ in range(4000)]\n"
            )
            cube = cube.apply(openeo.UDF(greedy, runtime="Python"))
            job = connection.create_job(cube, validate=False).start()
            assert ended(job) == "error"
            (entry,) = job.logs(level="error")
            assert entry["code"] == "MemoryLimitExceeded" and "800 MB" in entry["message"]
        finally:
            server.stop()

    def test_the_memory_limit_is_for_all_processes_together(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        child = start(tmp_path, "support.greedy_child")

        async def watch() -> object:
            stop = asyncio.get_running_loop().create_future()
            return await supervise(child, Limits(200_000_000, 30), stop)

        stopped = asyncio.run(watch())
        assert stopped is not None and stopped.code == "MemoryLimitExceeded"
        # Well before the 4 GB that it would take; how soon it is seen is up to the machine.
        assert 200_000_000 < child.usage.peak < 2_000_000_000
        assert not children_of(tmp_path) and adopt(tmp_path) is None

    def test_never_two_children_in_one_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        child = start(tmp_path, "support.greedy_child")
        try:
            with pytest.raises(BlockingIOError):
                start(tmp_path, "support.greedy_child")
            found = adopt(tmp_path)
            assert found is not None and found.group == child.group and found.alive()
        finally:
            child.kill()
        assert not found.alive()


class TestRestart:
    def test_a_killed_server(self, server: ServerProcess, slow: SlowSource) -> None:
        """The running job goes on without it, the queued one after it, all with the same login."""
        connection = server.connect()
        running = hanging(connection, slow)
        queued = connection.create_job(ADD, title="queued").start()
        created = connection.create_job(ADD, title="created")
        before = server.known
        children = children_of(folder_of(server, running))
        assert server.signal(signal.SIGKILL) == -signal.SIGKILL
        server.start()
        assert server.known["url"] == before["url"]
        assert children_of(folder_of(server, running)) == children  # the same, and no second
        assert running.status() == "running" and queued.status() == "queued"
        assert created.status() == "created"
        slow.release()
        assert ended(running) == ended(queued) == "finished"
        assert slow.requests == 1
        assert running.describe()["usage"]["cpu"]["value"] > 0
        assert running.get_results().get_asset().load_json()

    def test_a_job_that_ended_while_no_server_was_there(
        self, server: ServerProcess, slow: SlowSource
    ) -> None:
        job = hanging(server.connect(), slow)
        server.signal(signal.SIGKILL)
        slow.release()
        wait_for(lambda: not children_of(folder_of(server, job)))
        server.start()
        assert ended(job) == "finished" and slow.requests == 1

    def test_a_job_that_is_canceled_after_the_restart(
        self, server: ServerProcess, slow: SlowSource
    ) -> None:
        job = hanging(server.connect(), slow)
        server.signal(signal.SIGKILL)
        server.start()
        job.stop()
        assert job.status() == "canceled" and not children_of(folder_of(server, job))

    def test_a_job_that_dies_with_its_server(self, server: ServerProcess, slow: SlowSource) -> None:
        """As when the machine goes down: it starts anew, but not for ever."""
        job = hanging(server.connect(), slow)
        for attempt in (1, 2, 3):
            wait_for(lambda n=attempt: slow.requests == n)
            (child,) = children_of(folder_of(server, job))
            server.signal(signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            wait_for(lambda: not children_of(folder_of(server, job)))
            server.start()
        assert job.status() == "error"
        assert "interrupted 3 times" in messages(job, "error")

    def test_a_server_that_is_asked_to_end(self, server: ServerProcess, slow: SlowSource) -> None:
        job = hanging(server.connect(), slow)
        assert server.signal(signal.SIGTERM) == 0
        assert not children_of(folder_of(server, job))
        assert not (server.state / "server.json").exists()
        server.start()
        slow.release()
        assert ended(job) == "finished"
        assert "starts anew" in messages(job)

    def test_leftovers_of_requests_are_removed(
        self, server: ServerProcess, slow: SlowSource
    ) -> None:
        connection = server.connect()
        with pytest.raises(requests.Timeout):
            connection.execute(slow.graph, timeout=2.5, validate=False)
        server.signal(signal.SIGKILL)
        (server.state / "uploads" / "x.part").write_bytes(b"half")
        server.start()
        assert not list((server.state / "sync").iterdir())
        assert not list((server.state / "uploads").iterdir())
        assert not children_of(server.state / "sync")


class TestIdle:
    def test_it_ends_when_idle_but_not_before(self, tmp_path: Path, slow: SlowSource) -> None:
        server = ServerProcess(tmp_path / "home", "--idle-seconds", "1.5").start()
        connection = server.connect()
        job = hanging(connection, slow)
        time.sleep(2.5)
        assert job.status() == "running"
        slow.release()
        assert ended(job) == "finished"
        before = time.monotonic()
        assert server.wait(15) == 0
        assert time.monotonic() - before > 0.8
        assert not (server.state / "server.json").exists()


class TestParts:
    def test_progress_reaches_the_job(self, tmp_path: Path) -> None:
        from openeo_gfmap.local.batch import _ProgressNote
        from openeo_gfmap.local.store import Job
        from openeo_gfmap.local.worker import PROGRESS_FILE, _Progress

        store = JobStore(tmp_path / "jobs.sqlite")
        store.add(Job(id="j"), {})
        note = _ProgressNote(store, "j", tmp_path)
        note.look()
        assert store.get("j").progress == 0
        tell = _Progress(tmp_path / PROGRESS_FILE)
        tell(12.34)
        tell(99)  # too soon after the one before to be worth writing
        note.look()
        assert store.get("j").progress == 12.3
        store.close()

    def test_memory_limit_follows_the_job_options(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path, job_memory=8 << 30)
        asked = {"executor-memory": "5G", "executor-memoryOverhead": "2G"}
        assert memory_limit(asked, settings) == 7 << 30
        assert memory_limit({"executor-memory": "100m"}, settings) == 1 << 30
        assert memory_limit({"executor-memory": "64G"}, settings) == 8 << 30
        assert memory_limit({"executor-memory": "lots", "x": 1}, settings) == 8 << 30
        assert memory_limit({}, replace(settings, job_memory=3 << 30)) == 3 << 30

    def test_a_log_line_cut_short_costs_only_itself(self, tmp_path: Path) -> None:
        log = JobLog(tmp_path / "log", "info")
        log("info", "one")
        log("debug", "dropped")
        with log.path.open("ab") as file:
            file.write(b'{"level": "info", "mess\n')
        log("error", "three \ud800", "Code")
        entries = list(log.entries())
        assert [e["id"] for e in entries] == ["1", "2", "3"]
        assert "Unreadable" in entries[1]["message"] and entries[2]["code"] == "Code"
        assert [e["id"] for e in log.entries(level="error")] == ["3"]

    def test_the_store_is_read_by_the_next_one(self, tmp_path: Path) -> None:
        from openeo_gfmap.local.store import Job, UnknownJobError

        store = JobStore(tmp_path / "jobs.sqlite")
        for number in range(3):
            store.add(Job(id=f"j{number}", options={"a": [number]}), {"process_graph": ADD})
        for job_id in ("j2", "j0"):
            store.enqueue(job_id, "now")
        again = JobStore(tmp_path / "jobs.sqlite")  # the first was not closed: as after a kill
        assert [job.id for job in again.waiting(5)] == ["j2", "j0"]
        assert again.get("j1").options == {"a": [1]} and again.process("j1")["process_graph"] == ADD
        again.delete("j1")
        for ask in (again.get, again.process):
            with pytest.raises(UnknownJobError):
                ask("j1")
        again.close()
        store.close()
