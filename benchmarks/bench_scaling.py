"""Time a job of 200 windows on one and on two workers of a Dask cluster.

    pip install -e .[local,distributed]
    python benchmarks/bench_scaling.py
    python benchmarks/bench_scaling.py --windows 200 --rounds 3 --workers 1 2

The windows are patches of 64 x 64 px, 60 dates and 13 bands, read from local COGs and written as
NetCDF (``reference_work.py``), all over the cut. Each worker is a process with one thread, apart
from the one that leads, as with ``gfmap serve``. One and two workers take turns; medians are shown.

The CPU time of the workers tells what the ratio of wall times lacks to 2: as far as two workers
need more of it than one, blocks were decoded twice, or the CPUs share caches and memory; the rest
is waiting, for the other worker at the end, or for whatever else runs on the machine. The same work
in a pool of processes, without a cluster, stands beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import reference_work as work

# One thread in each process, also in numeric libraries, so that two workers are two CPUs.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "gfmap-bench")
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs=2, default=(1, 2))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        measure(*options.run)
        return
    os.environ.update(THREADS)
    folder = work.prepare(options.data)
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    cpu: dict[int, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for kind in ("cluster", "processes"):
            for workers in options.workers:
                seconds, used = in_process_of_its_own(kind, workers, options.windows, folder)
                times[kind, workers].append(seconds)
                if used:
                    cpu[workers].append(used)
                print(f"{kind:<10} {workers} workers  {seconds:6.1f} s", flush=True)
    few, many = options.workers
    print(f"\n{options.windows} windows, medians of {options.rounds} rounds, {os.cpu_count()} CPUs")
    for kind in ("cluster", "processes"):
        low, high = (statistics.median(times[kind, n]) for n in (few, many))
        print(
            f"{kind:<10} {few}: {low:6.1f} s ({options.windows / low:.1f}/s)   "
            f"{many}: {high:6.1f} s ({options.windows / high:.1f}/s)   ratio {low / high:.2f}"
        )
    one, two = (statistics.median(cpu[n]) for n in (few, many))
    print(f"CPU of the workers   {few}: {one:.1f} s   {many}: {two:.1f} s   x {two / one:.2f}")


def in_process_of_its_own(kind: str, workers: int, windows: int, folder: Path) -> list[float]:
    """Seconds of the job, and CPU seconds of the workers where they are known, else 0."""
    arguments = [kind, str(workers), str(windows), str(folder)]
    answer = subprocess.run(
        [sys.executable, __file__, "--run", *arguments], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise SystemExit(answer.stderr)
    return [float(number) for number in answer.stdout.split()[-2:]]


def measure(kind: str, workers: str, windows: str, folder: str) -> None:
    """Print the seconds that the job takes; what starts only once is started before."""
    count, boxes = int(workers), work.patches("dense", int(windows))
    if kind == "processes":
        print(job(boxes, folder, workers=count), 0)
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        client.wait_for_workers(count)
        client.run(_import_engine)
        before = client.run(time.process_time)
        seconds = job(boxes, folder, scheduler=cluster.scheduler_address)
        after = client.run(time.process_time)
        cpu = sum(after[worker] - before[worker] for worker in before)
        print(seconds, cpu)


def job(boxes: Sequence[tuple[float, float, float, float]], folder: str, **settings: Any) -> float:
    from openeo_gfmap.local.catalog import Catalog
    from openeo_gfmap.local.engine import execute
    from openeo_gfmap.local.engine.plan import Env

    with tempfile.TemporaryDirectory() as out:
        catalog = Catalog.from_settings({"SENTINEL2_L2A": folder}, Path(out))
        env = Env(catalog, **settings)
        started = time.perf_counter()
        result = execute(work.process_graph(boxes), env=env, out_dir=Path(out) / "results")
        if len(result.assets) != len(boxes):
            raise SystemExit(f"{len(result.assets)} files instead of {len(boxes)}")
        return time.perf_counter() - started


def _import_engine() -> None:
    from openeo_gfmap.local.engine import reader, registry, run  # noqa: F401

    registry.all_processes()


if __name__ == "__main__":
    main()
