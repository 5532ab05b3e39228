"""Result files: fetched, checked, and put in place under safe names.

A file is downloaded beside others of its job in a staging folder of the output folder, as
``<name>.part``. Only when its length and checksum are what the back-end said, and it opens, is it
synced to disk and renamed; so no broken file ever stands under a final name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests
from openeo.rest import OpenEoApiPlainError
from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.files import safe_name, whole
from openeo_gfmap.manager import access, formats
from openeo_gfmap.manager.answers import UNWELL, is_transient, one_line, plain

__all__ = [
    "FILE_LOCK",
    "SHA256_MULTIHASH",
    "Claims",
    "are_numbered",
    "asset_order",
    "check",
    "download",
    "move",
    "places",
    "save_log",
    "sha256_of",
    "sync",
]

#: One thread at a time in code that may open NetCDF files: ours, and the user's callbacks, which
#: do it through xarray. The libraries under it crash when used from several threads at once.
FILE_LOCK = threading.RLock()

_CHUNK = 1 << 16  # bytes; of a download that breaks off, the last unfinished chunk is lost
_EXPIRED = frozenset({401, 403, 404, 410})  # what signed addresses answer when their time is over
_PAST_THE_END = 416  # of the file: what has come is no beginning of it
_LONGEST_PAUSE = 10.0  # s, between two attempts in one go
SHA256_MULTIHASH = "1220"  # how the checksum of STAC's file extension begins
_ERRORS = 100  # of a failed job's log; the last say most


def places(root: Path, paths: Iterable[str | Path]) -> Iterator[Path]:
    """Iterate over the absolute paths that the user's generator means, which must lie in `root`.

    Raises
    ------
    ResultIncomplete
        When one does not, is the folder itself, or is no path at all.
    """
    root = root.resolve()
    folders: dict[Path, Path] = {}  # files share them, and it takes a look at each part of a path
    for path in paths:
        try:
            target = root / path
            if target.parent not in folders:
                folders[target.parent] = target.parent.resolve()
            target = folders[target.parent] / target.name
            with suppress(FileNotFoundError, NotADirectoryError):
                if target.name == ".." or stat.S_ISLNK(target.lstat().st_mode):
                    target = target.resolve()
        except (OSError, ValueError) as error:  # also of names that are too long
            raise ResultIncomplete(
                f"output_path_generator gave {str(path)[:200]!r}, which cannot be a path here: "
                f"{error}"
            ) from error
        if not target.is_relative_to(root) or target == root:
            raise ResultIncomplete(
                f"output_path_generator gave {str(path)!r}, which is outside the output folder "
                f"{root}; return a path inside it."
            )
        yield target


class Claims:
    """Which row each file in the output folder belongs to; safe to use from several threads."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, row: int, path: Path) -> None:
        """Give `path` to `row`.

        Raises
        ------
        ResultIncomplete
            When it belongs to another row.
        """
        # Some file systems do not tell upper from lower case.
        key = str(path).casefold()
        with self._lock:
            owner = self._rows.setdefault(key, row)
        if owner != row:
            raise ResultIncomplete(
                f"output_path_generator gave {path}, where row {owner} has its result; return a "
                "path that differs for each row and file."
            )


def asset_order(names: list[str]) -> list[tuple[int, str]]:
    """Return geometry index and name of each asset, in the order of the indices.

    The index is the number at the end of the name, as in ``openEO_12.nc``; features without data
    have no file, so it is not the position. Where not every name ends in a number of its own, it is
    the position after all.
    """
    if are_numbered(names):
        return sorted((index, name) for name in names if (index := _number(name)) is not None)
    return list(enumerate(names))


def are_numbered(names: list[str]) -> bool:
    """Tell whether each name ends in a number of its own, as files of single features do."""
    numbers = [_number(name) for name in names]
    return None not in numbers and len(set(numbers)) == len(names)


def _number(name: str) -> int | None:
    match = re.search(r"(?:^|_)(\d+)$", Path(name).stem)
    return int(match[1]) if match else None


def file_name(key: str, asset: Mapping[str, Any]) -> str:
    """Return a safe name for an asset: its key, with the suffix of its address if it has none."""
    suffix = Path(unquote(urlsplit(str(asset.get("href", ""))).path)).suffix
    name = safe_name(key)
    return name if Path(name).suffix or not suffix else safe_name(name + suffix)


class Expired(Exception):  # no error: the caller fetches a new address
    """The address of an asset no longer holds."""


class Unavailable(Exception):  # no error: the caller comes back later
    """Nobody gives the asset now; nothing is wrong with it."""


class _BrokenOff(requests.ConnectionError):
    """An answer ended before its end."""


def download(
    connection: Connection,
    asset: Mapping[str, Any],
    target: Path,
    *,
    attempts: int = 5,
    wait: Callable[[float], object] = time.sleep,
) -> tuple[int, str]:
    """Fetch an asset to `target`; return its size and SHA-256.

    Parameters
    ----------
    connection : openeo.Connection
        Knows which addresses need its credentials.
    asset : mapping
        STAC asset: ``href`` and, when the back-end says them, ``file:size`` and
        ``file:checksum``.
    target : Path
        Where the file is to be; replaced when it is there.
    attempts : int
        How often a download that broke off is taken up again.
    wait : callable
        Waits so many seconds; returns true when the run is to end at once.

    Raises
    ------
    ResultIncomplete
        When the file is not what the back-end said, after the last attempt.
    Expired
        When the address no longer holds.
    Unavailable
        When there was no answer to the last attempt.
    """
    part = target.with_name(target.name + ".part")
    try:
        with part.open("w+b", buffering=0) as file:
            found = _bring(connection, asset, file, target, attempts=attempts, wait=wait)
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)  # also because a full disk needs the room for the tracker
        raise
    return found


def _bring(
    connection: Connection,
    asset: Mapping[str, Any],
    file: FileIO,
    target: Path,
    *,
    attempts: int,
    wait: Callable[[float], object],
) -> tuple[int, str]:
    """Fetch an asset into an empty file, and check it."""
    reason, answered = "", True
    attempt = 0
    for attempt in range(attempts):
        if attempt:
            pause = max(_pause(attempt), access.asked_to_wait())
            if pause > _LONGEST_PAUSE:
                break  # others want the thread meanwhile
            if wait(pause):
                break  # the run is over
        try:
            checksum = _receive(connection, str(asset["href"]), file)
            return _checked(file, asset, target, checksum)
        except (requests.RequestException, OpenEoApiPlainError) as error:
            status = getattr(error, "http_status_code", None)
            if status in _EXPIRED:
                raise Expired(one_line(error)) from error
            if status == _PAST_THE_END:
                file.truncate(0)
            elif not is_transient(error):
                raise ResultIncomplete(f"{target.name} cannot be had: {one_line(error)}") from error
            answered = isinstance(error, _BrokenOff)
            reason = str(error) if answered else one_line(error)
        except ResultIncomplete as error:
            reason, answered = str(error), True
            file.truncate(0)  # what is there is wrong, not only short
    failed = f"{target.name} did not arrive in {attempt + 1} attempts; last: {reason}"
    raise ResultIncomplete(failed) if answered else Unavailable(failed)


def _pause(attempt: int) -> float:
    """Return how long to wait before an attempt, not the same for all threads."""
    longest = min(_LONGEST_PAUSE, 0.1 * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _receive(connection: Connection, href: str, file: FileIO) -> str | None:
    """Write the body to a file, going on after the bytes that are there.

    Returns the SHA-256 of the file where all of it came now; None where some was there already.

    Only a transfer that this process began is taken up, and the checks that follow see the file as
    a whole, so a file that changed on the server in between does not pass.
    """
    have = file.seek(0, os.SEEK_END)
    # What comes compressed cannot be taken up where it broke off; some servers do it all the same.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    # Errors are told here: the client would log the page that a store of files sends with each.
    with connection.get(href, stream=True, headers=headers, check_error=False) as response:
        if response.status_code >= 400:
            raise OpenEoApiPlainError(
                message=access.gist(response), http_status_code=response.status_code
            )
        if have and not (response.status_code == 206 and _begins_at(response, have)):
            file.seek(0)
            file.truncate()
            have = 0
        digest = hashlib.sha256()
        try:
            for chunk in response.iter_content(_CHUNK):
                digest.update(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]
            received, promised = response.raw.tell(), response.headers.get("Content-Length", "")
            if promised.isdigit() and received != int(promised):
                raise _BrokenOff(f"{received} of {promised} bytes came")
        except requests.RequestException as error:
            if "Content-Encoding" in response.headers:
                file.truncate(0)  # there is nothing to go on from: bytes are counted as they come
            raise _BrokenOff(str(error)) from error
    return None if have else digest.hexdigest()


def _begins_at(response: requests.Response, offset: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def check(path: Path, asset: Mapping[str, Any]) -> tuple[int, str]:
    """Return size and SHA-256 of a file that is what the back-end said, and opens.

    Raises
    ------
    ResultIncomplete
        When it is not.
    """
    with path.open("rb", buffering=0) as file:
        return _checked(file, asset, path)


def _checked(
    file: FileIO, asset: Mapping[str, Any], path: Path, checksum: str | None = None
) -> tuple[int, str]:
    """Do what `check` does with an open file.

    `path` is what it is to be, `checksum` its SHA-256 where that is known: large files are not read
    once more for it.
    """
    if checksum is None:
        file.seek(0)
        checksum = _sha256(file)
    size = file.seek(0, os.SEEK_END)
    promised, multihash = asset.get("file:size"), asset.get("file:checksum")
    if isinstance(promised, int) and size != promised:
        raise ResultIncomplete(f"{path.name} has {size} bytes, the back-end said {promised}")
    # Other hash functions are rare; their digests are left to the check that the file opens.
    if isinstance(multihash, str) and multihash.lower().startswith(SHA256_MULTIHASH):
        expected = multihash.lower().removeprefix(SHA256_MULTIHASH)
        if len(expected) == 64 and checksum != expected:
            raise ResultIncomplete(f"{path.name} has another checksum than the back-end said")
    formats.check_content(file, path.name, path.suffix)
    return size, checksum


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb", buffering=0) as file:
        return _sha256(file)


def _sha256(file: FileIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def multihash_of(path: Path) -> str:
    """Return the checksum of a file as STAC's file extension writes it."""
    return SHA256_MULTIHASH + sha256_of(path)


def move(source: Path, target: Path) -> None:
    """Give a checked file its final name, in a folder that is there; nobody ever sees half of it.

    The name is on disk for sure after a `sync` of the folder.
    """
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A folder below the output folder can be another file system, where a rename is a copy.
        part = target.with_name(target.name + ".part")
        with source.open("rb") as original, part.open("wb") as copy:
            while chunk := original.read(_CHUNK):
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        part.replace(target)
        source.unlink()


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows does not open folders
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


#: What comes of an answer that is none, or not what was asked for.
_UNREADABLE = (requests.RequestException, OpenEoApiPlainError, ValueError, AttributeError)


def _log_line(entry: Mapping[str, Any]) -> str:
    """Return a back-end's log entry as text, read with care: fields can be absent or null."""
    when, level = entry.get("time") or "", str(entry.get("level") or "info").upper()
    return f"{when} {level}: {entry.get('message') or ''}".strip()


def save_logs(job: BatchJob, folder: Path) -> Path:
    """Write a job's logs to ``<title>_<job id>.log`` in a folder; return the path.

    What cannot be had is told in the file.
    """
    title = "job"
    with suppress(*_UNREADABLE):  # the log may be there nevertheless
        title = job.describe().get("title") or title
    path = folder / f"{safe_name(plain(str(title)), 150)}_{safe_name(job.job_id, 80)}.log"
    save_log(job, path)
    return path


def save_log(job: BatchJob, path: Path) -> None:
    """Write a job's log to a file; what cannot be had is told in it."""
    lines = []
    try:
        for entry in _log_entries(job):
            lines.append(_log_line(entry))  # one by one: what came before a failure is kept
    except _UNREADABLE as error:
        lines.append(f"The rest of the log cannot be had: {one_line(error)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        text = "\n".join(lines or ["The back-end has no log of this job."])
        part.write_text(plain(text) + "\n", "utf-8")


def error_messages(job: BatchJob) -> list[str]:
    """Return the last errors in a job's log, oldest first; none when the log cannot be had."""
    found: deque[str] = deque(maxlen=_ERRORS)
    try:
        for entry in _log_entries(job, level="error"):
            if str(entry.get("level") or "error").lower() == "error" and entry.get("message"):
                found.append(str(entry["message"]))
    except UNWELL:
        pass  # the log that was saved says that it cannot be had
    return list(found)


def _log_entries(job: BatchJob, level: str | None = None) -> Iterator[Mapping[str, Any]]:
    """Iterate over a job's log, page by page; a back-end may give more than `level`."""
    url, seen = f"/jobs/{job.job_id}/logs" + (f"?level={level}" if level else ""), set()
    last: Any = None
    while url and url not in seen:
        seen.add(url)
        response = job.connection.get(url, expected_status=200)
        page = response.json()
        if page.get("logs") == last:
            return  # the same page under ever new addresses, or no more entries
        last = page.get("logs")
        yield from last or ()
        following = (link for link in page.get("links") or () if link.get("rel") == "next")
        url = next((urljoin(response.url, str(link.get("href"))) for link in following), "")
