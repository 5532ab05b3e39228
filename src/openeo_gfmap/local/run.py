"""One run of a process graph in a child: prepare its folder, watch it, read what it left."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .child import Child, Stopped
from .errors import OpenEOError
from .settings import GIB, Settings, parse_size
from .worker import PROGRESS_FILE, Request

__all__ = [
    "WORKER",
    "Ending",
    "discard_results",
    "memory_limit",
    "prepare",
    "read_ending",
    "read_progress",
]

#: Module that a child runs.
WORKER = "openeo_gfmap.local.worker"

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
) -> None:
    """Make a folder ready for a run; what an earlier run left in it goes, except the log."""
    folder.mkdir(parents=True, exist_ok=True)
    discard_results(folder)
    (folder / "results").mkdir()
    state = settings.folder
    Request(
        process_graph=process_graph,
        archive=str(state.archive),
        workspace=str(state.files),
        cache=str(folder / "scratch" / "downloads"),
        max_file=settings.max_file,
        memory=memory,
        log_level=log_level,
        workers=max(1, _cores() // settings.parallel_jobs),
        sources=dict(settings.sources),
        servers=servers,
    ).write(folder)


def discard_results(folder: Path) -> None:
    """Remove everything in a run's folder but its log and its lock."""
    for name in ("result.json", "error.json", "request.json", "output.txt", PROGRESS_FILE):
        (folder / name).unlink(missing_ok=True)
    for name in ("results", "scratch"):
        shutil.rmtree(folder / name, ignore_errors=True)


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


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: what this process may use, not what there is
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
