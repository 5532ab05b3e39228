"""Starting a job, and seeing that it is done: once, with a look where there is doubt."""

from __future__ import annotations

import re

import openeo
import pandas as pd

from faults.proxy import UNAVAILABLE, Answer, Fault
from faults.world import World
from support.manager_run import start_job


def asked_of(world: World, job: str) -> list[str]:
    """Return the requests about a job, without those for its results."""
    lines = [f"{passed.method} {passed.path}" for passed in world.proxy.ledger]
    return [line for line in lines if re.search(rf"{job}(/results)?$", line)]


def test_a_job_that_was_just_made_is_started_without_a_look(world: World) -> None:
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)
    for job in world.backend.jobs:
        first, *others = asked_of(world, job)
        assert first == f"POST /jobs/{job}/results"
        assert first not in others


def test_a_job_that_the_callback_started_is_not_started_without_a_look(world: World) -> None:
    """Also when it cannot be looked at for a while."""

    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        return start_job(row, connection).start()

    world.fail(Fault("GET /jobs/[^/]+", UNAVAILABLE, 2))
    assert world.run(start) == {"finished": world.jobs}
    world.check(warnings=5)


def test_a_job_of_another_session_of_the_callback_is_looked_at(world: World) -> None:
    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        return start_job(row, world.connect()).start()

    assert world.run(start) == {"finished": world.jobs}
    world.check(warnings=0)


def test_a_start_whose_answer_is_lost_is_not_asked_for_again(world: World) -> None:
    world.fail(Fault("POST /jobs/[^/]+/results", UNAVAILABLE, 1, done=True))
    assert world.run() == {"finished": world.jobs}
    world.check()
    for job in world.backend.jobs:
        start, look, *_ = asked_of(world, job)
        assert (start, look) == (f"POST /jobs/{job}/results", f"GET /jobs/{job}")


def test_a_refused_start_is_looked_into(world: World) -> None:
    """The job vanished, or somebody was quicker: the back-end knows which."""
    gone = Answer(404, b'{"code": "JobNotFound", "message": "no such job"}')
    world.fail(
        Fault("POST /jobs/j-0001/results", gone, 1),
        Fault("GET /jobs/j-0001", gone, None),
        Fault("POST /jobs/j-0002/results", Answer(400, b'{"code": "JobLocked"}'), 1, done=True),
    )
    assert world.run() == {"error": 1, "finished": world.jobs - 1}
    (row,) = world.rows().index[world.rows().status == "error"]
    world.check({int(row): ("error", "no longer has job j-0001")})


def test_what_the_list_says_of_a_job_that_is_done_is_enough_when_it_is_all(world: World) -> None:
    world.jobs = 20
    world.backend.page = 50
    world.backend.usage_in_list = True
    world.backend.default.states = ("finished",)
    assert world.run(parallel_jobs=20, poll_sleep=0.5) == {"finished": world.jobs}
    world.check(warnings=0, parallel=20)
    assert list(world.rows().cpu) == ["12 cpu-seconds"] * world.jobs
    assert world.proxy.asked("GET /jobs/[^/]+") < world.jobs


def test_costs_are_asked_for_where_the_list_leaves_them_out(world: World) -> None:
    world.jobs = 20
    world.backend.page = 50
    world.backend.default.states = ("finished",)
    assert world.run(parallel_jobs=20) == {"finished": world.jobs}
    world.check(warnings=0, parallel=20)
    assert list(world.rows().cpu) == ["12 cpu-seconds"] * world.jobs
    assert world.proxy.asked("GET /jobs/[^/]+") >= world.jobs
