"""The threads of a run: errands go out, outcomes come back, in one queue."""

from __future__ import annotations

import queue
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from openeo_gfmap.manager import _log
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.answers import one_line
from openeo_gfmap.manager.cpus import use_all_cpus, use_one_cpu
from openeo_gfmap.manager.disk import SHUT
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.places import ParallelJobs
from openeo_gfmap.manager.pool import Pool
from openeo_gfmap.manager.tasks import Task
from openeo_gfmap.manager.worker import Worker

__all__ = ["Crew", "Errand", "Lane", "Outcome", "threads_of"]


class Lane(Enum):
    """Kinds of work that have threads of their own, so that one does not keep up another."""

    LAUNCH = "launch"
    LOOK = "look"
    FETCH = "fetch"
    PROCESS = "process"


# Lanes whose threads share a CPU: they ask and fetch, and run no work of the user's but the hook
# on_job_error, and the path generator where it has no time limit.
_TOGETHER = frozenset({Lane.LOOK, Lane.FETCH})

#: Threads of a back-end by lane. What needs no back-end has None for its name.
Threads: TypeAlias = Mapping[tuple[Lane, str | None], int]


_LOOKING = 4  # threads that look at the jobs of a back-end


def threads_of(
    parallel_jobs: Mapping[str, ParallelJobs], options: ManagerOptions, processing: int
) -> Threads:
    """Return how many threads each lane of each back-end has."""
    threads: dict[tuple[Lane, str | None], int] = {(Lane.PROCESS, None): processing}
    for name, number in parallel_jobs.items():
        usual = 16 if callable(number) else min(32, max(4, number))
        launching = options.request_threads or usual
        threads[Lane.LAUNCH, name] = launching
        threads[Lane.LOOK, name] = min(_LOOKING, launching)
        threads[Lane.FETCH, name] = options.download_threads
    return threads


@dataclass(frozen=True)
class Errand:
    """What a thread is sent for.

    Attributes
    ----------
    lane, backend
        Whose thread it is.
    tasks
        What to do: one task; several to look at together; none to see whether the back-end
        answers.
    begun
        When it was sent.
    """

    lane: Lane
    backend: str
    tasks: tuple[Task, ...]
    begun: float


@dataclass(frozen=True)
class Outcome:
    """What became of an errand.

    Attributes
    ----------
    errand
        The errand.
    events
        What happened, by task; a task that nothing is said of is to be looked at by itself.
    failure
        Why the back-end did not answer a probe, or a question for its list.
    pages
        Requests that the list took.
    fatal
        What the run cannot go on after.
    """

    errand: Errand
    events: tuple[tuple[Task, life.Event], ...] = ()
    failure: life.Unreachable | None = None
    pages: int | None = None
    fatal: OSError | None = None


class Crew:
    """Sends threads on errands; each lane of each back-end has its own.

    Parameters
    ----------
    worker : Worker
        Does the work.
    threads : mapping
        How many threads each lane of each back-end has.
    """

    def __init__(self, worker: Worker, threads: Threads):
        self._worker = worker
        self._threads = threads
        self._busy: Counter[tuple[Lane, str | None]] = Counter()
        self._pools: dict[tuple[Lane, str | None], Pool[Errand]] = {}
        self._inbox: queue.SimpleQueue[Outcome | Callable[[], object] | None] = queue.SimpleQueue()

    @property
    def out(self) -> int:
        """How many errands are under way."""
        return sum(self._busy.values())

    def free(self, lane: Lane, backend: str | None) -> int:
        """Return how many threads can be sent now."""
        return self._threads[lane, backend] - self._busy[lane, backend]

    def send(self, errand: Errand) -> None:
        """Send a thread."""
        key = _key(errand)
        if key not in self._pools:
            name = f"{key[0].value}-{key[1]}" if key[1] else key[0].value
            begin = use_one_cpu if key[0] in _TOGETHER else use_all_cpus
            self._pools[key] = Pool(name, self._threads[key], self._perform, begin)
        self._busy[key] += 1
        self._pools[key].submit(errand)

    def wake(self) -> None:
        """Let `receive` return; safe in a signal handler."""
        self._inbox.put(None)

    def ask(self, call: Callable[[], object]) -> None:
        """Have something done by the thread that receives; safe in any thread."""
        self._inbox.put(call)

    @property
    def asked(self) -> bool:
        """Whether something is still to be received."""
        return not self._inbox.empty()

    def receive(self, seconds: float) -> list[Outcome]:
        """Return what has come back; wait for the first at most so long."""
        outcomes: list[Outcome] = []
        try:
            got = self._inbox.get(timeout=max(0.0, seconds))
            while True:
                if isinstance(got, Outcome):
                    self._busy[_key(got.errand)] -= 1
                    outcomes.append(got)
                elif got is not None:
                    got()
                got = self._inbox.get_nowait()
        except queue.Empty:
            return outcomes

    def dismiss(self) -> None:
        """Let the threads end once they are back."""
        for pool in self._pools.values():
            pool.close()

    def _perform(self, errand: Errand) -> None:
        """Do an errand in a pool's thread."""
        try:
            outcome = self._do(errand)
        except BaseException as error:  # noqa: BLE001 - the run goes on without this job, also when
            # a callback wants to exit: a thread that ended would keep the run waiting for ever.
            _log.debug("%s raised:\n%s", errand.lane.value, traceback.format_exc())
            if isinstance(error, OSError) and error.errno in SHUT:
                outcome = Outcome(errand, fatal=error)
            else:
                outcome = _unexpected(errand, error)
        self._inbox.put(outcome)

    def _do(self, errand: Errand) -> Outcome:
        if not errand.tasks:
            return Outcome(errand, failure=self._worker.probe(errand.backend))
        if len(errand.tasks) == 1:
            (task,) = errand.tasks
            return Outcome(errand, ((task, self._worker.perform(task)),))
        survey = self._worker.survey(errand.backend, errand.tasks)
        return Outcome(errand, survey.outcomes, survey.failure, survey.pages)


def _key(errand: Errand) -> tuple[Lane, str | None]:
    return errand.lane, None if errand.lane is Lane.PROCESS else errand.backend


def _unexpected(errand: Errand, error: BaseException) -> Outcome:
    """Return what a failure means that nobody foresaw."""
    what = f"failed unexpectedly: {one_line(error)}"
    if len(errand.tasks) != 1:
        return Outcome(errand, failure=life.Unreachable(f"a look at {errand.backend} {what}"))
    (task,) = errand.tasks
    message = f"{type(task.action).__name__} {what}"
    event: life.Event
    match task.action:
        case life.Create():
            event = life.AnswerLost(message)
        case life.Fetch():
            event = life.FetchFailed(message)
        case life.Process():
            event = life.ProcessingFailed(message)
        case _:
            event = life.Unreachable(message)
    return Outcome(errand, ((task, event),))
