"""What goes between a process that evaluates windows and the one that runs its UDFs.

A message is pickled without its arrays, which follow as they lie in memory (pickle protocol 5): an
array of n bytes costs two copies of n bytes.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

__all__ = ["Call", "Failure", "Hello", "PlainArray", "Record", "receive", "send"]


@dataclass(frozen=True)
class PlainArray:
    """An array with names: what of an ``xarray.DataArray`` goes to a UDF and comes back.

    Attributes
    ----------
    values
        Numbers.
    dims
        Dimension names in axis order.
    coords
        One-dimensional coordinates by dimension.
    """

    values: np.ndarray[Any, Any]
    dims: tuple[str, ...]
    coords: Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Call:
    """Run a UDF: its source, its name for messages, its input with EPSG code, and its context."""

    code: str
    runtime: str
    array: PlainArray
    epsg: int | None
    context: Mapping[str, Any]
    cpu_seconds: float


@dataclass(frozen=True)
class Record:
    """A log record of a UDF."""

    level: str
    message: str


@dataclass(frozen=True)
class Failure:
    """Why there is no result: an openEO error code and message."""

    code: str
    message: str


@dataclass(frozen=True)
class Hello:
    """The process is ready; the first message it sends."""


def send(connection: Connection, message: object) -> None:
    """Send a message."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    connection.send((head, [view.nbytes for view in views]))
    for view in views:
        if view.nbytes:
            connection.send_bytes(view)


def receive(connection: Connection) -> Any:
    """Return the next message; its arrays may be written to."""
    head, sizes = connection.recv()
    arrays = [np.empty(size, dtype=np.uint8) for size in sizes]
    for array in arrays:
        if array.size:
            connection.recv_bytes_into(array.data)
    return pickle.loads(head, buffers=arrays)  # noqa: S301 - from our own other half
