"""What the actions of the life cycle do: `Worker.perform` takes an action, returns an event.

It runs in several threads. It talks to back-ends, files and the user's callbacks, and to nothing
else: the jobs and the store belong to the loop.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeo.rest import OpenEoApiPlainError
from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.manager import _log, access, results
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.answers import (
    UNWELL,
    is_fault,
    is_gone,
    is_outage,
    is_transient,
    is_unpaid,
    one_line,
)
from openeo_gfmap.manager.callbacks import RAISED, PathGenerator, PostJobAction, StartJob
from openeo_gfmap.manager.fetcher import Fetcher
from openeo_gfmap.manager.intent import Attempt, find_job, intending
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.looking import AWAY_TRIES, FAULTY_TRIES, Looker, now
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.postprocess import PostProcessor
from openeo_gfmap.manager.provenance import Provenance, linked
from openeo_gfmap.manager.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Worker"]


class Worker:
    """Performs actions.

    Parameters
    ----------
    output_dir : Path
        Folder that all files stay in.
    connect : callable
        Gives the connection of a back-end by its name.
    reconnect : callable
        Replaces, if it can, a back-end's connection that nobody answers on any more.
    start_job, path_generator, post_job_action
        The user's callbacks.
    on_job_done, on_job_error : callable
        Hooks of the manager.
    claims : Claims
        Which row each file belongs to.
    options : ManagerOptions
        How patient to be.
    wait : callable
        Waits so many seconds, or until the run is to end at once.
    """

    def __init__(
        self,
        *,
        output_dir: Path,
        connect: Callable[[str], Connection],
        reconnect: Callable[[str, Connection], None],
        start_job: StartJob,
        path_generator: PathGenerator,
        post_job_action: PostJobAction | None,
        on_job_done: Callable[[BatchJob, pd.Series[Any]], None],
        on_job_error: Callable[[BatchJob, pd.Series[Any]], None],
        claims: results.Claims,
        options: ManagerOptions,
        wait: Callable[[float], object] = time.sleep,
    ):
        self.output_dir = output_dir
        self._connect = connect
        self._start_job = start_job
        self._on_job_done = on_job_done
        self._options = options
        self._untouched: set[tuple[str, str]] = set()  # jobs that nobody can have started yet
        self._made: dict[tuple[str, str], tuple[int, int]] = {}  # row and attempt of each job
        self._fresh: set[int] = set()  # rows whose files were checked just now, as they arrived
        lock: AbstractContextManager[Any] = results.FILE_LOCK
        files_lock = nullcontext() if options.parallel_callbacks else lock
        self._fetcher = Fetcher(
            output_dir,
            path_generator,
            claims,
            files_lock,
            attempts=options.download_attempts,
            wait=wait,
            seconds=options.action_seconds,
            features_without_file=options.features_without_file,
            gates=options.gates,
        )
        self._processor = PostProcessor(
            output_dir, post_job_action, files_lock, options.action_seconds
        )
        self._provenance = Provenance(output_dir)
        self._looker = Looker(connect, reconnect, on_job_error, self._provenance, options)
        # Of these there is nothing to document.
        self.survey, self.probe = self._looker.survey, self._looker.probe

    def perform(self, task: Task) -> life.Event:
        """Do what the task's action says; every outcome, good or bad, is an event."""
        with access.managed() as heard:
            event = self._perform(task)
        if _has_failed(event):
            self._document(task)
        if isinstance(event, life.Unreachable | life.NotMade | life.AnswerLost):
            return replace(event, retry_after=heard.retry_after)
        return event

    def _perform(self, task: Task) -> life.Event:
        match task.action:
            case life.Create():
                event = self._create(task, task.action.backend)
            case life.Search():
                event = self._search(task)
            case life.Start():
                event = self._start(task)
            case life.Poll():
                event = self._looker.look(task)
            case life.Cancel():
                event = self._looker.cancel(task)
            case life.Fetch():
                event = self._fetch(task)
            case life.Process():
                event = self._process(task)
        return event

    # ------------------------------------------------------------------------- creating, starting

    def _create(self, task: Task, backend: str) -> life.Event:
        job = task.action.job
        connection = self._connect(backend)
        with intending(str(job.mark), json.loads(job.overrides or "{}")) as attempt:
            try:
                made = self._start_job(
                    row=task.row,
                    connection=connection,
                    provider=backend,
                    connection_provider=self._connect,
                )
            except RAISED as error:
                return self._not_created(error, task, connection, attempt)
        if made is None:
            return life.Skipped()
        identifier = getattr(made, "job_id", None)
        if not isinstance(identifier, str) or not identifier:
            return life.CreationFailed(
                f"start_job returned {type(made).__name__}, expected a BatchJob or None",
                ErrorKind.CALLBACK,
                attempt.job_id,
            )
        if self._is_anothers(task, backend, identifier):
            return life.CreationFailed(
                f"start_job returned job {identifier} of {backend}, which an earlier call returned "
                "already; return the job that it makes for this row",
                ErrorKind.CALLBACK,
                attempt.job_id,
            )
        if identifier == attempt.job_id and not attempt.went_on:
            self._untouched.add((backend, identifier))
        return self._created(backend, identifier, attempt)

    def _is_anothers(self, task: Task, backend: str, identifier: str) -> bool:
        """Tell whether a job that start_job returned is that of another row, or of a past try."""
        row = task.action.job.row
        # Rows that are made at this moment are not among the known ones yet.
        owner = self._made.setdefault((backend, identifier), (row, task.action.job.attempt))
        return identifier in task.known_ids or owner != (row, task.action.job.attempt)

    def _created(self, backend: str, identifier: str, attempt: Attempt) -> life.Created:
        if attempt.process and identifier == attempt.job_id:
            self._provenance.sent(backend, identifier, attempt.process)
        return life.Created(identifier, json.dumps(attempt.options) if attempt.options else None)

    def _not_created(
        self, error: BaseException, task: Task, connection: Connection, attempt: Attempt
    ) -> life.Event:
        job, kind = task.action.job, self._looker.kind(error)
        away = is_transient(error) and is_outage(error, connection.root_url)
        if attempt.lost:
            return life.AnswerLost(one_line(error), kind, outage=away)
        if attempt.job_id is not None and is_transient(error):
            # The head of the answer came, or the callback got further than the creation.
            return self._created(str(job.backend), attempt.job_id, attempt)
        if away or (kind is ErrorKind.CAPACITY and not is_unpaid(error)):
            return life.NotMade(one_line(error), kind, outage=away)
        if is_transient(error) and job.attempts + 1 < self._options.creation_attempts:
            _log.debug("Row %d: no job yet: %s. Trying again.", job.row, one_line(error))
            return life.NotMade(one_line(error), kind)
        _log.debug("start_job for row %d raised:\n%s", job.row, traceback.format_exc())
        return life.CreationFailed(f"start_job raised {one_line(error)}", kind, attempt.job_id)

    def _search(self, task: Task) -> life.Event:
        job = task.action.job
        connection = self._connect(str(job.backend))
        try:
            found = find_job(connection, str(job.mark), task.known_ids, job.intended_at)
        except UNWELL as error:
            return self._not_searched(error, task, connection)
        if found is not None:
            _log.info("Row %d: found its job %s on %s.", job.row, found, job.backend)
            return life.Found(found)
        # Measured before the list was asked for: a job that comes up later may be missing from it.
        if task.waited < self._options.settle:
            message = f"the job of row {job.row} may still come up"
            return life.Unreachable(message, outage=False)
        if job.attempts + 1 >= self._options.creation_attempts:
            return life.CreationFailed(
                f"asked {job.attempts + 1} times, {job.backend} made no job; last: {job.message}",
                ErrorKind(job.kind) if job.kind else ErrorKind.BACKEND_BUG,
            )
        return life.NotMade(job.message or f"no job of this row is on {job.backend}")

    def _not_searched(self, error: BaseException, task: Task, connection: Connection) -> life.Event:
        """Give up, rather than make a job twice, where a list or a job in it is never told."""
        job = task.action.job
        if task.tries < FAULTY_TRIES or not (is_fault(error) or not is_transient(error)):
            return self._looker.unreachable(error, connection)
        # Not of a kind that a policy makes anew by itself.
        return life.CreationFailed(
            f"{job.backend} does not tell whether it has made the job: {one_line(error)} "
            f"({task.tries + 1} times); before you restart the row, look there for a job whose "
            f"description ends in [gfmap:{job.mark}]",
            ErrorKind.UNKNOWN,
        )

    def _start(self, task: Task) -> life.Event:
        job = self._looker.batch_job(task)
        facts = {"start_time": task.action.job.start_time or now()}
        key = (str(task.action.job.backend), job.job_id)
        untouched = key in self._untouched
        self._untouched.discard(key)
        if not untouched:
            # Looked at first: the callback may have started it, or the answer to an earlier start
            # may have been lost.
            seen = self._looker.look(task)
            if not isinstance(seen, life.Seen):
                return seen
            facts = {**seen.facts, **facts}
            if seen.word != "created":
                return replace(seen, facts=facts)
        try:
            job.start()
        except UNWELL as error:
            if untouched and isinstance(error, OpenEoApiPlainError) and not is_transient(error):
                return self._start(task)  # looks at it: is it what was made?
            return self._not_started(error, task, job)
        return life.Seen("queued", facts)

    def _not_started(self, error: BaseException, task: Task, job: BatchJob) -> life.Event:
        """Tell a refusal from what may pass; the back-end has just said that the job is there."""
        kind = self._looker.kind(error)
        if kind is ErrorKind.CAPACITY:
            return life.Unreachable(one_line(error), kind, outage=False)
        # A fault that comes again and again does not pass.
        lasting = task.tries >= (FAULTY_TRIES if is_fault(error) else AWAY_TRIES)
        refused = isinstance(error, OpenEoApiPlainError) and not is_transient(error)
        if lasting or refused:
            return life.StartFailed(f"the back-end refused to start it: {one_line(error)}", kind)
        if not task.tries:
            _log.debug("Job %s: not started: %s. Trying again.", job.job_id, one_line(error))
        return self._looker.unreachable(error, job.connection)

    def end(self, task: Task) -> life.Event:
        """Cancel a job because the user wants it, and look how it stands then."""
        with access.managed():
            job = self._looker.batch_job(task)
            try:
                job.stop()
            except UNWELL as error:
                if is_transient(error):
                    return self._looker.unreachable(error, job.connection)
                _log.debug("Job %s was not cancelled: %s.", job.job_id, one_line(error))
            event = self._looker.look(task)  # it may have been done already
            if _has_failed(event):
                self._document(task)
            return event

    # ------------------------------------------------------------------------ fetching, processing

    def _fetch(self, task: Task) -> life.Event:
        job = self._looker.batch_job(task)
        try:
            arrival = self._fetcher.fetch(job, task.action.job.row, task.row)
        except ResultIncomplete as error:
            return life.FetchFailed(str(error), ErrorKind.RESULTS)
        except (*UNWELL, results.Unavailable) as error:
            return self._not_fetched(error, task, job)
        self._ask_for_provenance(task, job)
        document = self._document(task, arrival.sources)
        if self._options.logs_of_finished:
            results.save_log(job, (self.output_dir / document).with_suffix(".log"))
        files = tuple(linked(file, document, arrival.sources) for file in arrival.files)
        self._fresh.add(task.action.job.row)
        return life.Fetched(
            files, arrival.missing, arrival.features, arrival.absent, kind=arrival.kind
        )

    def _ask_for_provenance(self, task: Task, job: BatchJob) -> None:
        """Ask what a job is, unless the last look at it has said so."""
        if self._provenance.knows(task.action.job):
            return
        try:
            self._provenance.described(task.action.job, job.describe())
        except UNWELL as error:  # its files are here, and do not wait for this
            _log.warning(
                "Job %s: what it was made of cannot be written beside its files: %s",
                job.job_id, one_line(error),
            )  # fmt: skip

    def _document(self, task: Task, sources: Sequence[str] = ()) -> str:
        """Write where the results of a job come from; return the path of the document.

        Before the event is stored: after a kill in between it is done again.
        """
        job = task.action.job
        url = self._connect(str(job.backend)).root_url
        return self._provenance.write(job, task.record, url=url, sources=sources)

    def _not_fetched(self, error: Exception, task: Task, job: BatchJob) -> life.Event:
        """Tell what may be had later from what is lost."""
        if isinstance(error, results.Unavailable):
            # The back-end has just said where the files are: it is not the one that is away.
            if task.tries >= self._options.download_attempts:
                return life.FetchFailed(str(error), ErrorKind.RESULTS)
            _log.debug("Job %s: %s. Trying again.", job.job_id, error)
            return life.Unreachable(str(error), outage=False)
        if is_gone(error):
            message = f"the results are no longer there: {one_line(error)}"
            return life.Vanished(message, ErrorKind.VANISHED)
        # What fails for one job alone does not pass, whatever the back-end says of itself.
        tries = FAULTY_TRIES if is_fault(error) or not is_transient(error) else AWAY_TRIES
        if task.tries >= tries:
            message = f"the results cannot be read: {one_line(error)}"
            return life.FetchFailed(message, ErrorKind.RESULTS)
        return self._looker.unreachable(error, job.connection)

    def _process(self, task: Task) -> life.Event:
        row = task.action.job.row
        # To read all files once more costs most where they are large; an earlier process's may have
        # been changed since.
        if row not in self._fresh and not self._processor.unchanged(task.files):
            return life.FilesChanged()
        self._fresh.discard(row)
        try:
            items: tuple[Mapping[str, Any], ...] = ()
            if task.files:  # else none was good enough
                items = self._processor.run(task.files, task.row)
                self._on_job_done(self._looker.batch_job(task), task.row)
        except RAISED as error:
            _log.debug("post-processing raised:\n%s", traceback.format_exc())
            message = f"post-processing raised {one_line(error)}"
            return life.ProcessingFailed(message, ErrorKind.CALLBACK)
        missing = task.action.job.missing
        if missing is not None:
            kind = ErrorKind(task.action.job.kind or ErrorKind.RESULTS)
            return life.ProcessedPartly(missing, kind, items)
        return life.Processed(items)


def _has_failed(event: life.Event) -> bool:
    """Tell whether an event is the end of a job that was made, and has no results."""
    if isinstance(event, life.Seen):
        return event.word in ("error", "canceled")
    return isinstance(event, life.StartFailed | life.Vanished | life.TimedOut)
