"""The user's file workspace, and how a process graph's addresses become local files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from .errors import OpenEOError
from .joblog import rfc3339

__all__ = ["Fetcher", "Workspace"]

_LONGEST_NAME = 255
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Workspace:
    """Files of the user, by POSIX path relative to one folder. Nothing outside is ever touched.

    Attributes
    ----------
    root
        The folder.
    """

    root: Path

    def resolve(self, path: str) -> Path:
        """Return where a workspace path lies, whether or not it exists.

        Raises
        ------
        OpenEOError
            ``FilePathInvalid`` for a path that is empty, absolute, holds ``.`` or ``..`` parts,
            backslashes or control characters, or leaves the folder through a symbolic link.
        """
        parts = path.split("/")
        if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
            raise _invalid_path(path, "write it like folder/file.parquet, without . or .. parts")
        if "\\" in path or not path.isprintable():
            raise _invalid_path(path, "backslashes and control characters are not allowed")
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
            raise _invalid_path(path, f"a name is longer than {_LONGEST_NAME} bytes")
        target = self.root.joinpath(*parts)
        # Follows links: a link in the workspace must not lead out of it either.
        if not target.resolve().is_relative_to(self.root.resolve()):
            raise _invalid_path(path, "it leads out of the workspace")
        return target

    def find(self, path: str) -> Path:
        """Return an existing file.

        Raises
        ------
        OpenEOError
            ``FilePathInvalid`` as :meth:`resolve` and for a folder, ``FileNotFound``.
        """
        target = self.resolve(path)
        if target.is_dir():
            raise _invalid_path(path, "it is a folder")
        if not target.is_file():
            raise OpenEOError(
                "FileNotFound",
                f"File {path!r} is not in the workspace. GET /files lists what is.",
                status=404,
            )
        return target

    def describe(self, path: str) -> dict[str, object]:
        """Return the openEO metadata of an existing file."""
        return _describe(path, self.find(path).stat())

    def list(self) -> list[dict[str, object]]:
        """Return the metadata of all files, sorted by path."""
        found = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        return [
            _describe(file.relative_to(self.root).as_posix(), file.stat())
            for file in sorted(found)
            if file.is_file()
        ]

    def place(self, arrived: Path, path: str) -> None:
        """Move a complete file to a workspace path, replacing what is there, in one step.

        Raises
        ------
        OpenEOError
            ``FilePathInvalid`` also where the path is a folder, or lies below a file.
        """
        target = self.resolve(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(target)
        except (NotADirectoryError, FileExistsError):
            raise _invalid_path(path, "a part of it is a file, not a folder") from None
        except IsADirectoryError:
            raise _invalid_path(path, "it is a folder") from None

    def delete(self, path: str) -> None:
        """Delete a file, and the folders it leaves empty."""
        target = self.find(path)
        target.unlink()
        for folder in target.parents:
            if folder == self.root or any(folder.iterdir()):
                break
            folder.rmdir()


def _describe(path: str, stat: os.stat_result) -> dict[str, object]:
    modified = rfc3339(datetime.fromtimestamp(stat.st_mtime, UTC))
    return {"path": path, "size": stat.st_size, "modified": modified}


def _invalid_path(path: str, reason: str) -> OpenEOError:
    return OpenEOError("FilePathInvalid", f"File path {path!r} is invalid: {reason}.")


@dataclass(frozen=True)
class Fetcher:
    """Turn what a process graph names, a URL or a workspace path, into a local file. Picklable.

    URLs of the server's own workspace are not fetched over HTTP: they are that file.

    Attributes
    ----------
    workspace
        The user's files.
    servers
        Root URLs that mean this server, e.g. ``http://127.0.0.1:8080/openeo/1.2``.
    cache
        Folder for downloads; each URL is downloaded once.
    max_bytes
        Largest download.
    """

    workspace: Workspace
    servers: tuple[str, ...]
    cache: Path
    max_bytes: int

    def __call__(self, address: str) -> Path:
        """Return the local file of a URL or workspace path.

        Raises
        ------
        OpenEOError
            ``FileNotFound``, ``FilePathInvalid``, ``FileSizeExceeded``, or ``FileNotReadable``
            when the other server fails.
        """
        for server in self.servers:
            start = f"{server}/files/"
            if address.startswith(start):
                path = urlsplit(address.removeprefix(start)).path
                return self.workspace.find(unquote(path))
        if urlsplit(address).scheme in ("http", "https"):
            return self._download(address)
        return self.workspace.find(address)

    def _download(self, url: str) -> Path:
        suffix = PurePosixPath(urlsplit(url).path).suffix[:16]
        target = self.cache / (hashlib.sha256(url.encode()).hexdigest()[:32] + suffix)
        if target.exists():
            return target
        self.cache.mkdir(parents=True, exist_ok=True)
        with requests.Session() as session:
            # A proxy has no business with this machine's own servers.
            session.trust_env = urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")
            retry = Retry(4, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504))
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            try:
                with session.get(url, stream=True, timeout=(15, 120)) as response:
                    if not response.ok:
                        raise _not_readable(url, f"HTTP status {response.status_code}")
                    return self._keep(response, url, target)
            except requests.RequestException as error:
                raise _not_readable(url, str(error)) from error

    def _keep(self, response: requests.Response, url: str, target: Path) -> Path:
        size = 0
        handle, name = tempfile.mkstemp(dir=self.cache, suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for block in response.iter_content(_CHUNK):
                    size += len(block)
                    if size > self.max_bytes:
                        raise OpenEOError(
                            "FileSizeExceeded",
                            f"{url} is larger than {self.max_bytes} bytes, the most this server "
                            "downloads for a job (setting max_file).",
                        )
                    file.write(block)
            # Renamed when complete: processes working in parallel never see half a file.
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target


def _not_readable(url: str, reason: str) -> OpenEOError:
    return OpenEOError(
        "FileNotReadable",
        f"{url} cannot be read: {reason}. Check the address, and that it needs no login.",
    )
