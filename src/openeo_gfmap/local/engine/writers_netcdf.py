"""NetCDF as CDSE writes it, plus what CF-1.9 asks for, straight through HDF5.

The files have the structure of CDSE's own (read off real job results) and three additions that
make them pass a CF checker: ``standard_name = "time"``, the grid mapping's name and parameters
on ``crs``, and non-empty global texts.

Missing pixels. CDSE marks them with 65535 in its unsigned shorts and writes no ``_FillValue``,
so xarray opens the bands as uint16, and users' code compares with 65535. A ``_FillValue`` would
turn every band into float32 with NaN under that code. So integer bands get none here either;
the nodata value is set as the *HDF5 fill value* instead, which xarray leaves alone and GDAL
reads as the band's nodata value (in CDSE's files GDAL finds netCDF's default, 32769, which is a
valid reflectance). Float bands have ``_FillValue = NaN``, which changes nothing for anybody.

Speed. A file starts as a copy of a structure that patches share (:mod:`writers_netcdf_layout`).
Chunks are shuffled and deflated here and handed to HDF5 as they are: with ISA-L (package
``isal``) seven times faster than through HDF5's own filter, at the same size; without it, zlib.
Nothing in a file depends on the clock, so the same cube gives the same bytes.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from .cube import Cube
from .result import ResultAsset
from .writers_common import atomic, deflate, describe_place, describe_times, finish, forget
from .writers_netcdf_layout import (
    LEVEL,
    LIBVER,
    Coordinate,
    Layout,
    chunk_shape,
    set_attributes,
    skeleton,
)

__all__ = ["BANDLESS_NAME", "write_netcdf"]

NdArray = np.ndarray[Any, Any]

BANDLESS_NAME = "var"
"""Variable name of a cube without bands, as on CDSE."""

_EPOCH = np.datetime64("1990-01-01", "s")


def write_netcdf(
    path: Path,
    cube: Cube,
    *,
    title: str = "",
    description: str = "",
    band_attrs: Mapping[str, Mapping[str, Any]] | None = None,
    feature: int | None = None,
) -> ResultAsset:
    """Write a raster cube as one netCDF-4 file, atomically.

    Dimensions are those of the cube without ``bands`` (``t`` unlimited, ``y`` descending, ``x``
    ascending); each band is a variable with the band's label as its name, a cube without bands
    has the one variable ``var``.

    Parameters
    ----------
    path
        Target file; an existing one is replaced.
    cube
        Dims (t, bands, y, x) or a subset; any integer, float or boolean dtype. Unsigned integers
        are stored as signed ones with ``_Unsigned = "true"``, booleans as unsigned bytes.
    title, description
        Global attributes.
    band_attrs
        Further attributes per band label; they win over ``long_name`` and ``units``.
    feature
        Index of the feature that the file belongs to, for the returned description.

    Returns
    -------
    ResultAsset
        The file as the job's results describe it.

    Raises
    ------
    OpenEOError
        FormatUnsuitable: values that are no numbers.
    """
    bands, planes, nodata = _split_bands(cube)
    stored_nodata = None if nodata is None else np.asarray(nodata).astype(planes.dtype)
    stored, marks = _as_stored(planes)
    fill = None if stored_nodata is None else _as_stored(stored_nodata)[0]
    dims = tuple(d for d in cube.dims if d != "bands")
    coordinates = {dim: _coordinate(dim, cube) for dim in dims}
    names = _variable_names(bands, dims)
    attributes = [
        {"long_name": band, "units": "", **(band_attrs or {}).get(band, {})} for band in bands
    ]
    layout = Layout(
        dims=tuple(_as_coordinate(dim, *coordinates[dim]) for dim in dims),
        variables=tuple(
            (name, tuple((k, v) for k, v in texts.items() if isinstance(v, str)))
            for name, texts in zip(names, attributes, strict=True)
        ),
        dtype=stored.dtype.str,
        fill=None if fill is None else fill.tobytes(),
        marks=marks,
        crs=_crs_of(cube.geobox),
        transform=_transform_of(cube.geobox),
        texts=(("description", description),),
        chunks=chunk_shape(dims, stored.shape[1:], stored.dtype.itemsize),
    )
    chunks = _Chunks(layout.chunks, stored, fill) if layout.chunks else None
    with atomic(path) as part:
        part.write_bytes(skeleton(layout))
        with h5py.File(part, "r+", libver=LIBVER) as file:
            set_attributes(file, {"title": title or path.stem})
            for dim, (labels, _) in coordinates.items():
                file[dim][...] = labels
            for name, plane, values in zip(names, stored, attributes, strict=True):
                numbers = {k: v for k, v in values.items() if not isinstance(v, str)}
                set_attributes(file[name], numbers)
                if chunks is None:
                    file[name][()] = plane
                else:
                    chunks.write(file[name], plane)
                forget(plane)
    return finish(
        ResultAsset(
            name=path.name,
            media_type="application/x-netcdf",
            bands=bands,
            feature=feature,
            nodata=nodata,
            **describe_place(cube.geobox),
            **describe_times(cube),
        ),
        path,
    )


def _split_bands(cube: Cube) -> tuple[tuple[str, ...], NdArray, float | None]:
    """Return band names, the array with bands first, and the nodata value (NaN for floats)."""
    data = cube.data
    if data.dtype.kind not in "biuf":
        raise OpenEOError(
            "FormatUnsuitable",
            f"NetCDF results hold numbers and booleans, not {data.dtype}. Convert the cube first.",
        )
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    elif data.dtype == bool:
        data = data.view(np.uint8)
    nodata = math.nan if data.dtype.kind == "f" else cube.nodata
    if "bands" not in cube.dims:
        return (BANDLESS_NAME,), data[np.newaxis], nodata
    names = tuple(str(b) for b in cube.labels["bands"])
    return names, np.moveaxis(data, cube.axis("bands"), 0), nodata


def _variable_names(bands: tuple[str, ...], dims: tuple[str, ...]) -> list[str]:
    """Turn band labels into variable names: no slash (an HDF5 path), no coordinate's name."""
    taken = {"t", "x", "y", "crs", ".", *dims}
    names = []
    for band in bands:
        name = band.replace("/", "_") or BANDLESS_NAME
        while name in taken:
            name += "_band"
        taken.add(name)
        names.append(name)
    return names


def _as_stored(values: NdArray) -> tuple[NdArray, tuple[tuple[str, str], ...]]:
    """Return values as stored, and the attribute that marks unsigned ones."""
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind != "u":
        return values, ()
    return values.view(f"i{values.dtype.itemsize}"), (("_Unsigned", "true"),)


class _Chunks:
    """Shuffles and deflates chunks and hands them to HDF5 as they are.

    Its buffers serve all chunks of a file: fresh memory for each would take longer than the work.
    """

    def __init__(self, chunks: tuple[int, ...], stored: NdArray, fill: NdArray | None):
        size = stored.dtype.itemsize
        self._chunks = chunks
        self._fill = 0 if fill is None else fill
        self._whole = np.empty(chunks, dtype=stored.dtype)
        self._shifted = np.empty(chunks, dtype=f"u{size}")
        self._planes = np.empty((size, *chunks), dtype=np.uint8)

    def write(self, variable: h5py.Dataset, values: NdArray) -> None:
        """Write all chunks of a variable; those at the edges are padded with the fill value."""
        for origin in itertools.product(
            *(range(0, n, c) for n, c in zip(values.shape, self._chunks, strict=True))
        ):
            place = tuple(slice(o, o + c) for o, c in zip(origin, self._chunks, strict=True))
            block = values[place]
            if block.shape != self._chunks:
                self._whole.fill(self._fill)
                self._whole[tuple(slice(0, n) for n in block.shape)] = block
                block = self._whole
            self._shuffle(block.view(self._shifted.dtype))
            variable.id.write_direct_chunk(origin, deflate(self._planes.data, LEVEL))

    def _shuffle(self, numbers: NdArray) -> None:
        """Do what HDF5's shuffle filter does: all lowest bytes, then all second bytes, and so on.

        The files' byte order is that of the machine.
        """
        order = range(len(self._planes))
        for plane, place in zip(
            self._planes, order if sys.byteorder == "little" else reversed(order), strict=True
        ):
            # The cast keeps the lowest byte.
            np.right_shift(numbers, 8 * place, out=self._shifted)
            np.copyto(plane, self._shifted, casting="unsafe")


def _as_coordinate(dim: str, values: NdArray, attributes: Mapping[str, str]) -> Coordinate:
    dtype = "text" if values.dtype.kind == "O" else values.dtype.str
    return Coordinate(dim, len(values), dtype, tuple(attributes.items()))


def _crs_of(geobox: GeoBox | None) -> str | None:
    return None if geobox is None or geobox.crs is None else str(geobox.crs.to_wkt())


def _transform_of(geobox: GeoBox | None) -> str | None:
    """Return what GDAL calls GeoTransform, where it is needed.

    One column or row of coordinates says nothing about the pixel size. Larger grids do without:
    xarray users who cut a file would keep the attribute of the uncut one.
    """
    if geobox is None or 1 not in geobox.shape:
        return None
    return " ".join(repr(float(v)) for v in geobox.affine.to_gdal())


def _coordinate(dim: str, cube: Cube) -> tuple[NdArray, dict[str, str]]:
    """Return the values and attributes of a coordinate variable."""
    if dim in ("x", "y") and cube.geobox is not None:
        return _spatial_coordinate(dim, cube.geobox)
    labels = np.asarray(cube.labels.get(dim, np.arange(cube.data.shape[cube.axis(dim)])))
    if labels.dtype.kind == "M":
        values, units = _encode_times(labels)
        names = {"standard_name": "time", "long_name": dim, "units": units}
        return values, {**names, "axis": "T", "calendar": "standard"}
    if labels.dtype.kind in "OUS":
        return labels.astype(object), {"long_name": dim}
    return labels, {"long_name": dim}


def _encode_times(times: NdArray) -> tuple[NdArray, str]:
    """Encode instants as whole days where they are midnights, as CDSE does, else as seconds."""
    seconds = (times.astype("datetime64[s]") - _EPOCH).astype(np.int64)
    if np.all(seconds % 86400 == 0):
        return (seconds // 86400).astype(np.int32), "days since 1990-01-01"
    return seconds, "seconds since 1990-01-01"


def _spatial_coordinate(dim: str, geobox: GeoBox) -> tuple[NdArray, dict[str, str]]:
    rows, columns = geobox.shape
    affine = geobox.affine
    if dim == "x":
        values = affine.c + (np.arange(columns) + 0.5) * affine.a
    else:
        values = affine.f + (np.arange(rows) + 0.5) * affine.e
    if geobox.crs is not None and geobox.crs.geographic:
        name, unit = ("longitude", "degrees_east") if dim == "x" else ("latitude", "degrees_north")
        return values, {"standard_name": name, "long_name": name, "units": unit}
    unit = "m" if geobox.crs is None or geobox.crs.units[0] == "metre" else geobox.crs.units[0]
    return values, {
        "standard_name": f"projection_{dim}_coordinate",
        "long_name": f"{dim} coordinate of projection",
        "units": unit,
    }
