"""Convolution with a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from odc.geo.geobox import GeoBox

from ...errors import OpenEOError
from ..cube import placed
from ..demands import Demand, Window
from ..grid import Grid
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule
from ..registry import CubeData, Schema, process

Kernel = Annotated[Any, Schema({"type": "array", "subtype": "kernel", "items": {"type": "array"}})]
Factor = Annotated[Any, Schema({"type": "number"})]
Border = Annotated[Any, Schema([{"type": "string"}, {"type": "number"}])]

# Pixels: each window is read with half of it on all sides.
_MOST_KERNEL = 1001
# Weights from which on a Fourier transform is faster than sums.
_MANY = 400


def _mirrored(i: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    j = i % (2 * size)
    return np.asarray(np.where(j < size, j, 2 * size - 1 - j))


def _mirrored_at_centres(i: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    j = i % max(1, 2 * (size - 1))
    return np.asarray(np.where(j < size, j, 2 * (size - 1) - j))


def _clipped(i: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    return np.asarray(np.clip(i, 0, size - 1))


def _wrapped(i: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    return np.asarray(i % size)


# How a position beyond the border becomes one inside, by openEO's names.
_BORDERS: dict[str, Callable[[np.ndarray[Any, Any], int], np.ndarray[Any, Any]]] = {
    "replicate": _clipped,
    "reflect": _mirrored,
    "reflect_pixel": _mirrored_at_centres,
    "wrap": _wrapped,
}


def _weights(call: Call) -> np.ndarray[Any, Any]:
    """Return the kernel with dims (y, x), as float64."""
    try:
        kernel = np.asarray(call.args["kernel"], dtype=np.float64)
    except (TypeError, ValueError):
        kernel = np.empty(0)
    if kernel.ndim != 2 or not kernel.size or not np.isfinite(kernel).all():
        raise call.invalid("kernel", "must be a list of rows of numbers, all of one length")
    if not all(n % 2 for n in kernel.shape):
        raise OpenEOError(
            "KernelDimensionsUneven",
            f"Node {call.node.id!r}: the kernel has {kernel.shape[0]} rows and {kernel.shape[1]} "
            "columns; each number must be odd, so that there is a centre.",
            node=call.node.id,
        )
    if max(kernel.shape) > _MOST_KERNEL:
        raise call.invalid("kernel", f"has a side of {max(kernel.shape)}; give {_MOST_KERNEL}")
    return kernel


def _reach(kernel: np.ndarray[Any, Any]) -> tuple[int, int]:
    """Return the context pixels in y and x."""
    return kernel.shape[0] // 2, kernel.shape[1] // 2


def _meta(call: Call, context: PlanContext) -> CubeMeta:
    meta, kernel, border = call.raster(), _weights(call), call.args["border"]
    if isinstance(border, str) and border not in _BORDERS:
        raise call.invalid("border", f"is {border!r}; use a number or {', '.join(_BORDERS)}")
    margin = meta.margin + max(_reach(kernel))
    return meta.patch(margin=margin, itemsize=max(8, meta.itemsize))


def _inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    if demand.box is None:
        return {"data": demand}
    grid, kernel = call.cube().grid, _weights(call)
    return {"data": demand.patch(box=_source(call, demand.box, window.area(grid), grid, kernel))}


def _source(
    call: Call, box: GeoBox, region: GeoBox, grid: Grid, kernel: np.ndarray[Any, Any]
) -> GeoBox:
    """Return the pixels that the result on a box is made from."""
    column, row = grid.position(box)
    if not isinstance(call.args["border"], str):
        y, x = _reach(kernel)
        return grid.box(column - x, row - y, box.shape[1] + 2 * x, box.shape[0] + 2 * y)
    left, top = grid.position(region)
    rows, columns = _positions(call.args["border"], box, region, grid, kernel)
    return grid.box(
        left + int(columns.min()),
        top + int(rows.min()),
        int(np.ptp(columns)) + 1,
        int(np.ptp(rows)) + 1,
    )


def _positions(
    border: str, box: GeoBox, region: GeoBox, grid: Grid, kernel: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the rows and columns of a region that stand for a box and what is around it."""
    column, row = grid.position(box)
    left, top = grid.position(region)
    y, x = _reach(kernel)
    rows = np.arange(row - y, row + box.shape[0] + y) - top
    columns = np.arange(column - x, column + box.shape[1] + x) - left
    inside = _BORDERS[border]
    return inside(rows, region.shape[0]), inside(columns, region.shape[1])


@process(plan=Rule(meta=_meta, inputs=_inputs))
def apply_kernel(
    data: CubeData,
    kernel: Kernel,
    factor: Factor = 1,
    border: Border = 0,
    replace_invalid: Factor = 0,
    *,
    env: Any,
) -> CubeData:
    """Convolve the pixels of each date and band with a kernel.

    Each weight is multiplied with the pixel it lies on, and the products are summed; the kernel is
    not turned round.

    Parameters
    ----------
    data
        A raster data cube.
    kernel
        Rows (y) of weights (x), both of odd number.
    factor
        Multiplies each sum.
    border
        A number stands for pixels outside of the extent, wherever there are no real ones;
        ``replicate``, ``reflect``, ``reflect_pixel`` and ``wrap`` repeat the pixels inside of the
        feature or the extent, and look at none outside.
    replace_invalid
        Stands for missing and infinite values.

    Returns
    -------
    CubeData
        A cube on the same pixels; float64.
    """
    weights, grid = _weights(env.call), env.call.cube().grid
    box, region = env.demand.box, env.window.area(grid)
    values, have = data.as_float().data.astype(np.float64), placed(data)
    valid = np.isfinite(values)
    values = np.where(valid, values, replace_invalid)
    if isinstance(border, str):
        rows, columns = _positions(border, box, region, grid, weights)
        left, top = grid.position(have)
        first_column, first_row = grid.position(region)
        values = values[..., rows + first_row - top, :][..., columns + first_column - left]
    elif border != replace_invalid:
        values = np.where(~valid & ~_within(have, region, grid), border, values)
    summed = _correlated(values, weights) * factor
    return data.with_data(summed, geobox=box, nodata=None)


def _within(box: GeoBox, region: GeoBox, grid: Grid) -> np.ndarray[Any, Any]:
    """Return which pixels of a box lie in a region: a boolean array with dims (y, x)."""
    column, row = grid.position(box)
    left, top = grid.position(region)
    rows, columns = np.arange(box.shape[0]) + row - top, np.arange(box.shape[1]) + column - left
    inside_y = (rows >= 0) & (rows < region.shape[0])
    inside_x = (columns >= 0) & (columns < region.shape[1])
    return np.asarray(np.logical_and.outer(inside_y, inside_x))


def _correlated(values: np.ndarray[Any, Any], kernel: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the sums of products wherever the whole kernel lies inside."""
    from scipy.signal import correlate, oaconvolve  # noqa: PLC0415  (slow to import)

    planes = values.reshape(-1, *values.shape[-2:])
    if kernel.size < _MANY:
        made = [correlate(plane, kernel, mode="valid", method="direct") for plane in planes]
    else:
        turned = kernel[::-1, ::-1]
        made = [oaconvolve(plane, turned, mode="valid") for plane in planes]
    shape = (values.shape[-2] - kernel.shape[0] + 1, values.shape[-1] - kernel.shape[1] + 1)
    return np.asarray(made).reshape(*values.shape[:-2], *shape)
