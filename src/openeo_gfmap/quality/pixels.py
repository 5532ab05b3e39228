"""Pixels of a cube against the gates: nodata, clear dates, gaps, values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from openeo_gfmap.quality.dates import Period
from openeo_gfmap.quality.finding import Finding, count
from openeo_gfmap.quality.gates import QualityGates, ValueRange
from openeo_gfmap.stac.items import CubeFile, Variable

__all__ = ["Array", "Read", "judge_pixels", "wants_pixels"]

Array: TypeAlias = np.ndarray[Any, Any]
#: Returns the values of a variable, dims as in the file, in the variable's own type.
Read: TypeAlias = Callable[[Variable], Array]

_SCL: Final = "S2-L2A-SCL"
_MASK: Final = "S2-L2A-SCL_DILATED_MASK"
_CLEAR_CLASSES: Final = (2, 4, 5, 6, 7)
_NODATA: Final = 65535  # of uint16 from the back-ends, which not all of them write down


def wants_pixels(gates: QualityGates) -> bool:
    """Whether a gate needs more than what a file says of itself."""
    return bool(
        gates.max_nodata is not None
        or gates.max_nodata_by_band
        or gates.min_clear_dates is not None
        or gates.max_gap_days is not None
        or gates.values
    )


def judge_pixels(
    read: Read, cube: CubeFile, gates: QualityGates, period: Period
) -> Iterator[Finding]:
    """Iterate over what is wrong with the pixels.

    Only bands that a gate needs are read, each once, and one is in memory at a time.

    Parameters
    ----------
    read : callable
        Reads a variable.
    cube : CubeFile
        What the file says of itself.
    gates : QualityGates
        What it must be.
    period : Period
        Its dates, and those that were asked for.
    """
    bands = _Bands(read, cube, gates)
    yield from _nodata(bands, gates)
    yield from _clear(bands, gates, period)
    yield from _values(bands, gates)


@dataclass(frozen=True, slots=True)
class _Band:
    """What is needed of a band once it was read.

    Attributes
    ----------
    size, valid
        How many values it has, and how many are not nodata.
    span
        Lowest and highest valid one; None without any, or when no gate asks.
    clear
        By date, the share of clear pixels among the valid ones; NaN where none is valid. None
        for a band that tells nothing of clouds.
    """

    size: int
    valid: int
    span: tuple[float, float] | None
    clear: Array | None

    @property
    def nodata(self) -> float:
        return (self.size - self.valid) / self.size if self.size else 1.0


class _Bands:
    def __init__(self, read: Read, cube: CubeFile, gates: QualityGates):
        self.variables: Mapping[str, Variable] = {v.name: v for v in cube.variables}
        self._read = read
        self._gates = gates
        self._known: dict[str, _Band] = {}
        told = (v for v in (self.variables.get(name) for name in (_SCL, _MASK)) if v is not None)
        self.clouds = next((v.name for v in told if cube.dimensions[0] == v.dimensions[0]), None)

    def get(self, name: str) -> _Band:
        if name not in self._known:
            self._known[name] = self._measured(self.variables[name])
        return self._known[name]

    def bounds(self, name: str) -> ValueRange:
        return self._gates.values.get(name) or self._gates.values.get("*") or (None, None)

    def _measured(self, variable: Variable) -> _Band:
        values = self._read(variable)
        valid = _valid(values, variable)
        known = int(np.count_nonzero(valid))
        span = clear = None
        if known and self.bounds(variable.name) != (None, None):
            chosen = values if known == values.size else values[valid]
            span = float(chosen.min()), float(chosen.max())
        if variable.name == self.clouds:
            good = np.isin(values, _CLEAR_CLASSES) if variable.name == _SCL else values == 0
            axes = tuple(range(1, values.ndim))
            counted = valid.sum(axis=axes)
            share = (good & valid).sum(axis=axes) / np.maximum(counted, 1)
            clear = np.where(counted > 0, share, np.nan)
        return _Band(values.size, known, span, clear)


def _valid(values: Array, variable: Variable) -> Array:
    nodata = variable.nodata
    if values.dtype.kind == "f":
        valid = ~np.isnan(values)
        return valid if nodata is None else valid & (values != nodata)
    if nodata is None and values.dtype == np.uint16:
        nodata = _NODATA
    return np.ones(values.shape, bool) if nodata is None else values != nodata


def _nodata(bands: _Bands, gates: QualityGates) -> Iterator[Finding]:
    for band, most in gates.max_nodata_by_band.items():
        if band not in bands.variables:
            yield Finding("max_nodata_by_band", f"lacks {band}, whose nodata is limited")
        elif (share := bands.get(band).nodata) > most:
            message = f"{band} is nodata in {_percent(share)}, expected {_percent(most)} at most"
            yield Finding("max_nodata_by_band", message)
    if gates.max_nodata is not None:
        found = [bands.get(band) for band in gates.bands or bands.variables]
        size, valid = sum(each.size for each in found), sum(each.valid for each in found)
        share = (size - valid) / size if size else 1.0
        if share > gates.max_nodata:
            most = gates.max_nodata
            message = f"is nodata in {_percent(share)}, expected {_percent(most)} at most"
            yield Finding("max_nodata", message)


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _clear(bands: _Bands, gates: QualityGates, period: Period) -> Iterator[Finding]:
    if gates.min_clear_dates is None and gates.max_gap_days is None:
        return
    chosen, word = period.dates, "date"
    if bands.clouds is not None:
        share = bands.get(bands.clouds).clear
        pairs = zip(period.dates, () if share is None else share, strict=True)
        chosen = tuple(day for day, clear in pairs if clear >= gates.clear_share)
        word = "clear date"
    elif gates.min_clear_dates is not None:
        yield Finding("min_clear_dates", f"has neither {_SCL} nor {_MASK} to tell clear dates by")
        return
    if gates.min_clear_dates is not None and len(chosen) < gates.min_clear_dates:
        have = count(len(chosen), "clear date")
        message = f"has {have}, expected {gates.min_clear_dates} or more"
        yield Finding("min_clear_dates", message)
    if gates.max_gap_days is not None:
        days, before, after = period.gap(chosen)
        if days > gates.max_gap_days:
            yield Finding(
                "max_gap_days",
                f"has no {word} for {count(days, 'day')} from {before} to {after}, expected "
                f"{gates.max_gap_days:g} at most",
            )


def _values(bands: _Bands, gates: QualityGates) -> Iterator[Finding]:
    for band in gates.values:
        if band != "*" and band not in bands.variables:
            yield Finding("values", f"lacks {band}, whose values are limited")
    for band in bands.variables:
        low, high = bands.bounds(band)
        if (low, high) == (None, None) or (span := bands.get(band).span) is None:
            continue
        least, most = span
        if (low is not None and least < low) or (high is not None and most > high):
            want = f"{'…' if low is None else f'{low:g}'} to {'…' if high is None else f'{high:g}'}"
            yield Finding("values", f"{band} is {least:g} to {most:g}, expected {want}")
