"""A reader that takes its time, so that something can happen to a job meanwhile. Picklable."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.fake_source import FakeReader


@dataclass
class SlowReader(FakeReader):
    """Waits before each reading, and dies of one that is poisoned.

    Attributes
    ----------
    seconds
        How long to wait.
    poison
        Column (x of the left edge) of a window that ends the process, as want of memory would.
    note
        File that gets a line with the process id for each reading.
    """

    seconds: float = 0.0
    poison: float | None = None
    note: Path | None = None

    def read(self, scenes: Any, bands: Any, geobox: Any, times: Any = None, **more: Any) -> Any:
        time.sleep(self.seconds)
        if self.poison is not None and geobox.transform.c == self.poison:
            os._exit(9)
        if self.note is not None:
            with self.note.open("a") as file:
                file.write(f"{os.getpid()}\n")
        return super().read(scenes, bands, geobox, times, **more)
