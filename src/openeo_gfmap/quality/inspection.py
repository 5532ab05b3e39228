"""What is wrong with a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from openeo_gfmap.quality.dates import Period, judge_dates
from openeo_gfmap.quality.finding import Finding, count, some
from openeo_gfmap.quality.gates import QualityGates
from openeo_gfmap.quality.pixels import Array, judge_pixels, wants_pixels
from openeo_gfmap.quality.tables import TABLES, judge_table
from openeo_gfmap.quality.tiff import open_tiff
from openeo_gfmap.stac.items import CubeFile, Variable

if TYPE_CHECKING:
    import h5py

__all__ = ["inspect"]

_UTM: Final = (range(32601, 32661), range(32701, 32761))  # EPSG codes of WGS 84 / UTM
_NETCDF: Final = frozenset({".nc", ".nc4", ".h5"})
_TIFF: Final = frozenset({".tif", ".tiff"})


def inspect(
    path: Path,
    cube: CubeFile | None,
    gates: QualityGates,
    *,
    start: str | None = None,
    end: str | None = None,
) -> tuple[Finding, ...]:
    """Return what is wrong with a file; nothing when it passes all gates.

    What the file says of itself is judged first, and its pixels only where that is right, and only
    the bands that a gate needs. Files under HDF5 must not be opened in several threads at once.

    Parameters
    ----------
    path : Path
        NetCDF file of one cube, GeoTIFF (with rasterio), Parquet, CSV or JSON.
    cube : CubeFile or None
        What a NetCDF file says of itself; None when it is no such file.
    gates : QualityGates
        What it must be.
    start, end : str, optional
        Period that was asked for, ISO dates; the end is exclusive.

    Raises
    ------
    InputError
        When the period is none.
    OSError
        When the file cannot be read.
    """
    if cube is not None:
        return _netcdf(path, cube, gates, Period.of(start, end, cube))
    suffix = path.suffix.lower()
    if suffix in _TIFF:
        return _tiff(path, gates, start, end)
    if suffix in TABLES:
        return tuple(judge_table(path, gates))
    if suffix in _NETCDF:
        message = "is no netCDF-4 cube in a known CRS, and nothing else of it can be inspected"
    else:
        known = ", ".join(sorted(_NETCDF | _TIFF | TABLES.keys()))
        message = f"cannot be inspected; files of these kinds can: {known}"
    return (Finding("opens", f"{path.name} {message}"),)


def _netcdf(path: Path, cube: CubeFile, gates: QualityGates, period: Period) -> tuple[Finding, ...]:
    import h5py  # noqa: PLC0415

    found = [*_structure(cube, gates), *judge_dates(cube, gates, period)]
    undated = cube.dimensions[0] is not None and not cube.times and _wants_dates(gates, period)
    if not undated and (found or not wants_pixels(gates)):
        return tuple(found)
    with h5py.File(path, "r") as file:
        axis = file[cube.dimensions[0]] if undated else None
        if axis is not None and len(axis):  # else there are no dates, which may be right
            have = f"has {count(len(axis), 'date')} in {axis.attrs.get('units')!r}"
            message = f"{have}, expected days, hours or less since a date"
            others = (each for each in found if each.gate != "min_dates")
            return (*others, Finding("opens", message))
        if not found and wants_pixels(gates):
            found += judge_pixels(lambda variable: _read(file, variable), cube, gates, period)
    return tuple(found)


def _wants_dates(gates: QualityGates, period: Period) -> bool:
    thresholds = (gates.min_dates, gates.min_clear_dates, gates.max_gap_days)
    known = period.first is not None or period.last is not None
    return (gates.within_period and known) or any(each is not None for each in thresholds)


def _tiff(
    path: Path, gates: QualityGates, start: str | None, end: str | None
) -> tuple[Finding, ...]:
    try:
        with open_tiff(path) as (cube, read):
            if cube is None:
                return (Finding("opens", f"{path.name} has no CRS, so that nobody knows where"),)
            period = Period.of(start, end, cube)
            found = [*_structure(cube, gates), *judge_dates(cube, gates, period)]
            if not found and wants_pixels(gates):
                found += judge_pixels(read, cube, gates, period)
    except ModuleNotFoundError:
        advice = "cannot be inspected without rasterio: pip install 'openeo-gfmap[local]'"
        return (Finding("opens", f"{path.name} {advice}"),)
    return tuple(found)


def _read(file: h5py.File, variable: Variable) -> Array:
    """Return the values of a variable; netCDF stores unsigned ones as signed, and says so."""
    stored: Array = file[variable.name][...]
    if stored.dtype.kind not in "iu":
        return stored
    return stored.astype(stored.dtype.newbyteorder("="), copy=False).view(variable.data_type)


def _structure(cube: CubeFile, gates: QualityGates) -> Iterator[Finding]:
    if gates.shape is not None and cube.shape != gates.shape:
        have, want = ("{} x {}".format(*shape) for shape in (cube.shape, gates.shape))
        yield Finding("shape", f"has {have} pixels, expected {want}")
    if gates.crs is not None and not _is_crs(cube.epsg, gates.crs):
        have = f"EPSG:{cube.epsg}" if cube.epsg else "a CRS without EPSG code"
        want = "a zone of WGS 84 / UTM" if gates.crs == "utm" else gates.crs
        yield Finding("crs", f"is in {have}, expected {want}")
    steps = {abs(cube.x[2]), abs(cube.y[2])}
    if gates.resolution is not None and not all(
        np.isclose(step, gates.resolution, rtol=1e-6) for step in steps
    ):
        have = " x ".join(f"{step:g}" for step in sorted(steps))
        yield Finding("resolution", f"has pixels of {have}, expected {gates.resolution:g}")
    types = {variable.name: variable.data_type for variable in cube.variables}
    if absent := [band for band in gates.bands if band not in types]:
        yield Finding("bands", f"lacks {some(absent)}; it has {', '.join(types)}")
    judged = [band for band in gates.bands or types if band in types]
    if gates.dtype is not None and (other := [b for b in judged if types[b] != gates.dtype]):
        yield Finding("dtype", f"{some(other)} is {types[other[0]]}, expected {gates.dtype}")


def _is_crs(epsg: int | None, wanted: str) -> bool:
    if wanted == "utm":
        return epsg is not None and any(epsg in zones for zones in _UTM)
    return f"EPSG:{epsg}" == wanted
