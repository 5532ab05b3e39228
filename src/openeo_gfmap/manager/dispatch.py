"""What is done next, and when: who may go on, who rests, which back-end is asked for what.

The pure `lifecycle.plan` says what a job needs; here it is said when, and by which thread. Each
step costs the same, however many jobs there are: only those are looked at that can go on now.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.board import Board, Need
from openeo_gfmap.manager.crew import Crew, Errand, Lane, Outcome
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.pacing import Schedule
from openeo_gfmap.manager.site import Site
from openeo_gfmap.manager.tasks import Task
from openeo_gfmap.manager.troubles import Troubles

__all__ = ["Dispatcher"]

_LOOKED_AT = frozenset({JobStatus.CREATED, JobStatus.QUEUED, JobStatus.RUNNING})
_STARTED = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})

_LANES: Mapping[type[life.Action], Lane] = {
    life.Create: Lane.LAUNCH,
    life.Search: Lane.LAUNCH,
    life.Start: Lane.LAUNCH,
    life.Poll: Lane.LOOK,
    life.Cancel: Lane.LOOK,
    life.Fetch: Lane.FETCH,
    life.Process: Lane.PROCESS,
}


class Dispatcher:
    """Hands jobs to the crew, and lets them rest.

    Parameters
    ----------
    sites : mapping of str to Site
        The back-ends that were added.
    crew : Crew
        The threads.
    clock : callable
        Seconds of a clock that never jumps.
    job_seconds : float, optional
        Longest time that a job may run.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        crew: Crew,
        *,
        clock: Callable[[], float],
        job_seconds: float | None = None,
    ):
        self._sites = sites
        self._crew = crew
        self._clock = clock
        self._job_seconds = job_seconds
        self._board = Board(sites)
        self._resting: Schedule[int] = Schedule()
        self._hushed: defaultdict[str, set[int]] = defaultdict(set)  # rest because of an outage
        self._troubles = Troubles()
        self._intended: dict[int, float] = {}
        self._started: dict[int, float] = {}
        self._to_end: Schedule[int] = Schedule()  # when jobs have run for as long as they may
        self._overdue: set[int] = set()
        self._alone: set[int] = set()  # rows of which the list of jobs does not say enough
        self._starting: Counter[str] = Counter()
        self._stopping = False

    # ------------------------------------------------------------------------------ what happened

    def take_up(self, job: Job) -> None:
        """Take note of a job of the store, or of one that was added."""
        now = self._clock()
        if job.status is JobStatus.CREATING:
            self._intended[job.row] = now - _age(job.intended_at)
        if job.status in _STARTED:
            self._started[job.row] = now - _age(job.start_time)
        if job.status is JobStatus.RUNNING and self._job_seconds is not None:
            self._to_end.put(job.row, now - _age(job.running_since) + self._job_seconds)
        self._board.put(job)

    def changed(self, old: Job, new: Job) -> None:
        """Take note of what became of a job: from here on it can go on."""
        row, now = new.row, self._clock()
        if new.status is JobStatus.CREATING and old.status is not JobStatus.CREATING:
            self._intended[row] = now
        if new.status in _STARTED:
            self._started.setdefault(row, now)
        elif old.status in _STARTED:
            took = now - self._started.pop(row, now)
            if new.status is JobStatus.DOWNLOADING and new.backend in self._sites:
                self._sites[str(new.backend)].rhythm.took(took)
        if new.status is not old.status:
            self._to_end.drop(row)
            self._overdue.discard(row)
            self._alone.discard(row)
            if new.status is JobStatus.RUNNING and self._job_seconds is not None:
                self._to_end.put(row, now + self._job_seconds)
        self._board.put(new)

    def note(self, outcome: Outcome, jobs: Sequence[Job]) -> None:
        """Take note of what an errand tells of its back-end, and let jobs rest that have to.

        Its events have been applied before.
        """
        errand = outcome.errand
        site = self._sites[errand.backend]
        if outcome.failure is not None and errand.tasks:
            self._failed(site, outcome.failure)
        elif outcome.failure is not None:
            why = outcome.failure
            site.health.probe_failed(why.message, self._clock(), why.retry_after)
        elif not errand.tasks:
            self._answered(site, errand.begun)
        if outcome.pages:
            site.pages = outcome.pages
        if errand.lane is Lane.LOOK and outcome.failure is None:
            if len(errand.tasks) > 1:
                site.learn(len(errand.tasks), len(outcome.events))
            elif any(jobs[task.action.job.row].status in _STARTED for task in errand.tasks):
                site.learn(1, 1)  # of one that is done only the list can tell whether it had told
        told = set()
        for task, event in outcome.events:
            told.add(task.action.job.row)
            if isinstance(task.action, life.Start):
                self._starting[errand.backend] -= 1
            if errand.lane is not Lane.PROCESS:
                self._pace(site, task, event, jobs[task.action.job.row], errand.begun)
        for task in errand.tasks:
            if task.action.job.row not in told and outcome.fatal is None:
                self._alone.add(task.action.job.row)
                self._board.free(task.action.job.row)

    def pause(self, row: int, seconds: float) -> None:
        """Let a job rest for so long."""
        self._rest(row, self._clock() + seconds)

    def _rest(self, row: int, until: float) -> None:
        self._board.hold(row)
        self._resting.put(row, until)

    def _failed(self, site: Site, event: life.Unreachable | life.NotMade | life.AnswerLost) -> None:
        site.health.failed(event.message, self._clock(), event.retry_after)

    def _answered(self, site: Site, asked: float) -> None:
        if site.health.answered(self._clock(), asked):
            # Everything goes on at once.
            for row in self._hushed.pop(site.name, ()):
                if row in self._resting:
                    self._resting.drop(row)
                    self._board.free(row)

    def _pace(self, site: Site, task: Task, event: life.Event, job: Job, asked: float) -> None:
        """Decide when the job is looked at next."""
        row, now = job.row, self._clock()
        match event:
            case life.Unreachable() | life.NotMade() | life.AnswerLost() if event.outage:
                self._failed(site, event)
            case life.Skipped() | life.CreationFailed() | life.FetchFailed():
                pass  # the user's callback may have said so, without a word of the back-end
            case _:
                self._answered(site, asked)
        if isinstance(event, life.Unreachable | life.NotMade | life.AnswerLost):
            self._struggle(site, task, event)
            return
        self._troubles.over(row)
        if isinstance(task.action, life.Start) and job.status in _STARTED:
            site.places.taken(self._board.started[site.name])
        if job.status in _LOOKED_AT and isinstance(event, life.Seen):
            elapsed = now - self._started.get(row, now)
            self._rest(row, site.rhythm.next_look(asked, elapsed))

    def _struggle(
        self, site: Site, task: Task, event: life.Unreachable | life.NotMade | life.AnswerLost
    ) -> None:
        """Let a job rest with which something did not work: longer each time."""
        row, now, action = task.action.job.row, self._clock(), task.action
        trouble = self._troubles.of(row)
        if (
            isinstance(action, life.Search)
            and isinstance(event, life.Unreachable)
            and not event.outage
            and event.kind is None
        ):
            trouble.waits += 1  # it may still come up
            self._rest(row, now + site.backoff.wait(trouble.waits, event.retry_after))
            return
        if trouble.failed(site.health.answers):
            self._troubles.tell(site.name, action, event.message, now)
        if event.kind is ErrorKind.CAPACITY and isinstance(action, life.Create | life.Start):
            running = self._board.started[site.name]
            site.places.refused(now, running, event.message, event.retry_after)
        if isinstance(event, life.AnswerLost):
            return  # it is searched for at once: as a rule it is there
        self._rest(row, now + site.backoff.wait(trouble.failures, event.retry_after))
        if event.outage and event.retry_after is None:
            self._hushed[site.name].add(row)

    # --------------------------------------------------------------------------------- what is next

    def plan(
        self, *, launching: bool, stopping: bool, most: int | None = None
    ) -> list[life.Action]:
        """Return what can be done now: no more than there are threads for.

        Of new jobs `most` are made, if that is a number.
        """
        now = self._clock()
        self._stopping = stopping
        for row in self._resting.due(now):
            self._board.free(row)
        for row in self._to_end.due(now):
            self._overdue.add(row)
            if row in self._resting:
                self._resting.drop(row)
                self._board.free(row)
        jobs = self._board.first(Need.PROCESS, None, self._crew.free(Lane.PROCESS, None))
        places: dict[str, int] = {}
        rooms = 0
        paused = {name for name, site in self._sites.items() if site.health.paused}
        if not stopping:
            for site in self._sites.values():
                asked, room = ([], 0) if site.name in paused else self._askable(site, now)
                pinned = self._board.first(Need.MAKE, site.name, room)
                jobs += [*asked, *pinned]
                # The planner counts those of the active jobs that it is shown.
                places[site.name] = room + sum(job.status in life.ACTIVE for job in asked)
                rooms += room
            jobs += self._board.first(Need.MAKE, None, rooms)
        limits = life.Limits(
            places or dict.fromkeys(self._sites, 0),
            paused=paused,
            overdue=self._overdue,
            launching=launching,
            stopping=stopping,
        )
        actions = life.plan(jobs, limits)
        if most is None:
            return actions
        made = [action for action in actions if isinstance(action, life.Create)]
        return [a for a in actions if not isinstance(a, life.Create)] + made[:most]

    def _askable(self, site: Site, now: float) -> tuple[list[Job], int]:
        """Return the jobs that a back-end can be asked about, and how many more it may make."""
        name, board, crew = site.name, self._board, self._crew
        limit = site.places.limit(now)
        threads = crew.free(Lane.LAUNCH, name)
        searched = board.first(Need.SEARCH, name, threads)
        threads -= len(searched)
        # A full back-end, or a night without places: jobs that were made wait to be started.
        startable = limit - board.started[name] - self._starting[name]
        started = board.first(Need.START, name, max(0, min(threads, startable)))
        threads -= len(started)
        looked_at: list[Job] = []
        if (free := crew.free(Lane.LOOK, name)) > 0:
            together = site.list_pays(board.count(Need.LOOK, name))
            looked_at = board.first(Need.LOOK, name, None if together else free)
        fetched = board.first(Need.FETCH, name, crew.free(Lane.FETCH, name))
        room = max(0, min(threads, limit - board.active[name]))
        return [*searched, *started, *looked_at, *fetched], room

    def send(self, actions: Iterable[life.Action], task_of: Callable[[life.Action], Task]) -> None:
        """Hand actions to the crew."""
        looks: defaultdict[str, list[life.Action]] = defaultdict(list)
        for action in actions:
            lane = _LANES[type(action)]
            backend = action.backend if isinstance(action, life.Create) else action.job.backend
            if lane is Lane.LOOK:
                looks[str(backend)].append(action)
            else:
                self._send(lane, str(backend), [action], task_of)
        for backend, group in looks.items():
            self._look(backend, group, task_of)
        now = self._clock()
        for site in self._probed():
            if (due := site.health.next_probe) is not None and due <= now:
                site.health.probe()
                self._send(Lane.LOOK, site.name, [], task_of)

    def _probed(self) -> Iterable[Site]:
        """Return the back-ends that are asked whether they are back: all, until the run stops."""
        return () if self._stopping else self._sites.values()

    def _look(
        self, backend: str, group: list[life.Action], task_of: Callable[[life.Action], Task]
    ) -> None:
        """Look at jobs: at the list of them where that takes fewer requests."""
        single: list[life.Action] = []
        others: list[life.Action] = []
        for action in group:
            alone = isinstance(action, life.Cancel) or action.job.row in self._alone
            (single if alone else others).append(action)
        if len(others) > 1 and self._sites[backend].list_pays(len(others)):
            self._send(Lane.LOOK, backend, others, task_of)
        else:
            single += others
        for action in single[: max(0, self._crew.free(Lane.LOOK, backend))]:
            self._send(Lane.LOOK, backend, [action], task_of)

    def _send(
        self,
        lane: Lane,
        backend: str,
        actions: Sequence[life.Action],
        task_of: Callable[[life.Action], Task],
    ) -> None:
        for action in actions:
            self._board.hold(action.job.row)
            if isinstance(action, life.Start):
                self._starting[backend] += 1
        tasks = tuple(map(task_of, actions))
        self._crew.send(Errand(lane, backend, tasks, self._clock()))

    def tries(self, row: int) -> int:
        """Return how often in a row the action on a job did not come through, for its own sake."""
        return self._troubles.tries(row)

    def waited(self, row: int) -> float:
        """Return the seconds since the creation of a job was asked for."""
        now = self._clock()
        return now - self._intended.get(row, now)

    # --------------------------------------------------------------------------------------- pauses

    def next_due(self) -> float | None:
        """Return the moment when there may be something to do without anything having happened."""
        moments = [self._resting.next(), self._to_end.next()]
        moments += [site.health.next_probe for site in self._probed()]
        return min((moment for moment in moments if moment is not None), default=None)

    def at_end(self, *, launching: bool, stopping: bool) -> bool:
        """Tell whether nothing is left to wait for."""
        if self._crew.out:
            return False
        if stopping:
            return not self._board.count(Need.PROCESS, None)
        return not self._board.under_way and not (launching and self._board.waiting)

    @property
    def waiting(self) -> int:
        """Jobs that are still to be made."""
        return self._board.waiting


def _age(moment: str | None) -> float:
    """Return how many seconds ago a moment was, by the clock on the wall; in the future: none.

    For moments of an earlier process only, of which there is no other clock.
    """
    if moment is None:
        return 0.0
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0  # of another tool
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (datetime.now(UTC) - then).total_seconds())
