"""Outputs that hold no pixels: tables of values per feature, and plain values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from .cube import Cube
from .demands import Window
from .features import Features
from .grid import Extent
from .order import z_order
from .plain_json import to_json
from .plan import Plan
from .result import ResultAsset
from .vector import VectorCube
from .writers import write_vector
from .writers_common import atomic, finish
from .writers_features import write_features

__all__ = ["FeatureTable", "TableFile", "ValueFile", "join_rows", "row_of"]

# Degrees: features this near mostly share the blocks of the files.
_NEAR = 0.01


@dataclass
class TableFile:
    """One table of values per feature."""

    plan: Plan
    features: Features
    out_dir: Path
    format: str
    name: str
    rows: dict[int, VectorCube] = field(default_factory=dict)

    def windows(self) -> list[Window]:
        """Return a window per feature."""
        shapes = self.features
        windows = []
        for i in range(len(shapes)):
            shape = shapes.one(i)
            west, south, _, _ = shape.extent.to("EPSG:4326").bounds
            near = (int(south // _NEAR), int(west // _NEAR))
            windows.append(Window(i, None, shape.extent, i, shape, near))
        return sorted(windows, key=lambda w: (z_order(*w.near) if w.near else 0, w.index))

    def keep(self, window: Window, value: Cube) -> VectorCube:
        """One row."""
        return row_of(value, window.shape or self.features.one(window.index))

    def collect(self, window: Window, payload: VectorCube) -> list[str]:
        """Note the row."""
        self.rows[window.index] = payload
        return []

    def finish(self) -> list[ResultAsset]:
        """Join the rows over all dates and write."""
        table = join_rows([self.rows[i] for i in sorted(self.rows)], self.features)
        suffix = {"parquet": ".parquet", "csv": ".csv", "netcdf": ".nc"}.get(self.format, ".json")
        return [write_vector(self.out_dir / f"{self.name}{suffix}", table, self.format)]


@dataclass
class ValueFile:
    """A result that is no cube, as JSON."""

    plan: Plan
    path: Path
    value: Any = None

    def windows(self) -> list[Window]:
        """Return a single window without pixels."""
        return [Window(0, None, Extent((0.0, 0.0, 0.0, 0.0)))]

    def keep(self, window: Window, value: Any) -> Any:
        """Plain JSON types."""
        return to_json(value)

    def collect(self, window: Window, payload: Any) -> list[str]:
        """Note the value."""
        self.value = payload
        return []

    def finish(self) -> list[ResultAsset]:
        """Write the value."""
        with atomic(self.path) as part:
            part.write_text(json.dumps(self.value), encoding="utf-8")
        return [finish(ResultAsset(self.path.name, "application/json"), self.path)]


@dataclass
class FeatureTable:
    """Features as they were loaded."""

    plan: Plan
    out_dir: Path
    format: str
    name: str
    features: Features | None = None

    def windows(self) -> list[Window]:
        """Return a single window without pixels."""
        return [Window(0, None, Extent((0.0, 0.0, 0.0, 0.0)))]

    def keep(self, window: Window, value: Features) -> Features:
        """All of them."""
        return value

    def collect(self, window: Window, payload: Features) -> list[str]:
        """Note the features."""
        self.features = payload
        return []

    def finish(self) -> list[ResultAsset]:
        """Write the file."""
        if self.features is None:
            return []
        return [write_features(self.out_dir, self.name, self.features, self.format)]


def row_of(values: Cube, feature: Features) -> VectorCube:
    """Return the values of one feature as a table of one row.

    Tables have dates and bands; further dimensions become bands named ``<band>_<label>``.
    """
    wide = values.as_float()
    extra = [d for d in wide.dims if d not in ("t", "bands")]
    order = [d for d in ("t", "bands", *extra) if d in wide.dims]
    data = np.transpose(wide.data, [wide.axis(d) for d in order]).astype(np.float64)
    labels = {d: v for d, v in wide.labels.items() if d in ("t", "bands")}
    if extra:
        parts = [wide.labels[d].tolist() for d in order if d != "t"]
        labels["bands"] = np.asarray(["_".join(map(str, names)) for names in product(*parts)])
        dates = data.shape[:1] if "t" in labels else ()
        data = data.reshape(*dates, len(labels["bands"]))
    dims = ("geometry", *(d for d in ("t", "bands") if d in labels))
    return VectorCube(
        data[np.newaxis], dims, labels, feature.geometries, feature.crs, feature.properties
    )


def join_rows(rows: Sequence[VectorCube], features: Features) -> VectorCube:
    """Join tables of one feature each over the union of their dates, NaN where one has none."""
    first = rows[0]
    labels = dict(first.labels)
    if "t" in first.dims:
        labels["t"] = np.unique(np.concatenate([r.labels["t"] for r in rows]))
    shape = [len(rows), *(len(labels[d]) for d in first.dims[1:])]
    data = np.full(shape, np.nan)
    for index, row in enumerate(rows):
        place: list[Any] = [index, *(slice(None) for _ in first.dims[1:])]
        if "t" in first.dims:
            place[first.dims.index("t")] = np.searchsorted(labels["t"], row.labels["t"])
        data[tuple(place)] = row.data[0]
    return VectorCube(
        data,
        first.dims,
        labels,
        features.geometries,
        features.crs,
        features.properties,
    )
