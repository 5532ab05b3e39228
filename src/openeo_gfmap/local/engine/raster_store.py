"""Windows of raster files: headers known, blocks fetched ahead and kept for the next window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine

from ..cog.blocks import BrokenBlock
from ..cog.fetching import Fetcher
from ..cog.http import RangeClient
from ..errors import OpenEOError
from ..rasters import Block, CogRaster, OpenRaster, RasterHeader, unreadable
from ..stac_source import BandAsset, is_url
from .block_cache import BlockCache, BlockKey, FileCache
from .resampling import SourceGrid, Span

__all__ = ["RasterStore", "is_remote"]

_REMOTE = ("http://", "https://", "s3://")


class RasterStore:
    """Reads windows of files. One per process, for one thread at a time.

    Parameters
    ----------
    cache_bytes
        Bound on blocks kept.
    max_open
        Bound on open files.
    threads
        Requests to remote files at once.
    opener
        How to open a file.
    """

    def __init__(self, *, cache_bytes: int, max_open: int, threads: int, opener: OpenRaster):
        self._threads = threads
        self._fetcher = Fetcher(RangeClient(connections=threads), threads=threads)
        self._blocks = BlockCache(cache_bytes)
        self._files = FileCache(max_open, lambda asset: opener(asset, self._fetcher))
        self._grids: dict[Any, SourceGrid] = {}

    def header(self, asset: BandAsset) -> RasterHeader:
        """Return the header of a band's file.

        Raises
        ------
        OpenEOError
            SourceUnavailable; SourceInvalid if it contradicts the STAC item.
        """
        known = self._files.knows(asset)
        header = self._files.header(asset)
        if not known and asset.shape is not None and asset.shape != header.shape:
            raise OpenEOError(
                "SourceInvalid",
                f"{asset.href} has {header.shape} rows and columns, its STAC item says "
                f"{asset.shape} (proj:shape); one of both must be mended.",
                status=500,
            )
        return header

    def grid(self, asset: BandAsset) -> SourceGrid:
        """Return the pixel grid of a band: from its STAC metadata, else the file's header."""
        if asset.transform is None or asset.shape is None or asset.epsg is None:
            header = self.header(asset)
            return SourceGrid(header.crs, header.transform, header.shape)
        # Known without opening the file: scenes beside the window cost nothing.
        key = (asset.epsg, asset.transform, asset.shape)
        grid = self._grids.get(key)
        if grid is None:
            grid = SourceGrid(asset.epsg, Affine(*asset.transform), asset.shape)
            self._grids[key] = grid
        return grid

    def learn(self, assets: Iterable[BandAsset]) -> None:
        """Read the headers of remote files, many at once."""
        unknown = {a.href: a for a in assets if is_remote(a) and not self._files.knows(a)}
        for _ in self._pool.map(self.header, unknown.values()) if unknown else ():
            pass

    def announce(self, wanted: Sequence[tuple[BandAsset, Span]]) -> None:
        """Say which windows will be read soon, in this order: remote blocks are on their way."""
        # JPEG 2000 and S3 are GDAL's: it opens those files when their turn comes.
        ours = [each for each in wanted if is_url(each[0].href) and ".jp2" not in each[0].href]
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

    def load(self, assets: Sequence[BandAsset], span: Span) -> None:
        """Read the blocks of a window that GDAL fetches from elsewhere, many at once."""
        remote = [asset for asset in assets if is_remote(asset)]
        self.learn(remote)
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
        header = self.header(asset)
        sample = asset.band_index - 1 if header.shared else 0
        top, bottom, left, right = span
        rows, columns = header.block
        for key in _keys(asset, header, span):
            block = self._block(asset, key)
            y, x = key[2] * rows, key[3] * columns  # where the block begins
            y0, y1 = max(top, y), min(bottom, y + rows)
            x0, x1 = max(left, x), min(right, x + columns)
            try:
                part = out[y0 - top : y1 - top, x0 - left : x1 - left]
                block.read_into(part, y0 - y, x0 - x, sample)
            except BrokenBlock as error:
                raise unreadable(asset.href, error) from error
            self._blocks.put(key, block)  # it may have grown

    def close(self) -> None:
        """Close all files, stop fetching and forget all blocks."""
        self._fetcher.close()
        self._files.clear()
        self._blocks.clear()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="gfmap-read")

    def _missing(self, asset: BandAsset, header: RasterHeader, span: Span) -> list[BlockKey]:
        return [k for k in _keys(asset, header, span) if self._blocks.get(k) is None]

    def _block(self, asset: BandAsset, key: BlockKey) -> Block:
        block = self._blocks.get(key)
        if block is None:
            with self._files.use(asset) as source:
                # Another thread may have read it while this one waited for the file.
                block = self._blocks.get(key)
                if block is None:
                    block = source.read_block(asset.band_index, key[2], key[3])
                    self._blocks.put(key, block)
        return block


def _keys(asset: BandAsset, header: RasterHeader, span: Span) -> Iterator[BlockKey]:
    """Return the blocks that a window touches."""
    top, bottom, left, right = span
    rows, columns = header.block
    band = 0 if header.shared else asset.band_index
    for i in range(top // rows, (bottom - 1) // rows + 1):
        for j in range(left // columns, (right - 1) // columns + 1):
            yield asset.href, band, i, j


def is_remote(asset: BandAsset) -> bool:
    """Whether a band's file is read over the network."""
    return asset.href.startswith(_REMOTE)
