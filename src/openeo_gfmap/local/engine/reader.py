"""The reader: scenes, bands and a pixel grid in, a cube out; each block is decoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from ..rasters import OpenRaster, open_raster
from ..stac_source import BandAsset, BandInfo, Scene
from .block_cache import BlockCache, FileCache
from .cube import Cube
from .resampling import PixelMap, SourceGrid, method_of, pixel_map, source_window, warp

__all__ = ["Reader", "days_of"]

Pixels = np.ndarray[Any, Any]

_REMOTE = ("http://", "https://", "s3://")


@dataclass(frozen=True)
class _Target:
    """What is asked for, the same for all planes of a window.

    ``missing`` is the nodata value of an integer result and NaN in a float one.
    """

    geobox: GeoBox
    dtype: np.dtype[Any]
    missing: float
    resampling: str
    _maps: dict[SourceGrid, PixelMap | None] = field(default_factory=dict, compare=False)

    def pixel_map(self, source: SourceGrid) -> PixelMap | None:
        """Which source pixels to take; worked out once for all bands and dates of one grid."""
        if source not in self._maps:
            self._maps[source] = pixel_map(self.geobox, source)
        return self._maps[source]

    def is_missing(self, pixels: Pixels) -> Pixels:
        if self.dtype.kind == "f":
            return np.isnan(pixels)
        return np.asarray(pixels == self.missing)


class Reader:
    """Reads windows of scenes into cubes. One per process; its threads may share it.

    Files stay open and decoded blocks stay in memory, the least recently used ones are given
    up first. Windows that are near to each other should be read one after the other.

    Parameters
    ----------
    cache_bytes
        Bound on decoded blocks kept.
    max_open
        Bound on open files; below the usual limit of 1,024 per process.
    threads
        How many planes are fetched at once where files are remote; local ones go one by one.
    opener
        How to open a band's file: the boundary to the decoder.
    """

    def __init__(
        self,
        *,
        cache_bytes: int = 512 * 2**20,
        max_open: int = 400,
        threads: int = 16,
        opener: OpenRaster = open_raster,
    ):
        self._blocks = BlockCache(cache_bytes)
        self._files = FileCache(max_open, opener)
        self._threads = threads

    def read(
        self,
        scenes: Sequence[Scene],
        bands: Sequence[str],
        geobox: GeoBox,
        times: Sequence[np.datetime64] | Pixels | None = None,
        *,
        dtype: Any,
        nodata: float | None,
        resampling: str = "near",
        lookup: Callable[[str], BandInfo] | None = None,
    ) -> Cube:
        """Read a window.

        Parameters
        ----------
        scenes
            Acquisitions, in any order. Scenes of one UTC day are one time step, in which the
            first valid pixel wins: scenes in the window's CRS go first, then by id.
        bands
            Band names in the order of the result. Where a scene lacks a band, pixels are missing.
        geobox
            Pixel grid of the result, north up.
        times
            Days of the result; None takes the days of the scenes, ascending.
        dtype, nodata
            Of the result. ``nodata`` marks the missing pixels of an integer result and must not
            be a value that pixels have; a float result has NaN instead.
        resampling
            An openEO resampling method. "near" takes the source pixel that holds the centre of
            the target pixel, which is exact block replication between nested grids.
        lookup
            Describes a band, for the nodata value of files that state none.

        Returns
        -------
        Cube
            dims (t, bands, y, x); t is ``datetime64[ns]``, midnight UTC.

        Raises
        ------
        OpenEOError
            SourceUnavailable for a file that cannot be read, ProcessParameterInvalid for an
            unknown resampling method.
        """
        method_of(resampling)
        target = _Target(geobox, np.dtype(dtype), _missing_value(dtype, nodata), resampling)
        days = days_of(scenes) if times is None else np.asarray(times, dtype="datetime64[D]")
        by_day: dict[np.datetime64, list[Scene]] = {}
        epsg = geobox.crs.epsg if geobox.crs is not None else None
        for scene in sorted(scenes, key=lambda s: (s.epsg != epsg, s.id)):
            by_day.setdefault(_day(scene), []).append(scene)

        data = np.full((len(days), len(bands), *geobox.shape), target.missing, dtype=dtype)
        planes: list[tuple[Pixels, list[BandAsset], float | None]] = []
        fills = [None if lookup is None else lookup(band).nodata for band in bands]
        # Day by day, so that bands that share a file's blocks are read while those are at hand.
        for t, day in enumerate(days):
            for b, band in enumerate(bands):
                assets = [s.bands[band] for s in by_day.get(day, ()) if band in s.bands]
                if assets:
                    planes.append((data[t, b], assets, fills[b]))

        def fill(plane: tuple[Pixels, list[BandAsset], float | None]) -> None:
            self._mosaic(*plane, target)

        if any(a.href.startswith(_REMOTE) for _, assets, _ in planes for a in assets):
            # Planes are disjoint: the order in which they arrive does not show in the result.
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(fill, planes))
        else:
            for plane in planes:
                fill(plane)
        return Cube(
            data,
            ("t", "bands", "y", "x"),
            {"t": days.astype("datetime64[ns]"), "bands": np.asarray(bands, dtype=str)},
            geobox,
            None if target.dtype.kind == "f" else nodata,
        )

    def grid_of(self, asset: BandAsset) -> GeoBox:
        """Return the pixel grid of a band: from its STAC metadata, else the file's header."""
        grid = self._grid(asset)
        crs = f"EPSG:{grid.crs}" if isinstance(grid.crs, int) else grid.crs
        return GeoBox(grid.shape, grid.transform, crs)

    def close(self) -> None:
        """Close all files and forget all blocks."""
        self._files.clear()
        self._blocks.clear()

    def _mosaic(
        self,
        out: Pixels,
        assets: Sequence[BandAsset],
        nodata_of_band: float | None,
        target: _Target,
    ) -> None:
        """Fill a plane that holds only missing pixels, from the first asset to the last."""
        read = self._nearest if target.resampling == "near" else self._warped
        empty = True
        for asset in assets:
            pixels = read(asset, nodata_of_band, target)
            if pixels is None:
                continue
            if empty:
                out[...] = pixels
                empty = False
            else:
                np.copyto(out, pixels, where=target.is_missing(out))
            if not target.is_missing(out).any():
                return

    def _nearest(
        self, asset: BandAsset, nodata_of_band: float | None, target: _Target
    ) -> Pixels | None:
        mapping = target.pixel_map(self._grid(asset))
        if mapping is None:
            return None
        source = self._window(asset, mapping.window, nodata_of_band, target)
        return mapping.gather(source, target.missing)

    def _warped(
        self, asset: BandAsset, nodata_of_band: float | None, target: _Target
    ) -> Pixels | None:
        grid = self._grid(asset)
        window = source_window(target.geobox, grid)
        if window is None:
            return None
        source = self._window(asset, window, nodata_of_band, target)
        part = grid.cut(*window)
        return warp(source, part, target.geobox, target.resampling, target.missing)

    def _grid(self, asset: BandAsset) -> SourceGrid:
        if asset.transform is not None and asset.shape is not None and asset.epsg is not None:
            # Known without opening the file: scenes beside the window cost nothing.
            return SourceGrid(asset.epsg, Affine(*asset.transform), asset.shape)
        header = self._files.header(asset)
        return SourceGrid(header.crs, header.transform, header.shape)

    def _window(
        self,
        asset: BandAsset,
        window: tuple[int, int, int, int],
        nodata_of_band: float | None,
        target: _Target,
    ) -> Pixels:
        """Return source pixels as they go into the cube: offset added, missing ones marked."""
        header = self._files.header(asset)
        if asset.shape is not None and asset.shape != header.shape:
            raise OpenEOError(
                "SourceInvalid",
                f"{asset.href} has {header.shape} rows and columns, its STAC item says "
                f"{asset.shape} (proj:shape); one of both must be mended.",
                status=500,
            )
        dtype = np.dtype(header.dtypes[asset.band_index - 1])
        if dtype.kind == "f" and target.dtype.kind != "f":
            raise OpenEOError(
                "SourceInvalid",
                f"{asset.href} holds {dtype} values, its collection says {target.dtype}; "
                "state the data_type of the band in the STAC metadata.",
                status=500,
            )
        top, bottom, left, right = window
        rows, columns = header.block
        stored = np.empty((bottom - top, right - left), dtype)
        for i in range(top // rows, (bottom - 1) // rows + 1):
            for j in range(left // columns, (right - 1) // columns + 1):
                block = self._block(asset, i, j)
                y, x = i * rows, j * columns  # where the block begins
                y0, y1 = max(top, y), min(bottom, y + rows)
                x0, x1 = max(left, x), min(right, x + columns)
                stored[y0 - top : y1 - top, x0 - left : x1 - left] = block[
                    y0 - y : y1 - y, x0 - x : x1 - x
                ]
        stated = (asset.nodata, header.nodata[asset.band_index - 1], nodata_of_band)
        nodata = next((value for value in stated if value is not None), None)
        return _as_values(stored, nodata, asset.offset, target)

    def _block(self, asset: BandAsset, row: int, column: int) -> Pixels:
        key = (asset.href, asset.band_index, row, column)
        block = self._blocks.get(key)
        if block is None:
            with self._files.use(asset) as source:
                # Another thread may have read it while this one waited for the file.
                block = self._blocks.get(key)
                if block is None:
                    block = source.read_block(asset.band_index, row, column)
                    self._blocks.put(key, block)
        return block


def days_of(scenes: Sequence[Scene]) -> Pixels:
    """Return the UTC days of the scenes, ascending, each once, as ``datetime64[D]``."""
    return np.unique(np.asarray([_day(s) for s in scenes], dtype="datetime64[D]"))


def _day(scene: Scene) -> np.datetime64:
    return np.datetime64(scene.datetime.date(), "D")


def _missing_value(dtype: Any, nodata: float | None) -> float:
    if np.dtype(dtype).kind == "f":
        return float("nan")
    if nodata is None:
        raise ValueError(
            f"An integer cube ({np.dtype(dtype)}) needs a nodata value: windows may reach beyond "
            "the scenes. Collection.cube_type() gives one."
        )
    return nodata


def _as_values(stored: Pixels, nodata: float | None, offset: float, target: _Target) -> Pixels:
    """Return stored values in the cube's dtype, with its missing value."""
    missing: Pixels | None = None
    if nodata is not None:
        missing = np.isnan(stored) if np.isnan(nodata) else stored == nodata
    if offset:
        # Widened, since 16 bits would wrap around; clipped, since reflectances are not negative.
        wide = stored.astype(np.result_type(stored.dtype, np.int32))
        stored = np.maximum(wide + wide.dtype.type(offset), 0)
    values = stored.astype(target.dtype)
    if missing is not None:
        values[missing] = target.missing
    return values
