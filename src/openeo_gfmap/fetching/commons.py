"""Steps shared by the extraction of every product."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import openeo
from openeo.rest.vectorcube import VectorCube
from pyproj import CRS
from pyproj.exceptions import CRSError

from openeo_gfmap.errors import InputError, UnknownBand
from openeo_gfmap.fetching.fetching import FetchType
from openeo_gfmap.metadata import band_names
from openeo_gfmap.spatial import BoundingBoxExtent, SpatialContext
from openeo_gfmap.temporal import TemporalContext

__all__ = [
    "check_fetch_type",
    "check_params",
    "convert_band_names",
    "load_cube",
    "load_geometries",
    "rename_bands",
    "resample_reproject",
]

#: Resampling methods of the openEO process ``resample_spatial``.
RESAMPLING_METHODS = (
    "average",
    "bilinear",
    "cubic",
    "cubicspline",
    "geocode",
    "lanczos",
    "max",
    "mean",
    "med",
    "min",
    "mode",
    "near",
    "q1",
    "q3",
    "rms",
    "sum",
)

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
    projection = None if epsg_code is None else _epsg_number(epsg_code)
    _check_resolution(resolution)
    _check_method(method)
    return datacube.resample_spatial(resolution=resolution, projection=projection, method=method)


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
        extent = dict(_box(spatial_context))
    else:
        extent = None
        _geometries(spatial_context)
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
    geometries = _geometries(spatial_context)
    if isinstance(geometries, str):
        # Looked for in the whole address: signed URLs carry the file name in their query.
        suffixes = (".parquet", ".geoparquet", ".pq")
        is_parquet = any(suffix in geometries.lower() for suffix in suffixes)
        return connection.load_url(geometries, format="Parquet" if is_parquet else "GeoJSON")
    return geometries


def check_fetch_type(fetch_type: FetchType | str) -> FetchType:
    """Return the fetch type, given as such or by its value.

    Raises
    ------
    InputError
        When it is neither.
    """
    try:
        return FetchType(fetch_type)
    except ValueError:
        known = ", ".join(f"FetchType.{name}" for name in FetchType.__members__)
        raise InputError(f"fetch_type={fetch_type!r} is unknown; pass one of {known}.") from None


def check_params(params: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Check fetching parameters and fill in the defaults.

    Parameters
    ----------
    params : mapping
        Parameters as the user gave them.
    defaults : mapping
        Parameters used where the user gave none.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        When a parameter is unknown or out of its range.
    """
    unknown = sorted(set(params) - set(_PARAMETERS))
    if unknown:
        raise InputError(f"Unknown parameters {unknown}; expected any of {', '.join(_PARAMETERS)}.")
    checked = {**defaults, **params}
    _check_grid(checked["target_resolution"], checked["target_crs"], checked["resampling_method"])
    for name in ("load_collection", "update_arguments"):
        if not isinstance(checked.get(name, {}), Mapping | None):
            raise InputError(f"{name}={checked[name]!r} is not a dictionary; pass one.")
    for name in ("pre_mask", "pre_merge"):
        if not isinstance(checked.get(name), openeo.DataCube | None):
            raise InputError(f"{name}={checked[name]!r} is not a cube; pass an openeo.DataCube.")
    return checked


_PARAMETERS = (
    "target_resolution",
    "target_crs",
    "resampling_method",
    "load_collection",
    "update_arguments",
    "pre_mask",
    "pre_merge",
)


def _check_grid(resolution: Any, crs: Any, method: str) -> None:
    if resolution is not None:
        _check_resolution(resolution)
    elif crs is not None:
        raise InputError(
            f"target_crs={crs!r} needs a target_resolution, which is None; give the pixel size in "
            "units of that CRS, or leave both out to keep the native grid."
        )
    if crs is not None:
        _epsg_number(crs)
    _check_method(method)


def _check_resolution(resolution: Any) -> None:
    try:
        good = math.isfinite(resolution) and resolution > 0
    except TypeError:
        good = False
    if not good:
        raise InputError(
            f"target_resolution={resolution!r} is not a pixel size; expected a positive number "
            "such as 10, or None to leave the native grid."
        )


def _check_method(method: Any) -> None:
    if method not in RESAMPLING_METHODS:
        raise InputError(
            f"resampling_method={method!r} is unknown; use one of {', '.join(RESAMPLING_METHODS)}."
        )


def _epsg_number(code: str | int) -> int:
    """Return the EPSG code as a number, once it is known to exist."""
    try:
        number = int(str(code).upper().removeprefix("EPSG:"))
        CRS.from_epsg(number)
    except (CRSError, ValueError):
        raise InputError(
            f"target_crs={code!r} is not a known EPSG code; expected a number such as 32631."
        ) from None
    return number


def _box(context: object) -> BoundingBoxExtent:
    if isinstance(context, BoundingBoxExtent):
        return context
    raise InputError(
        f"TILE extraction takes a BoundingBoxExtent, not {_shorten(context)}; for geometries use "
        "FetchType.POLYGON or FetchType.POINT."
    )


def _geometries(context: object) -> Mapping[str, Any] | str:
    if isinstance(context, str):
        if context.lower().startswith(("https://", "http://")):
            return context
        raise InputError(
            f"{context!r} is not an http(s) address that the back-end can read; store the "
            "geometries with openeo_gfmap.utils.upload_geoparquet and pass what it returns."
        )
    if isinstance(context, Mapping):
        if context.get("type") == "FeatureCollection" and context.get("features"):
            return context
        raise InputError(f"{_shorten(context)} is not a GeoJSON FeatureCollection with features.")
    raise InputError(
        "POLYGON and POINT extraction take a GeoJSON FeatureCollection, or the URL of a GeoParquet "
        f"or GeoJSON file, not {_shorten(context)}; for a box use FetchType.TILE."
    )


def _shorten(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
