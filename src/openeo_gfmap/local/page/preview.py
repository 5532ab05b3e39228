"""A small picture of a result file: its clearest date, in natural colours where there are any."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NoPreviewError", "draw"]

_SIDE = 256  # px of the longer side, at most
# Bands that make a natural picture, by what they may be called.
_COLOURS = (("B04", "red"), ("B03", "green"), ("B02", "blue"))
# Up to so many values of a band are read to find the clearest date; else the middle one is shown.
_MOST_VALUES = 20_000_000


class NoPreviewError(Exception):
    """The file shows no picture; the message says why."""


def draw(path: Path) -> bytes:
    """Return a PNG of a NetCDF or GeoTIFF file, with missing pixels transparent.

    Raises
    ------
    NoPreviewError
        It is no such file, or holds no raster.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise NoPreviewError(f"there are previews of {', '.join(_READERS)} files only.")
    try:
        planes = reader(path)
    except OSError as error:
        raise NoPreviewError(f"the file cannot be read: {error}") from error
    return _png(planes)


def _chosen(names: Sequence[str]) -> list[str]:
    """Return the names of three colours, else the first name."""
    found = []
    for wanted in _COLOURS:
        found += [n for n in names if n.upper().endswith(wanted[0]) or n.lower() == wanted[1]][:1]
    return found if len(found) == len(_COLOURS) else list(names[:1])


def _from_netcdf(path: Path) -> np.ndarray[Any, Any]:
    import h5py  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    with h5py.File(path) as file:
        rasters = {
            name: item
            for name, item in file.items()
            if isinstance(item, h5py.Dataset) and item.ndim in (2, 3) and item.dtype.kind in "iuf"
            and _is_raster(item)
        }  # fmt: skip
        if not rasters:
            raise NoPreviewError("it holds no variable on y and x.")
        names = _chosen(list(rasters))
        first = rasters[names[0]]
        step = max(1, -(-max(first.shape[-2:]) // _SIDE))
        date = _clearest(first)
        planes = []
        for name in names:
            variable = rasters[name]
            whole = variable[()] if variable.ndim == 2 else variable[date]
            planes.append(_without_fill(whole[::step, ::step], variable.attrs))
    return np.stack(planes)


def _is_raster(variable: Any) -> bool:
    names = [str(dimension[0].name) if len(dimension) else "" for dimension in variable.dims]
    return [name.rpartition("/")[2] for name in names[-2:]] in (["y", "x"], ["lat", "lon"])


def _clearest(variable: Any) -> int:
    """Return the date to show: of those with the most values the darkest, as clouds are bright."""
    import numpy as np  # noqa: PLC0415

    if variable.ndim == 2:
        return 0
    if variable.size > _MOST_VALUES:
        return int(variable.shape[0]) // 2
    values = _without_fill(variable[()], variable.attrs)
    there = np.isfinite(values)
    counts = there.sum(axis=(1, 2))
    sums = np.where(there, values, 0).sum(axis=(1, 2), dtype=np.float64)
    means = np.where(counts < 0.9 * counts.max(), np.inf, sums / np.maximum(counts, 1))
    return int(np.argmin(means))


def _without_fill(
    values: np.ndarray[Any, Any], attributes: Mapping[str, Any]
) -> np.ndarray[Any, Any]:
    """Return floats, NaN where a value is missing by any of its attributes."""
    import numpy as np  # noqa: PLC0415

    unsigned = attributes.get("_Unsigned")
    if unsigned in (b"true", "true") and values.dtype.kind == "i":
        values = values.view(values.dtype.str.replace("i", "u"))
    found = values.astype(np.float32)
    for name in ("_FillValue", "missing_value", "nodata"):
        if name in attributes:
            found[found == np.float32(np.ravel(attributes[name])[0])] = np.nan
    return found


def _from_geotiff(path: Path) -> np.ndarray[Any, Any]:
    import numpy as np  # noqa: PLC0415
    import rasterio  # noqa: PLC0415

    with rasterio.open(path) as file:
        names = [text or str(number) for number, text in enumerate(file.descriptions, 1)]
        indexes = [names.index(name) + 1 for name in _chosen(names)]
        step = max(1, -(-max(file.shape) // _SIDE))
        size = (-(-file.height // step), -(-file.width // step))
        found = file.read(indexes, out_shape=(len(indexes), *size), masked=True)
        return np.ma.filled(found.astype(np.float32), np.nan)


_READERS: dict[str, Callable[[Path], Any]] = {".nc": _from_netcdf, ".tif": _from_geotiff}


def _png(planes: np.ndarray[Any, Any]) -> bytes:
    """Stretch all planes alike, between the 2nd and 98th percentile; one plane is grey."""
    import numpy as np  # noqa: PLC0415

    there = np.isfinite(planes).all(axis=0)
    out = np.zeros((4, *there.shape), np.uint8)
    out[3] = np.where(there, 255, 0)
    if there.any():
        low, high = np.percentile(planes[:, there], (2, 98))
        scaled = (planes - low) / (high - low) if high > low else np.full_like(planes, 0.5)
        out[:3] = np.where(there, np.clip(scaled, 0, 1) * 255, 0).astype(np.uint8)
    return _encoded(out)


def _encoded(rgba: np.ndarray[Any, Any]) -> bytes:
    """Return four planes of bytes as a PNG. GDAL would warn that it has no place on Earth."""
    _, height, width = rgba.shape
    rows = rgba.transpose(1, 2, 0).reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
