"""What becomes of the windows: a file per feature, one file, a table, or a plain value."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from .cube import Cube, align, hide, select
from .demands import Window
from .evaluate import NO_DATA
from .features import Features
from .grid import Grid
from .limits import confined, inside
from .order import z_order
from .outputs_values import FeatureTable, TableFile, ValueFile
from .plan import CubeMeta, Plan, TableMeta, Unknown
from .result import ResultAsset
from .writers import write_geotiff, write_netcdf

__all__ = ["Output", "make_output"]

# Of one file: about what a country has at 10 m.
_MOST_PIXELS = 10_000_000_000

# Pixels: features in one square of this size mostly share the blocks of the files.
_NEAR = 128


class Output(Protocol):
    """A way to turn windows into files.

    ``keep`` runs where the window was evaluated, ``collect`` where the run is led.
    """

    def windows(self) -> list[Window]:
        """Return the windows, in the order of the result."""
        ...

    def keep(self, window: Window, value: Any) -> Any:
        """Turn a window's value into what travels back."""
        ...

    def collect(self, window: Window, payload: Any) -> list[str]:
        """Take in what came back, in order; returns messages for the job's log."""
        ...

    def finish(self) -> list[ResultAsset]:
        """Complete the files."""
        ...


def make_output(plan: Plan, out_dir: Path, memory: int) -> Output:
    """Choose the output for a plan: by the kind of its result, and the options of save_result."""
    format = "json" if plan.save is None else str(plan.save.args["format"]).lower()
    options, prefix = plan.options, plan.file_prefix
    if plan.result not in plan.calls and isinstance(
        plan.constants[plan.result], Features | Unknown
    ):
        return FeatureTable(plan, out_dir, format, _safe(prefix))
    if plan.result not in plan.calls:
        return ValueFile(plan, out_dir / f"{_safe(prefix)}.json")
    meta = plan.calls[plan.result].meta
    if isinstance(meta, TableMeta):
        return TableFile(plan, _required(meta.features), out_dir, format, _safe(prefix))
    if not isinstance(meta, CubeMeta):
        return ValueFile(plan, out_dir / f"{_safe(prefix)}.json")
    raster_format = "netcdf" if format == "json" and plan.save is None else format
    if raster_format not in _RASTER_WRITERS:
        raise OpenEOError(
            "FormatUnsuitable",
            f"Format {format!r} cannot hold a raster data cube; use NetCDF or GTiff, or reduce it "
            "with aggregate_spatial.",
            node=plan.result,
        )
    if options.get("sample_by_feature") and meta.features is not None:
        names = _feature_names(meta.features, options.get("feature_id_property"), prefix)
        return FeatureFiles(plan, meta, out_dir, raster_format, names)
    output = DenseFile(plan, meta, out_dir, raster_format, _safe(prefix), memory)
    rows, columns = output.box.shape
    if rows * columns > _MOST_PIXELS:
        raise OpenEOError(
            "ProcessGraphComplexity",
            f"The result would have {columns:,} x {rows:,} pixels of {meta.grid.resolution:g} in "
            f"{meta.grid.crs}, more than {_MOST_PIXELS:,} together. Take a smaller extent, larger "
            "pixels, or several jobs.",
            node=plan.result,
        )
    return output


@dataclass
class FeatureFiles:
    """One file per feature, written where its window was evaluated."""

    plan: Plan
    meta: CubeMeta
    out_dir: Path
    format: str
    names: Sequence[str]
    assets: list[ResultAsset] = field(default_factory=list)

    def windows(self) -> list[Window]:
        """Return a window per feature: its extent, snapped outward to the grid."""
        return _feature_windows(_required(self.meta.features), self.meta.grid)

    def keep(self, window: Window, value: Any) -> tuple[list[ResultAsset], list[str]]:
        """Hide what is outside the feature, drop empty dates, write."""
        index = window.feature or 0
        nothing = f"Feature {index} has no file: "
        if value is NO_DATA or window.shape is None or value.geobox is None:
            return [], [nothing + "there is no data for it in the time that was asked for."]
        within = window.shape.inside(value.geobox)
        if not within.any():
            return [], [nothing + "it is smaller than a pixel and holds no pixel's centre."]
        others = [limit for limit in self.meta.limits if limit is not self.meta.features]
        within &= inside(others, value.geobox)
        value = hide(value, ~within)
        value = value if self.meta.periods else drop_empty_dates(value)
        if "t" in value.dims and not len(value.labels["t"]):
            return [], [nothing + "all its pixels are masked, or beyond other limits of the cube."]
        write = _RASTER_WRITERS[self.format]
        assets = write(self.out_dir, self.names[index], value)
        return [replace(a, feature=index) for a in assets], []

    def collect(self, window: Window, payload: Any) -> list[str]:
        """Note the files."""
        assets, messages = payload
        self.assets.extend(assets)
        return list(messages)

    def finish(self) -> list[ResultAsset]:
        """Return the files in the order of the features."""
        return sorted(self.assets, key=lambda a: (a.feature or 0, a.name))


@dataclass
class DenseFile:
    """One file for the whole extent, put together from tiles on disk."""

    plan: Plan
    meta: CubeMeta
    out_dir: Path
    format: str
    name: str
    memory: int
    _whole: Cube | None = None
    _store: Any = None
    _seen: np.ndarray[Any, Any] | None = None

    @property
    def box(self) -> GeoBox:
        """All pixels of the result."""
        return self.meta.grid.cover(self.meta.extent)

    def windows(self) -> list[Window]:
        """Return tiles whose edge is a multiple of the chunks that processes work on."""
        box, grid = self.box, self.meta.grid
        edge = _tile_edge(self.meta, self.memory)
        column, row = grid.position(box)
        tiles: list[Window] = []
        for top in range(0, box.shape[0], edge):
            for left in range(0, box.shape[1], edge):
                height = min(edge, box.shape[0] - top)
                width = min(edge, box.shape[1] - left)
                tile = grid.box(column + left, row + top, width, height)
                tiles.append(Window(len(tiles), tile, self.meta.extent))
        return tiles

    def keep(self, window: Window, value: Cube) -> Cube:
        """Hide what is outside the cube's limits."""
        return confined(value, self.meta.limits)

    def collect(self, window: Window, payload: Cube) -> list[str]:
        """Put a tile in its place."""
        if self._whole is None:
            self._whole = self._allocate(payload)
        whole, tile = self._whole, payload
        for dim, labels in whole.labels.items():
            if not np.array_equal(labels, tile.labels[dim]):
                raise OpenEOError(
                    "ProcessGraphInvalid",
                    f"Tiles of the result differ in the labels of {dim!r}: {_some(labels)} and "
                    f"{_some(tile.labels[dim])}. A process made labels that depend on pixels.",
                )
        if tile.data.dtype != whole.data.dtype or tile.nodata != whole.nodata:
            whole, tile = self._common_type(whole, tile)
        box, part = self.box, window.box
        if part is None:
            return []
        left, top = Grid(
            self.meta.grid.crs, self.meta.grid.resolution, (box.transform.c, box.transform.f)
        ).position(part)
        rows, columns = slice(top, top + part.shape[0]), slice(left, left + part.shape[1])
        whole.data[..., rows, columns] = tile.data
        if "t" in tile.dims and self._seen is not None:
            axes = tuple(i for i, d in enumerate(tile.dims) if d != "t")
            self._seen |= (~tile.missing()).any(axis=axes)
        return []

    def finish(self) -> list[ResultAsset]:
        """Write the file without the dates that have no data anywhere."""
        if self._whole is None:
            return []
        cube = self._whole
        if self._seen is not None and not self._seen.any() and not self.meta.periods:
            return []
        if self._seen is not None and not self.meta.periods and not self._seen.all():
            cube = select(cube, "t", cube.labels["t"][self._seen])
        assets: list[ResultAsset] = _RASTER_WRITERS[self.format](self.out_dir, self.name, cube)
        self._whole = None
        self._store = None
        return assets

    def _allocate(self, tile: Cube) -> Cube:
        if tile.data.dtype == bool:
            (tile,) = align([tile])
        shape = (*tile.data.shape[:-2], *self.box.shape)
        if "t" in tile.dims:
            self._seen = np.zeros(len(tile.labels["t"]), dtype=bool)
        data = self._array(shape, tile.data.dtype)
        return tile.with_data(data, geobox=self.box)

    def _array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size <= self.memory // 4:
            return np.empty(shape, dtype=dtype)
        # Beyond that the pages of a file hold the result: memory stays free for the windows.
        self.out_dir.mkdir(parents=True, exist_ok=True)
        self._store = tempfile.TemporaryFile(dir=self.out_dir)  # noqa: SIM115 - lives as long as we
        return np.memmap(self._store, dtype=dtype, mode="w+", shape=shape)

    def _common_type(self, whole: Cube, tile: Cube) -> tuple[Cube, Cube]:
        """Tiles may differ in dtype, where only some have missing pixels: widen what is there."""
        wide, ready = align([whole, tile], room=True)
        data = self._array(whole.data.shape, wide.data.dtype)
        data[...] = wide.data
        self._whole = wide.with_data(data)
        return self._whole, ready


def drop_empty_dates(cube: Cube) -> Cube:
    """Return the cube without dates on which all pixels of all bands are missing."""
    if "t" not in cube.dims:
        return cube
    axes = tuple(i for i, d in enumerate(cube.dims) if d != "t")
    seen = (~cube.missing()).any(axis=axes)
    return cube if seen.all() else select(cube, "t", cube.labels["t"][seen])


def _feature_windows(features: Features, grid: Grid) -> list[Window]:
    moved = features.to(grid.crs)
    windows = []
    for i in range(len(features)):
        extent = moved.one(i).extent
        box = grid.cover(extent)
        column, row = grid.position(box)
        near = (row // _NEAR, column // _NEAR)
        windows.append(Window(i, box, extent, i, features.one(i), near))
    # Neighbours follow each other, so that the reader finds their file blocks decoded.
    return sorted(windows, key=lambda w: (z_order(*w.near) if w.near else 0, w.index))


def _tile_edge(meta: CubeMeta, memory: int) -> int:
    """Pixels along a tile: as large as memory allows, up to 1024, a multiple of the block.

    Memory is judged by what is known before reading: bands, and dates as frequent as those of
    two satellites in overlapping orbits.
    """
    bands = len(meta.bands) if meta.bands else 4
    start, end = meta.interval
    dates = 150 if start is None or end is None else max(1, (end - start).days / 2.5)
    values = dates * bands
    pixels = memory / (values * max(meta.itemsize, 4) * 4)
    edge = min(1024.0, pixels**0.5) - 2 * meta.margin
    blocks = max(1, int(max(edge, 64) // meta.block))
    return blocks * meta.block


def _feature_names(features: Features, property: Any, prefix: str) -> list[str]:
    """Return a file name per feature: by a property's value, by its index without one.

    Features that share a value get their index, too, so that no file is written over another.
    """
    ids = [p.get(property) for p in features.properties] if property is not None else []
    ids += [None] * (len(features) - len(ids))
    names = [_safe(f"{prefix}_{i if id is None else id}") for i, id in enumerate(ids)]
    count = Counter(name.lower() for name in names)  # some file systems ignore case
    return [n if count[n.lower()] == 1 else f"{n}_{i}" for i, n in enumerate(names)]


def _safe(name: str) -> str:
    """Return a name that is a file name everywhere and stays in its folder."""
    return re.sub(r"[^\w.\-]+", "_", name).lstrip(".")[:150] or "openEO"


def _some(labels: np.ndarray[Any, Any]) -> str:
    return (
        f"{len(labels)} labels ({', '.join(map(str, labels[:3]))}{' …' if len(labels) > 3 else ''})"
    )


def _required(features: Features | None) -> Features:
    if features is None:
        raise ValueError("A result by feature needs features.")
    return features


def _save_netcdf(folder: Path, name: str, cube: Cube) -> list[ResultAsset]:
    return [write_netcdf(folder / f"{name}.nc", cube)]


_RASTER_WRITERS: dict[str, Any] = {
    "netcdf": _save_netcdf,
    "gtiff": write_geotiff,
}

RASTER_FORMATS = ("NetCDF", "GTiff")
