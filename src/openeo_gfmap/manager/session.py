"""One run, from the open tracker to the written collection."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openeo_gfmap.manager import run_notes
from openeo_gfmap.manager.job_store import JobStore
from openeo_gfmap.manager.loop import Loop
from openeo_gfmap.manager.tracker import Tracker

__all__ = ["Session"]


@dataclass(frozen=True)
class Session:
    """A run that is ready to go.

    Attributes
    ----------
    tracker
        Held open, and locked, until the run is over.
    loop
        Drives the jobs.
    output_dir
        Folder for all results.
    hurry
        Set when the run ends: what waits in a thread gives up.
    settings
        What is noted of the run.
    finish
        Called with the store once the loop is through.
    """

    tracker: Tracker
    loop: Loop
    output_dir: Path
    hurry: threading.Event
    settings: Mapping[str, Any]
    finish: Callable[[JobStore], object]

    def run(self, *, interruptible: bool = False) -> dict[str, int]:
        """Run to the end; return how many jobs are in each status.

        Parameters
        ----------
        interruptible : bool
            Let the first Ctrl-C stop the run gently.
        """
        with self.tracker:
            run_notes.begin(self.tracker.store, self.settings)
            try:
                with _interrupts(self.loop) if interruptible else nullcontext():
                    counts = self.loop.run()
            finally:
                self.hurry.set()
                with suppress(OSError):  # not empty, or never made
                    (self.output_dir / ".downloads").rmdir()
            self.finish(self.tracker.store)
            run_notes.end(self.tracker.store)
        return counts


@contextmanager
def _interrupts(loop: Loop) -> Iterator[None]:
    """Let Ctrl-C stop the loop; the second one is a KeyboardInterrupt as always."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's affair
        return

    def on_interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, previous)
        loop.stop("Ctrl-C again stops at once.")

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
