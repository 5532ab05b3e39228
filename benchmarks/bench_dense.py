"""Time a monthly median composite of a whole scene cut against odc-stac with dask.

    pip install -e .[local,benchmarks]
    python benchmarks/bench_dense.py
    python benchmarks/bench_dense.py --rounds 3 --mask dilation

2,048 x 2,048 px, 60 dates, five bands and the scene classification (SCL) of ``reference_work.py``;
cloudy pixels are masked, by their class or by openEO's dilation of it, and the median of each
month goes to one COG. Each measurement runs in processes of its own, all in turn, several rounds;
medians are shown. Memory is the peak of what all processes of a measurement hold together (PSS,
polled). The files are compared at the end: pixel by pixel they must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import reference_work as work

BANDS = ("B02", "B03", "B04", "B08", "B11")
SPAN = ("2023-01-01", "2023-06-01")
OFFSET = 1000  # since processing baseline 04.00; the engine takes it off
CLOUDY = [0, 1, 3, 8, 9, 10, 11]
MEMORY = 250_000_000  # of each of two workers, for the arrays of a tile
CACHE = 256 * 2**20  # of each, for decoded blocks


def engine(folder: Path, target: Path, mask: str, side: int, workers: int = 2) -> None:
    """The process graph, as a job runs it."""
    from openeo_gfmap.local.catalog import Catalog
    from openeo_gfmap.local.engine import execute
    from openeo_gfmap.local.engine.plan import Env
    from openeo_gfmap.local.engine.reader import Reader

    with tempfile.TemporaryDirectory(dir=target.parent) as out:
        catalog = Catalog.from_settings({"SENTINEL2_L2A": str(folder)}, Path(out))
        open_reader = partial(Reader, cache_bytes=CACHE)
        env = Env(catalog, workers=workers, memory=MEMORY, open_reader=open_reader)
        result = execute(process_graph(mask, side), env=env, out_dir=Path(out) / "results")
        (asset,) = result.assets
        (Path(out) / "results" / asset.name).replace(target)


def process_graph(mask: str, side: int) -> dict[str, Any]:
    """Load, mask, monthly medians, all months as bands of one file."""

    def callback(process: str, **arguments: Any) -> dict[str, Any]:
        node = {"process_id": process, "arguments": arguments, "result": True}
        return {"process_graph": {"node": node}}

    extent = {
        "west": work.WEST, "east": work.WEST + 10 * side, "north": work.NORTH,
        "south": work.NORTH - 10 * side, "crs": work.EPSG,
    }  # fmt: skip
    steps: dict[str, tuple[str, dict[str, Any]]] = {
        "load": ("load_collection", {
            "id": "SENTINEL2_L2A", "spatial_extent": extent, "bands": [*BANDS, "SCL"],
            "temporal_extent": list(SPAN),
        }),
        "scl": ("filter_bands", {"data": {"from_node": "load"}, "bands": ["SCL"]}),
        "cloudy": ("apply", {"data": {"from_node": "scl"}, "process": callback(
            "array_contains", data=CLOUDY, value={"from_parameter": "x"}
        )}),
        "bands": ("filter_bands", {"data": {"from_node": "load"}, "bands": list(BANDS)}),
        "clear": ("mask", {"data": {"from_node": "bands"}, "mask": {"from_node": "cloudy"}}),
    }  # fmt: skip
    if mask == "dilation":
        steps["cloudy"] = ("to_scl_dilation_mask", {"data": {"from_node": "scl"}})
    steps |= {
        "monthly": ("aggregate_temporal_period", {
            "data": {"from_node": "clear"}, "period": "month",
            "reducer": callback("median", data={"from_parameter": "data"}),
        }),
        "flat": ("flatten_dimensions", {
            "data": {"from_node": "monthly"}, "dimensions": ["t", "bands"],
            "target_dimension": "composites",
        }),
        "save": ("save_result", {"data": {"from_node": "flat"}, "format": "GTiff"}),
    }  # fmt: skip
    graph: dict[str, Any] = {
        id: {"process_id": process, "arguments": arguments}
        for id, (process, arguments) in steps.items()
    }
    graph["save"]["result"] = True
    return graph


def odc_stac(folder: Path, target: Path, mask: str, side: int) -> None:
    """odc.stac.load in chunks, xarray's resample and median, dask's threads, odc-geo's COG."""
    import dask
    import odc.geo.xr
    import odc.stac
    import pystac
    import xarray as xr
    from odc.geo.cog import write_cog
    from odc.geo.geobox import GeoBox

    items = json.loads((folder / "items.json").read_text())["features"]
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = str(folder / asset["href"])
    west, north = work.WEST, work.NORTH
    box = (west, north - 10 * side, west + 10 * side, north)
    data = odc.stac.load(
        [pystac.Item.from_dict(item) for item in items], bands=[*BANDS, "SCL"],
        geobox=GeoBox.from_bbox(box, f"EPSG:{work.EPSG}", resolution=10), groupby="time",
        chunks={"x": 512, "y": 512},
    ).chunk(time=-1)  # fmt: skip
    if mask == "dilation":
        cloudy = xr.apply_ufunc(
            dilated, data.SCL.chunk(time=1, y=-1, x=-1), dask="parallelized", output_dtypes=[bool]
        ).chunk(time=-1, y=512, x=512)
    else:
        cloudy = data.SCL.isin(CLOUDY)
    bands = data[list(BANDS)].to_dataarray("band")
    clear = bands.where(~cloudy & (bands != 0)).astype("float32")
    reflectance = (clear - OFFSET).clip(min=0)
    monthly = reflectance.resample(time="MS").median()
    flat = monthly.transpose("time", "band", "y", "x").stack(composite=("time", "band"))
    with dask.config.set(scheduler="threads", num_workers=2):
        computed = flat.transpose("composite", "y", "x").reset_index("composite").compute()
    write_cog(computed.drop_vars(["time", "band"]), str(target), overwrite=True, nodata=np.nan)


def dilated(frames: np.ndarray) -> np.ndarray:
    """openEO's dilation as most would write it: scipy's convolution by FFT."""
    from scipy.signal import fftconvolve

    out = np.zeros(frames.shape, dtype=bool)
    for frame, masked in zip(frames, out, strict=True):
        for size, limit, classes, inside in (
            (17, 0.057, (2, 4, 5, 6, 7), False), (77, 0.025, (3, 8, 9, 10, 11), True)
        ):  # fmt: skip
            offsets = np.arange(size) - size // 2
            squares = offsets[:, None] ** 2 + offsets**2
            kernel = np.floor(10000 * np.exp(-squares / (2 * (size / 6) ** 2)))
            found = np.isin(frame, classes) == inside
            sums = np.rint(fftconvolve(found.astype(float), kernel, mode="same"))
            nothing_clear = size == 17 and found.all()
            np.logical_or(masked, nothing_clear | (sums / kernel.sum() > limit), out=masked)
    return out


READERS: dict[str, Callable[..., None]] = {"engine": engine, "odc-stac + dask": odc_stac}


def run(name: str, folder: Path, target: Path, mask: str, side: int) -> dict[str, float]:
    """Run one reader in processes of its own and watch them."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, __file__, "--measure", name, str(folder), str(target), mask, str(side)],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = [0.0, 0.0]  # memory, CPU seconds
    done = threading.Event()

    def watch() -> None:
        spent: dict[int, float] = {}
        while not done.wait(0.1):
            members = _members(child.pid)
            peak[0] = max(peak[0], sum(_pss(pid) for pid in members))
            spent.update({pid: cpu for pid, cpu in members.items() if cpu > spent.get(pid, 0)})
            peak[1] = sum(spent.values())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _, errors = child.communicate()
    finally:
        done.set()
        watcher.join()
        for pid in _members(child.pid):  # none, unless this was interrupted
            os.kill(pid, signal.SIGKILL)
    if child.returncode:
        raise SystemExit(f"{name} failed:\n{errors}")
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu": peak[1], "memory": peak[0] / 1e6}


def _members(session: int) -> dict[int, float]:
    """Return the processes of a session, with the CPU seconds that each has used."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == session:
            found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "gfmap-bench",
                        help="where the files are kept")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mask", choices=["classes", "dilation"], default="classes")
    parser.add_argument("--side", type=int, default=2048, help="pixels along the cut")
    parser.add_argument("--only", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        name, folder, target, mask, side = args.measure
        READERS[name](Path(folder), Path(target), mask, int(side))
        return
    folder = work.prepare(args.data)
    for file in folder.iterdir():  # into the page cache, for all alike
        file.read_bytes()
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=args.data) as out:
        targets = {name: Path(out) / f"{number}.tif" for number, name in enumerate(args.only)}
        for _ in range(args.rounds):
            for name, target in targets.items():
                found[name].append(run(name, folder, target, args.mask, args.side))
        report(args.mask, found)
        compare(list(targets.values()))


def compare(files: list[Path]) -> None:
    """End the program where pixels differ."""
    import rasterio

    first, *others = files
    for other in others:
        with rasterio.open(first) as one, rasterio.open(other) as two:
            for band in range(1, one.count + 1):
                a, b = one.read(band), two.read(band)
                wrong = ~((a == b) | (np.isnan(a) & np.isnan(b)))
                if wrong.any():
                    raise SystemExit(f"Band {band}: {wrong.sum():,} of {wrong.size:,} px differ.")


def report(mask: str, found: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n| {mask} | s | CPU s | memory MB | times the engine |\n|-|-|-|-|-|")
    middle = {
        name: {key: statistics.median(each[key] for each in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    for name, values in middle.items():
        base = middle.get("engine")
        times = f"{values['seconds'] / base['seconds']:.1f}" if base else ""
        print(
            f"| {name} | {values['seconds']:.1f} | {values['cpu']:.1f} | {values['memory']:.0f} "
            f"| {times} |"
        )


if __name__ == "__main__":
    main()
