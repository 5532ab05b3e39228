"""The errors this package raises on the client side.

Every message says the value that was wrong, what was expected and the next step::

    GfmapError
    ├─ InputError(ValueError)
    │  ├─ MissingCrs
    │  ├─ InvalidGeometry
    │  ├─ UnknownBand
    │  ├─ UnsupportedCollection
    │  └─ UnsupportedBackend
    ├─ BackendError
    │  ├─ AuthenticationFailed
    │  ├─ BackendUnavailable
    │  ├─ UploadFailed
    │  └─ JobFailed
    └─ JobError
       ├─ InvalidTransition
       ├─ ResultIncomplete
       └─ TrackerLocked
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = [
    "AuthenticationFailed",
    "BackendError",
    "BackendUnavailable",
    "GfmapError",
    "InputError",
    "InvalidGeometry",
    "InvalidTransition",
    "JobError",
    "JobFailed",
    "MissingCrs",
    "ResultIncomplete",
    "TrackerLocked",
    "UnknownBand",
    "UnsupportedBackend",
    "UnsupportedCollection",
    "UploadFailed",
    "Words",
    "concerning",
]


class GfmapError(Exception):
    """Base of every error that openeo-gfmap raises on purpose."""


class Words:
    """How a message calls settings: here as a program does.

    Who offers the same settings in another form, such as a settings file, derives a class from it.
    Settings are called by their path in the arguments of an extraction, those of a recipe without
    its name: "samples", "size", "columns.sample_id", "period.start".
    """

    def name(self, program: str, *settings: str) -> str:
        """Return what to call settings of one part, which a program calls as given."""
        del settings
        return program

    def value(self, setting: str, value: Any) -> str:
        """Return how a setting is given a value."""
        return f"{setting.rpartition('.')[2]}={value!r}"

    def either(self, program: str, command: str) -> str:
        """Return what to say to somebody who writes a program, or to who gives commands."""
        del command
        return program


class InputError(GfmapError, ValueError):
    """What the caller passed in cannot be used; nothing was done with it.

    Parameters
    ----------
    message : str or callable
        What is wrong. One that names settings, which a settings file calls otherwise, is a function
        of `Words`.
    about : str, optional
        The setting that is wrong, as `Words` calls them.
    """

    def __init__(self, message: str | Callable[[Words], str], *, about: str | None = None):
        super().__init__(message if isinstance(message, str) else message(Words()))
        self.about = about
        self._message = message

    def told(self, words: Words) -> str:
        """Return the message in other words."""
        return self._message(words) if callable(self._message) else self._message

    def __reduce__(self) -> tuple[Any, ...]:  # functions cannot be pickled
        return partial(type(self), about=self.about), (str(self),)


@contextmanager
def concerning(setting: str) -> Iterator[None]:
    """Say of an `InputError` that it is about a setting, unless it says so itself."""
    try:
        yield
    except InputError as error:
        error.about = error.about or setting
        raise


class MissingCrs(InputError):
    """Geometries came without a coordinate reference system."""


class InvalidGeometry(InputError):
    """Geometries are null, empty or not finite; the message names the rows."""


class UnknownBand(InputError):
    """A band name is not part of the collection."""


class UnsupportedCollection(InputError):
    """The back-end has no such product, or not in the asked form."""


class UnsupportedBackend(InputError):
    """The back-end is not known here."""


class BackendError(GfmapError):
    """A back-end, or something on the way to it, did not do what was asked."""


class AuthenticationFailed(BackendError):
    """The back-end refused the credentials, or there were none."""


class BackendUnavailable(BackendError):
    """The back-end did not answer, or not in time."""


class UploadFailed(BackendError):
    """A file could not be stored where the back-end can read it."""


class JobFailed(BackendError):
    """A batch job ended in error on the back-end."""


class JobError(GfmapError):
    """The job manager could not go on with a job."""


class InvalidTransition(JobError):
    """An event came that the job's state does not allow."""


class ResultIncomplete(JobError):
    """A result is missing, truncated, or not what the back-end said it was."""


class TrackerLocked(JobError):
    """Another process is running jobs on the same tracker."""
