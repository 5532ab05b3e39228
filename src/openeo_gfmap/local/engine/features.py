"""Vector input of a process graph: geometries with properties in one CRS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from ..errors import OpenEOError
from .grid import Extent, crs_name

__all__ = ["Features", "read_features"]

_AREAS = ("Polygon", "MultiPolygon")


@dataclass(frozen=True, eq=False)
class Features:
    """Geometries in the order they were given.

    Attributes
    ----------
    geometries
        shapely geometries; none is null or empty.
    crs
        As :func:`grid.crs_name` gives it.
    properties
        The properties of each feature.
    """

    geometries: tuple[Any, ...]
    crs: str = "EPSG:4326"
    properties: tuple[Mapping[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.geometries)

    @property
    def extent(self) -> Extent:
        """The bounds of all features.

        Degrees reach beyond 180 where features lie on both sides of the antimeridian, so that
        their bounds do not go the other way round the world.
        """
        west, south, east, north = shapely.total_bounds(self._shapes).tolist()
        if self.crs == "EPSG:4326" and east - west > 180:
            lon = shapely.get_coordinates(self._shapes)[:, 0] % 360
            if lon.max() - lon.min() < east - west:
                west, east = float(lon.min()), float(lon.max())
        return Extent((west, south, east, north), self.crs)

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """The bounds in WGS84 as GeoJSON has them: west > east across the antimeridian."""
        west, south, east, north = self.extent.to("EPSG:4326").bounds
        return west, south, east - 360 if east > 180 >= west else east, north

    def one(self, index: int) -> Features:
        """Return a single feature."""
        properties = self.properties[index : index + 1]
        return Features((self.geometries[index],), self.crs, properties)

    def to(self, crs: str) -> Features:
        """Return the features in another CRS, vertex by vertex."""
        if crs == self.crs:
            return self
        transform = _transform(self.crs, crs)
        moved = shapely.transform(
            np.asarray(self.geometries, dtype=object),
            lambda xy: np.column_stack(transform.transform(xy[:, 0], xy[:, 1])),
        )
        return Features(tuple(moved), crs, self.properties)

    def same_as(self, other: Features) -> bool:
        """Whether the geometries are the very same, in the same order."""
        if self is other:
            return True
        if self.crs != other.crs or len(self) != len(other):
            return False
        return bool(np.all(shapely.equals_identical(self._shapes, other._shapes)))

    @property
    def _shapes(self) -> np.ndarray[Any, Any]:
        return np.asarray(self.geometries, dtype=object)

    def inside(self, box: GeoBox) -> np.ndarray[Any, Any]:
        """Return which pixels of a box belong to any of the features.

        A pixel belongs to a polygon when its centre lies inside, as GDAL rasterises; to a point
        when it holds it; to a line when the line touches it.

        Returns
        -------
        numpy.ndarray
            Boolean array with dims (y, x).
        """
        from rasterio.features import geometry_mask  # noqa: PLC0415  (slow to import)

        inside = np.zeros(box.shape, dtype=bool)
        shapes = self._near(box)
        # Without an area there is no centre inside, and GDAL takes offence.
        areas = [g for g in shapes if g.geom_type in _AREAS and g.area]
        lines = [g for g in shapes if "Line" in g.geom_type]
        for found, all_touched in ((areas, False), (lines, True)):
            if found:
                inside |= geometry_mask(
                    found, box.shape, box.transform, all_touched=all_touched, invert=True
                )
        points = [p for g in shapes if "Point" in g.geom_type for p in shapely.get_parts(g)]
        for column, row in (_pixel_of(point, box.transform) for point in points):
            if 0 <= row < box.shape[0] and 0 <= column < box.shape[1]:
                inside[row, column] = True
        return inside

    def _near(self, box: GeoBox) -> list[Any]:
        """Return the geometries, in the box's CRS, that may have pixels in it."""
        crs = crs_name(box.crs)
        if len(self) == 1:
            return list(self.to(crs).geometries)
        # Many windows ask the same features: an index keeps each from looking at all of them.
        shapes, tree = _indexed(self, crs)
        around = shapely.box(*box.boundingbox.bbox).buffer(abs(box.transform.a))
        return [shapes[i] for i in np.sort(tree.query(around))]

    @classmethod
    def parse(cls, value: Any) -> Features:
        """Read GeoJSON (geometry, Feature, FeatureCollection), with the old ``crs`` member."""
        if isinstance(value, Features):
            return value
        if not isinstance(value, Mapping) or "type" not in value:
            raise _invalid(f"expected GeoJSON, got {str(value)[:80]!r}")
        kind = value["type"]
        if kind == "FeatureCollection":
            members: Any = value.get("features") or []
        elif kind == "Feature":
            members = [value]
        else:
            members = [{"geometry": value, "properties": {}}]
        if not isinstance(members, list) or not all(isinstance(m, Mapping) for m in members):
            raise _invalid("the features of a FeatureCollection must be a list of Features")
        geometries = [_shape(m, index) for index, m in enumerate(members)]
        return checked(
            geometries, _crs_member(value), [_mapping(m.get("properties")) for m in members]
        )


@lru_cache(maxsize=8)
def _indexed(features: Features, crs: str) -> tuple[tuple[Any, ...], shapely.STRtree]:
    shapes = features.to(crs).geometries
    return shapes, shapely.STRtree(shapes)


def checked(
    geometries: Sequence[Any], crs: str, properties: Sequence[Mapping[str, Any]]
) -> Features:
    """Return features all of whose geometries can be used; an error names those that cannot."""
    if not geometries:
        raise _invalid("there are no features; give at least one")
    bad = [
        i
        for i, g in enumerate(geometries)
        if g is None or g.is_empty or not np.isfinite(shapely.get_coordinates(g)).all()
    ]
    if bad:
        raise _invalid(
            f"{len(bad)} of {len(geometries)} geometries are null, empty or not finite: rows "
            f"{', '.join(map(str, bad[:10]))}{' …' if len(bad) > 10 else ''}; remove them"
        )
    mixed = [i for i, g in enumerate(geometries) if g.geom_type == "GeometryCollection"]
    if mixed:
        raise _invalid(
            f"rows {', '.join(map(str, mixed[:10]))} are GeometryCollections; use polygons, "
            "lines or points"
        )
    if crs == "EPSG:4326":
        box = shapely.total_bounds(np.asarray(geometries, dtype=object))
        if max(abs(box[1]), abs(box[3])) > 90 or max(abs(box[0]), abs(box[2])) > 360:
            raise OpenEOError(
                "CoordinateOutOfBounds",
                f"Geometries reach x {box[0]:.6g} to {box[2]:.6g} and y {box[1]:.6g} to "
                f"{box[3]:.6g}, which are not degrees. GeoJSON is in degrees; give geometries in "
                "another CRS as Parquet through load_url.",
            )
    return Features(
        tuple(shapely.force_2d(np.asarray(geometries, dtype=object))), crs, tuple(properties)
    )


def read_features(path: Path, format: str) -> Features:
    """Read a vector file.

    Parameters
    ----------
    path
        Local file.
    format
        ``Parquet`` or ``GeoJSON`` in any case, else what GDAL reads (GPKG, FlatGeobuf, …).
    """
    import geopandas as gpd  # noqa: PLC0415  (slow to import, and not every graph has vectors)
    import pyarrow as pa  # noqa: PLC0415

    kind = format.lower()
    try:
        if kind in {"parquet", "geoparquet"}:
            frame = gpd.read_parquet(path)
        elif kind in {"geojson", "json"}:
            return Features.parse(json.loads(path.read_text(encoding="utf-8")))
        else:
            frame = gpd.read_file(path)
    except (
        ValueError,
        OSError,
        RuntimeError,
        pa.ArrowInvalid,
    ) as error:  # GDAL's are RuntimeErrors
        raise _invalid(f"{path.name} cannot be read as {format}: {error}") from error
    crs = crs_name(frame.crs.to_wkt()) if frame.crs else "EPSG:4326"
    columns = frame.drop(columns=frame.geometry.name)
    return checked(list(frame.geometry), crs, columns.to_dict("records"))


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _crs_member(value: Mapping[str, Any]) -> str:
    """Return the CRS of GeoJSON's ``crs`` member of 2008, which openEO clients still send."""
    name = _mapping(_mapping(value.get("crs")).get("properties")).get("name")
    return crs_name(4326 if name is None else name)


def _shape(member: Mapping[str, Any], index: int) -> Any:
    geometry = member.get("geometry")
    if geometry is None:
        return None
    try:
        return shapely.from_geojson(json.dumps(geometry))
    except (shapely.errors.GEOSException, TypeError, ValueError) as error:
        raise _invalid(f"the geometry of feature {index} is no GeoJSON geometry: {error}") from None


def _pixel_of(point: Any, transform: Affine) -> tuple[int, int]:
    column, row = ~transform * (point.x, point.y)
    return int(np.floor(column + 1e-9)), int(np.floor(row + 1e-9))


@lru_cache(maxsize=64)
def _transform(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def _invalid(problem: str) -> OpenEOError:
    return OpenEOError("ProcessParameterInvalid", f"The geometries cannot be used: {problem}.")
