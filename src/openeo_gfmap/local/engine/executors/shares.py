"""Who evaluates which windows next.

Windows that lie near to each other read the same blocks of files, and each process decodes its
blocks for itself, anew for each task. So each worker gets a run of neighbours and goes through it
in order, in tasks that are large at first; who has none left takes over the second half of the
longest run that another still has before it.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from ..demands import Window

__all__ = ["LARGEST_TASK", "Shares"]

# Windows a task: enough to share the blocks of files, and results that are not long in coming.
LARGEST_TASK = 64


class Shares:
    """Runs of windows by worker.

    Parameters
    ----------
    windows
        In an order in which neighbours follow each other.
    workers
        Whatever stands for the workers.
    """

    def __init__(self, windows: Sequence[Window], workers: Collection[Hashable]):
        count = max(1, len(workers))
        # Small enough that at the end nobody waits long for the last ones.
        self._last = max(1, min(LARGEST_TASK, len(windows) // (4 * count)))
        bounds = [len(windows) * i // count for i in range(count + 1)]
        names = list(workers) or [None]
        self._runs: dict[Hashable, Sequence[Window]] = {
            name: windows[bounds[i] : bounds[i + 1]] for i, name in enumerate(names)
        }

    def next(self, worker: Hashable) -> list[Window]:
        """Return the windows of a worker's next task; none when all are given out.

        A worker that is not known yet gets its share of what is left.
        """
        run = self._runs.get(worker, ())
        if not run:
            richest = max(self._runs, key=lambda name: len(self._runs[name]))
            run = self._runs[richest]
            half = len(run) // 2
            self._runs[richest], run = run[:half], run[half:]
        # Windows without neighbours, the large tiles of a dense result, go one by one.
        size = 1
        half = min(LARGEST_TASK, -(-len(run) // 2))
        most = min(max(self._last, half), len(run)) if run and run[0].near is not None else 1
        while size < most and run[size].near is not None:
            size += 1
        self._runs[worker] = run[size:]
        return list(run[:size])
