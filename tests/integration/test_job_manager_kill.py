"""A manager that is really killed, at any moment, and the same command again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pystac
import pytest

from support.fake_backend import FakeBackend, Script, fake_backend
from support.manager_run import table
from support.patches import patch_bytes

TESTS = Path(__file__).parents[1]
JOBS = 8


@pytest.fixture
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeBackend]:
    folder = tmp_path_factory.mktemp("patches")
    with fake_backend() as running:
        files = {f"openEO_{n}.nc": patch_bytes(folder, seed=n, size=60) for n in range(3)}
        running.default = Script(assets=files)
        yield running


def start(folder: Path, backend: FakeBackend, *how: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "support.manager_run"]
    command = [*program, str(folder), backend.url, str(JOBS), *how]
    return subprocess.Popen(command, cwd=TESTS, text=True, stderr=subprocess.PIPE)


def finish(folder: Path, backend: FakeBackend) -> None:
    process = start(folder, backend)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def kill_when(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    """Kill the process as soon as the moment has come; it may have ended before."""
    deadline = time.monotonic() + 60
    while process.poll() is None and not moment() and time.monotonic() < deadline:
        time.sleep(0.001)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def check(folder: Path, backend: FakeBackend) -> None:
    """Nothing lost, nothing twice, nothing broken."""
    assert backend.created() == {f"job {row}": 1 for row in range(JOBS)}
    assert backend.started() == {f"job {row}": 1 for row in range(JOBS)}
    tracker = pd.read_csv(folder / "tracker.csv")
    assert list(tracker.title) == list(table(JOBS).title)
    assert list(tracker.geometry) == list(table(JOBS).geometry)
    assert set(tracker.status) == {"finished"}
    assert tracker.id.is_unique
    expected = {
        f"{kind}{n}.nc": content + tail
        for n, content in enumerate(backend.default.assets.values())
        for kind, tail in (("patch_", b"rewritten"), ("label_patch_", b""))
    }
    for row in range(JOBS):
        found = {path.name: path.read_bytes() for path in (folder / f"out/job_{row}").iterdir()}
        assert found == expected
    collection = pystac.Collection.from_file(str(folder / "out" / "stac" / "collection.json"))
    items = list(collection.get_items())
    assert len({item.id for item in items}) == len(items) == 3 * JOBS
    assert all(set(item.assets) == {"sentinel2", "auxiliary"} for item in items)
    assert not list((folder / "out").rglob("*.part"))


def test_killed_at_telling_moments(tmp_path: Path, backend: FakeBackend) -> None:
    """Each moment is one after which something has happened that the process did not yet store."""
    requests = backend.requests
    tracker = tmp_path / "tracker.csv"
    moments: list[Callable[[], bool]] = [
        (tmp_path / "tracker.csv.sqlite").exists,
        lambda: len(backend.jobs) >= 1,
        lambda: requests["POST /jobs/{id}/results"] >= 2,
        lambda: sum(requests[f"GET /files/{{id}}/openEO_{n}.nc"] for n in range(3)) >= 2,
        lambda: bool(list((tmp_path / "out").rglob("patch_1.nc"))),
        lambda: bool(list((tmp_path / "out").rglob("label_patch_*.nc"))),
        lambda: len(backend.jobs) >= 6,
        lambda: tracker.exists() and "finished" in tracker.read_text(),
        (tmp_path / "out" / "stac" / "items").exists,
    ]
    for moment in moments:
        kill_when(start(tmp_path, backend), moment)
    finish(tmp_path, backend)
    check(tmp_path, backend)
    untouched = backend.requests.copy()
    finish(tmp_path, backend)  # there is nothing left to do
    assert not {path for path in (backend.requests - untouched) if "{id}" in path}
    check(tmp_path, backend)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(tmp_path: Path, backend: FakeBackend, seed: int) -> None:
    moments = random.Random(seed)
    for _ in range(5):
        begun = sum(backend.requests.values())
        more = moments.randrange(1, 40)
        delay = moments.random() * 0.02
        kill_when(
            start(tmp_path, backend), lambda n=begun + more: sum(backend.requests.values()) >= n
        )
        time.sleep(delay)
    finish(tmp_path, backend)
    check(tmp_path, backend)


def test_the_second_ctrl_c_stops_at_once(tmp_path: Path, backend: FakeBackend) -> None:
    """Although a post-job action is under way that would take much longer."""
    process = start(tmp_path, backend, "slow")
    deadline = time.monotonic() + 60
    while not (tmp_path / "in_action").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    process.communicate(timeout=30)
    assert time.monotonic() - asked < 5
    assert process.returncode != 0
    finish(tmp_path, backend)
    check(tmp_path, backend)
