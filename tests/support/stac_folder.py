"""Small static STAC folders of our own, for tests that need pixels on a given grid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.transform import from_origin


def write_stac_folder(
    folder: Path,
    *,
    days: Sequence[str],
    bands: Mapping[str, np.ndarray],
    epsg: int,
    left: float,
    top: float,
    resolution: float = 10,
) -> Path:
    """Write one item a day, each with the same pixels, and a collection.

    Parameters
    ----------
    days
        ISO dates; every item is taken at noon.
    bands
        Pixels (y, x), uint16 with nodata 0, by band name.
    left, top
        Outer edge of the upper left pixel, in the CRS.

    Returns
    -------
    Path
        The collection file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    transform = from_origin(left, top, resolution, resolution)
    rows, columns = next(iter(bands.values())).shape
    for name, pixels in bands.items():
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=columns, height=rows, count=1,
            dtype="uint16", crs=f"EPSG:{epsg}", transform=transform, nodata=0, compress="deflate",
        ) as image:  # fmt: skip
            image.write(pixels.astype("uint16"), 1)
    right, bottom = left + columns * resolution, top - rows * resolution
    to_lonlat = Transformer.from_crs(epsg, 4326, always_xy=True)
    west, south, east, north = to_lonlat.transform_bounds(left, bottom, right, top)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    links = []
    for day in days:
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"test_{day}",
            "collection": "test",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [west, south, east, north],
            "properties": {"datetime": f"{day}T12:00:00Z", "proj:code": f"EPSG:{epsg}"},
            "links": [{"rel": "collection", "href": "./collection.json"}],
            "assets": {
                name: {
                    "href": f"./{name}.tif",
                    "type": "image/tiff; application=geotiff",
                    "roles": ["data"],
                    "bands": [{"name": name, "data_type": "uint16", "nodata": 0}],
                    "proj:shape": [rows, columns],
                    "proj:transform": list(transform)[:6],
                }
                for name in bands
            },
        }
        (folder / f"{day}.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{day}.json", "type": "application/geo+json"})
    collection = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": "test",
        "description": "Pixels of a test.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[west, south, east, north]]},
            "temporal": {"interval": [[f"{days[0]}T00:00:00Z", f"{days[-1]}T23:59:59Z"]]},
        },
        "links": links,
    }
    path = folder / "collection.json"
    path.write_text(json.dumps(collection))
    return path
