"""The document that describes a collection to openEO clients: a STAC Collection with a cube."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .sentinel2 import SCL_CLASSES, Sentinel2Profile
from .stac_source import BandInfo, item_bbox, item_datetime
from .stac_static import StaticSource

if TYPE_CHECKING:
    from .catalog import Collection

__all__ = ["collection_document"]

_EXTENSIONS = (
    "https://stac-extensions.github.io/datacube/v2.3.0/schema.json",
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
)
# The land and coasts that Sentinel-2 scans, from the first images of Sentinel-2A on.
_SENTINEL2_BBOX = [-180.0, -56.0, 180.0, 84.0]
_SENTINEL2_START = "2015-07-04T00:00:00Z"


def collection_document(collection: Collection) -> dict[str, Any]:
    """Return the collection as ``GET /collections/{id}`` shows it, without links to the service."""
    bbox, interval = _extent(collection)
    sentinel2 = isinstance(collection.profile, Sentinel2Profile)
    summaries: dict[str, Any] = {
        "bands": [_band(band, collection) for band in collection.band_infos],
        # Clients written for STAC 1.0 look here.
        "eo:bands": [_eo_band(band) for band in collection.band_infos],
    }
    resolutions = sorted({b.resolution for b in collection.band_infos if b.resolution})
    if resolutions:
        summaries["gsd"] = resolutions
    if sentinel2:
        summaries["constellation"] = ["sentinel-2"]
        summaries["instruments"] = ["msi"]
        summaries["eo:cloud_cover"] = {"minimum": 0, "maximum": 100}
    links = []
    if collection.license_url:
        links.append({"rel": "license", "href": collection.license_url})
    spatial = {"type": "spatial", "reference_system": 4326}
    return {
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "type": "Collection",
        "id": collection.id,
        "title": collection.title or collection.id,
        "description": collection.description,
        "keywords": ["Sentinel-2", "L2A", "surface reflectance"] if sentinel2 else [],
        "license": collection.license,
        "providers": [],
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [interval]}},
        "cube:dimensions": {
            "x": {**spatial, "axis": "x", "extent": [bbox[0], bbox[2]]},
            "y": {**spatial, "axis": "y", "extent": [bbox[1], bbox[3]]},
            "t": {"type": "temporal", "extent": interval},
            "bands": {"type": "bands", "values": list(collection.bands)},
        },
        "summaries": summaries,
        "links": links,
    }


def _extent(collection: Collection) -> tuple[list[float], list[str | None]]:
    """Return WGS84 bounds and time interval: as stated, of all items, or the widest possible."""
    stated: Mapping[str, Any] = collection.extent or {}
    boxes = (stated.get("spatial") or {}).get("bbox")
    intervals = (stated.get("temporal") or {}).get("interval")
    if boxes and intervals:
        box = boxes[0]
        half = len(box) // 2
        return [*box[:2], *box[half : half + 2]], list(intervals[0])
    if isinstance(collection.source, StaticSource):
        items = collection.source.items()
        found = [box for box in map(item_bbox, items) if box is not None]
        if found:
            times = sorted(map(item_datetime, items))
            west, south = min(b[0] for b in found), min(b[1] for b in found)
            east, north = max(b[2] for b in found), max(b[3] for b in found)
            ends = [times[0], times[-1]]
            return [west, south, east, north], [t.isoformat().replace("+00:00", "Z") for t in ends]
    if isinstance(collection.profile, Sentinel2Profile):
        return list(_SENTINEL2_BBOX), [_SENTINEL2_START, None]
    return [-180.0, -90.0, 180.0, 90.0], [None, None]


def _band(band: BandInfo, collection: Collection) -> dict[str, Any]:
    # What a cube holds, which need not be what the files hold.
    dtype, nodata = collection.cube_type([band.name])
    fields: dict[str, Any] = {
        "name": band.name,
        "description": band.description,
        "data_type": dtype.name,
        "nodata": "nan" if nodata is None else nodata,
        "gsd": band.resolution,
        "eo:common_name": band.common_name,
        "eo:center_wavelength": band.center_wavelength,
        "eo:full_width_half_max": band.full_width_half_max,
        "raster:scale": band.scale,
        "raster:offset": band.offset,
    }
    if band.name == "SCL":
        fields["classification:classes"] = [
            {"value": value, "name": name} for value, name in SCL_CLASSES.items()
        ]
    return {key: value for key, value in fields.items() if value not in (None, "")}


def _eo_band(band: BandInfo) -> dict[str, Any]:
    fields = {
        "name": band.name,
        "description": band.description,
        "common_name": band.common_name,
        "center_wavelength": band.center_wavelength,
        "full_width_half_max": band.full_width_half_max,
        "gsd": band.resolution,
        "scale": band.scale,
        "offset": band.offset,
    }
    return {key: value for key, value in fields.items() if value not in (None, "")}
