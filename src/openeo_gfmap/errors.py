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
]


class GfmapError(Exception):
    """Base of every error that openeo-gfmap raises on purpose."""


class InputError(GfmapError, ValueError):
    """What the caller passed in cannot be used; nothing was done with it."""


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
