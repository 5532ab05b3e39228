"""A Sentinel-2 collection without files: every pixel is a function of its place, band and day.

So what a window-wise evaluation must give can be computed for any place in one go, and a reader
that reads the wrong pixels cannot go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.stac_source import BandInfo, Scene

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12", "SCL")
RESOLUTION = {"B11": 20.0, "B12": 20.0, "SCL": 20.0}
FIRST_DAY = datetime(2022, 1, 1, 10, 30, tzinfo=UTC)


def pixel_values(band: str, day: np.datetime64, x: Any, y: Any) -> Any:
    """Values at native pixel centres: pseudo-random, but smooth blobs for the SCL."""
    step = 20.0 if band in RESOLUTION else 10.0
    column, row = np.floor(x / step).astype(np.int64), np.floor(-y / step).astype(np.int64)
    days = int(np.datetime64(day, "D").astype(np.int64))
    if band == "SCL":
        wave = np.sin((column + 3 * days) / 9.0) + np.cos((row - days) / 7.0)
        return np.where(wave > 1.1, 9, np.where(wave > 0.8, 3, 4)).astype(np.uint16)
    mixed = column * 7919 + row * 104729 + days * 31 + BANDS.index(band) * 1009
    return (mixed % 4001).astype(np.uint16)


@dataclass(frozen=True)
class FakeCollection:
    """Like ``catalog.Collection``; one scene every five days, everywhere.

    Attributes
    ----------
    count
        Number of scenes.
    west_only
        Days (counted from the first scene) without data east of ``edge``.
    edge
        An easting.
    """

    id: str = "SENTINEL2_L2A"
    count: int = 6
    west_only: frozenset[int] = frozenset()
    edge: float = 0.0
    bands: tuple[str, ...] = BANDS

    def band_info(self, name: str) -> BandInfo:
        if name not in self.bands:
            raise OpenEOError("ProcessParameterInvalid", f"Band {name!r} is not here.")
        return BandInfo(name, RESOLUTION.get(name, 10.0), "uint16", 0)

    def cube_type(self, bands: Sequence[str]) -> tuple[np.dtype[Any], float]:
        return np.dtype("uint16"), 65535.0

    def scenes(
        self,
        areas: Sequence[Any],
        start: datetime,
        end: datetime,
        bands: Sequence[str] | None = None,
        properties: Mapping[str, Callable[[Any], bool]] | None = None,
    ) -> list[Scene]:
        found = []
        for i in range(self.count):
            moment = FIRST_DAY + timedelta(days=5 * i)
            meta = {"eo:cloud_cover": 10.0 * i}
            ok = all(test(meta.get(name)) for name, test in (properties or {}).items())
            if start <= moment < end and ok:
                found.append(Scene(f"scene-{i}", moment, (-180, -90, 180, 90), properties=meta))
        return found


@dataclass(frozen=True)
class FakeCatalog:
    collection: FakeCollection = field(default_factory=FakeCollection)

    def get(self, id: str) -> FakeCollection:
        if id != self.collection.id:
            raise OpenEOError("CollectionNotFound", f"Collection {id!r} is not here.", status=404)
        return self.collection


@dataclass
class FakeReader:
    """Like ``reader.Reader``; notes what was read."""

    collection: FakeCollection = field(default_factory=FakeCollection)
    reads: list[tuple[tuple[str, ...], tuple[int, int]]] = field(default_factory=list)

    def prepare(self, windows: Iterable[Any]) -> int:
        return 1

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
        self.reads.append((tuple(bands), tuple(geobox.shape)))
        days = np.asarray(times, dtype="datetime64[ns]")
        have = {np.datetime64(s.datetime.date(), "ns"): int(s.id.split("-")[1]) for s in scenes}
        t = geobox.transform
        x = t.c + (np.arange(geobox.shape[1]) + 0.5) * t.a
        y = t.f + (np.arange(geobox.shape[0]) + 0.5) * t.e
        xx, yy = np.meshgrid(x, y)
        data = np.full((len(days), len(bands), *geobox.shape), nodata, dtype=dtype)
        for i, day in enumerate(days):
            for j, band in enumerate(bands):
                if day in have:
                    plane = pixel_values(band, day, xx, yy)
                    if have[day] in self.collection.west_only:
                        plane = np.where(xx > self.collection.edge, nodata, plane)
                    data[i, j] = plane
        labels = {"t": days, "bands": np.asarray(bands, dtype=str)}
        return Cube(data, ("t", "bands", "y", "x"), labels, geobox, nodata)
