"""Measure what the job manager costs, against openeo's and openeo-gfmap 0.4.7's, in one run.

A local back-end whose jobs take no time (``instant_openeo.py``, a process of its own) runs 50 to
10,000 jobs of 20 features with 3 result files each. Each run of a manager is a process of its own
(``manager_run.py``). The peers are installed by pip into throw-away virtual environments; without
a network only ours is measured.

    python benchmarks/bench_manager.py
    python benchmarks/bench_manager.py --sizes 50 200 --openeo-sizes 50 --gfmap-sizes 12
    python benchmarks/bench_manager.py --output docs/benchmarks/manager.md
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import linear_regression

import numpy as np
import pandas as pd
import xarray as xr
from pyproj import CRS

HERE = Path(__file__).parent
# Both peers in the state in which their users had them; pystac's validation is what 0.4.7 needs
# without saying so.
PEERS = {
    "openeo": ("openeo==0.53.0",),
    "gfmap": ("openeo-gfmap==0.4.7", "openeo==0.35.0", "pystac[validation]"),
}
NAMES = {
    "ours": "openeo-gfmap (this)",
    "openeo": "openeo 0.53 MultiBackendJobManager",
    "gfmap": "openeo-gfmap 0.4.7 with openeo 0.35",
}
TARGETS = """Wanted: exponents of at most 1.1, less than 500 MB at 10,000 jobs, at most 10 requests
a job; at 200 jobs at least 10 times less time and 50 times fewer bytes than openeo's."""


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes
    ----------
    who, jobs
        Manager and number of jobs.
    done
        Jobs whose files are there; None when the run was cut off.
    wall, cpu
        Seconds, and seconds of CPU, of the process with the manager.
    written
        Bytes that it wrote to files, the result files among them.
    memory, memory_before
        Most bytes in use, and those in use when the table was made.
    requests
        Number of requests by endpoint, without the log-in.
    """

    who: str
    jobs: int
    done: int | None
    wall: float
    cpu: float = math.nan
    written: float = math.nan
    memory: float = math.nan
    memory_before: float = math.nan
    requests: dict[str, int] | None = None

    @property
    def requests_per_job(self) -> float:
        return sum(self.requests.values()) / self.jobs if self.requests else math.nan


def make_result(path: Path) -> None:
    """Write a result file as a back-end would: NetCDF, 2 dates, 2 bands, 32 x 32 pixels of 10 m."""
    rng = np.random.default_rng(20240307)
    centres = 10 * np.arange(32.0) + 5
    bands = {
        band: (("t", "y", "x"), rng.integers(0, 10_000, (2, 32, 32), dtype=np.uint16))
        for band in ("B04", "B08")
    }
    times = pd.to_datetime(["2021-05-01", "2021-05-11"]).to_numpy()
    labels = {"t": times, "y": 5_640_000 - centres, "x": 550_000 + centres}
    cube = xr.Dataset(bands, coords=labels)
    cube["crs"] = xr.DataArray(0, attrs={"crs_wkt": CRS.from_epsg(32631).to_wkt()})
    cube.to_netcdf(path, engine="h5netcdf")


@contextmanager
def back_end(result: Path) -> Iterator[str]:
    """Start a back-end; give its address."""
    command = [sys.executable, str(HERE / "instant_openeo.py"), str(result)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def run(who: str, python: str, jobs: int, folder: Path, patience: float) -> Run:
    """Run jobs with a manager in a process of its own."""
    result = folder / "result.nc"
    if not result.exists():
        make_result(result)
    work = folder / f"{who}-{jobs}"
    work.mkdir()
    print(f"{NAMES[who]}, {jobs:,} jobs …", file=sys.stderr)
    try:
        with back_end(result) as url:
            command = [python, str(HERE / "manager_run.py"), who, str(jobs), url, str(work)]
            # A path to this package must not lead the peer of the same name astray.
            hidden = ("PYTHONPATH",) if who in PEERS else ()
            environment = {k: v for k, v in os.environ.items() if k not in hidden}
            try:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=patience,
                    env=environment,
                )
            except subprocess.TimeoutExpired:
                return Run(who, jobs, None, patience)
            with urllib.request.urlopen(f"{url}/counts", timeout=30) as response:
                counts = json.load(response)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if done.returncode:
        raise SystemExit(f"{NAMES[who]} failed with {jobs} jobs:\n{done.stderr[-3000:]}")
    measured = json.loads(done.stdout.splitlines()[-1])
    if who == "ours" and measured["done"] != jobs:
        raise SystemExit(f"only {measured['done']} of {jobs} jobs were finished")
    log_in = ("GET /", "GET /.well-known/openeo")
    asked = {name: count for name, count in counts["requests"].items() if name not in log_in}
    print(f"  {measured['wall']:.1f} s; the back-end {counts['cpu']:.1f} s CPU", file=sys.stderr)
    return Run(who, jobs, requests=asked, **measured)


def install(who: str, folder: Path) -> str | None:
    """Make a virtual environment with a peer; None, with a message, where it cannot be had."""
    print(f"installing {' '.join(PEERS[who])} into a throw-away environment", file=sys.stderr)
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if platform.system() == "Windows" else "bin") / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", *PEERS[who]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        print(f"{NAMES[who]} could not be installed: {reason[0]}", file=sys.stderr)
        return None
    return str(python)


def exponent(runs: Sequence[Run], measure: str) -> float:
    """Return the power of the number of jobs with which something grows."""
    whole = [each for each in runs if each.done is not None]
    if len(whole) < 2:
        return math.nan
    sizes = [math.log(each.jobs) for each in whole]
    return linear_regression(sizes, [math.log(getattr(each, measure)) for each in whole]).slope


def number(value: float, digits: int = 0, unit: str = "") -> str:
    return "" if math.isnan(value) else f"{value:,.{digits}f}{unit}"


def table(runs: Sequence[Run]) -> str:
    """Put the runs of one manager into a table."""
    lines = [
        "| jobs | wall, s | CPU, s | CPU ms a job | MB written | kB a job | peak MB | "
        "of it the manager's | requests a job | files there |",
        "|-:|-:|-:|-:|-:|-:|-:|-:|-:|-:|",
    ]
    for each in runs:
        cut = each.done is None
        cells = [
            f"{each.jobs:,}",
            f"more than {each.wall:.0f}" if cut else number(each.wall, 1),
            number(each.cpu, 1),
            number(each.cpu / each.jobs * 1e3, 1),
            number(each.written / 1e6, 1),
            number(each.written / each.jobs / 1e3),
            number(each.memory / 1e6),
            number((each.memory - each.memory_before) / 1e6),
            number(each.requests_per_job, 2),
            "" if cut else f"{each.done:,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    wall, cpu = exponent(runs, "wall"), exponent(runs, "cpu")
    if not math.isnan(wall):
        lines += ["", f"Growth with the number of jobs: wall {wall:.2f}, CPU {cpu:.2f}."]
    return "\n".join(lines)


def comparison(runs: Sequence[Run]) -> str:
    """Compare ours with each peer at sizes that both did."""
    ours = {each.jobs: each for each in runs if each.who == "ours"}
    lines = []
    for each in runs:
        if each.who != "ours" and each.jobs in ours:
            our = ours[each.jobs]
            at_least = "at least " if each.done is None else ""
            told = f"{at_least}{each.wall / our.wall:.1f} times the time"
            if not math.isnan(each.written):
                told += f", {each.written / our.written:.0f} times the bytes written"
            lines.append(f"- {NAMES[each.who]}, {each.jobs:,} jobs: {told}.")
    return "\n".join(lines)


def report(runs: Sequence[Run]) -> str:
    """Put the result into words."""
    parts = []
    for who, name in NAMES.items():
        own = [each for each in runs if each.who == who]
        if own:
            parts += [f"## {name}", "", table(own), ""]
    ours = [each for each in runs if each.who == "ours" and each.requests]
    if ours:
        largest = max(ours, key=lambda each: each.jobs)
        parts += [f"Requests of ours at {largest.jobs:,} jobs:", ""]
        parts += [f"- `{name}`: {count:,}" for name, count in sorted(largest.requests.items())]
        parts.append("")
    if compared := comparison(runs):
        parts += ["## Compared", "", compared, ""]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("openeo", "pandas"))
    return f"""# The job manager

Made by `python benchmarks/bench_manager.py`: a back-end on the same machine whose jobs take no
time, 20 jobs at once. A row is a name and a MultiPolygon of 20 features with 40 kB of WKT (of 1,000
places, which larger tables use again); a job has 3 NetCDF files of 17 kB. All that is left is what
the manager itself does: asking, downloading, checking, describing the files in STAC, and
remembering. `poll_sleep=0`. The back-end is a process of its own, which the tables leave out; so is
each run of a manager. What is written includes the result files. Peak memory is that of the
process, with all imports and the user's table; the column beside it is what came on top of those.
The exponent of growth is the slope of a line through the logarithms of all sizes: 1 is linear.

{TARGETS}

Python {platform.python_version()}, {versions}, {os.cpu_count()} cores.
openeo-gfmap 0.4.7 validates all items after each job; the schemas of extensions, which it would
fetch from the network, are left out here, which spares it work.

{chr(10).join(parts)}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[50, 200, 800, 3200, 10_000])
    parser.add_argument("--openeo-sizes", type=int, nargs="*", default=[50, 200, 800])
    parser.add_argument("--gfmap-sizes", type=int, nargs="*", default=[12, 25, 50])
    parser.add_argument("--patience", type=float, default=400.0, help="seconds for a peer's run")
    parser.add_argument("--openeo-python", help="interpreter that has openeo 0.53")
    parser.add_argument("--gfmap-python", help="interpreter that has openeo-gfmap 0.4.7")
    parser.add_argument("--output", type=Path, help="also write the result to this file")
    args = parser.parse_args()
    sizes = {"ours": args.sizes, "openeo": args.openeo_sizes, "gfmap": args.gfmap_sizes}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pythons: dict[str, str | None] = {"ours": sys.executable}
        for who in PEERS:
            given = getattr(args, f"{who}_python")
            pythons[who] = given or (install(who, folder / who) if sizes[who] else None)
        # In turns, so that a slow moment of the machine does not hit one manager only.
        wanted = sorted((jobs, who) for who in NAMES for jobs in sizes[who] if pythons[who])
        runs = []
        for jobs, who in wanted:
            patience = args.patience if who in PEERS else 3600.0
            runs.append(run(who, str(pythons[who]), jobs, folder, patience))
    text = report(runs)
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
