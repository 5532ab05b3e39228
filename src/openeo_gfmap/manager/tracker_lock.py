"""One manager a tracker: a lock that goes with the process that holds it, however it ends."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from openeo_gfmap.errors import TrackerLocked

__all__ = ["TrackerLock", "holder"]

# The operating system releases the lock when the process ends, also by a kill, so that a stale
# lock file never blocks anybody.
if sys.platform == "win32":
    import msvcrt

    # Locked bytes cannot be read by others on Windows: lock one far behind the text.
    _FAR = 1 << 30

    def _take(file: IO[str]) -> None:
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


_held: set[Path] = set()  # locks of this process


def is_trackers(path: Path) -> bool:
    """Tell whether a path is a file of a tracker that this process has locked.

    That is the CSV, or what has its name and more: its store, copies, locks.
    """
    return any(
        path.parent == lock.parent and path.name.casefold().startswith(lock.stem.casefold())
        for lock in tuple(_held)
    )


# Who only looks whether the lock is held has it for a moment.
_LOOKS, _MOMENT = 5, 0.05  # tries, seconds


def _take_soon(file: IO[str]) -> None:
    for _ in range(_LOOKS - 1):
        try:
            return _take(file)
        except OSError:
            time.sleep(_MOMENT)
    return _take(file)


class TrackerLock:
    """An exclusive lock on a tracker, taken on construction.

    Parameters
    ----------
    path : Path
        The lock file; it says who holds the lock.

    Raises
    ------
    TrackerLocked
        When another manager holds it; the message says which process, where, since when.
    """

    def __init__(self, path: Path):
        self.path = path
        # Not truncated on opening: it may be somebody else's.
        self._file = path.open("a+", encoding="utf-8")
        try:
            _take_soon(self._file)
        except OSError as error:
            self._file.close()
            raise TrackerLocked(
                f"{path.with_suffix('')} is in use by {_holder(path)}. Wait until it is done, end "
                "it, or name another tracker."
            ) from error
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        }
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(me))
        self._file.flush()
        self._lock = path.resolve()
        _held.add(self._lock)

    def release(self) -> None:
        """Give the lock back; the file stays, so that nobody locks one that is being deleted."""
        _held.discard(self._lock)
        self._file.close()


def holder(path: Path) -> str | None:
    """Return who holds the lock of a file, as "process 17 on host since …"; None for nobody."""
    if not path.exists():
        return None
    with path.open("r+" if os.access(path, os.W_OK) else "r", encoding="utf-8") as file:
        try:
            _take(file)
        except OSError:
            return _holder(path)
    return None


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        # Between taking the lock and saying so there is a moment.
        return "another process that has only just begun"
