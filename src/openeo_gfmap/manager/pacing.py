"""When to ask again: waits that grow with failures, looks that keep to how long jobs take.

All moments are readings of one clock that never jumps, `time.monotonic`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Hashable
from random import Random
from typing import Generic, TypeVar

__all__ = ["Backoff", "Rhythm", "Schedule"]

K = TypeVar("K", bound=Hashable)

_LONGEST_ASKED = 3600.0  # seconds: a Retry-After of more than that is no wish but a mistake
_SHARE = 0.05  # of a job's duration, that it may be done without anybody having looked
_REMEMBERED = 32  # durations
_STEPS = 4  # moments in an interval at which looks happen, together


class Backoff:
    """How long to wait after failures in a row: twice as long each time, with jitter.

    Parameters
    ----------
    first : float
        Seconds after the first failure, at most.
    longest : float
        Most seconds, unless the back-end asks for more.
    random : random.Random, optional
        Source of the jitter, which keeps many jobs from asking in step.
    """

    def __init__(self, first: float, longest: float, random: Random | None = None):
        self._first = first
        self._longest = longest
        self._random = random or Random()  # noqa: S311 - no secret

    def wait(self, failures: int, retry_after: float | None = None) -> float:
        """Return the seconds to wait after so many failures in a row.

        The seconds that the back-end asked for with `retry_after` are waited for in full, up to an
        hour.
        """
        doubled = min(self._longest, self._first * 2.0 ** min(max(failures - 1, 0), 60))
        jittered = doubled * self._random.uniform(0.5, 1.0)
        if retry_after is None or not retry_after > 0:  # also not a number
            return jittered
        asked = min(retry_after, _LONGEST_ASKED)
        return max(jittered, asked * self._random.uniform(1.0, 1.1))


class Schedule(Generic[K]):
    """What is due when; each key once."""

    def __init__(self) -> None:
        self._at: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0  # keeps keys from being compared

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: K) -> bool:
        return key in self._at

    def put(self, key: K, at: float) -> None:
        """Have a key due at a moment; it replaces the one it had."""
        self._at[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        if len(self._heap) > 2 * len(self._at) + 16:
            # Moments that were replaced or dropped.
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def drop(self, key: K) -> None:
        """Forget a key, if it is there."""
        self._at.pop(key, None)

    def due(self, now: float) -> list[K]:
        """Take out and return the keys that are due, the earliest first."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._at.get(key) == at:
                del self._at[key]
                found.append(key)
        return found

    def next(self) -> float | None:
        """Return the moment when something is due next."""
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class Rhythm:
    """How often the jobs of a back-end are looked at.

    A job is looked at after a twentieth of the time that jobs take: of what it has taken so far,
    and of what those took that are done. So most of the looks at jobs of an hour are saved, and
    their end is noticed a few minutes late at the most.

    Parameters
    ----------
    shortest : float
        Fewest seconds between two looks at a job: the user's ``poll_sleep``.
    longest : float
        Most seconds between two looks.
    """

    def __init__(self, shortest: float, longest: float):
        self._shortest = max(shortest, 0.001)
        self._longest = max(longest, self._shortest)
        self._durations: deque[float] = deque(maxlen=_REMEMBERED)
        self._typical = 0.0

    def took(self, seconds: float) -> None:
        """Learn how long a job took that ended well."""
        self._durations.append(seconds)
        # Not the mean: among long jobs, the end of a short one is to be noticed, too.
        self._typical = sorted(self._durations)[len(self._durations) // 4]

    def interval(self, elapsed: float) -> float:
        """Return the seconds between two looks at a job that has run for so long.

        It is the shortest one doubled some times, so that jobs fall in step with each other.
        """
        wanted = min(_SHARE * max(elapsed, self._typical), self._longest)
        doublings = max(0, math.floor(math.log2(max(wanted, self._shortest) / self._shortest)))
        return self._shortest * 2.0**doublings

    def next_look(self, looked: float, elapsed: float) -> float:
        """Return when to look at a job again that was looked at at a moment.

        It is one of few moments, up to a quarter of the interval late, so that many jobs are
        looked at together: one look at the list of jobs then does for all of them.
        """
        interval = self.interval(elapsed)
        step = interval / _STEPS
        return math.ceil((looked + interval) / step - 1e-6) * step
