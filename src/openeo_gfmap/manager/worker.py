"""What the actions of the life cycle do: `Worker.perform` takes an action, returns an event.

It runs in several threads. It talks to back-ends, files and the user's callbacks, and to nothing
else: the jobs and the store belong to the loop.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac
import requests
from openeo.rest import OpenEoApiPlainError
from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.manager import _log, access, results
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.answers import (
    UNWELL,
    facts_of,
    is_fault,
    is_gone,
    is_transient,
    one_line,
    seconds_since,
)
from openeo_gfmap.manager.callbacks import (
    RAISED,
    PathGenerator,
    PostJobAction,
    StartJob,
    within,
)
from openeo_gfmap.manager.fetcher import Fetcher
from openeo_gfmap.manager.intent import find_job, intending
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.stac import items as stac_items

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Task", "Worker"]

#: How often the same is asked of a back-end that answers, but with faults or what makes no sense.
_FAULTY_TRIES = 5


@dataclass(frozen=True)
class Task:
    """An action with what the store has on its job.

    Attributes
    ----------
    action
        What to do.
    row
        The tracker's row, as callbacks see it.
    files
        Files of the job that are in place.
    known_ids
        Ids of the jobs of all other rows.
    tries
        How often in a row the action did not come through before.
    """

    action: life.Action
    row: pd.Series[Any]
    files: tuple[life.SavedFile, ...] = ()
    known_ids: frozenset[str] = field(default=frozenset(), repr=False)
    tries: int = 0


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
        self._reconnect = reconnect
        self._start_job = start_job
        self._post_job_action = post_job_action
        self._on_job_done = on_job_done
        self._on_job_error = on_job_error
        self._options = options
        lock: AbstractContextManager[Any] = results.FILE_LOCK
        self._files_lock = nullcontext() if options.parallel_callbacks else lock
        self._fetcher = Fetcher(
            output_dir,
            path_generator,
            claims,
            self._files_lock,
            attempts=options.download_attempts,
            wait=wait,
            seconds=options.action_seconds,
        )

    def perform(self, task: Task) -> life.Event:
        """Do what the task's action says; every outcome, good or bad, is an event."""
        with access.managed():
            return self._perform(task)

    def _perform(self, task: Task) -> life.Event:
        match task.action:
            case life.Create():
                return self._create(task, task.action.backend)
            case life.Search():
                return self._search(task)
            case life.Start():
                return self._start(task)
            case life.Poll():
                return self._look(task)
            case life.Fetch():
                return self._fetch(task)
            case life.Process():
                return self._process(task)

    # ------------------------------------------------------------------------- creating, starting

    def _create(self, task: Task, backend: str) -> life.Event:
        job = task.action.job
        connection = self._connect(backend)
        with intending(str(job.mark)) as attempt:
            try:
                made = self._start_job(
                    row=task.row,
                    connection=connection,
                    provider=backend,
                    connection_provider=self._connect,
                )
            except RAISED as error:
                self._notice(error, task, connection)
                again = is_transient(error) and job.attempts < self._options.creation_attempts
                if (attempt.lost or again) and job.attempts == 1:
                    _log.warning("Row %d: no job yet: %s. Trying again.", job.row, one_line(error))
                if attempt.lost:
                    return life.AnswerLost(one_line(error))
                if again:
                    return life.NotMade(one_line(error))
                _log.debug("start_job for row %d raised:\n%s", job.row, traceback.format_exc())
                return life.CreationFailed(f"start_job raised {one_line(error)}", id=attempt.job_id)
        if made is None:
            return life.Skipped()
        identifier = getattr(made, "job_id", None)
        if not isinstance(identifier, str) or not identifier:
            return life.CreationFailed(
                f"start_job returned {type(made).__name__}, expected a BatchJob or None",
                id=attempt.job_id,
            )
        return life.Created(identifier)

    def _search(self, task: Task) -> life.Event:
        job = task.action.job
        connection = self._connect(str(job.backend))
        # Before the list is asked for: a job that comes up later may be missing from it.
        settled = seconds_since(job.intended_at) >= self._options.settle
        try:
            found = find_job(connection, str(job.mark), task.known_ids, job.intended_at)
        except UNWELL as error:
            return self._unreachable(error, task, connection)
        if found is not None:
            _log.info("Row %d: found its job %s on %s.", job.row, found, job.backend)
            return life.Found(found)
        if settled and job.attempts >= self._options.creation_attempts:
            return life.CreationFailed(
                f"asked {job.attempts} times, {job.backend} made no job; last: {job.message}"
            )
        if settled:
            return life.NotMade(job.message or f"no job of this row is on {job.backend}")
        return life.Unreachable(f"the job of row {job.row} may still come up", outage=False)

    def _start(self, task: Task) -> life.Event:
        # Looked at first: the callback may have started it, or the answer to an earlier start may
        # have been lost.
        seen = self._look(task)
        if not isinstance(seen, life.Seen):
            return seen
        start_time = task.action.job.start_time or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        facts = {**seen.facts, "start_time": start_time}
        if seen.word != "created":
            return life.Seen(seen.word, facts, seen.message)
        job = self._batch_job(task)
        try:
            job.start()
        except UNWELL as error:
            return self._not_started(error, task, job)
        return life.Seen("queued", facts)

    def _not_started(self, error: BaseException, task: Task, job: BatchJob) -> life.Event:
        """Tell a refusal from what may pass; the back-end has just said that the job is there."""
        if not isinstance(error, OpenEoApiPlainError):
            return self._unreachable(error, task, job.connection)
        # A fault that comes again and again does not pass; no more room may take days to.
        lasting = is_fault(error) and task.tries >= _FAULTY_TRIES
        if lasting or not is_transient(error):
            return life.StartFailed(f"the back-end refused to start it: {one_line(error)}")
        if not task.tries:
            _log.warning("Job %s: not started: %s. Trying again.", job.job_id, one_line(error))
        return life.Unreachable(one_line(error), outage=False)

    def _look(self, task: Task) -> life.Event:
        job = self._batch_job(task)
        try:
            document = job.describe()
            word = document.get("status")
            facts = facts_of(document)
        except UNWELL as error:
            if is_gone(error):
                return life.Vanished(f"{task.action.job.backend} no longer has job {job.job_id}")
            return self._unreachable(error, task, job.connection)
        if not isinstance(word, str):
            return life.Unreachable(f"the back-end gave no status for {job.job_id}: {word!r}")
        if word not in life.REMOTE:
            _log.debug("Job %s has status %r, which openEO does not know.", job.job_id, word)
        if word == "error":
            # Before the state is stored: after a kill in between it is done again.
            try:
                self._on_job_error(job, task.row)
            except RAISED:
                _log.warning(
                    "on_job_error raised for job %s:\n%s", job.job_id, traceback.format_exc()
                )
            return life.Seen(word, facts, f"job {job.job_id} failed on {task.action.job.backend}")
        return life.Seen(word, facts)

    def _batch_job(self, task: Task) -> BatchJob:
        job = task.action.job
        return self._connect(str(job.backend)).job(str(job.id))

    def _fetch(self, task: Task) -> life.Event:
        job = self._batch_job(task)
        try:
            arrival = self._fetcher.fetch(job, task.action.job.row, task.row)
        except ResultIncomplete as error:
            return life.FetchFailed(str(error))
        except (*UNWELL, results.Unavailable) as error:
            return self._not_fetched(error, task, job)
        if arrival.missing is not None:
            return life.FetchFailed(arrival.missing)
        return life.Fetched(arrival.files)

    def _not_fetched(self, error: Exception, task: Task, job: BatchJob) -> life.Event:
        """Tell what may be had later from what is lost."""
        if isinstance(error, results.Unavailable):
            # The back-end has just said where the files are: it is not the one that is away.
            if task.tries >= self._options.download_attempts:
                return life.FetchFailed(str(error))
            _log.warning("Job %s: %s. Trying again.", job.job_id, error)
            return life.Unreachable(str(error), outage=False)
        if is_gone(error):
            return life.Vanished(f"the results are no longer there: {one_line(error)}")
        if not is_transient(error) and task.tries >= _FAULTY_TRIES:
            return life.FetchFailed(f"the results cannot be read: {one_line(error)}")
        return self._unreachable(error, task, job.connection)

    def _unreachable(
        self, error: BaseException, task: Task, connection: Connection
    ) -> life.Unreachable:
        self._notice(error, task, connection)
        return life.Unreachable(one_line(error))

    def _notice(self, error: BaseException, task: Task, connection: Connection) -> None:
        """Have a connection replaced that nobody answers on, and not for the first time.

        An embedded back-end that was ended, say, is started again by whoever asks for a connection,
        and only by them.
        """
        if isinstance(error, requests.ConnectionError) and task.tries:
            self._reconnect(str(task.action.job.backend), connection)

    # -------------------------------------------------------------------------------- post-process

    def _process(self, task: Task) -> life.Event:
        for file in task.files:
            path = self.output_dir / file.path
            if not path.is_file() or path.stat().st_size != file.size:
                return life.FilesChanged()
            if results.sha256_of(path) != file.checksum:
                return life.FilesChanged()
        try:
            items = self._run_action(task)
            self._on_job_done(self._batch_job(task), task.row)
        except RAISED as error:
            _log.debug("post-processing raised:\n%s", traceback.format_exc())
            return life.ProcessingFailed(f"post-processing raised {one_line(error)}")
        return life.Processed(tuple(items))

    def _run_action(self, task: Task) -> list[dict[str, Any]]:
        items = [pystac.Item.from_dict(self._absolute(file.item)) for file in task.files]
        if self._post_job_action is not None:
            with self._files_lock:
                items = within(self._options.action_seconds, self._post_job_action, items, task.row)
        return [self._catalogued(item) for item in items]

    def _absolute(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return an item as the user's action gets it: hrefs point at the files."""
        assets = {
            key: {**asset, "href": (self.output_dir / asset["href"]).as_posix()}
            for key, asset in item["assets"].items()
        }
        return {**item, "assets": assets}

    def _catalogued(self, item: pystac.Item) -> dict[str, Any]:
        """Return an item as the store keeps it.

        Addresses are relative to the output folder; sizes and checksums are those of the files as
        the action left them.
        """
        document = item.to_dict(include_self_link=False, transform_hrefs=False)
        document["links"] = [
            link
            for link in document["links"]
            if link["rel"] not in ("self", "root", "parent", "collection")
        ]
        assets = {}
        for key, asset in document["assets"].items():
            assets[key] = {**asset, **self._file_fields(item.id, key, str(asset["href"]))}
        version = {"openeo-gfmap": metadata.version("openeo-gfmap")}
        properties = {"processing:software": version, **document["properties"]}
        return stac_items.modern_item({**document, "assets": assets, "properties": properties})

    def _file_fields(self, item_id: str, key: str, href: str) -> dict[str, Any]:
        if "://" in href:
            return {"href": href}
        path = Path(href) if Path(href).is_absolute() else Path.cwd() / href
        if not path.is_file():
            raise ResultIncomplete(f"asset {key!r} of item {item_id} is {href}, which is no file")
        root = self.output_dir.resolve()
        inside = path.resolve().is_relative_to(root)
        return {
            "href": path.resolve().relative_to(root).as_posix() if inside else path.as_posix(),
            "file:size": path.stat().st_size,
            "file:checksum": results.multihash_of(path),
        }
