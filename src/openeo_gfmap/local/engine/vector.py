"""The vector cube: values per geometry, what ``aggregate_spatial`` makes of a raster cube."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .features import Features
from .grid import crs_name

__all__ = ["VectorCube"]


@dataclass(frozen=True)
class VectorCube:
    """Values per geometry, and per date and band where the raster cube had those.

    Attributes
    ----------
    data
        Float array, one axis per name in ``dims``; NaN where there is no value.
    dims
        Dimension names in axis order: ``"geometry"`` first, then those of ``"t"``, ``"bands"``
        that the cube has.
    labels
        Labels per dimension other than ``geometry``: ``datetime64[ns]`` for ``t``, ``str`` for
        ``bands``.
    geometries
        One shapely geometry per entry of the ``geometry`` dimension.
    crs
        CRS of the geometries, in any form that pyproj reads.
    properties
        The feature's properties per geometry; empty when the features have none.
    """

    data: np.ndarray[Any, Any]
    dims: tuple[str, ...]
    labels: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    geometries: tuple[Any, ...] = ()
    crs: str = "EPSG:4326"
    properties: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if len(self.dims) != self.data.ndim or "geometry" not in self.dims:
            raise ValueError(
                f"A vector cube needs one dimension name per axis, 'geometry' among them; got "
                f"{self.dims} for an array of shape {self.data.shape}."
            )
        rows = self.data.shape[self.dims.index("geometry")]
        if self.geometries and len(self.geometries) != rows:
            raise ValueError(
                f"{len(self.geometries)} geometries cannot label {rows} rows of values."
            )

    def __len__(self) -> int:
        return int(self.data.shape[self.dims.index("geometry")])

    def with_data(self, data: np.ndarray[Any, Any], **changes: Any) -> VectorCube:
        """Return the same vector cube around other values."""
        return replace(self, data=data, **changes)

    def bounds(self) -> tuple[float, float, float, float] | None:
        """WGS84 bounds (west, south, east, north) of all geometries; None when there are none.

        West is greater than east where they lie on both sides of the antimeridian.
        """
        shapes = tuple(g for g in self.geometries if g is not None and not g.is_empty)
        return Features(shapes, crs_name(self.crs)).bbox if shapes else None
