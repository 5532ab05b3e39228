"""The structure of a netCDF-4 file: dimensions, variables and attributes, without values.

Patches of a job differ in their values, hardly in structure. Making it through HDF5's library
takes longer than deflating the pixels: seventeen datasets, ninety attributes, forty links between
variables and dimensions. So it is made once, in memory, and each file starts as a copy of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError

from .writers_common import software

__all__ = ["LIBVER", "Coordinate", "Layout", "chunk_shape", "set_attributes", "skeleton"]

LIBVER = ("v108", "v110")
"""Bounds of the HDF5 format: what readers of ten years ago understand."""

LEVEL = 1
"""Deflate level; higher ones gain 3 % in size on reflectances."""

# A chunk must fit HDF5's default cache of 1 MiB, or reading date by date inflates it every time.
_CHUNK_BYTES = 2**19
_CHUNK_SIDE = 512


@dataclass(frozen=True)
class Coordinate:
    """A dimension and its coordinate variable.

    Attributes
    ----------
    name
        Of both.
    length
        Labels.
    dtype
        As numpy spells it; ``"text"`` for texts of any length.
    attributes
        Pairs of names and texts, in the file's order.
    """

    name: str
    length: int
    dtype: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """All that a file's structure depends on; hashable, so that structures can be kept.

    Attributes
    ----------
    dims
        Dimensions of the band variables, in order.
    variables
        Names of the band variables, each with the pairs of its attributes that are texts.
    dtype
        Of the stored values, as numpy spells it.
    fill
        Bytes of the fill value; None without missing pixels.
    marks
        Attributes that say how stored values are to be read.
    crs
        WKT; None for a cube without a place.
    transform
        The text of GDAL's GeoTransform, where coordinates cannot tell the pixel size.
    texts
        Global attributes.
    chunks
        Pixels along each dimension of a chunk; empty for variables in one piece.
    """

    dims: tuple[Coordinate, ...]
    variables: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    dtype: str
    fill: bytes | None
    marks: tuple[tuple[str, str], ...]
    crs: str | None
    transform: str | None
    texts: tuple[tuple[str, str], ...]
    chunks: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the band variables."""
        return tuple(dim.length for dim in self.dims)


@lru_cache(maxsize=16)
def skeleton(layout: Layout) -> bytes:
    """Return a file of this structure whose values are still to be written."""
    with h5py.File(
        "skeleton", "w", driver="core", backing_store=False, track_order=True, libver=LIBVER
    ) as file:
        versions = f"version=2,h5py={h5py.__version__},hdf5={h5py.version.hdf5_version}"
        set_attributes(
            file,
            {
                "Conventions": "CF-1.9",
                "institution": f"openEO platform - {software()}",
                **dict(layout.texts),
                "history": f"Written by {software()} from an openEO process graph.",
                "_NCProperties": versions,
            },
        )
        scales = [_scale(file, number, dim) for number, dim in enumerate(layout.dims)]
        if layout.crs is not None:
            mapping = dict(_grid_mapping(layout.crs))
            if layout.transform is not None:
                mapping["GeoTransform"] = layout.transform
            set_attributes(_create(file, "crs", (), "S1"), mapping)
        for name, attributes in layout.variables:
            _variable(file, name, attributes, layout, scales)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, **options: Any
) -> h5py.Dataset:
    return file.create_dataset(name, shape, dtype, track_times=False, track_order=True, **options)


def set_attributes(target: Any, attributes: Mapping[str, Any]) -> None:
    """Set attributes; texts as fixed-length characters, which is what netCDF calls text."""
    for name, value in attributes.items():
        if isinstance(value, str):
            raw = value.encode()
            kind = h5py.string_dtype("ascii" if value.isascii() else "utf-8", max(len(raw), 1))
            target.attrs.create(name, np.array(raw, kind), dtype=kind)
        else:
            target.attrs[name] = value


def _scale(file: h5py.File, number: int, dim: Coordinate) -> h5py.Dataset:
    """Make a dimension and its coordinate variable."""
    unlimited = {"maxshape": (None,), "chunks": (1024,)} if dim.name == "t" else {}
    dtype = h5py.string_dtype() if dim.dtype == "text" else np.dtype(dim.dtype)
    scale = _create(file, dim.name, (dim.length,), dtype, **unlimited)
    scale.make_scale(dim.name)
    scale.attrs["_Netcdf4Dimid"] = np.int32(number)
    set_attributes(scale, dict(dim.attributes))
    return scale


def _variable(
    file: h5py.File,
    name: str,
    attributes: tuple[tuple[str, str], ...],
    layout: Layout,
    scales: list[h5py.Dataset],
) -> None:
    """Make a band variable."""
    chunked = bool(layout.chunks)
    dtype = np.dtype(layout.dtype)
    fill = None if layout.fill is None else np.frombuffer(layout.fill, dtype)[0]
    variable = _create(
        file,
        name,
        layout.shape,
        dtype,
        maxshape=tuple(None if dim.name == "t" else dim.length for dim in layout.dims),
        chunks=layout.chunks or None,
        compression="gzip" if chunked else None,
        compression_opts=LEVEL if chunked else None,
        shuffle=chunked,
        fillvalue=fill,
        # Without a nodata value readers must not take netCDF's default for one.
        fill_time="ifset" if fill is not None else "never",
    )
    if fill is not None and dtype.kind == "f":
        variable.attrs["_FillValue"] = np.asarray(fill, dtype)
    for axis, scale in enumerate(scales):
        variable.dims[axis].attach_scale(scale)
    mapping = {} if layout.crs is None else {"grid_mapping": "crs"}
    set_attributes(variable, {**dict(layout.marks), **dict(attributes), **mapping})


def chunk_shape(
    dims: tuple[str, ...], shape: tuple[int, ...], itemsize: int, side: int = _CHUNK_SIDE
) -> tuple[int, ...]:
    """Choose chunks of whole tiles of pixels, as many dates in one as fit; () for no chunks."""
    if not shape or 0 in shape[1:] or (0 in shape and "t" not in dims):
        return ()
    chunk = [min(n, side) if d in ("y", "x") else 1 for d, n in zip(dims, shape, strict=True)]
    if "t" in dims:
        axis = dims.index("t")
        most = max(1, _CHUNK_BYTES // (math.prod(chunk) * itemsize))
        # Chunks of equal length, so that little of the last one is padding.
        chunk[axis] = math.ceil(shape[axis] / math.ceil(max(shape[axis], 1) / most)) or 1
    return tuple(chunk)


@lru_cache(maxsize=64)
def _grid_mapping(wkt: str) -> dict[str, Any]:
    """Return the attributes of ``crs``: CDSE's two WKT texts and CF's name and parameters."""
    crs = CRS.from_wkt(wkt)
    attributes = crs.to_cf()
    try:
        # What GDAL and older readers understand.
        attributes["spatial_ref"] = crs.to_wkt("WKT1_GDAL")
    except CRSError:
        attributes["spatial_ref"] = attributes["crs_wkt"]
    return {
        name: np.asarray(value, float) if isinstance(value, list | tuple) else value
        for name, value in attributes.items()
        if value is not None
    }
