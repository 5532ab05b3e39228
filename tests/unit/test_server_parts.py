"""Parts of the server that can be looked at alone: turns, settings from a file, the display."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from openeo_gfmap.local.display import render
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.fair import Turns
from openeo_gfmap.local.settings import GIB, Settings
from openeo_gfmap.local.store import Job, JobStore


def job(number: int, owner: str = "", queue: str | None = None) -> Job:
    options = {} if queue is None else {"queue": queue}
    return Job(f"j{number}", owner=owner, options=options, queued_at=number, number=number)


def order(jobs: list[Job], at_a_time: int, limit: int = 0) -> list[str]:
    """Return the order in which jobs start when the one that has run longest ends first."""
    turns, waiting, running, started = Turns(limit), list(jobs), list[Job](), list[str]()
    while waiting:
        while len(running) < at_a_time and (found := turns.next(waiting, running)):
            waiting.remove(found)
            running.append(found)
            started.append(found.id)
        running.pop(0)
    return started


class TestTurns:
    def test_first_come_first_served_without_users(self) -> None:
        assert order([job(n) for n in range(5)], 2) == ["j0", "j1", "j2", "j3", "j4"]

    def test_users_take_turns(self) -> None:
        jobs = [job(n, "ann") for n in range(6)] + [job(6, "ben"), job(7, "ben"), job(8, "cy")]
        assert order(jobs, 1)[:5] == ["j0", "j6", "j8", "j1", "j7"]

    def test_who_has_fewer_at_work_is_next(self) -> None:
        jobs = [job(n, "ann") for n in range(6)]
        turns = Turns()
        assert turns.next([jobs[3], job(9, "ben")], jobs[:3]) == job(9, "ben")
        assert turns.next(jobs[4:], jobs[:3]) == jobs[4]

    def test_queues_of_a_user_take_turns(self) -> None:
        jobs = [job(n, queue="big") for n in range(3)] + [job(3, queue="small"), job(4)]
        assert order(jobs, 1) == ["j0", "j3", "j4", "j1", "j2"]

    def test_a_limit_for_each_user(self) -> None:
        jobs = [job(n, "ann") for n in range(4)]
        assert Turns(2).next(jobs[2:], jobs[:2]) is None
        assert order([*jobs, job(9, "ben")], 4, limit=2)[:3] == ["j0", "j9", "j1"]

    @given(st.lists(st.sampled_from(["ann", "ben", "cy", "dee"]), max_size=30), st.integers(1, 4))
    def test_nobody_waits_for_two_of_anybody_else(self, owners: list[str], at_a_time: int) -> None:
        """All jobs start, each user's in order, and nobody is passed over twice by one other."""
        jobs = [job(n, owner) for n, owner in enumerate(owners)]
        started = order(jobs, at_a_time)
        assert sorted(started) == sorted(j.id for j in jobs)
        by_id = {j.id: j for j in jobs}
        for owner in set(owners):
            mine = [by_id[i].number for i in started if by_id[i].owner == owner]
            assert mine == sorted(mine)
            first = started.index(f"j{mine[0]}")
            before = [by_id[i].owner for i in started[:first]]
            assert all(before.count(other) <= at_a_time for other in set(before))

    def test_the_store_knows_who_may_be_next(self, tmp_path: Path) -> None:
        store = JobStore(tmp_path / "jobs.sqlite")
        for n, (owner, queue) in enumerate(
            [("ann", None), ("ann", "a"), ("ann", None), ("ben", "a"), ("ben", "a")]
        ):
            store.add(job(n, owner, queue), {})
            store.enqueue(f"j{n}", "now")
        assert [j.id for j in store.heads()] == ["j0", "j1", "j3"]
        assert store.heads()[1].queue == "a" and store.counts() == {"queued": 5}
        store.close()


def test_a_store_of_an_earlier_release_is_taken_over(tmp_path: Path) -> None:
    import sqlite3

    store = JobStore(tmp_path / "jobs.sqlite")
    store.add(job(0), {})
    store.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as old:
        for column in ("owner", "started"):
            old.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
    old.close()
    store = JobStore(tmp_path / "jobs.sqlite")
    assert store.get("j0").owner == "" and store.get("j0").started == ""
    store.update("j0", owner="ann")
    assert store.get("j0").owner == "ann"
    store.close()


class TestSettings:
    def load(self, folder: Path, text: str, **given: object) -> Settings:
        (folder / "config.toml").write_text(text)
        return Settings.load({"OPENEO_GFMAP_PORT": "81"}, home=folder, **given)

    def test_from_a_file(self, tmp_path: Path) -> None:
        settings = self.load(
            tmp_path,
            'memory = "12G"\nparallel_jobs = 3\nport = 80\njob_seconds = 60\n'
            'result_store = "s3://bucket/x"\n[sources]\nSENTINEL2_L2A = "https://x/v1#s2"\n',
            job_seconds=30,
        )
        assert (settings.memory, settings.parallel_jobs) == (12 * GIB, 3)
        assert settings.port == 81, "the environment goes before the file"
        assert settings.job_seconds == 30, "what is given goes before both"
        assert settings.sources == {"SENTINEL2_L2A": "https://x/v1#s2"}
        assert settings.job_share == 4 * GIB

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("parallel_job = 3", r"no setting 'parallel_job'; there are .*parallel_jobs"),
            ('memory = "lots"', r"memory in .*config.toml is 'lots'"),
            ("memory = ", "is no TOML file"),
            ('home = "/x"', "no setting 'home'"),
            ('scheduler = "somewhere"', r"scheduler is 'somewhere'; .*tcp://"),
            ('result_store = "ftp://x/y"', r"result_store is 'ftp://x/y'; .* s3://"),
            ("user_jobs = -1", r"user_jobs is -1; expected 0 \(no limit\) or more"),
            ("udf_seconds = 0", "udf_seconds is 0.0; expected a number above 0"),
        ],
    )
    def test_what_cannot_be(self, tmp_path: Path, text: str, told: str) -> None:
        with pytest.raises(OpenEOError, match=told):
            self.load(tmp_path, text)


def test_the_terminal_shows_jobs_queue_and_workers() -> None:
    at_work = {
        "id": "j-1", "title": "Fields of 2023", "user": "ann", "queue": None, "progress": 40.0,
        "seconds": 75.2, "pid": 1, "processes": 3, "memory": GIB, "cpu_seconds": 9, "cluster": None,
    }  # fmt: skip
    cluster = {"scheduler": "tcp://x:1", "workers": ["a", "b"], "threads": 8}
    status = {
        "jobs": {"queued": 2, "running": 2, "finished": 7},
        "running": [at_work, {**at_work, "title": None, "cluster": cluster}],
        "queued": [{"id": "j-3", "title": "Next one"}],
        "machine": {"cpus": 4, "memory": 12 * GIB, "memory_used": 2 * GIB},
        "limits": {"parallel_jobs": 4},
    }
    console = Console(file=io.StringIO(), width=120)
    console.print(render(status))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 of at most 4 jobs at work · 2 queued · 7 finished · 2.0 of 12 GiB" in text
    assert "Fields of 2023" in text and "40" in text and "1:15" in text and "3 processes" in text
    assert "2 workers, 8 threads" in text and "next: Next one" in text
