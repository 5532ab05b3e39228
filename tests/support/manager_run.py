"""One run of the job manager, as a program that can be killed: also used in process."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import openeo
import pandas as pd
import pystac

from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.manager.options import ManagerOptions

GRAPH = {"add1": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
QUICK = ManagerOptions(settle=0.3, longest_wait=0.5, creation_attempts=4)


def table(jobs: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "backend_name": ["cdse"] * jobs,
            "title": [f"job {row}" for row in range(jobs)],
            "geometry": [
                json.dumps({"type": "FeatureCollection", "n": row}) for row in range(jobs)
            ],
        }
    )


def start_job(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
    graph = {"add1": {**GRAPH["add1"], "arguments": {"x": 1, "y": row.title}}}  # one of its own
    return connection.create_job(graph, title=row.title, description="as the user says")


def output_path(root_folder: Path, tmp_path: Path, geometry_index: int, row: pd.Series) -> Path:
    assert tmp_path.is_file()
    return root_folder / row.title.replace(" ", "_") / f"patch_{geometry_index}.nc"


def label(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
    """Rewrite each patch in place, as the reference pipeline does, and add a file to it."""
    for item in items:
        path = Path(next(iter(item.assets.values())).href)
        content = path.read_bytes()
        with path.open("wb") as file:
            file.write(content[:2000])
            file.flush()
            time.sleep(0.005)  # a moment in which a kill leaves half a file
            file.write(content[2000:] + b"rewritten")
        other = path.with_name(f"label_{path.name}")
        other.write_bytes(content)
        item.add_asset("auxiliary", pystac.Asset(href=other.as_posix(), roles=["data"]))
    return items


def manager(folder: Path, url: str, **settings: Any) -> GFMAPJobManager:
    """Return a manager of the folder, on the back-end at the address."""
    settings = {
        "output_path_generator": output_path,
        "collection_id": "TEST",
        "poll_sleep": 0.05,
        "n_threads": 2,
        "options": QUICK,
        **settings,
    }
    made = GFMAPJobManager(folder / "out", **settings)

    def connect() -> openeo.Connection:
        return openeo.connect(url).authenticate_basic("user", "secret")

    made.add_backend("fake", connect, parallel_jobs=3)
    return made


def hang(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
    """Take longer than anybody waits."""
    out = Path(next(iter(items[0].assets.values())).href).parents[2]
    (out / "in_action").touch()
    time.sleep(600)
    return items


def main(folder: str, url: str, jobs: str, how: str = "") -> None:
    action = {"": label, "slow": hang, "plain": None}[how]
    run = manager(Path(folder), url, post_job_action=action)
    run.run_jobs(table(int(jobs)), start_job, Path(folder) / "tracker.csv")
    run.create_stac()


if __name__ == "__main__":
    main(*sys.argv[1:])
