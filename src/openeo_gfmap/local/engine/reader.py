"""The reader: scenes, bands and a pixel grid in, a cube out; each block is inflated once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from ..rasters import OpenRaster, open_raster
from ..stac_source import BandAsset, BandInfo, Scene
from .cube import Cube
from .demands import Request
from .raster_store import RasterStore, is_remote
from .resampling import PixelMap, SourceGrid, Span, method_of, pixel_map, source_window, warp

__all__ = ["Reader", "days_of"]

Pixels = np.ndarray[Any, Any]

# Bytes of pixels worked on together: enough dates for numpy to be quick, little beside a window.
_STACK_BYTES = 8 * 2**20


@dataclass
class _Ahead:
    """Spans of files that the next windows will read.

    Attributes
    ----------
    spans
        All of them, in order.
    ready, ready_spans
        Windows whose pixels fit into the memory for them, and their spans.
    """

    spans: list[tuple[BandAsset, Span]] = field(default_factory=list)
    ready: int = 0
    ready_spans: int = 0
    _windows: int = 0
    _bytes: int = 0

    def add(self, spans: Sequence[tuple[BandAsset, Span]], most: int) -> None:
        """Take in a window."""
        self.spans += spans
        self._windows += 1
        # Two bytes a pixel, which most files have: it is no matter of life and death.
        self._bytes += sum(2 * (b - t) * (r - left) for _, (t, b, left, r) in spans)
        if self._bytes <= most:
            self.ready += 1
            self.ready_spans = len(self.spans)

    def is_full(self, most: int) -> bool:
        """Whether there is enough to do; what is remote comes further ahead."""
        remote = bool(self.spans) and is_remote(self.spans[-1][0])
        if not remote:
            return self._bytes > most
        return self._bytes > 2 * most and self._windows > 1


@dataclass(frozen=True)
class _Taken:
    """Pixels of a source grid that a target takes: by ``mapping``, or by GDAL's resampling."""

    grid: SourceGrid
    span: Span
    mapping: PixelMap | None = None

    @property
    def whole(self) -> bool:
        """Whether the grid has a pixel for each one of the target."""
        return self.mapping is not None and self.mapping.inside is None


@dataclass(frozen=True)
class _Target:
    """What is asked for, the same for all planes of a window.

    ``missing`` is the nodata value of an integer result and NaN in a float one.
    """

    geobox: GeoBox
    dtype: np.dtype[Any]
    missing: float
    resampling: str
    _taken: dict[int, tuple[SourceGrid, _Taken | None]] = field(default_factory=dict, compare=False)

    def taken_from(self, source: SourceGrid) -> _Taken | None:
        """Return what to take of a grid, None for nothing; worked out once for all its files."""
        known = self._taken.get(id(source))  # its hash would take longer than all the rest
        if known is None:
            known = self._taken[id(source)] = (source, self._look(source))
        return known[1]

    def _look(self, source: SourceGrid) -> _Taken | None:
        if self.resampling == "near":
            mapping = pixel_map(self.geobox, source)
            return None if mapping is None else _Taken(source, mapping.window, mapping)
        span = source_window(self.geobox, source)
        return None if span is None else _Taken(source, span)

    def resampled(self, values: Pixels, taken: _Taken) -> Pixels:
        """Bring source pixels (n, rows, columns) onto the target grid."""
        if taken.mapping is not None:
            return taken.mapping.gather(values, self.missing)
        part = taken.grid.cut(*taken.span)
        return np.stack([warp(v, part, self.geobox, self.resampling, self.missing) for v in values])

    def is_missing(self, pixels: Pixels) -> Pixels:
        if self.dtype.kind == "f":
            return np.isnan(pixels)
        return np.asarray(pixels == self.missing)


class Reader:
    """Reads windows of scenes into cubes. One per process; its windows are read one by one.

    Headers and blocks stay in memory, the least recently used blocks are given up first. Windows
    that are near to each other should be read one after the other, after :meth:`prepare`.

    Parameters
    ----------
    cache_bytes
        Bound on blocks kept; three eighths of it hold pixels of prepared windows beside them.
    max_open
        Bound on files that GDAL keeps open; below the usual limit of 1,024 per process.
    threads
        Requests to remote files at once; local files are read one by one.
    opener
        How to open a band's file: the boundary to the decoders.
    """

    def __init__(
        self,
        *,
        cache_bytes: int = 512 * 2**20,
        max_open: int = 400,
        threads: int = 32,
        opener: OpenRaster = open_raster,
    ):
        self._store = RasterStore(
            cache_bytes=cache_bytes, max_open=max_open, threads=threads, opener=opener
        )
        self._ahead_bytes = cache_bytes * 3 // 8
        self._reading = threading.Lock()

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
        data = np.full((len(days), len(bands), *geobox.shape), target.missing, dtype=dtype)
        fills = [None if lookup is None else lookup(band).nodata for band in bands]
        with self._reading:
            tasks = _tasks(scenes, bands, days, target)
            self._announce(tasks, target)
            for band, waiting in tasks:
                self._fill(data[:, band], waiting, fills[band], target)
        return Cube(
            data,
            ("t", "bands", "y", "x"),
            {"t": days.astype("datetime64[ns]"), "bands": np.asarray(bands, dtype=str)},
            geobox,
            None if target.dtype.kind == "f" else nodata,
        )

    def prepare(self, windows: Iterable[Sequence[Request]]) -> int:
        """Read for several windows at once: each block is inflated once for all of them.

        Their pixels wait for :meth:`read`, in bounded memory. Remote files of further windows are
        on their way meanwhile. What goes wrong here shows when the window is read.

        Parameters
        ----------
        windows
            What will be read for each window, in the order of reading; as many are looked at as
            memory allows for.

        Returns
        -------
        int
            For how many of the windows, at least one, this was done; then it is to be called
            again with the others.
        """
        with self._reading:
            self._store.forget()
            ahead = _Ahead()
            for requests in windows:
                spans: list[tuple[BandAsset, Span]] = []
                # Without this window the others are still worth it.
                with suppress(OpenEOError):
                    for request in requests:
                        spans += self._first_spans(request)
                ahead.add(spans, self._ahead_bytes)
                if ahead.is_full(self._ahead_bytes):
                    break
            self._store.announce(ahead.spans)
            if ahead.ready <= 1:
                return 1
            try:
                self._store.gather(ahead.spans[: ahead.ready_spans])
            except MemoryError:  # one window alone may fit
                self._store.forget()
                return 1
            return ahead.ready

    def grid_of(self, asset: BandAsset) -> GeoBox:
        """Return the pixel grid of a band: from its STAC metadata, else the file's header."""
        grid = self._store.grid(asset)
        crs = f"EPSG:{grid.crs}" if isinstance(grid.crs, int) else grid.crs
        return GeoBox(grid.shape, grid.transform, crs)

    def close(self) -> None:
        """Close all files and forget all blocks."""
        self._store.close()

    def _first_spans(self, request: Request) -> list[tuple[BandAsset, Span]]:
        """Return what will be read for sure: scenes of a day up to one that covers the window."""
        target = _Target(request.geobox, np.dtype("u1"), 0, "near")
        days = np.asarray(request.times, dtype="datetime64[D]")
        tasks = _tasks(request.scenes, request.names, days, target)
        first = [assets[0] for _, waiting in tasks for assets in waiting.values()]
        self._store.learn(a for a in first if a.transform is None or a.shape is None)
        spans = []
        for _, waiting in tasks:
            for assets in waiting.values():
                while (taken := self._next(assets, target)) is not None:
                    spans.append((assets.pop(0), taken.span))
                    if taken.whole:
                        break
        return spans

    def _announce(self, tasks: Sequence[_Task], target: _Target) -> None:
        """Let the first scene of every day be fetched, where files are remote."""
        first = [assets for _, waiting in tasks for assets in waiting.values()]
        if not any(is_remote(assets[0]) for assets in first):
            return
        self._store.learn(a[0] for a in first if a[0].transform is None or a[0].shape is None)
        taken = [self._next(assets, target) for assets in first]
        self._store.announce(
            [(a[0], t.span) for a, t in zip(first, taken, strict=True) if t is not None]
        )

    def _next(self, assets: list[BandAsset], target: _Target) -> _Taken | None:
        """Drop assets beside the window from the front; what to take of the first that is left."""
        while assets:
            taken = target.taken_from(self._store.grid(assets[0]))
            if taken is not None:
                return taken
            del assets[0]
        return None

    def _fill(
        self,
        out: Pixels,
        waiting: dict[int, list[BandAsset]],
        nodata_of_band: float | None,
        target: _Target,
    ) -> None:
        """Fill planes (t, y, x) that hold only missing pixels, scene after scene of each day."""
        begun: set[int] = set()
        while waiting:
            # Scenes of different days that are read, and change, in the same way.
            alike: dict[tuple[Any, ...], list[tuple[int, BandAsset]]] = {}
            for day, assets in waiting.items():
                taken = self._next(assets, target)
                if taken is not None:
                    asset = assets.pop(0)
                    kind = self._kind(asset, nodata_of_band, target)
                    alike.setdefault((id(taken), *kind), []).append((day, asset))
            for (_, dtype, nodata, offset), members in alike.items():
                numbers, assets = [t for t, _ in members], [a for _, a in members]
                taken = target.taken_from(self._store.grid(assets[0]))
                if taken is None:
                    continue
                stored = self._stored(assets, taken.span, dtype)
                pixels = target.resampled(_as_values(stored, nodata, offset, target), taken)
                if begun.isdisjoint(numbers):
                    out[numbers] = pixels
                else:
                    for t, plane in zip(numbers, pixels, strict=True):
                        where = target.is_missing(out[t]) if t in begun else True
                        np.copyto(out[t], plane, where=where)
                begun.update(numbers)
            waiting = {
                t: rest for t, rest in waiting.items() if rest and target.is_missing(out[t]).any()
            }

    def _kind(
        self, asset: BandAsset, nodata_of_band: float | None, target: _Target
    ) -> tuple[np.dtype[Any], float | None, float]:
        """How an asset's stored values are to be understood: dtype, nodata value, offset."""
        dtype, nodata = self._store.type_of(asset)
        if dtype.kind == "f" and target.dtype.kind != "f":
            raise OpenEOError(
                "SourceInvalid",
                f"{asset.href} holds {dtype} values, its collection says {target.dtype}; "
                "state the data_type of the band in the STAC metadata.",
                status=500,
            )
        if asset.nodata is not None:
            nodata = asset.nodata
        return dtype, nodata_of_band if nodata is None else nodata, asset.offset

    def _stored(self, assets: Sequence[BandAsset], span: Span, dtype: np.dtype[Any]) -> Pixels:
        """Read the same window of several files: (n, rows, columns)."""
        self._store.load(assets, span)
        top, bottom, left, right = span
        stored = np.empty((len(assets), bottom - top, right - left), dtype)
        for plane, asset in zip(stored, assets, strict=True):
            self._store.read_into(plane, asset, span)
        return stored


_Task = tuple[int, dict[int, list[BandAsset]]]
"""A band and some days, by position in the result, each with its scenes in order."""


def _tasks(
    scenes: Sequence[Scene], bands: Sequence[str], days: Pixels, target: _Target
) -> list[_Task]:
    """Put the work in order: by so many days as are worked on together, and by band.

    Bands that share the blocks of a file are thus read while those are at hand.
    """
    by_day: dict[np.datetime64, list[Scene]] = {}
    epsg = target.geobox.crs.epsg if target.geobox.crs is not None else None
    for scene in sorted(scenes, key=lambda s: (s.epsg != epsg, s.id)):
        by_day.setdefault(_day(scene), []).append(scene)
    rows, columns = target.geobox.shape
    step = max(1, _STACK_BYTES // (rows * columns * target.dtype.itemsize))
    tasks: list[_Task] = []
    for start in range(0, len(days), step):
        part = [
            (start + i, by_day.get(day, ())) for i, day in enumerate(days[start : start + step])
        ]
        for number, band in enumerate(bands):
            waiting = {t: [s.bands[band] for s in of if band in s.bands] for t, of in part}
            tasks.append((number, {t: assets for t, assets in waiting.items() if assets}))
    return tasks


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
        stored = _shifted(stored, offset)
    values = stored.astype(target.dtype, copy=False)
    if missing is not None and missing.any():
        np.copyto(values, np.asarray(target.missing, target.dtype), where=missing)
    return values


def _shifted(stored: Pixels, offset: float) -> Pixels:
    """Return values with an offset added, not below 0, since reflectances are not negative."""
    if stored.dtype.kind == "u" and offset < 0 and offset == int(offset):
        lowest = stored.dtype.type(min(-int(offset), np.iinfo(stored.dtype).max))
        return np.asarray(np.maximum(stored, lowest) - lowest)
    # Widened, since 16 bits would wrap around.
    wide = stored.astype(np.result_type(stored.dtype, np.int32))
    return np.asarray(np.maximum(wide + wide.dtype.type(offset), 0))
