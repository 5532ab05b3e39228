"""Aggregation over time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ..axes import dates_of, label_array, temporal
from ..callbacks import BoundCallback
from ..cube import Array, Cube
from ..demands import Demand, Window
from ..instants import parse_instant
from ..meta import CubeMeta
from ..periods import PERIODS, split_periods
from ..plan import Call, PlanContext, Rule
from ..registry import AnyValue, Callback, CubeData, Schema, Text, process
from .dimensions import along_axis, in_type_of, reduced

Intervals = Annotated[Any, Schema({"type": "array", "subtype": "temporal-intervals"})]
Labels = Annotated[Any, Schema([{"type": "array"}, {"type": "null"}])]

_CLOCK = re.compile(r"^([01]\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?Z?$")


def _time_meta(call: Call, labels: Sequence[Any] | None = None) -> CubeMeta:
    """Return metadata with a computed time axis, whose labels may be known."""
    meta = call.cube()
    dimension = temporal(call, meta)
    known = {d: v for d, v in meta.labels.items() if d != dimension}
    if labels is not None:
        known[dimension] = tuple(labels)
    meta = meta.patch(labels=known, itemsize=max(4, meta.itemsize))
    if dimension != "t":
        return meta
    return meta.patch(time=f"{meta.time}/{call.node.id}", periods=True)


def _period_meta(call: Call, context: PlanContext) -> CubeMeta:
    if call.args["period"] not in PERIODS:
        raise call.invalid("period", f"is {call.args['period']!r}; use one of {', '.join(PERIODS)}")
    return _time_meta(call)


def _all_dates(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {"data": demand.patch(interval=(None, None))}


@process(plan=Rule(meta=_period_meta, inputs=_all_dates))
def aggregate_temporal_period(
    data: CubeData,
    period: Text,
    reducer: Callback,
    dimension: Text = None,
    context: AnyValue = None,
    *,
    env: Any,
) -> CubeData:
    """Aggregate the dates of each calendar period.

    The labels are the first day of each period, as on CDSE, so that results keep a time axis.
    Conditions of filter_labels see them by openEO's names, such as ``2020-06``. There is one for
    every period of the interval that was asked for when loading, whether it holds data or not.

    Parameters
    ----------
    data
        A raster data cube.
    period
        hour, day, week, dekad, month, season, tropical-season, year, decade or decade-ad.
    reducer
        Callback on data, the labeled array of a period's values, which gives one value.
    dimension
        The time dimension; by default the only one there is.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The cube with one date per period.
    """
    meta = env.call.cube()
    axis = temporal(env.call, meta)
    interval = meta.interval if axis == "t" else (None, None)
    start, end = (
        None if v is None else np.datetime64(v.replace(tzinfo=None), "ns") for v in interval
    )
    times = dates_of(data, axis, env.call)
    groups = split_periods(times, period, start=start, end=end)
    labels = np.asarray([label for label, _ in groups], dtype="datetime64[ns]")
    made = _aggregated(data, axis, [index for _, index in groups], labels, reducer, context)
    return replace(made, periods={**made.periods, axis: period})


def _aggregated(  # noqa: PLR0917  (two of everything that a reducer needs)
    cube: Cube,
    dimension: str,
    groups: Sequence[np.ndarray[Any, Any]],
    labels: np.ndarray[Any, Any],
    reducer: BoundCallback,
    context: Any,
) -> Cube:
    nothing = _dates(cube, dimension, np.empty(0, dtype=int)).values
    out = np.full((len(groups), *nothing.shape[1:]), np.nan, dtype=nothing.dtype)
    for i, index in enumerate(groups):
        if len(index):
            out[i] = reduced(_dates(cube, dimension, index), reducer, context)
    values = np.moveaxis(out, 0, cube.axis(dimension))
    made = cube.with_data(values, nodata=None).relabelled(dimension, labels)
    return in_type_of(cube, made, reducer)


def _dates(cube: Cube, dimension: str, index: np.ndarray[Any, Any]) -> Array:
    """Return the float values on some dates: not all at once, so that memory holds few floats."""
    axis = cube.axis(dimension)
    together = len(index) > 0 and bool(np.all(np.diff(index) == 1))
    chosen = slice(index[0], index[-1] + 1) if together else index
    part = cube.with_data(cube.data[(*[slice(None)] * axis, chosen)])
    return Array(along_axis(part, dimension).values, cube.labels[dimension][chosen])


@dataclass(frozen=True)
class _Span:
    """One interval of time, the end not included; or of the clock, for all days."""

    start: Any
    end: Any
    clock: bool = False

    def of(self, times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return which times lie inside."""
        if self.clock:
            times = times - times.astype("datetime64[D]")
            if self.start > self.end:  # over midnight
                return np.asarray((times >= self.start) | (times < self.end))
        inside = np.ones(len(times), dtype=bool)
        if self.start is not None:
            inside &= times >= self.start
        if self.end is not None:
            inside &= times < self.end
        return inside


def _temporal_meta(call: Call, context: PlanContext) -> CubeMeta:
    return _time_meta(call, tuple(_labels(call, _spans(call))))


def _spans(call: Call) -> list[_Span]:
    intervals = call.args["intervals"]
    if not isinstance(intervals, list) or not intervals:
        raise call.invalid("intervals", f"must be a list of [start, end], got {intervals!r}")
    return [_span(call, entry) for entry in intervals]


def _span(call: Call, entry: Any) -> _Span:
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise call.invalid("intervals", f"has {entry!r}; expected [start, end]")
    clocks = [isinstance(v, str) and _CLOCK.match(v) is not None for v in entry]
    read = _clock if all(clocks) else _instant
    try:
        start, end = (None if v is None else read(v) for v in entry)
    except ValueError:
        raise call.invalid(
            "intervals", f"has {entry!r}; expected two dates, two times of day, or null"
        ) from None
    if start is not None and end is not None and start >= end and not all(clocks):
        raise OpenEOError(
            "TemporalExtentEmpty",
            f"Node {call.node.id!r}: the interval {entry!r} is empty.",
            node=call.node.id,
        )
    return _Span(start, end, all(clocks))


def _instant(text: Any) -> np.datetime64:
    instant = parse_instant(text) if isinstance(text, str) else None
    if instant is None:
        raise ValueError(text)
    return np.datetime64(instant.moment.astimezone(UTC).replace(tzinfo=None), "ns")


def _clock(text: str) -> np.timedelta64:
    hours, minutes, seconds = (int(v or 0) for v in _CLOCK.match(text).groups())  # type: ignore[union-attr]
    return np.timedelta64(3600 * hours + 60 * minutes + seconds, "s")


def _labels(call: Call, spans: Sequence[_Span]) -> np.ndarray[Any, Any]:
    """Return the labels of the intervals: those given, else their starts."""
    given = call.args.get("labels")
    if given and len(given) != len(spans):
        raise call.invalid("labels", f"has {len(given)} labels for {len(spans)} intervals")
    names = given or [entry[0] for entry in call.args["intervals"]]
    if None in names or len(set(map(str, names))) != len(names):
        raise OpenEOError(
            "DistinctDimensionLabelsRequired",
            f"Node {call.node.id!r}: the {'labels' if given else 'starts of the intervals'} "
            f"{', '.join(map(str, names[:5]))}{' …' if len(names) > 5 else ''} cannot label the "
            "results, as each must be there and differ from the others; give other labels.",
            node=call.node.id,
        )
    return label_array(names, "temporal")


@process(plan=Rule(meta=_temporal_meta, inputs=_all_dates))
def aggregate_temporal(  # noqa: PLR0917  (the order of the openEO parameters)
    data: CubeData,
    intervals: Intervals,
    reducer: Callback,
    labels: Labels = None,
    dimension: Text = None,
    context: AnyValue = None,
    *,
    env: Any,
) -> CubeData:
    """Aggregate the dates of each of some intervals.

    Parameters
    ----------
    data
        A raster data cube.
    intervals
        Each [start, end], the end not included; they may overlap, and null leaves an end open.
        Two times of day such as 06:00:00 stand for that part of every day.
    reducer
        Callback on data, the labeled array of an interval's values, which gives one value.
    labels
        Dates or names that label the results; by default the starts. Files with a time axis
        want dates.
    dimension
        The time dimension; by default the only one there is.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The cube with one label per interval.
    """
    axis = temporal(env.call, env.call.cube())
    times, spans = dates_of(data, axis, env.call), _spans(env.call)
    groups = [np.flatnonzero(span.of(times)) for span in spans]
    return _aggregated(data, axis, groups, _labels(env.call, spans), reducer, context)
