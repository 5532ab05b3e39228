"""When the job manager asks again: properties of waits, looks, pauses and numbers of places."""

from __future__ import annotations

import logging
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.board import Board, Need
from openeo_gfmap.manager.health import Health
from openeo_gfmap.manager.lifecycle import ACTIVE, Job, JobStatus
from openeo_gfmap.manager.pacing import Backoff, Rhythm, Schedule
from openeo_gfmap.manager.places import Places

LOGGER = "openeo_gfmap.manager"
seconds = st.floats(0.01, 1e6)

# ------------------------------------------------------------------------------------------- waits


@given(st.integers(1, 10_000), seconds, seconds, st.integers())
def test_a_wait_grows_to_its_bound_and_has_jitter(
    failures: int, first: float, longest: float, seed: int
) -> None:
    wait = Backoff(first, longest, Random(seed)).wait(failures)
    whole = min(longest, first * 2.0 ** min(failures - 1, 60))
    assert whole / 2 <= wait <= whole


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(1, 40))
def test_what_the_back_end_asks_for_is_waited_for(asked: float, failures: int) -> None:
    wait = Backoff(1.0, 10.0).wait(failures, asked)
    assert math.isfinite(wait)
    if 0 < asked <= 3600:
        assert wait >= asked
    assert wait <= max(10.0, 1.1 * 3600)


def test_many_jobs_do_not_ask_in_step() -> None:
    backoff = Backoff(8.0, 100.0)
    assert len({round(backoff.wait(3), 3) for _ in range(50)}) > 40
    assert len({round(backoff.wait(1, retry_after=60), 3) for _ in range(50)}) > 40


@given(st.lists(st.tuples(st.sampled_from("pd"), st.integers(0, 5), st.integers(0, 20))))
def test_a_schedule_is_a_dictionary_of_moments(steps: list[tuple[str, int, int]]) -> None:
    schedule: Schedule[int] = Schedule()
    model: dict[int, float] = {}
    for now, (what, key, moment) in enumerate(steps):
        if what == "p":
            schedule.put(key, moment)
            model[key] = moment
        else:
            schedule.drop(key)
            model.pop(key, None)
        assert schedule.next() == min(model.values(), default=None)
        assert len(schedule) == len(model) and all(key in schedule for key in model)
        if now % 3 == 2:
            due = schedule.due(now)
            expected = sorted((at, key) for key, at in model.items() if at <= now)
            assert sorted(due) == sorted(key for _, key in expected)
            assert [model[key] for key in due] == [at for at, _ in expected]
            model = {key: at for key, at in model.items() if at > now}


def test_a_schedule_forgets_what_was_replaced() -> None:
    schedule: Schedule[int] = Schedule()
    for moment in range(10_000):
        schedule.put(1, 1e9 + moment)
    assert len(schedule._heap) < 100


# ------------------------------------------------------------------------------------------- looks


@given(seconds, seconds, seconds, st.lists(seconds, max_size=40), st.floats(0, 1e9))
def test_looks_keep_their_distance(
    shortest: float, longest: float, elapsed: float, durations: list[float], looked: float
) -> None:
    rhythm = Rhythm(shortest, longest)
    for duration in durations:
        rhythm.took(duration)
    interval = rhythm.interval(elapsed)
    assert shortest <= interval <= max(shortest, longest)
    gap = rhythm.next_look(looked, elapsed) - looked
    assert interval * (1 - 1e-3) <= gap + 1e-6 * looked
    assert gap <= 1.25 * interval * (1 + 1e-3) + 1e-6 * looked


def test_jobs_of_an_hour_are_looked_at_less_and_less() -> None:
    rhythm = Rhythm(5, 60)
    for most in (160, 100):  # and fewer still when it is known how long they take
        now, looks = 0.0, 0
        while now < 3600:
            now, looks = rhythm.next_look(now, now), looks + 1
        assert looks <= most  # 720 without
        assert now - 3600 <= 1.25 * 60
        rhythm.took(now)


def test_jobs_that_began_at_any_time_are_looked_at_together() -> None:
    rhythm = Rhythm(8.0, 8.0)
    random = Random(1)
    moments: Counter[float] = Counter()
    for _ in range(100):
        look = random.uniform(0, 8)
        for _ in range(10):
            look = rhythm.next_look(look, 0)
            moments[round(look, 6)] += 1
    assert len(moments) <= 11 * 4  # four moments in an interval, for 1,000 looks


def test_the_end_of_short_jobs_among_long_ones_is_noticed() -> None:
    rhythm = Rhythm(1, 1000)
    for _ in range(20):
        rhythm.took(20_000)
    assert rhythm.interval(0) == 512
    for _ in range(8):
        rhythm.took(40)
    assert rhythm.interval(0) == 2


# ------------------------------------------------------------------------------------------ pauses


def test_three_failures_in_a_row_pause_and_one_probe_at_a_time_is_due() -> None:
    health = Health("there", Backoff(1.0, 60.0, Random(0)))
    health.failed("no", 0)
    health.failed("no", 0)
    assert not health.answered(0, 0) and not health.paused
    for _ in range(3):
        health.failed("no", 1)
    due = health.next_probe
    assert health.paused and due is not None and 1.5 <= due <= 2
    health.probe()
    assert health.next_probe is None
    health.failed("no", due)  # asked before; the probe is still under way
    assert health.next_probe is None
    health.probe_failed("no", due)
    assert health.next_probe is not None and health.next_probe > due
    health.probe()
    assert health.answered(9, 8) and not health.paused and health.next_probe is None


def test_many_requests_that_fail_at_once_do_not_put_off_the_probes() -> None:
    health, now = Health("there", Backoff(1.0, 300.0, Random(0))), 0.0
    for _ in range(50):  # under way when it went down
        health.failed("no", now)
    for expected in (1, 2, 4, 8):
        assert health.next_probe is not None
        assert expected / 2 <= health.next_probe - now <= expected
        now = health.next_probe
        health.probe()
        health.probe_failed("no", now)
    away = Health("elsewhere", Backoff(1.0, 300.0, Random(0)))
    away.away("no", 0)
    assert away.reason == "no" and away.next_probe is not None and away.next_probe <= 2


def test_what_was_asked_before_the_pause_does_not_end_it() -> None:
    health = Health("there", Backoff(1.0, 60.0))
    for _ in range(3):
        health.failed("no", 10)
    assert not health.answered(11, asked=9)
    assert health.paused
    assert health.answered(12, asked=11)


def test_an_outage_of_a_day_is_told_once_and_probed_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health, now, probes = Health("there", Backoff(1.0, 300.0, Random(3))), 0.0, 0
    with caplog.at_level(logging.INFO, LOGGER):
        for _ in range(3):
            health.failed("connection refused", now)
        while now < 86_400:
            assert health.next_probe is not None and health.next_probe > now
            now, probes = health.next_probe, probes + 1
            health.probe()
            health.probe_failed("connection refused", now)
        assert health.reason == "connection refused"
        health.probe()
        assert health.answered(now, now)
    assert 86_400 / 300 <= probes <= 86_400 / 150 + 20
    told = [record.message for record in caplog.records]
    assert len(told) == 2
    assert "connection refused" in told[0] and "answers again" in told[1]


def test_glitches_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """Where 30 % of 10,000 requests fail at random, next to nothing is said."""
    random = Random(5)
    health, now = Health("there", Backoff(1.0, 300.0, random)), 0.0
    with caplog.at_level(logging.INFO, LOGGER):
        for _ in range(10_000):
            now += 0.01
            fails = health.failed
            if health.paused:
                assert health.next_probe is not None
                now = max(now, health.next_probe)
                health.probe()
                fails = health.probe_failed
            if random.random() < 0.3:
                fails("502", now)
            else:
                health.answered(now, now)
    assert len(caplog.records) <= 8


# ------------------------------------------------------------------------------------------ places


class Wall:
    """A clock on the wall that somebody turns."""

    def __init__(self) -> None:
        self.time = datetime(2024, 5, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


def test_places_can_depend_on_the_time_of_day() -> None:
    wall = Wall()
    places = Places("there", lambda time: 8 if time.hour < 6 else 0, hold=60, clock=wall)
    assert places.limit(0) == 0
    wall.time += timedelta(hours=13)
    assert places.limit(0.5) == 0  # asked once a second
    assert places.limit(1.5) == 8
    wall.time -= timedelta(days=400)  # the clock jumps
    assert places.limit(3) == 8
    wall.time += timedelta(hours=12)
    assert places.limit(5) == 0


@pytest.mark.parametrize("number", [0, -1, 2.5, "4", None, True])
def test_a_number_of_places_is_checked(number: object) -> None:
    with pytest.raises(InputError, match="parallel_jobs of 'there'"):
        Places("there", number, hold=1)  # type: ignore[arg-type]
    if number != 0:
        with pytest.raises(InputError, match="the function for parallel_jobs"):
            Places("there", lambda _: number, hold=1)  # type: ignore[arg-type, return-value]


def test_a_function_that_fails_later_leaves_the_number_as_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = [4, 6]
    places = Places("there", lambda _: answers.pop(0), hold=1)
    assert [places.limit(now) for now in range(0, 20, 2)] == [6] * 10
    assert len(caplog.records) == 1 and "stays 6" in caplog.text


def test_a_full_back_end_lowers_the_number_once_and_it_grows_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    places = Places("there", 20, hold=60)
    with caplog.at_level(logging.INFO, LOGGER):
        for _ in range(15):  # all that were asked for at once
            places.refused(0, 5, "too many jobs", None)
    assert places.limit(1) == 5 and places.throttled
    assert len(caplog.records) == 1 and "at most 5" in caplog.text
    places.taken(7)  # answers that were under way: it had room for more
    assert places.limit(1) == 7
    assert [places.limit(now) for now in (59, 60, 119, 120)] == [7, 9, 9, 11]
    places.refused(130, 0, "too many jobs", 300)
    assert places.limit(131) == 5
    assert places.limit(429) == 5  # as it asked
    assert places.limit(430) == 7
    assert places.limit(10_000) == 20 and not places.throttled


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 50), st.integers(0, 60), st.booleans()), max_size=30),
)
def test_places_stay_between_one_and_what_the_user_says(
    number: int, steps: list[tuple[float, int, bool]]
) -> None:
    places, now = Places("there", number, hold=10), 0.0
    for passed, active, refused in steps:
        now += passed
        if refused:
            places.refused(now, active, "full", None)
        else:
            places.taken(active)
        assert 1 <= places.limit(now) <= number
    assert places.limit(now + 10 * (number + 1)) == number


# ------------------------------------------------------------------------------------------- board

_NEED = {
    JobStatus.NOT_STARTED: Need.MAKE,
    JobStatus.CREATING: Need.SEARCH,
    JobStatus.CREATED: Need.START,
    JobStatus.QUEUED: Need.LOOK,
    JobStatus.RUNNING: Need.LOOK,
    JobStatus.DOWNLOADING: Need.FETCH,
    JobStatus.POSTPROCESSING: Need.PROCESS,
}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from(list(JobStatus)),
            st.sampled_from(["a", "b", "elsewhere"]),
            st.sampled_from(["put", "hold", "free"]),
        ),
        max_size=60,
    )
)
def test_the_board_knows_who_can_go_on(
    steps: list[tuple[int, JobStatus, str, str]],
) -> None:
    board, jobs, held = Board(["a", "b"]), dict[int, Job](), set[int]()
    for row, status, backend, what in steps:
        if what == "put":
            jobs[row] = Job(row, status=status, backend=backend)
            held.discard(row)
            board.put(jobs[row])
        elif what == "hold":
            held.add(row)
            board.hold(row)
        else:
            held.discard(row)
            board.free(row)
        here = [j for j in jobs.values() if j.backend in ("a", "b")]
        waiting = [j for j in jobs.values() if j.status is JobStatus.NOT_STARTED]
        assert board.waiting == len(waiting)
        going = [j for j in here if j.status in _NEED and j.status is not JobStatus.NOT_STARTED]
        assert board.under_way == len(going)
        for name in ("a", "b"):
            on_it = [j for j in here if j.backend == name]
            assert board.active[name] == sum(j.status in ACTIVE for j in on_it)
            for need in (Need.MAKE, Need.SEARCH, Need.START, Need.LOOK, Need.FETCH):
                expected = {
                    j.row for j in on_it if _NEED.get(j.status) is need and j.row not in held
                }
                assert {j.row for j in board.first(need, name)} == expected
                assert board.count(need, name) == len(expected)
                assert len(board.first(need, name, 1)) == min(1, len(expected))
        process = {j.row for j in here if j.status is JobStatus.POSTPROCESSING} - held
        assert {j.row for j in board.first(Need.PROCESS, None)} == process
        common = {j.row for j in waiting if j.backend == "elsewhere"} - held
        assert {j.row for j in board.first(Need.MAKE, None)} == common
