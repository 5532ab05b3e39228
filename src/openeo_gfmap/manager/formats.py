"""Is a file what its name says, and all of it? Asked of the bytes, for files from the network.

Without the libraries for NetCDF and TIFF: downloads need not wait while a user's callback has files
open, and a broken file is no danger to them.
"""

from __future__ import annotations

import json
import struct
from io import FileIO
from typing import Final

from openeo_gfmap.errors import ResultIncomplete

__all__ = ["check_content"]

_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_NETCDF3: Final = b"CDF"
_PAGE: Final = (b"<!doctype html", b"<html")
_HEAD: Final = (
    96  # bytes: all that is looked at of most files, and less than the smallest HDF5 file
)


def check_content(file: FileIO, name: str, suffix: str) -> None:
    """Check that a file is what its name says.

    Parameters
    ----------
    file : file object
        Open for reading; read from anywhere.
    name, suffix : str
        What to call it, and what it should be, such as ".nc".

    Raises
    ------
    ResultIncomplete
        When it is empty, cut short, or of another kind (such as an error page).
    """
    suffix = suffix.lower()
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(_HEAD)
    if not head:
        raise ResultIncomplete(f"{name} is empty")
    try:
        if suffix in {".nc", ".h5", ".nc4"} and not head.startswith(_NETCDF3):
            _check_hdf5(head, size)
        elif suffix in {".tif", ".tiff"}:
            _check_tiff(file, size)
        elif suffix in {".json", ".geojson"}:
            file.seek(0)
            json.loads(file.read())
        elif suffix in {".parquet", ".geoparquet"}:
            _open_parquet(file)
        elif suffix not in {".html", ".htm"} and head.lstrip().lower().startswith(_PAGE):
            raise ValueError("it is a web page")
    except (OSError, ValueError, struct.error) as error:
        raise ResultIncomplete(f"{name} does not open as {suffix}: {error}") from error


def _check_hdf5(head: bytes, size: int) -> None:
    """Check the header of an HDF5 file: it says where the file ends, in all its versions.

    See "Format signature and superblock" in the HDF5 file format specification.
    """
    if not head.startswith(_HDF5) or len(head) < _HEAD:
        raise ValueError("it does not begin as HDF5 files do")
    version = head[8]
    size_of_offsets = head[13] if version < 2 else head[9]
    addresses = {0: 24, 1: 28}.get(version, 12)  # where they begin; base, another, end of file
    end_at = addresses + 2 * size_of_offsets
    end = int.from_bytes(head[end_at : end_at + size_of_offsets], "little")
    if size < end:
        raise ValueError(f"it is cut short: {size} of {end} bytes")


#: struct codes and sizes of the TIFF field types that hold offsets and counts.
_TIFF_INTEGERS: Final = {3: ("H", 2), 4: ("I", 4), 13: ("I", 4), 16: ("Q", 8), 18: ("Q", 8)}
_TIFF_BLOCKS: Final = {273: 279, 324: 325}  # offsets of strips and tiles: their byte counts


def _check_tiff(file: FileIO, size: int) -> None:
    """Check that all blocks of all images of a TIFF or BigTIFF file lie within it.

    See sections 2 and 8 of the TIFF 6.0 specification. Blocks at offset 0 are left out (sparse).
    """
    file.seek(0)
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        raise ValueError("no TIFF header")
    (version,) = struct.unpack(f"{order}H", file.read(2))
    if version not in (42, 43):
        raise ValueError("no TIFF header")
    wide = version == 43
    word, entry_size, inline = ("Q", 20, 8) if wide else ("I", 12, 4)
    file.seek(8 if wide else 4)
    (offset,) = struct.unpack(order + word, file.read(8 if wide else 4))
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        file.seek(offset)
        (count,) = struct.unpack(order + ("Q" if wide else "H"), file.read(8 if wide else 2))
        entries = file.read(count * entry_size)
        (offset,) = struct.unpack(order + word, file.read(8 if wide else 4))
        fields: dict[int, tuple[int, ...]] = {}
        for start in range(0, count * entry_size, entry_size):
            tag, kind, number = struct.unpack_from(f"{order}HH{word}", entries, start)
            if kind not in _TIFF_INTEGERS or tag not in {*_TIFF_BLOCKS, *_TIFF_BLOCKS.values()}:
                continue
            code, width = _TIFF_INTEGERS[kind]
            values = entries[start + entry_size - inline : start + entry_size]
            if number * width > inline:
                (at,) = struct.unpack(order + word, values)
                if at + number * width > size:
                    raise ValueError("it is cut short")
                file.seek(at)
                values = file.read(number * width)
            fields[tag] = struct.unpack_from(f"{order}{number}{code}", values)
        for offsets, counts in _TIFF_BLOCKS.items():
            blocks = zip(fields.get(offsets, ()), fields.get(counts, ()), strict=False)
            end = max((at + length for at, length in blocks if at), default=0)
            if end > size:
                raise ValueError(f"it is cut short: {size} of {end} bytes")
    if not seen:
        raise ValueError("it has no image")


def _open_parquet(file: FileIO) -> None:
    import pyarrow.parquet  # noqa: PLC0415

    pyarrow.parquet.read_metadata(file)
