"""What happens to the process: Ctrl-C, a full disk, a clock that jumps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from faults.proxy import UNAVAILABLE, Fault, Slow, until
from faults.world import World

HERE = Path(__file__).parent
TESTS = HERE.parent


def start(world: World, *how: str, **environment: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "support.manager_run", str(world.folder), world.proxy.url]
    return subprocess.Popen(
        [*program, str(world.jobs), *how], cwd=TESTS, text=True, stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )  # fmt: skip


# --------------------------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_ends_a_run_that_says_how_to_go_on(world: World) -> None:
    """What is in hand is finished; jobs on the back-end run on."""
    world.jobs = 12
    world.backend.page = 50
    world.fail(Fault("GET /files/.*", Slow(0.2), None))
    process = start(world, "plain")
    until(lambda: world.backend.requests["GET /files/{id}/openEO_0.nc"] >= 2)
    process.send_signal(signal.SIGINT)
    made = len(world.backend.jobs)
    _, errors = process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGINT) or "KeyboardInterrupt" in errors
    (farewell,) = [line for line in errors.splitlines() if line.startswith("KeyboardInterrupt")]
    assert "nothing is lost" in farewell and "Run the same again to resume" in farewell
    assert "on fake" in farewell  # where jobs still run
    assert len(world.backend.jobs) <= made + 3
    rows = world.rows()
    assert {"finished", "not_started"} <= set(rows.status)
    assert len(world.items()) == 2 * int((rows.status == "finished").sum())
    world.fail()
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)


def test_ctrl_c_while_the_back_end_is_away_ends_the_run(world: World) -> None:
    world.fail(Fault(".*jobs.*", UNAVAILABLE, None))
    process = start(world, "plain")
    until(lambda: world.proxy.harmed() >= 4)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "Run the same again to resume" in errors
    world.fail()
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)


def test_the_second_ctrl_c_stops_at_once(world: World) -> None:
    process = start(world, "slow")
    until((world.folder / "in_action").exists)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    process.communicate(timeout=30)
    assert time.monotonic() - asked < 5 and process.returncode != 0
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)


# ------------------------------------------------------------------------------------- full disk


@pytest.fixture
def mounts(tmp_path: Path) -> list[str]:
    """Return the command that gives a program mounts of its own; skip where it may not."""
    command = ["unshare", "--map-root-user", "--mount"]
    probe = [*command, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("this system lets users mount nothing, so that no disk can be made full")
    return command


@pytest.mark.parametrize("room", [8, 40, 80, 120, 160, 260], ids=lambda room: f"{room} KiB left")
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(
    world: World, mounts: list[str], room: int
) -> None:
    """While the store is made, while files come, while the tracker or the catalogue is written."""
    world.jobs = 8
    folder = world.folder
    program = [sys.executable, "-m", "faults.full_disk", str(folder), world.proxy.url]
    done = subprocess.run(
        [*mounts, *program, str(room << 10), str(world.jobs)],
        cwd=TESTS, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "told.json").read_text())
    assert told["first"] is not None, "the disk was not full"
    assert told["counts"] == {"finished": world.jobs}, told
    kind, message = told["first"]
    assert kind == "OSError", told["traceback"]
    assert "No space left" in message or "is full" in message
    assert told["integrity"] in ([], [["ok"]])
    shutil.rmtree(folder / "disk")
    world.check()


# ---------------------------------------------------------------------------------------- clocks


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library that lets a process's wall clock jump."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler on Linux, so that no clock can be made to jump")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, HERE / "clock.c", "-ldl"], check=True
    )
    return library


@pytest.mark.parametrize("jump", [-86_400 * 400, -3600, 3600, 86_400 * 400])
def test_a_clock_that_jumps_breaks_no_timer(world: World, clock: Path, jump: int) -> None:
    """It is set while jobs are created, run and are waited for; answers get lost meanwhile."""
    world.backend.default.states = ("queued", "running", "running", "running", "finished")
    world.jobs = 8
    world.fail(
        Fault("POST /jobs", UNAVAILABLE, 2, each=False, done=True),
        Fault("GET /jobs.*", UNAVAILABLE, None, share=0.2),
    )
    file = world.folder / "clock"
    file.write_text("0")
    process = start(world, "plain", LD_PRELOAD=str(clock), CLOCK_FILE=str(file))

    def set_clock() -> None:
        until(lambda: len(world.backend.jobs) >= 3)
        file.write_text(str(jump))
        until(lambda: len(world.backend.jobs) >= 6)
        file.write_text("0")

    setter = threading.Thread(target=set_clock, daemon=True)
    setter.start()
    _, errors = process.communicate(timeout=120)
    setter.join()
    assert process.returncode == 0, errors
    world.check()


@pytest.mark.parametrize("ahead", [-86_400 * 3, 86_400 * 3])
def test_a_clock_that_is_wrong_makes_no_second_job(world: World, clock: Path, ahead: int) -> None:
    """The list says when its jobs were made, but not whose they are; that goes by both clocks."""
    world.jobs = 3
    world.backend.describe_in_list = False
    world.fail(Fault("POST /jobs", UNAVAILABLE, 2, each=False, done=True))
    file = world.folder / "clock"
    file.write_text(str(ahead))
    process = start(world, "plain", LD_PRELOAD=str(clock), CLOCK_FILE=str(file))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    world.check()


@pytest.mark.parametrize("described", [True, False])
def test_a_clock_that_jumped_between_two_runs_makes_no_second_job(
    world: World, clock: Path, described: bool
) -> None:
    """The first run is killed while a creation is under way; the second lives in another year."""
    world.jobs = 3
    world.backend.describe_in_list = described
    file = world.folder / "clock"
    for jump in (0, -86_400 * 400, 86_400 * 400):
        file.write_text(str(jump))
        world.fail(Fault("POST /jobs", Slow(1.0), None, done=True))
        process = start(world, "plain", LD_PRELOAD=str(clock), CLOCK_FILE=str(file))
        known = world.proxy.asked("POST /jobs")
        until(
            lambda n=known, p=process: world.proxy.asked("POST /jobs") > n or p.poll() is not None
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
    world.fail()
    assert world.run() == {"finished": world.jobs}
    world.check()
