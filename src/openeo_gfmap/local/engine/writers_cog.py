"""Cloud-optimised GeoTIFF, written block by block from an array that need not fit into memory.

The layout is that of GDAL's COG driver: all directories first, then the overviews, smallest first,
then the full resolution; tiles of 512 px, deflate with a predictor, bands apart from each other.
What says where and what the pixels are (the tags of GeoTIFF, nodata, band names) GDAL writes into
an empty file in memory, from where it is taken as it is. The tiles are deflated here: with ISA-L
five times as fast, and from blocks that are read one at a time.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from .writers_common import deflate, forget

__all__ = ["write_cog"]

NdArray = np.ndarray[Any, Any]

_SIDE = 512
_LEVEL = 1

# Beyond this, offsets of 32 bits could fall short: BigTIFF.
_CLASSIC_BYTES = 3_500_000_000

# Bytes a value of each TIFF type takes.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_WIDTH, _LENGTH, _KIND, _OFFSETS, _COUNTS = 256, 257, 254, 324, 325
# What belongs to the full resolution only: place, descriptions of bands, software and date.
_MAIN_ONLY = frozenset({305, 306, 33550, 33922, 34264, 34735, 34736, 34737, 42112})
_REDUCED = 1

# Tells readers that all directories come first, so that one request at the start is enough, and
# that a tile's size stands before it and its last four bytes twice, so that one request less is.
_GHOST = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)


@dataclass
class _Level:
    """A directory: the full resolution, or an overview."""

    factor: int
    rows: int
    columns: int
    tags: dict[int, tuple[int, int, bytes]]
    offsets: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def corners(self) -> Iterator[tuple[int, int]]:
        """Yield the upper-left corners of the tiles, row by row."""
        for top in range(0, self.rows, _SIDE):
            for left in range(0, self.columns, _SIDE):
                yield top, left


def write_cog(
    path: Path,
    pixels: NdArray,
    geobox: GeoBox,
    nodata: float | None,
    *,
    tags: Mapping[str, str],
    bands: Sequence[str],
) -> None:
    """Write one raster.

    Parameters
    ----------
    path
        Target file.
    pixels
        Array of (band, y, x), integers or floats of 1 to 8 bytes; may be mapped from a file.
        One block of 512 x 512 px is in memory at a time, at overviews four.
    geobox
        Pixel grid.
    nodata
        Value of missing pixels, NaN for floats; None without any.
    tags
        Metadata of the file.
    bands
        Names of the bands; empty for none.
    """
    rows, columns = pixels.shape[1:]
    big = pixels.nbytes * 4 / 3 > _CLASSIC_BYTES
    main = _template(pixels, geobox, nodata, tags=tags, bands=bands, big=big)
    levels = [_Level(1, rows, columns, main)]
    while max(levels[-1].rows, levels[-1].columns) > _SIDE:
        last = levels[-1]
        rows, columns = math.ceil(last.rows / 2), math.ceil(last.columns / 2)
        reduced = {tag: entry for tag, entry in main.items() if tag not in _MAIN_ONLY}
        levels.append(_Level(last.factor * 2, rows, columns, reduced))
    for level in levels:
        tiles = len(pixels) * math.ceil(level.rows / _SIDE) * math.ceil(level.columns / _SIDE)
        level.offsets, level.counts = [0] * tiles, [0] * tiles
    with path.open("wb") as file:
        file.write(_head(levels, big))
        for level in reversed(levels):
            _write_tiles(file, pixels, level, nodata)
        file.seek(0)
        file.write(_head(levels, big))  # of the same length, with the offsets that are known now


def _write_tiles(file: BinaryIO, pixels: NdArray, level: _Level, nodata: float | None) -> None:
    fill = 0 if nodata is None else nodata
    predict = _predictor(pixels.dtype)
    number = 0
    for band in pixels:
        for top, left in level.corners():
            # Of a block of factor x factor pixels the one right of and below its centre, as GDAL
            # takes the nearest; at the far edges the last there is.
            rows, columns = (
                np.minimum(
                    np.arange(low, min(low + _SIDE, size)) * level.factor + level.factor // 2,
                    length - 1,
                )
                for low, size, length in zip(
                    (top, left), (level.rows, level.columns), band.shape, strict=True
                )
            )
            block = (
                band[top : top + _SIDE, left : left + _SIDE]
                if level.factor == 1
                else band[rows[:, np.newaxis], columns]
            )
            tile = np.full((_SIDE, _SIDE), fill, dtype=pixels.dtype)
            tile[: block.shape[0], : block.shape[1]] = block
            raw = deflate(predict(tile).data, _LEVEL)
            level.offsets[number], level.counts[number] = file.tell() + 4, len(raw)
            file.write(struct.pack("<I", len(raw)) + raw + raw[-4:])
            number += 1
        forget(pixels)


def _predictor(dtype: np.dtype[Any]) -> Any:
    return {2: _differences, 3: _float_differences}.get(_predictor_number(dtype), np.asarray)


def _predictor_number(dtype: np.dtype[Any]) -> int:
    """Return TIFF's number: 2 for integers, 3 for floats, 1 (none) for what readers do not know."""
    if dtype.kind == "f":
        return 3
    return 2 if dtype.itemsize <= 4 else 1


def _differences(tile: NdArray) -> NdArray:
    """Replace values by their difference to the left neighbour, wrapping around."""
    out = tile.copy()
    out[:, 1:] -= tile[:, :-1]
    return out


def _float_differences(tile: NdArray) -> NdArray:
    """Bring the bytes of a row together by their significance; then differences of bytes."""
    rows, columns = tile.shape
    size = tile.dtype.itemsize
    big_endian = tile.astype(tile.dtype.newbyteorder(">")).view(np.uint8)
    planes = big_endian.reshape(rows, columns, size).transpose(0, 2, 1)
    return _differences(np.ascontiguousarray(planes).reshape(rows, columns * size))


def _template(
    pixels: NdArray,
    geobox: GeoBox,
    nodata: float | None,
    *,
    tags: Mapping[str, str],
    bands: Sequence[str],
    big: bool,
) -> dict[int, tuple[int, int, bytes]]:
    """Return the tags of a file without pixels that GDAL makes: type, count and bytes by number."""
    count, rows, columns = pixels.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=count,
            height=rows,
            width=columns,
            dtype=pixels.dtype,
            crs=None if geobox.crs is None else geobox.crs.to_wkt(),
            transform=geobox.affine,
            nodata=nodata,
            compress="DEFLATE",
            predictor=_predictor_number(pixels.dtype),
            tiled=True,
            blockxsize=_SIDE,
            blockysize=_SIDE,
            interleave="BAND",
            endianness="LITTLE",
            sparse_ok=True,
            bigtiff="YES" if big else "NO",
        ) as file:
            file.update_tags(**tags)
            for index, band in enumerate(bands, start=1):
                file.set_band_description(index, band)
        return _parse(memory.read(), big)


def _formats(big: bool) -> tuple[str, str, str, int]:
    """Return struct formats of an offset, a number of entries, an entry, and their inline size."""
    return ("<Q", "<Q", "<HHQ8s", 8) if big else ("<I", "<H", "<HHI4s", 4)


def _parse(data: bytes, big: bool) -> dict[int, tuple[int, int, bytes]]:
    """Read the first directory of a TIFF."""
    offset_format, number_format, entry_format, inline = _formats(big)
    (start,) = struct.unpack_from(offset_format, data, 8 if big else 4)
    (number,) = struct.unpack_from(number_format, data, start)
    first = start + struct.calcsize(number_format)
    found = {}
    for i in range(number):
        place = first + i * struct.calcsize(entry_format)
        tag, kind, count, value = struct.unpack_from(entry_format, data, place)
        size = _SIZES[kind] * count
        if size > inline:
            (at,) = struct.unpack(offset_format, value)
            value = data[at : at + size]
        found[tag] = (kind, count, value[:size])
    return found


def _head(levels: Sequence[_Level], big: bool) -> bytes:
    """Return all that comes before the tiles: header and directories."""
    offset_format, number_format, entry_format, inline = _formats(big)
    ghost = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(_GHOST) + _GHOST
    version = b"II" + (struct.pack("<HHH", 43, 8, 0) if big else struct.pack("<H", 42))
    start = len(version) + struct.calcsize(offset_format) + len(ghost)
    start += start % 2
    out = bytearray(version + struct.pack(offset_format, start) + ghost).ljust(start, b"\0")
    for level in levels:
        tags = dict(level.tags)
        tags[_WIDTH] = (4, 1, struct.pack("<I", level.columns))
        tags[_LENGTH] = (4, 1, struct.pack("<I", level.rows))
        if level.factor > 1:
            tags[_KIND] = (4, 1, struct.pack("<I", _REDUCED))
        tiles = len(level.offsets)
        kind, letter = (16, "Q") if big else (4, "I")
        tags[_OFFSETS] = (kind, tiles, struct.pack(f"<{tiles}{letter}", *level.offsets))
        tags[_COUNTS] = (4, tiles, struct.pack(f"<{tiles}I", *level.counts))
        entries, values = bytearray(), bytearray()
        size = struct.calcsize(number_format) + len(tags) * struct.calcsize(entry_format)
        size += struct.calcsize(offset_format)
        for tag, (kind, count, value) in sorted(tags.items()):
            held = value
            if len(value) > inline:
                held = struct.pack(offset_format, len(out) + size + len(values))
                values += value + b"\0" * (len(value) % 2)
            entries += struct.pack(entry_format, tag, kind, count, held)
        following = 0 if level is levels[-1] else len(out) + size + len(values)
        out += struct.pack(number_format, len(tags)) + entries
        out += struct.pack(offset_format, following) + values
    return bytes(out)
