"""Run jobs with one job manager and say what that took; a process of its own for each run.

`bench_manager.py` starts it with the interpreter that has the manager to be measured:

    python benchmarks/manager_run.py ours 50 http://127.0.0.1:1234 /some/folder

It prints one line of JSON. Imports, the making of the table and the log-in are not counted; the
memory is that of the whole process.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import resource
import sys
import time
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import openeo
import pystac
import shapely

FEATURES = 20
CORNERS = 52  # of each: makes 40 kB of WKT a row
PLACES = 1000
PARALLEL = 20
BACKEND = "instant"


def make_table(count: int) -> gpd.GeoDataFrame:
    """One row a job: a MultiPolygon of its features, in degrees, and what jobs are named by.

    From 1,000 rows on places are used again, as for several years: the memory that is measured is
    to be the manager's, not the table's.
    """
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    rng = np.random.default_rng(20240307)
    geometries = []
    for _ in range(min(count, PLACES)):
        centres = rng.uniform([3.0, 50.0], [5.0, 52.0], (FEATURES, 1, 2))
        radii = 0.002 * rng.uniform(0.7, 1.3, (FEATURES, CORNERS, 1))
        rings = centres + radii * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        geometries.append(shapely.multipolygons(shapely.polygons(rings)))
    places = [geometries[n % PLACES] for n in range(count)]
    columns = {"name": [f"job-{n:05d}" for n in range(count)], "backend_name": BACKEND}
    return gpd.GeoDataFrame(columns, geometry=places, crs="EPSG:4326")


def start_job(row, connection, **_):
    """Make a job with a graph that costs the client nothing."""
    graph = {
        "load": {
            "process_id": "load_collection",
            "arguments": {"id": "SENTINEL2_L2A", "spatial_extent": None, "temporal_extent": None},
            "result": True,
        }
    }
    return connection.create_job(graph, title=str(row["name"]))


def run_ours(table, connection, folder: Path) -> int:
    from openeo_gfmap.manager.job_manager import GFMAPJobManager

    manager = GFMAPJobManager(
        folder,
        lambda root_folder, geometry_index, row: (
            root_folder / row["name"] / f"patch_{geometry_index}.nc"
        ),
        collection_id="bench",
        poll_sleep=0,
    )
    manager.add_backend(BACKEND, connection, parallel_jobs=PARALLEL)
    counts = manager.run_jobs(table, start_job, folder / "jobs.csv")
    return counts.get("finished", 0)


def run_openeo(table, connection, folder: Path) -> int:
    from openeo.extra.job_management import MultiBackendJobManager

    manager = MultiBackendJobManager(poll_sleep=0, root_dir=folder)
    manager.add_backend(BACKEND, connection, parallel_jobs=PARALLEL)
    manager.run_jobs(df=table, start_job=start_job, job_db=folder / "jobs.csv")
    # It says "finished" before the files are there; it is the files that were asked for.
    return len({path.parent for path in folder.rglob("openEO_2.nc")})


def run_gfmap(table, connection, folder: Path) -> int:
    from pystac.validation import RegisteredValidator

    from openeo_gfmap.manager.job_manager import GFMAPJobManager
    from openeo_gfmap.stac.constants import LICENSE, STAC_EXTENSIONS

    # It validates all items after each job. The schemas of extensions would come from the network:
    # it is given empty ones, and has less to do.
    validator = RegisteredValidator.get_validator()
    schema = {"$schema": "http://json-schema.org/draft-07/schema#"}
    validator.schema_cache.update(dict.fromkeys(STAC_EXTENSIONS, schema))
    # A collection that it makes itself has no extent, and fails there.
    extent = pystac.Extent.from_dict(
        {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2021-01-01T00:00:00Z", None]]},
        }
    )
    empty = pystac.Collection("bench", "Empty.", extent, license=LICENSE)
    empty.normalize_hrefs(str(folder / "stac"))
    empty.save(pystac.CatalogType.SELF_CONTAINED)
    manager = GFMAPJobManager(
        folder,
        lambda root, index, row, asset: root / row["name"] / f"patch_{index}.nc",
        stac=folder / "stac" / "collection.json",
        poll_sleep=0,
    )
    manager.add_backend(BACKEND, connection, parallel_jobs=PARALLEL)
    manager.run_jobs(table, start_job, folder / "jobs.csv")
    return len({path.parent for path in folder.rglob("patch_2.nc")})


RUNS = {"ours": run_ours, "openeo": run_openeo, "gfmap": run_gfmap}
MODULES = {
    "ours": ["openeo_gfmap.manager.job_manager"],
    "openeo": ["openeo.extra.job_management"],
    "gfmap": ["openeo_gfmap.manager.job_manager", "pystac.validation"],
}


def written() -> float:
    """Bytes this process has written to files so far; not a number where the system is silent."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return math.nan
    return float(dict(line.split(": ") for line in lines)["wchar"])


def memory(peak: bool) -> float:
    """Bytes of memory in use, now or at most so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        # Elsewhere only the peak is told.
        unit = 1 if sys.platform == "darwin" else 1024
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    fields = dict(line.split(":", 1) for line in lines)
    return float(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024


def main(who: str, count: int, url: str, folder: Path) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for module in MODULES[who]:
        importlib.import_module(module)
    table = make_table(count)
    connection = openeo.connect(url)
    before = memory(peak=False)
    bytes_before, cpu, wall = written(), time.process_time(), time.perf_counter()
    done = RUNS[who](table, connection, folder)
    result = {
        "done": done,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "written": written() - bytes_before,
        "memory": memory(peak=True),
        "memory_before": before,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
