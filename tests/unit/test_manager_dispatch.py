"""Who is sent for what, and when: with a clock and a crew made by hand."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.crew import Errand, Lane, Outcome
from openeo_gfmap.manager.dispatch import Dispatcher
from openeo_gfmap.manager.job_store import Record
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.places import ParallelJobs
from openeo_gfmap.manager.site import make_site
from openeo_gfmap.manager.tasks import Task

LOGGER = "openeo_gfmap.manager"


class Hands:
    """A crew that only takes note of what it is sent for."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.errands: list[Errand] = []

    @property
    def out(self) -> int:
        return len(self.errands)

    def free(self, lane: Lane, backend: str | None) -> int:
        mine = [e for e in self.errands if e.lane is lane]
        if backend is not None:
            mine = [e for e in mine if e.backend == backend]
        return self.threads - len(mine)

    def send(self, errand: Errand) -> None:
        self.errands.append(errand)


class Stage:
    """A dispatcher, its jobs, a clock, and what the back-ends answer."""

    def __init__(
        self,
        *parallel: tuple[str, ParallelJobs],
        jobs: int,
        threads: int = 64,
        pinned: Callable[[int], str | None] = lambda row: None,
        poll_sleep: float = 10.0,
        job_seconds: float | None = None,
    ) -> None:
        self.now = 1000.0
        self.options = ManagerOptions(job_seconds=job_seconds)
        self.crew = Hands(threads)
        self.sites = {
            name: make_site(name, number, self.options, poll_sleep) for name, number in parallel
        }
        self.desk = Dispatcher(
            self.sites,
            self.crew,  # type: ignore[arg-type]
            clock=lambda: self.now,
            job_seconds=job_seconds,
        )
        self.pinned = pinned
        self.jobs = [Job(row, backend=pinned(row)) for row in range(jobs)]
        for job in self.jobs:
            self.desk.take_up(job)
        self.looks: dict[int, list[float]] = {}
        self.actions: Counter[str] = Counter()
        self.answers: Callable[[Task], life.Event] = smooth
        self.down: set[str] = set()

    def apply(self, row: int, event: life.Event) -> None:
        old, new = self.jobs[row], life.apply(self.jobs[row], event)
        if isinstance(event, life.NotMade):
            new = replace(new, backend=self.pinned(row))  # as the register does
        self.jobs[row] = new
        self.desk.changed(old, new)

    def send(self, *, launching: bool = True, stopping: bool = False) -> None:
        """Hand out what can be handed out now."""
        actions = self.desk.plan(launching=launching, stopping=stopping)
        for action in actions:
            self.actions[type(action).__name__] += 1
            if isinstance(action, life.Create):
                self.apply(action.job.row, life.Intended(action.backend, "mark", "2024-01-01"))
            if isinstance(action, life.Poll):
                self.looks.setdefault(action.job.row, []).append(self.now)

        def task_of(action: life.Action) -> Task:
            if isinstance(action, life.Create):
                action = replace(action, job=self.jobs[action.job.row])
            return Task(action, Record(0, {}))

        self.desk.send(actions, task_of)

    def receive(self) -> None:
        """Have all errands come back."""
        errands, self.crew.errands = self.crew.errands, []
        for errand in errands:
            away = life.Unreachable(f"{errand.backend} is away")
            if errand.backend in self.down and errand.lane is not Lane.PROCESS:
                if len(errand.tasks) == 1:
                    lost = isinstance(errand.tasks[0].action, life.Create)
                    event = life.NotMade("away", outage=True) if lost else away
                    outcome = Outcome(errand, ((errand.tasks[0], event),))
                else:
                    outcome = Outcome(errand, failure=away)
            elif len(errand.tasks) > 1:
                outcome = Outcome(
                    errand,
                    tuple((task, life.Seen("running")) for task in errand.tasks),
                    pages=2,
                )
            else:
                outcome = Outcome(errand, tuple((t, self.answers(t)) for t in errand.tasks))
            for task, event in outcome.events:
                self.apply(task.action.job.row, event)
            self.desk.note(outcome, self.jobs)

    def turn(self, seconds: float = 0.0) -> None:
        """One pass of a loop, and some time."""
        self.send()
        self.receive()
        self.now += seconds

    def of(self, status: JobStatus) -> list[int]:
        return [job.row for job in self.jobs if job.status is status]


def smooth(task: Task) -> life.Event:
    row = task.action.job.row
    match task.action:
        case life.Create():
            return life.Created(f"j-{row}")
        case life.Start():
            return life.Seen("queued")
        case life.Fetch():
            return life.Fetched(())
        case life.Process():
            return life.Processed(())
        case life.Cancel():
            return life.TimedOut("too long", ErrorKind.TIME_LIMIT)
        case _:
            return life.Seen("running")


# ----------------------------------------------------------------------------------- how many jobs


def test_all_places_are_taken_at_once() -> None:
    stage = Stage(("there", 20), jobs=100)
    stage.turn()
    assert stage.actions == {"Create": 20}
    stage.turn()
    assert len(stage.of(JobStatus.QUEUED)) == 20
    stage.turn()
    assert stage.actions == {"Create": 20, "Start": 20}  # the places are taken


def test_whoever_has_room_takes_from_one_queue() -> None:
    stage = Stage(("a", 3), ("b", 5), jobs=20, pinned=lambda row: "a" if row >= 16 else "cdse")
    stage.turn()
    of = Counter(job.backend for job in stage.jobs if job.status is JobStatus.CREATED)
    assert of == {"a": 3, "b": 5}
    assert {job.backend for job in stage.jobs[16:]} == {"a"}


def test_a_paused_back_end_takes_nothing_from_the_queue() -> None:
    stage = Stage(("a", 2), ("b", 2), jobs=30, pinned=lambda row: "a" if row == 29 else None)
    stage.down.add("a")
    for _ in range(5):
        stage.turn(30)
    assert stage.sites["a"].health.paused
    stage.answers = lambda task: (
        life.Seen("finished") if isinstance(task.action, life.Poll) else smooth(task)
    )
    for _ in range(100):
        stage.turn(30)
    assert len(stage.of(JobStatus.FINISHED)) == 29
    assert stage.jobs[29].status is JobStatus.NOT_STARTED and stage.jobs[29].backend == "a"
    assert {job.backend for job in stage.jobs[:29] if job.status is JobStatus.FINISHED} == {"b"}
    assert not stage.desk.at_end(launching=True, stopping=False)


def test_places_of_the_night() -> None:
    number = 0
    stage = Stage(("there", lambda _: number), jobs=10)
    stage.turn(2)
    assert not stage.actions and not stage.desk.at_end(launching=True, stopping=False)
    assert "parallel_jobs gives 0" in stage.sites["there"].trouble(stage.now)
    number, stage.now = 4, stage.now + 2
    stage.turn()
    assert stage.actions["Create"] == 4
    number, stage.now = 0, stage.now + 2
    stage.turn()
    assert "Start" not in stage.actions  # made, but there is no place to run them now
    number, stage.now = 2, stage.now + 2
    stage.turn()
    assert stage.actions["Start"] == 2


def test_a_full_back_end_is_asked_for_fewer_jobs(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(("there", 20), jobs=60)
    room = 5
    running: set[int] = set()

    def answer(task: Task) -> life.Event:
        if isinstance(task.action, life.Start):
            if len(running) >= room:
                return life.Unreachable(
                    "too many jobs", ErrorKind.CAPACITY, outage=False, retry_after=20
                )
            running.add(task.action.job.row)
        return smooth(task)

    stage.answers = answer
    with caplog.at_level(logging.INFO, LOGGER):
        for _ in range(8):
            stage.turn(5)
    assert len(stage.of(JobStatus.RUNNING) + stage.of(JobStatus.QUEUED)) == 5
    assert stage.actions["Create"] == 20 and stage.actions["Start"] == 20  # and no more tries
    assert [r.message for r in caplog.records if "takes no more jobs" in r.message][1:] == []
    assert not stage.of(JobStatus.START_FAILED)
    assert stage.sites["there"].trouble(stage.now) == "there takes fewer jobs now: at most 5."
    room = 20
    for _ in range(200):
        stage.turn(60)
    assert len(stage.of(JobStatus.RUNNING)) == 20


# ------------------------------------------------------------------------------------------ outages


def test_an_outage_marks_nothing_failed_and_ends_for_all_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(("a", 20), ("b", 2), jobs=100)
    for _ in range(3):
        stage.turn(10)
    before = [job.status for job in stage.jobs]
    stage.down.add("a")
    with caplog.at_level(logging.INFO, LOGGER):
        asked = Counter[str]()
        for _ in range(2000):
            stage.send()
            asked.update(e.backend for e in stage.crew.errands if e.tasks or e.lane is Lane.LOOK)
            assert sum(e.backend == "a" and not e.tasks for e in stage.crew.errands) <= 1
            stage.receive()
            stage.now += 10
        assert "a does not answer" in stage.sites["a"].trouble(stage.now)
        assert asked["a"] < 200 < asked["b"]  # 20,000 s: one probe in 300 s, and before it a few
        assert [j.status for j in stage.jobs if j.backend == "a"] == [
            s for j, s in zip(stage.jobs, before, strict=True) if j.backend == "a"
        ]
        stage.down.clear()
        stage.now += 300
        stage.turn()
        stage.send()
        looked_at = {t.action.job.row for e in stage.crew.errands for t in e.tasks}
    on_a = {job.row for job in stage.jobs if job.backend == "a"}
    assert on_a <= looked_at  # none of them waits for its own time
    told = [r.message for r in caplog.records if r.message.startswith("a ")]
    assert len(told) == 2 and "does not answer" in told[0] and "answers again" in told[1]


def test_an_outage_does_not_use_up_a_jobs_own_tries() -> None:
    stage = Stage(("a", 1), jobs=1)
    stage.turn()
    stage.down.add("a")
    for _ in range(100):
        stage.turn(10)
    assert stage.desk.tries(0) <= 1
    stage.down.clear()
    stage.answers = lambda task: life.Unreachable("500", outage=False)
    for _ in range(400):
        stage.turn(10)
    assert stage.desk.tries(0) > 5  # now it answers, and the fault is with the job


# -------------------------------------------------------------------------------------------- looks


def test_one_look_a_job_and_interval_and_the_list_where_it_is_cheaper() -> None:
    stage = Stage(("there", 20), jobs=20, poll_sleep=10)
    sizes: list[int] = []
    for _ in range(600):
        stage.send()
        sizes += [len(e.tasks) for e in stage.crew.errands if e.lane is Lane.LOOK]
        stage.receive()
        stage.now += 1
    assert set(sizes) == {20}  # all together, two requests instead of twenty
    for looks in stage.looks.values():
        gaps = [b - a for a, b in pairwise(looks)]
        assert min(gaps) >= 10
    assert max(len(looks) for looks in stage.looks.values()) <= 50


def test_few_jobs_are_looked_at_one_by_one_when_the_list_is_long() -> None:
    stage = Stage(("there", 3), jobs=3)
    stage.sites["there"].pages = 30
    for _ in range(100):
        stage.send()
        assert all(len(e.tasks) <= 1 for e in stage.crew.errands)
        stage.receive()
        stage.now += 1
    assert stage.looks


def test_jobs_that_are_done_by_the_first_look_need_no_list() -> None:
    """Those have to be looked at by themselves in any case."""
    stage = Stage(("there", 10), jobs=200)
    stage.answers = lambda task: (
        life.Seen("finished") if isinstance(task.action, life.Poll) else smooth(task)
    )
    lists = 0
    for _ in range(300):
        stage.send()
        for errand in [e for e in stage.crew.errands if len(e.tasks) > 1]:
            lists += 1
            stage.crew.errands.remove(errand)
            stage.desk.note(Outcome(errand, (), pages=1), stage.jobs)
        stage.receive()
        stage.now += 5
    assert len(stage.of(JobStatus.FINISHED)) == 200
    assert lists <= 5
    assert stage.sites["there"].told < 0.1
    stage.jobs += [Job(200, status=JobStatus.RUNNING, backend="there", id="j")]
    stage.desk.take_up(stage.jobs[200])
    stage.answers = smooth
    for _ in range(60):  # long ones, again
        stage.turn(15)
    assert stage.sites["there"].told > 0.8


def test_what_the_list_leaves_out_is_looked_at_by_itself_at_once() -> None:
    stage = Stage(("there", 5), jobs=5)
    stage.turn()
    stage.turn(30)
    stage.send()
    (errand,) = stage.crew.errands
    assert len(errand.tasks) == 5
    stage.crew.errands.clear()
    told = tuple((task, life.Seen("running")) for task in errand.tasks[:3])
    for task, event in told:
        stage.apply(task.action.job.row, event)
    stage.desk.note(Outcome(errand, told, pages=1), stage.jobs)
    stage.send()
    alone = sorted(e.tasks[0].action.job.row for e in stage.crew.errands)
    assert alone == sorted(task.action.job.row for task in errand.tasks[3:])
    assert all(len(e.tasks) == 1 for e in stage.crew.errands)


# ------------------------------------------------------------------------------------------- limits


def test_a_job_that_runs_too_long_is_ended() -> None:
    stage = Stage(("there", 2), jobs=2, job_seconds=3600, poll_sleep=60)
    for _ in range(300):
        stage.turn(17)
        if stage.actions["Cancel"]:
            break
    assert stage.actions["Cancel"] == 2
    began = 1000.0
    assert 3600 <= stage.now - began <= 3600 + 300
    assert [job.kind for job in stage.jobs] == ["time-limit", "time-limit"]
    assert stage.desk.at_end(launching=True, stopping=False)


def test_times_of_an_earlier_process_are_read_with_care() -> None:
    """There is only the clock on the wall for them, and it may have jumped."""
    stage = Stage(("there", 9), jobs=0, job_seconds=3600)
    now = datetime.now(UTC)
    past, future = now - timedelta(hours=2), now + timedelta(days=900)
    moments = [past.isoformat(), future.isoformat(), None, "yesterday", past.date().isoformat()]
    for row, moment in enumerate(moments):
        stage.jobs.append(
            Job(row, status=JobStatus.CREATING, backend="there", mark="m", intended_at=moment)
        )
        stage.desk.take_up(stage.jobs[row])
    assert [stage.desk.waited(row) >= 7100 for row in range(4)] == [True, False, False, False]
    assert stage.desk.waited(1) == 0
    running = Job(
        9, status=JobStatus.RUNNING, backend="there", id="j", running_since=past.isoformat()
    )
    stage.jobs += [Job(row) for row in range(len(stage.jobs), 9)] + [running]
    stage.desk.take_up(running)
    stage.send()
    assert stage.actions["Cancel"] == 1


# ------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("rows", [100, 10_000])
def test_a_pass_looks_at_few_jobs_however_many_there_are(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when all of them wait for their files, or for their post-processing."""
    shown: list[int] = []
    planned = life.plan

    def counting(jobs: list[Job], limits: life.Limits) -> list[life.Action]:
        shown.append(len(jobs))
        return planned(jobs, limits)

    monkeypatch.setattr(life, "plan", counting)
    for status in (JobStatus.NOT_STARTED, JobStatus.DOWNLOADING, JobStatus.POSTPROCESSING):
        stage = Stage(("there", 5), jobs=0, threads=4)
        stage.jobs = [Job(row, status=status, backend="there", id="j") for row in range(rows)]
        for job in stage.jobs:
            stage.desk.take_up(job)
        for _ in range(10):
            stage.turn(1)
    assert max(shown) <= 20


def odd(random: Random) -> Callable[[Task], life.Event]:
    """Return answers of which many go wrong, in all ways that there are."""

    def answer(task: Task) -> life.Event:
        action, row = task.action, task.action.job.row
        away = life.Unreachable("away", retry_after=random.choice([None, None, 7.0]))
        full = life.Unreachable("too many jobs", ErrorKind.CAPACITY, outage=False)
        seen = [life.Seen(word) for word in ("created", "queued", "running", "odd", "finished")]
        gone = life.Vanished("gone", ErrorKind.VANISHED)
        ways: list[life.Event]
        match action:
            case life.Create():
                ways = [life.Created(f"j-{row}"), life.AnswerLost("reset", outage=True)]
                ways += [life.NotMade("502", outage=True), life.NotMade("429", ErrorKind.CAPACITY)]
                ways += [life.CreationFailed("bad graph", ErrorKind.BAD_GRAPH)]
            case life.Search():
                ways = [life.Found(f"j-{row}"), life.NotMade("none"), away]
                ways += [life.Unreachable("it may still come up", outage=False)]
            case life.Start():
                ways = [*seen, away, full, gone, life.StartFailed("no")]
            case life.Poll():
                ways = [*seen, away, gone, life.Seen("error", {}, "odd")]
            case life.Cancel():
                ways = [life.TimedOut("too long", ErrorKind.TIME_LIMIT), *seen[2:], away]
            case life.Fetch():
                ways = [life.Fetched(()), away, life.FetchFailed("lost", ErrorKind.RESULTS)]
            case _:
                ways = [life.Processed(()), life.FilesChanged(), life.ProcessingFailed("odd")]
        return random.choice(ways)

    return answer


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_whatever_is_answered_the_limits_hold_and_the_run_ends(seed: int) -> None:
    random = Random(seed)
    numbers = {"a": random.randrange(1, 6), "b": random.randrange(1, 6)}
    stage = Stage(
        *numbers.items(), jobs=25, threads=random.randrange(1, 9), poll_sleep=5, job_seconds=300,
        pinned=lambda row: [None, "a", "b", "elsewhere"][row % 4],
    )  # fmt: skip
    stage.answers = odd(random)
    for turn in range(3000):
        stage.down = {name for name in numbers if turn < 400 and random.random() < 0.3}
        stage.send()
        rows = [task.action.job.row for e in stage.crew.errands for task in e.tasks]
        assert len(rows) == len(set(rows))  # one errand a job
        for name, number in numbers.items():
            active = [j for j in stage.jobs if j.backend == name and j.status in life.ACTIVE]
            assert len(active) <= number
            mine = [e for e in stage.crew.errands if e.backend == name]
            assert sum(not e.tasks for e in mine) <= 1
            if stage.sites[name].health.paused:
                assert all(not e.tasks or e.lane is Lane.PROCESS for e in mine)
        stage.receive()
        if stage.desk.at_end(launching=True, stopping=False):
            break
        due = stage.desk.next_due()
        stage.now = max(stage.now + 0.01, min(due or stage.now, stage.now + 60))
    assert {job.status for job in stage.jobs} <= life.FINAL


def test_a_stopped_run_only_sees_through_what_has_arrived() -> None:
    stage = Stage(("there", 9), jobs=0)
    states = [JobStatus.NOT_STARTED, JobStatus.CREATED, JobStatus.RUNNING, JobStatus.DOWNLOADING]
    states += [JobStatus.POSTPROCESSING]
    stage.jobs = [Job(n, status=s, backend="there", id="j") for n, s in enumerate(states)]
    for job in stage.jobs:
        stage.desk.take_up(job)
    for _ in range(3):
        stage.sites["there"].health.failed("away", stage.now)
    stage.now += 60
    stage.send(stopping=True)
    assert stage.actions == {"Process": 1} and stage.crew.out == 1  # nor is it probed
    assert stage.desk.next_due() is None
    stage.receive()
    assert stage.desk.at_end(launching=True, stopping=True)
    assert not stage.desk.at_end(launching=True, stopping=False)
