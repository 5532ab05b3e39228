"""How jobs stand, as their back-end tells it: one by one, or many at once."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import requests
from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

from openeo_gfmap.manager import _log, access, results
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.answers import (
    UNWELL,
    facts_of,
    is_fault,
    is_gone,
    is_outage,
    is_senseless,
    kind_of,
    one_line,
    plain,
)
from openeo_gfmap.manager.callbacks import RAISED
from openeo_gfmap.manager.intent import list_jobs
from openeo_gfmap.manager.kinds import ErrorKind, classify
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.provenance import Provenance
from openeo_gfmap.manager.tasks import Survey, Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AWAY_TRIES", "FAULTY_TRIES", "Looker", "now"]

#: How often the same is asked of a back-end that answers others, but this with faults or what makes
#: no sense; and with an answer that, by itself, says that it is away for a while.
FAULTY_TRIES = 10
AWAY_TRIES = 2 * FAULTY_TRIES


class Looker:
    """Looks at jobs, and at back-ends.

    Parameters
    ----------
    connect, reconnect : callable
        As a `Worker` has them.
    on_job_error : callable
        The manager's hook.
    provenance : Provenance
        Is told what jobs are.
    options : ManagerOptions
        How patient to be.
    """

    def __init__(
        self,
        connect: Callable[[str], Connection],
        reconnect: Callable[[str, Connection], None],
        on_job_error: Callable[[BatchJob, pd.Series[Any]], None],
        provenance: Provenance,
        options: ManagerOptions,
    ):
        self._connect = connect
        self._reconnect = reconnect
        self._on_job_error = on_job_error
        self._provenance = provenance
        self._options = options

    def survey(self, backend: str, tasks: Sequence[Task]) -> Survey:
        """Look at many jobs of a back-end through its list of jobs.

        Pages are asked for until all jobs were seen. A job that the list does not have, or calls
        failed or not started, has to be looked at by itself: lists leave things out, and lag
        behind. So has one that is done, unless the list says what it took.

        Parameters
        ----------
        backend : str
            Name of the back-end.
        tasks : sequence of Task
            Polls of jobs on it.
        """
        by_id = {str(task.action.job.id): task for task in tasks}
        seen: list[tuple[Task, life.Event]] = []
        pages = [0]
        with access.managed() as heard:
            connection = self._connect(backend)
            try:
                for document in list_jobs(connection, pages):
                    task = by_id.pop(str(document.get("id")), None)
                    if task is not None and _says_all(document):
                        seen.append((task, self._seen(task, document)))
                    if not by_id:
                        break
            except UNWELL as error:
                lost = replace(self.unreachable(error, connection), retry_after=heard.retry_after)
                return Survey((), 0, lost)
        return Survey(tuple(seen), pages[0])

    def probe(self, backend: str) -> life.Unreachable | None:
        """Ask a back-end something cheap; None says that it answers.

        A connection on which nobody answers is replaced, if it can be: an embedded back-end that
        was ended, say, is started again by whoever asks for a connection, and only by them.
        """
        with access.managed() as heard:
            connection = self._connect(backend)
            try:
                # Not the capabilities: those a proxy answers from its cache.
                connection.get("/jobs", params={"limit": 1}, expected_status=200).json()
            except UNWELL as error:
                if isinstance(error, requests.ConnectionError):
                    self._reconnect(backend, connection)
                return replace(self.unreachable(error, connection), retry_after=heard.retry_after)
        return None

    def look(self, task: Task) -> life.Event:
        """Look at a job."""
        job = self.batch_job(task)
        try:
            document = job.describe()
            word = document.get("status")
        except UNWELL as error:
            return self._not_described(task, error, job.connection)
        if not isinstance(word, str):
            why = f"its status is {word!r}"
            return self._unseen(task, why, FAULTY_TRIES, life.Unreachable(why, outage=False))
        if word == "error":
            return self._failed(task, job, document)
        return self._seen(task, document)

    def _seen(self, task: Task, document: Mapping[str, Any]) -> life.Seen:
        word = str(document.get("status"))
        if word in ("finished", "canceled"):
            self._provenance.described(task.action.job, document)
        facts = facts_of(document)
        if word not in life.REMOTE:
            _log.debug(
                "Job %s has status %r, which openEO does not know.", task.action.job.id, word
            )
        if word == "running" and task.action.job.running_since is None:
            facts["running_since"] = now()
        return life.Seen(word, facts)

    def _not_described(
        self, task: Task, error: BaseException, connection: Connection
    ) -> life.Event:
        """Tell a job that is gone from a back-end that has nothing to say of it for now."""
        job, why = task.action.job, one_line(error)
        if is_gone(error):
            message = f"{job.backend} no longer has job {job.id}"
            return life.Vanished(message, ErrorKind.VANISHED)
        lost = self.unreachable(error, connection)
        if is_senseless(error) or is_fault(error):
            return self._unseen(task, why, FAULTY_TRIES, lost)
        return self._unseen(task, why, AWAY_TRIES if lost.outage else math.inf, lost)

    def _unseen(self, task: Task, why: str, tries: float, lost: life.Unreachable) -> life.Event:
        """Give a job up of which a back-end that answers for others says nothing so often."""
        if task.tries < tries:
            return lost
        job = task.action.job
        message = f"{job.backend} cannot describe job {job.id}: {why} ({task.tries + 1} times)"
        return life.Vanished(message, ErrorKind.BACKEND_BUG)

    def _failed(self, task: Task, job: BatchJob, document: Mapping[str, Any]) -> life.Seen:
        """Save the log of a job that failed, and read from it why."""
        self._provenance.described(task.action.job, document)
        # Before the state is stored: after a kill in between it is done again.
        try:
            self._on_job_error(job, task.row)
        except RAISED:
            trace = traceback.format_exc()
            _log.warning("on_job_error raised for job %s:\n%s", job.job_id, trace)
        errors = results.error_messages(job)
        message = f"job {job.job_id} failed on {task.action.job.backend}"
        if errors:
            message += f": {plain(' '.join(errors[-1].split())[:300])}"
        kind = classify("\n".join(errors), rules=self._options.retry.all_rules)
        return life.Seen("error", facts_of(document), message, kind)

    def cancel(self, task: Task) -> life.Event:
        """Cancel a job that has run for too long, unless it is done by now."""
        seen = self.look(task)  # it may be done by now
        if not isinstance(seen, life.Seen) or seen.word != "running":
            return seen
        job = self.batch_job(task)
        try:
            job.stop()
            document = job.describe()
        except UNWELL as error:
            return self.unreachable(error, job.connection)
        self._provenance.described(task.action.job, document)
        costs = facts_of(document).get("costs")
        limit = self._options.job_seconds or 0.0
        return life.TimedOut(
            f"job {job.job_id} ran for more than {limit:g} seconds and was cancelled",
            ErrorKind.TIME_LIMIT,
            seen.facts.get("costs") if costs is None else costs,
        )

    def batch_job(self, task: Task) -> BatchJob:
        """Return the job of a task."""
        job = task.action.job
        return self._connect(str(job.backend)).job(str(job.id))

    def kind(self, error: BaseException) -> ErrorKind:
        """Sort an error by the rules of the run."""
        return kind_of(error, self._options.retry.all_rules)

    def unreachable(self, error: BaseException, connection: Connection) -> life.Unreachable:
        """Return what it means that a request did not come through."""
        away = is_outage(error, connection.root_url)
        return life.Unreachable(one_line(error), self.kind(error), outage=away)


def _says_all(document: Mapping[str, Any]) -> bool:
    """Tell whether an entry of the list of jobs says as much as the job itself would."""
    if document.get("status") == "finished":
        return document.get("costs") is not None and bool(document.get("usage"))
    return document.get("status") in ("queued", "running")


def now() -> str:
    """Return this moment in UTC, RFC 3339."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
