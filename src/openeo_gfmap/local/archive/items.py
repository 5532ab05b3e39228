"""STAC documents of the archive: items of scene-cells, their catalogs, the collection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...tiling import TileInfo
from .grid import Cell
from .orbits import Acquisition
from .scene import LAYOUT, baseline, offset_of

__all__ = ["COLLECTION_ID", "Scene", "asset_file", "catalog", "collection", "item", "item_id"]

COLLECTION_ID = "sentinel-2-l2a-simulated"
_STAC = "1.1.0"
_EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
]
_NOTE = (
    "Simulated: no satellite has seen these pixels. Fields, weather and noise are invented by "
    "openeo-gfmap; acquisition dates, orbits, tiles, bands and number formats follow Sentinel-2."
)
# Common name, centre wavelength and width at half maximum in micrometres.
_SPECTRAL = {
    "B01": ("coastal", 0.443, 0.027),
    "B02": ("blue", 0.490, 0.098),
    "B03": ("green", 0.560, 0.045),
    "B04": ("red", 0.665, 0.038),
    "B05": ("rededge071", 0.704, 0.019),
    "B06": ("rededge075", 0.740, 0.018),
    "B07": ("rededge078", 0.783, 0.028),
    "B08": ("nir", 0.842, 0.145),
    "B8A": ("nir08", 0.865, 0.033),
    "B09": ("nir09", 0.945, 0.026),
    "B11": ("swir16", 1.610, 0.143),
    "B12": ("swir22", 2.190, 0.242),
}


@dataclass(frozen=True)
class Scene:
    """One acquisition of one tile.

    Attributes
    ----------
    tile
        The tile.
    acquisition
        The pass, as seen from the tile's centre.
    cloud_cover, nodata
        Per cent of the whole tile.
    """

    tile: TileInfo
    acquisition: Acquisition
    cloud_cover: float
    nodata: float


def item_id(scene: Scene, cell: Cell) -> str:
    """Id of a scene's part in a cell."""
    return f"SIMULATED_{_product(scene)}_{cell.name}"


def asset_file(scene: Scene, cell: Cell, resolution: int) -> str:
    """File name of the bands of one resolution."""
    return f"{item_id(scene, cell)}_{resolution}m.tif"


def item(scene: Scene, cell: Cell) -> dict[str, Any]:
    """STAC item of a scene's part in a cell; hrefs are relative to the cell's folder."""
    seen = scene.acquisition
    tile = scene.tile
    bbox, geometry = _footprint(cell)
    return {
        "type": "Feature",
        "stac_version": _STAC,
        "stac_extensions": _EXTENSIONS,
        "id": item_id(scene, cell),
        "collection": COLLECTION_ID,
        "bbox": bbox,
        "geometry": geometry,
        "properties": {
            "title": f"Simulated Sentinel-2 L2A, tile {tile.id}, {seen.day}, cell {cell.name}",
            "description": _NOTE,
            "datetime": _text(seen.time),
            "platform": "sentinel-2a" if seen.platform == "S2A" else "sentinel-2b",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "gfmap:simulated": True,
            "eo:cloud_cover": scene.cloud_cover,
            "proj:code": f"EPSG:{cell.epsg}",
            "grid:code": f"MGRS-{tile.id}",
            "sat:relative_orbit": seen.orbit,
            "sat:orbit_state": "descending",
            "view:sun_azimuth": round(seen.sun_azimuth, 3),
            "view:sun_elevation": round(seen.sun_elevation, 3),
            "s2:mgrs_tile": tile.id,
            "s2:product_type": "S2MSI2A",
            "s2:processing_baseline": baseline(seen.node_day),
            "s2:nodata_pixel_percentage": scene.nodata,
            "earthsearch:boa_offset_applied": False,
        },
        "links": [
            {"rel": "self", "href": f"./{item_id(scene, cell)}.json", "type": _GEOJSON},
            {"rel": "root", "href": "../../collection.json", "type": _JSON},
            {"rel": "parent", "href": "./catalog.json", "type": _JSON},
            {"rel": "collection", "href": "../../collection.json", "type": _JSON},
        ],
        "assets": {f"B{r}m": _asset(scene, cell, r) for r in LAYOUT},
    }


def catalog(place: Path, items: Iterable[str]) -> dict[str, Any]:
    """Catalog of the items in a cell's folder ``tile/cell``."""
    tile_id, cell_name = place.parts[-2:]
    return {
        "type": "Catalog",
        "stac_version": _STAC,
        "id": f"simulated-{tile_id}-{cell_name}",
        "title": f"Simulated scenes of tile {tile_id}, cell {cell_name}",
        "description": _NOTE,
        "links": [
            {"rel": "root", "href": "../../collection.json", "type": _JSON},
            {"rel": "parent", "href": "../../collection.json", "type": _JSON},
            *({"rel": "item", "href": f"./{name}", "type": _GEOJSON} for name in items),
        ],
    }


def collection(cells: Iterable[str]) -> dict[str, Any]:
    """Build the collection, root of the archive's folder, over cell folders ``tile/cell``."""
    return {
        "type": "Collection",
        "stac_version": _STAC,
        "id": COLLECTION_ID,
        "title": "Simulated Sentinel-2 L2A",
        "description": _NOTE,
        "license": "other",
        "keywords": ["simulated", "sentinel-2", "surface reflectance"],
        "extent": {
            "spatial": {"bbox": [[-180.0, -83.0, 180.0, 83.0]]},
            "temporal": {"interval": [["2015-07-01T00:00:00Z", None]]},
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": _JSON},
            *({"rel": "child", "href": f"./{cell}/catalog.json", "type": _JSON} for cell in cells),
        ],
    }


_JSON = "application/json"
_GEOJSON = "application/geo+json"


def _footprint(cell: Cell) -> tuple[list[float], dict[str, Any]]:
    """Bounding box and GeoJSON geometry of a cell."""
    lon, lat = cell.corners
    south, north = float(lat.min()), float(lat.max())
    if lon.max() - lon.min() > 180:
        # Across the antimeridian: west is greater than east, and the geometry is cut there.
        west, east = float(lon[lon > 0].min()), float(lon[lon < 0].max())
        parts = [_rectangle(west, south, 180.0, north), _rectangle(-180.0, south, east, north)]
        return [west, south, east, north], {"type": "MultiPolygon", "coordinates": parts}
    # Counterclockwise from the south-west.
    ring = [[float(lon[at]), float(lat[at])] for at in ((1, 0), (1, 1), (0, 1), (0, 0), (1, 0))]
    bbox = [float(lon.min()), south, float(lon.max()), north]
    return bbox, {"type": "Polygon", "coordinates": [ring]}


def _rectangle(west: float, south: float, east: float, north: float) -> list[list[list[float]]]:
    return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]


def _product(scene: Scene) -> str:
    seen = scene.acquisition
    return f"{seen.platform}_MSIL2A_{seen.time:%Y%m%dT%H%M%S}_R{seen.orbit:03d}_T{scene.tile.id}"


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _asset(scene: Scene, cell: Cell, resolution: int) -> dict[str, Any]:
    west, _, east, north = cell.bounds
    size = (east - west) // resolution
    return {
        "href": f"./{asset_file(scene, cell, resolution)}",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "title": f"Simulated bands at {resolution} m: {', '.join(LAYOUT[resolution])}",
        "roles": ["data"],
        "gsd": resolution,
        "proj:shape": [size, size],
        "proj:transform": [resolution, 0, west, 0, -resolution, north],
        "data_type": "uint16",
        "nodata": 0,
        # Bands in file order.
        "bands": [_band(name, scene) for name in LAYOUT[resolution]],
    }


def _band(name: str, scene: Scene) -> dict[str, Any]:
    if name == "SCL":
        return {"name": name, "description": "Scene classification map"}
    if name == "AOT":
        return {"name": name, "description": "Aerosol optical thickness", "raster:scale": 0.001}
    common, centre, width = _SPECTRAL[name]
    return {
        "name": name,
        "eo:common_name": common,
        "eo:center_wavelength": centre,
        "eo:full_width_half_max": width,
        "raster:scale": 0.0001,
        "raster:offset": -offset_of(scene.acquisition.node_day) / 10_000,
    }
