"""Requests that fail, and answers that are lost or senseless: nothing is lost, nothing done twice.

Each test drives the real manager, with the real client, through a proxy before the fake back-end.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace

import openeo
import pandas as pd
import pytest

from faults.proxy import (
    BAD_GATEWAY,
    HTML_PAGE,
    INTERNAL,
    TOO_MANY,
    UNAVAILABLE,
    Answer,
    Chunked,
    Cut,
    Fault,
    Half,
    Hang,
    Longer,
    NoLength,
    Reset,
    Slow,
    Then,
    What,
    everywhere,
)
from faults.world import QUICK, World
from support.manager_run import GRAPH, start_job

ALL = r"(GET|POST) /(jobs|files).*"
CREATE, START = "POST /jobs", "POST /jobs/[^/]+/results"
LOOK, RESULTS, LIST = "GET /jobs/[^/]+", "GET /jobs/[^/]+/results", "GET /jobs"
ENDPOINTS = {
    "create": CREATE,
    "start": START,
    "look": f"{LOOK}|{LIST}",
    "results": RESULTS,
    "file": "GET /files/.*",
}


# --------------------------------------------------------------------------------- refused requests


@pytest.mark.parametrize(
    "answer", [INTERNAL, BAD_GATEWAY, UNAVAILABLE, TOO_MANY], ids=["500", "502", "503", "429"]
)
def test_a_back_end_that_fails_often_is_worked_with(world: World, answer: Answer) -> None:
    world.backend.page = 50
    world.fail(Fault(ALL, answer, None, share=0.25), seed=1)
    assert world.run() == {"finished": world.jobs}
    assert world.proxy.harmed(answer) >= 5
    world.check(warnings=12)


@pytest.mark.parametrize("header", ["2", "date"])
def test_retry_after_is_obeyed_and_blocks_nobody_else(world: World, header: str) -> None:
    """One job's address asks for two seconds; the others are done long before they are over."""
    if header == "date":
        later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
        header = later
    busy = Answer(503, UNAVAILABLE.body, {"Retry-After": header})
    world.fail(Fault("GET /jobs/j-0001.*", busy, 1))
    assert world.run() == {"finished": world.jobs}
    world.check()
    looks = [
        p.at for p in world.proxy.ledger if re.match("GET /jobs/j-0001", f"{p.method} {p.path}")
    ]
    first, second = looks[:2]
    assert second - first >= 1.9


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
def test_a_hanging_answer_holds_nobody_up_for_long(world: World, endpoint: str) -> None:
    world.fail(Fault(endpoint, Hang(), 1, each=False))
    assert world.run() == {"finished": world.jobs}
    assert world.proxy.harmed() == 1
    world.check()


def test_slow_answers_are_waited_for(world: World) -> None:
    world.fail(Fault(ALL, Slow(0.2), None, share=0.3, done=True))
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)


# ------------------------------------------------------------------------------------------ outages


def test_a_back_end_that_is_away_is_waited_for(world: World) -> None:
    """Connections are refused, longer than any single request is tried."""
    world.backend.default.states = ("queued", "running", "running", "running", "finished")
    world.jobs = 8

    def outage() -> None:
        while len(world.backend.jobs) < 3:
            time.sleep(0.01)
        with world.proxy.refused():
            time.sleep(3)

    away = threading.Thread(target=outage)
    away.start()
    assert world.run() == {"finished": world.jobs}
    away.join()
    world.check(warnings=3)
    # Nor does what is under it tell of each try.
    assert {r.name for r in world.caplog.records} <= {"openeo_gfmap.manager"}


def test_a_back_end_in_maintenance_is_probed_and_not_stormed(world: World) -> None:
    world.backend.default.states = ("queued", "running", "running", "running", "finished")
    world.jobs = 8
    begun, during = threading.Event(), []

    def outage() -> None:
        while len(world.backend.jobs) < 3:
            time.sleep(0.01)
        world.fail(Fault(".*", UNAVAILABLE, None))
        begun.set()
        before = len(world.proxy.ledger)
        time.sleep(3)
        during.append(len(world.proxy.ledger) - before)
        world.fail()

    away = threading.Thread(target=outage)
    away.start()
    assert world.run() == {"finished": world.jobs}
    away.join()
    world.check(warnings=3)
    # At most 0.4 s apart, after those that were in hand: no more than a few a second.
    assert during[0] <= 3 / 0.2 + 16


# ---------------------------------------------------------------------------------- broken answers


def on_each_endpoint(*harm: What) -> list[Fault]:
    """Each once on each kind of request, after the work is done."""
    return [
        Fault(endpoint, what, 1, each=False, done=True)
        for endpoint in ENDPOINTS.values()
        for what in harm
    ]


def check_harm(world: World, *harm: What) -> None:
    world.jobs = 8
    world.backend.page = 50
    world.fail(*on_each_endpoint(*harm))
    assert world.run() == {"finished": world.jobs}
    for what in harm:
        assert world.proxy.harmed(what) == len(ENDPOINTS), what
    world.check(warnings=6)


@pytest.mark.parametrize(
    "harm",
    [
        (Reset(), Then()),
        (Cut(), Cut(reset=False), Longer()),
        (NoLength(), Chunked(), Chunked(hang=True)),
    ],
    ids=["reset", "cut", "no length"],
)
def test_a_connection_that_breaks_ends_nothing(world: World, harm: tuple[What, ...]) -> None:
    """Before, in the middle of, and after an answer."""
    check_harm(world, *harm)


@pytest.mark.parametrize(
    "harm",
    [
        (Half(), HTML_PAGE, Answer(200, b""), Answer(200, b"\xff\xfe\x00")),
        (Answer(200, b"null"), Answer(200, b"[]"), Answer(200, b"{}"), Answer(200, b'"text"')),
        (
            Answer(200, b'{"jobs": {}, "assets": [], "status": {}, "links": 3}'),
            Answer(200, b'{"jobs": [1, null], "assets": {"a": null}, "links": [null]}'),
        ),
    ],
    ids=["no json", "other json", "odd fields"],
)
def test_a_senseless_answer_ends_nothing(world: World, harm: tuple[What, ...]) -> None:
    check_harm(world, *harm)


@pytest.mark.parametrize("description", [b'{"status": 7}', b"<html>"], ids=str)
def test_a_job_that_is_never_described_is_an_error_in_the_end(
    world: World, description: bytes
) -> None:
    world.jobs = 3
    world.fail(Fault("GET /jobs/j-0001", Answer(200, description), None))
    world.backend.describe_in_list = False
    world.run()
    row = int(world.backend.jobs["j-0001"].document["title"].split()[1])
    world.check({row: ("error", "j-0001")})


@pytest.mark.parametrize("what", [BAD_GATEWAY, UNAVAILABLE, Reset()], ids=["502", "503", "reset"])
@pytest.mark.parametrize("endpoint", ["GET /jobs/j-0001", "POST /jobs/j-0001/results"])
def test_a_job_that_alone_is_away_for_ever_is_an_error_in_the_end(
    world: World, endpoint: str, what: What
) -> None:
    """The back-end answers for all others: it is not away."""
    world.jobs = 3
    world.fail(Fault(endpoint, what, None))
    world.backend.describe_in_list = False
    options = replace(QUICK, longest_wait=0.1)
    counts = world.run(poll_sleep=0.01, options=options)
    state = "start_failed" if endpoint.startswith("POST") else "error"
    assert counts == {state: 1, "finished": 2}
    row = int(world.backend.jobs["j-0001"].document["title"].split()[1])
    world.check({row: (state, "")})


# --------------------------------------------------------------------------------- lost answers


@pytest.mark.parametrize(
    ("what", "described"),
    [
        (Reset(), True), (Reset(), False), (BAD_GATEWAY, True), (UNAVAILABLE, False), (Cut(), True),
        (HTML_PAGE, True), (Hang(), False),
    ],
    ids=str,
)  # fmt: skip
def test_a_job_whose_answer_was_lost_is_adopted(world: World, what: What, described: bool) -> None:
    """Also where the list of jobs leaves descriptions out."""
    world.jobs = 3
    world.backend.describe_in_list = described
    world.fail(Fault(CREATE, what, None, each=False, share=0.7, done=True))
    assert world.run() == {"finished": world.jobs}
    assert world.proxy.harmed(what) >= 1
    world.check()


@pytest.mark.parametrize("status", [404, 500])
def test_a_job_of_the_users_that_nobody_can_describe_hides_no_other(
    world: World, status: int
) -> None:
    """The list leaves descriptions out, and one of its jobs is broken, or just gone."""
    world.jobs = 3
    world.backend.describe_in_list = False
    world.connect().create_job({}, title="another")
    broken = Answer(status, b'{"code": "Internal", "message": "no such document"}')
    world.fail(
        Fault("GET /jobs/j-0000", broken, None),
        Fault(CREATE, Reset(), 1, each=False, done=True),  # its job is there
        Fault(CREATE, Reset(), 1, each=False, skip=1),  # no job was made
    )
    counts = world.run(parallel_jobs=1, options=replace(QUICK, longest_wait=0.05))
    failed = [text for text in world.messages().values() if "does not tell" in text]
    if status == 404:
        assert counts == {"finished": 3} and not failed
    else:
        # It may be the job; a second one would cost.
        assert counts == {"finished": 2, "start_failed": 1}
        assert "no such document" in failed[0] and "description ends in [gfmap:" in failed[0]
    made = world.backend.created()
    assert max(made.values()) == 1 and len(world.warnings()) <= 4


def test_a_list_that_never_comes_makes_no_second_job(world: World) -> None:
    """Whether the job was made is not known then: that is said, and the others are done."""
    world.fail(
        Fault(LIST, INTERNAL, None),
        Fault(CREATE, Reset(), 1, each=False, done=True),
    )
    counts = world.run(options=replace(QUICK, longest_wait=0.05))
    assert counts == {"start_failed": 1, "finished": world.jobs - 1}
    (row,) = world.rows().index[world.rows().status == "start_failed"]
    world.check({int(row): ("start_failed", "does not tell whether it has made the job")})


def test_a_list_without_an_end_ends(world: World) -> None:
    """Each page has another next one, with the same job, or with none."""

    def page(number: int) -> bytes:
        following = {"rel": "next", "href": f"?offset={number + 1}"}
        jobs = [{"id": "j-7", "status": "running", "description": "mine"}] if number % 3 else []
        return json.dumps({"jobs": jobs, "links": [following]}).encode()

    world.fail(
        *(Fault(LIST, Answer(200, page(n)), 1, each=False) for n in range(1000)),
        Fault(CREATE, Reset(), 1, each=False),
    )
    assert world.run() == {"finished": world.jobs}
    world.check()
    assert world.proxy.asked(LIST) < 1000


@pytest.mark.parametrize("what", [Reset(), BAD_GATEWAY, Hang()], ids=str)
def test_a_start_whose_answer_was_lost_is_one_start(world: World, what: What) -> None:
    world.jobs = 3
    world.fail(Fault(START, what, 1, done=True))
    assert world.run() == {"finished": world.jobs}
    assert world.proxy.asked(START) == world.jobs
    world.check()


def test_a_job_that_the_callback_started_is_polled_on(world: World) -> None:
    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        return start_job(row, connection).start()

    assert world.run(start) == {"finished": world.jobs}
    assert world.proxy.asked(START) == world.jobs
    world.check(warnings=0)


# ------------------------------------------------------------------------------ what does not pass


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_fails_its_own_job(world: World, status: int) -> None:
    refusal = Answer(status, b'{"code": "ProcessGraphInvalid", "message": "no such band B99"}')
    world.fail(Fault(CREATE, refusal, 1, each=False))
    counts = world.run()
    assert counts == {"start_failed": 1, "finished": world.jobs - 1}
    (row,) = world.rows().index[world.rows().status == "start_failed"]
    world.check({int(row): ("start_failed", "no such band B99")})
    assert world.proxy.asked(CREATE) == world.jobs


def test_a_callback_that_raises_fails_its_own_job(world: World) -> None:
    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        if row.name == 2:
            raise KeyError("no field of that name")
        return start_job(row, connection)

    assert world.run(start) == {"start_failed": 1, "finished": world.jobs - 1}
    world.check({2: ("start_failed", "no field of that name")})


def test_a_callback_that_returns_one_job_twice_fails_but_one_row(world: World) -> None:
    """Two rows would fetch the files of one job."""
    made: list[openeo.BatchJob] = []

    def one_for_all(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        if not made:
            made.append(connection.create_job({}, title=row.title))
        return made[0]

    world.jobs = 3
    counts = world.run(one_for_all, parallel_jobs=1)
    assert counts == {"finished": 1, "start_failed": 2}
    failed = world.rows()[world.rows().status == "start_failed"]
    assert set(failed.index) == {1, 2}
    told = [text for text in world.warnings() if "returned job j-0000 of fake, which an" in text]
    assert len(told) == 2


def test_a_job_that_vanishes_is_an_error_and_can_be_made_anew(world: World) -> None:
    gone = Answer(404, b'{"code": "JobNotFound", "message": "no such job"}')
    world.fail(Fault("GET /jobs/j-0001.*", gone, None))
    world.backend.describe_in_list = False
    assert world.run() == {"error": 1, "finished": world.jobs - 1}
    (row,) = world.rows().index[world.rows().status == "error"]
    # The back-end has it all the same, and counts it.
    world.check({int(row): ("error", "no longer has job j-0001")}, parallel=4)
    world.fail()
    assert world.run(restart_failed=True) == {"finished": world.jobs}
    world.check(made={int(row): 2}, warnings=4, parallel=4)


# ------------------------------------------------------------------------------------ all together


@pytest.mark.parametrize("seed", range(3))
def test_everything_fails_often(world: World, seed: int) -> None:
    world.jobs = 40
    world.backend.page = 50
    world.fail(*everywhere(0.25), seed=seed)
    assert world.run(parallel_jobs=8) == {"finished": world.jobs}
    assert world.proxy.harmed() > 60
    world.check(warnings=20, parallel=8)


def test_the_graph_says_whose_job_it_is(world: World) -> None:
    """The ledger tells jobs apart by what they compute, too."""
    graph = {"add1": {**GRAPH["add1"], "arguments": {"x": 1, "y": "job 0"}}}
    world.connect().create_job(graph, title="job 0")
    world.connect().create_job(graph, title="another")
    assert set(world.backend.graphs().values()) == {2}


@pytest.mark.parametrize("answer", [INTERNAL, UNAVAILABLE], ids=lambda a: a.status)
def test_results_that_one_job_alone_never_gives_are_an_error_of_it(
    world: World, answer: Answer
) -> None:
    world.fail(Fault("GET /jobs/j-0001/results", answer, None))
    options = replace(QUICK, longest_wait=0.1)
    counts = world.run(poll_sleep=0.01, options=options)
    assert counts == {"error": 1, "finished": world.jobs - 1}
    (row,) = world.rows().index[world.rows().status == "error"]
    world.check({int(row): ("error", "the results cannot be read")})
    world.fail()
    assert world.run(restart_failed=True) == {"finished": world.jobs}
    world.check(warnings=4)
