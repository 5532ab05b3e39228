"""What becomes of the windows: a file per feature, one file, a table, or a plain value."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import OpenEOError
from .cube import Cube, hide, select
from .demands import Window
from .evaluate import NO_DATA
from .features import Features
from .grid import Grid
from .limits import inside
from .meta import CubeMeta, TableMeta, Unknown
from .order import z_order
from .outputs_dense import DenseFile
from .outputs_values import FeatureTable, TableFile, ValueFile
from .plan import Plan
from .result import ResultAsset
from .writers import RASTER_WRITERS

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
    if raster_format not in RASTER_WRITERS:
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
        write = RASTER_WRITERS[self.format]
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


def _required(features: Features | None) -> Features:
    if features is None:
        raise ValueError("A result by feature needs features.")
    return features
