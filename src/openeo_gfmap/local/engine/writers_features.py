"""Features written back: GeoJSON, GeoParquet, and CSV with the geometries as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from .features import Features
from .plain_json import to_json
from .result import ResultAsset
from .writers_common import atomic, finish

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["FEATURE_FORMATS", "geojson", "write_features"]


def write_features(folder: Path, name: str, features: Features, format: str) -> ResultAsset:
    """Write features with their properties, atomically.

    Parameters
    ----------
    folder
        Where the file goes.
    name
        Its name without suffix.
    features
        At least one.
    format
        One of :data:`FEATURE_FORMATS`, in any case. JSON is GeoJSON, in WGS84; the others keep
        the CRS. CSV has the geometries as WKT.

    Returns
    -------
    ResultAsset
        The file as the job's results describe it.
    """
    suffix, media_type, write = _FORMATS[format.lower()]
    path = folder / f"{name}{suffix}"
    with atomic(path) as part:
        write(part, features)
    west, south, east, north = features.bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    asset = ResultAsset(
        name=path.name,
        media_type=media_type,
        bbox=(west, south, east, north),
        geometry={"type": "Polygon", "coordinates": [ring]},
    )
    return finish(asset, path)


def geojson(features: Features) -> dict[str, Any]:
    """Return features as a GeoJSON FeatureCollection, in WGS84."""
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


def _write_json(path: Path, features: Features) -> None:
    path.write_text(json.dumps(geojson(features)), encoding="utf-8")


def _write_parquet(path: Path, features: Features) -> None:
    _frame(features).to_parquet(path)


def _write_csv(path: Path, features: Features) -> None:
    frame = _frame(features)
    geometry = shapely.to_wkt(np.asarray(features.geometries, dtype=object), rounding_precision=-1)
    frame.drop(columns="geometry").assign(geometry=geometry).to_csv(path, index=False)


def _frame(features: Features) -> gpd.GeoDataFrame:
    import geopandas as gpd  # noqa: PLC0415  (slow to import, and only vector results need it)

    # A property of this name would take the geometry's column.
    properties = [
        {f"{k}_" if k == "geometry" else k: v for k, v in p.items()} for p in features.properties
    ]
    return gpd.GeoDataFrame(
        properties or None, geometry=list(features.geometries), crs=features.crs
    )


_FORMATS: dict[str, tuple[str, str, Callable[[Path, Features], None]]] = {
    "parquet": (".parquet", "application/vnd.apache.parquet", _write_parquet),
    "json": (".json", "application/geo+json", _write_json),
    "csv": (".csv", "text/csv", _write_csv),
}

FEATURE_FORMATS = ("Parquet", "JSON", "CSV")
"""Formats that :func:`write_features` knows."""
