"""Which CPUs the threads of a run use.

Python's lock lets one thread work at a time. Threads that ask, download and describe hand it to
each other a hundred times a job and more. Across CPUs that takes longer than on one, which would do
for all of them: a fifth of the time of a run, a quarter of its CPU time
(docs/benchmarks/manager.md). So these share one. Whatever is the user's, callbacks and servers that
are started, has all CPUs.

On systems that do not let a thread choose, nothing is done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["on_all_cpus", "on_one_cpu", "use_all_cpus", "use_one_cpu"]

# Linux: of the calling thread, and of threads and processes that it starts from then on. All that
# the process had when it was asked last, before a run took one of them for its threads.
_all: set[int] = set()


def _mine() -> set[int]:
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _use(cpus: set[int]) -> None:
    if sys.platform == "linux" and cpus:
        with suppress(OSError):  # some containers forbid it
            os.sched_setaffinity(0, cpus)


def use_one_cpu() -> None:
    """Let this thread share a CPU with the others of a run; each process has its own."""
    if len(_all) > 1:
        _use({sorted(_all)[os.getpid() % len(_all)]})


def use_all_cpus() -> None:
    """Let this thread use all CPUs of the process, whoever started it."""
    _use(_all)


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Let this thread share a CPU with the others of a run, for as long as it runs one."""
    global _all  # noqa: PLW0603 - of the process, as the CPUs are
    before = _mine()
    if len(before) > 1:
        _all = before
    use_one_cpu()
    try:
        yield
    finally:
        _use(before)


@contextmanager
def on_all_cpus() -> Iterator[None]:
    """Let this thread use all CPUs for a while, and whatever it starts meanwhile."""
    before = _mine()
    use_all_cpus()
    try:
        yield
    finally:
        _use(before)
