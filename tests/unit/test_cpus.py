"""Threads of a run share a CPU; whatever is the user's has all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import openeo
import pandas as pd
import pystac
import pytest

from openeo_gfmap.manager.cpus import on_all_cpus, on_one_cpu, use_all_cpus, use_one_cpu
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.manager.options import ManagerOptions
from support.fake_backend import Script, fake_backend
from support.patches import patch_bytes

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="needs several CPUs that a thread can choose from",
)


def test_a_thread_and_what_it_starts() -> None:
    everything = os.sched_getaffinity(0)
    found: list[set[int]] = []

    def look() -> None:
        found.append(os.sched_getaffinity(0))
        use_all_cpus()
        found.append(os.sched_getaffinity(0))
        use_one_cpu()
        found.append(os.sched_getaffinity(0))

    with on_one_cpu():
        one = os.sched_getaffinity(0)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        with on_all_cpus():
            said = subprocess.run(
                [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
        assert os.sched_getaffinity(0) == one
    assert len(one) == 1 and found == [one, everything, one]
    assert int(said.stdout) == len(everything)
    assert os.sched_getaffinity(0) == everything


@pytest.mark.parametrize("seconds", [60.0, None])
def test_callbacks_have_all_cpus(tmp_path: Path, seconds: float | None) -> None:
    everything = os.sched_getaffinity(0)
    found: dict[str, set[int]] = {}

    def start(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
        found["start"] = os.sched_getaffinity(0)
        return connection.create_job({}, title=row.title)

    def place(root_folder: Path, geometry_index: int, row: pd.Series) -> str:
        found["place"] = os.sched_getaffinity(0)
        return f"{row.title}/{geometry_index}.nc"

    def action(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        found["action"] = os.sched_getaffinity(0)
        return items

    def connect() -> openeo.Connection:
        found["connect"] = os.sched_getaffinity(0)
        return openeo.connect(url)

    settings: dict[str, Any] = {"poll_sleep": 0.05, "post_job_action": action}
    with fake_backend() as backend:
        url = backend.url
        backend.default = Script(assets={"openEO.nc": patch_bytes(tmp_path)})
        options = ManagerOptions(action_seconds=seconds)
        manager = GFMAPJobManager(tmp_path / "out", place, options=options, **settings)
        manager.add_backend("fake", connect)
        table = pd.DataFrame({"title": ["a"]})
        assert manager.run_jobs(table, start, tmp_path / "t.csv") == {"finished": 1}
    assert found.keys() == {"connect", "start", "place", "action"}
    # Without a time limit paths are made where the files are fetched.
    limited = {name for name, cpus in found.items() if cpus != everything}
    assert limited == (set() if seconds else {"place"})
    assert os.sched_getaffinity(0) == everything
