"""Files in object storage: S3, Google Cloud, Azure, and whatever speaks one of their protocols."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import OpenEOError

__all__ = ["ObjectStore", "check_address", "is_address"]

_SCHEMES = ("s3://", "gs://", "az://", "abfs://", "abfss://")
_CHUNK = 1024**2


def is_address(place: str) -> bool:
    """Whether a place is in an object store, and not a folder."""
    return "://" in place


def check_address(place: str) -> None:
    """Raise ValueError for an address that is not one of an object store."""
    if not place.startswith(_SCHEMES):
        raise ValueError(f"a folder, or an address that begins with one of {', '.join(_SCHEMES)}")


@dataclass(frozen=True)
class ObjectStore:
    """Objects below one address. Picklable; the connection is each process's own.

    Endpoint, region and credentials come from the environment, by the names that the provider's own
    tools use: ``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, ….
    Requests that fail for a passing reason are repeated.

    Attributes
    ----------
    url
        Such as ``s3://bucket/path``.
    """

    url: str

    def put(self, name: str, content: Path | bytes) -> None:
        """Store an object, whole or not at all; large files go in parts."""
        obstore, store = self._opened()
        try:
            obstore.put(store, name, content)
        except _failures() as error:
            raise self._failed(f"{name} cannot be stored", error) from error

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name."""
        obstore, store = self._opened()
        try:
            obstore.head(store, name)
        except FileNotFoundError:
            return False
        except _failures() as error:
            raise self._failed(f"{name} cannot be looked up", error) from error
        return True

    def chunks(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of an object from ``start`` up to and without ``end``."""
        obstore, store = self._opened()
        try:
            answer = obstore.get(store, name, options={"range": (start, end)})
            for chunk in answer.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)
        except FileNotFoundError as error:
            raise OpenEOError(
                "ResultGone", f"{self.url}/{name} is not there any more.", status=410
            ) from error
        except _failures() as error:
            raise self._failed(f"{name} cannot be read", error) from error

    def names(self) -> list[str]:
        """Return the names of all objects."""
        obstore, store = self._opened()
        try:
            return [entry["path"] for page in obstore.list(store) for entry in page]
        except _failures() as error:
            raise self._failed("its objects cannot be listed", error) from error

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there do not matter."""
        obstore, store = self._opened()
        wanted = list(names)
        try:
            if wanted:
                obstore.delete(store, wanted)
        except FileNotFoundError:
            pass
        except _failures() as error:
            raise self._failed("objects cannot be deleted", error) from error

    def clear(self) -> None:
        """Remove all objects."""
        self.delete(self.names())

    def _opened(self) -> tuple[Any, Any]:
        try:
            import obstore  # noqa: PLC0415 - an extra
        except ImportError:
            raise OpenEOError(
                "Incomplete",
                f"Results in {self.url} need one more package on server and workers: "
                'pip install "openeo-gfmap[distributed]".',
                status=500,
            ) from None
        return obstore, _open(self.url)

    def _failed(self, what: str, error: BaseException) -> OpenEOError:
        reason = str(error).partition("\n")[0]
        return OpenEOError("StorageFailure", f"{self.url}: {what}: {reason}", status=500)


@lru_cache(maxsize=16)
def _open(url: str) -> Any:
    from obstore.store import from_url  # noqa: PLC0415

    return from_url(url)


def _failures() -> tuple[type[BaseException], ...]:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    return (BaseError, OSError)
