"""STAC items of any kind as scenes: band names, pixel grids and nodata from their metadata."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .stac_source import BandAsset, BandInfo, Scene, item_bbox, item_datetime

__all__ = [
    "GenericProfile",
    "asset_bands",
    "band_asset",
    "describe_bands",
    "is_data",
    "item_epsg",
    "raster_fields",
    "self_href",
]

_RASTER_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2")
# The STAC data types that are numpy's, too; of the others (cint16, other) the file tells.
_DATA_TYPES = {
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64"),
}
_NOT_DATA = {"thumbnail", "overview", "visual", "metadata"}
_NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


@dataclass(frozen=True)
class GenericProfile:
    """Items of a catalogue that nothing special is known about.

    A band is called by its name in ``bands`` or ``eo:bands`` if only one asset of the item has
    that name, else by the asset's key (``key:name`` inside a file of several bands). Cubes hold
    the stored values: scale and offset are described, not applied.

    Attributes
    ----------
    bands
        Names to keep, in this order; None keeps all.
    """

    bands: tuple[str, ...] | None = None

    def select(self, items: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Return all items: nothing is known that would tell them apart."""
        return items

    def scene(self, item: Mapping[str, Any]) -> Scene:
        """Normalise an item; bands it does not have are left out."""
        epsg = item_epsg(item)
        found = {
            name: band_asset(item, asset, epsg=epsg, index=index)
            for name, asset, index in _named_assets(item, self.bands or ())
        }
        if self.bands is not None:
            found = {name: found[name] for name in self.bands if name in found}
        return Scene(
            id=str(item["id"]),
            datetime=item_datetime(item),
            bbox=item_bbox(item),
            geometry=item.get("geometry"),
            properties=item.get("properties") or {},
            epsg=epsg or next((a.epsg for a in found.values() if a.epsg), None),
            bands=found,
            href=self_href(item),
        )


def describe_bands(
    items: Sequence[Mapping[str, Any]], wanted: Sequence[str] = ()
) -> tuple[BandInfo, ...]:
    """Return the bands of a catalogue, as its items describe them, in the order of appearance.

    Names in ``wanted`` go before the names that :class:`GenericProfile` would give. A dtype that
    the metadata do not tell is empty.
    """
    found: dict[str, BandInfo] = {}
    for item in items:
        for name, asset, index in _named_assets(item, wanted):
            if name not in found:
                found[name] = _info(name, asset, index)
    return tuple(found.values())


def asset_bands(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the asset's ``bands`` (STAC 1.1) or ``eo:bands``; empty if it has neither."""
    return list(asset.get("bands") or asset.get("eo:bands") or ())


def is_data(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is a raster to read values from: no preview, no metadata file."""
    roles = set(asset.get("roles") or ())
    if roles & _NOT_DATA:
        return False
    media = str(asset.get("type") or "").split(";")[0].strip().lower()
    if media:
        return media in _RASTER_TYPES
    return bool(re.search(r"\.(tiff?|jp2)$", str(asset["href"]).split("?")[0].lower()))


def item_epsg(item: Mapping[str, Any]) -> int | None:
    """Return the EPSG code that an item states for all its assets."""
    return _epsg(item.get("properties") or {})


def self_href(item: Mapping[str, Any]) -> str | None:
    """Return the address of the item document."""
    for link in item.get("links") or ():
        if link.get("rel") == "self":
            return str(link["href"])
    return None


def band_asset(
    item: Mapping[str, Any],
    asset: Mapping[str, Any],
    *,
    epsg: int | None,
    index: int = 1,
    offset: float = 0.0,
    default_nodata: float | None = None,
) -> BandAsset:
    """Return one band of an asset, with what ``proj:*`` and ``raster:*`` say of its pixels.

    Parameters
    ----------
    epsg
        Code of the item; the asset's own goes before it.
    index
        1-based band in the file.
    offset
        See :class:`BandAsset`.
    default_nodata
        Nodata value where the metadata name none.
    """
    properties = item.get("properties") or {}
    transform = asset.get("proj:transform") or properties.get("proj:transform")
    shape = asset.get("proj:shape") or properties.get("proj:shape")
    nodata = _nodata(asset, index)
    return BandAsset(
        href=str(asset["href"]),
        band_index=index,
        nodata=default_nodata if nodata is None else nodata,
        offset=offset,
        transform=None if transform is None else tuple(float(v) for v in transform[:6]),
        shape=None if shape is None else (int(shape[0]), int(shape[1])),
        epsg=_epsg(asset) or epsg,
        alternate=_alternate(asset),
    )


def _named_assets(
    item: Mapping[str, Any], wanted: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """Yield (band name, asset, 1-based index); names in ``wanted`` go before the rule."""
    assets = {key: a for key, a in (item.get("assets") or {}).items() if is_data(a)}
    names = Counter(str(b.get("name")) for a in assets.values() for b in asset_bands(a))
    for key, asset in assets.items():
        bands = asset_bands(asset)
        if len(bands) <= 1:
            name = str(bands[0].get("name") or key) if bands else key
            yield (key if names[name] > 1 or key in wanted else name), asset, 1
            continue
        for index, band in enumerate(bands, start=1):
            name = str(band.get("name") or index)
            yield (f"{key}:{name}" if names[name] > 1 else name), asset, index


def raster_fields(asset: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    """Return what is said of a 1-based band on the asset, in ``raster:bands`` and in ``bands``.

    The later go before the former; keys come without the prefix ``raster:``.
    """
    merged: dict[str, Any] = {
        k.removeprefix("raster:"): v for k, v in asset.items() if isinstance(k, str)
    }
    for key in ("raster:bands", "bands"):
        bands = asset.get(key) or ()
        if len(bands) >= index:
            merged.update({k.removeprefix("raster:"): v for k, v in bands[index - 1].items()})
    return merged


def _nodata(asset: Mapping[str, Any], index: int) -> float | None:
    value = raster_fields(asset, index).get("nodata")
    if isinstance(value, str):
        value = _NOT_FINITE.get(value.lower(), value)
    return None if value is None else float(value)


def _info(name: str, asset: Mapping[str, Any], index: int) -> BandInfo:
    raster = raster_fields(asset, index)
    data_type = str(raster.get("data_type") or "")
    bands = asset_bands(asset)
    eo = {k.removeprefix("eo:"): v for k, v in (bands[index - 1] if bands else {}).items()}
    transform = asset.get("proj:transform")
    resolution = abs(float(transform[0])) if transform else raster.get("spatial_resolution")
    if resolution is None:
        resolution = raster.get("gsd")
    return BandInfo(
        name=name,
        resolution=None if resolution is None else float(resolution),
        dtype=data_type if data_type in _DATA_TYPES else "",
        nodata=_nodata(asset, index),
        description=str(eo.get("description") or asset.get("title") or ""),
        common_name=eo.get("common_name"),
        center_wavelength=eo.get("center_wavelength"),
        full_width_half_max=eo.get("full_width_half_max"),
        scale=raster.get("scale"),
        offset=raster.get("offset"),
    )


def _epsg(fields: Mapping[str, Any]) -> int | None:
    if fields.get("proj:epsg"):
        return int(fields["proj:epsg"])
    code = str(fields.get("proj:code") or "")
    return int(code.removeprefix("EPSG:")) if re.fullmatch(r"EPSG:\d+", code) else None


def _alternate(asset: Mapping[str, Any]) -> str | None:
    for other in (asset.get("alternate") or {}).values():
        href = str(other.get("href") or "")
        if href.startswith(("https://", "http://")) and href != asset["href"]:
            return href
    return None
