"""The log of a job: one JSON line per entry, written by the server and by the job's processes.

A line is appended with a single ``write`` to a file opened for appending, so several processes
can write at the same time, and whatever kills one of them costs at most the line it was writing.
The id of an entry is its line number: paging is counting lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["LEVELS", "JobLog", "rfc3339"]

#: openEO log levels, least severe first.
LEVELS = ("debug", "info", "warning", "error")

# A message longer than this says nothing more; it would only make the log hard to read.
_LONGEST = 20_000


def rfc3339(moment: datetime | None = None) -> str:
    """Return a moment (default: now) in UTC as the openEO API writes it, to the second."""
    moment = moment or datetime.now(UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class JobLog:
    """Append to and page through one log file. Picklable: workers take it along.

    Attributes
    ----------
    path
        The file; it need not exist.
    level
        Entries less severe than this are dropped.
    """

    path: Path
    level: str = "debug"

    def __call__(self, level: str, message: str, code: str | None = None) -> None:
        """Append an entry; an unknown level counts as ``info``."""
        level = level if level in LEVELS else "info"
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        entry: dict[str, Any] = {"time": rfc3339(), "level": level, "message": message[:_LONGEST]}
        if code:
            entry["code"] = code
        # ASCII keeps lone surrogates, which a UDF may log, out of the encoder's way.
        line = json.dumps(entry, ensure_ascii=True) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode("ascii"))
        finally:
            os.close(handle)

    def entries(self, after: int = 0, level: str = "debug") -> Iterator[dict[str, Any]]:
        """Yield the entries behind the ``after``-th at least as severe as ``level``."""
        least = LEVELS.index(level)
        try:
            handle = self.path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        with handle:
            for number, line in enumerate(islice(handle, after, None), start=after + 1):
                entry = _parse(line)
                if LEVELS.index(entry["level"]) >= least:
                    yield {"id": str(number), **entry}


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if entry["level"] in LEVELS and isinstance(entry["message"], str):
            return dict(entry)
    except (ValueError, KeyError, TypeError):
        pass
    # What was left of a line whose writer was killed: shown rather than hidden.
    return {"level": "warning", "message": f"Unreadable log line: {line.strip()[:200]}"}
