"""Features from GeoJSON and from files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from ...errors import OpenEOError
from ..features import Features, read_features
from ..plan import Scope
from ..registry import (
    NOTHING,
    GeoJson,
    InputFormat,
    InputOptions,
    Schema,
    TableData,
    Uri,
    process,
)

Names = Annotated[Any, Schema({"type": "array", "items": {"type": "string"}})]
Paths = Annotated[
    Any,
    Schema(
        {
            "type": "array",
            "subtype": "file-paths",
            "items": {"type": "string", "subtype": "file-path"},
        }
    ),
]


@process()
def load_geojson(data: GeoJson, properties: Names = ()) -> TableData:
    """Take features from GeoJSON.

    Parameters
    ----------
    data
        Geometry, Feature or FeatureCollection; in degrees unless it has a ``crs`` member.
    properties
        Names of the properties to keep as values; features keep all of them here.

    Returns
    -------
    TableData
        A vector data cube.
    """
    return Features.parse(data)


@process()
def load_url(
    url: Uri, format: InputFormat, options: InputOptions = NOTHING, *, env: Any
) -> TableData:
    """Take features from a file on the web.

    Parameters
    ----------
    url
        Address of the file; one of this back-end's own file workspace is read without a request.
    format
        ``Parquet`` (GeoParquet, any CRS), ``GeoJSON``, or another vector format that GDAL reads.
    options
        None are known.

    Returns
    -------
    TableData
        A vector data cube.
    """
    return read_features(_fetched(url, env), format)


@process()
def load_uploaded_files(
    paths: Paths,
    format: InputFormat,
    options: InputOptions = NOTHING,
    *,
    env: Any,
) -> TableData:
    """Take features from files of the user's file workspace.

    Parameters
    ----------
    paths
        Paths in the workspace; the features of all files follow each other.
    format
        As in load_url.
    options
        None are known.

    Returns
    -------
    TableData
        A vector data cube.
    """
    parts = [read_features(_fetched(path, env), format) for path in paths]
    first = parts[0]
    moved = [p.to(first.crs) for p in parts]
    return Features(
        tuple(g for p in moved for g in p.geometries),
        first.crs,
        tuple(properties for p in moved for properties in p.properties),
    )


def _fetched(place: str, env: Scope) -> Any:
    if env.env.fetch is None:
        name = PurePosixPath(urlsplit(place).path).name
        raise OpenEOError("Internal", f"{name} was asked for where nothing is fetched.", status=500)
    return env.env.fetch(place)
