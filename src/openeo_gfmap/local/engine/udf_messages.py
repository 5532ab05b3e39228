"""What goes between a process that evaluates windows and the one that runs its UDFs.

A message is pickled without its arrays (pickle protocol 5), which go through memory that both
processes see: two copies, at the speed of memory, and nothing through the kernel.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

__all__ = ["Call", "Channel", "Failure", "Hello", "PlainArray", "Record", "shared_memory"]


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


class Channel:
    """One side of the way between two processes. For use by one thread.

    Parameters
    ----------
    connection
        Takes the messages.
    outgoing, incoming
        File descriptors of shared memory, one for each direction; see :func:`shared_memory`.
    """

    def __init__(self, connection: Connection, outgoing: int, incoming: int):
        self._connection = connection
        self._outgoing = _Memory(outgoing)
        self._incoming = _Memory(incoming)

    def send(self, message: object) -> None:
        """Send a message. The one before it must have been received if it had arrays."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        self._outgoing.write(views)
        self._connection.send((head, [view.nbytes for view in views]))

    def receive(self) -> Any:
        """Return the next message; its arrays are its own and may be written to.

        Raises
        ------
        EOFError, OSError
            The other side is gone.
        """
        head, sizes = self._connection.recv()
        return pickle.loads(head, buffers=self._incoming.read(sizes))  # noqa: S301 - our other half

    def poll(self, seconds: float) -> bool:
        """Wait for a message; whether there is one."""
        return self._connection.poll(seconds)

    def close(self) -> None:
        """Close this side."""
        self._connection.close()
        self._outgoing.close()
        self._incoming.close()


def shared_memory() -> int:
    """Return the file descriptor of memory that another process can be given."""
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("gfmap-udf")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class _Memory:
    """Shared memory that grows with what is sent."""

    def __init__(self, file: int):
        self._file = file
        self._map: mmap.mmap | None = None

    def write(self, views: Sequence[memoryview]) -> None:
        size = sum(_room(view.nbytes) for view in views)
        if size and (self._map is None or len(self._map) < size):
            os.ftruncate(self._file, size)
            self._map = mmap.mmap(self._file, size)
        offset = 0
        for view in views:
            if self._map is not None and view.nbytes:
                target = np.frombuffer(self._map, np.uint8, view.nbytes, offset)
                target[:] = np.frombuffer(view, np.uint8)
            offset += _room(view.nbytes)

    def read(self, sizes: Sequence[int]) -> list[np.ndarray[Any, Any]]:
        size = sum(map(_room, sizes))
        if size and (self._map is None or len(self._map) < size):
            self._map = mmap.mmap(self._file, size, access=mmap.ACCESS_READ)
        found, offset = [], 0
        for size in sizes:
            array = np.empty(size, np.uint8)
            if self._map is not None and size:
                array[:] = np.frombuffer(self._map, np.uint8, size, offset)
            found.append(array)
            offset += _room(size)
        return found

    def close(self) -> None:
        os.close(self._file)
        self._map = None  # unmapped when the last view of it is gone


def _room(size: int) -> int:
    """Return a size rounded up to a cache line."""
    return -(-size // 64) * 64
