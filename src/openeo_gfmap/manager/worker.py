"""What the actions of the life cycle do: `Worker.perform` takes an action, returns an event.

It runs in several threads. It talks to back-ends, files and the user's callbacks, and to nothing
else: the jobs and the store belong to the loop.
"""

from __future__ import annotations

import math
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac
import requests
from openeo.rest import OpenEoApiPlainError, OpenEoRestError
from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.manager import _log, netcdf, results
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.callbacks import PathGenerator, PostJobAction, StartJob
from openeo_gfmap.manager.intent import find_job, intending, without_mark
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.stac import items as stac_items

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Task", "Worker"]

#: What a back-end that is there, but not well, makes the client raise. A ValueError is an answer
#: that is no JSON, an AttributeError, KeyError or TypeError one that is JSON of another kind.
_UNWELL = (
    requests.RequestException,
    OpenEoRestError,
    ValueError,
    AttributeError,
    KeyError,
    TypeError,
)
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


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
    """

    action: life.Action
    row: pd.Series[Any]
    files: tuple[life.SavedFile, ...] = ()
    known_ids: frozenset[str] = field(default=frozenset(), repr=False)


def _is_transient(error: Exception) -> bool:
    status = getattr(error, "http_status_code", None)
    if isinstance(status, int):
        return status in _TRANSIENT
    return isinstance(error, requests.RequestException)


def _is_gone(error: Exception) -> bool:
    return getattr(error, "http_status_code", None) in (404, 410)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


class Worker:
    """Performs actions.

    Parameters
    ----------
    output_dir : Path
        Folder that all files stay in.
    connect : callable
        Gives the connection of a back-end by its name.
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
        self._path_generator = path_generator
        self._post_job_action = post_job_action
        self._on_job_done = on_job_done
        self._on_job_error = on_job_error
        self._claims = claims
        self._options = options
        self._wait = wait
        self._files_lock = nullcontext() if options.parallel_callbacks else results.FILE_LOCK

    def perform(self, task: Task) -> life.Event:
        """Do what the task's action says; every outcome, good or bad, is an event."""
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
            except Exception as error:  # noqa: BLE001 - a user's callback can raise anything
                if attempt.lost:
                    return life.AnswerLost(_one_line(error))
                if _is_transient(error) and job.attempts < self._options.creation_attempts:
                    return life.NotMade(_one_line(error))
                _log.debug("start_job for row %d raised:\n%s", job.row, traceback.format_exc())
                return life.CreationFailed(
                    f"start_job raised {_one_line(error)}", id=attempt.job_id
                )
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
        settled = _seconds_since(job.intended_at) >= self._options.settle
        try:
            found = find_job(connection, str(job.mark), task.known_ids, job.intended_at)
        except _UNWELL as error:
            return life.Unreachable(_one_line(error))
        if found is not None:
            _log.info("Row %d: found its job %s on %s.", job.row, found, job.backend)
            return life.Found(found)
        if settled:
            return life.NotMade(f"no job of row {job.row} is on {job.backend}")
        return life.Unreachable(f"the answer to creating row {job.row}'s job is awaited")

    def _start(self, task: Task) -> life.Event:
        # Looked at first: the callback may have started it, or the answer to an earlier start may
        # have been lost.
        seen = self._look(task)
        if not (isinstance(seen, life.Seen) and seen.word == "created"):
            return seen
        try:
            self._batch_job(task).start()
        except _UNWELL as error:
            if _is_transient(error) or not isinstance(error, OpenEoApiPlainError):
                return life.Unreachable(_one_line(error))
            return life.StartFailed(f"the back-end refused to start it: {_one_line(error)}")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return life.Seen("queued", {**seen.facts, "start_time": now})

    def _look(self, task: Task) -> life.Event:
        job = self._batch_job(task)
        try:
            document = job.describe()
            word = document.get("status")
            facts = _facts(document)
        except _UNWELL as error:
            if _is_gone(error):
                return life.Vanished(f"{task.action.job.backend} no longer has job {job.job_id}")
            return life.Unreachable(_one_line(error))
        if not isinstance(word, str):
            return life.Unreachable(f"the back-end gave no status for {job.job_id}: {word!r}")
        if word not in life.REMOTE:
            _log.debug("Job %s has status %r, which openEO does not know.", job.job_id, word)
        if word == "error":
            # Before the state is stored: after a kill in between it is done again.
            try:
                self._on_job_error(job, task.row)
            except Exception:  # noqa: BLE001 - a user's override can raise anything
                _log.warning(
                    "on_job_error raised for job %s:\n%s", job.job_id, traceback.format_exc()
                )
            return life.Seen(word, facts, f"job {job.job_id} failed on {task.action.job.backend}")
        return life.Seen(word, facts)

    def _batch_job(self, task: Task) -> BatchJob:
        job = task.action.job
        return self._connect(str(job.backend)).job(str(job.id))

    # -------------------------------------------------------------------------------------- files

    def _staging(self, row: int) -> Path:
        return self.output_dir / ".downloads" / str(row)

    def _fetch(self, task: Task) -> life.Event:
        staging = self._staging(task.action.job.row)
        try:
            staging.mkdir(parents=True, exist_ok=True)
            files = self._fetch_all(task, staging)
        except ResultIncomplete as error:
            return life.FetchFailed(str(error))
        except _UNWELL as error:
            if _is_gone(error):
                return life.Vanished(f"the results are no longer there: {_one_line(error)}")
            return life.Unreachable(_one_line(error))
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return life.Fetched(tuple(files))

    def _fetch_all(self, task: Task, staging: Path) -> list[life.SavedFile]:
        batch_job = self._batch_job(task)
        document = batch_job.get_results().get_metadata()
        assets = _data_assets(document)
        if not assets:
            raise ResultIncomplete(f"job {batch_job.job_id} finished without any file")
        files = []
        targets: set[Path] = set()
        for index, key in results.asset_order(list(assets)):
            tmp_path = staging / results.file_name(key, assets[key])
            try:
                size, checksum = self._download(batch_job, assets[key], tmp_path)
            except results.Expired:
                document = batch_job.get_results().get_metadata()  # new addresses
                assets = _data_assets(document)
                if key not in assets:
                    raise ResultIncomplete(f"{key} is no longer among the results") from None
                try:
                    size, checksum = self._download(batch_job, assets[key], tmp_path)
                except results.Expired as error:
                    raise ResultIncomplete(f"{key} cannot be had: {error}") from error
            target = self._target(task, index, key, tmp_path)
            if target in targets:
                raise ResultIncomplete(
                    f"output_path_generator gave {target} for two files of one job; return a path "
                    "that differs for each geometry_index"
                )
            targets.add(target)
            path = target.relative_to(self.output_dir.resolve()).as_posix()
            item = self._item(batch_job.connection, document, key, tmp_path, path)
            results.move(tmp_path, target)
            files.append(life.SavedFile(path, size, checksum, item))
        return files

    def _download(
        self, batch_job: BatchJob, asset: Mapping[str, Any], target: Path
    ) -> tuple[int, str]:
        return results.download(
            batch_job.connection,
            asset,
            target,
            attempts=self._options.download_attempts,
            wait=self._wait,
        )

    def _target(self, task: Task, index: int, key: str, tmp_path: Path) -> Path:
        try:
            with self._files_lock:
                path = self._path_generator(
                    root_folder=self.output_dir,
                    tmp_path=tmp_path,
                    geometry_index=index,
                    row=task.row,
                    asset_id=key,
                )
        except Exception as error:  # a user's callback can raise anything
            _log.debug("output_path_generator raised:\n%s", traceback.format_exc())
            raise ResultIncomplete(
                f"output_path_generator raised {_one_line(error)} for {key}"
            ) from error
        target = results.place(self.output_dir, path)
        self._claims.take(task.action.job.row, target)
        return target

    @staticmethod
    def _item(
        connection: Connection, document: Mapping[str, Any], key: str, file: Path, path: str
    ) -> dict[str, Any]:
        """Describe a file from itself, or else from what the back-end says of it."""
        identifier = stac_items.item_id(path)
        if file.suffix == ".nc":
            with results.FILE_LOCK:
                try:
                    cube = netcdf.describe(file)
                except OSError:  # netCDF-3: it has passed the check, but is not HDF5
                    cube = None
            if cube is not None:
                return stac_items.cube_item(identifier, path, cube)
        item = _item_of(connection, document, key)
        return stac_items.service_item(identifier, path, document["assets"][key], item, document)

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
        except Exception as error:  # noqa: BLE001 - a user's callback can raise anything
            _log.debug("post-processing raised:\n%s", traceback.format_exc())
            return life.ProcessingFailed(f"post-processing raised {_one_line(error)}")
        return life.Processed(tuple(items))

    def _run_action(self, task: Task) -> list[dict[str, Any]]:
        items = [pystac.Item.from_dict(self._absolute(file.item)) for file in task.files]
        if self._post_job_action is not None:
            with self._files_lock:
                items = self._post_job_action(items, task.row)
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


# ------------------------------------------------------------------------------ reading with care


def _seconds_since(moment: str | None) -> float:
    """Return how long ago a moment was; without one, or in the future, for ever."""
    if moment is None:
        return math.inf
    passed = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    return passed if passed >= 0 else math.inf


def _facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job that its metadata fills; what is absent or null stays out."""
    facts: dict[str, Any] = {}
    title, description = document.get("title"), without_mark(document.get("description"))
    if isinstance(title, str):
        facts["title"] = title
    if description is not None:
        facts["description"] = description
    costs = document.get("costs")
    if isinstance(costs, int | float) and not isinstance(costs, bool):
        facts["costs"] = float(costs)
    usage = document.get("usage")
    for name in ("cpu", "memory", "duration"):
        metric = usage.get(name) if isinstance(usage, Mapping) else None
        if isinstance(metric, Mapping) and metric.get("value") is not None:
            facts[name] = f"{metric['value']} {metric.get('unit') or ''}".strip()
    return facts


def _data_assets(document: Any) -> dict[str, Mapping[str, Any]]:
    """Return the assets that are results; those marked as metadata or thumbnails are not."""
    found = {}
    for key, asset in (document.get("assets") or {}).items():
        roles = asset.get("roles") or ["data"]
        if isinstance(asset.get("href"), str) and "data" in roles:
            found[str(key)] = asset
    return found


def _item_of(
    connection: Connection, document: Mapping[str, Any], key: str
) -> Mapping[str, Any] | None:
    """Return the back-end's item that has an asset."""
    for link in document.get("links") or ():
        if link.get("rel") == "item" and key in str(link.get("href")):
            item = connection.get(link["href"], expected_status=200).json()
            if key in (item.get("assets") or {}):
                return dict(item)
    return None
