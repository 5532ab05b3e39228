"""The loop with a worker that only says how things go."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
import pytest

from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.job_store import MemoryJobStore
from openeo_gfmap.manager.loop import Loop
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.progress import Progress
from openeo_gfmap.manager.results import Claims
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.manager.worker import Task


class Shown:
    """Keeps what a display would show."""

    def __init__(self) -> None:
        self.moments: list[Progress] = []

    def update(self, progress: Progress) -> None:
        self.moments.append(progress)

    def __enter__(self) -> Shown:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Smooth:
    """Everything works, at once; three samples a job."""

    def __init__(self, folder: Path):
        self.output_dir = folder

    def perform(self, task: Task) -> life.Event:
        row = task.action.job.row
        match task.action:
            case life.Create():
                return life.Created(f"j-{row}")
            case life.Fetch():
                return life.Fetched((life.SavedFile(f"{row}.nc", 1, "c", {"id": f"{row}"}),))
            case life.Process():
                return life.Processed(tuple({"id": f"{row}-{n}"} for n in range(3)))
            case _:
                return life.Seen("finished")


def run(folder: Path, jobs: int, worker: Any) -> tuple[Loop, Tracker, Shown]:
    tracker, shown = Tracker(None, pd.DataFrame({"n": range(jobs)})), Shown()
    loop = Loop(
        tracker, worker, {"fake": 2}, options=ManagerOptions(), poll_sleep=0.01,
        processing_threads=2, display=shown,
    )  # fmt: skip
    loop.prepare(Claims(), restart_failed=False, resume_postproc=True)
    loop.run()
    return loop, tracker, shown


def test_samples_are_counted_without_asking_the_store_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    count = MemoryJobStore.count_items

    def counting(store: MemoryJobStore) -> int:
        asked["count_items"] += 1
        return count(store)

    monkeypatch.setattr(MemoryJobStore, "count_items", counting)
    _, tracker, shown = run(tmp_path, 40, Smooth(tmp_path))
    assert asked["count_items"] == 1
    assert shown.moments[-1].samples == shown.moments[-1].new_samples == 120
    assert tracker.store.count_items() == 120
    assert shown.moments[-1].done == shown.moments[-1].jobs == 40


def test_a_worker_that_fails_in_a_new_way_fails_that_job_only(tmp_path: Path) -> None:
    class Odd(Smooth):
        def perform(self, task: Task) -> life.Event:
            if isinstance(task.action, life.Process) and task.action.job.row == 1:
                raise KeyboardInterrupt  # of all things, in a thread
            return super().perform(task)

    _, tracker, _ = run(tmp_path, 3, Odd(tmp_path))
    statuses = [job.status for job in tracker.store.jobs()]
    assert statuses == ["finished", "postprocessing-error", "finished"]
    assert "KeyboardInterrupt" in str(tracker.store.jobs()[1].message)
