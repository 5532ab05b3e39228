"""Scenes and pixels of our own, for tests of sources and of the reader."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.stac_source import BandAsset, Scene

LEFT, TOP = 600_000.0, 5_700_000.0
"""Corner of the files, in UTM zone 31N."""


def grid(
    column: float = 0, row: float = 0, shape: tuple[int, int] = (20, 30), resolution: float = 10
) -> GeoBox:
    """Return a grid whose corner lies some 10 m pixels from the files' corner."""
    corner = Affine(resolution, 0, LEFT + 10 * column, 0, -resolution, TOP - 10 * row)
    return GeoBox(shape, corner, "EPSG:32631")


def write_tiff(
    path: Path,
    pixels: np.ndarray,
    *,
    left: float = LEFT,
    top: float = TOP,
    resolution: float = 10,
    epsg: int = 32631,
    nodata: float | None = 0,
    block: int = 16,
) -> Path:
    """Write pixels (y, x) or (band, y, x) as a tiled, deflated GeoTIFF."""
    stack = pixels if pixels.ndim == 3 else pixels[None]
    with rasterio.open(
        path, "w", driver="GTiff", count=len(stack), height=stack.shape[1], width=stack.shape[2],
        dtype=stack.dtype.name, crs=f"EPSG:{epsg}", nodata=nodata, compress="deflate", tiled=True,
        transform=Affine(resolution, 0, left, 0, -resolution, top),
        blockxsize=block, blockysize=block,
    ) as file:  # fmt: skip
        file.write(stack)
    return path


def scene(
    day: str,
    bands: Mapping[str, Path | str | BandAsset],
    *,
    id: str | None = None,
    epsg: int | None = 32631,
    **asset: Any,
) -> Scene:
    """Return a scene taken at 10:30 UTC; bands given by path read their grid from the file."""
    return Scene(
        id=id or f"scene-{day}",
        datetime=datetime.fromisoformat(f"{day}T10:30:00").replace(tzinfo=UTC),
        bbox=None,
        epsg=epsg,
        bands={
            name: place if isinstance(place, BandAsset) else BandAsset(str(place), **asset)
            for name, place in bands.items()
        },
    )


def item(
    id: str,
    *,
    datetime: str = "2023-06-02T10:18:03Z",
    bbox: tuple[float, ...] | None = (5.0, 51.0, 5.1, 51.1),
    assets: Mapping[str, Mapping[str, Any]] | None = None,
    collection: str = "sentinel-2-l2a",
    **properties: Any,
) -> dict[str, Any]:
    """Return a STAC item with one asset per band of Planetary Computer's kind."""
    tiff = {"type": "image/tiff; application=geotiff", "roles": ["data"]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": id,
        "collection": collection,
        "bbox": None if bbox is None else list(bbox),
        "geometry": None,
        "properties": {"datetime": datetime, **properties},
        "links": [],
        "assets": {
            key: {"href": f"./{key}.tif", **tiff, **fields}
            for key, fields in (assets or {"B04": {}, "SCL": {}}).items()
        },
    }
