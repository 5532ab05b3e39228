"""One run of a process graph in a child: prepare its folder, watch it, read what it left."""

from __future__ import annotations

import json
import shutil
import signal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .child import Child, Stopped
from .errors import OpenEOError
from .object_store import ObjectStore, is_address
from .settings import GIB, Settings, cpus, parse_size
from .worker import PROGRESS_FILE, WORKERS_FILE, Request

__all__ = [
    "WORKER",
    "Ending",
    "discard_results",
    "discard_stored",
    "memory_limit",
    "prepare",
    "read_ending",
    "read_progress",
    "read_workers",
    "stored_place",
]

#: Module that a child runs.
WORKER = "openeo_gfmap.local.worker"

#: File in a job's folder that says where its results are, when that is elsewhere.
PLACE_FILE = "place"

# Room for the stacks of all threads, which a crash of a compiled library leaves.
_TAIL = 15_000


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes
    ----------
    result
        Content of ``result.json``, when it succeeded.
    error
        Why not, else.
    logged
        Whether the child has already written the error to the log.
    output
        The end of what it printed.
    """

    result: Mapping[str, Any] | None = None
    error: OpenEOError | None = None
    logged: bool = False
    output: str = ""

    @property
    def cpu(self) -> float | None:
        """CPU seconds as the child counted them."""
        return None if self.result is None else self.result.get("cpu")


def memory_limit(options: Mapping[str, Any], settings: Settings) -> int:
    """Return a job's memory limit in bytes: what its options ask for, up to the server's limit.

    ``executor-memory`` plus ``executor-memoryOverhead`` is what a Spark-based back-end would give
    to each of its processes. Here it is all there is, so that less than 1 GiB is not taken at its
    word.
    """
    asked = 0
    for name in ("executor-memory", "executor-memoryOverhead"):
        value = options.get(name)
        if isinstance(value, str):
            try:
                asked += parse_size(value)
            except ValueError:
                # Options of other back-ends are accepted whatever they hold.
                continue
    return min(max(asked, GIB), settings.job_memory) if asked else settings.job_memory


def prepare(
    folder: Path,
    process_graph: Mapping[str, Any],
    settings: Settings,
    *,
    servers: tuple[str, ...],
    memory: int,
    log_level: str = "info",
    batch: bool = False,
) -> None:
    """Make a folder ready for a run; what an earlier run left in it goes, except the log.

    Parameters
    ----------
    folder
        The run's folder.
    process_graph
        What to run.
    settings
        Of the server.
    servers
        Root URLs of this server.
    memory
        Limit of the run, bytes.
    log_level
        Least severe level to log.
    batch
        Whether it is a batch job: only these use the cluster and the result store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    discard_results(folder)
    discard_stored(folder)
    (folder / "results").mkdir()
    store = settings.result_store if batch else ""
    place = f"{store.rstrip('/')}/{folder.name}/{uuid.uuid4().hex[:8]}" if store else ""
    if place:
        (folder / PLACE_FILE).write_text(place)
    state = settings.folder
    Request(
        process_graph=process_graph,
        archive=str(state.archive),
        workspace=str(state.files),
        cache=str(folder / "scratch" / "downloads"),
        max_file=settings.max_file,
        memory=memory,
        share=min(memory, settings.job_share),
        log_level=log_level,
        workers=max(1, cpus() // settings.parallel_jobs),
        sources=dict(settings.sources),
        servers=servers,
        scheduler=settings.scheduler if batch else "",
        place=place,
        udf_seconds=settings.udf_seconds,
        udf_cpu_seconds=settings.udf_cpu_seconds,
        udf_memory=min(settings.udf_memory or memory, memory),
    ).write(folder)


def discard_results(folder: Path) -> None:
    """Remove everything in a run's folder but its log, its lock, and where its results are."""
    names = ("result.json", "error.json", "request.json", "output.txt", PROGRESS_FILE, WORKERS_FILE)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    for name in ("results", "scratch"):
        shutil.rmtree(folder / name, ignore_errors=True)


def stored_place(folder: Path) -> str | None:
    """Return where a run's result files are, if not in its folder: another one, or an address."""
    try:
        return (folder / PLACE_FILE).read_text()
    except FileNotFoundError:
        return None


def discard_stored(folder: Path) -> None:
    """Remove a run's result files from the result store. May take long: network.

    Raises
    ------
    OpenEOError
        ``StorageFailure``; asking again goes on with what is left.
    """
    place = stored_place(folder)
    if place is None:
        return
    if is_address(place):
        ObjectStore(place).clear()
    else:
        shutil.rmtree(place, ignore_errors=True)
    (folder / PLACE_FILE).unlink()


def read_ending(folder: Path, child: Child | None, stopped: Stopped | None) -> Ending:
    """Tell how a run ended, from what it left and from how its child ended."""
    output = _tail(folder / "output.txt")
    if stopped:
        error = OpenEOError(stopped.code, stopped.message, status=500)
        return Ending(error=error, output=output)
    result = _read(folder / "result.json")
    if result is not None:
        return Ending(result=result, output=output)
    known = _read(folder / "error.json")
    if known is not None:
        error = OpenEOError(known["code"], known["message"], status=known["status"])
        return Ending(error=error, logged=True, output=output)
    return Ending(error=_crash(child.exit_code if child else None), output=output)


def read_progress(folder: Path) -> float:
    """Return the per cent of a run that is done."""
    try:
        return float((folder / PROGRESS_FILE).read_text())
    except FileNotFoundError:
        return 0.0


def read_workers(folder: Path) -> dict[str, Any]:
    """Return what a run says of the cluster it works on; empty when it works here."""
    return _read(folder / WORKERS_FILE) or {}


def _crash(exit_code: int | None) -> OpenEOError:
    if exit_code is None:
        how = "ended without a result"
    elif exit_code < 0:
        how = f"was ended by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    else:
        how = f"ended with exit status {exit_code} and without a result"
    hint = ""
    if exit_code == -signal.SIGKILL:
        hint = (
            " Nobody asked this server for it: most likely the system ran out of memory. Run "
            "fewer jobs at a time (setting parallel_jobs) or smaller ones."
        )
    elif exit_code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT):
        hint = " A compiled library crashed; the output in the log may show where."
    return OpenEOError("JobCrashed", f"The job's process {how}.{hint}", status=500)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return document


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
