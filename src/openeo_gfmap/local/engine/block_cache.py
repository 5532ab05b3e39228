"""What a reader keeps between windows: blocks, file headers, open files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from ..rasters import Block, BlockSource, RasterHeader
from ..stac_source import BandAsset

__all__ = ["BlockCache", "FileCache", "Memory"]

BlockKey = tuple[str, int, int, int]
"""Address of the file, 1-based band (0: all bands share the block), row and column of the block."""

# Files of which only the header is held: a year of all bands is below that.
_MOST_KNOWN = 10_000
_MOST_FACTS = 50_000

_K = TypeVar("_K")
_V = TypeVar("_V")


class BlockCache:
    """Blocks, the least recently used given up first.

    Parameters
    ----------
    limit
        Bytes to keep at most. A block above the limit is not kept.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._bytes = 0
        self._blocks: OrderedDict[BlockKey, tuple[Block, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def get(self, key: BlockKey) -> Block | None:
        """Return a block, or None if it is not held."""
        with self._lock:
            held = self._blocks.get(key)
            if held is None:
                return None
            self._blocks.move_to_end(key)
            return held[0]

    def put(self, key: BlockKey, block: Block) -> None:
        """Keep a block; to be called again when it has grown."""
        size = block.nbytes
        with self._lock:
            held = self._blocks.get(key)
            if held is not None:
                if held[0] is block and held[1] == size:
                    return
                self._bytes -= self._blocks.pop(key)[1]
            if size > self._limit:
                return
            self._bytes += size
            self._blocks[key] = (block, size)
            while self._bytes > self._limit:
                self._bytes -= self._blocks.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget all blocks."""
        with self._lock:
            self._blocks.clear()
            self._bytes = 0


class Memory(dict[_K, _V]):
    """Small facts on files, which can be found out again: forgotten all at once when too many."""

    def __setitem__(self, key: _K, value: _V) -> None:
        if len(self) >= _MOST_FACTS:
            self.clear()
        super().__setitem__(key, value)


@dataclass
class _OpenFile:
    source: BlockSource
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class _Shelf:
    """Files of one kind, the least recently used first."""

    limit: int
    files: OrderedDict[str, _OpenFile] = field(default_factory=OrderedDict)

    def close_surplus(self, limit: int | None = None) -> None:
        """Close what is beyond the limit and not in use."""
        surplus = len(self.files) - (self.limit if limit is None else limit)
        if surplus > 0:
            idle = [href for href, file in self.files.items() if not file.users]
            for href in idle[:surplus]:
                self.files.pop(href).source.close()


class FileCache:
    """Open files, bounded in number, and the headers of all files ever opened.

    A header is small and outlives its open file: windows whose blocks are cached need no file.

    Parameters
    ----------
    limit
        Files to keep open at most, beside those in use at the moment. Sources that hold no file
        of the system are known far longer.
    opener
        How to open a file.
    """

    def __init__(self, limit: int, opener: Callable[[BandAsset], BlockSource]):
        self._open = opener
        self._headers: dict[str, RasterHeader] = Memory()
        # Those that hold a file of the system, and those that do not.
        self._shelves = {True: _Shelf(limit), False: _Shelf(_MOST_KNOWN)}
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
                self._shelves[file.source.holds_file].close_surplus()

    def knows(self, asset: BandAsset) -> bool:
        """Whether the header of a band's file is at hand."""
        return asset.href in self._headers

    def clear(self) -> None:
        """Close all files that are not in use, and forget the headers."""
        with self._lock:
            self._headers.clear()
            for shelf in self._shelves.values():
                shelf.close_surplus(0)

    def _acquire(self, asset: BandAsset) -> _OpenFile:
        with self._lock:
            file = self._known(asset.href)
            if file is not None:
                file.users += 1
                return file
        # Opening may take a request or two: not under the lock.
        source = self._open(asset)
        with self._lock:
            file = self._known(asset.href)
            if file is None:
                file = _OpenFile(source)
                self._shelves[source.holds_file].files[asset.href] = file
                self._headers[asset.href] = source.header
            else:
                source.close()  # another thread was faster
            file.users += 1
            return file

    def _known(self, href: str) -> _OpenFile | None:
        for shelf in self._shelves.values():
            if href in shelf.files:
                shelf.files.move_to_end(href)
                return shelf.files[href]
        return None
