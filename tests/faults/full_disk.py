"""A run on a disk that becomes full, as a program: it needs a mount namespace of its own.

``unshare --map-root-user --mount python -m faults.full_disk FOLDER URL ROOM`` mounts a small file
system at ``FOLDER/disk`` that has so many bytes left, runs until that is not enough, makes room,
runs again, and leaves everything in ``FOLDER``. It tells what happened in ``FOLDER/told.json``.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import traceback
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import openeo

from faults.world import QUICK
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from support.manager_run import output_path, start_job, table

SIZE = 8 << 20
#: Requests of the first run may still be on their way when the second begins.
OPTIONS = replace(QUICK, settle=2.0)


def run(disk: Path, url: str, jobs: int) -> dict[str, int]:
    manager = GFMAPJobManager(
        disk / "out", output_path, collection_id="TEST", poll_sleep=0.05, options=OPTIONS
    )
    connection = openeo.connect(url).authenticate_basic("user", "secret")
    manager.add_backend("fake", connection, parallel_jobs=3)
    return manager.run_jobs(table(jobs), start_job, disk / "tracker.csv")


def main(folder: Path, url: str, room: int, jobs: int) -> None:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], check=True)
    ballast = disk / "ballast"
    ballast.write_bytes(b"\1" * (SIZE - room))
    told: dict[str, object] = {"first": None, "integrity": [], "messages": []}
    try:
        told["counts"] = run(disk, url, jobs)
    except Exception as error:
        told["first"] = [type(error).__name__, str(error)]
        told["traceback"] = traceback.format_exc()
    store = disk / "tracker.csv.sqlite"
    ballast.unlink()
    if store.exists():
        with closing(sqlite3.connect(store)) as database:
            told["integrity"] = database.execute("PRAGMA integrity_check").fetchall()
    told["counts"] = run(disk, url, jobs)
    with closing(sqlite3.connect(store)) as database:
        told["messages"] = database.execute("SELECT row, message FROM jobs").fetchall()
    for path in disk.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy2(path, folder / path.name)
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
