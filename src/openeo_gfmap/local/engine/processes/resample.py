"""Other pixel grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from odc.geo.geobox import GeoBox

from ...errors import OpenEOError
from ..cube import Cube, align
from ..demands import Demand, Window
from ..grid import Grid, crs_name, extent_of
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule
from ..registry import (
    CubeData,
    Projection,
    Schema,
    Text,
    process,
)
from ..resampling import SourceGrid, method_of, pixel_map, warp

Resolution = Annotated[
    Any, Schema([{"type": "number"}, {"type": "array", "items": {"type": "number"}}])
]

# Pixels of the source around the target's footprint, for the widest kernel (Lanczos).
_KERNEL = 4


# Where a corner's x and y are in the bounds of an extent.
_CORNERS = {
    "upper-left": (0, 3),
    "lower-left": (0, 1),
    "lower-right": (2, 1),
    "upper-right": (2, 3),
}


def _resample_spatial_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.raster()
    method_of(str(call.args["method"]))
    size = call.args["resolution"]
    sizes = size if isinstance(size, list) else [size]
    numbers = all(isinstance(v, int | float) and np.isfinite(v) and v >= 0 for v in sizes)
    if not numbers or len(set(sizes)) != 1:
        raise call.invalid("resolution", f"must be one size of square pixels, got {size!r}")
    projection, align = call.args.get("projection"), str(call.args["align"])
    if align not in _CORNERS:
        raise call.invalid("align", f"is {align!r}; use one of {', '.join(_CORNERS)}")
    crs = meta.grid.crs if projection in (None, 0) else crs_name(projection)
    if crs == meta.grid.crs:
        if not sizes[0] or sizes[0] == meta.grid.resolution:
            return meta
        origin = meta.grid.origin
    else:
        if not sizes[0]:
            raise call.invalid("resolution", "must be given when the projection changes")
        origin = (0.0, 0.0)
    if align != "upper-left":
        x, y = _CORNERS[align]
        bounds = extent_of(meta.grid.cover(meta.extent)).to(crs).bounds
        origin = (bounds[x], bounds[y])
    return _on(meta, Grid(crs, float(sizes[0]), origin))


def _on(meta: CubeMeta, grid: Grid) -> CubeMeta:
    extent = meta.extent
    if meta.features is not None and grid.crs != meta.grid.crs:
        # Closer than the bounds of their bounds.
        extent = meta.extent.intersection(meta.features.to(grid.crs).extent) or extent
    return meta.patch(grid=grid, extent=extent, block=1, margin=0)


def _source_demand(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    """Ask for the source pixels under the target's, and some around for wide kernels."""
    return {"data": demand.patch(box=source_box(call.cube(), demand.box, call.args["method"]))}


def source_box(meta: CubeMeta, box: GeoBox | None, method: str) -> GeoBox | None:
    """Return the pixels of a cube that a box of another grid is made from."""
    if box is None or meta.grid.holds(box):
        return box
    cover = meta.grid.cover(extent_of(box))
    if method == "near":
        return cover.pad(1)
    ratio = (
        max(1.0, box.transform.a / meta.grid.resolution)
        if (crs_name(box.crs) == meta.grid.crs)
        else max(1.0, cover.shape[1] / box.shape[1])
    )
    return cover.pad(int(np.ceil(_KERNEL * ratio)))


@process(plan=Rule(meta=_resample_spatial_meta, inputs=_source_demand))
def resample_spatial(
    data: CubeData,
    resolution: Resolution = 0,
    projection: Projection = None,
    method: Text = "near",
    align: Text = "upper-left",
    *,
    env: Any,
) -> CubeData:
    """Bring a cube onto other pixels.

    The new pixel corners are multiples of the resolution, so that results of different places
    and jobs fit together; ``align`` can ask for another grid.

    Parameters
    ----------
    data
        A raster data cube.
    resolution
        Size of the square pixels in units of the projection; 0 keeps it.
    projection
        EPSG code or WKT; null keeps it.
    method
        Resampling method.
    align
        ``upper-left``, the default, is the grid just described. ``lower-left``, ``lower-right``
        and ``upper-right`` put a pixel corner on that corner of the cube's extent, on which the
        grid then depends.

    Returns
    -------
    CubeData
        The cube on the new pixels.
    """
    return onto(data, env.demand.box, method)


def _target_meta(call: Call, context: PlanContext) -> CubeMeta:
    method_of(str(call.args["method"]))
    return _on(call.raster(), call.raster("target").grid)


@process(plan=Rule(meta=_target_meta, inputs=_source_demand))
def resample_cube_spatial(
    data: CubeData, target: CubeData, method: Text = "near", *, env: Any
) -> CubeData:
    """Bring a cube onto the pixels of another.

    Parameters
    ----------
    data
        A raster data cube.
    target
        The cube that has the wanted pixels.
    method
        Resampling method.

    Returns
    -------
    CubeData
        The cube on the pixels of the target.
    """
    return onto(data, env.demand.box, method)


def onto(cube: Cube, box: GeoBox, method: str) -> Cube:
    """Resample a cube onto a box of another grid; a box of the same grid changes nothing."""
    have = cube.geobox
    if have is None:
        raise OpenEOError("DimensionMissing", "A cube without x and y cannot be resampled.")
    if Grid(crs_name(have.crs), have.transform.a, (have.transform.c, have.transform.f)).holds(box):
        return cube
    (ready,) = align([cube], room=True)
    grid = SourceGrid(crs_name(have.crs), have.transform, (have.shape[0], have.shape[1]))
    missing = float("nan") if ready.nodata is None else ready.nodata
    planes = ready.data.reshape(-1, *have.shape)
    if method == "near":
        mapping = pixel_map(box, grid)
        out = np.full((len(planes), *box.shape), missing, dtype=ready.data.dtype)
        if mapping is not None:
            top, bottom, left, right = mapping.window
            for target, plane in zip(out, planes, strict=True):
                target[...] = mapping.gather(plane[top:bottom, left:right], missing)
    else:
        out = np.stack([warp(plane, grid, box, method, missing) for plane in planes])
    return ready.with_data(out.reshape(*ready.data.shape[:-2], *box.shape), geobox=box)
