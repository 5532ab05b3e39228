"""Where the rows of a GeoDataFrame are: one checked point in degrees for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from openeo_gfmap.errors import InputError, InvalidGeometry, MissingCrs
from openeo_gfmap.manager.blocks import map_blocks
from openeo_gfmap.utm import normalise_lon

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Geometries = NDArray[np.object_]

__all__ = ["representative_points"]

_POINT, _POLYGON = 0, 3  # shapely's type ids
_NAMED_ROWS: Final = 10  # how many rows an error message names
# Geometries wider than this are looked at in degrees: they may cross the antimeridian.
_WIDE_DEGREES: Final = 180.0
_WIDE_METRES: Final = 5_000_000.0


def representative_points(gdf: gpd.GeoDataFrame) -> tuple[Floats, Floats]:
    """Longitude and latitude that stand for each row.

    The point of a geometry is its planar centroid in the frame's own CRS, brought to WGS 84 as a
    point, so that the geometry itself is never reprojected. A geometry that crosses the
    antimeridian, in pieces on both sides or drawn the long way round, gets the centroid of its
    pieces put together.

    Parameters
    ----------
    gdf : GeoDataFrame
        At least one row, with a CRS; the active geometry column may have any name.

    Returns
    -------
    lon, lat : ndarray of float
        WGS 84 degrees, longitudes in [-180, 180).

    Raises
    ------
    InputError
        Not a GeoDataFrame with a geometry column, or no rows.
    MissingCrs
        The geometry column has no CRS.
    InvalidGeometry
        Null or empty geometries, coordinates that are not finite or not on the globe; the
        message names the rows.
    """
    geometries, crs = _checked_geometries(gdf)
    x, y = map_blocks(_centroids, geometries)
    unusable = ~(np.isfinite(x) & np.isfinite(y))
    if unusable.any():
        raise _unusable_error(geometries, unusable, gdf.index)

    to_degrees = _to_degrees(crs)
    crossing = _wide(geometries, crs)
    lon, lat = (x, y) if to_degrees is None else to_degrees.transform(x, y)
    if crossing.size:
        _put_together(geometries, crossing, to_degrees, lon, lat)

    off = ~(np.isfinite(lon) & (np.abs(lat) <= 90))  # NaN fails the comparison too
    if off.any():
        first = int(np.flatnonzero(off)[0])
        raise InvalidGeometry(
            f"{_counted(off)} not on the globe: {_rows(gdf.index, off)}. The first one has the "
            f"bounds {shapely.bounds(geometries[first]).tolist()} in {crs.name!r}; expected "
            "coordinates inside that CRS. Are the axes swapped, or is the CRS another one?"
        )
    return normalise_lon(lon), lat


def _checked_geometries(gdf: gpd.GeoDataFrame) -> tuple[Geometries, CRS]:
    if not isinstance(gdf, gpd.GeoDataFrame):
        raise InputError(
            f"Expected a geopandas.GeoDataFrame, got {type(gdf).__name__}; wrap the data in "
            "GeoDataFrame(data, geometry=..., crs=...)."
        )
    if gdf.active_geometry_name is None:
        raise InputError(
            f"The GeoDataFrame has no active geometry column among {list(gdf.columns)}; choose "
            "one with set_geometry()."
        )
    if len(gdf) == 0:
        raise InputError("The GeoDataFrame has no rows; expected at least one to make jobs of.")
    if gdf.crs is None:
        raise MissingCrs(
            lambda words: (
                f"The geometry column {gdf.active_geometry_name!r} has no CRS, so that its "
                "coordinates have no place; set the right one with "
                + words.either("set_crs().", "`ogr2ogr -a_srs EPSG:… with_crs.gpkg FILE`.")
            )
        )
    return np.asarray(gdf.geometry.array), gdf.crs


def _centroids(geometries: Geometries) -> Floats:
    """Planar centroids, as an array of two rows, x and y.

    NaN for null and empty geometries, and where coordinates are NaN.
    """
    kind = shapely.get_type_id(geometries)
    if (kind == _POINT).all():
        return _xy(geometries)
    simple = (kind == _POLYGON) & (shapely.get_num_interior_rings(geometries) == 0)
    simple &= ~shapely.is_empty(geometries)
    xy = np.full((2, len(geometries)), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # no area, or NaN: left to what follows
        xy[:, simple] = _ring_centroids(geometries[simple])
        rest = ~np.isfinite(xy).all(axis=0)
        xy[:, rest] = _xy(shapely.centroid(geometries[rest]))
    return xy


def _ring_centroids(polygons: Geometries) -> Floats:
    """Centroids of polygons without holes, three times as fast as one by one.

    The sum over the edges of (p + q) (p x q) / 3 (sum of p x q), with p and q measured from the
    ring's first corner, as GEOS does it. A ring ends where it began, so that its last corner is
    the origin: the product with the next ring's first corner, which is zero, does no harm, and
    all rings can be worked on as one.
    """
    count = shapely.get_num_coordinates(polygons)
    first = np.cumsum(count) - count
    x, y = np.ascontiguousarray(shapely.get_coordinates(polygons).T)
    origin_x, origin_y = x[first], y[first]
    x -= np.repeat(origin_x, count)
    y -= np.repeat(origin_y, count)
    cross = x[:-1] * y[1:] - x[1:] * y[:-1]
    area = 3 * np.add.reduceat(cross, first)
    centroid_x = np.add.reduceat((x[:-1] + x[1:]) * cross, first) / area
    centroid_y = np.add.reduceat((y[:-1] + y[1:]) * cross, first) / area
    return np.stack([centroid_x + origin_x, centroid_y + origin_y])


def _xy(points: Geometries) -> Floats:
    empty = shapely.is_empty(points)
    if empty.any():  # GEOS refuses to name their coordinates
        points = points.copy()
        points[empty] = None
    return np.stack([shapely.get_x(points), shapely.get_y(points)])


def _to_degrees(crs: CRS) -> Transformer | None:
    """Make the transformer to WGS 84 longitude and latitude; None where the CRS is that already."""
    wgs84 = CRS.from_epsg(4326)
    if crs.equals(wgs84, ignore_axis_order=True):
        return None
    try:
        return Transformer.from_crs(crs, wgs84, always_xy=True)
    except ProjError as error:
        raise InputError(
            f"The CRS {crs.name!r} has no known place on the globe ({error}); expected one that "
            "can be brought to longitude and latitude, such as EPSG:4326 or a UTM zone."
        ) from error


def _wide(geometries: Geometries, crs: CRS) -> NDArray[np.intp]:
    """Positions of the geometries that are wide enough to cross the antimeridian."""
    bounds = shapely.bounds(geometries)
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    limit = np.radians(_WIDE_DEGREES) if crs.is_geographic else _WIDE_METRES
    return np.flatnonzero((bounds[:, 2] - bounds[:, 0]) * unit > limit)


def _put_together(
    geometries: Geometries,
    rows: NDArray[np.intp],
    to_degrees: Transformer | None,
    lon: Floats,
    lat: Floats,
) -> None:
    """Correct ``lon`` and ``lat`` in place for those of ``rows`` that cross the antimeridian.

    Longitudes can be read from -180° to 180° or from 0° to 360°. A geometry that is narrower when
    read in another way than it was written is taken to be meant so. Geometries around the whole
    globe would shrink to a line: they stay as they are. Wider than the globe is no place at all:
    some of the coordinates must be wrong, and the longitude becomes NaN.
    """

    def degrees(xy: Floats) -> Floats:
        return xy if to_degrees is None else np.column_stack(to_degrees.transform(*xy.T))

    def eastern(xy: Floats) -> Floats:
        return np.column_stack([xy[:, 0] % 360.0, xy[:, 1]])

    def centred(xy: Floats) -> Floats:
        return np.column_stack([normalise_lon(xy[:, 0]), xy[:, 1]])

    written = shapely.transform(geometries[rows], degrees)
    narrowest = _widths(written)
    too_wide = narrowest > 360.0
    for reading in (centred, eastern):
        read = shapely.transform(written, reading)
        width = _widths(read)
        better = (width < narrowest) & (width > 0)
        narrowest[better] = width[better]
        centroid = shapely.centroid(read[better])
        lon[rows[better]], lat[rows[better]] = shapely.get_x(centroid), shapely.get_y(centroid)
    lon[rows[too_wide]] = np.nan


def _widths(geometries: Geometries) -> Floats:
    bounds = shapely.bounds(geometries)
    width: Floats = bounds[:, 2] - bounds[:, 0]
    return width


def _unusable_error(
    geometries: Geometries, unusable: Flags, index: pd.Index[Any]
) -> InvalidGeometry:
    null = shapely.is_missing(geometries)
    empty = shapely.is_empty(geometries)
    kinds = {"null": null, "empty": empty, "without finite coordinates": unusable & ~null & ~empty}
    found = [
        f"{_counted(flags)} {kind}: {_rows(index, flags)}"
        for kind, flags in kinds.items()
        if flags.any()
    ]
    return InvalidGeometry(
        "; ".join(found) + ". Expected a geometry with finite coordinates in every row; repair "
        "these rows or drop them first, for example with "
        "gdf[~(gdf.geometry.isna() | gdf.geometry.is_empty)]."
    )


def _counted(flags: Flags) -> str:
    count = int(flags.sum())
    return f"{count} of {len(flags)} geometries {'is' if count == 1 else 'are'}"


def _rows(index: pd.Index[Any], flags: Flags) -> str:
    """Name the flagged rows by their index labels, the first few of them."""
    labels = index[flags]
    named = ", ".join(repr(label) for label in labels[:_NAMED_ROWS].tolist())
    more = len(labels) - _NAMED_ROWS
    noun = "row" if len(labels) == 1 else "rows"
    return f"{noun} {named}" + (f" and {more} more" if more > 0 else "")
