"""Where windows are evaluated: in this process, in a pool of processes, on a Dask cluster.

All three do the same (:class:`work.Executor`): what they get is a :class:`work.Job`, that is graph,
metadata of the scenes and the form of the output, and the windows; what they give back is a
:class:`work.Done` for each window, in any order. Pixels stay where they are made: files by feature
are written there (:mod:`places`).
"""

from __future__ import annotations

from ..plan import Env
from .inline import InProcess
from .pool import ProcessPool
from .work import Done, Executor, Job

__all__ = ["Done", "Executor", "Job", "executor_for"]


def executor_for(env: Env, windows: int) -> Executor:
    """Return the executor for a number of windows.

    A cluster where there is one, unless a single window is not worth the way; else a pool when
    there is more than one process and window; else this process.
    """
    if env.scheduler and windows > 1:
        # Imported here: an extra, and slow to import.
        from .cluster import DaskCluster  # noqa: PLC0415

        return DaskCluster(env.scheduler, env.log, env.news)
    workers = min(env.workers, windows)
    return ProcessPool(workers) if workers > 1 else InProcess()
