"""What all result writers share: files that appear whole or not at all, and their description."""

from __future__ import annotations

import hashlib
import importlib
import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from .cube import Cube
from .result import ResultAsset

__all__ = [
    "atomic",
    "deflate",
    "describe_place",
    "describe_times",
    "finish",
    "forget",
    "rfc3339",
    "software",
]

try:
    deflate = importlib.import_module("isal.isal_zlib").compress
except ImportError:
    deflate = zlib.compress


@cache
def software() -> str:
    """Name and version of this package, for the files' metadata."""
    return f"openeo-gfmap {version('openeo-gfmap')}"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a ``.part`` path beside ``path``; on success it is synced and renamed to ``path``.

    After an error nothing is left behind, so that a file under its final name is always whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def finish(asset: ResultAsset, path: Path) -> ResultAsset:
    """Add the size and the checksum of the written file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A multihash: 0x12 is sha2-256, 0x20 its length in bytes.
    return replace(asset, size=path.stat().st_size, checksum="1220" + digest)


def forget(values: np.ndarray[Any, Any]) -> None:
    """Give back the memory of an array that is mapped from a file; of others do nothing.

    The values stay: their pages are read again when they are asked for again.
    """
    base: Any = values
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        base.madvise(mmap.MADV_DONTNEED)


def describe_place(geobox: GeoBox | None) -> dict[str, Any]:
    """Return the place fields of a :class:`ResultAsset` for a pixel grid.

    The WGS84 geometry is the outline of the grid, its corners transformed.
    """
    if geobox is None or geobox.crs is None:
        return {}
    left, bottom, right, top = (float(v) for v in geobox.boundingbox.bbox)
    to_wgs84 = _to_wgs84(geobox.crs.to_wkt())
    corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
    ring = [[float(v) for v in to_wgs84.transform(x, y)] for x, y in corners]
    west, south, east, north = to_wgs84.transform_bounds(left, bottom, right, top)
    rows, columns = geobox.shape
    return {
        "bbox": (float(west), float(south), float(east), float(north)),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "proj_epsg": geobox.crs.to_epsg(),
        "proj_bbox": (left, bottom, right, top),
        "proj_shape": (int(rows), int(columns)),
    }


@lru_cache(maxsize=64)
def _to_wgs84(wkt: str) -> Transformer:
    return Transformer.from_crs(wkt, "EPSG:4326", always_xy=True)


def describe_times(cube: Cube) -> dict[str, Any]:
    """Return the first and last date of a cube as fields of a :class:`ResultAsset`."""
    times = cube.labels.get("t")
    if times is None or len(times) == 0 or times.dtype.kind != "M":
        return {}
    return {"start": rfc3339(times.min()), "end": rfc3339(times.max())}


def rfc3339(time: np.datetime64) -> str:
    """Format an instant as RFC 3339 in UTC, to the second."""
    seconds = int(time.astype("datetime64[s]").astype(np.int64))
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
