"""Where cubes and features come from: collections, STAC, files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from ...catalog import Collection, collection_from_stac
from ...errors import OpenEOError
from ...sentinel2 import Sentinel2Profile
from ...stac_source import as_utc
from ..callbacks import Predicate
from ..demands import Demand, Interval, Window
from ..features import Features
from ..graph import ProcessGraph
from ..grid import Extent, Grid, crs_name, is_utm, utm_of
from ..limits import Limit
from ..loading import find_scenes
from ..meta import SOMEWHERE, CubeMeta, Unknown
from ..plan import Call, LoadSpec, PlanContext, Rule
from ..registry import (
    CollectionId,
    CubeData,
    Schema,
    Uri,
    process,
)

SpatialExtent = Annotated[
    Any,
    Schema(
        [
            {"type": "object", "subtype": "bounding-box"},
            {"type": "object", "subtype": "geojson"},
            {"type": "object", "subtype": "datacube"},
            {"type": "null"},
        ]
    ),
]
TemporalExtent = Annotated[
    Any, Schema([{"type": "array", "subtype": "temporal-interval"}, {"type": "null"}])
]
BandNames = Annotated[
    Any, Schema({"type": "array", "items": {"type": "string", "subtype": "band-name"}})
]
PropertyFilters = Annotated[
    Any,
    Schema(
        {
            "type": ["object", "null"],
            "subtype": "metadata-filter",
            "additionalProperties": {"type": "object", "subtype": "process-graph"},
        }
    ),
]


def parse_interval(value: Any, call: Call, name: str = "temporal_extent") -> Interval:
    """Read an openEO temporal interval: [start, end), either may be null."""
    if value is None:
        return (None, None)
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise call.invalid(name, f"must be [start, end], got {value!r}")
    start, end = (None if v is None else _moment(v, call, name) for v in value)
    if start is not None and end is not None and start >= end:
        raise OpenEOError(
            "TemporalExtentEmpty",
            f"Node {call.node.id!r}: the interval from {value[0]} to {value[1]} is empty; its end "
            "is not included, so it must be later than its start.",
            node=call.node.id,
        )
    return _representable(start), _representable(end)


# Dates of cubes are nanoseconds in 64 bits, which begin in 1677 and end in 2262.
_FIRST, _LAST = datetime(1678, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)


def _representable(moment: datetime | None) -> datetime | None:
    """Return the moment, or the first or last that a date of a cube can have."""
    return None if moment is None else min(max(moment, _FIRST), _LAST)


def _moment(value: Any, call: Call, name: str) -> datetime:
    try:
        return as_utc(value)
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise call.invalid(
            name, f"holds {value!r}; dates look like 2023-04-01 or 2023-04-01T10:00:00Z"
        ) from None


@dataclass(frozen=True)
class _Place:
    """What a source must cover, what the cube is limited to, and the CRS to use."""

    extent: Extent
    crs: str
    features: Features | None = None
    limits: tuple[Limit, ...] = ()


def _place(call: Call, context: PlanContext) -> _Place:
    """Return where a source is looked at.

    The CRS is that of the features or the extent when those are in UTM, else the UTM zone of the
    centre.
    """
    given = call.args.get("spatial_extent")
    features: Features | None = None
    own: Extent | None = None
    if isinstance(given, Unknown):
        own = SOMEWHERE
    elif isinstance(given, Features) or (isinstance(given, Mapping) and "type" in given):
        features = Features.parse(given)
        own = features.extent
    elif isinstance(given, Mapping):
        own = Extent.parse(given)
    elif given is not None:
        raise call.invalid(
            "spatial_extent", "must be a bounding box, GeoJSON, a vector cube or null"
        )
    asked = context.extents.get(call.node.id, ())
    places = [*([own] if own else []), *asked]
    if not places:
        raise OpenEOError(
            "ProcessParameterMissing",
            f"Node {call.node.id!r} loads without a place: give spatial_extent, or follow it with "
            "filter_spatial, filter_bbox or aggregate_spatial.",
            node=call.node.id,
        )
    extent = own
    if extent is None:
        extent = places[0]
        for other in places[1:]:
            extent = extent.union(other)
    projected = [p.crs for p in (*asked, *places) if is_utm(p.crs)]
    limit: Limit | None = features or own
    return _Place(
        extent,
        projected[0] if projected else utm_of(extent),
        features,
        () if limit is None else (limit,),
    )


def _bands(collection: Any, wanted: Sequence[str] | None, call: Call) -> tuple[str, ...]:
    if wanted is None:
        return tuple(collection.bands)
    names = tuple(map(str, wanted))
    if not names or len(set(names)) != len(names):
        raise call.invalid("bands", f"must name different bands, got {list(names)}")
    for name in names:
        collection.band_info(name)
    return names


def _native_grid(  # noqa: PLR0917
    collection: Any,
    bands: Sequence[str],
    extent: Extent,
    crs: str,
    call: Call,
    context: PlanContext,
) -> Grid:
    """Return the grid a cube starts on: that of its finest band."""
    sizes = [collection.band_info(b).resolution for b in bands]
    known = [float(s) for s in sizes if s]
    if not isinstance(collection, Collection) or isinstance(collection.profile, Sentinel2Profile):
        return Grid(crs, min(known))
    if context.env.fetch is None:
        return Grid(crs, min(known, default=10.0))
    # Any other source: pixels stay on the grid of its first scene, and nothing is resampled.
    spec = _spec(call, collection, bands)
    probe = Grid(extent.crs, max(extent.bounds[2] - extent.bounds[0], 1e-9)).cover(extent)
    scenes = find_scenes(spec, [probe], spec.interval, datetime.now(UTC))
    if not scenes:
        raise OpenEOError(
            "NoDataAvailable",
            f"Node {call.node.id!r}: {collection.id} has no items for the asked place and time.",
            node=call.node.id,
        )
    reader = context.env.open_reader()
    boxes = [reader.grid_of(asset) for asset in scenes[0].bands.values()]
    finest = min(boxes, key=lambda b: abs(b.transform.a))
    size = abs(finest.transform.a)
    return Grid(crs_name(finest.crs), size, (finest.transform.c % size, finest.transform.f % size))


def _spec(call: Call, collection: Any, bands: Sequence[str]) -> LoadSpec:
    filters: dict[str, Any] = {}
    for name, callback in (call.args.get("properties") or {}).items():
        if not isinstance(callback, ProcessGraph):
            raise call.invalid("properties", f"{name!r} must be a callback on 'value'")
        filters[name] = Predicate(callback)
    dtype, nodata = collection.cube_type(bands)
    return LoadSpec(
        node=call.node.id,
        source=collection,
        bands=tuple(bands),
        interval=parse_interval(call.args.get("temporal_extent"), call),
        properties=filters,
        dtype=dtype,
        nodata=nodata,
    )


def _cube_meta(call: Call, context: PlanContext, collection: Any) -> CubeMeta:
    bands = _bands(collection, call.args.get("bands"), call)
    place = _place(call, context)
    spec = _spec(call, collection, bands)
    return CubeMeta(
        dims=("t", "bands", "y", "x"),
        bands=bands,
        grid=_native_grid(collection, bands, place.extent, place.crs, call, context),
        extent=place.extent,
        features=place.features,
        limits=place.limits,
        time=call.node.id,
        interval=spec.interval,
        itemsize=spec.dtype.itemsize,
        calibration=_calibration(collection.id),
    )


# Collections of calibrated radar data, by words of their ids.
_CALIBRATED = {"rtc": "gamma0-terrain", "nrb": "gamma0-terrain"}


def _calibration(id: str) -> str | None:
    """Return the coefficient of a collection of radar data; None where its id does not tell."""
    words = re.split(r"[^a-z0-9]+", id.lower())
    return next((_CALIBRATED[word] for word in words if word in _CALIBRATED), None)


def _collection_meta(call: Call, context: PlanContext) -> CubeMeta:
    return _cube_meta(call, context, context.env.catalog.get(call.args["id"]))


def _collection_load(call: Call, context: PlanContext) -> LoadSpec:
    meta = call.meta
    bands = meta.bands if isinstance(meta, CubeMeta) else None
    return _spec(call, context.env.catalog.get(call.args["id"]), bands or ())


def _no_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {}


@process(plan=Rule(meta=_collection_meta, inputs=_no_inputs, load=_collection_load))
def load_collection(
    id: CollectionId,
    spatial_extent: SpatialExtent,
    temporal_extent: TemporalExtent,
    bands: BandNames = None,
    properties: PropertyFilters = None,
) -> CubeData:
    """Load a collection.

    The cube has the dimensions t, bands, y, x. Acquisitions of one day are one time step. The
    pixels stay in the collection's native data type; those without data are missing. All bands
    come on the grid of the finest band asked for, by nearest neighbour.

    The pixel grid is the UTM zone of the features or the bounding box when these are given in
    UTM, else the zone of the centre.

    Parameters
    ----------
    id
        Collection id, see ``GET /collections``.
    spatial_extent
        Bounding box (west, south, east, north, crs), GeoJSON or a vector cube. Null takes the
        place from the filter_spatial, filter_bbox or aggregate_spatial that follow.
    temporal_extent
        Start (included) and end (not included); either may be null.
    bands
        Band names or common names, in the order wanted; null is all.
    properties
        Conditions on item properties, each a callback on ``value``, for example on
        ``eo:cloud_cover``. ``tileId`` is the Sentinel-2 tile.

    Returns
    -------
    CubeData
        A raster data cube.
    """
    raise _read_by_executor("load_collection")


@lru_cache(maxsize=16)
def _stac(url: str, bands: tuple[str, ...] | None) -> Any:
    return collection_from_stac(url, list(bands) if bands else None)


def _stac_source(call: Call) -> Any:
    bands = call.args.get("bands")
    return _stac(call.args["url"], tuple(bands) if bands else None)


def _stac_meta(call: Call, context: PlanContext) -> CubeMeta:
    if context.env.fetch is not None:
        return _cube_meta(call, context, _stac_source(call))
    # Only validating: nothing is fetched, so the source's bands and grid are not known.
    place = _place(call, context)
    bands = call.args.get("bands")
    return CubeMeta(
        dims=("t", "bands", "y", "x"),
        bands=tuple(bands) if bands else None,
        grid=Grid(place.crs, 10.0),
        extent=place.extent,
        features=place.features,
        limits=place.limits,
        time=call.node.id,
        interval=parse_interval(call.args.get("temporal_extent"), call),
    )


def _stac_load(call: Call, context: PlanContext) -> LoadSpec | None:
    if context.env.fetch is None or not isinstance(call.meta, CubeMeta):
        return None
    return _spec(call, _stac_source(call), call.meta.bands or ())


@process(plan=Rule(meta=_stac_meta, inputs=_no_inputs, load=_stac_load))
def load_stac(
    url: Uri,
    spatial_extent: SpatialExtent = None,
    temporal_extent: TemporalExtent = None,
    bands: BandNames = None,
    properties: PropertyFilters = None,
) -> CubeData:
    """Load a STAC item, collection, catalog or API.

    Like load_collection, from any place. Sentinel-2 L2A items of the well-known catalogues
    (Earth Search, Planetary Computer, CDSE) are understood as such; pixels of other sources stay
    on the grid of the first item.

    Parameters
    ----------
    url
        Address of the item, collection or catalog; ``…#collection-id`` for a STAC API.
    spatial_extent
        As in load_collection.
    temporal_extent
        As in load_collection.
    bands
        Band names; null is all.
    properties
        As in load_collection.

    Returns
    -------
    CubeData
        A raster data cube.
    """
    raise _read_by_executor("load_stac")


def _read_by_executor(name: str) -> OpenEOError:
    return OpenEOError(
        "Internal", f"{name} is read window by window and has no value of its own.", status=500
    )
