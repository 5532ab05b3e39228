"""Time the NetCDF writer and edits of attributes against other libraries, in one run.

    pip install -e .[local,benchmarks]
    python benchmarks/bench_netcdf.py
    python benchmarks/bench_netcdf.py --folder /dev/shm

One patch of the reference work (``reference_work.py``): 13 bands, 60 dates, 64 x 64 px of uint16,
from the simulated archive. All write the same variables, deflated, to one file; each takes turns,
several rounds, and medians are shown. What a writer promises to have on disk is part of its time:
ours syncs, renames and checksums the file, the others leave it to the system.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import rasterio
import reference_work as work
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.archive.grid import cells_within
from openeo_gfmap.local.archive.orbits import acquisitions_of
from openeo_gfmap.local.archive.scene import LAYOUT, render
from openeo_gfmap.local.archive.simulated import _scenes
from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.writers_netcdf import write_netcdf
from openeo_gfmap.utils import update_nc_attributes


def make_patch() -> Cube:
    """Render one patch; some seconds."""
    size = 10 * work.PATCH
    cell = next(iter(cells_within(work.EPSG, (work.WEST, work.NORTH - size, work.WEST + size,
                                              work.NORTH))))  # fmt: skip
    start, end = (date.fromisoformat(day) for day in work.SPAN)
    keys = {(s.acquisition.turn, s.acquisition.orbit) for s in _scenes(work.TILE, start, end)}
    by_day = {a.time.date(): a for a in acquisitions_of(sorted(keys), *cell.centre)}
    passes = [by_day[day] for day in sorted(by_day)[: work.DATES]]
    data = np.empty((len(passes), len(work.BANDS), work.PATCH, work.PATCH), "uint16")
    for frame, picture in zip(data, render(cell, passes), strict=True):
        for band, plane in zip(work.BANDS, frame, strict=True):
            step = work.RESOLUTION[band] // 10
            pixels = picture.bands[10 * step][LAYOUT[10 * step].index(band)]
            fine = np.repeat(np.repeat(pixels, step, axis=0), step, axis=1)
            plane[...] = fine[: work.PATCH, : work.PATCH]
    times = np.asarray([a.time.date() for a in passes], dtype="datetime64[ns]")
    transform = Affine(10, 0, work.WEST, 0, -10, work.NORTH)
    grid = GeoBox((work.PATCH, work.PATCH), transform, f"EPSG:{work.EPSG}")
    labels = {"t": times, "bands": np.asarray(work.BANDS)}
    return Cube(data, ("t", "bands", "y", "x"), labels, grid, 65535)


def as_dataset(cube: Cube) -> xr.Dataset:
    step = 10 * np.arange(work.PATCH) + 5
    coordinates = {"t": cube.labels["t"], "y": work.NORTH - step, "x": work.WEST + step}
    return xr.Dataset(
        {str(band): (("t", "y", "x"), cube.data[:, i]) for i, band in enumerate(work.BANDS)},
        coordinates,
    )


def writers(cube: Cube) -> dict[str, Callable[[Path], Any]]:
    dataset = as_dataset(cube)
    zlib = {band: {"zlib": True, "complevel": 4} for band in work.BANDS}
    return {
        "ours": lambda path: write_netcdf(path, cube),
        "xarray, netcdf4, zlib 4": lambda path: dataset.to_netcdf(path, encoding=zlib),
        "xarray, netcdf4, zlib 1": lambda path: dataset.to_netcdf(
            path, encoding={band: {"zlib": True, "complevel": 1} for band in work.BANDS}
        ),
        "xarray, h5netcdf, zlib 4": lambda path: dataset.to_netcdf(
            path, engine="h5netcdf", encoding=zlib
        ),
        "xarray, not deflated": dataset.to_netcdf,
    }


def check(path: Path, cube: Cube) -> None:
    """End the program unless every reader finds the same pixels."""
    found = {}
    for engine in ("netcdf4", "h5netcdf"):
        with xr.open_dataset(path, engine=engine, mask_and_scale=True) as dataset:
            found[f"xarray, {engine}"] = np.stack([dataset[b].values for b in work.BANDS], axis=1)
    with netCDF4.Dataset(path) as file:
        found["netCDF4"] = np.stack([file[b][:].data for b in work.BANDS], axis=1)
    with h5py.File(path) as file:
        found["h5py"] = np.stack([file[b][:].view("uint16") for b in work.BANDS], axis=1)
    planes = []
    for band in work.BANDS:
        with rasterio.open(f"netcdf:{path}:{band}") as file:
            planes.append(file.read())
    found["GDAL"] = np.stack(planes, axis=1)
    for reader, pixels in found.items():
        if not np.array_equal(pixels.astype("uint16"), cube.data):
            raise SystemExit(f"{reader} does not read what was written.")


def rewritten(path: Path) -> None:
    """Set an attribute as xarray does: read all, write all."""
    with xr.open_dataset(path) as dataset:
        loaded = dataset.load()
    loaded.attrs["note"] = "edited"
    loaded.to_netcdf(path)


def appended(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file.setncattr("note", "edited")


def edits() -> dict[str, Callable[[Path], Any]]:
    return {
        "ours": lambda path: update_nc_attributes(path, {"note": "edited"}),
        "ours, atomic": lambda path: update_nc_attributes(path, {"note": "edited"}, atomic=True),
        "netCDF4, append": appended,
        "xarray, rewritten": rewritten,
    }


def timed(
    rounds: int, cases: dict[str, Callable[[Path], Any]], path: Callable[[str], Path]
) -> dict[str, float]:
    """Return milliseconds, the cases taking turns."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for run in range(rounds + 1):
        for name, case in cases.items():
            target = path(name)
            start = time.perf_counter()
            case(target)
            if run:  # the first is for imports and caches
                found[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where to write; by default a temporary one")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of GDAL, about files without a place
    cube = make_patch()
    print(f"One patch of {cube.data.nbytes / 1e6:.1f} MB.")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        paths = {name: Path(folder) / f"{i}.nc" for i, name in enumerate(writers(cube))}
        written = timed(args.rounds, writers(cube), paths.__getitem__)
        check(paths["ours"], cube)
        print("\n| writer | ms | MB |\n|-|-|-|")
        for name, milliseconds in written.items():
            size = paths[name].stat().st_size / 1e6
            print(f"| {name} | {milliseconds:.1f} | {size:.2f} |")
        edited = timed(args.rounds, edits(), lambda name: paths["ours"])
        print("\n| attribute | ms |\n|-|-|")
        for name, milliseconds in edited.items():
            print(f"| {name} | {milliseconds:.2f} |")


if __name__ == "__main__":
    main()
