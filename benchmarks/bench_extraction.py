"""Time the extraction of patches from local files against its floor and against other readers.

    pip install -e .[local,benchmarks]
    python benchmarks/bench_extraction.py
    python benchmarks/bench_extraction.py --rounds 3 --only engine floor

The work is described in ``reference_work.py``. Each measurement runs in a process of its own
(so that memory is that of one reader), all of them in turn, several rounds; medians are shown.
The floor is what no reader that decodes whole blocks can beat: every block that any patch
touches, read and decoded once, in as many processes as the engine has. odc-stac and stackstac
are slow: they get a part of the patches, evenly spread, and are compared patch by patch.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import reference_work as work

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Files:
    """The files of the work, by band and date."""

    folder: str

    def items(self) -> list[dict[str, Any]]:
        return json.loads((Path(self.folder) / "items.json").read_text())["features"]

    def paths(self) -> list[tuple[str, int, str]]:
        """Band, resolution and path of each file, date by date."""
        return [
            (band, work.RESOLUTION[band], self.place(item["assets"][band]["href"]))
            for item in self.items()
            for band in work.BANDS
        ]

    def place(self, href: str) -> str:
        """Path of a file, or its address."""
        return href if "://" in href else str(Path(self.folder) / href)


def window_of(box: Box, resolution: int) -> tuple[int, int, int, int]:
    """Rows and columns (top, bottom, left, right) that a box touches."""
    west, south, east, north = box
    left, top = (west - work.WEST) // resolution, (work.NORTH - north) // resolution
    right = -(-(east - work.WEST) // resolution)
    bottom = -(-(work.NORTH - south) // resolution)
    return int(top), int(bottom), int(left), int(right)


def blocks_of(window: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    top, bottom, left, right = window
    size = work.BLOCK
    return {
        (row, column)
        for row in range(top // size, (bottom - 1) // size + 1)
        for column in range(left // size, (right - 1) // size + 1)
    }


# --- what is measured -------------------------------------------------------------------------


def engine(files: Files, boxes: Sequence[Box], workers: int = 1) -> None:
    """The process graph, as a job runs it."""
    from openeo_gfmap.local.catalog import Catalog
    from openeo_gfmap.local.engine import execute
    from openeo_gfmap.local.engine.plan import Env

    with tempfile.TemporaryDirectory() as out:
        catalog = Catalog.from_settings({"SENTINEL2_L2A": files.folder}, Path(out))
        env = Env(catalog, workers=workers)
        result = execute(work.process_graph(boxes), env=env, out_dir=Path(out) / "results")
        if len(result.assets) != len(boxes):
            raise SystemExit(f"{len(result.assets)} files instead of {len(boxes)}")


def floor(files: Files, boxes: Sequence[Box], workers: int = 1, undo: bool = True) -> None:
    """Each needed block read and decoded once, with ISA-L; ``undo``: its predictor as well."""
    needed = {r: sorted({b for box in boxes for b in blocks_of(window_of(box, r))})
              for r in (10, 20, 60)}  # fmt: skip
    jobs = [(path, needed[resolution], undo) for _, resolution, path in files.paths()]
    if workers == 1:
        for job in jobs:
            _decode(job)
        return
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_decode, jobs, chunksize=13))


def _decode(job: tuple[str, list[tuple[int, int]], bool]) -> None:
    import tifffile
    from isal import isal_zlib

    path, blocks, undo = job
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        offsets, counts, dtype = page.dataoffsets, page.databytecounts, page.dtype
        across = -(-page.imagewidth // page.tilewidth)
        shape = (page.tilelength, page.tilewidth)
    with Path(path).open("rb", buffering=0) as file:
        for row, column in blocks:
            index = row * across + column
            file.seek(offsets[index])
            raw = isal_zlib.decompress(file.read(counts[index]), 15, shape[0] * shape[1] * 2)
            if undo:
                np.cumsum(np.frombuffer(raw, dtype).reshape(shape), axis=1, dtype=dtype)


def rasterio_windows(files: Files, boxes: Sequence[Box]) -> None:
    """A file opened and a window read per patch, band and date."""
    import rasterio

    for box in boxes:
        cube = np.empty((work.DATES, len(work.BANDS), work.PATCH, work.PATCH), "uint16")
        for number, (_, resolution, path) in enumerate(files.paths()):
            top, bottom, left, right = window_of(box, resolution)
            with rasterio.open(path) as file:
                pixels = file.read(1, window=((top, bottom), (left, right)))
            _place(cube[divmod(number, len(work.BANDS))], pixels, box, resolution)
        _write(cube, box)


def rasterio_blocks(files: Files, boxes: Sequence[Box]) -> None:
    """Files stay open and GDAL keeps decoded blocks; patches in the order of the blocks."""
    import rasterio

    with rasterio.Env(GDAL_CACHEMAX=1024, GDAL_MAX_DATASET_POOL_SIZE=1000):
        opened = {path: rasterio.open(path) for _, _, path in files.paths()}
        for box in sorted(boxes, key=lambda b: sorted(blocks_of(window_of(b, 10)))):
            cube = np.empty((work.DATES, len(work.BANDS), work.PATCH, work.PATCH), "uint16")
            for number, (_, resolution, path) in enumerate(files.paths()):
                top, bottom, left, right = window_of(box, resolution)
                pixels = opened[path].read(1, window=((top, bottom), (left, right)))
                _place(cube[divmod(number, len(work.BANDS))], pixels, box, resolution)
            _write(cube, box)
        for file in opened.values():
            file.close()


def _place(out: np.ndarray, pixels: np.ndarray, box: Box, resolution: int) -> None:
    """Bring native pixels onto the 10 m grid of the patch."""
    if resolution == 10:
        out[...] = pixels
        return
    west, _, _, north = box
    top, _, left, _ = window_of(box, resolution)
    step = np.arange(work.PATCH) * 10 + 5
    rows = (work.NORTH - north + step) // resolution - top
    columns = (west - work.WEST + step) // resolution - left
    out[...] = pixels[rows.astype(int)[:, None], columns.astype(int)]


def odc_stac(files: Files, boxes: Sequence[Box]) -> None:
    """odc.stac.load per patch, as its documentation does, in dask's threads."""
    import odc.stac
    import pystac
    from odc.geo.geobox import GeoBox

    items = _absolute(files)
    for box in boxes:
        west, south, east, north = box
        grid = GeoBox.from_bbox((west, south, east, north), f"EPSG:{work.EPSG}", resolution=10)
        data = odc.stac.load(
            [pystac.Item.from_dict(item) for item in items], bands=list(work.BANDS), geobox=grid,
            groupby="time", pool=os.cpu_count(),
        )  # fmt: skip
        cube = np.stack([data[band].values.astype("uint16") for band in work.BANDS], axis=1)
        _write(cube, box)


def stackstac_(files: Files, boxes: Sequence[Box]) -> None:
    """stackstac.stack per patch, computed by dask's threads."""
    import stackstac

    items = _absolute(files)
    for box in boxes:
        cube = stackstac.stack(
            items, assets=list(work.BANDS), epsg=work.EPSG, resolution=10, bounds=box,
            dtype=np.dtype("uint16"), fill_value=np.uint16(0), rescale=False, chunksize=-1,
        ).compute()  # fmt: skip
        _write(cube.values, box)


def _absolute(files: Files) -> list[dict[str, Any]]:
    items = files.items()
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = files.place(asset["href"])
    return items


def _write(cube: np.ndarray, box: Box) -> None:
    """Write a patch as the engine does: all readers pay the same for it."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from openeo_gfmap.local.engine.cube import Cube
    from openeo_gfmap.local.engine.writers_netcdf import write_netcdf

    grid = GeoBox(cube.shape[-2:], Affine(10, 0, box[0], 0, -10, box[3]), f"EPSG:{work.EPSG}")
    times = np.datetime64("2023-01-01", "ns") + np.arange(len(cube)) * np.timedelta64(1, "D")
    labels = {"t": times, "bands": np.asarray(work.BANDS)}
    with tempfile.TemporaryDirectory() as folder:
        write_netcdf(
            Path(folder) / "patch.nc", Cube(cube, ("t", "bands", "y", "x"), labels, grid, 65535)
        )


READERS: dict[str, Callable[[Files, Sequence[Box]], None]] = {
    "floor": floor,
    "floor, inflating only": partial(floor, undo=False),
    "engine": engine,
    "floor, 2 processes": partial(floor, workers=2),
    "engine, 2 processes": partial(engine, workers=2),
    "rasterio, block cache": rasterio_blocks,
    "rasterio, windows": rasterio_windows,
    "odc-stac": odc_stac,
    "stackstac": stackstac_,
}
# Patches that slow readers get: the rate is that of a patch, whatever their number.
SLOW = {"rasterio, windows": 4, "odc-stac": 2, "stackstac": 2}


# --- measuring --------------------------------------------------------------------------------


def measure(name: str, folder: str, boxes: Sequence[Box]) -> None:
    """Run one reader here and print what it took."""
    files, reader = Files(folder), READERS[name]
    reader(files, boxes[:1])  # imports, and whatever is made once in a process
    cpu, began = _cpu(), time.perf_counter()
    reader(files, boxes)
    seconds = time.perf_counter() - began
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF,
                                                          resource.RUSAGE_CHILDREN)]  # fmt: skip
    print(json.dumps({
        "rate": len(boxes) / seconds, "cpu": (_cpu() - cpu) / len(boxes),
        "memory": max(usage) / 1024,
    }))  # fmt: skip


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def run(name: str, folder: Path, kind: str, count: int) -> dict[str, float]:
    boxes = work.patches(kind, count)
    if name in SLOW:
        boxes = boxes[:: max(1, len(boxes) // SLOW[name])][: SLOW[name]]
    done = subprocess.run(
        [sys.executable, __file__, "--measure", name, str(folder), json.dumps(boxes)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "gfmap-bench",
                        help="where the files are kept")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patches", type=int, default=60, help="of the dense work")
    parser.add_argument("--kinds", nargs="+", default=["dense", "sparse"])
    parser.add_argument("--only", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        name, folder, boxes = args.measure
        measure(name, folder, json.loads(boxes))
        return
    folder = work.prepare(args.data)
    for file in folder.iterdir():  # into the page cache, for all alike
        file.read_bytes()
    for kind in args.kinds:
        print(f"Measuring {kind} patches.", flush=True)
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(args.rounds):
            for name in args.only:
                found[name].append(run(name, folder, kind, args.patches))
        report(kind, found)


def report(kind: str, found: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n| {kind} | patches/s | of the floor | CPU s a patch | memory MB |\n|-|-|-|-|-|")
    middle = {
        name: {key: statistics.median(each[key] for each in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    for name, values in middle.items():
        whole = middle.get("floor, 2 processes" if "2 processes" in name else "floor")
        share = f"{values['rate'] / whole['rate']:.2f}" if whole else ""
        print(
            f"| {name} | {values['rate']:.2f} | {share} | {values['cpu']:.3f} "
            f"| {values['memory']:.0f} |"
        )


if __name__ == "__main__":
    main()
