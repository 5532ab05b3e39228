"""What is wrong with a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openeo_gfmap.quality.gates import QualityGates
from openeo_gfmap.stac.items import CubeFile, Variable

if TYPE_CHECKING:
    import h5py

__all__ = ["Finding", "inspect"]

_SCL: Final = "S2-L2A-SCL"
_MASK: Final = "S2-L2A-SCL_DILATED_MASK"
_CLEAR_CLASSES: Final = (2, 4, 5, 6, 7)
_UTM: Final = (range(32601, 32661), range(32701, 32761))  # EPSG codes of WGS 84 / UTM
_SHOWN: Final = 3  # dates or bands in a message

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """A gate that a file does not pass.

    Attributes
    ----------
    gate
        Name of the field of `QualityGates`.
    message
        What the file has, and what was expected.
    """

    gate: str
    message: str

    def __str__(self) -> str:
        return self.message


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
        NetCDF file of one cube.
    cube : CubeFile or None
        What it says of itself; None when it is no such file.
    gates : QualityGates
        What it must be.
    start, end : str, optional
        Period that was asked for, ISO dates; the end is exclusive.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    if cube is None:
        message = "is no NetCDF cube in a known CRS, and nothing else can be inspected"
        return (Finding("opens", f"{path.name} {message}"),)
    period = _Period.of(start, end, cube)
    found = [*_structure(cube, gates), *_dates(cube, gates, period)]
    if not found and _wants_pixels(gates):
        import h5py  # noqa: PLC0415

        with h5py.File(path, "r") as file:
            found += _pixels(_Bands(file, cube), gates, period)
    return tuple(found)


# --------------------------------------------------------------------------------------- structure


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
        yield Finding("bands", f"lacks {_some(absent)}; it has {', '.join(types)}")
    judged = [band for band in gates.bands or types if band in types]
    if gates.dtype is not None and (other := [b for b in judged if types[b] != gates.dtype]):
        yield Finding(
            "dtype", f"{_some(other)} is {types[other[0]]}, expected {gates.dtype}"
        )  # fmt: skip


def _is_crs(epsg: int | None, wanted: str) -> bool:
    if wanted == "utm":
        return epsg is not None and any(epsg in zones for zones in _UTM)
    return f"EPSG:{epsg}" == wanted


def _some(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")


# ------------------------------------------------------------------------------------------- dates


@dataclass(frozen=True)
class _Period:
    """Dates of a file, and the first and last day (inclusive) it should cover, where known."""

    dates: tuple[date, ...]
    first: date | None
    last: date | None

    @classmethod
    def of(cls, start: str | None, end: str | None, cube: CubeFile) -> _Period:
        return cls(
            tuple(datetime.fromisoformat(time).date() for time in cube.times),
            date.fromisoformat(start[:10]) if start else None,
            date.fromisoformat(end[:10]) - timedelta(days=1) if end else None,
        )

    def outside(self) -> list[date]:
        """Return the dates that were not asked for."""
        first, last = self.first or date.min, self.last or date.max
        return [each for each in self.dates if not first <= each <= last]

    def gap(self, chosen: Sequence[date]) -> tuple[int, date, date]:
        """Return the longest time between two of the dates, or to an end of the period."""
        first = self.first or min(self.dates, default=None)
        last = self.last or max(self.dates, default=None)
        days = sorted({*chosen, *(each for each in (first, last) if each is not None)})
        gaps = [((b - a).days, a, b) for a, b in pairwise(days)]
        return max(gaps, key=lambda gap: gap[0], default=(0, date.min, date.min))


def _dates(cube: CubeFile, gates: QualityGates, period: _Period) -> Iterator[Finding]:
    if gates.within_period and (outside := period.outside()):
        yield Finding(
            "within_period",
            f"has dates outside of {period.first or '…'} to {period.last or '…'}: {_some(outside)}",
        )
    if gates.min_dates is not None and len(cube.times) < gates.min_dates:
        yield Finding(
            "min_dates", f"has {len(cube.times)} dates, expected {gates.min_dates} or more"
        )


# ------------------------------------------------------------------------------------------ pixels


def _wants_pixels(gates: QualityGates) -> bool:
    return bool(
        gates.max_nodata is not None
        or gates.max_nodata_by_band
        or gates.min_clear_dates is not None
        or gates.max_gap_days is not None
        or gates.values
    )


class _Bands:
    """The bands of an open file; each is read once, when it is wanted.

    Parameters
    ----------
    file : h5py.File
        Open.
    cube : CubeFile
        What it says of itself.
    """

    def __init__(self, file: h5py.File, cube: CubeFile):
        self._file = file
        self.variables: Mapping[str, Variable] = {v.name: v for v in cube.variables}
        self._time = cube.dimensions[0]
        self._read: dict[str, tuple[Array, Array]] = {}

    def get(self, name: str) -> tuple[Array, Array]:
        """Return values and which of them are valid, dims as in the file."""
        if name not in self._read:
            variable = self.variables[name]
            stored = self._file[name][...]
            values = stored.view(variable.data_type) if stored.dtype.kind in "iu" else stored
            self._read[name] = values, _valid(values, variable)
        return self._read[name]

    @cached_property
    def clear(self) -> tuple[Array, Array] | None:
        """Share of clear pixels among the valid ones, and whether there are any, dims (t,)."""
        name = next((name for name in (_SCL, _MASK) if name in self.variables), None)
        if name is None or self._time not in self.variables[name].dimensions:
            return None
        values, valid = self.get(name)
        good = np.isin(values, _CLEAR_CLASSES) if name == _SCL else values == 0
        axes = tuple(range(1, values.ndim))
        counted = valid.sum(axis=axes)
        return (good & valid).sum(axis=axes) / np.maximum(counted, 1), counted > 0


def _valid(values: Array, variable: Variable) -> Array:
    if values.dtype.kind == "f":
        valid = ~np.isnan(values)
        return valid if variable.nodata is None else valid & (values != variable.nodata)
    nodata = variable.nodata
    if nodata is None and variable.data_type == "uint16":
        nodata = 65535  # the back-ends' own, which not all of them write down
    return np.ones(values.shape, bool) if nodata is None else values != nodata


def _pixels(bands: _Bands, gates: QualityGates, period: _Period) -> Iterator[Finding]:
    yield from _nodata(bands, gates)
    yield from _clear(bands, gates, period)
    yield from _values(bands, gates)


def _nodata(bands: _Bands, gates: QualityGates) -> Iterator[Finding]:
    for band, most in gates.max_nodata_by_band.items():
        if band not in bands.variables:
            yield Finding("max_nodata_by_band", f"lacks {band}, whose nodata is limited")
        elif (share := 1 - bands.get(band)[1].mean()) > most:
            message = f"{band} is nodata in {share:.1%}, expected {most:.1%} at most"
            yield Finding("max_nodata_by_band", message)
    if gates.max_nodata is not None:
        valid = [bands.get(band)[1] for band in gates.bands or bands.variables]
        size = sum(each.size for each in valid)
        share = 1 - sum(int(each.sum()) for each in valid) / size if size else 1.0
        if share > gates.max_nodata:
            message = f"is nodata in {share:.1%}, expected {gates.max_nodata:.1%} at most"
            yield Finding("max_nodata", message)


def _clear(bands: _Bands, gates: QualityGates, period: _Period) -> Iterator[Finding]:
    if gates.min_clear_dates is None and gates.max_gap_days is None:
        return
    chosen, word = period.dates, "date"
    if bands.clear is not None:
        share, any_valid = bands.clear
        good = (share >= gates.clear_share) & any_valid
        chosen = tuple(day for day, is_clear in zip(period.dates, good, strict=True) if is_clear)
        word = "clear date"
    elif gates.min_clear_dates is not None:
        yield Finding("min_clear_dates", f"has neither {_SCL} nor {_MASK} to tell clear dates by")
        return
    if gates.min_clear_dates is not None and len(chosen) < gates.min_clear_dates:
        message = f"has {len(chosen)} clear dates, expected {gates.min_clear_dates} or more"
        yield Finding("min_clear_dates", message)
    if gates.max_gap_days is not None:
        days, before, after = period.gap(chosen)
        if days > gates.max_gap_days:
            yield Finding(
                "max_gap_days",
                f"has no {word} for {days} days from {before} to {after}, expected "
                f"{gates.max_gap_days:g} at most",
            )


def _values(bands: _Bands, gates: QualityGates) -> Iterator[Finding]:
    for band in gates.values:
        if band != "*" and band not in bands.variables:
            yield Finding("values", f"lacks {band}, whose values are limited")
    for band in bands.variables:
        low, high = gates.values.get(band) or gates.values.get("*") or (None, None)
        if low is None and high is None:
            continue
        values, valid = bands.get(band)
        if not valid.any():
            continue
        least, most = (_of(ufunc, values, valid) for ufunc in (np.min, np.max))
        if (low is not None and least < low) or (high is not None and most > high):
            span = f"{'…' if low is None else f'{low:g}'} to {'…' if high is None else f'{high:g}'}"
            yield Finding("values", f"{band} is {least:g} to {most:g}, expected {span}")


def _of(reduce: Callable[[Array], Any], values: Array, valid: Array) -> float:
    return float(reduce(values[valid]))
