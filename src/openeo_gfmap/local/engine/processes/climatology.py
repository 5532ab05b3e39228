"""What is usual at a time of the year, and how far from it a year was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from ..axes import dates_of, temporal
from ..cube import Array, Cube
from ..demands import Demand, Window
from ..meta import CubeMeta
from ..periods import period_names
from ..plan import Call, PlanContext, Rule
from ..registry import CubeData, Schema, Text, process
from .dimensions import along_axis
from .merge import same_grid
from .statistics import mean

__all__: list[str] = []  # everything here is reached through the registry

Years = Annotated[Any, Schema({"type": "array", "items": {"type": "string", "subtype": "year"}})]

# Names of the parts of a year, as period_names writes them behind the year.
_PARTS: dict[str, tuple[str, ...]] = {
    "day": tuple(f"{day:03}" for day in range(1, 366)),
    "month": tuple(f"{month:02}" for month in range(1, 13)),
    "season": ("djf", "mam", "jja", "son"),
    "tropical-season": ("ndjfma", "mjjaso"),
    "climatology-period": ("climatology-period",),
}
# Parts of a year that begin in the year before, and their months there.
_EARLY = {"djf": (12,), "ndjfma": (11, 12)}
_SINGLE = ("climatology-period", "single-period")
_OF_ANOMALIES = ("hour", "day", "week", "month", "year", "season", "tropical-season", *_SINGLE)


def _years(call: Call) -> tuple[int, int]:
    given = call.args["climatology_period"]
    try:
        first, last = (int(year) for year in given)
    except (TypeError, ValueError):
        raise call.invalid(
            "climatology_period", f"is {given!r:.60}; expected two years such as ['1991', '2020']"
        ) from None
    if not 1 <= first <= last <= 9999:
        raise call.invalid("climatology_period", f"is {given!r:.60}; the first year comes first")
    return first, last


def _normal_meta(call: Call, context: PlanContext) -> CubeMeta:
    period, meta = call.args["period"], call.cube()
    if period not in _PARTS:
        raise call.invalid("period", f"is {period!r:.60}; use one of {', '.join(_PARTS)}")
    _years(call)
    axis = temporal(call, meta)
    meta = meta.patch(labels={**meta.labels, axis: _PARTS[period]}, itemsize=max(4, meta.itemsize))
    return meta.patch(time=f"{meta.time}/{call.node.id}", periods=True) if axis == "t" else meta


def _all_dates(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {"data": demand.patch(interval=(None, None))}


@process(plan=Rule(meta=_normal_meta, inputs=_all_dates))
def climatological_normal(
    data: CubeData, period: Text, climatology_period: Years = ("1981", "2010"), *, env: Any
) -> CubeData:
    """Average each part of the year over many years.

    Parameters
    ----------
    data
        A raster data cube with one temporal dimension.
    period
        day, month, season, tropical-season, or climatology-period for one average of all.
    climatology_period
        The first and the last year. A season that begins in the year before the first counts when
        that year's months are there; one that ends after the last never counts.

    Returns
    -------
    CubeData
        The cube with the labels 001 to 365, 01 to 12, djf to son, ndjfma and mjjaso, or
        climatology-period. Parts of the year without any data are missing; day 366 is left out.
    """
    call = env.call
    axis = temporal(call, call.cube())
    times = dates_of(data, axis, call)
    parts = _PARTS[period]
    belongs = _belonging(times, period, *_years(call))
    source = along_axis(data, axis)
    out = np.full((len(parts), *source.values.shape[1:]), np.nan, dtype=source.values.dtype)
    for i, name in enumerate(parts):
        chosen = np.flatnonzero(belongs == name)
        if len(chosen):
            out[i] = mean(Array(source.values[chosen]))
    made = data.with_data(np.moveaxis(out, 0, data.axis(axis)), nodata=None)
    return made.relabelled(axis, np.asarray(parts, dtype=str))


def _belonging(times: np.ndarray[Any, Any], period: str, first: int, last: int) -> Any:
    """Return the part of the year each date counts for, an empty text for none."""
    years = times.astype("datetime64[Y]").astype(int) + 1970
    if period in _SINGLE:
        return np.where((first <= years) & (years <= last), period, "")
    months = times.astype("datetime64[M]").astype(int) % 12 + 1
    names = np.asarray([name.partition("-")[2] for name in period_names(times, period)], dtype=str)
    for name, early in _EARLY.items():
        in_part = names == name
        # The season is that of the year in which it ends.
        years = np.where(in_part & np.isin(months, early), years + 1, years)
        begun = {int(m) for m in months[in_part & (years == first)]} & set(early)
        if not begun:
            names[in_part & (years == first)] = ""
    names[(years < first) | (years > last)] = ""
    return names


def _anomaly_meta(call: Call, context: PlanContext) -> CubeMeta:
    period, data, normals = call.args["period"], call.cube(), call.cube("normals")
    if period not in _OF_ANOMALIES:
        raise call.invalid("period", f"is {period!r:.60}; use one of {', '.join(_OF_ANOMALIES)}")
    same_grid(call, data, normals, "normals")
    axis, other = temporal(call, data), temporal(call, normals)
    if {d for d in data.dims if d != axis} != {d for d in normals.dims if d != other}:
        raise call.invalid(
            "normals",
            f"has the dimensions {', '.join(normals.dims)}; expected those of data, "
            f"{', '.join(data.dims)}",
        )
    return data.patch(itemsize=max(4, data.itemsize), margin=max(data.margin, normals.margin))


def _anomaly_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {"data": demand, "normals": demand.patch(interval=(None, None))}


@process(plan=Rule(meta=_anomaly_meta, inputs=_anomaly_inputs))
def anomaly(data: CubeData, normals: CubeData, period: Text, *, env: Any) -> CubeData:
    """Subtract from each date what is usual at that time of the year.

    Parameters
    ----------
    data
        A raster data cube with one temporal dimension, whose labels are dates or texts such as
        2020-06, as aggregate_temporal_period gives them.
    normals
        What is usual: a cube as climatological_normal gives it, with the same other dimensions.
    period
        hour, day, week, month, year, season or tropical-season; climatology-period or
        single-period for normals with one label, which counts for all dates.

    Returns
    -------
    CubeData
        The cube of the differences; dates without a normal are missing.
    """
    call = env.call
    axis, other = temporal(call, call.cube()), temporal(call, call.cube("normals"))
    values, usual = along_axis(data, axis), along_axis(_in_order(normals, data, other, axis), other)
    known = {name: i for i, name in enumerate(_names(usual.labels, period))}
    out = np.full(values.values.shape, np.nan, dtype=values.values.dtype)
    for i, name in enumerate(_names(values.labels, period)):
        place = 0 if period in _SINGLE and len(known) == 1 else known.get(name)
        if place is not None:
            out[i] = values.values[i] - usual.values[place]
    return data.with_data(np.moveaxis(out, 0, data.axis(axis)), nodata=None)


def _in_order(cube: Cube, like: Cube, own: str, its: str) -> Cube:
    """Return a cube with its axes in the order of another, whose time axis may be called else."""
    wanted = tuple(own if d == its else d for d in like.dims)
    data = np.transpose(cube.data, [cube.dims.index(d) for d in wanted])
    return replace(cube, data=data, dims=wanted)


def _names(labels: Any, period: str) -> list[str]:
    """Return the part of the year that labels mean: 06 for the month of 2020-06, or of a date."""
    if labels.dtype.kind == "M" and period in _SINGLE:
        return [str(label) for label in labels]
    texts = period_names(labels, period) if labels.dtype.kind == "M" else labels.tolist()
    if period == "year" or period in _SINGLE:
        return [str(text) for text in texts]
    return [str(text).rpartition("-")[2] for text in texts]
