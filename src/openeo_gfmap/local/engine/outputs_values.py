"""Outputs that hold no pixels: tables of values per feature, and plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from .cube import Array
from .demands import Window
from .features import Features
from .grid import Extent
from .plan import Plan, TableMeta
from .result import ResultAsset
from .vector import VectorCube
from .writers import write_vector
from .writers_common import atomic, finish

__all__ = ["TableFile", "ValueFile", "join_rows", "to_json"]

# Degrees: features this near mostly share the blocks of the files.
_NEAR = 0.05


@dataclass
class TableFile:
    """One table of values per feature."""

    plan: Plan
    meta: TableMeta
    out_dir: Path
    format: str
    name: str
    rows: dict[int, VectorCube] = field(default_factory=dict)

    def windows(self) -> list[Window]:
        """Return a window per feature."""
        shapes = self.meta.features
        windows = []
        for i in range(len(shapes)):
            shape = shapes.one(i)
            west, south, _, _ = shape.extent.to("EPSG:4326").bounds
            near = (int(south // _NEAR), int(west // _NEAR))
            windows.append(Window(i, None, shape.extent, i, shape, near))
        return sorted(windows, key=lambda w: (w.near or (), w.index))

    def keep(self, window: Window, value: VectorCube) -> VectorCube:
        """One row."""
        return value

    def collect(self, window: Window, payload: VectorCube) -> list[str]:
        """Note the row."""
        self.rows[window.index] = payload
        return []

    def finish(self) -> list[ResultAsset]:
        """Join the rows over all dates and write."""
        table = join_rows([self.rows[i] for i in sorted(self.rows)], self.meta)
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


def join_rows(rows: Sequence[VectorCube], meta: TableMeta) -> VectorCube:
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
        meta.features.geometries,
        meta.features.crs,
        meta.features.properties,
    )


def to_json(value: Any) -> Any:  # noqa: PLR0911 - one return per kind of value
    """Return plain JSON types: arrays become lists, NaN null, dates RFC 3339."""
    if isinstance(value, Features):
        return _geojson(value)
    if isinstance(value, Array):
        value = value.values
    if isinstance(value, np.datetime64):
        return f"{np.datetime_as_string(value, unit='s')}Z"
    if isinstance(value, np.ndarray):
        return [to_json(v) for v in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value


def _geojson(features: Features) -> dict[str, Any]:
    moved = features.to("EPSG:4326")
    properties = moved.properties or ({},) * len(moved)
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": json.loads(shapely.to_geojson(shape)),
                "properties": to_json(values),
            }
            for shape, values in zip(moved.geometries, properties, strict=True)
        ],
    }
