"""One raster for a whole extent, put together from tiles."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from .cube import Cube, align
from .demands import Window
from .grid import Grid
from .limits import confined
from .meta import CubeMeta
from .order import z_order
from .plan import Plan
from .result import ResultAsset
from .writers import RASTER_WRITERS
from .writers_common import forget

__all__ = ["DenseFile"]

# Pixels along a tile: no larger, as work is to be shared, and where processes let us choose, in
# steps that file blocks are made of.
_LARGEST_TILE = 1024
_SMALLEST_TILE = 64
_BLOCK = 512

# Acquisitions of two satellites in overlapping orbits, for cubes whose dates nobody knows yet.
_DAYS_BETWEEN = 2.5
_UNKNOWN_DATES = 150
_UNKNOWN_BANDS = 4


@dataclass
class DenseFile:
    """One file, or one per date, for the whole extent.

    Tiles are computed with the context that processes want of them, so that their edges do not
    show, and put in their places in a file on disk; the writers read that block by block. So
    memory holds the arrays of the tiles that are being computed, however large the result is.

    Attributes
    ----------
    plan, meta
        The plan, and the metadata of its result.
    out_dir, format, name
        Where the result goes.
    memory
        Bytes that one process may use for the arrays of a tile.
    """

    plan: Plan
    meta: CubeMeta
    out_dir: Path
    format: str
    name: str
    memory: int
    _whole: Cube | None = None
    _seen: np.ndarray[Any, Any] | None = None
    _held: int = 0

    @property
    def _share(self) -> int:
        """Bytes of memory for what is there of the result."""
        return self.memory // 8

    @property
    def box(self) -> GeoBox:
        """All pixels of the result."""
        return self.meta.grid.cover(self.meta.extent)

    def windows(self) -> list[Window]:
        """Return tiles whose edge is a multiple of the chunks that processes work on.

        Neighbours follow each other, so that the reader finds file blocks decoded.
        """
        box, grid = self.box, self.meta.grid
        edge = _tile_edge(self.plan, self.meta, self.memory)
        column, row = grid.position(box)
        corners = [
            (top, left)
            for top in range(0, box.shape[0], edge)
            for left in range(0, box.shape[1], edge)
        ]
        tiles: list[Window] = []
        for top, left in sorted(corners, key=lambda c: z_order(c[0] // edge, c[1] // edge)):
            height, width = min(edge, box.shape[0] - top), min(edge, box.shape[1] - left)
            tile = grid.box(column + left, row + top, width, height)
            near = (top // _BLOCK, left // _BLOCK)
            tiles.append(Window(len(tiles), tile, self.meta.extent, near=near))
        return tiles

    def keep(self, window: Window, value: Cube) -> Cube:
        """Hide what is outside the cube's limits."""
        return confined(value, self.meta.limits)

    def collect(self, window: Window, payload: Cube) -> list[str]:
        """Put a tile in its place."""
        part, tile = window.box, payload
        if part is None:
            return []
        whole = self._whole = self._whole or self._allocate(tile)
        for dim, labels in whole.labels.items():
            if not np.array_equal(labels, tile.labels[dim]):
                raise OpenEOError(
                    "ProcessGraphInvalid",
                    f"Tiles of the result differ in the labels of {dim!r}: {_some(labels)} and "
                    f"{_some(tile.labels[dim])}. A process made labels that depend on pixels.",
                )
        if tile.data.dtype != whole.data.dtype or tile.nodata != whole.nodata:
            whole, tile = self._widened(whole, tile)
            self._whole = whole
        box = self.box
        grid = Grid(
            self.meta.grid.crs, self.meta.grid.resolution, (box.transform.c, box.transform.f)
        )
        left, top = grid.position(part)
        whole.data[..., top : top + part.shape[0], left : left + part.shape[1]] = tile.data
        self._held += tile.data.nbytes
        if self._held > self._share:
            forget(whole.data)  # not each time: the next tile may lie in the same pages
            self._held = 0
        if "t" in tile.dims and self._seen is not None:
            axes = tuple(i for i, d in enumerate(tile.dims) if d != "t")
            self._seen |= (~tile.missing()).any(axis=axes)
        return []

    def finish(self) -> list[ResultAsset]:
        """Write the result without the dates that have no data anywhere."""
        cube = self._whole
        if cube is None:
            return []
        if self._seen is not None and not self.meta.periods:
            if not self._seen.any():
                return []
            cube = _without_dates(cube, self._seen)
        assets: list[ResultAsset] = RASTER_WRITERS[self.format](self.out_dir, self.name, cube)
        self._whole = None
        return assets

    def _allocate(self, tile: Cube) -> Cube:
        if tile.data.dtype == bool:
            tile = tile.with_data(tile.data.view(np.uint8))
        shape = (*tile.data.shape[:-2], *self.box.shape)
        if "t" in tile.dims:
            self._seen = np.zeros(len(tile.labels["t"]), dtype=bool)
        return tile.with_data(self._array(shape, tile.data.dtype), geobox=self.box)

    def _array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size <= self._share:
            return np.empty(shape, dtype=dtype)
        # Beyond that the pages of a file hold the result: memory stays free for the tiles. The
        # file has no name, and is gone with the last array that is mapped from it.
        self.out_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.out_dir) as store:
            return np.memmap(store, dtype=dtype, mode="w+", shape=shape)

    def _widened(self, whole: Cube, tile: Cube) -> tuple[Cube, Cube]:
        """Give all tiles one type: they may differ in it where only some have missing pixels.

        This works through the first axis, so that memory holds a part of what is there.
        """
        parts = [whole.with_data(p) for p in (whole.data if whole.data.ndim > 2 else [whole.data])]
        aligned = (align([part, tile], room=True)[0] for part in parts)
        kinds = {(part.data.dtype, part.nodata) for part in aligned}
        convert: Callable[[Cube], Cube]
        if len(kinds) == 1:
            convert = lambda cube: align([cube, tile], room=True)[0]  # noqa: E731
            fitted = align([parts[0], tile], room=True)[1]
        else:
            # No value is free for missing pixels everywhere.
            dtype = np.result_type(whole.as_float().data.dtype, tile.as_float().data.dtype)
            convert = lambda cube: align([cube.as_float()])[0]  # noqa: E731
            fitted = tile.as_float()
            fitted = fitted.with_data(fitted.data.astype(dtype, copy=False))
        first = convert(parts[0])
        data = self._array(whole.data.shape, first.data.dtype)
        for i, part in enumerate(parts):
            target = data[i] if data.ndim > 2 else data
            target[...] = convert(part).data
            forget(data)
        return whole.with_data(data, nodata=first.nodata), fitted


def _without_dates(cube: Cube, seen: np.ndarray[Any, Any]) -> Cube:
    """Move the dates that were seen forward over those that were not, in place."""
    if seen.all():
        return cube
    axis = cube.axis("t")
    dates = np.moveaxis(cube.data, axis, 0)
    kept = np.flatnonzero(seen)
    for new, old in enumerate(kept):
        if new != old:
            dates[new] = dates[old]
            forget(cube.data)
    data = np.moveaxis(dates[: len(kept)], 0, axis)
    return cube.with_data(data, labels={**cube.labels, "t": cube.labels["t"][kept]})


def _tile_edge(plan: Plan, meta: CubeMeta, memory: int) -> int:
    """Pixels along a tile: as large as memory allows, a multiple of the chunks of processes.

    Memory is judged by what is known before reading: of the largest cube on the way the values as
    they are, and twice as floats.
    """
    pixels = memory / max(map(_bytes_a_pixel, (*(c.meta for c in plan.calls.values()), meta)))
    edge = min(_LARGEST_TILE, pixels**0.5) - 2 * meta.margin
    edge = max(edge, _SMALLEST_TILE, meta.block)
    unit = meta.block
    while unit < _BLOCK and 2 * unit <= edge:
        unit *= 2
    return int(edge // unit) * unit


def _bytes_a_pixel(meta: Any) -> float:
    if not isinstance(meta, CubeMeta):
        return 1
    bands = (len(meta.bands) if meta.bands else _UNKNOWN_BANDS) if "bands" in meta.dims else 1
    start, end = meta.interval
    dates = _UNKNOWN_DATES if start is None or end is None else (end - start).days / _DAYS_BETWEEN
    dates = max(1.0, dates) if "t" in meta.dims else 1
    return dates * bands * (meta.itemsize + 2 * max(4, meta.itemsize))


def _some(labels: np.ndarray[Any, Any]) -> str:
    return (
        f"{len(labels)} labels ({', '.join(map(str, labels[:3]))}{' …' if len(labels) > 3 else ''})"
    )
