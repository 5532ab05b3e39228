"""The child process of one job: ``python -m openeo_gfmap.local.worker FOLDER``.

Reads ``request.json`` in the folder, runs the process graph, and leaves ``result.json`` (written
last, so it means success) or ``error.json``. It talks to the server through files only; nothing
it does can damage the server's own state.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import OpenEOError
from .files import Fetcher, Workspace
from .joblog import JobLog
from .malloc import keep_memory
from .object_store import is_address

if TYPE_CHECKING:
    from .engine.plan import Env

__all__ = ["PROGRESS_FILE", "WORKERS_FILE", "Request", "environment", "main", "write_json"]

#: File in the folder that holds the per cent of the work that is done.
PROGRESS_FILE = "progress"

#: File in the folder that says which workers of a cluster are at the job.
WORKERS_FILE = "workers.json"

_LONGEST_TRACEBACK = 8000

# Bytes of decoded blocks a process keeps at most: more finds no more hits.
_MOST_BLOCKS = 512 * 1024**2


@dataclass(frozen=True)
class Request:
    """What a child needs to know.

    Attributes
    ----------
    process_graph
        openEO process graph.
    log_level
        Least severe level to log.
    sources, archive, workspace
        Where collections and files come from.
    servers
        Root URLs that mean the server's own workspace.
    cache
        Folder for downloads.
    max_file
        Largest download, bytes.
    workers
        Processes the engine may use.
    memory
        Bytes of memory one process may allocate.
    share
        Bytes of memory that the engine plans with.
    scheduler
        Address of a Dask scheduler; empty for none.
    place
        Folder or address in an object store for the result files; empty for the job's folder.
    udf_seconds, udf_cpu_seconds, udf_memory
        Limits of user-defined functions.
    """

    process_graph: Mapping[str, Any]
    archive: str
    workspace: str
    cache: str
    max_file: int
    memory: int
    share: int
    udf_seconds: float
    udf_cpu_seconds: float
    udf_memory: int
    scheduler: str = ""
    place: str = ""
    log_level: str = "info"
    workers: int = 1
    sources: Mapping[str, str] = field(default_factory=dict)
    servers: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Store the request in a job's folder."""
        write_json(folder / "request.json", asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Request:
        """Read what :meth:`write` wrote."""
        document = json.loads((folder / "request.json").read_bytes())
        return cls(**{**document, "servers": tuple(document["servers"])})


def main(folder: Path) -> int:
    """Run the job of a folder; the exit status is 0 on success, else 1."""
    faulthandler.enable()
    request = Request.read(folder)
    log = JobLog(folder / "log.jsonl", request.log_level)
    logging.getLogger().addHandler(_LogHandler(log))
    logging.getLogger("openeo_gfmap").setLevel(logging.DEBUG)
    _limit_memory(request.memory)
    keep_memory(block=2**30, idle=256 * 2**20)
    try:
        result = _run(request, folder, log)
    except OpenEOError as error:
        where = f" (node {error.node!r})" if error.node and error.node not in error.message else ""
        return _fail(
            folder, log, OpenEOError(error.code, error.message + where, status=error.status)
        )
    except MemoryError:
        message = (
            f"The job needs more memory than its limit of {request.memory / 1024**2:.0f} MB. "
            "Split it, or raise the limit: job option executor-memory up to the server's setting "
            "job_memory."
        )
        return _fail(folder, log, OpenEOError("MemoryLimitExceeded", message, status=500))
    except Exception as error:  # noqa: BLE001 - whatever a UDF raises becomes the job's error
        text = f"{type(error).__name__}: {error}"
        # The user's own UDF may be at fault, so the user must see where.
        log("info", traceback.format_exc()[-_LONGEST_TRACEBACK:])
        return _fail(folder, log, OpenEOError("JobFailed", text, status=500))
    for message in result.messages:
        log("info", message)
    cpu = os.times()
    write_json(
        folder / "result.json",
        {
            "assets": [asset.to_dict() for asset in result.assets],
            "derived_from": list(result.derived_from),
            "usage": dict(result.usage),
            "cpu": cpu.user + cpu.system + cpu.children_user + cpu.children_system,
        },
    )
    return 0


def _run(request: Request, folder: Path, log: JobLog) -> Any:
    from .engine import execute  # noqa: PLC0415  (see environment)

    env = environment(request, folder, log)
    place = Path(request.place) if request.place and not env.store else folder / "results"
    return execute(request.process_graph, env=env, out_dir=place)


def environment(request: Request, folder: Path, log: JobLog) -> Env:
    """Return the engine's settings for a job."""
    # Imported here: an import that fails, or needs too much memory, is the job's error as well.
    from .catalog import Catalog  # noqa: PLC0415
    from .engine.plan import Env  # noqa: PLC0415
    from .engine.reader import Reader  # noqa: PLC0415
    from .engine.udf_limits import UdfLimits  # noqa: PLC0415

    # A quarter of a process's share for the arrays of a window, up to a quarter for decoded
    # blocks; the rest is for what processes make on their way, UDFs, writing, and the libraries.
    share = request.share // (4 * request.workers)
    return Env(
        catalog=Catalog.from_settings(request.sources, Path(request.archive)),
        fetch=Fetcher(
            workspace=Workspace(Path(request.workspace)),
            servers=request.servers,
            cache=Path(request.cache),
            max_bytes=request.max_file,
        ),
        workers=request.workers,
        log=log,
        progress=_Progress(folder / PROGRESS_FILE),
        memory=share,
        open_reader=partial(Reader, cache_bytes=min(share, _MOST_BLOCKS)),
        scheduler=request.scheduler,
        news=_News(folder / WORKERS_FILE),
        store=request.place if is_address(request.place) else "",
        udf=UdfLimits(request.udf_seconds, request.udf_cpu_seconds, request.udf_memory),
    )


def _fail(folder: Path, log: JobLog, error: OpenEOError) -> int:
    log("error", error.message, error.code)
    document = {"code": error.code, "message": error.message, "status": error.status}
    write_json(folder / "error.json", document)
    return 1


def _limit_memory(limit: int) -> None:
    """Make an allocation beyond the limit a MemoryError in this process, where the system can.

    Only private writable memory counts (Linux). The address space would be the wrong measure: it
    also holds libraries, mapped files and what allocators merely reserve.
    """
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


@dataclass
class _Progress:
    """Leave the percentage where the server looks for it, as often as it looks."""

    path: Path
    written: float = 0

    def __call__(self, percent: float) -> None:
        if time.monotonic() - self.written >= 0.5:
            self.written = time.monotonic()
            part = self.path.with_suffix(".part")
            part.write_text(f"{percent:.1f}")
            part.replace(self.path)


@dataclass(frozen=True)
class _News:
    """Leave what is known of a cluster's workers where the server looks for it."""

    path: Path

    def __call__(self, news: Mapping[str, Any]) -> None:
        write_json(self.path, news)


class _LogHandler(logging.Handler):
    """Python log records, of UDFs too, become entries of the job's log."""

    def __init__(self, log: JobLog):
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        names = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))
        level = next((name for least, name in names if record.levelno >= least), "debug")
        try:
            self._log(level, record.getMessage())
        except (OSError, TypeError, ValueError):
            self.handleError(record)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file in one step: a reader sees all of it or the one before."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
