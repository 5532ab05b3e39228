"""Sentinel-2 L2A: one table of bands, and the rules that make every catalogue's items alike.

Earth Search calls its assets by colour (``blue``, ``nir08``), Planetary Computer by band
(``B02``), the Copernicus Data Space by band and resolution (``B02_10m``). Here they all get
the band names of the Copernicus Data Space's openEO back-end.

From processing baseline 04.00 on, reflectances are stored 1000 too high (BOA_ADD_OFFSET), so
that slightly negative values fit into unsigned integers. Back-ends take this off again, some
catalogues have done so already: :func:`reflectance_offset` decides.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .errors import OpenEOError
from .stac_bands import asset_bands, band_asset, is_data, item_epsg, raster_fields, self_href
from .stac_source import BandAsset, BandInfo, Scene, item_bbox, item_datetime

__all__ = [
    "BANDS",
    "BAND_NAMES",
    "SCL_CLASSES",
    "Sentinel2Profile",
    "band_info",
    "bands_of",
    "canonical_name",
    "looks_like_sentinel2_l2a",
    "newest_processing",
    "processing_baseline",
    "reflectance_offset",
    "tile_id",
]

_log = logging.getLogger(__name__)

BOA_ADD_OFFSET = -1000
OFFSET_SINCE = datetime(2022, 1, 25, tzinfo=UTC)
"""First day on which ESA processed with baseline 04.00."""


def _reflectance(
    name: str, resolution: float, common: str, wavelength: float, width: float, *, text: str
) -> BandInfo:
    return BandInfo(
        name, resolution, "uint16", 0, text, common, wavelength, width, scale=0.0001, offset=0.0
    )


# Wavelengths and widths (µm) are those of Sentinel-2A in ESA's user handbook. AOT and WVP have
# the resolution at which the Copernicus back-end reads them.
BANDS: tuple[BandInfo, ...] = (
    _reflectance("B01", 60, "coastal", 0.443, 0.027, text="Coastal aerosol"),
    _reflectance("B02", 10, "blue", 0.49, 0.098, text="Blue"),
    _reflectance("B03", 10, "green", 0.56, 0.045, text="Green"),
    _reflectance("B04", 10, "red", 0.665, 0.038, text="Red"),
    _reflectance("B05", 20, "rededge071", 0.704, 0.019, text="Red edge 1"),
    _reflectance("B06", 20, "rededge075", 0.74, 0.018, text="Red edge 2"),
    _reflectance("B07", 20, "rededge078", 0.783, 0.028, text="Red edge 3"),
    _reflectance("B08", 10, "nir", 0.842, 0.145, text="Near infrared, wide"),
    _reflectance("B8A", 20, "nir08", 0.865, 0.033, text="Near infrared, narrow"),
    _reflectance("B09", 60, "nir09", 0.945, 0.026, text="Water vapour band"),
    _reflectance("B11", 20, "swir16", 1.61, 0.143, text="Short-wave infrared 1.6 µm"),
    _reflectance("B12", 20, "swir22", 2.19, 0.242, text="Short-wave infrared 2.2 µm"),
    BandInfo("SCL", 20, "uint8", 0, "Scene classification map, classes 1 to 11"),
    BandInfo("AOT", 20, "uint16", 0, "Aerosol optical thickness", scale=0.001, offset=0.0),
    BandInfo("WVP", 10, "uint16", 0, "Water vapour, cm", scale=0.001, offset=0.0),
)
BAND_NAMES: tuple[str, ...] = tuple(band.name for band in BANDS)
_BY_NAME = {band.name: band for band in BANDS}

SCL_CLASSES: Mapping[int, str] = {
    0: "no_data",
    1: "saturated_or_defective",
    2: "dark_area_pixels",
    3: "cloud_shadows",
    4: "vegetation",
    5: "not_vegetated",
    6: "water",
    7: "unclassified",
    8: "cloud_medium_probability",
    9: "cloud_high_probability",
    10: "thin_cirrus",
    11: "snow",
}

# The "-jp2" twins of Earth Search lie in a bucket whose reader pays; true-colour images are
# stretched to 8 bits, yet say that they hold B04, B03 and B02.
_LEFT_OUT = re.compile(r"-jp2$|^visual|^TCI|preview")
# What catalogues call a band, beside its own name.
_ALIASES: Mapping[str, str] = {
    **{band.common_name: band.name for band in BANDS if band.common_name},
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "scl": "SCL",
    "aot": "AOT",
    "wvp": "WVP",
}
_WITH_RESOLUTION = re.compile(r"(?P<band>[A-Z0-9]{3})_(?P<resolution>10|20|60)m")
_PRODUCT_BASELINE = re.compile(r"_N(\d\d)\.?(\d\d)(?:_|$|\.)")
_PRODUCT_TILE = re.compile(r"(?:^|_)T?(\d\d[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?:_|$|\.)")


@dataclass(frozen=True)
class Sentinel2Profile:
    """Items of any Sentinel-2 L2A catalogue as scenes.

    Attributes
    ----------
    bands
        Names that the scenes' bands get. Names of the catalogue (``red``, ``B02_20m``) are
        understood beside the collection's own, so that ``load_stac`` can use them.
    """

    bands: tuple[str, ...] = BAND_NAMES

    def select(self, items: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Return the items that are Sentinel-2 L2A scenes.

        An API that is asked for one collection may answer with others, and a folder may hold
        anything: another mission's ``red`` would pass for B04 and get an offset it must not have.

        Raises
        ------
        OpenEOError
            SourceInvalid: there are items, and none is such a scene.
        """
        kept = [item for item in items if looks_like_sentinel2_l2a(item)]
        others = sorted({str(i.get("collection")) for i in items if i not in kept})
        if others and not kept:
            raise OpenEOError(
                "SourceInvalid",
                f"None of the {len(items)} items that the source has here is a Sentinel-2 L2A "
                f"scene; they are of {', '.join(others)}. Name a collection of Sentinel-2 L2A "
                "behind the API's address (https://…/v1#sentinel-2-l2a), or read this one with "
                "load_stac.",
            )
        if others:
            _log.warning(
                "Left out %d of %d items that are no Sentinel-2 L2A scenes (collections: %s).",
                len(items) - len(kept), len(items), ", ".join(others),
            )  # fmt: skip
        return kept

    def scene(self, item: Mapping[str, Any]) -> Scene:
        """Normalise an item; bands it does not have are left out."""
        properties = item.get("properties") or {}
        epsg = item_epsg(item)
        native = _native_bands(item)
        found: dict[str, BandAsset] = {}
        for name in self.bands:
            band = canonical_name(name)
            place = None if band is None else native.get(band)
            if name in item["assets"] and name not in BAND_NAMES:
                place = (name, 1)  # asked for by the asset's own name, whatever its resolution
            if band is not None and place is not None:
                found[name] = _band_asset(item, band, *place, epsg)
        return Scene(
            id=str(item["id"]),
            datetime=item_datetime(item),
            bbox=item_bbox(item),
            geometry=item.get("geometry"),
            properties=properties,
            epsg=epsg or next((a.epsg for a in found.values() if a.epsg), None),
            bands=found,
            href=self_href(item),
            tile=tile_id(item),
        )


def canonical_name(name: str) -> str | None:
    """Return the band that a catalogue's name means: ``red``, ``B04_10m`` and ``B04`` are B04."""
    if name in _BY_NAME:
        return name
    if name in _ALIASES:
        return _ALIASES[name]
    match = _WITH_RESOLUTION.fullmatch(name)
    return match["band"] if match and match["band"] in _BY_NAME else None


def band_info(name: str) -> BandInfo | None:
    """Return the description of a band by any of its names; None if it is no band of L2A."""
    canonical = canonical_name(name)
    return None if canonical is None else _BY_NAME[canonical]


def looks_like_sentinel2_l2a(item: Mapping[str, Any]) -> bool:
    """Whether an item comes from a catalogue of Sentinel-2 L2A scenes."""
    properties = item.get("properties") or {}
    if "S2MSI2A" in (properties.get("s2:product_type"), properties.get("product:type")):
        return True
    if re.search(r"S2[A-D]_MSIL2A_", str(item.get("id") or "")):
        return True
    named = re.fullmatch(r"sentinel-2(-[a-z0-9]+)*-l2a", str(item.get("collection") or "").lower())
    return bool(named) and any(canonical_name(key) for key in item.get("assets") or {})


def processing_baseline(item: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the processing baseline as (major, minor), or None if nothing tells it.

    Taken from ``s2:processing_baseline``, ``processing:version`` (written 05.09, 5.9 or N0509)
    or the product's name (``..._N0509_R051_...``).
    """
    properties = item.get("properties") or {}
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        match = re.fullmatch(r"N?(\d{1,2})\.?(\d\d?)", str(properties.get(key) or ""))
        if match:
            return int(match[1]), int(match[2])
    names = [properties.get(k) for k in ("s2:product_uri", "s2:datatake_id", "eopf:datatake_id")]
    for name in (*names, item.get("id")):
        match = _PRODUCT_BASELINE.search(str(name or ""))
        if match:
            return int(match[1]), int(match[2])
    return None


def reflectance_offset(item: Mapping[str, Any], asset: Mapping[str, Any], index: int = 1) -> float:
    """Return what to add to a reflectance band's stored values: -1000 or 0.

    The first of these that is known decides:

    1. ``earthsearch:boa_offset_applied`` (or the older ``sentinel:...``) is true: 0, although
       such items still carry ``offset: -0.1`` in ``raster:bands``.
    2. The band's own offset and scale (``raster:offset``, ``raster:bands``): offset / scale.
    3. The processing baseline: -1000 from 04.00 on, else 0.
    4. The acquisition date: -1000 from 2022-01-25 on, when ESA switched to 04.00. Older scenes
       are then taken for not reprocessed; catalogues that hold reprocessed ones name baselines.
    """
    properties = item.get("properties") or {}
    for key in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"):
        if properties.get(key) is True:
            return 0.0
    described = raster_fields(asset, index)
    offset, scale = described.get("offset"), described.get("scale")
    if offset is not None and scale:
        return float(round(float(offset) / float(scale)))
    baseline = processing_baseline(item)
    since_0400 = item_datetime(item) >= OFFSET_SINCE if baseline is None else baseline >= (4, 0)
    return float(BOA_ADD_OFFSET) if since_0400 else 0.0


def tile_id(item: Mapping[str, Any]) -> str | None:
    """Return the MGRS tile of an item, such as ``"31UFS"``, or None if nothing tells it."""
    properties = item.get("properties") or {}
    tile = properties.get("s2:mgrs_tile") or properties.get("s2:tile_id")
    if tile:
        return str(tile).removeprefix("T").upper()
    code = str(properties.get("grid:code") or "")
    if code.startswith("MGRS-"):
        return code.removeprefix("MGRS-").zfill(5).upper()
    zone, band, square = (
        str(properties.get(f"mgrs:{key}") or "")
        for key in ("utm_zone", "latitude_band", "grid_square")
    )
    if zone and band and square:
        return f"{zone:0>2}{band}{square}".upper()
    match = _PRODUCT_TILE.search(str(item.get("id") or ""))
    return match[1] if match else None


def bands_of(item: Mapping[str, Any]) -> set[str]:
    """Return the bands that an item has, by the collection's names."""
    return set(_native_bands(item))


def newest_processing(scenes: Sequence[Scene]) -> list[Scene]:
    """Leave out older processings of a scene that is there in several.

    Archives keep a scene and its reprocessing under two ids. Scenes of one tile and one time are
    the same acquisition; those of the highest baseline stay. Two of the same baseline both stay:
    they are the parts of a tile that two ground segments share.
    """
    baselines = [processing_baseline({"id": s.id, "properties": s.properties}) for s in scenes]
    highest: dict[tuple[str, datetime], tuple[int, int]] = {}
    for scene, baseline in zip(scenes, baselines, strict=True):
        if scene.tile is not None and baseline is not None:
            key = (scene.tile, scene.datetime)
            highest[key] = max(baseline, highest.get(key, baseline))
    return [
        scene
        for scene, baseline in zip(scenes, baselines, strict=True)
        if baseline is None or baseline == highest.get((scene.tile or "", scene.datetime), baseline)
    ]


def _native_bands(item: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Return where each band is found: asset key and 1-based index in the file.

    Of several assets of one band the one nearest to the native resolution is taken, a file of
    its own before one of several bands.
    """
    best: dict[str, tuple[tuple[float, bool, int, str], int]] = {}
    for key, asset in item["assets"].items():
        if not is_data(asset) or _LEFT_OUT.search(key):
            continue
        inside = asset_bands(asset)
        several = len(inside) > 1
        # The key of a file of several bands names none of them.
        names = [] if several else [(key, 0, 1)]
        names += [(str(b.get("name")), 1, index) for index, b in enumerate(inside, start=1)]
        for name, rank, index in names:
            band = canonical_name(name)
            if band is not None:
                distance = _resolution_distance(key, asset, _BY_NAME[band])
                candidate = ((distance, several, rank, key), index)
                best[band] = min(candidate, best.get(band, candidate))
    return {band: (score[-1], index) for band, (score, index) in best.items()}


def _resolution_distance(key: str, asset: Mapping[str, Any], band: BandInfo) -> float:
    match = _WITH_RESOLUTION.fullmatch(key)
    transform: Sequence[float] | None = asset.get("proj:transform")
    if match:
        resolution = float(match["resolution"])
    elif transform:
        resolution = abs(float(transform[0]))
    else:
        resolution = float(asset.get("gsd") or band.resolution or 0)
    return abs(resolution - (band.resolution or 0))


def _band_asset(
    item: Mapping[str, Any], band: str, key: str, index: int, epsg: int | None
) -> BandAsset:
    asset = item["assets"][key]
    offset = 0.0
    if _BY_NAME[band].center_wavelength is not None:  # a reflectance: not SCL, AOT, WVP
        offset = reflectance_offset(item, asset, index)
    # 0 is "no data" in every L2A file, also where the catalogue does not say so.
    return band_asset(item, asset, epsg=epsg, index=index, offset=offset, default_nodata=0)
