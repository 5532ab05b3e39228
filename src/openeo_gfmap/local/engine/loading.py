"""Reading for one window: every band once, with the widest context that anyone wants of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox

from ..stac_source import Area, Scene
from .cube import Cube, crop, select
from .demands import Demand, Interval, Request, Window, meet, union_of, within
from .grid import Grid, crs_name, extent_of
from .plan import LoadSpec

__all__ = [
    "Loaded",
    "PixelReader",
    "area_of",
    "find_scenes",
    "load_window",
    "requests_of",
    "wider",
]


class PixelReader(Protocol):
    """What the engine needs of :class:`reader.Reader`."""

    def read(
        self,
        scenes: Sequence[Scene],
        bands: Sequence[str],
        geobox: GeoBox,
        times: Any = None,
        *,
        dtype: Any,
        nodata: float | None,
        resampling: str = "near",
        lookup: Any = None,
    ) -> Cube:
        """Read a window into a cube with dims (t, bands, y, x)."""
        ...

    def prepare(self, windows: Iterable[Sequence[Request]]) -> int:
        """Read for several windows at once; returns how many of them are ready, at least one."""
        ...


@dataclass(frozen=True)
class Loaded:
    """All that one window needs of one source; ``serve`` cuts it to size.

    Attributes
    ----------
    groups
        Cubes with the same dates; each band is in one of them.
    """

    groups: tuple[Cube, ...]

    @property
    def dates(self) -> np.ndarray[Any, Any]:
        """Dates that have data."""
        return self.groups[0].labels["t"] if self.groups else np.empty(0, "datetime64[ns]")

    def serve(self, bands: Sequence[str], box: GeoBox) -> Cube:
        """Return bands in the order asked for, on the pixels asked for."""
        parts: dict[str, Cube] = {}
        for cube in self.groups:
            mine = [b for b in cube.labels["bands"] if b in bands]
            if len(mine) == len(bands):
                return select(crop(cube, box), "bands", bands)
            parts.update(dict.fromkeys(mine, cube))
        cut = [select(crop(parts[b], box), "bands", [b]) for b in bands]
        labels = {**cut[0].labels, "bands": np.asarray(bands, dtype=str)}
        return cut[0].with_data(np.concatenate([c.data for c in cut], axis=1), labels=labels)


def requests_of(
    spec: LoadSpec, scenes: Sequence[Scene], demands: Sequence[Demand], window: Window
) -> list[Request]:
    """Return what a window's demands ask of a source: bands that need the same pixels together."""
    wanted: dict[str, GeoBox] = {}
    for demand in demands:
        if demand.box is None:
            continue
        for band in demand.bands or spec.bands:
            known = wanted.get(band)
            wanted[band] = demand.box if known is None else wider(known, demand.box)
    interval = union_of([d.interval for d in demands])
    if window.shape is not None:
        area = area_of([d.box for d in demands if d.box is not None])
        scenes = [s for s in scenes if s.touches(area)]
    scenes = [s for s in scenes if within(s.datetime, interval)]
    days = np.asarray(
        sorted({np.datetime64(s.datetime.date(), "ns") for s in scenes}), dtype="datetime64[ns]"
    )
    by_box: dict[GeoBox, list[str]] = {}
    for band in spec.bands:
        if band in wanted:
            by_box.setdefault(wanted[band], []).append(band)
    return [
        Request(
            scenes, tuple(bands), tuple(spec.source.band_info(b).name for b in bands), box, days
        )
        for box, bands in by_box.items()
    ]


def load_window(
    spec: LoadSpec,
    scenes: Sequence[Scene],
    demands: Sequence[Demand],
    window: Window,
    reader: PixelReader,
) -> Loaded:
    """Read what a window's demands ask of a source.

    For a feature, dates on which none of its pixels has data are dropped. Tiles of a dense
    result keep all dates of the source, so that they fit together.
    """
    groups = []
    for request in requests_of(spec, scenes, demands, window):
        cube = reader.read(
            request.scenes,
            request.names,
            request.geobox,
            request.times,
            dtype=spec.dtype,
            nodata=spec.nodata,
            lookup=spec.source.band_info,
        )
        labels = {**cube.labels, "bands": np.asarray(request.bands, dtype=str)}
        groups.append(cube.with_data(cube.data, labels=labels))
    if window.shape is not None and groups:
        seen = np.zeros(len(groups[0].labels["t"]), dtype=bool)
        for cube in groups:
            seen |= _days_with_data(cube, window)
        if not seen.all():
            groups = [select(c, "t", c.labels["t"][seen]) for c in groups]
    return Loaded(tuple(groups))


def _days_with_data(cube: Cube, window: Window) -> np.ndarray[Any, Any]:
    """Which dates have a valid pixel inside the feature (its window, if it holds no pixel)."""
    seen = np.zeros(len(cube.labels["t"]), dtype=bool)
    if cube.geobox is None or window.shape is None or not len(seen):
        return seen
    inside = window.shape.inside(cube.geobox)
    if not inside.any():
        inside[...] = True
    # Band by band: the first one mostly has data on every date.
    for band in range(len(cube.labels["bands"])):
        rest = np.flatnonzero(~seen)
        if not len(rest):
            break
        valid = ~cube.with_data(cube.data[rest, band : band + 1]).missing()
        seen[rest] = (valid & inside).any(axis=(1, 2, 3))
    return seen


def find_scenes(
    spec: LoadSpec, boxes: Sequence[GeoBox], interval: Interval, today: datetime
) -> list[Scene]:
    """Search a source once for all windows.

    Parameters
    ----------
    boxes
        The pixels that windows will read, context included.
    interval
        Dates that any window will look at; open ends become those of the mission or today.
    """
    start, end = meet(spec.interval, interval)
    areas = [area_of([box]) for box in boxes]
    first = start or datetime(1972, 7, 23, tzinfo=today.tzinfo)  # Landsat 1, the first of all
    found: list[Scene] = spec.source.scenes(
        areas,
        first,
        end or today,
        [spec.source.band_info(b).name for b in spec.bands],
        spec.properties,
    )
    return found


def area_of(boxes: Sequence[GeoBox]) -> Area:
    """Return the WGS84 bounds of boxes on one grid."""
    extent = extent_of(boxes[0])
    for box in boxes[1:]:
        extent = extent.union(extent_of(box))
    west, south, east, north = extent.to("EPSG:4326").bounds
    # Sources know places across the antimeridian by west > east, features by degrees beyond 180.
    return west, south, east - 360 if east > 180 >= west else east, north


def wider(a: GeoBox, b: GeoBox) -> GeoBox:
    """Return the smallest box that holds two boxes of one grid."""
    if a == b:
        return a
    grid = Grid(crs_name(a.crs), a.transform.a, (a.transform.c, a.transform.f))
    column, row = grid.position(b)
    left, top = min(0, column), min(0, row)
    right = max(a.shape[1], column + b.shape[1])
    bottom = max(a.shape[0], row + b.shape[0])
    return grid.box(left, top, right - left, bottom - top)
