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

Speed. Chunks are shuffled and deflated here and handed to HDF5 as they are: with ISA-L (package
``isal``) seven times faster than through HDF5's own filter, at the same size; without it, zlib.
Nothing in a file depends on the clock, so the same cube gives the same bytes.
"""

from __future__ import annotations

import importlib
import itertools
import math
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError

from ..errors import OpenEOError
from .cube import Cube
from .result import ResultAsset
from .writers_common import atomic, describe_place, describe_times, finish, software

__all__ = ["BANDLESS_NAME", "write_netcdf"]

BANDLESS_NAME = "var"
"""Variable name of a cube without bands, as on CDSE."""

# A chunk must fit HDF5's default cache of 1 MiB, or reading date by date inflates it every time.
_CHUNK_BYTES = 2**19
_CHUNK_SIDE = 512
_LEVEL = 1  # higher levels gain 3 % in size on reflectances

_EPOCH = np.datetime64("1990-01-01", "s")

try:
    _deflate = importlib.import_module("isal.isal_zlib").compress
except ImportError:
    _deflate = zlib.compress


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
    with (
        atomic(path) as part,
        h5py.File(part, "w", track_order=True, libver=("v108", "v110")) as file,
    ):
        root = _Group(file)
        root.attributes(
            file,
            {
                "Conventions": "CF-1.9",
                "institution": f"openEO platform - {software()}",
                "description": description,
                "title": title or path.stem,
                "history": f"Written by {software()} from an openEO process graph.",
                "_NCProperties": f"version=2,h5py={h5py.__version__},"
                f"hdf5={h5py.version.hdf5_version}",
            },
        )
        dims = tuple(d for d in cube.dims if d != "bands")
        for dim in dims:
            root.coordinate(dim, cube)
        if cube.geobox is not None:
            root.crs(cube.geobox)
        for name, band, values in zip(_variable_names(bands), bands, planes, strict=True):
            extra = (band_attrs or {}).get(band, {})
            root.band(name, dims, values, nodata, {"long_name": band, "units": "", **extra})
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


def _split_bands(
    cube: Cube,
) -> tuple[tuple[str, ...], Iterator[np.ndarray[Any, Any]], float | None]:
    """Return band names, one array per band, and the nodata value (NaN for floats)."""
    data = cube.data
    if data.dtype.kind not in "biuf":
        raise OpenEOError(
            "FormatUnsuitable",
            f"NetCDF results hold numbers and booleans, not {data.dtype}. Convert the cube first.",
        )
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    nodata = math.nan if data.dtype.kind == "f" else cube.nodata
    if "bands" not in cube.dims:
        return (BANDLESS_NAME,), iter((data,)), nodata
    names = tuple(str(b) for b in cube.labels["bands"])
    return names, iter(np.moveaxis(data, cube.axis("bands"), 0)), nodata


def _variable_names(bands: tuple[str, ...]) -> list[str]:
    """Turn band labels into variable names: no slash (an HDF5 path), no coordinate's name."""
    taken = {"t", "x", "y", "crs"}
    names = []
    for band in bands:
        name = band.replace("/", "_") or BANDLESS_NAME
        while name in taken:
            name += "_band"
        taken.add(name)
        names.append(name)
    return names


class _Group:
    """The root group of a netCDF-4 file under construction."""

    def __init__(self, file: h5py.File):
        self.file = file
        self.scales: dict[str, h5py.Dataset] = {}
        self.grid_mapping = False

    def create(self, name: str, shape: tuple[int, ...], dtype: Any, **options: Any) -> h5py.Dataset:
        return self.file.create_dataset(
            name, shape, dtype, track_times=False, track_order=True, **options
        )

    @staticmethod
    def attributes(target: Any, attributes: Mapping[str, Any]) -> None:
        """Set attributes; texts as fixed-length characters, which is what netCDF calls text."""
        for name, value in attributes.items():
            if isinstance(value, str):
                raw = value.encode()
                kind = h5py.string_dtype("ascii" if value.isascii() else "utf-8", max(len(raw), 1))
                target.attrs.create(name, np.array(raw, kind), dtype=kind)
            else:
                target.attrs[name] = value

    def coordinate(self, dim: str, cube: Cube) -> None:
        """Write a dimension and its coordinate variable."""
        values, attributes = _coordinate(dim, cube)
        unlimited = {"maxshape": (None,), "chunks": (1024,)} if dim == "t" else {}
        scale = self.create(dim, values.shape, values.dtype, data=values, **unlimited)
        scale.make_scale(dim)
        scale.attrs["_Netcdf4Dimid"] = np.int32(len(self.scales))
        self.attributes(scale, attributes)
        self.scales[dim] = scale

    def crs(self, geobox: GeoBox) -> None:
        """Write the grid mapping variable; a grid without a CRS gets none."""
        if geobox.crs is None:
            return
        attributes = dict(_grid_mapping(geobox.crs.to_wkt()))
        if 1 in geobox.shape:
            # One column or row of coordinates says nothing about the pixel size. Larger grids do
            # without: xarray users who cut a file would keep the attribute of the uncut one.
            attributes["GeoTransform"] = " ".join(repr(float(v)) for v in geobox.affine.to_gdal())
        self.attributes(self.create("crs", (), "S1"), attributes)
        self.grid_mapping = True

    def band(
        self,
        name: str,
        dims: tuple[str, ...],
        values: np.ndarray[Any, Any],
        nodata: float | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """Write one band variable, chunk by chunk."""
        stored, fill, marks = _encode(values, nodata)
        chunks = _chunk_shape(dims, stored.shape, stored.dtype.itemsize)
        variable = self.create(
            name,
            stored.shape,
            stored.dtype,
            maxshape=tuple(
                None if d == "t" else n for d, n in zip(dims, stored.shape, strict=True)
            ),
            chunks=chunks or None,
            compression="gzip" if chunks else None,
            compression_opts=_LEVEL if chunks else None,
            shuffle=bool(chunks),
            fillvalue=fill,
            # Without a nodata value readers must not take netCDF's default for one.
            fill_time="ifset" if fill is not None else "never",
        )
        if fill is not None and stored.dtype.kind == "f":
            variable.attrs["_FillValue"] = np.asarray(fill, stored.dtype)
        for axis, dim in enumerate(dims):
            variable.dims[axis].attach_scale(self.scales[dim])
        grid_mapping = {"grid_mapping": "crs"} if self.grid_mapping else {}
        self.attributes(variable, {**marks, **attributes, **grid_mapping})
        if chunks:
            _write_chunks(variable, stored, chunks, fill)
        else:
            variable[()] = stored


def _encode(
    values: np.ndarray[Any, Any], nodata: float | None
) -> tuple[np.ndarray[Any, Any], Any, dict[str, str]]:
    """Return values as stored, their fill value, and the attribute that marks unsigned ones."""
    if values.dtype == bool:
        values = values.view(np.uint8)
    kind = values.dtype.newbyteorder("=")
    values = values.astype(kind, copy=False)
    fill = None if nodata is None else np.asarray(nodata).astype(kind)
    if kind.kind != "u":
        return values, fill, {}
    signed = np.dtype(f"i{kind.itemsize}")
    return (
        values.view(signed),
        None if fill is None else fill.view(signed),
        {"_Unsigned": "true"},
    )


def _chunk_shape(dims: tuple[str, ...], shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Choose chunks of whole tiles of pixels, as many dates in one as fit; () for no chunks."""
    if not shape or 0 in shape[1:] or (0 in shape and "t" not in dims):
        return ()
    chunk = [
        min(n, _CHUNK_SIDE) if d in ("y", "x") else 1 for d, n in zip(dims, shape, strict=True)
    ]
    if "t" in dims:
        axis = dims.index("t")
        most = max(1, _CHUNK_BYTES // (math.prod(chunk) * itemsize))
        # Chunks of equal length, so that little of the last one is padding.
        chunk[axis] = math.ceil(shape[axis] / math.ceil(max(shape[axis], 1) / most)) or 1
    return tuple(chunk)


def _write_chunks(
    variable: h5py.Dataset,
    values: np.ndarray[Any, Any],
    chunks: tuple[int, ...],
    fill: Any,
) -> None:
    """Deflate the chunks and hand them to HDF5 as they are; edge chunks are padded with fill."""
    origins = itertools.product(
        *(range(0, n, c) for n, c in zip(values.shape, chunks, strict=True))
    )
    for origin in origins:
        block = values[tuple(slice(o, o + c) for o, c in zip(origin, chunks, strict=True))]
        if block.shape != chunks:
            whole = np.full(chunks, 0 if fill is None else fill, dtype=values.dtype)
            whole[tuple(slice(0, n) for n in block.shape)] = block
            block = whole
        # HDF5's shuffle filter: all first bytes, then all second bytes, and so on.
        raw = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
        shuffled = np.ascontiguousarray(raw.reshape(-1, values.dtype.itemsize).T)
        variable.id.write_direct_chunk(origin, _deflate(shuffled.data, _LEVEL))


def _coordinate(dim: str, cube: Cube) -> tuple[np.ndarray[Any, Any], dict[str, str]]:
    """Return the values and attributes of a coordinate variable."""
    if dim in ("x", "y") and cube.geobox is not None:
        return _spatial_coordinate(dim, cube.geobox)
    labels = np.asarray(cube.labels.get(dim, np.arange(cube.data.shape[cube.axis(dim)])))
    if labels.dtype.kind == "M":
        values, units = _encode_times(labels)
        names = {"standard_name": "time", "long_name": dim, "units": units}
        return values, {**names, "axis": "T", "calendar": "standard"}
    if labels.dtype.kind in "OUS":
        return labels.astype(h5py.string_dtype()), {"long_name": dim}
    return labels, {"long_name": dim}


def _encode_times(times: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], str]:
    """Encode instants as whole days where they are midnights, as CDSE does, else as seconds."""
    seconds = (times.astype("datetime64[s]") - _EPOCH).astype(np.int64)
    if np.all(seconds % 86400 == 0):
        return (seconds // 86400).astype(np.int32), "days since 1990-01-01"
    return seconds, "seconds since 1990-01-01"


def _spatial_coordinate(dim: str, geobox: GeoBox) -> tuple[np.ndarray[Any, Any], dict[str, str]]:
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
