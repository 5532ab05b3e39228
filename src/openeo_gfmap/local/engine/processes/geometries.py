"""Processes on features without values: buffers, other CRSs, points inside, and rasters of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS

from ...errors import OpenEOError
from ..axes import dims_in_order
from ..complexity import require_small
from ..cube import Cube
from ..demands import Demand, Window
from ..features import Features, checked
from ..grid import crs_name
from ..meta import CubeMeta, TableMeta, Unknown
from ..plan import Call, PlanContext, Rule
from ..registry import (
    Boolean,
    CubeData,
    Geometries,
    Integer,
    Projection,
    Schema,
    TableData,
    Text,
    process,
)

Distance = Annotated[Any, Schema({"type": "number"})]

_AREAS = ("Polygon", "MultiPolygon")


def _in_metres(features: Features, process_id: str) -> None:
    """Refuse features whose coordinates are not metres."""
    crs = CRS.from_user_input(features.crs)
    if {axis.unit_name for axis in crs.axis_info} != {"metre"}:
        raise OpenEOError(
            "UnitMismatch",
            f"{process_id} works in metres, but the geometries are in {crs.to_string()[:60]}; use "
            "vector_reproject with a projected CRS first, such as that of their UTM zone.",
        )


@process()
def vector_buffer(geometries: Geometries, distance: Distance) -> TableData:
    """Widen geometries by a distance, or make them narrower.

    Parameters
    ----------
    geometries
        GeoJSON or a vector data cube, in a CRS whose unit is the metre.
    distance
        Metres; negative ones shrink polygons. Corners become arcs of 16 segments a quarter.

    Returns
    -------
    TableData
        The features with their new geometries. A geometry that vanishes is an error.
    """
    features = Features.parse(geometries)
    _in_metres(features, "vector_buffer")
    if not np.isfinite(distance) or distance == 0:
        raise ValueError(f"distance must be a number of metres other than 0, got {distance}")
    shapes = shapely.buffer(np.asarray(features.geometries, dtype=object), distance, quad_segs=16)
    return checked(list(shapes), features.crs, features.properties)


@process()
def vector_reproject(data: Geometries, projection: Projection, dimension: Text = None) -> TableData:
    """Bring geometries into another CRS, vertex by vertex.

    Parameters
    ----------
    data
        GeoJSON or a vector data cube.
    projection
        EPSG code or WKT.
    dimension
        The geometry dimension; there is one, ``geometry``.

    Returns
    -------
    TableData
        The features in the other CRS.
    """
    if dimension not in (None, "geometry"):
        raise OpenEOError(
            "DimensionNotAvailable", f"Features have the dimension 'geometry', not {dimension!r}."
        )
    moved = Features.parse(data).to(crs_name(projection))
    return checked(moved.geometries, moved.crs, moved.properties)


_RELATIONS: dict[str, Callable[..., Any]] = {
    "intersects": shapely.intersects,
    "disjoint": shapely.disjoint,
    "equals": shapely.equals,
    "touches": shapely.touches,
    "crosses": shapely.crosses,
    "overlaps": shapely.overlaps,
    "contains": shapely.contains,
    "within": shapely.within,
}


@process()
def filter_vector(
    data: Geometries, geometries: Geometries, relation: Text = "intersects"
) -> TableData:
    """Keep the features that stand in a relation to others.

    Parameters
    ----------
    data
        GeoJSON or a vector data cube.
    geometries
        The others; their union counts.
    relation
        intersects, disjoint, equals, touches, crosses, overlaps, contains or within: what is
        true of a feature and the union.

    Returns
    -------
    TableData
        Those features, in their order; at least one must be left.
    """
    if relation not in _RELATIONS:
        raise ValueError(f"relation is {relation!r}; use one of {', '.join(_RELATIONS)}")
    features = Features.parse(data)
    union = shapely.union_all(list(Features.parse(geometries).to(features.crs).geometries))
    shapes = np.asarray(features.geometries, dtype=object)
    kept = np.flatnonzero(_RELATIONS[relation](shapes, union))
    return checked(
        [shapes[i] for i in kept],
        features.crs,
        [features.properties[i] for i in kept if features.properties],
    )


@process()
def vector_to_regular_points(
    data: Geometries, distance: Distance, group: Boolean = True
) -> TableData:
    """Sample geometries on regular grids.

    Parameters
    ----------
    data
        GeoJSON or a vector data cube, in a CRS whose unit is the metre.
    distance
        Metres between points. In a polygon they are the centres of the cells of a grid that
        starts at the upper-left corner of its bounds; along a line they start at its first
        point; points are kept. A polygon without any centre gives its first vertex.
    group
        True gives a MultiPoint per feature, with its properties; false gives single points.

    Returns
    -------
    TableData
        The points.
    """
    features = Features.parse(data)
    _in_metres(features, "vector_to_regular_points")
    if not np.isfinite(distance) or distance <= 0:
        raise ValueError(f"distance must be a positive number of metres, got {distance}")
    return _grouped(features, [_regular(g, distance) for g in features.geometries], group)


def _regular(shape: Any, distance: float) -> np.ndarray[Any, Any]:
    """Return points as an array of x, y."""
    if shape.geom_type in _AREAS:
        xmin, ymin, xmax, ymax = shape.bounds
        require_small(
            "vector_to_regular_points",
            count=int(((xmax - xmin) / distance + 1) * ((ymax - ymin) / distance + 1)),
        )
        x = np.arange(xmin + distance / 2, xmax, distance)
        y = np.arange(ymax - distance / 2, ymin, -distance)
        xx, yy = (v.ravel() for v in np.meshgrid(x, y))
        inside = shapely.intersects_xy(shape, xx, yy)
        found = np.column_stack([xx[inside], yy[inside]])
        return found if len(found) else shapely.get_coordinates(shape)[:1]
    if "Line" in shape.geom_type:
        lines = shapely.get_parts(shape)
        require_small("vector_to_regular_points", count=int(shape.length / distance))
        return np.concatenate(
            [
                shapely.get_coordinates(
                    shapely.line_interpolate_point(one, np.arange(0, one.length, distance))
                )
                for one in lines
            ]
        )
    return np.asarray(shapely.get_coordinates(shape))


@process()
def vector_to_random_points(
    data: Geometries,
    geometry_count: Integer = 1,
    total_count: Integer = None,
    group: Boolean = True,
    seed: Integer = None,
) -> TableData:
    """Sample geometries at random points.

    Parameters
    ----------
    data
        GeoJSON or a vector data cube. Polygons are sampled in their CRS, lines along their
        length, points are drawn without repetition.
    geometry_count
        Most points per geometry.
    total_count
        Most points overall, shared evenly, at least one for each geometry; null sets no limit.
    group
        True gives a MultiPoint per feature, with its properties; false gives single points.
    seed
        Makes the points the same every time.

    Returns
    -------
    TableData
        The points.
    """
    features = Features.parse(data)
    for name, count in (("geometry_count", geometry_count), ("total_count", total_count)):
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    if total_count is not None and total_count < len(features):
        raise OpenEOError(
            "CountMismatch",
            f"total_count is {total_count}, but there are {len(features)} geometries.",
        )
    rng = np.random.default_rng(seed)
    counts = np.full(len(features), geometry_count, dtype=np.int64)
    if total_count is not None:
        fair = np.full(len(features), total_count // len(features))
        fair[: total_count % len(features)] += 1
        counts = np.minimum(counts, fair)
    require_small("vector_to_random_points", count=int(counts.sum()))
    points = [_random(g, int(n), rng) for g, n in zip(features.geometries, counts, strict=True)]
    return _grouped(features, points, group)


def _random(shape: Any, count: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    if shape.geom_type in _AREAS:
        return _inside(shape, count, rng)
    if "Line" in shape.geom_type:
        where = rng.uniform(0, shape.length, count)
        merged = shapely.line_merge(shape) if shape.geom_type == "MultiLineString" else shape
        parts = shapely.get_parts(merged)
        ends = np.cumsum(shapely.length(parts))
        part = np.minimum(np.searchsorted(ends, where, side="right"), len(parts) - 1)
        along = where - (ends - shapely.length(parts))[part]
        return np.asarray(
            shapely.get_coordinates(shapely.line_interpolate_point(parts[part], along))
        )
    points = shapely.get_coordinates(shape)
    return np.asarray(rng.permutation(points)[:count])


def _inside(shape: Any, count: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return random points of a polygon, evenly spread.

    They are drawn in triangles that are chosen by area, so that a long sliver takes no longer
    than a square; in a polygon with dents a triangle may reach over one, where points are drawn
    again.
    """
    cut = [
        part
        for triangle in shapely.get_parts(shapely.delaunay_triangles(shape))
        for part in shapely.get_parts(triangle.intersection(shape))
        if part.geom_type == "Polygon"
    ]
    pairs = [(t, part) for part in cut for t in shapely.get_parts(shapely.delaunay_triangles(part))]
    areas = np.asarray([triangle.area for triangle, _ in pairs])
    if not areas.sum():
        return np.repeat(shapely.get_coordinates(shape)[:1], count, axis=0)
    corners = np.stack([shapely.get_coordinates(triangle)[:3] for triangle, _ in pairs])
    parts = np.asarray([part for _, part in pairs], dtype=object)
    found = np.empty((0, 2))
    while len(found) < count:
        chosen = rng.choice(len(pairs), size=count, p=areas / areas.sum())
        a, b = rng.random((2, count, 1))
        a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
        first, second, third = (corners[chosen, k] for k in range(3))
        drawn = first + a * (second - first) + b * (third - first)
        inside = shapely.intersects_xy(parts[chosen], drawn[:, 0], drawn[:, 1])
        found = np.concatenate([found, drawn[inside]])
    return found[:count]


def _grouped(features: Features, points: list[np.ndarray[Any, Any]], group: Any) -> Features:
    if group:
        return checked(
            [shapely.multipoints(xy) for xy in points], features.crs, features.properties
        )
    return checked(list(shapely.points(np.concatenate(points))), features.crs, ())


def _numbers(features: Features) -> tuple[str, ...]:
    """Return the names of the properties that are numbers in all features that have them."""
    names = dict.fromkeys(name for p in features.properties for name in p)
    return tuple(name for name in names if _is_number_everywhere(features, name))


def _is_number_everywhere(features: Features, name: str) -> bool:
    values = [p.get(name) for p in features.properties]
    present = [v for v in values if v is not None]
    return bool(present) and all(
        isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in present
    )


def _raster_meta(call: Call, context: PlanContext) -> CubeMeta:
    target, value = call.raster("target"), call.args["data"]
    raster = CubeMeta(
        dims=("bands", "y", "x"),
        bands=None,
        grid=target.grid,
        extent=target.extent,
        features=target.features,
        limits=target.limits,
        interval=target.interval,
        itemsize=8,
    )
    if isinstance(value, TableMeta):
        return raster.patch(
            dims=dims_in_order((*value.dims, "y", "x")),
            bands=value.bands,
            time=value.time,
            interval=value.interval,
            periods=value.periods,
            kinds=value.kinds,
            labels=value.labels,
        )
    if isinstance(value, CubeMeta):
        raise call.invalid("data", "is a raster data cube; give values per geometry, or features")
    if isinstance(value, Unknown):
        return raster
    bands = _numbers(Features.parse(value))
    if not bands:
        raise call.invalid("data", "has no property that is a number in every feature")
    return raster.patch(bands=bands)


def _raster_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    # The target gives its pixel grid, which is known without reading it.
    table = call.args["data"]
    if not isinstance(table, TableMeta) or table.features is None or demand.box is None:
        return {}
    row = demand.patch(box=None)
    return {_row(i): row.patch(feature=i) for i in _touching(table.features, demand.box)}


def _row(feature: int) -> str:
    return f"data:{feature}"


def _touching(features: Features, box: GeoBox) -> list[int]:
    """Return the positions of the features that may have pixels of a box, in their order.

    At least one, the nearest: its values tell the labels.
    """
    shapes = np.asarray(features.to(crs_name(box.crs)).geometries, dtype=object)
    distances = shapely.distance(shapes, shapely.box(*box.boundingbox.bbox))
    found = np.flatnonzero(distances == 0)
    return [int(i) for i in found] or [int(np.argmin(distances))]


@process(plan=Rule(meta=_raster_meta, inputs=_raster_inputs))
def vector_to_raster(data: Geometries, target: CubeData, *, env: Any) -> CubeData:
    """Make pixels of features: of their values, or of those of their properties that are numbers.

    A pixel has the values of the last feature that its centre lies in; a point gives its value to
    the pixel that holds it. Pixels of no feature are missing.

    Parameters
    ----------
    data
        Values per geometry, as aggregate_spatial gives them; their dimensions stay. Or features
        with properties, each of which becomes a band.
    target
        A raster data cube that has the wanted pixels.

    Returns
    -------
    CubeData
        A cube on the pixels of the target; float64.
    """
    box: GeoBox = env.demand.box
    table = env.call.args["data"]
    if isinstance(table, TableMeta) and table.features is not None:
        return _of_values(table.features, env.aside, box)
    features = Features.parse(data)
    bands = [b for b in _numbers(features) if env.demand.bands is None or b in env.demand.bands]
    values = np.full((len(bands), *box.shape), np.nan)
    for i in range(len(features)):
        inside = features.one(i).inside(box)
        if inside.any():
            numbers = [features.properties[i].get(b) for b in bands]
            column = np.asarray([np.nan if v is None else v for v in numbers], dtype=np.float64)
            values[:, inside] = column[:, np.newaxis]
    return Cube(values, ("bands", "y", "x"), {"bands": np.asarray(bands, dtype=str)}, box)


def _of_values(features: Features, rows: Mapping[str, Cube], box: GeoBox) -> Cube:
    """Return pixels that have the values of the features they lie in."""
    known = {i: rows[_row(i)] for i in _touching(features, box)}
    first = next(iter(known.values()))
    values = np.full((*first.data.shape, *box.shape), np.nan)
    for i, row in known.items():
        inside = features.one(i).inside(box)
        values[..., inside] = row.as_float().data[..., np.newaxis]
    return first.with_data(values, dims=(*first.dims, "y", "x"), geobox=box, nodata=None)
