"""Many byte ranges at once, in the order of their use and ahead of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from .http import RangeClient

__all__ = ["Fetcher", "RemoteBytes"]

Range = tuple[str, int, int]
"""Address, offset and length."""

# Ranges of a file are fetched together when what lies between costs less than a request does,
# but not so many that others wait for them.
_GAP = 8 * 1024
_LARGEST = 2 * 2**20
# Threads without work end: a reader that is not used any more holds none.
_IDLE_SECONDS = 10.0


@dataclass
class _Job:
    """One request, for one range or for several that are merged."""

    url: str
    start: int
    stop: int
    left: int = 0  # ranges of it that were not collected yet
    begun: bool = False
    ready: threading.Event = field(default_factory=threading.Event)
    data: bytes = b""
    error: OSError | None = None

    @property
    def size(self) -> int:
        return self.stop - self.start


class Fetcher:
    """Fetches ranges in threads, into bounded memory, until they are collected.

    Parameters
    ----------
    client
        Gets one range.
    threads
        Requests at once.
    most_bytes
        Bound on bytes that are on their way or wait to be collected. What somebody waits for
        is fetched in any case.
    """

    def __init__(self, client: RangeClient, *, threads: int = 32, most_bytes: int = 128 * 2**20):
        self._client = client
        self._most_threads = threads
        self._most_bytes = most_bytes
        self._bytes = 0
        self._parts: dict[tuple[str, int], _Job] = {}
        self._queue: deque[_Job] = deque()
        self._urgent: deque[_Job] = deque()
        self._threads = self._idle = 0
        self._closed = False
        self._work = threading.Condition()

    def want(self, ranges: Iterable[Range]) -> None:
        """Fetch ranges soon, in this order; those that are near to each other in one request.

        Ranges that are on their way already are left out.
        """
        by_file: dict[str, list[tuple[int, int]]] = {}
        for url, offset, length in ranges:
            by_file.setdefault(url, []).append((offset, length))
        jobs: list[tuple[_Job, list[int]]] = []
        with self._work:
            if self._closed:
                return
            for url, wanted in by_file.items():
                new = sorted({w for w in wanted if (url, w[0]) not in self._parts})
                jobs += _merged(url, new)
            for job, offsets in jobs:
                job.left = len(offsets)
                self._parts.update(((job.url, offset), job) for offset in offsets)
                self._queue.append(job)
            self._wake(len(jobs))

    def read(self, url: str, offset: int, length: int) -> bytes:
        """Return a range: one that was wanted before, or fetched now.

        Fewer bytes come where the file ends.

        Raises
        ------
        OSError
            The range cannot be had; see :meth:`RangeClient.get`.
        """
        with self._work:
            job = self._parts.pop((url, offset), None)
            if job is not None and not job.begun:
                self._urgent.append(job)
                self._wake(1)
        if job is None:
            return self._client.get(url, offset, length)
        job.ready.wait()
        with self._work:
            job.left -= 1
            if not job.left:
                self._bytes -= job.size
                self._work.notify()
        if job.error is not None:
            raise OSError(str(job.error)) from job.error
        first = offset - job.start
        return job.data if (first, length) == (0, job.size) else job.data[first : first + length]

    def close(self) -> None:
        """Fetch nothing more, and forget what was not collected."""
        with self._work:
            self._closed = True
            for job in self._queue:
                if not job.begun:
                    job.begun, job.error = True, OSError("the reader was closed")
                    job.ready.set()
            self._queue.clear()
            self._parts.clear()
            self._work.notify_all()
        self._client.close()

    def _wake(self, jobs: int) -> None:
        """Give work to threads that wait, and to new ones; the lock is held."""
        self._work.notify(jobs)
        for _ in range(min(jobs - self._idle, self._most_threads - self._threads)):
            # Ends with the process: what nobody collected is of no use to anybody.
            threading.Thread(target=self._run, name="gfmap-fetch", daemon=True).start()
            self._threads += 1

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.data = self._client.get(job.url, job.start, job.size)
            except OSError as error:
                job.error = error
            except Exception as error:  # noqa: BLE001 - whoever waits for it must learn of it
                job.error = OSError(f"{type(error).__name__}: {error}")
            job.ready.set()

    def _next(self) -> _Job | None:
        """Wait for a job; None when the thread shall end."""
        with self._work:
            while not self._closed:
                job = self._startable()
                if job is not None:
                    job.begun = True
                    self._bytes += job.size
                    return job
                self._idle += 1
                woken = self._work.wait(_IDLE_SECONDS)
                self._idle -= 1
                if not woken and not self._queue:
                    break
            self._threads -= 1
            return None

    def _startable(self) -> _Job | None:
        for queue in (self._urgent, self._queue):
            while queue and queue[0].begun:
                queue.popleft()
        if self._urgent:
            return self._urgent.popleft()
        if self._queue and (
            not self._bytes or self._bytes + self._queue[0].size <= self._most_bytes
        ):
            return self._queue.popleft()
        return None


def _merged(url: str, ranges: Iterable[tuple[int, int]]) -> list[tuple[_Job, list[int]]]:
    """Merge ascending ranges into requests; each comes with the offsets in it."""
    jobs: list[tuple[_Job, list[int]]] = []
    for offset, length in ranges:
        stop = offset + length
        if jobs:
            job, offsets = jobs[-1]
            if offset <= job.stop + _GAP and stop - job.start <= _LARGEST:
                job.stop = max(job.stop, stop)
                offsets.append(offset)
                continue
        jobs.append((_Job(url, offset, stop), [offset]))
    return jobs


class RemoteBytes:
    """Byte ranges of a file on a web server."""

    def __init__(self, url: str, fetcher: Fetcher):
        self._url, self._fetcher = url, fetcher

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes at an offset, fewer at the file's end; raises OSError."""
        return self._fetcher.read(self._url, offset, length)
