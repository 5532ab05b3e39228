"""Windows of raster files: headers known, blocks fetched ahead and kept for the next window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from affine import Affine

from ..cog.blocks import BrokenBlock
from ..cog.fetching import Fetcher
from ..cog.http import RangeClient
from ..cog.tiff import HEADER_BYTES
from ..errors import OpenEOError
from ..rasters import (
    Block,
    BlockSource,
    CogRaster,
    OpenRaster,
    RasterHeader,
    is_plain_web,
    unreadable,
)
from ..stac_source import BandAsset
from .block_cache import BlockCache, BlockKey, FileCache, Memory
from .resampling import SourceGrid, Span

__all__ = ["RasterStore", "is_remote"]

_REMOTE = ("http://", "https://", "s3://")


_SpanKey = tuple[str, int, Span]
"""Address of the file, 1-based band, and window."""


class RasterStore:
    """Reads windows of files. One per process, for one thread at a time.

    Parameters
    ----------
    cache_bytes
        Bound on blocks kept; a quarter of it may be on its way from remote files beside them.
    max_open
        Bound on open files.
    threads
        Requests to remote files at once.
    opener
        How to open a file.
    """

    def __init__(self, *, cache_bytes: int, max_open: int, threads: int, opener: OpenRaster):
        self._threads = threads
        self._fetcher = Fetcher(
            RangeClient(connections=threads), threads=threads, most_bytes=cache_bytes // 4
        )
        self._blocks = BlockCache(cache_bytes)
        self._opener = opener
        self._files = FileCache(max_open, self._open)
        self._plain: dict[str, bool] = Memory()
        self._grids: dict[Any, SourceGrid] = Memory()
        self._types: dict[tuple[str, int], tuple[np.dtype[Any], float | None]] = Memory()
        self._same: dict[SourceGrid, SourceGrid] = {}
        self._gathered: dict[_SpanKey, np.ndarray[Any, Any]] = {}

    def header(self, asset: BandAsset) -> RasterHeader:
        """Return the header of a band's file.

        Raises
        ------
        OpenEOError
            SourceUnavailable; SourceInvalid if it contradicts the STAC item.
        """
        return self._files.header(asset)

    def type_of(self, asset: BandAsset) -> tuple[np.dtype[Any], float | None]:
        """Return data type and nodata value of a band's file."""
        key = (asset.href, asset.band_index)
        found = self._types.get(key)
        if found is None:
            header = self.header(asset)
            band = asset.band_index - 1
            found = self._types[key] = (np.dtype(header.dtypes[band]), header.nodata[band])
        return found

    def grid(self, asset: BandAsset) -> SourceGrid:
        """Return the pixel grid of a band: from its STAC metadata, else the file's header.

        Equal grids are one object.
        """
        stated = asset.transform is not None and asset.shape is not None and asset.epsg is not None
        # Known without opening the file: scenes beside the window cost nothing.
        key = (asset.epsg, asset.transform, asset.shape) if stated else asset.href
        grid = self._grids.get(key)
        if grid is None:
            found = self._look_at_grid(asset)
            grid = self._grids[key] = self._same.setdefault(found, found)
        return grid

    def learn(self, assets: Iterable[BandAsset]) -> None:
        """Read the headers of remote files, many at once."""
        unknown = {a.href: a for a in assets if is_remote(a) and not self._files.knows(a)}
        ours = [asset for asset in unknown.values() if self._is_plain_web(asset.href)]
        self._fetcher.want((asset.href, 0, HEADER_BYTES) for asset in ours)
        for asset in ours:
            self.header(asset)
        left = [asset for asset in unknown.values() if not self._files.knows(asset)]
        for _ in self._pool.map(self.header, left) if left else ():
            pass

    def announce(self, wanted: Sequence[tuple[BandAsset, Span]]) -> None:
        """Say which windows will be read soon, in this order: remote blocks are on their way."""
        # GDAL opens its files when their turn comes.
        ours = [
            (asset, span)
            for asset, span in wanted
            if is_remote(asset)
            and self._is_plain_web(asset.href)
            and (asset.href, asset.band_index, span) not in self._gathered
        ]
        self.learn(asset for asset, _ in ours)
        ranges = []
        for asset, span in ours:
            with self._files.use(asset) as source:
                if isinstance(source, CogRaster):
                    for key in self._missing(asset, source.header, span):
                        offset, length = source.block_range(asset.band_index, *key[2:])
                        if length:
                            ranges.append((source.href, offset, length))
        self._fetcher.want(ranges)

    def gather(self, wanted: Sequence[tuple[BandAsset, Span]]) -> None:
        """Read windows before they are wanted, file by file, each block once.

        What cannot be read is left out; it will be missed when it is wanted.
        """
        by_file: dict[str, dict[int, tuple[BandAsset, list[Span]]]] = {}
        for asset, span in wanted:
            bands = by_file.setdefault(asset.href, {})
            bands.setdefault(asset.band_index, (asset, []))[1].append(span)
        for bands in by_file.values():
            for asset, spans in bands.values():
                with suppress(OpenEOError):
                    self._gathered |= self._gather(asset, tuple(spans), len(bands) > 1)

    def forget(self) -> None:
        """Give up what was gathered and nobody wanted."""
        self._gathered.clear()

    def load(self, assets: Sequence[BandAsset], span: Span) -> None:
        """Fetch a window of several remote files, many blocks at once."""
        remote = [
            asset
            for asset in assets
            if is_remote(asset) and (asset.href, asset.band_index, span) not in self._gathered
        ]
        self.learn(remote)
        self.announce([(asset, span) for asset in remote])
        todo: list[tuple[BandAsset, BlockKey]] = []
        for asset in remote:
            with self._files.use(asset) as source:
                if not isinstance(source, CogRaster):
                    todo += [(asset, key) for key in self._missing(asset, source.header, span)]
        for _ in self._pool.map(lambda each: self._block(*each), todo) if todo else ():
            pass

    def read_into(self, out: np.ndarray[Any, Any], asset: BandAsset, span: Span) -> None:
        """Read a window as it is stored.

        Parameters
        ----------
        out
            Takes the pixels; dtype of the file's header.
        asset
            The band.
        span
            Rows and columns of the file.

        Raises
        ------
        OpenEOError
            SourceUnavailable.
        """
        gathered = self._gathered.pop((asset.href, asset.band_index, span), None)
        if gathered is not None:
            out[...] = gathered
            return
        header = self.header(asset)
        for cut in _cuts(header.block, span):
            self._read_block(asset, header, cut.row, cut.column, [(out, cut)])

    def close(self) -> None:
        """Close all files, stop fetching and forget all blocks."""
        self._fetcher.close()
        if "_pool" in self.__dict__:
            self._pool.shutdown()
        self.forget()
        self._files.clear()
        self._blocks.clear()

    def _is_plain_web(self, href: str) -> bool:
        known = self._plain.get(href)
        if known is None:
            known = self._plain[href] = is_plain_web(href)
        return known

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="gfmap-read")

    def _gather(
        self, asset: BandAsset, spans: tuple[Span, ...], again: bool
    ) -> dict[_SpanKey, np.ndarray[Any, Any]]:
        """Read windows of one band of one file; ``again``: other bands of it follow."""
        header = self.header(asset)
        if is_remote(asset) and not self._is_ours(asset):
            return {}  # left to load(), which reads many blocks at once
        found: dict[_SpanKey, np.ndarray[Any, Any]] = {}
        dtype = header.dtypes[asset.band_index - 1]
        planes = []
        for span in spans:
            top, bottom, left, right = span
            plane = np.empty((bottom - top, right - left), dtype)
            planes.append(plane)
            found[asset.href, asset.band_index, span] = plane
        for row, column, parts in _by_block(header.block, spans):
            block = [(planes[i], cut) for i, cut in parts]
            # All that is needed of it for a while: kept, it would only drive others out.
            self._read_block(asset, header, row, column, block, keep=again and header.shared)
        return found

    def _open(self, asset: BandAsset) -> BlockSource:
        source = self._opener(asset, self._fetcher)
        if asset.shape is not None and asset.shape != source.header.shape:
            shape = source.header.shape
            source.close()
            raise OpenEOError(
                "SourceInvalid",
                f"{asset.href} has {shape} rows and columns, its STAC item says {asset.shape} "
                "(proj:shape); one of both must be mended.",
                status=500,
            )
        return source

    def _look_at_grid(self, asset: BandAsset) -> SourceGrid:
        if asset.transform is None or asset.shape is None or asset.epsg is None:
            header = self.header(asset)
            return SourceGrid(header.crs, header.transform, header.shape)
        return SourceGrid(asset.epsg, Affine(*asset.transform), asset.shape)

    def _is_ours(self, asset: BandAsset) -> bool:
        with self._files.use(asset) as source:
            return isinstance(source, CogRaster)

    def _read_block(
        self,
        asset: BandAsset,
        header: RasterHeader,
        row: int,
        column: int,
        parts: Sequence[_Part],
        *,
        keep: bool = True,
    ) -> None:
        """Copy parts of one block of a band."""
        key = _key(asset, header, row, column)
        sample = asset.band_index - 1 if header.shared else 0
        block = self._block(asset, key)
        try:
            for out, cut in parts:
                block.read_into(out[cut.where], cut.top, cut.left, sample)
        except BrokenBlock as error:
            raise unreadable(asset.href, error) from error
        if keep:
            self._blocks.put(key, block)  # as large as it is now

    def _missing(self, asset: BandAsset, header: RasterHeader, span: Span) -> list[BlockKey]:
        keys = (_key(asset, header, cut.row, cut.column) for cut in _cuts(header.block, span))
        return [key for key in keys if self._blocks.get(key) is None]

    def _block(self, asset: BandAsset, key: BlockKey) -> Block:
        block = self._blocks.get(key)
        if block is None:
            with self._files.use(asset) as source:
                # Another thread may have read it while this one waited for the file.
                block = self._blocks.get(key)
                if block is None:
                    block = source.read_block(asset.band_index, key[2], key[3])
                    if not isinstance(source, CogRaster):
                        self._blocks.put(key, block)
        return block


@dataclass(frozen=True)
class _Cut:
    """What a window takes of one block.

    Attributes
    ----------
    row, column
        The block.
    top, bottom, left
        Where in the block.
    where
        The place in the window.
    """

    row: int
    column: int
    top: int
    bottom: int
    left: int
    where: tuple[slice, slice]


_Part = tuple[np.ndarray[Any, Any], _Cut]
"""Pixels of a window, and what they take of a block."""


@lru_cache(maxsize=4096)
def _cuts(block: tuple[int, int], span: Span) -> tuple[_Cut, ...]:
    """Cut a window along the blocks of a file."""
    top, bottom, left, right = span
    rows, columns = block
    cuts = []
    for i in range(top // rows, (bottom - 1) // rows + 1):
        for j in range(left // columns, (right - 1) // columns + 1):
            y, x = i * rows, j * columns  # where the block begins
            y0, y1 = max(top, y), min(bottom, y + rows)
            x0, x1 = max(left, x), min(right, x + columns)
            where = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
            cuts.append(_Cut(i, j, y0 - y, y1 - y, x0 - x, where))
    return tuple(cuts)


@lru_cache(maxsize=64)  # the same for all dates, and for all bands of a resolution
def _by_block(
    block: tuple[int, int], spans: tuple[Span, ...]
) -> tuple[tuple[int, int, tuple[tuple[int, _Cut], ...]], ...]:
    """Return the blocks that windows touch: row, column, and cuts by the window's position.

    The lowest rows come first, so that a block is inflated in one go.
    """
    blocks: dict[tuple[int, int], list[tuple[int, _Cut]]] = {}
    for position, span in enumerate(spans):
        for cut in _cuts(block, span):
            blocks.setdefault((cut.row, cut.column), []).append((position, cut))
    return tuple(
        (row, column, tuple(sorted(parts, key=lambda part: -part[1].bottom)))
        for (row, column), parts in blocks.items()
    )


def _key(asset: BandAsset, header: RasterHeader, row: int, column: int) -> BlockKey:
    return asset.href, 0 if header.shared else asset.band_index, row, column


def is_remote(asset: BandAsset) -> bool:
    """Whether a band's file is read over the network."""
    return asset.href.startswith(_REMOTE)
