"""The life cycle under any outcome: every job ends, no limit is exceeded, no job is made twice."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_gfmap.errors import InvalidTransition
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.policy import (
    Again,
    ChangeOptions,
    GiveUp,
    Grow,
    OtherBackend,
    Remedy,
    RetryPolicy,
    decide,
)

FAILED = {JobStatus.ERROR, JobStatus.CANCELED, JobStatus.START_FAILED}

EVENTS: list[life.Event] = [
    life.Intended("a", "mark", "2024-01-01T00:00:00+00:00"),
    life.Created("j-1"),
    life.Found("j-1"),
    life.Skipped(),
    life.NotMade("why"),
    life.CreationFailed("why"),
    life.AnswerLost("why"),
    life.StartFailed("why"),
    *(life.Seen(word) for word in [*life.REMOTE, "paused"]),
    life.Vanished("why"),
    life.TimedOut("why"),
    life.Unreachable("why"),
    life.Fetched(),
    life.FetchFailed("why"),
    life.FilesChanged(),
    life.FilesLost(),
    life.Processed(),
    life.ProcessedPartly("why"),
    life.ProcessingFailed("why"),
    life.Restarted(),
    life.Retried("a"),
    life.FetchAgain(),
    life.Resumed(),
]


class World:
    """A back-end and a manager between which anything can go wrong, a bounded number of times."""

    def __init__(
        self,
        jobs: int,
        parallel: dict[str, int],
        faults: list[int],
        policy: RetryPolicy | None = None,
    ) -> None:
        self.policy = policy or RetryPolicy.never()
        self.past: dict[int, list[Job]] = defaultdict(list)
        self.jobs = [Job(row, backend=None if row % 2 else "a") for row in range(jobs)]
        self.parallel = parallel
        self.faults = faults
        self.remote: dict[str, str] = {}  # mark -> status on the back-end
        self.made: Counter[int] = Counter()
        self.started: Counter[str] = Counter()
        self.marks = 0

    def fault(self, kinds: int) -> int:
        """Return 0 for no fault, else which of the kinds."""
        return self.faults.pop() % (kinds + 1) if self.faults else 0

    def run(self) -> None:
        for _ in range(2_000):
            limits = life.Limits(
                self.parallel,
                # Somebody's clock says now and then that a job takes too long.
                overdue={job.row for job in self.jobs if self.faults and self.fault(8) == 1},
            )
            actions = life.plan(self.jobs, limits)
            if not actions:
                return
            for action in actions:
                if isinstance(action, life.Create):
                    self.marks += 1
                    self.apply(action, life.Intended(action.backend, f"{self.marks}", "now"))
                life.validate_state(self.jobs, limits)
            for action in actions:
                event = self.perform(action)
                # A kill: what was done is done, but nobody heard of it.
                if event is not None and self.fault(9) != 1:
                    self.apply(action, event)
                life.validate_state(self.jobs, limits)
        raise AssertionError("the run does not end")

    def apply(self, action: life.Action, event: life.Event) -> None:
        row = action.job.row
        job = self.jobs[row] = life.apply(self.jobs[row], event)
        if job.status in FAILED:
            then = decide(self.policy, job, self.past[row], list(self.parallel))
            if then is not None:
                if isinstance(then, life.Retried):
                    self.past[row].append(job)
                self.jobs[row] = life.apply(job, then)

    def perform(self, action: life.Action) -> life.Event | None:
        job = self.jobs[action.job.row]
        match action:
            case life.Create():
                return self.create(job)
            case life.Search():
                if self.fault(3) == 1:
                    return life.Unreachable("later")
                mark = str(job.mark)
                return life.Found(mark) if mark in self.remote else life.NotMade("not there")
            case life.Start():
                return self.start(str(job.id))
            case life.Poll():
                return self.poll(str(job.id))
            case life.Cancel():
                if self.fault(3) == 1:
                    return life.Unreachable("later")
                self.remote[str(job.mark)] = "canceled"
                return life.TimedOut("it took too long", ErrorKind.TIME_LIMIT)
            case life.Fetch():
                return [
                    life.Fetched(),
                    life.Unreachable("later"),
                    life.FetchFailed("gone", ErrorKind.RESULTS),
                    life.Fetched(missing="one of them is gone"),
                ][self.fault(3)]
            case life.Process():
                if self.fault(4) == 1:
                    return life.FilesChanged()
                if self.fault(4) == 1:
                    return life.ProcessingFailed("it raised", ErrorKind.CALLBACK)
                if job.missing is not None:
                    return life.ProcessedPartly(job.missing, ErrorKind.RESULTS)
                return life.Processed()

    def create(self, job: Job) -> life.Event | None:
        match self.fault(6):
            case 1:
                return life.CreationFailed("refused")
            case 2:
                return life.NotMade("busy")
            case 3:
                return life.Skipped()
            case 4:
                return life.AnswerLost("and nothing was made")
            case kind:
                self.remote[str(job.mark)] = "created"
                self.made[job.row] += 1
                return (
                    life.AnswerLost("but it was made") if kind == 5 else life.Created(str(job.mark))
                )

    def start(self, mark: str) -> life.Event | None:
        match self.fault(4):
            case 1:
                return life.Unreachable("later")
            case 2:
                return life.StartFailed("refused")
        if self.remote[mark] == "created":
            self.remote[mark] = "queued"
            self.started[mark] += 1
            if self.fault(3) == 1:
                return life.Unreachable("the answer is lost")
        return life.Seen(self.remote[mark])

    def poll(self, mark: str) -> life.Event:
        match self.fault(5):
            case 1:
                return life.Unreachable("later")
            case 2:
                return life.Vanished("gone", ErrorKind.VANISHED)
            case 3:
                return life.Seen("a word that is new")
            case 4:
                self.remote[mark] = "error"
                return life.Seen("error", {}, "it broke", ErrorKind.OUT_OF_MEMORY)
            case _:
                self.remote[mark] = {"queued": "running", "running": "finished"}.get(
                    self.remote[mark], self.remote[mark]
                )
        return life.Seen(self.remote[mark])


REMEDIES = st.one_of(
    st.builds(Again),
    st.builds(OtherBackend),
    st.just(ChangeOptions({"executor-memory": Grow(1.5, "8G", "2G")})),
    st.builds(GiveUp),
)


@settings(max_examples=300, deadline=None)
@given(
    jobs=st.integers(1, 6),
    parallel=st.dictionaries(st.sampled_from("ab"), st.integers(1, 3), min_size=1),
    faults=st.lists(st.integers(0, 100), max_size=60),
    attempts=st.integers(1, 4),
    remedies=st.dictionaries(st.sampled_from(ErrorKind), REMEDIES),
)
def test_a_policy_never_makes_more_jobs_than_it_may(
    jobs: int,
    parallel: dict[str, int],
    faults: list[int],
    attempts: int,
    remedies: dict[ErrorKind, Remedy],
) -> None:
    world = World(jobs, parallel, faults, RetryPolicy(attempts, remedies))
    world.run()
    assert all(count == 1 for count in world.started.values())
    for job in world.jobs:
        assert job.status in life.FINAL
        assert world.made[job.row] <= job.attempt <= attempts
        assert [old.attempt for old in world.past[job.row]] == list(range(1, job.attempt))
        for old in world.past[job.row]:
            assert old.status in FAILED and old.message


@settings(max_examples=300, deadline=None)
@given(
    jobs=st.integers(1, 6),
    parallel=st.dictionaries(st.sampled_from("ab"), st.integers(1, 3), min_size=1),
    faults=st.lists(st.integers(0, 100), max_size=60),
)
def test_every_job_ends_and_none_is_made_twice(
    jobs: int, parallel: dict[str, int], faults: list[int]
) -> None:
    world = World(jobs, parallel, faults)
    world.run()
    assert all(job.status in life.FINAL for job in world.jobs)
    assert all(count == 1 for count in world.made.values())
    assert all(count == 1 for count in world.started.values())
    for job in world.jobs:
        if job.status is JobStatus.FINISHED:
            assert world.made[job.row] == 1
            assert job.message is None
        elif job.status is not JobStatus.SKIPPED and job.status is not JobStatus.CANCELED:
            assert job.message or world.remote.get(str(job.id)) == "error"


@given(events=st.lists(st.sampled_from(EVENTS), max_size=12))
def test_an_event_is_either_in_the_table_or_refused(events: list[life.Event]) -> None:
    job = Job(3)
    for event in events:
        allowed = type(event) in life.TRANSITIONS[job.status]
        try:
            after = life.apply(job, event)
        except InvalidTransition as error:
            assert not allowed
            assert "row 3" in str(error) and job.status.value in str(error)
            continue
        assert allowed
        assert after.row == job.row
        job = after


@given(
    statuses=st.lists(st.sampled_from(JobStatus), max_size=12),
    parallel=st.dictionaries(st.sampled_from("abc"), st.integers(1, 4)),
    held=st.frozensets(st.integers(0, 11)),
    paused=st.frozensets(st.sampled_from("abc")),
    overdue=st.frozensets(st.integers(0, 11)),
    launching=st.booleans(),
    stopping=st.booleans(),
    where=st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=12, max_size=12),
)
def test_a_plan_keeps_to_the_limits(
    statuses: list[JobStatus],
    parallel: dict[str, int],
    held: frozenset[int],
    paused: frozenset[str],
    overdue: frozenset[int],
    launching: bool,
    stopping: bool,
    where: list[str | None],
) -> None:
    jobs = [
        Job(row, status=s, backend=where[row], id="j", mark="m") for row, s in enumerate(statuses)
    ]
    active = Counter(job.backend for job in jobs if job.status in life.ACTIVE)
    limits = life.Limits(
        parallel, held, paused=paused, overdue=overdue, launching=launching, stopping=stopping
    )
    actions = life.plan(jobs, limits)
    assert len({action.job.row for action in actions}) == len(actions)
    assert not {action.job.row for action in actions} & held
    created = Counter(a.backend for a in actions if isinstance(a, life.Create))
    for backend, count in created.items():
        assert active[backend] + count <= parallel[backend]
    if stopping:
        assert all(isinstance(action, life.Process) for action in actions)
    if not launching:
        assert not created
    for action in actions:
        where_to = action.backend if isinstance(action, life.Create) else action.job.backend
        assert isinstance(action, life.Process) or where_to not in paused
        if action.job.status is JobStatus.RUNNING:
            assert isinstance(action, life.Cancel) == (action.job.row in overdue)
    # A row that names a back-end which was added runs there and nowhere else.
    for action in actions:
        if isinstance(action, life.Create) and action.job.backend in parallel:
            assert action.backend == action.job.backend


def test_each_state_is_in_the_table_and_reachable() -> None:
    assert set(life.TRANSITIONS) == set(JobStatus)
    reached = {JobStatus.NOT_STARTED}
    for events in life.TRANSITIONS.values():
        for target in events.values():
            reached |= {target} if isinstance(target, JobStatus) else set(target.values())
    assert reached == set(JobStatus)
    assert life.FINAL | set(life.ACTIVE) | {
        JobStatus.NOT_STARTED, JobStatus.DOWNLOADING, JobStatus.POSTPROCESSING,
    } == set(JobStatus)  # fmt: skip


def test_a_job_that_is_made_anew_forgets_the_old_one_but_for_its_number() -> None:
    old = Job(
        1, JobStatus.ERROR, "a", id="j-1", mark="m", attempts=3, costs=4.0, message="it failed",
        kind="transient", attempt=2, retries=1, options="{}", overrides='{"x": 2}',
    )  # fmt: skip
    assert life.apply(old, life.Restarted()) == Job(1, JobStatus.NOT_STARTED, "a", attempt=3)
    assert life.apply(old, life.Retried("b", '{"x": 3}')) == Job(
        1, JobStatus.NOT_STARTED, "b", attempt=3, retries=2, overrides='{"x": 3}'
    )


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        (life.NotMade("refused by a fault"), 1),
        (life.NotMade("away", outage=True), 0),
        (life.NotMade("full", ErrorKind.CAPACITY), 0),
    ],
)
def test_only_what_the_back_end_answers_counts_as_an_attempt(
    event: life.NotMade, counted: int
) -> None:
    job = Job(1, JobStatus.CREATING, "a", mark="m")
    assert life.apply(job, event).attempts == counted


def test_not_being_reached_is_no_news() -> None:
    job = Job(1, JobStatus.CREATING, "a", mark="m", message="the answer was lost")
    assert life.apply(job, life.Unreachable("still not")) == job


@pytest.mark.parametrize(
    ("job", "what"),
    [
        (Job(4, JobStatus.RUNNING, "a"), "without a job id"),
        (Job(4, JobStatus.CREATING, "a"), "without an intent"),
    ],
)
def test_an_impossible_state_is_named(job: Job, what: str) -> None:
    with pytest.raises(InvalidTransition, match=f"row 4 .*{what}"):
        life.validate_state([job], life.Limits({"a": 1}))


def test_too_many_active_jobs_are_noticed() -> None:
    jobs = [Job(row, JobStatus.RUNNING, "a", id="j") for row in range(3)]
    with pytest.raises(InvalidTransition, match="3 jobs are active on a, at most 2"):
        life.validate_state(jobs, life.Limits({"a": 2}))
