"""Which collections exist, how they describe themselves, and which source each one reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from . import sentinel2
from .errors import OpenEOError
from .stac_api import ApiSource
from .stac_bands import GenericProfile, describe_bands
from .stac_describe import collection_document
from .stac_source import (
    SIMULATED,
    Area,
    BandAsset,
    BandInfo,
    Profile,
    PropertyFilter,
    Scene,
    Source,
    as_utc,
    is_url,
    resolve_href,
)
from .stac_static import StaticSource, read_json

__all__ = ["BandInfo", "Catalog", "Collection", "collection_from_stac"]

SENTINEL2_L2A = "SENTINEL2_L2A"

# Stored reflectances stay below 32768 and classes below 12, and 0 is a value once the offset is
# taken off: so missing pixels become 65535, as in the files of the Copernicus back-end.
_SENTINEL2_TYPE = ("uint16", 65535)
_SENTINEL2_LICENSE = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"

# Properties that back-ends filter by under another name than the item's own.
_TILE_PROPERTIES = ("tileId", "s2:mgrs_tile")


@dataclass(frozen=True)
class Collection:
    """A collection: its bands, its source, and how items become scenes.

    Attributes
    ----------
    id
        Collection id.
    band_infos
        Descriptions of the bands, in the collection's order.
    source
        Where items come from.
    profile
        How items become scenes.
    title, description
        Texts of the collection document.
    stated_type
        dtype and nodata of cubes where the collection fixes them; None derives them from bands.
    extent
        STAC extent as the source states it; None: that of the items, or of the mission.
    license, license_url
        SPDX identifier or ``"other"``, and where the text is.
    """

    id: str
    band_infos: tuple[BandInfo, ...]
    source: Source
    profile: Profile
    title: str = ""
    description: str = ""
    stated_type: tuple[str, float] | None = None
    extent: Mapping[str, Any] | None = None
    license: str = "other"
    license_url: str | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names, in the collection's order."""
        return tuple(band.name for band in self.band_infos)

    def band_info(self, name: str) -> BandInfo:
        """Return the description of a band, found by name or else by common name.

        Raises
        ------
        OpenEOError
            ProcessParameterInvalid for a band that the collection does not have.
        """
        for key in ("name", "common_name"):
            for band in self.band_infos:
                if getattr(band, key) == name:
                    return band
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"Band {name!r} is not part of {self.id}; it has {', '.join(self.bands)}.",
        )

    def cube_type(self, bands: Sequence[str]) -> tuple[np.dtype[Any], float | None]:
        """Return dtype and nodata value of a cube of these bands.

        Stored types are kept where all bands agree. Else integers are widened until there is
        room for a nodata value that is no pixel's value; floats need none (None: NaN is it).
        """
        if self.stated_type is not None:
            return np.dtype(self.stated_type[0]), self.stated_type[1]
        return common_type([self.band_info(name) for name in bands])

    def describe(self) -> dict[str, Any]:
        """Return the openEO collection document (``GET /collections/{id}``), without links to us.

        A STAC Collection with ``cube:dimensions`` and summaries of the bands.
        """
        return collection_document(self)

    def scenes(
        self,
        areas: Sequence[Area],
        start: date,
        end: date,
        bands: Sequence[str] | None = None,
        properties: Mapping[str, PropertyFilter] | None = None,
    ) -> list[Scene]:
        """Return the scenes that touch an area, ordered by time and id.

        Parameters
        ----------
        areas
            WGS84 boxes (west, south, east, north).
        start, end
            Days or times; the end is not included.
        bands
            Scenes that have none of these are left out, and scenes keep only these.
        properties
            Conditions on item properties. ``tileId`` is the MGRS tile, whatever the catalogue
            calls it. An item without the property does not meet the condition.
        """
        wanted = None if bands is None else {self.band_info(name).name for name in bands}
        first, last = as_utc(start), as_utc(end)
        days = (first.date(), (last + timedelta(days=1, microseconds=-1)).date())
        found = []
        for item in self.profile.select(self.source.search(areas, *days)):
            scene = self.profile.scene(item)
            if not first <= scene.datetime < last:
                continue
            if wanted is not None:
                scene = scene.with_bands({k: v for k, v in scene.bands.items() if k in wanted})
            if scene.bands and all(
                _meets(scene, name, condition) for name, condition in (properties or {}).items()
            ):
                found.append(scene)
        return sentinel2.newest_processing(found)


class Catalog:
    """The collections that the back-end serves.

    Parameters
    ----------
    collections
        Collections with different ids.
    """

    def __init__(self, collections: Iterable[Collection]):
        self._collections = {c.id: c for c in collections}

    @classmethod
    def from_settings(cls, sources: Mapping[str, str], archive_dir: Path) -> Catalog:
        """Return the catalogue that the settings describe.

        Parameters
        ----------
        sources
            Source by collection id: ``"simulated"``, a folder or document of STAC items, or the
            address of a STAC API, with ``#collection-id`` where it has several collections.
            SENTINEL2_L2A is there in any case, simulated by default.
        archive_dir
            Where the simulated archive keeps its scenes.

        Raises
        ------
        OpenEOError
            SourceUnavailable or SourceInvalid for a source that cannot be used.
        """
        return cls(
            _sentinel2(place, archive_dir)
            if name == SENTINEL2_L2A
            else replace(collection_from_stac(place), id=name)
            for name, place in {SENTINEL2_L2A: SIMULATED, **sources}.items()
        )

    def ids(self) -> tuple[str, ...]:
        """Return the collection ids, in order of the settings."""
        return tuple(self._collections)

    def get(self, collection_id: str) -> Collection:
        """Return a collection.

        Raises
        ------
        OpenEOError
            CollectionNotFound (404).
        """
        try:
            return self._collections[collection_id]
        except KeyError:
            raise OpenEOError(
                "CollectionNotFound",
                f"Collection {collection_id!r} does not exist here. There is "
                f"{', '.join(self.ids())}; use load_stac to read any other STAC source.",
                status=404,
            ) from None


def collection_from_stac(url_or_path: str, bands: Sequence[str] | None = None) -> Collection:
    """Return a collection that reads any STAC source, for ``load_stac``.

    Parameters
    ----------
    url_or_path
        A folder, an Item, ItemCollection, Catalog or Collection document, or a STAC API: its
        landing page with ``#collection-id``, or the address of one of its collections.
    bands
        Names of the bands in this order, as the source calls them; for Sentinel-2 L2A also as
        SENTINEL2_L2A calls them. None takes all.

    Raises
    ------
    OpenEOError
        SourceUnavailable, SourceInvalid, or ProcessParameterInvalid for an unknown band.
    """
    source, document = _open_source(url_or_path)
    items = source.first_items() if isinstance(source, ApiSource) else source.items()
    if not items:
        raise OpenEOError(
            "SourceInvalid", f"The STAC source {url_or_path} has no items; nothing can be loaded."
        )
    document = document or {}
    collection = Collection(
        id=str(document.get("id") or items[0].get("collection") or "stac"),
        band_infos=(),
        source=source,
        profile=GenericProfile(),
        title=str(document.get("title") or ""),
        description=str(document.get("description") or "Items of a STAC source."),
        extent=document.get("extent"),
        license=str(document.get("license") or "other"),
    )
    if all(map(sentinel2.looks_like_sentinel2_l2a, items)):
        present = {name for item in items for name in sentinel2.bands_of(item)}
        names = bands or [name for name in sentinel2.BAND_NAMES if name in present]
        return _with_sentinel2_bands(collection, names)
    infos = _completed(describe_bands(items, bands or ()), items)
    if not infos:
        raise OpenEOError(
            "SourceInvalid",
            f"The STAC source {url_or_path} has no bands to read: its items need assets of type "
            "GeoTIFF or JPEG 2000.",
        )
    collection = replace(collection, band_infos=infos)
    if bands is not None:
        collection = replace(
            collection, band_infos=tuple(collection.band_info(name) for name in bands)
        )
    return replace(collection, profile=GenericProfile(collection.bands))


def common_type(bands: Sequence[BandInfo]) -> tuple[np.dtype[Any], float | None]:
    """Return a dtype and nodata value that hold the stored values of all bands.

    See :meth:`Collection.cube_type`.
    """
    kinds = [np.dtype(band.dtype) for band in bands]
    dtype = np.result_type(*kinds)
    if dtype.kind == "f":
        return dtype, None
    stated = {band.nodata for band in bands}
    nodata = stated.pop() if len(stated) == 1 else None
    if len(set(kinds)) == 1 and nodata is not None and _holds(dtype, nodata):
        return dtype, nodata
    # A value that is nodata in one band may be a valid one in another: take the next larger
    # type, in which one value is free for sure.
    wide = np.dtype(f"{dtype.kind}{min(8, 2 * dtype.itemsize)}")
    limits = np.iinfo(wide)
    return wide, float(limits.max if wide.kind == "u" else limits.min)


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    limits = np.iinfo(dtype)
    return bool(float(value).is_integer() and limits.min <= value <= limits.max)


def _sentinel2(place: str, archive_dir: Path) -> Collection:
    simulated = place == SIMULATED
    if simulated:
        # Imported late: who reads real scenes does not need the generator.
        from .archive import SimulatedArchive  # noqa: PLC0415

        source: Source = SimulatedArchive(archive_dir)
    else:
        source, _ = _open_source(place)
        if isinstance(source, ApiSource) and source.collection is None:
            # What Earth Search, Planetary Computer and CDSE all call it.
            source = ApiSource(source.url, "sentinel-2-l2a")
    where = place.split("?", maxsplit=1)[0] if is_url(place) else "files on this machine"
    what = "Sentinel-2 L2A surface reflectance, scene classification, aerosol and water vapour"
    return Collection(
        id=SENTINEL2_L2A,
        # The archive simulates no water vapour.
        band_infos=tuple(b for b in sentinel2.BANDS if not (simulated and b.name == "WVP")),
        source=source,
        profile=sentinel2.Sentinel2Profile(),
        title=f"Sentinel-2 L2A{', simulated' if simulated else ''}",
        description=(
            f"Simulated {what}: made up by a generator on this machine, for any place and date. "
            "No satellite has seen these pixels; use them to try out and to test."
            if simulated
            else f"{what}, read from {where}. Reflectances x 10000, with the offset of processing "
            "baseline 04.00 and later taken off and clipped at 0."
        ),
        stated_type=_SENTINEL2_TYPE,
        license="Apache-2.0" if simulated else "other",
        license_url=None if simulated else _SENTINEL2_LICENSE,
    )


def _with_sentinel2_bands(collection: Collection, bands: Sequence[str]) -> Collection:
    infos = []
    for name in bands:
        info = sentinel2.band_info(name)
        if info is None:
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"Band {name!r} is not part of {collection.id}; it has "
                f"{', '.join(sentinel2.BAND_NAMES)}.",
            )
        infos.append(replace(info, name=name))
    return replace(
        collection,
        band_infos=tuple(infos),
        profile=sentinel2.Sentinel2Profile(tuple(bands)),
        stated_type=_SENTINEL2_TYPE,
        license_url=_SENTINEL2_LICENSE,
    )


def _open_source(place: str) -> tuple[StaticSource | ApiSource, dict[str, Any] | None]:
    """Return the source at a place, and the collection document if it is at hand."""
    if not is_url(place):
        source = StaticSource(place)
        return source, source.collection()
    address, _, fragment = place.partition("#")
    if fragment:
        return ApiSource(address, fragment), None
    document = read_json(address)
    links = {link.get("rel"): link for link in document.get("links") or ()}
    if document.get("type") == "Collection" and "items" in links and "root" in links:
        root = resolve_href(address, str(links["root"]["href"]))
        return ApiSource(root, str(document["id"])), document
    if "search" in links or "conformsTo" in document:
        return ApiSource(address), None
    source = StaticSource(address)
    return source, source.collection()


def _completed(
    bands: Sequence[BandInfo], items: Sequence[Mapping[str, Any]]
) -> tuple[BandInfo, ...]:
    """Add dtype, nodata and resolution from a file's header where the metadata lack them."""
    # Imported late: GDAL is not needed to say which collections there are.
    from .rasters import open_raster  # noqa: PLC0415

    names = tuple(band.name for band in bands)
    examples: dict[str, BandAsset] = {}
    for item in items:
        for name, asset in GenericProfile(names).scene(item).bands.items():
            examples.setdefault(name, asset)
    completed = []
    for band in bands:
        if not band.dtype or band.nodata is None or band.resolution is None:
            asset = examples[band.name]
            raster = open_raster(asset)
            header = raster.header
            raster.close()
            nodata = header.nodata[asset.band_index - 1]
            band = replace(  # noqa: PLW2901  # the same band, better known
                band,
                dtype=header.dtypes[asset.band_index - 1],
                nodata=nodata if band.nodata is None else band.nodata,
                resolution=band.resolution or abs(header.transform.a),
            )
        completed.append(band)
    return tuple(completed)


def _meets(scene: Scene, name: str, condition: PropertyFilter) -> bool:
    value = scene.tile if name in _TILE_PROPERTIES else scene.properties.get(name)
    return value is not None and bool(condition(value))
