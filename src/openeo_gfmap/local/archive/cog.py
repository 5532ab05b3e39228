"""A writer of small cloud-optimised GeoTIFFs.

GDAL needs about two milliseconds to write a file of this size, most of it not for pixels; the
archive writes tens of thousands. The files are plain: one image directory, first in the file,
then one deflated tile per band (horizontal predictor). At a few hundred pixels a side there is
nothing to gain from overviews, so they have none.
"""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["encode_cog", "write_atomically", "write_once"]

# TIFF field types: code, struct letter.
_ASCII, _SHORT, _LONG, _DOUBLE = (2, "s"), (3, "H"), (4, "I"), (12, "d")


def encode_cog(
    bands: np.ndarray[Any, np.dtype[np.uint16]],
    names: tuple[str, ...],
    *,
    epsg: int,
    west: float,
    north: float,
    resolution: float,
    description: str,
) -> bytes:
    """Encode bands as one GeoTIFF.

    Parameters
    ----------
    bands
        uint16 array (bands, rows, columns), north up; 0 is nodata.
    names
        Band descriptions.
    epsg
        EPSG code of a projected CRS in metres.
    west, north
        Outer corner of the upper-left pixel.
    resolution
        Pixel size in metres.
    description
        Text for the image description tag.
    """
    count, rows, columns = bands.shape
    # The standard wants tile sides in multiples of 16.
    height, width = -(-rows // 16) * 16, -(-columns // 16) * 16
    padded = np.zeros((count, height, width), dtype="<u2")
    padded[:, :rows, :columns] = bands
    padded[:, :, 1:] -= padded[:, :, :-1].copy()
    tiles = [_deflate(band.tobytes()) for band in padded]

    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, epsg)
    labels = "".join(
        f'<Item name="DESCRIPTION" sample="{i}" role="description">{name}</Item>'
        for i, name in enumerate(names)
    )
    sizes = [len(tile) for tile in tiles]
    tags: dict[int, tuple[tuple[int, str], Any]] = {
        256: (_LONG, [columns]),
        257: (_LONG, [rows]),
        258: (_SHORT, [16] * count),
        259: (_SHORT, [8]),  # deflate
        262: (_SHORT, [1]),  # black is zero
        270: (_ASCII, description.encode("ascii") + b"\0"),
        277: (_SHORT, [count]),
        284: (_SHORT, [2]),  # each band in its own tile
        317: (_SHORT, [2]),  # horizontal differences
        322: (_LONG, [width]),
        323: (_LONG, [height]),
        324: (_LONG, [0] * count),  # known once the directory's length is
        325: (_LONG, sizes),
        338: (_SHORT, [0] * (count - 1)),
        339: (_SHORT, [1] * count),  # unsigned integers
        33550: (_DOUBLE, [resolution, resolution, 0.0]),
        33922: (_DOUBLE, [0.0, 0.0, 0.0, west, north, 0.0]),
        34735: (_SHORT, keys),
        42112: (_ASCII, f"<GDALMetadata>{labels}</GDALMetadata>\0".encode("ascii")),
        42113: (_ASCII, b"0\0"),
    }
    start = len(_directory(tags))
    tags[324] = (_LONG, [start + sum(sizes[:i]) for i in range(count)])
    return _directory(tags) + b"".join(tiles)


def _deflate(data: bytes) -> bytes:
    # Differences of noisy pixels repeat little: looking for runs only takes half the time of
    # level 1 and costs 4 per cent in size.
    compressor = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    return compressor.compress(data) + compressor.flush()


def _directory(tags: dict[int, tuple[tuple[int, str], Any]]) -> bytes:
    """Header, image directory and the values that do not fit into it."""
    entries, values = b"", b""
    after = 8 + 2 + 12 * len(tags) + 4
    for tag, ((code, letter), content) in tags.items():
        data = content if letter == "s" else struct.pack(f"<{len(content)}{letter}", *content)
        entry = struct.pack("<HHI", tag, code, len(content))
        if len(data) <= 4:
            entry += data.ljust(4, b"\0")
        else:
            entry += struct.pack("<I", after + len(values))
            values += data + b"\0" * (len(data) % 2)
        entries += entry
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + b"\0" * 4 + values


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that other processes see all of it or nothing; the last writer wins."""
    with _part(path, content) as part:
        part.replace(path)


def write_once(path: Path, content: bytes) -> None:
    """Write a file whose content never changes, all of it or nothing; the first writer wins.

    Whoever reads it already need not find it exchanged, only because another process was at the
    same work.
    """
    if path.exists():
        return
    with _part(path, content) as part:
        try:
            os.link(part, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            part.replace(path)


@contextmanager
def _part(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file under another name, which is gone afterwards."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        yield part
    finally:
        part.unlink(missing_ok=True)
