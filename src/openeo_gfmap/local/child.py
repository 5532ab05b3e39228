"""One job's processes: start, find again after a restart of the server, watch, end.

A child works in a folder of its own and holds the file lock ``lock`` in it from before its first
instruction until its last. The lock, not a process id, is what says that a child is alive: it
cannot outlive the process, cannot mean another process that got the same id, and two children can
never hold it. A child leads its own process group, so that whatever it starts ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .nursery import ENDED_FILE, NUMERIC_THREADS, Nursery

__all__ = ["Child", "Limits", "Stopped", "adopt", "start", "supervise"]

# How often a child is looked at: soon at first, since many jobs are short.
_FIRST_LOOK, _LAST_LOOK = 0.02, 0.5

# The nursery notes how a child ended just after the child's lock is free.
_NOTE_SECONDS = 1.0

_MB = 1024**2
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Limits:
    """What a child may use: bytes of memory for all its processes together, and seconds."""

    memory: int
    seconds: float


@dataclass(frozen=True)
class Stopped:
    """Why the server ended a child: an error code and a message for the job's log."""

    code: str
    message: str


@dataclass
class Usage:
    """What a child used, by samples: exact at the end is what the child itself reports.

    ``memory`` (bytes) and ``processes`` are those of the last look.
    """

    cpu: float = 0
    memory: int = 0
    processes: int = 0
    peak: int = 0
    memory_seconds: float = 0
    duration: float = 0

    def as_openeo(self, cpu: float | None = None) -> dict[str, Any]:
        """Return openEO usage metrics."""
        return {
            "cpu": {"value": round(max(self.cpu, cpu or 0), 3), "unit": "cpu-seconds"},
            "memory": {"value": round(self.memory_seconds, 1), "unit": "mb-seconds"},
            "duration": {"value": round(self.duration, 3), "unit": "seconds"},
            "max_memory": {"value": round(self.peak / _MB, 1), "unit": "mb"},
        }


@dataclass
class Child:
    """The processes of one job.

    Attributes
    ----------
    folder
        Where it works.
    group
        Id of its process group, which is the id of its first process.
    started
        ``time.time()`` of its start.
    process
        The first process, when it is this process's own child; None when it was forked by the
        nursery, or adopted.
    """

    folder: Path
    group: int
    started: float
    process: subprocess.Popen[bytes] | None = None
    usage: Usage = field(default_factory=Usage)

    def alive(self) -> bool:
        """Tell whether the first process still runs. Its end ends all it has started."""
        if self.process is None:
            return _locked(self.folder / "lock")
        if self.process.returncode is not None:
            return False
        # Looked at without being reaped: until then no other process can get this group's id.
        ended = os.waitid(
            os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
        )  # fmt: skip
        if ended is None:
            return True
        self._signal_group()
        self.process.wait()
        return False

    @property
    def exit_code(self) -> int | None:
        """Exit status, minus the signal's number when one ended it; None where not known."""
        if self.process is not None:
            return self.process.returncode
        deadline = time.monotonic() + _NOTE_SECONDS
        while True:
            try:
                status: int = json.loads((self.folder / ENDED_FILE).read_bytes())["status"]
                return status
            except FileNotFoundError:
                if time.monotonic() > deadline:
                    return None
            time.sleep(0.005)

    def kill(self) -> None:
        """End all its processes at once and wait until they are gone."""
        if not self.alive():
            return
        self._signal_group()
        if self.process is not None:
            self.process.wait()
        # The lock is free when the last of its holders is gone.
        while _locked(self.folder / "lock"):
            self._signal_group()  # a fork may not have had its own group yet
            time.sleep(0.005)

    def _signal_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)


def start(folder: Path, module: str, nursery: Nursery | None = None) -> Child:
    """Start ``python -m module folder`` as a child.

    Parameters
    ----------
    folder
        Where it works.
    module
        What it runs.
    nursery
        Where it is forked from if that can be done; ``module`` must then be the job worker.

    Raises
    ------
    BlockingIOError
        When a child already works in this folder.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        (folder / ENDED_FILE).unlink(missing_ok=True)
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        process = None
        with (folder / "output.txt").open("wb") as output:
            pid = nursery.fork(folder, lock, output.fileno()) if nursery else None
            if pid is None:
                process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-m", module, str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=scratch,
                    env={
                        **NUMERIC_THREADS,
                        **os.environ,
                        "TMPDIR": str(scratch),
                        "PYTHONUNBUFFERED": "1",
                    },
                    start_new_session=True,
                    pass_fds=(lock,),
                )
                pid = process.pid
        child = Child(folder, pid, time.time(), process)
        os.write(lock, json.dumps({"group": child.group, "started": child.started}).encode())
        return child
    finally:
        os.close(lock)


def adopt(folder: Path) -> Child | None:
    """Return the child that an earlier server started here and that still runs, if there is one."""
    lock = folder / "lock"
    while _locked(lock):
        try:
            known = json.loads(lock.read_bytes())
            return Child(folder, known["group"], known["started"])
        except (ValueError, KeyError):
            # Its server was killed between starting it and writing this down. Rare and short.
            time.sleep(0.05)
    return None


def _locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


async def supervise(
    child: Child,
    limits: Limits,
    stop: asyncio.Future[Stopped],
    each_look: Callable[[], None] | None = None,
) -> Stopped | None:
    """Wait for a child's end; end it when it passes a limit or ``stop`` gets a result.

    Parameters
    ----------
    child
        The child; its usage is kept up to date.
    limits
        Memory is watched where the system tells it (Linux).
    stop
        The way to end the child from elsewhere: only here its processes are touched.
    each_look
        Called at each look at the child.

    Returns
    -------
    Stopped or None
        Why it was ended; None when it ended by itself.
    """
    pause = _FIRST_LOOK
    last = time.monotonic()
    while child.alive():
        memory, cpu, processes = _group_usage(child.group)
        now = time.monotonic()
        usage = child.usage
        usage.duration = time.time() - child.started
        usage.memory_seconds += memory / _MB * (now - last)
        usage.peak = max(usage.peak, memory)
        usage.memory, usage.processes = memory, processes
        usage.cpu = max(usage.cpu, cpu)
        last = now
        stopped = stop.result() if stop.done() else _passed(limits, memory, usage.duration)
        if stopped:
            await asyncio.to_thread(child.kill)
            return stopped
        if each_look:
            each_look()
        await asyncio.wait({stop}, timeout=pause)
        pause = min(pause * 1.5, _LAST_LOOK)
    child.usage.duration = time.time() - child.started
    return None


def _passed(limits: Limits, memory: int, seconds: float) -> Stopped | None:
    if memory > limits.memory:
        return Stopped(
            "MemoryLimitExceeded",
            f"The job used {memory / _MB:.0f} MB of memory, more than its limit of "
            f"{limits.memory / _MB:.0f} MB, and was ended. Split the job, or raise the limit: job "
            "option executor-memory up to the server's setting job_memory.",
        )
    if seconds > limits.seconds:
        return Stopped(
            "TimeLimitExceeded",
            f"The job ran longer than its limit of {limits.seconds:.0f} s and was ended. Split "
            "it, or raise the server's setting job_seconds (sync_seconds for synchronous "
            "requests).",
        )
    return None


def _group_usage(group: int) -> tuple[int, float, int]:
    """Return bytes of memory, seconds of CPU, and processes of a group; zeros where not known.

    Memory is what the processes hold for themselves: neither shared libraries nor cached files.
    """
    memory, ticks, processes = 0, 0, 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # The second field, the command, may hold spaces and brackets.
            values = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(values[2]) != group:
                continue
            resident, shared = (entry / "statm").read_bytes().split()[1:3]
        except (OSError, ValueError, IndexError):  # it ended while we looked
            continue
        memory += (int(resident) - int(shared)) * _PAGE
        ticks += sum(int(value) for value in values[11:15])
        processes += 1
    return memory, ticks / _TICKS, processes
