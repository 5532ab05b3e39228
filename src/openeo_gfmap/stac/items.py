"""STAC items of result files: pure functions on dictionaries.

pystac writes some extensions in older versions, so the fields are set here, as STAC 1.1 and the
schemas in `openeo_gfmap.stac.constants` want them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from openeo_gfmap.stac.constants import ITEM_ASSETS, STAC_EXTENSIONS

__all__ = [
    "CubeFile",
    "Variable",
    "cube_item",
    "foreign_extensions",
    "item_id",
    "modern_item",
    "service_item",
]

STAC_VERSION = "1.1.0"
NETCDF = "application/x-netcdf"

_SCHEMAS = {
    re.sub(r".*github\.io/([a-z0-9-]+)/.*", r"\1", schema): schema for schema in STAC_EXTENSIONS
}
_PREFIXES = {
    "eo": "eo",
    "file": "file",
    "processing": "processing",
    "proj": "projection",
    "raster": "raster",
    "cube": "datacube",
    "classification": "classification",
}


@dataclass(frozen=True)
class Variable:
    """A data variable of a file.

    Attributes
    ----------
    name, title, unit
        As the file says.
    data_type
        NumPy's name of the type, such as "uint16".
    nodata
        Fill value; None when the file names none.
    dimensions
        Names of its dimensions in order.
    """

    name: str
    data_type: str
    dimensions: tuple[str, ...]
    nodata: float | None = None
    title: str | None = None
    unit: str | None = None


@dataclass(frozen=True)
class CubeFile:
    """What a NetCDF file says of its cube.

    Attributes
    ----------
    variables
        Data variables in the file's order.
    epsg, wkt
        Coordinate reference system; the EPSG code is None for one without.
    x, y
        First and last cell centre and the step between cells, in units of the CRS.
    shape
        Rows and columns.
    times
        Time labels, RFC 3339 in UTC.
    dimensions
        The file's names for time, y and x; time is None for a file without.
    bbox, geometry
        Place in WGS84: west, south, east, north in degrees, and a GeoJSON polygon.
    """

    variables: tuple[Variable, ...]
    epsg: int | None
    wkt: str | None
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    shape: tuple[int, int]
    times: tuple[str, ...]
    dimensions: tuple[str | None, str, str]
    bbox: tuple[float, float, float, float]
    geometry: Mapping[str, Any]


def item_id(path: str) -> str:
    """Return an id for the item of a file: the same in each run, unique in the output folder.

    Parameters
    ----------
    path : str
        Path in the output folder; back-ends give their files the same names in every job.
    """
    digest = hashlib.sha256(path.encode()).hexdigest()[:8]
    return f"{PurePosixPath(path).stem}_{digest}"


def cube_item(identifier: str, href: str, cube: CubeFile, key: str | None = None) -> dict[str, Any]:
    """Return the item of one NetCDF file.

    Parameters
    ----------
    identifier, href : str
        Id of the item, and where the file is.
    cube : CubeFile
        What the file says.
    key : str, optional
        Key of the asset; by default the constellation that has all its bands, else "data".
    """
    key = key or asset_key(variable.name for variable in cube.variables)
    properties: dict[str, Any] = {"title": PurePosixPath(href).stem, **_time_span(cube.times)}
    code = f"EPSG:{cube.epsg}" if cube.epsg is not None else None
    west, east = sorted(cube.x[:2])
    south, north = sorted(cube.y[:2])
    half_x, half_y = abs(cube.x[2]) / 2, abs(cube.y[2]) / 2
    properties["proj:code"] = code
    if code is None:
        properties["proj:wkt2"] = cube.wkt
    properties["proj:shape"] = list(cube.shape)
    properties["proj:bbox"] = [west - half_x, south - half_y, east + half_x, north + half_y]
    properties["proj:transform"] = [
        cube.x[2], 0.0, cube.x[0] - cube.x[2] / 2, 0.0, cube.y[2], cube.y[0] - cube.y[2] / 2,
    ]  # fmt: skip
    asset: dict[str, Any] = {
        "href": href,
        "type": NETCDF,
        "title": PurePosixPath(href).name,
        "roles": ["data"],
        "bands": [_band(variable, key) for variable in cube.variables],
        "cube:dimensions": _dimensions(cube),
        "cube:variables": {v.name: _cube_variable(v) for v in cube.variables},
    }
    if code is None or _is_metric(cube):
        asset["raster:spatial_resolution"] = abs(cube.x[2])
    return _item(identifier, cube.geometry, cube.bbox, properties, {key: asset})


def service_item(
    identifier: str,
    href: str,
    asset: Mapping[str, Any],
    item: Mapping[str, Any] | None,
    results: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the item of a file that does not describe itself, from what the back-end says.

    Parameters
    ----------
    identifier, href : str
        Id of the item, and where the file is.
    asset : mapping
        The asset in the job's results.
    item : mapping or None
        The back-end's item of that asset, when it has one.
    results : mapping
        The job's results: a STAC collection, whose extent stands in for a missing item's.
    """
    extent = results.get("extent") or {}
    box = (item or {}).get("bbox") or next(
        iter((extent.get("spatial") or {}).get("bbox") or []), None
    )
    geometry = (item or {}).get("geometry") or (_rectangle(box) if box else None)
    properties = dict((item or {}).get("properties") or {})
    if not properties.get("datetime") and not properties.get("start_datetime"):
        interval = next(iter((extent.get("temporal") or {}).get("interval") or []), [None, None])
        properties.update(_time_span([time for time in interval if time]))
    fields = {
        name: value
        for name, value in asset.items()
        if name not in ("href", "alternate") and not name.startswith(("file:", "auth:", "storage:"))
    }
    fields["href"] = href
    fields.setdefault("roles", ["data"])
    key = asset_key(_band_names(fields))
    return modern_item(_item(identifier, geometry, box, properties, {key: fields}))


def asset_key(bands: Iterable[str]) -> str:
    """Return the key under which a file with these bands stands in its item."""
    names = set(bands)
    for key, definition in ITEM_ASSETS.items():
        known = {band["name"] for band in definition.properties.get("bands", ())}
        if names & known:
            return key
    return "data"


def modern_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item with the fields of STAC 1.1 and the extensions that its fields need.

    Older spellings (``eo:bands``, ``raster:bands``, ``proj:epsg``) are rewritten, so that it does
    not matter which version of pystac, or which back-end, wrote them.
    """
    properties = _modern_projection(dict(item.get("properties") or {}))
    assets = {key: _modern_asset(asset) for key, asset in (item.get("assets") or {}).items()}
    new = {
        **item,
        "stac_version": STAC_VERSION,
        "properties": properties,
        "assets": assets,
    }
    new["stac_extensions"] = extensions_of([properties, *assets.values()], item)
    return new


def extensions_of(objects: Iterable[Mapping[str, Any]], document: Mapping[str, Any]) -> list[str]:
    """Return the schemas of the extensions in use, ours in our versions, any others as they are."""
    names = set()
    for each in objects:
        for mapping in [each, *each.get("bands", ())]:
            prefixes = {field.partition(":")[0] for field in mapping if ":" in field}
            names |= {_PREFIXES[prefix] for prefix in prefixes if prefix in _PREFIXES}
    return [*sorted(_SCHEMAS[name] for name in names), *foreign_extensions(document)]


def foreign_extensions(document: Mapping[str, Any]) -> list[str]:
    """Return the schemas of extensions that we know nothing of."""
    return [
        schema
        for schema in document.get("stac_extensions") or ()
        if not any(f"/{name}/" in schema for name in _SCHEMAS)
    ]


def _item(
    identifier: str,
    geometry: Mapping[str, Any] | None,
    bbox: Sequence[float] | None,
    properties: Mapping[str, Any],
    assets: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "id": identifier,
        "geometry": dict(geometry) if geometry else None,
        "properties": dict(properties),
        "links": [],
        "assets": {key: dict(asset) for key, asset in assets.items()},
    }
    if bbox:
        item["bbox"] = list(bbox)
    item["stac_extensions"] = extensions_of([item["properties"], *item["assets"].values()], item)
    return item


def _time_span(times: Sequence[str]) -> dict[str, Any]:
    """Return the time fields; STAC wants both ends where there is no single moment."""
    if not times:
        return {"datetime": None}
    first, last = min(times), max(times)
    span = {"start_datetime": first, "end_datetime": last}
    return {"datetime": first if first == last else None, **span}


def _is_metric(cube: CubeFile) -> bool:
    return abs(cube.x[0]) > 360 or abs(cube.y[0]) > 360


def _band(variable: Variable, key: str) -> dict[str, Any]:
    """Describe a band: what the product's definition says, then what the file says."""
    definition = ITEM_ASSETS.get(key)
    product = definition.properties if definition is not None else {}
    described = product.get("bands", ())
    known: Mapping[str, Any] = next(
        (band for band in described if band["name"] == variable.name), {}
    )
    nodata = variable.nodata
    if nodata is None and known and product.get("data_type") == variable.data_type:
        nodata = product.get("nodata")  # some back-ends leave the fill value unsaid
    fields = {
        **known,
        "name": variable.name,
        "data_type": variable.data_type,
        "nodata": nodata,
        "unit": variable.unit,
    }
    if variable.title and variable.title != variable.name:
        fields.setdefault("description", variable.title)
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _dimensions(cube: CubeFile) -> dict[str, Any]:
    time, y, x = cube.dimensions
    system: Any = cube.epsg if cube.epsg is not None else cube.wkt
    dimensions: dict[str, Any] = {}
    if time is not None and cube.times:
        dimensions[time] = {
            "type": "temporal",
            "extent": [min(cube.times), max(cube.times)],
            "values": list(cube.times),
        }
    for name, axis, (first, last, step) in ((y, "y", cube.y), (x, "x", cube.x)):
        dimensions[name] = {
            "type": "spatial",
            "axis": axis,
            "extent": sorted((first, last)),
            "step": step,
            "reference_system": system,
        }
    return {name: {k: v for k, v in d.items() if v is not None} for name, d in dimensions.items()}


def _cube_variable(variable: Variable) -> dict[str, Any]:
    fields = {
        "type": "data",
        "dimensions": list(variable.dimensions),
        "description": variable.title,
        "unit": variable.unit,
        "data_type": variable.data_type,
        "nodata": variable.nodata,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _rectangle(box: Sequence[float]) -> dict[str, Any]:
    west, south, east, north = box if len(box) == 4 else (box[0], box[1], box[3], box[4])
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _band_names(asset: Mapping[str, Any]) -> list[str]:
    bands = asset.get("bands") or asset.get("eo:bands") or asset.get("raster:bands") or []
    return [band["name"] for band in bands if band.get("name")]


def _modern_projection(fields: dict[str, Any]) -> dict[str, Any]:
    if "proj:epsg" in fields:
        epsg = fields.pop("proj:epsg")
        fields.setdefault("proj:code", None if epsg is None else f"EPSG:{epsg}")
    return fields


def _modern_asset(asset: Mapping[str, Any]) -> dict[str, Any]:
    fields = _modern_projection(dict(asset))
    eo, raster = fields.pop("eo:bands", None) or [], fields.pop("raster:bands", None) or []
    if (eo or raster) and "bands" not in fields:
        bands = []
        for index in range(max(len(eo), len(raster))):
            band = {
                _BAND_FIELDS.get(name, name): value
                for part in (eo, raster)
                if index < len(part)
                for name, value in part[index].items()
            }
            if "spatial_resolution" in band:
                band["raster:spatial_resolution"] = band.pop("spatial_resolution")
            bands.append(band)
        fields["bands"] = bands
    return fields


#: Fields of a band that STAC 1.1 has moved into an extension's name space.
_BAND_FIELDS = {
    "common_name": "eo:common_name",
    "center_wavelength": "eo:center_wavelength",
    "full_width_half_max": "eo:full_width_half_max",
    "solar_illumination": "eo:solar_illumination",
    "scale": "raster:scale",
    "offset": "raster:offset",
    "sampling": "raster:sampling",
    "bits_per_sample": "raster:bits_per_sample",
    "histogram": "raster:histogram",
}
