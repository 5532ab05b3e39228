"""A process with everything imported, from which jobs are forked: a job costs no imports.

The server gives orders over a socket: a folder, with the lock and the output file that the job's
process is to hold. That process is to all else the same as one started anew: a session of its own,
its own standard output, the lock of its folder until its last instruction (see :mod:`child`). The
nursery waits for the processes it has forked, ends what they leave behind and writes down how each
ended (``ended.json``). When the server is gone it takes no more orders, but waits on for those.

Only on Linux: elsewhere system libraries do not stand being forked.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["ENDED_FILE", "NUMERIC_THREADS", "Nursery", "main"]

#: File in a job's folder that says how its process ended.
ENDED_FILE = "ended.json"

#: Numeric libraries would each start a thread per CPU in each process; windows and jobs already
#: keep the CPUs busy.
NUMERIC_THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)

_READY = b"ready"
_LONGEST_ORDER = 8192
# A fork takes milliseconds; longer means that the nursery hangs.
_REPLY_SECONDS = 5.0


class Nursery:
    """The server's side. Each job is forked, or else started in the slow way."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ready = False

    def open(self) -> None:
        """Start the nursery; it is of use when it has imported everything."""
        if sys.platform != "linux":
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "openeo_gfmap.local.nursery", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**NUMERIC_THREADS, **os.environ},
                start_new_session=True,  # a Ctrl-C is for the server
            )
        self._socket = ours
        self._ready = False

    def fork(self, folder: Path, lock: int, output: int) -> int | None:
        """Return the id of a new process for a job; None when there is no nursery to fork it from.

        Parameters
        ----------
        folder
            The job's folder.
        lock, output
            File descriptors that the process gets: to hold, and for what it prints.

        Raises
        ------
        OSError
            The nursery was lost before it answered, so that nobody knows whether there is a
            process.
        """
        if self._socket is None or not self._is_ready():
            return None
        self._socket.settimeout(_REPLY_SECONDS)
        try:
            socket.send_fds(self._socket, [os.fsencode(folder)], [lock, output])
        except OSError:
            self._renew()
            return None
        try:
            answer = self._socket.recv(64)
        except TimeoutError:
            answer = b""
        if not answer:
            self._renew()
            raise OSError("the process that jobs are forked from was lost; start the job again")
        return int(answer)

    def close(self) -> None:
        """Let the nursery end when its last child has."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            self._process = None

    def _renew(self) -> None:
        """Let the next job find a new one: this one was killed, or hangs."""
        if self._process is not None:
            self._process.kill()
        self.close()
        self.open()

    def _is_ready(self) -> bool:
        if not self._ready and self._socket is not None:
            self._socket.setblocking(False)
            try:
                self._ready = self._socket.recv(64) == _READY
            except BlockingIOError:
                return False
            except OSError:
                self._ready = False
            if not self._ready:
                self.close()  # its imports failed, which each job will tell by itself
        return self._ready


# --- the nursery's own process ----------------------------------------------------------------


def main(channel: int) -> int:
    """Fork a process for each order; its exit status is that of this function in it."""
    _import_everything()
    folder = _serve(socket.socket(fileno=channel))
    if folder is None:
        return 0
    from .worker import main as work  # noqa: PLC0415 - imported long since

    return work(folder)


def _import_everything() -> None:
    from . import catalog, worker  # noqa: F401, PLC0415
    from .engine import reader, registry, run, writers  # noqa: F401, PLC0415

    registry.all_processes()
    # Collected now and then left alone, so that the pages stay shared.
    gc.collect()
    gc.freeze()


def _serve(orders: socket.socket) -> Path | None:
    """Take orders until the server is gone; returns a folder in each forked process."""
    children: dict[int, Path] = {}
    signal.signal(signal.SIGCHLD, lambda number, frame: _reap(children, os.WNOHANG))
    orders.send(_READY)
    while True:
        try:
            order, handles, _, _ = socket.recv_fds(orders, _LONGEST_ORDER, 2)
        except OSError:
            order, handles = b"", []
        if not order:
            break
        folder = Path(os.fsdecode(order))
        # Until the child is noted down its end must not be seen.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        child = os.fork()
        if child == 0:
            orders.close()
            _become_job(folder, *handles)
            return folder
        children[child] = folder
        for handle in handles:
            os.close(handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        with contextlib.suppress(OSError):
            orders.send(str(child).encode())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _reap(children, 0)
    return None


def _become_job(folder: Path, lock: int, output: int) -> None:
    """Make a fork into what :func:`child.start` would have started."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.set_inheritable(lock, False)  # held by this process alone, until its end
    scratch = folder / "scratch"
    os.chdir(scratch)
    os.environ.update(TMPDIR=str(scratch), PYTHONUNBUFFERED="1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(write_through=True)
    tempfile.tempdir = None  # found out anew


def _reap(children: dict[int, Path], flags: int) -> None:
    """Note how children ended, and end what they have left behind."""
    while children:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | flags)
        if ended is None:
            return
        # Before it is waited for, no other process can get its id.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(ended.si_pid, signal.SIGKILL)
        _, status = os.waitpid(ended.si_pid, 0)
        folder = children.pop(ended.si_pid, None)
        if folder is not None:
            _note(folder, os.waitstatus_to_exitcode(status))


def _note(folder: Path, status: int) -> None:
    with contextlib.suppress(OSError):  # the job was deleted, or the disk is full
        part = folder / f"{ENDED_FILE}.part"
        part.write_text(json.dumps({"status": status}))
        part.replace(folder / ENDED_FILE)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
