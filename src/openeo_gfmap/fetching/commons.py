"""Steps shared by the extraction of every product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import openeo
from openeo.rest.vectorcube import VectorCube

from openeo_gfmap.errors import InputError, UnknownBand
from openeo_gfmap.fetching.arguments import (
    as_box,
    as_epsg_code,
    as_geometries,
    as_resolution,
    check_resampling_method,
)
from openeo_gfmap.fetching.fetching import FetchType
from openeo_gfmap.metadata import band_names
from openeo_gfmap.spatial import SpatialContext
from openeo_gfmap.temporal import TemporalContext

__all__ = [
    "convert_band_names",
    "load_cube",
    "load_geometries",
    "rename_bands",
    "resample_reproject",
]

_Geometries: TypeAlias = Mapping[str, Any] | VectorCube


def convert_band_names(desired_bands: Sequence[str], band_dict: Mapping[str, str]) -> list[str]:
    """Translate harmonised band names to those of a collection.

    Parameters
    ----------
    desired_bands : sequence of str
        Harmonised names, such as "S2-L2A-B02".
    band_dict : mapping of str to str
        The collection's names to the harmonised ones.

    Returns
    -------
    list of str
        The collection's names, in the order of `desired_bands`.

    Raises
    ------
    UnknownBand
        When the collection lacks a band.
    InputError
        When no band is asked for, or one twice.
    """
    if isinstance(desired_bands, str) or not desired_bands:
        raise InputError(f"bands={desired_bands!r}: expected a list of at least one band name.")
    repeated = sorted({band for band in desired_bands if list(desired_bands).count(band) > 1})
    if repeated:
        raise InputError(f"Bands {repeated} are asked for more than once; name each band once.")
    native = {harmonised: name for name, harmonised in band_dict.items()}
    unknown = [band for band in desired_bands if band not in native]
    if unknown:
        raise UnknownBand(f"Bands {unknown} are not available; use any of {', '.join(native)}.")
    return [native[band] for band in desired_bands]


def rename_bands(datacube: openeo.DataCube, mapping: Mapping[str, str]) -> openeo.DataCube:
    """Rename the bands of a cube, leaving those that `mapping` does not name.

    Parameters
    ----------
    datacube : openeo.DataCube
        A cube that knows its bands.
    mapping : mapping of str to str
        Present name to new name; entries for bands that the cube lacks are ignored.
    """
    source = [band for band in band_names(datacube) if band in mapping]
    target = [mapping[band] for band in source]
    return datacube.rename_labels(dimension="bands", source=source, target=target)


def resample_reproject(
    datacube: openeo.DataCube,
    resolution: float,
    epsg_code: str | int | None = None,
    method: str = "near",
) -> openeo.DataCube:
    """Bring a cube to a pixel size and, where one is given, a coordinate reference system.

    Parameters
    ----------
    datacube : openeo.DataCube
    resolution : float
        Pixel size in units of the target CRS.
    epsg_code : int or str, optional
        Target CRS, as 32631, "32631" or "EPSG:32631"; None keeps the cube's own.
    method : str, default "near"
        Resampling method of openEO's ``resample_spatial``.

    Raises
    ------
    InputError
        When an argument is out of its range.
    """
    projection = None if epsg_code is None else as_epsg_code(epsg_code)
    check_resampling_method(method)
    return datacube.resample_spatial(
        resolution=as_resolution(resolution), projection=projection, method=method
    )


def load_cube(
    connection: openeo.Connection,
    collection_id: str,
    bands: list[str],
    spatial_context: SpatialContext,
    temporal_context: TemporalContext,
    *,
    fetch_type: FetchType,
    properties: Mapping[str, Any] | None = None,
    update_arguments: Mapping[str, Any] | None = None,
    pre_mask: openeo.DataCube | None = None,
    pre_merge: openeo.DataCube | None = None,
) -> openeo.DataCube:
    """Load a collection in the way a fetch type asks for.

    Parameters
    ----------
    connection : openeo.Connection
    collection_id : str
    bands : list of str
        The collection's own band names.
    spatial_context, temporal_context
        Place and period; see `CollectionFetcher.get_cube`.
    fetch_type : FetchType
        TILE loads the box; POINT leaves place to the ``aggregate_spatial`` that follows; POLYGON
        filters by the geometries.
    properties : mapping, optional
        Filters on scene properties: name to a function of the value, for instance
        ``{"eo:cloud_cover": lambda value: value <= 95}``.
    update_arguments : mapping, optional
        Further arguments for the ``load_collection`` node, such as a back-end's feature flags.
    pre_mask : openeo.DataCube, optional
        Mask applied before anything else, so that masked scenes need not be read.
    pre_merge : openeo.DataCube, optional
        Cube whose bands join before the geometries are cut out; `pre_mask` applies to it too.

    Returns
    -------
    openeo.DataCube

    Raises
    ------
    InputError
        When the spatial context does not fit the fetch type, or the period is empty.
    """
    if fetch_type is FetchType.TILE:
        extent = dict(as_box(spatial_context))
    else:
        extent = None
        as_geometries(spatial_context)
    if temporal_context.start_date == temporal_context.end_date:
        raise InputError(
            f"The period {temporal_context.start_date} to {temporal_context.end_date} is empty, "
            "since its last date is not loaded; move end_date one day on."
        )
    cube = connection.load_collection(
        collection_id,
        spatial_extent=extent,
        temporal_extent=[temporal_context.start_date, temporal_context.end_date],
        bands=bands,
        properties=dict(properties or {}),
    )
    if update_arguments:
        cube.result_node().update_arguments(**update_arguments)  # type: ignore[no-untyped-call]
    if pre_mask is not None:
        cube = cube.mask(pre_mask)
    if pre_merge is not None:
        cube = cube.merge_cubes(pre_merge if pre_mask is None else pre_merge.mask(pre_mask))
    if fetch_type is FetchType.POLYGON:
        cube = cube.filter_spatial(load_geometries(connection, spatial_context))
    return cube


def load_geometries(connection: openeo.Connection, spatial_context: SpatialContext) -> _Geometries:
    """Return geometries as ``filter_spatial`` and ``aggregate_spatial`` take them.

    Parameters
    ----------
    connection : openeo.Connection
    spatial_context : GeoJSON mapping or str
        The geometries, or the URL of a GeoParquet or GeoJSON file that the back-end can read.

    Returns
    -------
    mapping or openeo.rest.vectorcube.VectorCube

    Raises
    ------
    InputError
        When it is neither.
    """
    geometries = as_geometries(spatial_context)
    if isinstance(geometries, str):
        # Looked for in the whole address: signed URLs carry the file name in their query.
        suffixes = (".parquet", ".geoparquet", ".pq")
        is_parquet = any(suffix in geometries.lower() for suffix in suffixes)
        return connection.load_url(geometries, format="Parquet" if is_parquet else "GeoJSON")
    return geometries
