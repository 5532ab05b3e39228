"""The header of a tiled TIFF: which files our own decoder takes, and where their blocks lie.

A decoder that reads only what it fully understands cannot give wrong pixels: whatever is unusual
in a header (:class:`Unsupported`) is left to GDAL, broken headers included, since GDAL says best
what is wrong with them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError

from .blocks import DEFLATE, STORED, ZSTD, BlockLayout

__all__ = ["HEADER_BYTES", "TiffHeader", "Unsupported", "parse_header"]

HEADER_BYTES = 16 * 1024
"""What a first look reads: of nearly all COGs the whole directory."""

# Above that a directory is broken, or so large that GDAL may as well read it.
_MOST_VALUES = 4_000_000
_MOST_ENTRIES = 200

# TIFF field types as numpy sees them.
_FIELDS = {
    1: "u1", 2: "S1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 11: "f4", 12: "f8",
    13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip

_SUBFILE, _COLUMNS, _ROWS, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_FILL_ORDER, _ORIENTATION, _SAMPLES, _PLANAR, _PREDICTOR = 266, 274, 277, 284, 317
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS, _FORMAT = 322, 323, 324, 325, 339
_IMAGE_DEPTH, _TILE_DEPTH = 32997, 32998
_PIXEL_SCALE, _TIE_POINTS, _MATRIX, _GEO_KEYS, _NODATA = 33550, 33922, 34264, 34735, 42113

_CODECS = {1: STORED, 8: DEFLATE, 32946: DEFLATE, 50000: ZSTD}
_KINDS = {1: "u", 2: "i", 3: "f"}
_TYPES = {"u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"}

# Geo keys that can stand beside an EPSG code without changing it: model, raster type, texts,
# and units and ellipsoid, which GDAL takes from the code as well.
_MODEL, _RASTER, _GEOGRAPHIC, _PROJECTED, _UNITS = 1024, 1025, 2048, 3072, 3076
_HARMLESS = {_MODEL, _RASTER, 1026, _GEOGRAPHIC, 2049, 2054, 2057, 2059, _PROJECTED, 3073, _UNITS}
_METRE = 9001


class Unsupported(Exception):
    """The file is nothing for our own decoder; the text says why."""


@dataclass(frozen=True)
class TiffHeader:
    """What a tiled TIFF's first directory says.

    Attributes
    ----------
    shape
        Rows and columns.
    bands
        Number of bands.
    layout
        How blocks are stored. With several samples all bands of a place share one block.
    offsets, counts
        Byte range per block: row by row, band by band where bands are apart. A count of 0 is a
        block that was never written.
    fill
        Value of the pixels of such a block.
    transform, epsg
        Georeference.
    nodata
        Value of missing pixels, None for none.
    """

    shape: tuple[int, int]
    bands: int
    layout: BlockLayout
    offsets: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]
    fill: float
    transform: Affine
    epsg: int
    nodata: float | None

    def block_range(self, band: int, row: int, column: int) -> tuple[int, int]:
        """Return offset and length of the block of a 1-based band; length 0: never written."""
        down = -(-self.shape[0] // self.layout.rows)
        across = -(-self.shape[1] // self.layout.columns)
        plane = 0 if self.layout.samples > 1 else band - 1
        index = (plane * down + row) * across + column
        return int(self.offsets[index]), int(self.counts[index])


def parse_header(read: Callable[[int, int], bytes]) -> TiffHeader:
    """Read the first directory of a TIFF or BigTIFF.

    Parameters
    ----------
    read
        Gives the bytes at an offset, fewer at the file's end.

    Raises
    ------
    Unsupported
        The file is no tiled TIFF, is broken, or has something that only GDAL knows.
    """
    try:
        return _understood(_Directory(_Window(read)))
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise Unsupported(f"its header is broken ({error})") from error


class _Window:
    """Bytes of a file's beginning, and single reads beyond them."""

    def __init__(self, read: Callable[[int, int], bytes]):
        self._read = read
        self._start = read(0, HEADER_BYTES)

    def bytes(self, offset: int, length: int) -> bytes:
        if offset + length <= len(self._start):
            return self._start[offset : offset + length]
        data = self._read(offset, length)
        if len(data) < length:
            raise Unsupported(f"it ends before byte {offset + length}")
        return data


class _Directory:
    """Tags of the first directory, their values read when asked for."""

    def __init__(self, file: _Window):
        self._file = file
        start = file.bytes(0, 8)
        self.order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
        self.byteorder: Literal["<", ">"] = ">" if self.order == ">" else "<"
        magic = struct.unpack(f"{self.order}H", start[2:4])[0] if self.order else 0
        if magic == 42:
            (first,) = struct.unpack(f"{self.order}I", start[4:8])
            self._entry, count_format, after = f"{self.order}HHI4s", "H", 2
        elif magic == 43:
            size, zero, first = struct.unpack(f"{self.order}HHQ", file.bytes(4, 12))
            if (size, zero) != (8, 0):
                raise Unsupported("its BigTIFF header is unusual")
            self._entry, count_format, after = f"{self.order}HHQ8s", "Q", 8
        else:
            raise Unsupported("it is no TIFF")
        (number,) = struct.unpack(self.order + count_format, file.bytes(first, after))
        if number > _MOST_ENTRIES:
            raise Unsupported(f"its directory has {number} entries")
        size = struct.calcsize(self._entry)
        table = file.bytes(first + after, size * number)
        self._tags: dict[int, tuple[int, int, bytes]] = {}
        for each in range(number):
            tag, kind, count, value = struct.unpack_from(self._entry, table, each * size)
            self._tags[tag] = (kind, count, value)

    def __contains__(self, tag: int) -> bool:
        return tag in self._tags

    def values(self, tag: int) -> np.ndarray[Any, Any]:
        """Return the values of a tag, none if it is not there."""
        if tag not in self._tags:
            return np.empty(0, "u1")
        kind, count, inline = self._tags[tag]
        if kind not in _FIELDS or count > _MOST_VALUES:
            raise Unsupported(f"its tag {tag} has {count} values of type {kind}")
        dtype = np.dtype(_FIELDS[kind]).newbyteorder(self.byteorder)
        length = dtype.itemsize * count
        if length > len(inline):
            (offset,) = struct.unpack(self.order + ("I" if len(inline) == 4 else "Q"), inline)
            inline = self._file.bytes(offset, length)
        return np.frombuffer(inline[:length], dtype)

    def number(self, tag: int, default: int | None = None) -> int:
        """Return the one value of a tag, or that all its values share."""
        if tag not in self._tags and default is not None:
            return default
        found = set(self.values(tag).tolist())
        if len(found) != 1:
            raise Unsupported(f"its tag {tag} has {len(found)} different values")
        return int(found.pop())


def _understood(tags: _Directory) -> TiffHeader:
    for tag, usual in (
        (_SUBFILE, 0), (_FILL_ORDER, 1), (_ORIENTATION, 1), (_IMAGE_DEPTH, 1), (_TILE_DEPTH, 1),
    ):  # fmt: skip
        if tags.number(tag, usual) != usual:
            raise Unsupported(f"its tag {tag} is unusual")
    if tags.number(_PHOTOMETRIC, 1) not in (1, 2, 3):
        raise Unsupported("its colours are no plain numbers")
    if _TILE_WIDTH not in tags:
        raise Unsupported("it is not tiled")
    shape = (tags.number(_ROWS), tags.number(_COLUMNS))
    bands = tags.number(_SAMPLES, 1)
    planes = tags.number(_PLANAR, 1)
    if planes not in (1, 2):
        raise Unsupported(f"its arrangement of bands, {planes}, is unknown")
    apart = planes == 2
    layout = _layout(tags, 1 if apart else bands)
    offsets, counts = tags.values(_TILE_OFFSETS), tags.values(_TILE_COUNTS)
    across, down = -(-shape[1] // layout.columns), -(-shape[0] // layout.rows)
    expected = across * down * (bands if apart else 1)
    if min(shape) < 1 or not len(offsets) == len(counts) == expected:
        raise Unsupported(f"it lists {len(offsets)} blocks instead of {expected}")
    nodata = _nodata(tags, layout.dtype)
    return TiffHeader(
        shape=shape,
        bands=bands,
        layout=layout,
        offsets=offsets,
        counts=counts,
        fill=0 if nodata is None else nodata,
        transform=_transform(tags),
        epsg=_epsg(tags),
        nodata=nodata,
    )


def _layout(tags: _Directory, samples: int) -> BlockLayout:
    codec = _CODECS.get(tags.number(_COMPRESSION, 1))
    if codec is None:
        raise Unsupported("its compression is left to GDAL")
    # Bits and formats are stated per band, and must be the same for all.
    kind = _KINDS.get(tags.number(_FORMAT, 1), "?")
    name = f"{kind}{tags.number(_BITS) / 8:g}"
    if name not in _TYPES:
        raise Unsupported(f"its data type {name} is left to GDAL")
    predictor = 1 if codec == STORED else tags.number(_PREDICTOR, 1)
    if predictor not in ((1, 2, 3) if kind == "f" else (1, 2)):
        raise Unsupported(f"its predictor {predictor} does not fit {name}")
    layout = BlockLayout(
        rows=tags.number(_TILE_LENGTH),
        columns=tags.number(_TILE_WIDTH),
        samples=samples,
        dtype=np.dtype(name).newbyteorder(tags.byteorder),
        codec=codec,
        predictor=predictor,
    )
    if min(layout.rows, layout.columns, samples) < 1 or layout.nbytes > 2**28:
        raise Unsupported("its blocks have an unusual size")
    return layout


def _nodata(tags: _Directory, dtype: np.dtype[Any]) -> float | None:
    """Return the nodata value where text and data type leave no room for interpretation."""
    if _NODATA not in tags:
        return None
    text = tags.values(_NODATA).tobytes().rstrip(b"\0 ").decode("ascii")
    value = float(text)
    if dtype.kind == "f":
        if math.isfinite(value) and abs(value) > 1e38:
            raise Unsupported("its nodata value is near the largest number")
        return value
    limits = np.iinfo(dtype)
    if not (value.is_integer() and limits.min <= value <= limits.max):
        raise Unsupported(f"its nodata value {text} does not fit {dtype}")
    return value


def _transform(tags: _Directory) -> Affine:
    scale, tie, matrix = (tags.values(t) for t in (_PIXEL_SCALE, _TIE_POINTS, _MATRIX))
    if len(scale) >= 2 and len(tie) == 6 and not len(matrix) and min(scale[:2]) > 0:
        a, e = float(scale[0]), -float(scale[1])
        c, f = float(tie[3]) - float(tie[0]) * a, float(tie[4]) - float(tie[1]) * e
        transform = Affine(a, 0.0, c, 0.0, e, f)
    elif len(matrix) == 16 and not len(scale) and not len(tie):
        a, b, _, c, d, e, _, f = (float(v) for v in matrix[:8])
        transform = Affine(a, b, c, d, e, f)
    else:
        raise Unsupported("it is georeferenced in an unusual way")
    if _geo_keys(tags).get(_RASTER, 1) == 2:  # coordinates are those of pixel centres
        t = transform
        transform = Affine(t.a, t.b, t.c - (t.a + t.b) / 2, t.d, t.e, t.f - (t.d + t.e) / 2)
    return transform


def _geo_keys(tags: _Directory) -> dict[int, int]:
    """Return the geo keys; texts and floats, which stand elsewhere, as -1."""
    numbers = tags.values(_GEO_KEYS).astype(int)
    if len(numbers) < 4 or len(numbers) < 4 + 4 * numbers[3]:
        raise Unsupported("it has no coordinate reference system")
    entries = numbers[4 : 4 + 4 * numbers[3]].reshape(-1, 4)
    return {int(k): int(value) if place == 0 else -1 for k, place, _, value in entries}


def _epsg(tags: _Directory) -> int:
    keys = _geo_keys(tags)
    code = keys.get({1: _PROJECTED, 2: _GEOGRAPHIC}.get(keys.get(_MODEL, 0), 0), 0)
    if set(keys) - _HARMLESS or keys.get(_UNITS, _METRE) != _METRE or not _is_known(code):
        raise Unsupported("its coordinate reference system is more than an EPSG code")
    return code


@lru_cache(maxsize=256)
def _is_known(code: int) -> bool:
    # GDAL knows further codes by other names; those files are its own.
    if not 1024 <= code <= 32766:
        return False
    try:
        return bool(CRS.from_epsg(code).to_epsg() == code)
    except CRSError:
        return False
