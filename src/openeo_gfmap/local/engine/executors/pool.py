"""Windows in a pool of processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from ...errors import OpenEOError
from ...malloc import keep_memory
from ..demands import Window
from .shares import Shares
from .work import Done, Job, Worker

__all__ = ["ProcessPool"]

# Arrays of windows are smaller; what lies idle is little beside what a window takes.
_LARGEST_BLOCK, _IDLE = 2**30, 256 * 2**20


class ProcessPool:
    """Evaluates windows in processes that are forked from one with everything imported.

    Parameters
    ----------
    workers
        How many.
    """

    def __init__(self, workers: int):
        self._workers = workers

    def run(self, job: Job, windows: Sequence[Window]) -> Iterator[Done]:
        """Yield what becomes of each window, as they are done."""
        context = multiprocessing.get_context("forkserver")
        # Imported once and forked from there: a worker is ready in no time.
        context.set_forkserver_preload(
            [__name__, "openeo_gfmap.local.engine.reader", "openeo_gfmap.local.engine.processes"]
        )
        shares = Shares(windows, range(self._workers))
        # A pool for each process, so that each can be given its own run of windows.
        pools = [
            ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(job.away(),))
            for _ in range(self._workers)
        ]
        waiting: dict[Future[list[Done]], int] = {}
        # Two tasks each keep all busy, and bound what waits for its turn in memory.
        idle = [*range(self._workers)] * 2
        try:
            while True:
                for number in idle:
                    task = shares.next(number)
                    if task:
                        waiting[pools[number].submit(_evaluate, task)] = number
                if not waiting:
                    return
                finished = wait(waiting, return_when=FIRST_COMPLETED).done
                idle = [waiting.pop(future) for future in finished]
                for future in finished:
                    yield from future.result()
        except BrokenProcessPool as error:
            raise OpenEOError(
                "JobFailed",
                "A process that evaluated windows ended by itself, most often for want of "
                "memory. Ask for fewer bands or dates in a job, or more memory.",
                status=500,
            ) from error
        finally:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            for pool in pools:
                pool.shutdown()


_worker: Worker | None = None


def _prepare(job: Job) -> None:
    global _worker  # noqa: PLW0603 - the pool's way to keep state in a worker process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_memory(block=_LARGEST_BLOCK, idle=_IDLE)
    _worker = Worker(job, away=True)


def _end_with_parent() -> None:
    """End this process when the leading one is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _evaluate(batch: Sequence[Window]) -> list[Done]:
    if _worker is None:
        raise RuntimeError("the worker process was not prepared")
    return list(_worker.run(batch))
