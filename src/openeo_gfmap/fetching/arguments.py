"""Checks of what the caller of an extraction passes in, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import openeo
from pyproj import CRS
from pyproj.exceptions import CRSError

from openeo_gfmap.errors import InputError
from openeo_gfmap.fetching.fetching import FetchType
from openeo_gfmap.spatial import BoundingBoxExtent

__all__ = [
    "as_box",
    "as_epsg_code",
    "as_fetch_type",
    "as_geometries",
    "as_resolution",
    "check_params",
    "check_resampling_method",
]

#: Resampling methods of the openEO process ``resample_spatial``.
RESAMPLING_METHODS = (
    "average",
    "bilinear",
    "cubic",
    "cubicspline",
    "lanczos",
    "max",
    "med",
    "min",
    "mode",
    "near",
    "q1",
    "q3",
    "rms",
    "sum",
)

#: Parameters of an extractor.
PARAMETERS = (
    "target_resolution",
    "target_crs",
    "resampling_method",
    "load_collection",
    "update_arguments",
    "pre_mask",
    "pre_merge",
)


def as_fetch_type(fetch_type: FetchType | str) -> FetchType:
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
    unknown = sorted(set(params) - set(PARAMETERS))
    if unknown:
        raise InputError(f"Unknown parameters {unknown}; expected any of {', '.join(PARAMETERS)}.")
    checked = {**defaults, **params}
    _check_grid(checked["target_resolution"], checked["target_crs"], checked["resampling_method"])
    for name in ("load_collection", "update_arguments"):
        if not isinstance(checked.get(name, {}), Mapping | None):
            raise InputError(f"{name}={checked[name]!r} is not a dictionary; pass one.")
    for name in ("pre_mask", "pre_merge"):
        if not isinstance(checked.get(name), openeo.DataCube | None):
            raise InputError(f"{name}={checked[name]!r} is not a cube; pass an openeo.DataCube.")
    return checked


def _check_grid(resolution: Any, crs: Any, method: str) -> None:
    if resolution is not None:
        as_resolution(resolution)
    elif crs is not None:
        raise InputError(
            f"target_crs={crs!r} needs a target_resolution, which is None; give the pixel size in "
            "units of that CRS, or leave both out to keep the native grid."
        )
    if crs is not None:
        as_epsg_code(crs)
    check_resampling_method(method)


def as_resolution(resolution: Any) -> float:
    """Return the pixel size as a plain number, once it is known to be positive and finite."""
    try:
        if 0 < float(resolution) < math.inf:
            return float(resolution)
    except (TypeError, ValueError):
        pass  # told below, like any other wrong value
    raise InputError(
        f"target_resolution={resolution!r} is not a pixel size; expected a positive number such as "
        "10, or None to leave the native grid."
    )


def check_resampling_method(method: Any) -> None:
    """Raise when openEO has no such resampling method."""
    if method not in RESAMPLING_METHODS:
        raise InputError(
            f"resampling_method={method!r} is unknown; use one of {', '.join(RESAMPLING_METHODS)}."
        )


def as_epsg_code(code: str | int) -> int:
    """Return the EPSG code as a number, once it is known to exist."""
    try:
        number = int(str(code).upper().removeprefix("EPSG:"))
        CRS.from_epsg(number)
    except (CRSError, ValueError):
        raise InputError(
            f"target_crs={code!r} is not a known EPSG code; expected a number such as 32631."
        ) from None
    return number


def as_box(context: object) -> BoundingBoxExtent:
    """Return the place of a TILE extraction, once it is known to be a box."""
    if isinstance(context, BoundingBoxExtent):
        return context
    raise InputError(
        f"TILE extraction takes a BoundingBoxExtent, not {_shorten(context)}; for geometries use "
        "FetchType.POLYGON or FetchType.POINT."
    )


def as_geometries(context: object) -> Mapping[str, Any] | str:
    """Return the places of a POLYGON or POINT extraction, once they are known to be some."""
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
