"""The tracker's CSV: a view of the store, written again and again while the jobs go on.

Most of it are the user's columns, geometries above all, which do not change. They are put into
words once; from then on they are copied from the CSV as it was written last.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from openeo_gfmap.manager.job_store import JobStore
from openeo_gfmap.manager.lifecycle import Job
from openeo_gfmap.manager.rows import CONTRACT_COLUMNS, columns_shown, shown, text_of

__all__ = ["View"]

_BUFFER = 1 << 20  # bytes

#: Tells a file from another one, and from what it was before somebody edited it.
_Identity: TypeAlias = tuple[int, int, int]


class View:
    """Writes the CSV.

    Parameters
    ----------
    path : Path
        The CSV.
    """

    def __init__(self, path: Path):
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._header: list[str] = []
        self._segments: list[_Segment] = []
        self._written: _Identity | None = None

    def write(self, jobs: Iterable[Job], store: JobStore, note: Callable[[str], None]) -> None:
        """Replace the CSV by the jobs as they stand.

        Parameters
        ----------
        jobs : iterable of Job
            By row.
        store : JobStore
            Has the user's columns.
        note : callable
            Is told the SHA-256 of the new CSV just before that takes the place of the old one.
        """
        columns = store.columns()
        header = columns_shown(columns)
        if header != self._header:  # rows with other columns have come in
            self._header, self._segments = header, _segments(header, columns)
        jobs = list(jobs)
        last = self._last()
        with last or nullcontext():
            digest = self._write(jobs, store, last)
            touched = last is not None and _identity(last) != self._written
        if touched:  # somebody edited the CSV in these moments: nothing is taken from there
            digest = self._write(jobs, store, None)
        self._written = _identity_of(self._part.stat())
        note(digest)
        self._part.replace(self._path)

    def _last(self) -> BinaryIO | None:
        """Open the CSV when it is still the file that was written last."""
        try:
            last = self._path.open("rb", _BUFFER)
        except FileNotFoundError:
            return None
        if _identity(last) == self._written:
            return last
        last.close()
        return None

    def _write(self, jobs: Sequence[Job], store: JobStore, last: BinaryIO | None) -> str:
        """Write the file that is to be the CSV; return its digest."""
        digest = hashlib.sha256()
        spans = [_Spans() for _ in self._segments]
        with self._part.open("wb", _BUFFER) as file:
            header = _text(self._header) + b"\n"
            file.write(header)
            digest.update(header)
            offset = len(header)
            for position, job in enumerate(jobs):
                texts = self._texts(position, job, store, last)
                for segment, text, new in zip(self._segments, texts, spans, strict=True):
                    new.add(offset, len(text))
                    offset += len(text) + len(segment.end)
                    for part in (text, segment.end):
                        file.write(part)
                        digest.update(part)
            file.flush()
            os.fsync(file.fileno())
        for segment, new in zip(self._segments, spans, strict=True):
            segment.spans = new
        return digest.hexdigest()

    def _texts(
        self, position: int, job: Job, store: JobStore, last: BinaryIO | None
    ) -> Iterator[bytes]:
        """Iterate over the segments of a line."""
        ours = shown(job)
        theirs: Mapping[str, Any] | None = None
        for segment in self._segments:
            if segment.fixed and last is not None and position < len(segment.spans):
                yield segment.spans.read(position, last)
                continue
            if segment.fixed and theirs is None:
                theirs = store.record(job.row).values
            cells = theirs if segment.fixed and theirs is not None else ours
            yield _text([text_of(cells.get(name)) for name in segment.names])


class _Spans:
    """Where the texts of a segment are in the CSV, by row."""

    def __init__(self) -> None:
        self._offsets, self._lengths = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, offset: int, length: int) -> None:
        self._offsets.append(offset)
        self._lengths.append(length)

    def read(self, position: int, file: BinaryIO) -> bytes:
        file.seek(self._offsets[position])
        return file.read(self._lengths[position])


class _Segment:
    """Neighbouring columns, either all fixed or all the manager's; `end` is what follows them."""

    def __init__(self, names: Sequence[str], end: bytes, *, fixed: bool):
        self.names = names
        self.end = end
        self.fixed = fixed
        self.spans = _Spans()


def _segments(header: Sequence[str], columns: Sequence[str]) -> list[_Segment]:
    fixed = set(columns).difference(CONTRACT_COLUMNS)
    groups = [(is_fixed, list(names)) for is_fixed, names in groupby(header, fixed.__contains__)]
    ends = [b","] * (len(groups) - 1) + [b"\n"]
    return [
        _Segment(names, end, fixed=is_fixed)
        for (is_fixed, names), end in zip(groups, ends, strict=True)
    ]


def _text(cells: Sequence[str]) -> bytes:
    if not any(cells):
        return b"," * (len(cells) - 1)  # a single empty cell would get quotes
    return ",".join(map(_cell, cells)).encode()


_NEEDS_QUOTES = re.compile('[,"\r\n]')


def _cell(text: str) -> str:
    """Return a cell as `csv.writer` would, which is slow: it looks at each letter by itself."""
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def _identity(file: BinaryIO) -> _Identity:
    return _identity_of(os.fstat(file.fileno()))


def _identity_of(status: os.stat_result) -> _Identity:
    return status.st_ino, status.st_size, status.st_mtime_ns
