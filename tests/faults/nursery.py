"""Runs of the manager that are killed: each in a process of its own, which costs only a fork.

``python -m faults.nursery`` reads one order a line, JSON, and forks for it; the packages are
imported once. An order says where the process is to die:

- ``event``: at its n-th audit event that has to do with files (opening, renaming, removing …);
- ``statement``: before its n-th SQL statement, BEGIN and COMMIT among them;
- ``size``: in the middle of the write that would make a file longer than so many bytes;
- ``seconds``: by SIGKILL from outside, after so long.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
_FILE_EVENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "shutil.rmtree"}
)


def arm(place: str, n: int) -> None:
    """Let this process die at the place."""
    left = n

    def one_less(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    opened: list[tuple[sqlite3.Connection, int]] = []  # and by which thread

    def on_event(event: str, args: tuple[Any, ...]) -> None:
        if place == "event" and event in _FILE_EVENTS:
            one_less()
        elif place == "statement" and event == "sqlite3.connect/handle":
            opened.append((args[0], threading.get_ident()))  # it cannot be traced just yet
        elif opened and opened[-1][1] == threading.get_ident():
            opened.pop()[0].set_trace_callback(one_less)

    if place == "size":
        # By default Python asks the kernel for an error instead.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))
    else:
        sys.addaudithook(on_event)


def live(order: dict[str, Any]) -> None:
    """Do a run; the process ends with it."""
    from faults.soak_run import run

    status = 1
    try:
        if order.get("place") not in (None, "seconds"):
            arm(order["place"], order["n"])
        how = {name: order[name] for name in ("rewrite", "gated")}
        run(Path(order["folder"]), order["url"], order["jobs"], **how)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def serve() -> None:
    """Fork for each order; tell how the child ended."""
    import faults.soak_run  # noqa: F401 - imported before the forks

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            live(order)
        if order.get("place") == "seconds":
            time.sleep(order["n"])
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Nursery:
    """Starts runs and says how they ended."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faults.nursery"],
                cwd=TESTS,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def run(self, place: str | None = None, n: float = 0, **order: Any) -> int:
        """Do a run; return its exit status, negative when it was killed."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"place": place, "n": n, **order}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


if __name__ == "__main__":
    serve()
