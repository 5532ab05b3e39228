"""Callbacks over chunks of a cube, with overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from odc.geo.geobox import GeoBox

from ...errors import OpenEOError
from ..callbacks import BoundCallback, evaluate_callback
from ..cube import Array, Cube, crop, placed, select
from ..demands import Demand, Window
from ..grid import Grid
from ..meta import CubeMeta
from ..periods import PERIODS, split_periods
from ..plan import Call, PlanContext, Rule
from ..registry import AnyValue, Callback, CubeData, Schema, process
from ..values import along
from .udf import after_udf, takes_cubes

Chunks = Annotated[
    Any,
    Schema({"type": "array", "items": {"type": "object", "subtype": "chunk-size"}}),
]


# Pixels: every chunk is read and handed over with this much around it.
_MOST_OVERLAP = 1024


@dataclass(frozen=True)
class _Chunking:
    """Sizes and overlaps in pixels; None is all of a dimension."""

    width: int | None = None
    height: int | None = None
    period: str | None = None
    overlap_x: int = 0
    overlap_y: int = 0

    @property
    def single_pixels(self) -> bool:
        """Whether every chunk is one pixel, so that only other dimensions matter."""
        return self.width == self.height == 1 and not self.overlap_x and not self.overlap_y


def _chunking(call: Call) -> _Chunking:
    meta = call.cube()
    found: dict[str, Any] = {}
    for entry in call.args["size"] or ():
        dimension, value = _entry(call, "size", entry, meta)
        if dimension == "t":
            if value is not None and value not in PERIODS:
                raise call.invalid(
                    "size", f"splits t by {value!r}; use one of {', '.join(PERIODS)}, or null"
                )
            found["period"] = value
        else:
            pixels = None if value is None else _pixels(call, "size", entry, meta)
            if pixels is not None and pixels < 1:
                raise call.invalid("size", f"must be at least one pixel, got {entry!r}")
            found["width" if dimension == "x" else "height"] = pixels
    for entry in call.args["overlap"] or ():
        dimension, value = _entry(call, "overlap", entry, meta)
        if dimension == "t":
            raise call.invalid("overlap", "can be in x and y only")
        pixels = 0 if value is None else _pixels(call, "overlap", entry, meta)
        if pixels > _MOST_OVERLAP:
            raise call.invalid("overlap", f"is {pixels} pixels; give {_MOST_OVERLAP} at most")
        found[f"overlap_{dimension}"] = pixels
    return _Chunking(**found)


def _entry(call: Call, name: str, entry: Any, meta: CubeMeta) -> tuple[str, Any]:
    if not isinstance(entry, Mapping) or entry.get("dimension") not in ("x", "y", "t"):
        raise call.invalid(
            name, f"has {entry!r}; expected {{'dimension': 'x', 'unit': 'px', 'value': 256}}"
        )
    if entry["dimension"] not in meta.dims:
        raise call.invalid(name, f"names {entry['dimension']!r}, which the cube does not have")
    return entry["dimension"], entry.get("value")


def _pixels(call: Call, name: str, entry: Mapping[str, Any], meta: CubeMeta) -> int:
    value, unit = entry["value"], entry.get("unit") or "px"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < 2**31:
        raise call.invalid(name, f"must be a number of pixels, got {value!r}")
    if unit not in ("px", "m"):
        raise call.invalid(name, f"has the unit {unit!r}; use 'px' or 'm'")
    pixels: float = value if unit == "px" else value / meta.grid.resolution
    return round(pixels)


def _meta(call: Call, context: PlanContext) -> CubeMeta:
    meta, chunks = call.raster(), _chunking(call)
    udf = takes_cubes(call.args["process"])
    sizes = [n for n in (chunks.width, chunks.height) if n is not None]
    result = after_udf(meta) if udf else meta.patch(itemsize=max(4, meta.itemsize))
    return result.patch(
        block=math.lcm(meta.block, *sizes),
        margin=meta.margin + max(chunks.overlap_x, chunks.overlap_y),
    )


def _inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    meta, chunks = call.cube(), _chunking(call)
    bands = None if takes_cubes(call.args["process"]) else demand.bands
    wanted = demand.patch(bands=bands, interval=(None, None))
    if demand.box is None or chunks.single_pixels:
        return {"data": wanted}
    columns, rows = _spans(chunks, demand.box, window.area(meta.grid), meta.grid)
    column, row = meta.grid.position(demand.box)
    left, right = column + columns[0][0], column + columns[-1][1]
    top, bottom = row + rows[0][0], row + rows[-1][1]
    x, y = chunks.overlap_x, chunks.overlap_y
    box = meta.grid.box(left - x, top - y, right - left + 2 * x, bottom - top + 2 * y)
    return {"data": wanted.patch(box=box)}


Span = tuple[int, int]


def _spans(
    chunks: _Chunking, box: GeoBox, region: GeoBox, grid: Grid
) -> tuple[list[Span], list[Span]]:
    """Return the columns and rows of the chunks that touch a box, relative to its corner.

    Chunks start at the region's upper-left corner. Those inside the region are whole, so that
    their content does not depend on the window; context beyond it is only taken as far as the
    box goes.
    """
    column, row = grid.position(box)
    left, top = grid.position(region)
    height, width = box.shape
    return (
        _spans_along(column - left, width, region.shape[1], chunks.width),
        _spans_along(row - top, height, region.shape[0], chunks.height),
    )


def _spans_along(start: int, length: int, region: int, size: int | None) -> list[Span]:
    size = region if size is None else size
    stop = start + length
    found = []
    for k in range(start // size, -(-stop // size)):
        low, high = k * size, (k + 1) * size
        # The region's edges cut chunks, too: a last chunk does not reach into the context.
        for a, b in (
            (low, min(high, 0)),
            (max(low, 0), min(high, region)),
            (max(low, region), high),
        ):
            outside = b <= 0 or a >= region
            a, b = (max(a, start), min(b, stop)) if outside else (a, b)  # noqa: PLW2901
            if a < b and a < stop and b > start:
                found.append((a - start, b - start))
    return found


@process(plan=Rule(meta=_meta, inputs=_inputs))
def apply_neighborhood(
    data: CubeData,
    process: Callback,
    size: Chunks,
    overlap: Chunks = None,
    context: AnyValue = None,
    *,
    env: Any,
) -> CubeData:
    """Apply a callback to chunks of a cube.

    Chunks start at the upper-left corner of the feature or of the whole extent, and are cut at
    its other edges. The callback gets each with the overlap around it, real pixels wherever there
    are any, and what it gives for the overlap is cut off again.

    Parameters
    ----------
    data
        A raster data cube.
    process
        Callback on data: run_udf or predict_onnx, which get the chunk as a cube; or any callback
        on the array of a chunk's values, band by band, dates outside, then rows, then columns.
        It gives one value for the chunk, or as many as it got. With a size of 1 px in x and y
        and without overlap, the array is labeled with the dates.
    size
        Chunk size per dimension: x and y in ``px`` or ``m``; for t a period such as ``dekad``.
        Dimensions that are left out are not split.
    overlap
        Pixels around the chunk, x and y, in ``px`` or ``m``.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        A cube on the same pixels.
    """
    chunks = _chunking(env.call)
    parts = _by_period(data, chunks.period)
    if not takes_cubes(process) and chunks.single_pixels:
        done = [_along_time(part, process, context) for part in parts]
    else:
        done = [_by_chunk(part, process, context, chunks, env) for part in parts]
    if len(done) == 1:
        return done[0]
    axis = done[0].axis("t")
    times = np.concatenate([c.labels["t"] for c in done])
    values = np.concatenate([c.as_float().data for c in done], axis=axis)
    return done[0].as_float().with_data(values, labels={**done[0].labels, "t": times})


def _by_period(cube: Cube, period: str | None) -> list[Cube]:
    if period is None or "t" not in cube.dims or not len(cube.labels["t"]):
        return [cube]
    times = cube.labels["t"]
    return [select(cube, "t", times[i]) for _, i in split_periods(times, period) if len(i)]


def _along_time(cube: Cube, callback: BoundCallback, context: Any) -> Cube:
    wide = cube.as_float()
    axis = wide.axis("t") if "t" in wide.dims else 0
    values = np.moveaxis(wide.data, axis, 0)
    labels = wide.labels.get("t")
    result = evaluate_callback(callback, {"data": Array(values, labels), "context": context})
    made = _as_many(result, values)
    return wide.with_data(np.moveaxis(made, 0, axis))


def _as_many(result: Any, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what a callback made of arrays along axis 0, its one value repeated along it."""
    if isinstance(result, list | tuple):
        result = Array(along(result))
    made = result.values if isinstance(result, Array) else np.asarray(result, dtype=float)
    if made.shape in {(), values.shape[1:]} and made.shape != values.shape:
        made = np.broadcast_to(made, values.shape)
    if made.shape[:1] == values.shape[:1] and made.ndim == 1:
        made = np.broadcast_to(made.reshape(-1, *(1,) * (values.ndim - 1)), values.shape)
    if made.shape != values.shape:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The callback gave {made.shape[0] if made.ndim else 1} values for {len(values)}; it "
            "must give as many, or one.",
        )
    return np.array(made, dtype=values.dtype)


def on_chunk(cube: Cube, callback: BoundCallback, context: Any) -> Cube:
    """Apply a callback to a chunk: to the cube itself, or to the array of its values by band."""
    if takes_cubes(callback):
        made: Cube = evaluate_callback(callback, {"data": cube, "context": context})
        return made
    wide = cube.as_float()
    kept = [d for d in wide.dims if d not in ("t", "y", "x")]
    order = [d for d in ("t", "y", "x") if d in wide.dims] + kept
    moved = np.transpose(wide.data, [wide.axis(d) for d in order])
    flat = moved.reshape(-1, *moved.shape[moved.ndim - len(kept) :])
    result = evaluate_callback(callback, {"data": Array(flat), "context": context})
    values = _as_many(result, flat).reshape(moved.shape)
    return wide.with_data(np.transpose(values, [order.index(d) for d in wide.dims]))


def _by_chunk(
    cube: Cube, callback: BoundCallback, context: Any, chunks: _Chunking, env: Any
) -> Cube:
    box: GeoBox = env.demand.box
    grid: Grid = env.call.cube().grid
    columns, rows = _spans(chunks, box, env.window.area(grid), grid)
    column, row = grid.position(box)
    x, y = chunks.overlap_x, chunks.overlap_y
    bands: list[list[Cube]] = []
    for top, bottom in rows:
        strip = []
        for left, right in columns:
            core = grid.box(column + left, row + top, right - left, bottom - top)
            outer = grid.box(
                column + left - x, row + top - y, right - left + 2 * x, bottom - top + 2 * y
            )
            made = on_chunk(crop(cube, outer), callback, context)
            strip.append(crop(on_box(made, outer), core))
        bands.append(strip)
    if len(bands) == 1 and len(bands[0]) == 1:
        return bands[0][0]
    first = bands[0][0]
    joined = np.concatenate(
        [np.concatenate([_like(c, first).data for c in strip], axis=-1) for strip in bands], axis=-2
    )
    whole = grid.box(
        column + columns[0][0],
        row + rows[0][0],
        columns[-1][1] - columns[0][0],
        rows[-1][1] - rows[0][0],
    )
    return first.with_data(joined, geobox=whole)


def on_box(cube: Cube, box: GeoBox) -> Cube:
    """Trust the shape of what a UDF gave back; its coordinates may be gone."""
    if tuple(cube.data.shape[-2:]) != tuple(box.shape):
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The UDF gave {cube.data.shape[-2:]} rows and columns for a chunk of "
            f"{tuple(box.shape)}; it must keep the shape.",
        )
    return cube.with_data(cube.data, geobox=box)


def _like(cube: Cube, first: Cube) -> Cube:
    """Check that chunks fit together."""
    for dim, labels in first.labels.items():
        if not np.array_equal(labels, cube.labels.get(dim, ())):
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The callback gave different labels of {dim!r} for different chunks.",
            )
    return cube if cube.nodata == first.nodata else cube.as_float()


def joined(like: Cube, parts: Sequence[tuple[Cube, np.ndarray[Any, Any]]], box: GeoBox) -> Cube:
    """Put parts of a box together; what no part holds is missing.

    Parameters
    ----------
    like
        Gives dimensions and labels where there are no parts.
    parts
        Cubes of one structure with masks (y, x) of the pixels that count. They may reach beyond
        the box.
    box
        The pixels of the result.
    """
    if not parts:
        return like.as_float().with_data(
            np.full((*like.data.shape[:-2], *box.shape), np.nan, dtype=np.float32), geobox=box
        )
    first = parts[0][0].as_float()
    data = np.full((*first.data.shape[:-2], *box.shape), np.nan, dtype=first.data.dtype)
    for part, inside in parts:
        cube, have = _like(part, first).as_float(), placed(part)
        size = box.transform.a
        left = round((have.transform.c - box.transform.c) / size)
        top = round((box.transform.f - have.transform.f) / size)
        rows = slice(max(0, -top), min(have.shape[0], box.shape[0] - top))
        columns = slice(max(0, -left), min(have.shape[1], box.shape[1] - left))
        target = data[
            ..., rows.start + top : rows.stop + top, columns.start + left : columns.stop + left
        ]
        np.copyto(target, cube.data[..., rows, columns], where=inside[rows, columns])
    return first.with_data(data, geobox=box)
