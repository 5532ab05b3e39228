"""Raster files as grids of blocks: the boundary between the reader and the decoders.

The reader knows only :class:`BlockSource`. Tiled TIFFs of the usual kinds are decoded by our own
:mod:`cog`, everything else by GDAL (through rasterio); a file's header decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from .cog.blocks import CodedBlock, ConstantBlock
from .cog.fetching import Fetcher, RemoteBytes
from .cog.files import FileBytes
from .cog.http import is_ours
from .cog.tiff import Unsupported, parse_header
from .errors import OpenEOError
from .stac_source import BandAsset, is_url

__all__ = [
    "Block",
    "BlockSource",
    "CogRaster",
    "GdalRaster",
    "OpenRaster",
    "RasterHeader",
    "gdal_options",
    "is_plain_web",
    "open_raster",
    "unreadable",
]

_MIN_SIDE = 256  # px: blocks smaller than this are read several at once
# Where Planetary Computer keeps Sentinel-2: GDAL fetches a free token for each file. For its other
# collections set VSICURL_PC_URL_SIGNING=YES in the environment.
_PLANETARY_COMPUTER = "https://sentinel2l2a01.blob.core.windows.net/"
_S3_BUCKET_ENDPOINTS = {"eodata": "eodata.dataspace.copernicus.eu"}


@dataclass(frozen=True)
class RasterHeader:
    """What a file says of itself.

    Attributes
    ----------
    shape
        Rows and columns.
    transform
        Affine pixel to CRS transform.
    crs
        Coordinate reference system: its EPSG code, or WKT where it has none.
    block
        Rows and columns of a block as the source hands them out; the last ones are cut.
    dtypes, nodata
        numpy dtype name and nodata value (None: every value is valid), per band.
    shared
        One block holds the pixels of all bands.
    """

    shape: tuple[int, int]
    transform: Affine
    crs: int | str
    block: tuple[int, int]
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    shared: bool = False


class Block(Protocol):
    """A block of a file, decoded or about to be."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory held now; may grow when pixels are read."""
        ...

    def read_into(self, out: np.ndarray[Any, Any], top: int, left: int, sample: int = 0) -> None:
        """Copy the pixels from a row and a column of the block on, as many as ``out`` has.

        ``sample`` is the 0-based band where a block holds all bands, else 0.
        """
        ...


class BlockSource(Protocol):
    """An open raster file."""

    @property
    def header(self) -> RasterHeader:
        """Grid, blocks and types of the file."""
        ...

    @property
    def holds_file(self) -> bool:
        """Whether it keeps a file of the system open until it is closed."""
        ...

    def read_block(self, band: int, row: int, column: int) -> Block:
        """Return a block of a 1-based band (of all bands, where they are shared).

        ``row`` and ``column`` count blocks, from the upper left.
        """
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


OpenRaster = Callable[[BandAsset, Fetcher], BlockSource]
"""Opens the file of a band; the fetcher gets what is remote."""


def gdal_options(href: str) -> Mapping[str, Any]:
    """Return the GDAL configuration to read one file with.

    No listing of the folder, few and large requests, retries; GDAL's own block cache is kept
    small since the reader caches decoded blocks itself.
    """
    options: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_CACHEMAX": 32}
    if _is_local(href):
        return options
    options |= {
        "CPL_VSIL_CURL_USE_HEAD": "NO",
        "GDAL_HTTP_MAX_RETRY": 5,
        "GDAL_HTTP_RETRY_DELAY": 0.5,
        "GDAL_HTTP_CONNECTTIMEOUT": 10,
        "GDAL_HTTP_TIMEOUT": 120,
        "GDAL_HTTP_MULTIPLEX": "YES",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "VSI_CACHE": True,
        "VSI_CACHE_SIZE": 4 * 2**20,
    }
    if href.startswith(_PLANETARY_COMPUTER) and "?" not in href:
        options["VSICURL_PC_URL_SIGNING"] = True
    endpoint = _S3_BUCKET_ENDPOINTS.get(href.removeprefix("s3://").split("/")[0])
    if href.startswith("s3://") and endpoint and "AWS_S3_ENDPOINT" not in os.environ:
        options.update(AWS_S3_ENDPOINT=endpoint, AWS_VIRTUAL_HOSTING=False)
    return options


def _is_local(href: str) -> bool:
    return "://" not in href and not href.startswith("/vsi")


class _Decoded:
    """A block that GDAL decoded."""

    def __init__(self, pixels: np.ndarray[Any, Any]):
        self._pixels = pixels
        self.nbytes = pixels.nbytes

    def read_into(self, out: np.ndarray[Any, Any], top: int, left: int, sample: int = 0) -> None:
        rows, columns = out.shape
        out[...] = self._pixels[top : top + rows, left : left + columns]


class GdalRaster:
    """A raster file read by GDAL.

    Parameters
    ----------
    href
        Local path, or an ``http(s)://`` or ``s3://`` address.

    Raises
    ------
    OpenEOError
        SourceUnavailable if GDAL cannot open the file, SourceInvalid if it has no CRS.
    """

    holds_file = True

    def __init__(self, href: str):
        self._href = href
        try:
            with self._environment():
                self._file = rasterio.open(href, sharing=False)
        except (RasterioError, OSError) as error:
            raise unreadable(href, error) from error
        if self._file.crs is None:
            raise OpenEOError(
                "SourceInvalid",
                f"{href} has no coordinate reference system; give it one or leave it out.",
                status=500,
            )
        shape = (int(self._file.height), int(self._file.width))
        rows, columns = self._file.block_shapes[0]
        self.header = RasterHeader(
            shape=shape,
            transform=self._file.transform,
            crs=_crs_key(self._file.crs.to_wkt()),
            block=(_enlarged(rows, shape[0]), _enlarged(columns, shape[1])),
            dtypes=tuple(self._file.dtypes),
            nodata=tuple(self._file.nodatavals),
        )

    def read_block(self, band: int, row: int, column: int) -> Block:
        """Return the decoded block of a band; see :class:`BlockSource`."""
        rows, columns = self.header.block
        top, left = row * rows, column * columns
        window = Window(
            left,
            top,
            min(columns, self.header.shape[1] - left),
            min(rows, self.header.shape[0] - top),
        )
        try:
            with self._reading():
                return _Decoded(np.asarray(self._file.read(band, window=window)))
        except (RasterioError, OSError, IndexError) as error:
            raise unreadable(self._href, error) from error

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _environment(self) -> rasterio.Env:
        return rasterio.Env(**gdal_options(self._href))

    def _reading(self) -> AbstractContextManager[Any]:
        # Reading an open local file looks at no option, and setting them takes as long as it.
        return nullcontext() if _is_local(self._href) else self._environment()


class CogRaster:
    """A tiled TIFF decoded by :mod:`cog`, from a local file or by HTTP.

    Parameters
    ----------
    href
        Where it lies.
    source
        Its bytes.

    Raises
    ------
    Unsupported
        The header is nothing for :mod:`cog`.
    OSError
        The header cannot be read.
    """

    holds_file = False

    def __init__(self, href: str, source: FileBytes | RemoteBytes):
        self.href = href
        self._source = source
        self._tiff = tiff = parse_header(source.read)
        name = tiff.layout.dtype.newbyteorder("=").name
        self.header = RasterHeader(
            shape=tiff.shape,
            transform=tiff.transform,
            crs=tiff.epsg,
            block=(tiff.layout.rows, tiff.layout.columns),
            dtypes=(name,) * tiff.bands,
            nodata=(tiff.nodata,) * tiff.bands,
            shared=tiff.layout.samples > 1,
        )

    def block_range(self, band: int, row: int, column: int) -> tuple[int, int]:
        """Return offset and length of a block in the file; length 0: never written."""
        return self._tiff.block_range(band, row, column)

    def read_block(self, band: int, row: int, column: int) -> Block:
        """Return a block, not inflated yet; see :class:`BlockSource`."""
        offset, length = self._tiff.block_range(band, row, column)
        if not length:
            return ConstantBlock(self._tiff.fill)
        try:
            data = self._source.read(offset, length)
        except OSError as error:
            raise unreadable(self.href, error) from error
        if len(data) < length:
            raise unreadable(self.href, f"it ends before byte {offset + length}, inside a block")
        return CodedBlock(self._tiff.layout, data)

    def close(self) -> None:
        """Nothing is held."""


def open_raster(asset: BandAsset, fetcher: Fetcher | None = None) -> BlockSource:
    """Open a band's file; its alternate address where S3 credentials are needed but not set.

    Parameters
    ----------
    asset
        The band.
    fetcher
        Gets byte ranges of remote files; None leaves those to GDAL.

    Raises
    ------
    OpenEOError
        SourceUnavailable if the file cannot be opened, SourceInvalid if it has no CRS.
    """
    href = asset.href
    if href.startswith("s3://") and asset.alternate and not _has_s3_credentials():
        href = asset.alternate
    source: FileBytes | RemoteBytes | None = None
    if _is_local(href):
        source = FileBytes(href)
    elif fetcher is not None and is_plain_web(href):
        source = RemoteBytes(href, fetcher)
    if source is not None:
        # GDAL knows more kinds of files, and says best what is wrong with one.
        with suppress(Unsupported, OSError):
            return CogRaster(href, source)
    return GdalRaster(href)


def is_plain_web(href: str) -> bool:
    """Whether a file may be ours to fetch: no signing, no JPEG 2000, nothing asked of GDAL."""
    unsigned = href.startswith(_PLANETARY_COMPUTER) and "?" not in href
    return is_url(href) and not unsigned and ".jp2" not in href and is_ours(href)


def _has_s3_credentials() -> bool:
    names = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_NO_SIGN_REQUEST", "AWS_WEB_IDENTITY_TOKEN")
    return any(os.environ.get(name) for name in names)


@lru_cache(maxsize=256)
def _crs_key(wkt: str) -> int | str:
    return CRS.from_wkt(wkt).to_epsg() or wkt


def _enlarged(block: int, size: int) -> int:
    """Return the smallest multiple of a block side that is at least 256 px, at most the raster."""
    return min(size, block * -(-_MIN_SIDE // block))


def unreadable(href: str, error: Exception | str) -> OpenEOError:
    """Return the error that a file cannot be read, with what to look at."""
    return OpenEOError(
        "SourceUnavailable",
        f"{href} cannot be read: {error}. Check that the file is there and complete, and that "
        "its storage lets this machine in (for s3:// set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY).",
        status=500,
    )
