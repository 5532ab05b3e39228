"""Whether files on disk are still what they were."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.manager import formats
from openeo_gfmap.manager.results import SHA256_MULTIHASH, multihash_of

__all__ = ["LOST", "OTHER_SUM", "Known", "KnownFile", "defects"]

#: What is wrong with a file that is not there, and with one that only its content tells.
LOST: Final = "lost"
OTHER_SUM: Final = "has another checksum"

_AT_ONCE: Final = 1_000  # files that wait to be read


class Known(Protocol):
    """A file and what is known of it."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def size(self) -> int | None:
        """Its bytes."""
        ...

    @property
    def checksum(self) -> str | None:
        """Its multihash, in hex."""
        ...


class KnownFile(NamedTuple):
    """The plain form of it."""

    path: Path
    size: int | None = None
    checksum: str | None = None


def defects(files: Sequence[Known], *, checksums: bool) -> Iterator[str]:
    """Iterate over what is wrong with each file; empty for nothing.

    Parameters
    ----------
    files : sequence of Known
        Few of them wait to be read, so that Ctrl-C is heard at once.
    checksums : bool
        Read every file: one with a SHA-256 must have that, another one must open. Without it, only
        sizes are compared.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for start in range(0, len(files), _AT_ONCE):
                some = files[start : start + _AT_ONCE]
                yield from pool.map(lambda each: _defect(each, checksums=checksums), some)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _defect(each: Known, *, checksums: bool) -> str:
    try:
        size = each.path.stat().st_size
    except OSError:
        return LOST
    if each.size is not None and size != each.size:
        return f"has {size:,} bytes, had {each.size:,}"
    if not checksums:
        return ""
    if each.checksum is not None and each.checksum.startswith(SHA256_MULTIHASH):
        return "" if multihash_of(each.path) == each.checksum else OTHER_SUM
    try:
        with each.path.open("rb", buffering=0) as file:
            formats.check_content(file, each.path.name, each.path.suffix)
    except (OSError, ResultIncomplete) as error:
        return str(error)
    return ""
