"""A pool of threads that an impatient user can leave behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from openeo_gfmap.manager.cpus import use_all_cpus

__all__ = ["Pool"]

T = TypeVar("T")


class Pool(Generic[T]):
    """Runs tasks in threads that do not keep the interpreter from ending.

    The executors of the standard library wait for their threads at exit, so that a second Ctrl-C
    would hang as long as the longest download. What is cut off here is safe: files get their
    names only when they are whole, and the store knows what was under way.

    Parameters
    ----------
    name : str
        Shown in thread names.
    threads : int
        Most tasks at once; threads are started as they are needed.
    perform : callable
        Does a task; handles its own errors.
    begin : callable
        Called in each thread before its first task.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        perform: Callable[[T], None],
        begin: Callable[[], None] = use_all_cpus,
    ):
        self._name = name
        self._most = threads
        self._perform = perform
        self._begin = begin
        self._tasks: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)

    def submit(self, task: T) -> None:
        """Do a task as soon as a thread is free."""
        self._tasks.put(task)
        if len(self._threads) < self._most and not self._idle.acquire(blocking=False):
            thread = threading.Thread(
                target=self._run, name=f"gfmap-{self._name}-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        self._begin()
        while (task := self._tasks.get()) is not None:
            self._perform(task)
            self._idle.release()

    def close(self) -> None:
        """Let the threads end when they have done what was submitted."""
        for _ in self._threads:
            self._tasks.put(None)
