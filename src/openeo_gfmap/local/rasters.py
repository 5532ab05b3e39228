"""Raster files as grids of decoded blocks: the boundary between the reader and a decoder.

The reader knows only :class:`BlockSource`; GDAL (through rasterio) is the one decoder so far.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from .errors import OpenEOError
from .stac_source import BandAsset

__all__ = ["BlockSource", "GdalRaster", "OpenRaster", "RasterHeader", "gdal_options", "open_raster"]

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
    """

    shape: tuple[int, int]
    transform: Affine
    crs: int | str
    block: tuple[int, int]
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]


class BlockSource(Protocol):
    """An open raster file."""

    @property
    def header(self) -> RasterHeader:
        """Grid, blocks and types of the file."""
        ...

    def read_block(self, band: int, row: int, column: int) -> np.ndarray[Any, Any]:
        """Return the decoded block of a 1-based band, cut at the raster's edge.

        ``row`` and ``column`` count blocks, from the upper left.
        """
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


OpenRaster = Callable[[BandAsset], BlockSource]


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

    def __init__(self, href: str):
        self._href = href
        try:
            with self._environment():
                self._file = rasterio.open(href, sharing=False)
        except (RasterioError, OSError) as error:
            raise _unreadable(href, error) from error
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

    def read_block(self, band: int, row: int, column: int) -> np.ndarray[Any, Any]:
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
                return np.asarray(self._file.read(band, window=window))
        except (RasterioError, OSError, IndexError) as error:
            raise _unreadable(self._href, error) from error

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _environment(self) -> rasterio.Env:
        return rasterio.Env(**gdal_options(self._href))

    def _reading(self) -> AbstractContextManager[Any]:
        # Reading an open local file looks at no option, and setting them takes as long as it.
        return nullcontext() if _is_local(self._href) else self._environment()


def open_raster(asset: BandAsset) -> BlockSource:
    """Open a band's file; its alternate address where S3 credentials are needed but not set."""
    href = asset.href
    if href.startswith("s3://") and asset.alternate and not _has_s3_credentials():
        href = asset.alternate
    return GdalRaster(href)


def _has_s3_credentials() -> bool:
    names = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_NO_SIGN_REQUEST", "AWS_WEB_IDENTITY_TOKEN")
    return any(os.environ.get(name) for name in names)


@lru_cache(maxsize=256)
def _crs_key(wkt: str) -> int | str:
    return CRS.from_wkt(wkt).to_epsg() or wkt


def _enlarged(block: int, size: int) -> int:
    """Return the smallest multiple of a block side that is at least 256 px, at most the raster."""
    return min(size, block * -(-_MIN_SIDE // block))


def _unreadable(href: str, error: Exception) -> OpenEOError:
    return OpenEOError(
        "SourceUnavailable",
        f"{href} cannot be read: {error}. Check that the file is there and complete, and that "
        "its storage lets this machine in (for s3:// set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY).",
        status=500,
    )
