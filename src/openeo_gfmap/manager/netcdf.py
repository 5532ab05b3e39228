"""What a downloaded NetCDF file says of itself.

Read with h5py, straight from the file: it is the one description that every back-end gives, and
the one that is right also after the user's action has rewritten the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_gfmap.stac.items import CubeFile, Variable

# h5py and pyproj are imported where they are used: the package's import stays light.
if TYPE_CHECKING:
    from h5py.h5d import DatasetID
    from h5py.h5p import PropFAID
    from pyproj import Transformer

__all__ = ["describe"]

_X = ("x", "lon", "longitude")
_Y = ("y", "lat", "latitude")
_T = ("t", "time")


def describe(path: Path) -> CubeFile | None:
    """Return what the file says; None when it is no HDF5, or no raster cube in a known CRS.

    Raises
    ------
    OSError
        When the file is cut short.
    """
    from h5py import h5d, h5f, h5o  # noqa: PLC0415

    # Half of the time that h5py's own objects take goes into what is not wanted here: a file is
    # opened, a few attributes are read, and it is closed.
    name = os.fsencode(path)
    try:
        file = h5f.open(name, h5f.ACC_RDONLY, _access())
    except OSError:
        if path.is_file() and not h5f.is_hdf5(name):
            return None
        raise
    try:
        opened = {name.decode(): h5o.open(file, name) for name in file}
        members = {
            name: _Member(each) for name, each in opened.items() if isinstance(each, h5d.DatasetID)
        }
        return _describe(members)
    finally:
        file.close()


@lru_cache(maxsize=1)
def _access() -> PropFAID:
    """Return how files are opened: what is still open in one is closed with it."""
    from h5py import h5f, h5p  # noqa: PLC0415

    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    return access


class _Member:
    """A variable of an open file."""

    def __init__(self, dataset: DatasetID):
        from h5py import h5a, h5s  # noqa: PLC0415

        self.id = dataset
        self._h5a, self._h5s = h5a, h5s

    def values(self) -> np.ndarray[Any, Any]:
        """Read all of it."""
        values = np.empty(self.id.shape, self.id.dtype)
        self.id.read(self._h5s.ALL, self._h5s.ALL, values)
        return values

    def attribute(self, name: bytes) -> Any:
        """Return an attribute; None when there is none of that name, or it holds nothing.

        Texts come as bytes, also those of variable length.
        """
        if not self._h5a.exists(self.id, name):
            return None
        attribute = self._h5a.open(self.id, name)
        if attribute.get_space().get_simple_extent_type() == self._h5s.NULL:
            return None
        values = np.empty(attribute.shape, attribute.dtype)
        attribute.read(values)
        return values[()]


def _describe(members: Mapping[str, _Member]) -> CubeFile | None:
    x_name, y_name, t_name = (
        next((name for name in names if name in members), None) for names in (_X, _Y, _T)
    )
    wkt = _wkt(members)
    if x_name is None or y_name is None or wkt is None:
        return None
    x, y = members[x_name].values(), members[y_name].values()
    crs = _crs(wkt)
    if x.size < 1 or y.size < 1 or crs is None:
        return None
    dimensions = (t_name, y_name, x_name)
    x_axis, y_axis = _axis(x, default=1.0), _axis(y, default=-1.0)
    bbox, geometry = _place(crs.to_wgs84, x_axis, y_axis)
    return CubeFile(
        variables=tuple(_variables(members, dimensions)),
        epsg=crs.epsg,
        wkt=wkt,
        x=x_axis,
        y=y_axis,
        shape=(y.size, x.size),
        times=_times(members[t_name]) if t_name is not None else (),
        dimensions=dimensions,
        bbox=bbox,
        geometry=geometry,
    )


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode() if isinstance(value, bytes) else str(value)


def _wkt(members: Mapping[str, _Member]) -> str | None:
    """Return the CRS of the grid mapping, under either of the two names in use."""
    # Most often it is the attribute of a variable without data of its own.
    for variable in sorted(members.values(), key=lambda member: member.id.rank):
        for name in (b"crs_wkt", b"spatial_ref"):
            if (wkt := variable.attribute(name)) is not None:
                return _text(wkt)
    return None


@dataclass(frozen=True)
class _Crs:
    epsg: int | None
    to_wgs84: Transformer


@lru_cache(maxsize=128)
def _crs(wkt: str) -> _Crs | None:
    """Return what is needed of a CRS; None for text that is none.

    Files are many, their zones few, and both parts of it take longer than to read the file.
    pyproj's objects may be used in several threads.
    """
    from pyproj import CRS, Transformer  # noqa: PLC0415
    from pyproj.exceptions import CRSError  # noqa: PLC0415

    try:
        crs = CRS.from_wkt(wkt)
    except CRSError:
        return None
    # Some back-ends write WKT whose axes pyproj takes for another CRS's.
    own = re.search(r'(?:AUTHORITY|ID)\["EPSG", *"?(\d+)"?\] *\]\s*$', wkt)
    epsg = crs.to_epsg() or (int(own[1]) if own else None)
    return _Crs(epsg, Transformer.from_crs(crs, 4326, always_xy=True))


def _axis(centres: np.ndarray[Any, Any], default: float) -> tuple[float, float, float]:
    first, last = float(centres[0]), float(centres[-1])
    step = (last - first) / (centres.size - 1) if centres.size > 1 else default
    return first, last, step


def _variables(
    members: Mapping[str, _Member], dimensions: tuple[str | None, str, str]
) -> list[Variable]:
    found = []
    for name, variable in members.items():
        rank = variable.id.rank
        if name in dimensions or rank < 2:
            continue
        names = tuple(dimensions[-rank:])
        if None in names:
            continue
        dtype, fill = variable.id.dtype, variable.attribute(b"_FillValue")
        # netCDF stores uint16 as short and says so: values wrap around.
        if _text(variable.attribute(b"_Unsigned")).lower() == "true":
            dtype = np.dtype(f"u{dtype.itemsize}")
        nodata = None
        if fill is not None:
            value = np.asarray(fill).ravel()[0].astype(dtype)
            nodata = value.item() if np.isfinite(value) else None
        title, unit = variable.attribute(b"long_name"), variable.attribute(b"units")
        found.append(
            Variable(
                name=name,
                data_type=dtype.name,
                dimensions=tuple(str(each) for each in names),
                nodata=nodata,
                title=None if title is None else _text(title),
                unit=None if unit is None else _text(unit),
            )
        )
    return found


_UNITS: Mapping[str, int] = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def _times(variable: _Member) -> tuple[str, ...]:
    """Return the time labels, RFC 3339; empty when the unit is not a CF one of fixed length."""
    units = _text(variable.attribute(b"units"))
    match = re.fullmatch(
        r"(day|hour|minute|second)s? since ([0-9:T -]+?)(?:\.0)?(?: ?UTC|Z)?", units
    )
    if match is None:
        return ()
    origin = np.datetime64(match[2].strip().replace(" ", "T"), "s")
    seconds = np.round(variable.values().astype(float) * _UNITS[match[1]]).astype("int64")
    return tuple(f"{origin + np.timedelta64(int(each), 's')}Z" for each in seconds)


def _place(
    to_wgs84: Transformer, x: tuple[float, float, float], y: tuple[float, float, float]
) -> tuple[tuple[float, float, float, float], dict[str, Any]]:
    """Return WGS84 bounds and outline of the outer cell edges."""
    west, east = (min(x[:2]) - abs(x[2]) / 2, max(x[:2]) + abs(x[2]) / 2)
    south, north = (min(y[:2]) - abs(y[2]) / 2, max(y[:2]) + abs(y[2]) / 2)
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    ring = [[round(float(v), 8) for v in to_wgs84.transform(*corner)] for corner in corners]
    # The edges of a UTM square are curved in degrees: the bounds take points along them.
    box = to_wgs84.transform_bounds(west, south, east, north)
    bbox = tuple(round(float(value), 8) for value in box)
    return (bbox[0], bbox[1], bbox[2], bbox[3]), {"type": "Polygon", "coordinates": [ring]}
