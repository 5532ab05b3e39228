"""Windows one after the other in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..demands import Window
from .work import Done, Job, Worker

__all__ = ["InProcess"]


class InProcess:
    """Evaluates windows here; what they log goes straight to the job's log."""

    def run(self, job: Job, windows: Sequence[Window]) -> Iterator[Done]:
        """Yield what becomes of each window, in their order."""
        worker = Worker(job, away=False)
        yield from worker.run(windows)
