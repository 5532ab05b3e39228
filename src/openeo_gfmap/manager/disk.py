"""The output folder: what is the run's own in it, and whether files can be written at all.

The latter is asked before the first job is made, and paid for.
"""

from __future__ import annotations

import errno
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openeo_gfmap.errors import InputError

__all__ = ["BESIDE_RESULTS", "DISK_FULL", "MANAGERS_OWN", "SHUT", "make_folder", "usable"]

#: What the manager itself puts into the output folder: no place for results.
MANAGERS_OWN = frozenset(
    {".downloads", "failed_jobs", "provenance", "quarantine", "samples.parquet", "stac"}
)
#: That, and what commands write there.
BESIDE_RESULTS = MANAGERS_OWN | {"gfmap.toml", "preview", "report.html"}

#: Errors of a disk without room.
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Errors of one that takes nothing more: the run stops, and goes on when that is mended.
SHUT = DISK_FULL | {errno.EROFS}


@contextmanager
def usable(what: str, path: Path) -> Iterator[None]:
    """Say what is wrong when a path of the user's cannot be used as it has to be.

    Raises
    ------
    InputError
        Names the path and the reason.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise  # says so itself
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{what} {path} cannot be used: {reason or error}. Expected a place that can be "
            "written to; choose another one, or mend this one."
        ) from error


def make_folder(path: Path) -> None:
    """Make the output folder, unless it is there, and write to it.

    Raises
    ------
    InputError
        When that cannot be done.
    """
    with usable("the output folder", path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b" ")
