"""Access tokens that expire during a run, in whichever thread: one renewal for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import openeo
import pandas as pd
import pytest

from faults.proxy import Answer, Fault, until
from faults.world import World
from support.manager_run import start_job


@pytest.fixture
def guarded(world: World) -> World:
    world.jobs = 12
    world.backend.page = 50
    world.backend.guarded = True
    return world


def expire_when(world: World, *moments: Callable[[], bool]) -> threading.Thread:
    """Take all tokens back at each of the moments."""

    def watch() -> None:
        for given, moment in enumerate(moments, start=1):
            # Not before the one before was renewed: two expiries in one would be one renewal.
            until(lambda n=given, now=moment: world.backend.tokens_given == n and now())
            world.backend.expire_tokens()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def with_refresh_token(world: World) -> openeo.Connection:
    return openeo.connect(world.proxy.url).authenticate_oidc_refresh_token(
        client_id="client", refresh_token="refresh", provider_id="fake"
    )


@pytest.mark.parametrize("how", ["function", "refresh token"])
def test_a_token_is_renewed_once_for_all_threads(guarded: World, how: str) -> None:
    connection = guarded.connect if how == "function" else with_refresh_token(guarded)
    backend = guarded.backend
    watch = expire_when(
        guarded,
        lambda: len(backend.jobs) >= 3,
        lambda: backend.requests["GET /files/{id}/openEO_0.nc"] >= 3,
        lambda: len(backend.jobs) >= 9,
    )
    assert guarded.run(connection=connection, parallel_jobs=6) == {"finished": guarded.jobs}
    watch.join()
    assert backend.tokens_given == 1 + 3
    guarded.check(warnings=0, parallel=6)


def test_a_token_that_nobody_can_renew_pauses_the_run_until_somebody_logs_in(
    guarded: World,
) -> None:
    connection = guarded.connect()
    watch = expire_when(guarded, lambda: len(guarded.backend.jobs) >= 3)

    def log_in() -> None:
        until(lambda: any("Log in anew" in text for text in guarded.warnings()))
        time.sleep(0.5)
        connection.authenticate_basic("user", "secret")

    person = threading.Thread(target=log_in, daemon=True)
    person.start()
    assert guarded.run(connection=connection) == {"finished": guarded.jobs}
    watch.join()
    person.join()
    assert guarded.backend.tokens_given == 2
    guarded.check(warnings=2)


def test_a_login_that_fails_for_a_while_is_tried_again(guarded: World) -> None:
    away = Answer(500, b'{"code": "Internal", "message": "no logins today"}')
    watch = expire_when(guarded, lambda: len(guarded.backend.jobs) >= 3)
    guarded.fail(Fault("GET /credentials/basic", away, first=2, skip=1))
    assert guarded.run() == {"finished": guarded.jobs}
    watch.join()
    guarded.check(warnings=4)


def test_a_refusal_that_is_not_about_the_token_fails_its_own_job(guarded: World) -> None:
    """403 is also the answer to what one may not do; no new token helps."""
    no = Answer(403, b'{"code": "PermissionsInsufficient", "message": "not your collection"}')
    guarded.fail(Fault("POST /jobs", no, 1, each=False))
    assert guarded.run() == {"start_failed": 1, "finished": guarded.jobs - 1}
    assert guarded.backend.tokens_given == 1
    row = int(guarded.rows().index[guarded.rows().status == "start_failed"][0])
    guarded.check({row: ("start_failed", "not your collection")}, warnings=0)


def test_the_users_own_requests_are_as_always(guarded: World) -> None:
    """The connection that was given is used elsewhere meanwhile, with the client's own retries."""
    connection = guarded.connect()
    told: list[int] = []

    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        return start_job(row, connection)

    def elsewhere() -> None:
        until(lambda: len(guarded.backend.jobs) >= 2)
        guarded.fail(Fault("GET /collections", Answer(503, b"{}"), 2))
        response = connection.get("/collections", check_error=False)
        told.append(response.status_code)

    other = threading.Thread(target=elsewhere, daemon=True)
    other.start()
    assert guarded.run(start, connection=connection) == {"finished": guarded.jobs}
    other.join()
    assert told == [404]  # after the client itself had asked three times
    assert guarded.proxy.asked("GET /collections") == 3
