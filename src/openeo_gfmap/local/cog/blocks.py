"""A block of a tiled TIFF: inflated from the top as far as rows are wanted, and no further.

A window needs some rows of a block. Inflating cannot skip what comes before them, but it can
stop after them, and go on from there when another window wants more. What is kept is the
inflated bytes; the predictor is undone for the pixels of a window only: the differences left of
it need but be summed, which takes a fifth of the time of summing them up one by one.
"""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

__all__ = ["DEFLATE", "STORED", "ZSTD", "BlockLayout", "BrokenBlock", "CodedBlock", "ConstantBlock"]

Pixels = np.ndarray[Any, Any]

DEFLATE, ZSTD, STORED = "deflate", "zstd", "stored"

try:
    _zlib: Any = importlib.import_module("isal.isal_zlib")
except ImportError:
    _zlib = zlib

# When so little of a block is left it is inflated to its end, which also checks its checksum.
_REST = 1 / 8
# What an unfinished inflation holds beside its input: window, tables and buffers of ISA-L.
_STATE_BYTES = 100_000


class BrokenBlock(Exception):
    """The bytes of a block are not what the header says."""


@dataclass(frozen=True)
class BlockLayout:
    """How the blocks of a file are stored.

    Attributes
    ----------
    rows, columns
        Pixels; blocks at the raster's edge are padded to full size.
    samples
        Bands of a pixel that stand side by side.
    dtype
        Of the stored values, with the file's byte order.
    codec
        One of DEFLATE, ZSTD, STORED.
    predictor
        TIFF predictor: 1 none, 2 horizontal differences, 3 differences of a float's bytes.
    """

    rows: int
    columns: int
    samples: int
    dtype: np.dtype[Any]
    codec: str
    predictor: int

    @cached_property
    def unit(self) -> np.dtype[Any]:
        """What differences are between: floats, too, are then taken as integers."""
        if self.predictor == 1:
            return self.dtype
        return np.dtype(f"u{self.dtype.itemsize}").newbyteorder(self.dtype.byteorder)

    @cached_property
    def native(self) -> np.dtype[Any]:
        """The same in the machine's byte order."""
        return self.unit.newbyteorder("=")

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row, all samples."""
        return self.columns * self.samples * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of a whole block, inflated."""
        return self.rows * self.row_bytes


class _Stream(Protocol):
    """Bytes that are inflated piece by piece."""

    @property
    def waiting(self) -> int:
        """Bytes held for the pieces to come."""
        ...

    def read(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end."""
        ...

    def finish(self) -> bool:
        """Tell whether the end is reached; what follows the last byte, the checksum, is checked."""
        ...


class _Deflated:
    def __init__(self, data: bytes):
        self._rest = data
        self._inflate = _zlib.decompressobj()

    @property
    def waiting(self) -> int:
        return len(self._rest) + _STATE_BYTES

    def read(self, size: int) -> bytes:
        found: bytes = self._inflate.decompress(self._rest, size)
        self._rest = self._inflate.unconsumed_tail
        return found

    def finish(self) -> bool:
        return bool(self._inflate.eof or (not self.read(1) and self._inflate.eof))


class _Zstandard:
    def __init__(self, data: bytes):
        import pyarrow as pa  # noqa: PLC0415  (few files need it)

        self.waiting = len(data) + _STATE_BYTES
        self._stream = pa.CompressedInputStream(pa.BufferReader(data), "zstd")

    def read(self, size: int) -> bytes:
        return bytes(self._stream.read(size))

    def finish(self) -> bool:
        return not self._stream.read(1)


class _Stored:
    def __init__(self, data: bytes):
        self._data, self._position = data, 0
        self.waiting = len(data)

    def read(self, size: int) -> bytes:
        self._position += size
        return self._data[self._position - size : self._position]

    def finish(self) -> bool:
        return True  # padding at the end does no harm


_STREAMS: dict[str, type[Any]] = {DEFLATE: _Deflated, ZSTD: _Zstandard, STORED: _Stored}


class CodedBlock:
    """One block, its rows inflated on demand. Not for several threads at once.

    Parameters
    ----------
    layout
        How the file's blocks are stored.
    data
        The compressed bytes.
    """

    def __init__(self, layout: BlockLayout, data: bytes):
        self._layout = layout
        self._stream: _Stream | None = _STREAMS[layout.codec](data)
        self._raw: Pixels = np.empty((0, layout.row_bytes), np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held: rows inflated so far, and what the further ones need."""
        return self._raw.nbytes + (0 if self._stream is None else self._stream.waiting)

    def read_into(self, out: Pixels, top: int, left: int, sample: int = 0) -> None:
        """Copy pixels of one sample.

        Parameters
        ----------
        out
            Takes the rows from ``top`` and the columns from ``left`` on, as many as it has;
            dtype as stored, in the machine's byte order.
        sample
            0-based position inside a pixel.

        Raises
        ------
        BrokenBlock
            The bytes cannot be inflated, or end too early.
        """
        layout = self._layout
        rows, columns = out.shape
        raw = self._raw if top + rows <= len(self._raw) else self._rows(top + rows)
        raw = raw[top : top + rows]
        if layout.predictor == 3:
            out[...] = _undo_float(raw, layout)[:, left : left + columns, sample]
            return
        values = raw.view(layout.unit)
        if layout.samples > 1:
            values = values.reshape(rows, layout.columns, layout.samples)[:, :, sample]
        if layout.predictor == 1:
            out[...] = values[:, left : left + columns]
            return
        native = layout.native
        summed = out if out.dtype == native else out.view(native)
        values[:, left : left + columns].cumsum(axis=1, dtype=native, out=summed)
        if left:
            summed += np.add.reduce(values[:, :left], axis=1, dtype=native)[:, None]

    def _rows(self, stop: int) -> Pixels:
        """Return the inflated bytes of at least the first rows."""
        have = len(self._raw)
        if stop > have and self._stream is not None:
            layout = self._layout
            if stop > layout.rows * (1 - _REST):
                stop = layout.rows
            size = (stop - have) * layout.row_bytes
            try:
                piece = self._stream.read(size)
                if len(piece) == size and stop == layout.rows and not self._stream.finish():
                    raise BrokenBlock(f"it does not end after {layout.nbytes} bytes")
            except (_zlib.error, OSError) as error:
                raise BrokenBlock(f"it cannot be inflated ({error})") from error
            if len(piece) != size:
                raise BrokenBlock(
                    f"it ends after {have * layout.row_bytes + len(piece)} of {layout.nbytes} bytes"
                )
            more = np.frombuffer(piece, np.uint8).reshape(-1, layout.row_bytes)
            self._raw = np.concatenate([self._raw, more]) if have else more
            if stop == layout.rows:
                self._stream = None
        return self._raw


class ConstantBlock:
    """A block that was never written: all its pixels have one value."""

    nbytes = 0

    def __init__(self, value: float):
        self._value = value

    def read_into(self, out: Pixels, top: int, left: int, sample: int = 0) -> None:
        """Fill with the value."""
        out[...] = self._value


def _undo_float(raw: Pixels, layout: BlockLayout) -> Pixels:
    """Undo the floating point predictor of whole rows: (rows, columns, samples).

    A row holds the most significant bytes of all its values, then the next ones, and so on, as
    differences between pixels.
    """
    rows, size = len(raw), layout.dtype.itemsize
    bytes_ = np.cumsum(raw.reshape(rows, -1, layout.samples), axis=1, dtype=np.uint8)
    planes = bytes_.reshape(rows, size, -1)
    values = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{size}")
    return values.reshape(rows, layout.columns, layout.samples)
