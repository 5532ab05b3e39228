"""The data cube: an array with named dimensions, labels, a pixel grid and a nodata value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from . import bits
from .periods import period_names

__all__ = ["Array", "Cube", "align", "crop", "hide", "holds", "kind_of", "placed", "select"]

_KINDS = {"t": "temporal", "bands": "bands", "y": "spatial", "x": "spatial"}


def kind_of(dim: str, kinds: Mapping[str, str]) -> str:
    """Return openEO's type of a dimension: what is noted, else what its name says."""
    return kinds.get(dim) or _KINDS.get(dim, "other")


@dataclass(frozen=True)
class Cube:
    """An eager raster cube.

    ``data`` keeps the source's dtype until a process needs floats. Missing pixels are NaN in a
    float array and ``nodata`` in an integer one; ``nodata is None`` says that an integer array
    has no missing pixels.

    Attributes
    ----------
    data
        Array of any numeric dtype, one axis per name in ``dims``.
    dims
        Dimension names in axis order. Raster cubes use ``("t", "bands", "y", "x")`` or a subset
        in that order; other dimensions stand between ``bands`` and ``y``.
    labels
        Labels per non-spatial dimension: ``datetime64[ns]`` for temporal ones (texts where a user
        named them so), ``str`` for ``bands``.
    geobox
        Pixel grid of ``y`` and ``x``: CRS, affine transform, shape. None without spatial axes.
    nodata
        Value of missing pixels in an integer array.
    kinds
        openEO types (``temporal``, ``bands``, ``other``) of dimensions whose names do not say it;
        see :meth:`kind`.
    periods
        Calendar periods that the dates of a dimension stand for; see :meth:`names`.
    """

    data: np.ndarray[Any, Any]
    dims: tuple[str, ...]
    labels: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    geobox: GeoBox | None = None
    nodata: float | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    periods: Mapping[str, str] = field(default_factory=dict)

    def axis(self, dim: str) -> int:
        """Axis of a dimension; ValueError when the cube has no such dimension."""
        return self.dims.index(dim)

    def kind(self, dim: str) -> str:
        """Type of a dimension: ``spatial``, ``temporal``, ``bands`` or ``other``."""
        return kind_of(dim, self.kinds)

    def names(self, dim: str) -> list[Any]:
        """Labels of a dimension as openEO knows them.

        Dates are RFC 3339 texts, those that stand for calendar periods have the names of these,
        such as ``2020-06`` for a month; others are as they are.
        """
        labels = self.labels[dim]
        if labels.dtype.kind != "M":
            return list(labels.tolist())
        if dim in self.periods:
            return period_names(labels, self.periods[dim])
        return [f"{text}Z" for text in np.datetime_as_string(labels, unit="s").tolist()]

    def without(self, dim: str, data: np.ndarray[Any, Any], **changes: Any) -> Cube:
        """Return a cube that has lost a dimension, around values that have lost its axis."""
        return replace(
            self,
            data=data,
            dims=tuple(d for d in self.dims if d != dim),
            labels={d: v for d, v in self.labels.items() if d != dim},
            kinds={d: v for d, v in self.kinds.items() if d != dim},
            periods={d: v for d, v in self.periods.items() if d != dim},
            **changes,
        )

    def with_data(self, data: np.ndarray[Any, Any], **changes: Any) -> Cube:
        """Return the same cube around other values."""
        return replace(self, data=data, **changes)

    def relabelled(self, dim: str, labels: np.ndarray[Any, Any]) -> Cube:
        """Return the same cube with other labels of a dimension."""
        periods = {d: v for d, v in self.periods.items() if d != dim}
        return replace(self, labels={**self.labels, dim: labels}, periods=periods)

    def missing(self) -> np.ndarray[Any, Any]:
        """Boolean array, True where a pixel is missing."""
        if np.issubdtype(self.data.dtype, np.floating):
            return np.asarray(np.isnan(self.data))
        if self.nodata is None:
            return np.zeros(self.data.shape, dtype=bool)
        return np.asarray(self.data == self.nodata)

    def as_float(self) -> Cube:
        """Return a float cube with NaN for missing: float32 for up to 16 bits, else float64."""
        if np.issubdtype(self.data.dtype, np.floating):
            return self
        wide = self.data.dtype.itemsize > 2
        values = bits.as_floats(self.data, self.nodata, np.float64 if wide else np.float32)
        return replace(self, data=values, nodata=None)


def placed(cube: Cube) -> GeoBox:
    """Return the pixel grid of a cube that must have one."""
    if cube.geobox is None:
        raise OpenEOError(
            "DimensionMissing",
            f"The cube has the dimensions {', '.join(cube.dims)}; x and y are needed.",
        )
    return cube.geobox


def holds(have: GeoBox, box: GeoBox) -> bool:
    """Whether all pixels of a box are pixels of another."""
    if have == box:
        return True
    size, slack = have.transform.a, 1e-6 * abs(have.transform.a)
    same_size = abs(box.transform.a - size) < slack and abs(box.transform.e + size) < slack
    left, top = (
        (box.transform.c - have.transform.c) / size,
        (have.transform.f - box.transform.f) / size,
    )
    aligned = abs(left - round(left)) < 1e-6 and abs(top - round(top)) < 1e-6
    rows, columns = box.shape
    inside = (
        round(left) >= 0
        and round(top) >= 0
        and round(top) + rows <= have.shape[0]
        and round(left) + columns <= have.shape[1]
    )
    return have.crs == box.crs and same_size and aligned and inside


def crop(cube: Cube, box: GeoBox) -> Cube:
    """Return the part of a cube on a box of the same grid, which it must hold."""
    have = cube.geobox
    if have is None or have == box:
        return cube
    if not holds(have, box):
        raise ValueError(f"A cube on {have.boundingbox} has no pixels for {box.boundingbox}.")
    size = have.transform.a
    left = round((box.transform.c - have.transform.c) / size)
    top = round((have.transform.f - box.transform.f) / size)
    rows, columns = box.shape
    data = cube.data[..., top : top + rows, left : left + columns]
    return replace(cube, data=data, geobox=box)


def select(cube: Cube, dim: str, labels: Sequence[Any] | np.ndarray[Any, Any]) -> Cube:
    """Return the cube with these labels of a dimension, in this order; KeyError names others."""
    have = cube.labels[dim]
    if len(have) == len(labels) and bool(np.all(have == np.asarray(labels))):
        return cube
    position = {label: index for index, label in enumerate(have.tolist())}
    wanted = np.asarray(labels, dtype=have.dtype).tolist() if len(labels) else []
    index = np.asarray([position[label] for label in wanted], dtype=int)
    axis = cube.axis(dim)
    if len(index) and np.all(np.diff(index) == 1):
        # Neighbours, as the first bands or the dates of a month, need no copy.
        data = cube.data[(*[slice(None)] * axis, slice(index[0], index[-1] + 1))]
    else:
        data = np.take(cube.data, index, axis=axis)
    return replace(cube, data=data, labels={**cube.labels, dim: have[index]})


def hide(cube: Cube, where: np.ndarray[Any, Any]) -> Cube:
    """Return the cube with pixels made missing.

    Parameters
    ----------
    cube
        Any cube; the array is not changed.
    where
        Boolean array that broadcasts to the data, True where pixels become missing.
    """
    if not where.any():
        return cube
    (ready,) = align([cube], room=True)
    missing = np.nan if ready.nodata is None else ready.nodata
    return replace(ready, data=bits.put(ready.data, where, missing))


def align(cubes: Sequence[Cube], *, room: bool = False) -> list[Cube]:
    """Give cubes one dtype and one nodata value, the smallest change that loses nothing.

    Integers stay integers as long as there is a value left for missing pixels.

    Parameters
    ----------
    cubes
        At least one.
    room
        Find a nodata value even where no pixel is missing yet.
    """
    cubes = [replace(c, data=c.data.astype(np.uint8)) if c.data.dtype == bool else c for c in cubes]
    dtype = np.result_type(*(c.data.dtype for c in cubes))
    if np.issubdtype(dtype, np.floating):
        wide = [c.as_float() for c in cubes]
        common = np.result_type(*(c.data.dtype for c in wide))
        return [replace(c, data=c.data.astype(common, copy=False)) for c in wide]
    values = {c.nodata for c in cubes if c.nodata is not None}
    if not values and not room:
        return [replace(c, data=c.data.astype(dtype, copy=False)) for c in cubes]
    if len(values) == 1 and all(c.nodata is not None or not _holds(c, values) for c in cubes):
        (nodata,) = values
        if np.can_cast(np.min_scalar_type(int(nodata)), dtype):
            return [replace(c, data=c.data.astype(dtype, copy=False), nodata=nodata) for c in cubes]
    limits = np.iinfo(dtype)
    for candidate in (limits.max, limits.min):
        if not any(_holds(c, {candidate}, valid=True) for c in cubes):
            return [_with_nodata(c, dtype, candidate) for c in cubes]
    wider = [c.as_float() for c in cubes]
    common = np.result_type(*(c.data.dtype for c in wider))
    return [replace(c, data=c.data.astype(common, copy=False)) for c in wider]


def _holds(cube: Cube, values: set[Any], *, valid: bool = False) -> bool:
    """Whether pixels (with ``valid``, those that are not missing) have one of the values."""
    if valid and cube.nodata is not None:
        values = values - {cube.nodata}
    limits = np.iinfo(cube.data.dtype)
    inside = [v for v in values if limits.min <= v <= limits.max]
    return any(bool((cube.data == v).any()) for v in inside)


def _with_nodata(cube: Cube, dtype: Any, nodata: float) -> Cube:
    data = cube.data.astype(dtype, copy=False)
    if cube.nodata is not None and cube.nodata != nodata:
        data = np.where(cube.data == cube.nodata, dtype.type(nodata), data)
    return replace(cube, data=data, nodata=nodata)


@dataclass(frozen=True)
class Array:
    """What a callback sees of a cube along one dimension: an openEO "labeled array", vectorised.

    The dimension of interest is always axis 0; the other axes are a batch over which the
    callback is applied in one numpy call. So ``mean(data)`` is a mean over axis 0.

    Attributes
    ----------
    values
        Array whose axis 0 is the dimension the callback works along.
    labels
        Labels of axis 0, or None for a plain array.
    """

    values: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return int(self.values.shape[0])
