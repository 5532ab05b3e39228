"""The data cube: an array with named dimensions, labels, a pixel grid and a nodata value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

__all__ = ["Array", "Cube"]


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
        Labels per non-spatial dimension: ``datetime64[ns]`` for ``t``, ``str`` for ``bands``.
    geobox
        Pixel grid of ``y`` and ``x``: CRS, affine transform, shape. None without spatial axes.
    nodata
        Value of missing pixels in an integer array.
    """

    data: np.ndarray[Any, Any]
    dims: tuple[str, ...]
    labels: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    geobox: GeoBox | None = None
    nodata: float | None = None

    def axis(self, dim: str) -> int:
        """Axis of a dimension; ValueError when the cube has no such dimension."""
        return self.dims.index(dim)

    def with_data(self, data: np.ndarray[Any, Any], **changes: Any) -> Cube:
        """Return the same cube around other values."""
        return replace(self, data=data, **changes)

    def missing(self) -> np.ndarray[Any, Any]:
        """Boolean array, True where a pixel is missing."""
        if np.issubdtype(self.data.dtype, np.floating):
            return np.isnan(self.data)
        if self.nodata is None:
            return np.zeros(self.data.shape, dtype=bool)
        return np.asarray(self.data == self.nodata)

    def as_float(self) -> Cube:
        """Return a float cube with NaN for missing: float32 for up to 16 bits, else float64."""
        if np.issubdtype(self.data.dtype, np.floating):
            return self
        wide = self.data.dtype.itemsize > 2
        values = self.data.astype(np.float64 if wide else np.float32)
        if self.nodata is not None:
            values[self.data == self.nodata] = np.nan
        return replace(self, data=values, nodata=None)


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
