"""Where result files are put: a folder that all processes see, or an object store.

The leading process marks the place; a worker elsewhere looks for the mark before each task. So a
worker that sees another folder under the same path is found out before it writes anything, and
one that still works for a job that was cancelled stops.
"""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...errors import OpenEOError
from ...object_store import ObjectStore

__all__ = ["FolderPlace", "OpenPlace", "Place", "StorePlace"]


class OpenPlace(Protocol):
    """A place as one process uses it."""

    @property
    def folder(self) -> Path:
        """The folder to write into."""
        ...

    def deliver(self) -> None:
        """See to it that what stands in the folder is where it belongs."""
        ...

    def close(self) -> None:
        """Remove what only this process needed."""
        ...


class Place(Protocol):
    """Where result files are put. Picklable."""

    def mark(self) -> None:
        """Make the place ready; done once, where the run is led."""
        ...

    def check(self) -> None:
        """Raise OpenEOError where this process does not see the marked place."""
        ...

    def opened(self) -> OpenPlace:
        """Return the place for use in this process."""
        ...

    def clear(self) -> None:
        """Take the mark away."""
        ...


@dataclass(frozen=True)
class FolderPlace:
    """A folder; on several machines it must be a shared one.

    Attributes
    ----------
    folder
        Its path, the same everywhere.
    """

    folder: Path
    _name: str = field(default_factory=lambda: f".{uuid.uuid4().hex}.run")

    def mark(self) -> None:
        """Leave a hidden file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / self._name).touch()

    def check(self) -> None:
        """Look for the file."""
        if not (self.folder / self._name).exists():
            raise OpenEOError(
                "ResultsUnreachable",
                f"A worker does not see the results folder {self.folder}: it is not shared with "
                "it, or the job has ended. Set result_store to a folder that server and workers "
                "share under one path, or to an object store such as s3://bucket/path.",
                status=500,
            )

    def opened(self) -> FolderPlace:
        """Return the folder itself: files appear in it whole or not at all."""
        return self

    def deliver(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is left to do."""

    def clear(self) -> None:
        """Remove the file."""
        (self.folder / self._name).unlink(missing_ok=True)


@dataclass(frozen=True)
class StorePlace:
    """A path in an object store.

    Attributes
    ----------
    url
        Such as ``s3://bucket/path``; credentials come from each process's own environment.
    """

    url: str

    def mark(self) -> None:
        """Put a small object, which also shows that the store takes objects."""
        self._store.put(_MARK, b"")

    def check(self) -> None:
        """Look for the object."""
        if not self._store.exists(_MARK):
            raise OpenEOError(
                "ResultsUnreachable",
                f"A worker does not find the job in {self.url}: its environment names another "
                "store, or the job has ended. Give server and workers the same endpoint and "
                "credentials (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …).",
                status=500,
            )

    def opened(self) -> _Outbox:
        """Return a folder of this process that is emptied into the store."""
        return _Outbox(self._store)

    def take(self, folder: Path) -> None:
        """Move the files of a folder into the store."""
        _move(folder, self._store)

    def clear(self) -> None:
        """Remove the object."""
        self._store.delete([_MARK])

    @property
    def _store(self) -> ObjectStore:
        return ObjectStore(self.url)


_MARK = ".run"


class _Outbox:
    """Files on their way into an object store."""

    def __init__(self, store: ObjectStore):
        self._store = store
        self._scratch = tempfile.TemporaryDirectory(prefix="gfmap-outbox-")
        self.folder = Path(self._scratch.name)

    def deliver(self) -> None:
        """Upload and remove what stands in the folder."""
        _move(self.folder, self._store)

    def close(self) -> None:
        """Remove the folder."""
        self._scratch.cleanup()


def _move(folder: Path, store: ObjectStore) -> None:
    for path in sorted(folder.iterdir()):
        store.put(path.name, path)
        path.unlink()
