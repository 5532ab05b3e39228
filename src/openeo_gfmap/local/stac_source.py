"""What every source of scenes has in common: bands, scenes, the ``Source`` protocol, and places.

A source answers a search with plain STAC items; a profile (:mod:`sentinel2`, :mod:`stac_bands`)
turns an item into a :class:`Scene`, the only thing the engine sees.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from .errors import OpenEOError

__all__ = [
    "SIMULATED",
    "Area",
    "BandAsset",
    "BandInfo",
    "Profile",
    "PropertyFilter",
    "Scene",
    "Source",
    "absolute_item",
    "as_utc",
    "is_url",
    "item_bbox",
    "item_datetime",
    "resolve_href",
    "select_items",
    "split_antimeridian",
    "touches",
]

SIMULATED = "simulated"
"""The place of the simulated archive, where others have an address or a folder."""

Area = tuple[float, float, float, float]
"""West, south, east, north in degrees (WGS84); west > east crosses the antimeridian."""


@dataclass(frozen=True)
class BandInfo:
    """A band of a collection.

    Attributes
    ----------
    name
        The collection's own name, for example ``"B04"``.
    resolution
        Native pixel size in units of the scene's CRS (metres for Sentinel-2); None if unknown.
    dtype
        numpy dtype name of the stored values.
    nodata
        Stored value of missing pixels; None if every value is a valid one.
    common_name, center_wavelength, full_width_half_max
        As in the STAC ``eo`` extension; wavelengths in µm.
    scale, offset
        Physical value = stored value x scale + offset, for information: cubes hold stored values.
    """

    name: str
    resolution: float | None = None
    dtype: str = "uint16"
    nodata: float | None = None
    description: str = ""
    common_name: str | None = None
    center_wavelength: float | None = None
    full_width_half_max: float | None = None
    scale: float | None = None
    offset: float | None = None


@dataclass(frozen=True)
class BandAsset:
    """One band of one scene: where its pixels lie and how to read them.

    Attributes
    ----------
    href
        Local path, or an ``http(s)://`` or ``s3://`` address.
    band_index
        1-based band inside the file.
    nodata
        Stored value of missing pixels; None leaves it to the file's header.
    offset
        Added to the stored values on reading, the sum clipped at 0. Missing pixels stay missing.
    transform
        ``(a, b, c, d, e, f)`` of the affine pixel to CRS transform; None: see the file's header.
    shape
        Rows and columns; None: see the file's header.
    epsg
        Code of the CRS; None: see the file's header.
    alternate
        Another address of the same file, used where ``href`` needs credentials that are not set.
    """

    href: str
    band_index: int = 1
    nodata: float | None = 0
    offset: float = 0
    transform: tuple[float, ...] | None = None
    shape: tuple[int, int] | None = None
    epsg: int | None = None
    alternate: str | None = None


@dataclass(frozen=True)
class Scene:
    """One acquisition: a STAC item, normalised.

    Attributes
    ----------
    id
        Item id.
    datetime
        Acquisition time, UTC.
    bbox
        WGS84 bounds; None for an item without a place, which then matches every area.
    geometry
        GeoJSON footprint in WGS84.
    properties
        The item's properties.
    epsg
        Native CRS where the item says so.
    bands
        Assets by the collection's band name; only those that the item has.
    href
        Address of the item itself, for ``derived_from`` links.
    tile
        MGRS tile such as ``"31UFS"``, for Sentinel-2.
    """

    id: str
    datetime: datetime
    bbox: Area | None
    geometry: Mapping[str, Any] | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    epsg: int | None = None
    bands: Mapping[str, BandAsset] = field(default_factory=dict)
    href: str | None = None
    tile: str | None = None

    def touches(self, area: Area) -> bool:
        """Whether the scene's bounds touch an area (WGS84)."""
        return self.bbox is None or touches(self.bbox, area)

    def with_bands(self, bands: Mapping[str, BandAsset]) -> Scene:
        """Return the same scene with other bands."""
        return replace(self, bands=bands)


class Source(Protocol):
    """A folder of STAC items, a STAC API, or the simulated archive."""

    def search(self, areas: Sequence[Area], start: date, end: date) -> list[dict[str, Any]]:
        """Return STAC items with absolute hrefs, sorted by datetime and id.

        Their bbox touches one of the areas, and ``start <= datetime < end``.
        """
        ...


class Profile(Protocol):
    """How the items of a collection become scenes."""

    def select(self, items: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Return the items that belong to the collection."""
        ...

    def scene(self, item: Mapping[str, Any]) -> Scene:
        """Normalise an item."""
        ...


def as_utc(moment: date | datetime | str) -> datetime:
    """Return a UTC datetime: a date is its midnight, a time without zone is UTC.

    Raises
    ------
    ValueError
        For a text that is no RFC 3339 date or date-time.
    """
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.strip())
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def item_datetime(item: Mapping[str, Any]) -> datetime:
    """Return when an item was acquired (UTC): its datetime, else its start.

    Raises
    ------
    ValueError
        If the item says neither.
    """
    properties = item.get("properties") or {}
    text = properties.get("datetime") or properties.get("start_datetime")
    if not text:
        raise ValueError(
            f"STAC item {item.get('id')!r} has neither datetime nor start_datetime; one is needed."
        )
    return as_utc(text)


def item_bbox(item: Mapping[str, Any]) -> Area | None:
    """Return an item's WGS84 bounds, from its bbox or else its geometry; None if it has neither."""
    bbox = item.get("bbox")
    if bbox:
        half = len(bbox) // 2  # a 3-D box has two heights between
        return (float(bbox[0]), float(bbox[1]), float(bbox[half]), float(bbox[half + 1]))
    geometry = item.get("geometry")
    if not geometry:
        return None
    points = list(_positions(geometry))
    if not points:
        return None
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return (min(xs), min(ys), max(xs), max(ys))


def _positions(geometry: Mapping[str, Any]) -> Iterable[Sequence[float]]:
    for part in geometry.get("geometries", ()):
        yield from _positions(part)
    stack: list[Any] = [geometry.get("coordinates") or []]
    while stack:
        entry = stack.pop()
        if entry and isinstance(entry[0], int | float):
            yield entry
        else:
            stack.extend(entry)


def split_antimeridian(area: Area) -> list[Area]:
    """Return the area as one box, or as two if it crosses the antimeridian (west > east)."""
    west, south, east, north = area
    if west <= east:
        return [area]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def touches(a: Area, b: Area) -> bool:
    """Whether two WGS84 boxes touch; either may cross the antimeridian."""
    return any(
        p[0] <= q[2] and q[0] <= p[2] and p[1] <= q[3] and q[1] <= p[3]
        for p in split_antimeridian(a)
        for q in split_antimeridian(b)
    )


def select_items(
    items: Iterable[dict[str, Any]], areas: Sequence[Area], start: date, end: date
) -> list[dict[str, Any]]:
    """Return the items that touch an area within ``[start, end)``, sorted by datetime and id."""
    first, last = as_utc(start), as_utc(end)
    found = []
    for item in items:
        moment = item_datetime(item)
        if not first <= moment < last:
            continue
        bbox = item_bbox(item)
        if bbox is None or any(touches(bbox, area) for area in areas):
            found.append((moment, str(item["id"]), item))
    found.sort(key=lambda entry: entry[:2])
    return [item for _, _, item in found]


PropertyFilter = Callable[[Any], bool]
"""Tells whether an item's property value is wanted."""


def is_url(place: str) -> bool:
    """Whether a place is an ``http(s)`` address and not a local path."""
    return place.startswith(("http://", "https://"))


def resolve_href(place: str, href: str) -> str:
    """Return a link's target as an absolute path or address, seen from the document at place.

    Raises
    ------
    OpenEOError
        SourceInvalid if a document on the web names a file of this machine.
    """
    if href.startswith("file://"):
        if is_url(place):
            raise OpenEOError(
                "SourceInvalid",
                f"{place} links to {href}: a document on the web must not name local files.",
            )
        return unquote(urlsplit(href).path)
    if "://" in href:
        return href
    if is_url(place):
        return urljoin(place, href)
    return os.path.normpath(Path(place).parent / href)


def absolute_item(item: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the item with absolute hrefs and a ``self`` link, as read from place.

    Raises
    ------
    OpenEOError
        SourceInvalid if time or place of the item cannot be understood.
    """
    links = [
        {**link, "href": resolve_href(place, str(link["href"]))} for link in item.get("links", ())
    ]
    if not any(link.get("rel") == "self" for link in links):
        links.append({"rel": "self", "href": place, "type": "application/geo+json"})
    assets = {
        key: {**asset, "href": resolve_href(place, str(asset["href"]))}
        for key, asset in item["assets"].items()
    }
    result = {**item, "links": links, "assets": assets}
    try:
        item_datetime(result)
        item_bbox(result)
    except (ValueError, TypeError, IndexError) as error:
        raise OpenEOError(
            "SourceInvalid",
            f"The STAC item {item['id']!r} in {place} cannot be used: {error}",
            status=500,
        ) from error
    return result
