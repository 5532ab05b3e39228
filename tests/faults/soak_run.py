"""The run that is killed again and again; always the same one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import openeo
import openeo.rest.job
import pandas as pd
import pystac
import xarray  # noqa: F401 - imported before the forks, as are those that the manager imports late

from openeo_gfmap.manager import netcdf
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.quality import QualityGates
from support.manager_run import label, output_path, start_job, table

assert netcdf.describe
OPTIONS = ManagerOptions(settle=0.1, longest_wait=0.2)
GATES = QualityGates(crs="EPSG:32631")


def beside(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
    """Add a file to each patch, and leave the patch as it is."""
    for item in items:
        path = Path(next(iter(item.assets.values())).href)
        other = path.with_name(f"label_{path.name}")
        other.write_bytes(b"label of " + path.read_bytes()[:100])
        item.add_asset("auxiliary", pystac.Asset(href=other.as_posix(), roles=["data"]))
    return items


def run(folder: Path, url: str, jobs: int, *, rewrite: bool, gated: bool) -> None:
    manager = GFMAPJobManager(
        folder / "out",
        output_path,
        collection_id="SOAK",
        post_job_action=label if rewrite else beside,
        poll_sleep=0.01,
        n_threads=2,
        options=replace(OPTIONS, gates=GATES) if gated else OPTIONS,
    )
    connection = openeo.connect(url)
    connection.authenticate_basic("user", "secret")
    manager.add_backend("fake", connection, parallel_jobs=4)
    manager.run_jobs(table(jobs), start_job, folder / "tracker.csv")
