"""Time the job splitters against the ones of openeo-gfmap 0.4.9, in one run.

Both packages have the same import name: the older one is installed from PyPI into a throw-away
virtual environment, and each measurement runs in a process of its own. Without a network only
this package is timed.

    python benchmarks/bench_splitting.py
    python benchmarks/bench_splitting.py --sizes 10000 100000 --output docs/benchmarks/splitting.md
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

PEER = "openeo-gfmap==0.4.9"
# Function and corners of the polygons. Four corners are the least work for the peer, which
# reprojects every vertex twice; 23 is the median of the WorldCereal labels.
CASES = (
    ("split_job_hex", 23),
    ("split_job_hex", 4),
    ("split_job_s2grid", 23),
    ("split_job_s2sphere", 23),
)
# The older split_job_s2grid downloads its grid; it cannot be timed where that is out of reach.
PEER_FUNCTIONS = ("split_job_hex", "split_job_s2sphere")
PEER_PATIENCE = 150.0  # seconds: the peer is not asked for a larger size after a longer run


def make_polygons(count: int, corners: int) -> gpd.GeoDataFrame:
    """Fields of about 300 m all over Europe, EPSG:4326, with three columns of labels."""
    rng = np.random.default_rng(20240307)
    lon, lat = rng.uniform(-10, 30, count), rng.uniform(36, 60, count)
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = 150 / 111_320 * rng.uniform(0.7, 1.3, (count, corners))
    rings = np.stack(
        [
            lon[:, None] + radius * np.cos(angle) / np.cos(np.radians(lat))[:, None],
            lat[:, None] + radius * np.sin(angle),
        ],
        axis=-1,
    )
    labels = {
        "sample_id": np.arange(count).astype(str),
        "croptype_label": rng.integers(0, 20, count),
        "extract": rng.random(count) < 0.5,
    }
    return gpd.GeoDataFrame(labels, geometry=shapely.polygons(rings), crs="EPSG:4326")


def measure(function: str, corners: int, size: int, repeats: int) -> None:
    """Time one function of whichever openeo_gfmap this interpreter has; print JSON."""
    warnings.simplefilter("ignore")  # the peer's warnings would be in the way of its answer
    from openeo_gfmap.manager import job_splitters

    split = getattr(job_splitters, function)
    polygons = make_polygons(size, corners)
    split(polygons.iloc[:100])  # imports and caches
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jobs = split(polygons)
        seconds.append(time.perf_counter() - start)
    rows = sum(len(job) for job in jobs)
    print(json.dumps({"seconds": statistics.median(seconds), "jobs": len(jobs), "rows": rows}))


def run(python: str, function: str, corners: int, size: int, repeats: int) -> dict:
    """Measure in a fresh process of the given interpreter."""
    command = [python, __file__, "--measure", function, str(corners), str(size), str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{function} with {size} polygons failed:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["rows"] != size:
        raise SystemExit(f"{function} returned {result['rows']} of {size} rows")
    return result


def install_peer(folder: Path) -> str | None:
    """Make a virtual environment with the peer; None, with a message, where it cannot be had."""
    print(f"installing {PEER} into a throw-away environment", file=sys.stderr)
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if platform.system() == "Windows" else "bin") / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", PEER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        print(f"{PEER} could not be installed: {reason[0]}; timing ours only", file=sys.stderr)
        return None
    return str(python)


def compare(sizes: list[int], repeats: int, peer: str | None) -> str:
    """Run all measurements; the result as Markdown."""
    lines = []
    for function, corners in CASES:
        lines += [
            f"## {function}, polygons of {corners} corners",
            "",
            "| polygons | jobs | ours, s | ours, µs each | growth | 0.4.9, s | 0.4.9, µs each | "
            "growth | ratio |",
            "|-:|-:|-:|-:|-:|-:|-:|-:|-:|",
        ]
        before: dict[str, tuple[int, float]] = {}
        ask_peer = peer is not None and function in PEER_FUNCTIONS
        for size in sizes:
            ours = run(sys.executable, function, corners, size, repeats)
            cells = [f"{size:,}", f"{ours['jobs']:,}"]
            cells += _columns("ours", size, ours["seconds"], before)
            if ask_peer:
                theirs = run(peer, function, corners, size, repeats)["seconds"]
                cells += _columns("peer", size, theirs, before)
                cells.append(f"{theirs / ours['seconds']:.1f} x")
                ask_peer = theirs < PEER_PATIENCE / 10  # the next size is ten times larger
            else:
                cells += ["", "", "", ""]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr)
        lines.append("")
    return "\n".join(lines)


def _columns(who: str, size: int, seconds: float, before: dict) -> list[str]:
    """Seconds, µs each, and the exponent with which the time grew since the last size."""
    growth = ""
    if who in before:
        last_size, last_seconds = before[who]
        growth = f"{math.log(seconds / last_seconds) / math.log(size / last_size):.2f}"
    before[who] = size, seconds
    return [f"{seconds:.3f}", f"{seconds / size * 1e6:.2f}", growth]


def report(table: str, repeats: int) -> str:
    """Put the table into words."""
    return f"""# Splitting

Made by `python benchmarks/bench_splitting.py`: fields all over Europe in EPSG:4326,
`max_points=500`, a list of GeoDataFrames returned; medians of {repeats} runs, each function and
size in a process of its own, this package and PyPI's {PEER} in turns. "Growth"
is the exponent with which the time grew since the row above: 1 is linear. Where jobs hold only a
few polygons, making the frames is what takes the time. Polygons of 23 corners are like the
WorldCereal labels (their median); those of 4 corners are the least work for the older version,
which brings every vertex to another CRS and back.

Python {platform.python_version()}, numpy {np.__version__}, shapely {shapely.__version__}, \
geopandas {gpd.__version__}, {os.cpu_count()} cores.
The older `split_job_s2grid` is left out: it downloads its grid. The older `split_job_s2sphere`
goes through the rows in Python and is not asked for sizes that would take more than two minutes.

{table}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the result to this file")
    parser.add_argument("--peer-python", help="interpreter that has the peer installed already")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], *map(int, args.measure[1:]))
        return
    with tempfile.TemporaryDirectory() as folder:
        peer = args.peer_python or install_peer(Path(folder) / "peer")
        text = report(compare(sorted(args.sizes), args.repeats, peer), args.repeats)
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
