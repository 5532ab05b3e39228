"""What a reader keeps between windows: decoded blocks, file headers, open files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..rasters import BlockSource, OpenRaster, RasterHeader
from ..stac_source import BandAsset

__all__ = ["BlockCache", "FileCache"]

BlockKey = tuple[str, int, int, int]
"""Address of the file, 1-based band, row and column of the block."""


class BlockCache:
    """Decoded blocks, the least recently used given up first.

    Parameters
    ----------
    limit
        Bytes to keep at most. A block above the limit is not kept.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._bytes = 0
        self._blocks: OrderedDict[BlockKey, np.ndarray[Any, Any]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def get(self, key: BlockKey) -> np.ndarray[Any, Any] | None:
        """Return a block, or None if it is not held."""
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def put(self, key: BlockKey, block: np.ndarray[Any, Any]) -> None:
        """Keep a block, read-only from now on."""
        block.flags.writeable = False
        if block.nbytes > self._limit:
            return
        with self._lock:
            replaced = self._blocks.pop(key, None)
            self._bytes += block.nbytes - (0 if replaced is None else replaced.nbytes)
            self._blocks[key] = block
            while self._bytes > self._limit:
                self._bytes -= self._blocks.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget all blocks."""
        with self._lock:
            self._blocks.clear()
            self._bytes = 0


@dataclass
class _OpenFile:
    source: BlockSource
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class FileCache:
    """Open files, bounded in number, and the headers of all files ever opened.

    A header is small and outlives its open file: windows whose blocks are cached need no file.

    Parameters
    ----------
    limit
        Files to keep open at most, beside those in use at the moment.
    opener
        How to open a file.
    """

    def __init__(self, limit: int, opener: OpenRaster):
        self._limit = limit
        self._open = opener
        self._headers: dict[str, RasterHeader] = {}
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def header(self, asset: BandAsset) -> RasterHeader:
        """Return the header of a band's file."""
        known = self._headers.get(asset.href)
        if known is None:
            with self.use(asset) as source:
                known = source.header
        return known

    @contextmanager
    def use(self, asset: BandAsset) -> Iterator[BlockSource]:
        """Give the open file to one thread at a time."""
        file = self._acquire(asset)
        try:
            with file.lock:
                yield file.source
        finally:
            with self._lock:
                file.users -= 1
                self._close_surplus()

    def clear(self) -> None:
        """Close all files that are not in use, and forget the headers."""
        with self._lock:
            self._headers.clear()
            limit, self._limit = self._limit, 0
            self._close_surplus()
            self._limit = limit

    def _acquire(self, asset: BandAsset) -> _OpenFile:
        with self._lock:
            file = self._files.get(asset.href)
            if file is not None:
                self._files.move_to_end(asset.href)
                file.users += 1
                return file
        # Opening may take a request or two: not under the lock.
        source = self._open(asset)
        with self._lock:
            file = self._files.get(asset.href)
            if file is None:
                file = self._files[asset.href] = _OpenFile(source)
                self._headers[asset.href] = source.header
            else:
                source.close()  # another thread was faster
            file.users += 1
            return file

    def _close_surplus(self) -> None:
        surplus = len(self._files) - self._limit
        if surplus > 0:
            idle = [href for href, file in self._files.items() if not file.users]
            for href in idle[:surplus]:
                self._files.pop(href).source.close()
