"""Whose job is next: users take turns, a user's queues do, and in a queue the first comes first.

Pure: jobs in, job out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .store import Job

__all__ = ["Turns"]

Key = tuple[str, ...]


@dataclass
class Turns:
    """Remembers whose turn it was.

    Who has the fewest jobs at work is next; among equals, who has not been for longest. So a user
    with one job waits for no more than one job of each other user, however many those have queued.

    Attributes
    ----------
    limit
        Most jobs of one user at the same time; 0 for no limit.
    """

    limit: int = 0
    _last: dict[Key, int] = field(default_factory=dict)
    _count: int = 0

    def next(self, waiting: Iterable[Job], running: Iterable[Job]) -> Job | None:
        """Return the job to start, and take its turn; None when no waiting one may start."""
        busy: Counter[Key] = Counter()
        for job in running:
            busy.update(_keys(job))

        def rank(job: Job) -> tuple[int, ...]:
            user, queue = _keys(job)
            last = self._last.get
            return busy[user], last(user, 0), busy[queue], last(queue, 0), job.queued_at

        allowed = (job for job in waiting if not self.limit or busy[_keys(job)[0]] < self.limit)
        chosen = min(allowed, key=rank, default=None)
        if chosen is not None:
            self._count += 1
            for key in _keys(chosen):
                self._last[key] = self._count
        return chosen


def _keys(job: Job) -> tuple[Key, Key]:
    return (job.owner,), (job.owner, job.queue)
