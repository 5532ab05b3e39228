"""Masks: by another cube, by polygons, and by dilated Sentinel-2 scene classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ..cube import Cube, align, crop, hide, placed
from ..demands import Demand, Window, in_order
from ..features import Features
from ..kernels import SCL_MASK1, SCL_MASK2, scl_dilation_mask
from ..limits import beyond, confined
from ..meta import CubeMeta, Unknown
from ..plan import Call, PlanContext, Rule
from ..registry import (
    Boolean,
    CubeData,
    Geometries,
    Integer,
    Scalar,
    Schema,
    Text,
    process,
)
from .merge import same_grid

SclValues = Annotated[Any, Schema({"type": "array", "items": {"type": "integer"}})]

# Pixels: each window is read with half of it on all sides.
_MOST_KERNEL = 1001
_MASK_LABEL = "SCL_DILATED_MASK"


def _require_number(call: Call) -> None:
    value = call.args.get("replacement")
    if value is not None and not isinstance(value, int | float | Unknown):
        raise call.invalid("replacement", f"is {value!r:.50}; pixels are numbers, true or false")


def _mask_meta(call: Call, context: PlanContext) -> CubeMeta:
    _require_number(call)
    data, mask = call.cube(), call.cube("mask")
    same_grid(call, data, mask, "mask")
    extra = [d for d in mask.dims if d not in data.dims]
    if extra:
        raise call.invalid("mask", f"has the dimensions {', '.join(extra)}, which data lacks")
    return data.patch(margin=max(data.margin, mask.margin))


def _mask_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {"data": demand, "mask": demand.patch(bands=_mask_bands(call, demand))}


def _mask_bands(call: Call, demand: Demand) -> tuple[str, ...] | None:
    """Return the bands of a mask to look at: its only one, or those of the same name."""
    have = call.cube("mask").bands
    if have is None or demand.bands is None or len(have) == 1:
        return None
    return in_order(have, demand.bands) or None


@process(plan=Rule(meta=_mask_meta, inputs=_mask_inputs))
def mask(
    data: CubeData, mask: CubeData, replacement: Scalar = None, *, env: Any = None
) -> CubeData:
    """Replace the pixels where a mask is true.

    Parameters
    ----------
    data
        A raster data cube.
    mask
        Pixels that are neither 0 nor missing are replaced; outside of the mask's own
        filter_spatial or filter_bbox there are none. A mask without dates or bands, or with
        a single band, holds for all of them; dates that the mask lacks stay as they are.
    replacement
        The new value; null makes pixels missing.

    Returns
    -------
    CubeData
        The masked cube.
    """
    if env is not None and env.call is not None:
        limits = beyond(env.call.cube("mask").limits, env.call.cube().limits)
        mask = confined(mask, limits)
    where = _broadcast(mask, (mask.data != 0) & ~mask.missing(), data)
    return replaced(data, where, replacement)


def _broadcast(mask: Cube, where: Any, data: Cube) -> np.ndarray[Any, Any]:
    """Bring a mask's truth values into the shape of the data, label by label."""
    for axis, dim in enumerate(data.dims):
        if dim not in mask.dims:
            where = np.expand_dims(where, axis)
            continue
        if dim not in data.labels or (dim == "bands" and where.shape[axis] == 1):
            continue
        have, wanted = mask.labels[dim].tolist(), data.labels[dim].tolist()
        if have == wanted:
            continue
        if dim == "bands":
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The mask has the bands {', '.join(have)}, the data {', '.join(wanted)}; a mask "
                "needs the same bands, or one, or none.",
            )
        position = {label: i for i, label in enumerate(have)}
        found = np.asarray([position.get(label, len(have)) for label in wanted], dtype=int)
        padded = (
            np.concatenate([where, np.zeros_like(where.take([0], axis))], axis)
            if (len(have))
            else np.zeros((*where.shape[:axis], 1, *where.shape[axis + 1 :]), dtype=bool)
        )
        where = padded.take(found, axis)
    return np.broadcast_to(where, data.data.shape)


def replaced(cube: Cube, where: np.ndarray[Any, Any], value: Any) -> Cube:
    """Return the cube with another value where a mask is true; None is missing."""
    if value is None:
        return hide(cube, where)
    if float(value).is_integer() and np.issubdtype(cube.data.dtype, np.integer):
        limits = np.iinfo(cube.data.dtype)
        if limits.min <= value <= limits.max and value != cube.nodata:
            return cube.with_data(np.where(where, cube.data.dtype.type(value), cube.data))
    (ready,) = align([cube.as_float()])
    return ready.with_data(np.where(where, ready.data.dtype.type(value), ready.data))


def _mask_polygon_meta(call: Call, context: PlanContext) -> CubeMeta:
    _require_number(call)
    if not isinstance(call.args["mask"], Unknown):
        Features.parse(call.args["mask"])
    return call.raster()


@process(plan=Rule(meta=_mask_polygon_meta))
def mask_polygon(
    data: CubeData, mask: Geometries, replacement: Scalar = None, inside: Boolean = False
) -> CubeData:
    """Replace the pixels outside (or inside) polygons.

    Parameters
    ----------
    data
        A raster data cube.
    mask
        GeoJSON or a vector data cube.
    replacement
        The new value; null makes pixels missing.
    inside
        Replace the pixels whose centre lies inside instead.

    Returns
    -------
    CubeData
        The masked cube.
    """
    held = Features.parse(mask).inside(placed(data))
    where = np.broadcast_to(held if inside else ~held, data.data.shape)
    return replaced(data, where, replacement)


def _scl_margin(call: Call) -> int:
    """Context pixels: the kernels' reach, and that of the erosion before them."""
    kernel = max(int(call.args["kernel1_size"] or 0), int(call.args["kernel2_size"] or 0))
    return kernel // 2 + int(call.args["erosion_kernel_size"] or 0) // 2


def _scl_band(call: Call) -> str | None:
    """Return the SCL band's name; None when only a run knows the bands."""
    meta, name = call.cube(), str(call.args["scl_band_name"])
    if meta.bands is None:
        return None
    if name in meta.bands:
        return name
    if len(meta.bands) == 1:
        return meta.bands[0]
    raise call.invalid("scl_band_name", f"is {name!r}; the cube has {', '.join(meta.bands)}")


def _scl_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.raster()
    _scl_band(call)
    for name in ("kernel1_size", "kernel2_size", "erosion_kernel_size"):
        if not 0 <= (call.args[name] or 0) <= _MOST_KERNEL:
            raise call.invalid(name, f"is {call.args[name]}; give 0 to {_MOST_KERNEL} pixels")
    return meta.patch(margin=meta.margin + _scl_margin(call))


def _to_scl_meta(call: Call, context: PlanContext) -> CubeMeta:
    return _scl_meta(call, context).patch(bands=(_MASK_LABEL,))


def _to_scl_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    band = _scl_band(call)
    wanted = demand.padded(_scl_margin(call))
    return {"data": wanted.patch(bands=None if band is None else (band,))}


@process(plan=Rule(meta=_to_scl_meta, inputs=_to_scl_inputs))
def to_scl_dilation_mask(  # noqa: PLR0917  (the order of the openEO parameters)
    data: CubeData,
    scl_band_name: Text = "SCL",
    kernel1_size: Integer = 17,
    kernel2_size: Integer = 77,
    mask1_values: SclValues = SCL_MASK1,
    mask2_values: SclValues = SCL_MASK2,
    erosion_kernel_size: Integer = 0,
) -> CubeData:
    """Make a mask from Sentinel-2 scene classes: clouds, shadows and their surroundings.

    Each of two sets of classes is eroded and then dilated by a Gaussian kernel; see
    ``kernels.scl_dilation_mask`` for the formula. Sizes are in pixels of the cube.

    Parameters
    ----------
    data
        A raster data cube with the SCL band.
    scl_band_name
        Name of that band; not needed for a cube of one band.
    kernel1_size
        Side of the small kernel, for all that is not one of mask1_values; 0 skips it.
    kernel2_size
        Side of the large kernel, for mask2_values; 0 skips it.
    mask1_values
        Classes that are clear.
    mask2_values
        Classes that are cloud, shadow, cirrus or snow.
    erosion_kernel_size
        Diameter of the disk that erodes both masks first; 0 skips it.

    Returns
    -------
    CubeData
        One band: 1 is masked, 0 is clear.
    """
    scl = _scl_of(data, scl_band_name)
    masked = scl_dilation_mask(
        scl, data.nodata, kernel1_size or 0, kernel2_size or 0, mask1_values, mask2_values,
        erosion_kernel_size or 0,
    )  # fmt: skip
    axis = data.axis("bands")
    labels = {**data.labels, "bands": np.asarray([_MASK_LABEL])}
    return data.with_data(np.expand_dims(masked, axis).astype(np.uint8), labels=labels, nodata=None)


def _scl_of(data: Cube, name: str) -> np.ndarray[Any, Any]:
    """Return the SCL plane with dims (t, y, x) or (y, x)."""
    names = data.labels["bands"].tolist()
    if name not in names and len(names) != 1:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"scl_band_name is {name!r}; the cube has {', '.join(names)}.",
        )
    index = names.index(name) if name in names else 0
    return np.asarray(data.data.take(index, axis=data.axis("bands")))


def _mask_scl_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    # The classes are wanted with context, all other bands without: two demands on one cube.
    return {"data": demand, "data:scl": _to_scl_inputs(call, demand, window)["data"]}


@process(plan=Rule(meta=_scl_meta, inputs=_mask_scl_inputs))
def mask_scl_dilation(  # noqa: PLR0917  (the order of the openEO parameters)
    data: CubeData,
    scl_band_name: Text = "SCL",
    kernel1_size: Integer = 17,
    kernel2_size: Integer = 77,
    mask1_values: SclValues = SCL_MASK1,
    mask2_values: SclValues = SCL_MASK2,
    erosion_kernel_size: Integer = 0,
    *,
    env: Any,
) -> CubeData:
    """Hide clouds, shadows and their surroundings, in all bands.

    The mask is that of to_scl_dilation_mask; masked pixels become missing.

    Parameters
    ----------
    data
        A raster data cube with the SCL band.
    scl_band_name
        As in to_scl_dilation_mask.
    kernel1_size
        As in to_scl_dilation_mask.
    kernel2_size
        As in to_scl_dilation_mask.
    mask1_values
        As in to_scl_dilation_mask.
    mask2_values
        As in to_scl_dilation_mask.
    erosion_kernel_size
        As in to_scl_dilation_mask.

    Returns
    -------
    CubeData
        The masked cube.
    """
    dilated = to_scl_dilation_mask(
        env.aside["data:scl"], scl_band_name, kernel1_size, kernel2_size, mask1_values,
        mask2_values, erosion_kernel_size,
    )  # fmt: skip
    if data.geobox is not None:
        dilated = crop(dilated, data.geobox)
    return hide(data, np.broadcast_to(dilated.data != 0, data.data.shape))
