"""The loop with a worker that only says how things go."""

from __future__ import annotations

import errno
import json
import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

import pandas as pd
import pytest

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.ledger import SampleState, Sums
from openeo_gfmap.manager.loop import Loop
from openeo_gfmap.manager.memory_store import MemoryJobStore
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.policy import Again, ChangeOptions, Grow, OtherBackend, RetryPolicy
from openeo_gfmap.manager.progress import Progress
from openeo_gfmap.manager.results import Claims
from openeo_gfmap.manager.tasks import Survey, Task
from openeo_gfmap.manager.tracker import Tracker


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
    """Everything works, at once; three items a job."""

    def __init__(self, folder: Path):
        self.output_dir = folder

    def perform(self, task: Task) -> life.Event:
        row = task.action.job.row
        asset = {"assets": {"data": {"href": f"{row}.nc"}}}
        match task.action:
            case life.Create():
                return life.Created(f"j-{row}")
            case life.Search():
                return life.Found(f"j-{row}")
            case life.Fetch():
                return life.Fetched((life.SavedFile(f"{row}.nc", 1, "c", {"id": f"{row}"}),))
            case life.Process():
                return life.Processed(tuple({"id": f"{row}-{n}", **asset} for n in range(3)))
            case _:
                return life.Seen("finished", {"costs": 3.0})

    def survey(self, backend: str, tasks: Sequence[Task]) -> Survey:
        return Survey((), 1)  # they have to be looked at one by one

    def probe(self, backend: str) -> life.Unreachable | None:
        return None


def run(
    folder: Path,
    jobs: int | pd.DataFrame,
    worker: Any,
    *,
    path: Path | None = None,
    parallel_jobs: dict[str, int] | None = None,
    **options: Any,
) -> tuple[Loop, Tracker, Shown]:
    table = pd.DataFrame({"n": range(jobs)}) if isinstance(jobs, int) else jobs
    tracker, shown = Tracker(path, table), Shown()
    loop = Loop(
        tracker, worker, parallel_jobs or {"fake": 2}, options=ManagerOptions(**options),
        poll_sleep=0.01, processing_threads=2, display=shown,
    )  # fmt: skip
    loop.prepare(Claims(), restart_failed=False, resume_postproc=True)
    loop.run()
    return loop, tracker, shown


def test_samples_are_counted_without_asking_the_store_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    count = MemoryJobStore.states

    def counting(store: MemoryJobStore) -> dict[SampleState, int]:
        asked["states"] += 1
        return count(store)

    monkeypatch.setattr(MemoryJobStore, "states", counting)
    _, tracker, shown = run(tmp_path, 40, Smooth(tmp_path))
    assert asked["states"] == 1
    last = shown.moments[-1]
    assert last.samples == Sums(received=40) == Sums.of(tracker.store.states())
    assert last.new_samples == last.done == last.jobs == 40
    assert tracker.store.count_items() == 120


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


# ---------------------------------------------------------------------------------------- policies


class Failing(Smooth):
    """The first jobs of each row fail; which, and how, is said by a function."""

    def __init__(self, folder: Path, fails: Callable[[life.Job], life.Event | None]):
        super().__init__(folder)
        self.fails = fails
        self.made: list[tuple[int, str, Any]] = []

    def perform(self, task: Task) -> life.Event:
        job = task.action.job
        match task.action:
            case life.Create():
                overrides = json.loads(job.overrides or "{}")
                self.made.append((job.row, task.action.backend, overrides))
                sent = json.dumps({"executor-memory": "2G", **overrides})
                return life.Created(f"j-{job.row}-{job.attempt}", options=sent)
            case life.Start():
                return self.fails(job) or life.Seen("finished", {"costs": 2.0})
            case _:
                return super().perform(task)


def out_of_memory(job: life.Job) -> life.Event:
    return life.Seen("error", {"costs": 1.0}, "exit code 137", ErrorKind.OUT_OF_MEMORY)


def test_a_failed_job_is_made_again_with_more_memory_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    larger = ChangeOptions({"executor-memory": Grow(1.5, ceiling="12G")})
    policy = RetryPolicy(3, {ErrorKind.OUT_OF_MEMORY: larger})
    worker = Failing(tmp_path, lambda job: out_of_memory(job) if job.attempt <= job.row else None)
    with caplog.at_level(logging.INFO, "openeo_gfmap.manager"):
        loop, tracker, _ = run(tmp_path, 4, worker, retry=policy)
    assert [job.status for job in tracker.store.jobs()] == ["finished"] * 3 + ["error"]
    assert Counter(row for row, _, _ in worker.made) == {0: 1, 1: 2, 2: 3, 3: 3}
    memory = [o.get("executor-memory") for row, _, o in worker.made if row == 2]
    assert memory == [None, "3G", "4608M"]
    past = tracker.store.past(2)
    assert [job.id for job in past] == ["j-2-1", "j-2-2"] and tracker.store.jobs()[2].attempt == 3
    assert [job.costs for job in past] == [1.0, 1.0]
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in told if "row 2" in line]) == 2
    assert told.count(
        "Job j-1-1 of row 1: out-of-memory: exit code 137; made again with executor-memory 3G "
        "(attempt 2 of 3)."
    ) == 1  # fmt: skip
    assert sum("error: exit code 137" in line for line in told) == 1  # of row 3, in the end
    costs = loop.progress.costs
    assert costs.spent == 3 * 2.0 + (0 + 1 + 2 + 3) * 1.0 and costs.by_backend == {"fake": 12.0}


def test_a_job_goes_to_the_other_back_end(tmp_path: Path) -> None:
    policy = RetryPolicy(3, {ErrorKind.BACKEND_BUG: OtherBackend()})

    def fails(job: life.Job) -> life.Event | None:
        bug = life.Seen("error", {}, "NullPointerException", ErrorKind.BACKEND_BUG)
        return bug if job.backend == "a" else None

    worker = Failing(tmp_path, fails)
    table = pd.DataFrame({"backend_name": ["a", "b"]})
    run(tmp_path, table, worker, retry=policy, parallel_jobs={"a": 1, "b": 1})
    assert sorted((row, backend) for row, backend, _ in worker.made) == [
        (0, "a"), (0, "b"), (1, "b"),
    ]  # fmt: skip


def test_a_failure_and_what_the_policy_says_are_stored_together(tmp_path: Path) -> None:
    """A kill in between would leave a job failed that is to be made again."""
    policy = RetryPolicy(2, {ErrorKind.OUT_OF_MEMORY: Again(wait=3600)})
    path = tmp_path / "jobs.csv"
    seen: list[str] = []
    processed: list[int] = []

    class Watching(Failing):
        def perform(self, task: Task) -> life.Event:
            if isinstance(task.action, life.Process):
                processed.append(task.action.job.row)
                if len(processed) == 5:
                    loop.stop()  # the other one would wait for an hour
            with sqlite3.connect(f"{path}.sqlite") as store:
                seen.extend(status for (status,) in store.execute("SELECT status FROM jobs"))
            return super().perform(task)

    worker = Watching(tmp_path, lambda job: out_of_memory(job) if job.row == 0 else None)
    tracker = Tracker(path, pd.DataFrame({"n": range(6)}))
    loop = Loop(
        tracker, worker, {"fake": 1}, options=ManagerOptions(retry=policy), poll_sleep=0.01,
        processing_threads=1, display=Shown(),
    )  # fmt: skip
    loop.prepare(Claims(), restart_failed=False, resume_postproc=True)
    loop.run()
    jobs = tracker.store.jobs()
    assert (jobs[0].status, jobs[0].attempt, jobs[0].retries) == ("not_started", 2, 1)
    assert {job.status for job in jobs[1:]} == {"finished"}
    assert "error" not in seen
    tracker.close()


# ------------------------------------------------------------------------------------------- money


def test_no_job_is_made_once_the_money_is_spent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.csv"
    table = pd.DataFrame({"n": range(20), "recipe": ["wheat", "maize"] * 10})
    with caplog.at_level(logging.INFO, "openeo_gfmap.manager"):
        loop, tracker, shown = run(tmp_path, table, Smooth(tmp_path), path=path, max_costs=20.0)
    tracker.close()
    counts = loop.progress.counts
    assert counts[life.JobStatus.FINISHED] == 6  # 3 each
    left = 20 - counts[life.JobStatus.FINISHED]
    assert counts[life.JobStatus.NOT_STARTED] == left
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert all(f"{left}" in line for line in warnings)
    assert "higher max_costs" in warnings[1]
    assert "of at most 20 spent" in shown.moments[-1].message
    costs = loop.progress.costs
    assert costs.left == 3.0 * left
    assert sum(costs.by_recipe.values()) == costs.spent == 3.0 * (20 - left)
    loop, tracker, _ = run(tmp_path, table, Smooth(tmp_path), path=path, max_costs=1000.0)
    tracker.close()
    assert loop.progress.counts == {life.JobStatus.FINISHED: 20}
    assert loop.progress.costs.spent == 60.0  # what was spent before counts, too


# --------------------------------------------------------------------------------------- many jobs


@pytest.mark.parametrize("parallel", [3, 20])
def test_jobs_are_made_and_started_in_parallel(tmp_path: Path, parallel: int) -> None:
    """Each waits until all that may are under way: one after the other they would wait for ever."""
    together = threading.Barrier(parallel)

    class Slow(Smooth):
        def perform(self, task: Task) -> life.Event:
            if isinstance(task.action, life.Create | life.Start):
                together.wait(timeout=30)
            return super().perform(task)

    _, tracker, _ = run(tmp_path, 2 * parallel, Slow(tmp_path), parallel_jobs={"fake": parallel})
    assert {job.status for job in tracker.store.jobs()} == {"finished"}


def test_a_back_end_that_hangs_keeps_up_no_other(tmp_path: Path) -> None:
    done = threading.Event()

    class Hanging(Smooth):
        def perform(self, task: Task) -> life.Event:
            action = task.action
            if isinstance(action, life.Create) and action.backend == "a":
                done.wait(30)
            elif isinstance(action, life.Process) and task.action.job.row == 38:
                done.set()
            return super().perform(task)

    table = pd.DataFrame({"backend_name": ["a", "b"] * 20})
    table.loc[38, "backend_name"] = "b"
    both = {"a": 30, "b": 1}
    _, tracker, _ = run(tmp_path, table, Hanging(tmp_path), parallel_jobs=both)
    assert done.is_set()
    assert {job.status for job in tracker.store.jobs()} == {"finished"}


def test_rows_that_come_in_are_run_and_the_others_refused(tmp_path: Path) -> None:
    first, added = threading.Event(), threading.Event()

    class Waiting(Smooth):
        def perform(self, task: Task) -> life.Event:
            first.set()
            added.wait(30)
            return super().perform(task)

    tracker = Tracker(tmp_path / "jobs.csv", pd.DataFrame({"n": range(3)}))
    loop = Loop(
        tracker, Waiting(tmp_path), {"fake": 2}, options=ManagerOptions(), poll_sleep=0.01,
        processing_threads=1, display=Shown(),
    )  # fmt: skip
    loop.prepare(Claims(), restart_failed=False, resume_postproc=True)
    thread = threading.Thread(target=loop.run)
    thread.start()
    first.wait(30)
    assert loop.add(pd.DataFrame({"n": range(8)})) == 5  # three are there
    with pytest.raises(InputError, match="is not the row of that label"):
        loop.add(pd.DataFrame({"n": [99]}))
    added.set()
    thread.join()
    assert [job.status for job in tracker.store.jobs()] == ["finished"] * 8
    with pytest.raises(InputError, match="the run is over"):
        loop.add(pd.DataFrame({"n": range(9)}))
    tracker.close()
    assert list(pd.read_csv(tmp_path / "jobs.csv").n) == list(range(8))


# ---------------------------------------------------------------------------------------- the disk


def test_a_disk_that_is_full_for_the_tracker_stops_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.csv"
    full = threading.Event()

    class Filling(Smooth):
        def perform(self, task: Task) -> life.Event:
            if task.action.job.row == 5:
                full.set()
            return super().perform(task)

    replace = Tracker.write_view

    def write(tracker: Tracker, jobs: Any) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(tracker, jobs)

    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "write_view", write)
        with pytest.raises(OSError, match="No space left"):
            run(tmp_path, 10, Filling(tmp_path), path=path)
    # The tracker of the run that ended is still open in this process: a copy stands for it.
    with sqlite3.connect(f"{path}.sqlite") as store:
        states = {status for (status,) in store.execute("SELECT status FROM jobs")}
    assert states <= {"finished", "not_started", "queued", "created", "postprocessing"}


def test_a_full_disk_under_the_store_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    tracker = Tracker(path, pd.DataFrame({"n": range(200), "text": ["long " * 50] * 200}))
    loop = Loop(
        tracker, Smooth(tmp_path), {"fake": 2}, options=ManagerOptions(), poll_sleep=0.01,
        processing_threads=1, display=Shown(),
    )  # fmt: skip
    loop.prepare(Claims(), restart_failed=False, resume_postproc=True)
    pages = tracker.store._db.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[attr-defined]
    tracker.store._db.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="make room and run the same again") as caught:
        loop.run()
    assert caught.value.errno == errno.ENOSPC
    tracker.close()
    again, tracker, _ = run(
        tmp_path, pd.DataFrame({"n": range(200), "text": ["long " * 50] * 200}), Smooth(tmp_path),
        path=path,
    )  # fmt: skip
    assert again.progress.counts == {life.JobStatus.FINISHED: 200}
    tracker.close()


# --------------------------------------------------------------------------------------- the clock


def test_a_clock_that_jumps_breaks_no_timer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openeo_gfmap.manager import dispatch, loop, places

    random = Random(3)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=random.uniform(-4000, 4000))

    for module in (dispatch, loop, places):
        monkeypatch.setattr(module, "datetime", Jumping)
    waited: list[float] = []
    looks: Counter[int] = Counter()

    class Lossy(Smooth):
        def perform(self, task: Task) -> life.Event:
            job = task.action.job
            match task.action:
                case life.Create() if not job.attempts:
                    return life.AnswerLost("reset")
                case life.Search():
                    waited.append(task.waited)
                    if task.waited < 0.05:
                        return life.Unreachable("it may still come up", outage=False)
                    return life.NotMade("there is none")
                case life.Poll() if looks[job.row] < 3:
                    looks[job.row] += 1
                    return life.Seen("running")
                case life.Cancel():
                    raise AssertionError("none of them has run for an hour")
                case _:
                    return super().perform(task)

    _, tracker, _ = run(tmp_path, 20, Lossy(tmp_path), job_seconds=3600)
    assert {job.status for job in tracker.store.jobs()} == {"finished"}
    assert all(0 <= seconds < 60 for seconds in waited)
    assert max(waited) >= 0.05
