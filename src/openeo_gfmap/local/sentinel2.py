"""Sentinel-2 L2A: one table of bands, and the rules that make every catalogue's items alike.

Earth Search calls its assets by colour (``blue``, ``nir08``), Planetary Computer by band
(``B02``), the Copernicus Data Space by band and resolution (``B02_10m``). Here they all get
the band names of the Copernicus Data Space's openEO back-end.

From processing baseline 04.00 on, reflectances are stored 1000 too high (BOA_ADD_OFFSET), so
that slightly negative values fit into unsigned integers. Back-ends take this off again, some
catalogues have done so already: :func:`reflectance_offset` decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .stac_bands import asset_bands, band_asset, is_data, item_epsg, self_href
from .stac_source import BandAsset, BandInfo, Scene, item_bbox, item_datetime

__all__ = [
    "BANDS",
    "BAND_NAMES",
    "SCL_CLASSES",
    "Sentinel2Profile",
    "band_info",
    "canonical_name",
    "looks_like_sentinel2_l2a",
    "newest_processing",
    "processing_baseline",
    "reflectance_offset",
    "tile_id",
]

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

# What catalogues call a band, beside its own name. The "-jp2" twins of Earth Search are left out
# on purpose: they lie in a bucket whose reader pays.
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

    def scene(self, item: Mapping[str, Any]) -> Scene:
        """Normalise an item; bands it does not have are left out."""
        properties = item.get("properties") or {}
        epsg = item_epsg(item)
        native = dict(_native_assets(item))
        found: dict[str, BandAsset] = {}
        for name in self.bands:
            key = native.get(canonical_name(name) or "")
            if name in item["assets"] and name not in BAND_NAMES:
                key = name  # asked for by the catalogue's own name, whatever its resolution
            if key is not None:
                found[name] = _asset(item, key, epsg)
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
    named = re.fullmatch(r"sentinel-2(-[a-z]\d)?-l2a", str(item.get("collection") or "").lower())
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


def reflectance_offset(item: Mapping[str, Any], asset: Mapping[str, Any]) -> float:
    """Return what to add to a reflectance band's stored values: -1000 or 0.

    The first of these that is known decides:

    1. ``earthsearch:boa_offset_applied`` (or the older ``sentinel:...``) is true: 0, although
       such items still carry ``offset: -0.1`` in ``raster:bands``.
    2. The asset's own offset and scale (``raster:offset``, ``raster:bands``): offset / scale.
    3. The processing baseline: -1000 from 04.00 on, else 0.
    4. The acquisition date: -1000 from 2022-01-25 on, when ESA switched to 04.00. Older scenes
       are then taken for not reprocessed; catalogues that hold reprocessed ones name baselines.
    """
    properties = item.get("properties") or {}
    for key in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"):
        if properties.get(key) is True:
            return 0.0
    described: Mapping[str, Any] = next(iter(asset.get("raster:bands") or ()), {})
    offset = asset.get("raster:offset", described.get("offset"))
    scale = asset.get("raster:scale", described.get("scale"))
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


def _native_assets(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (band, asset key): for each band the asset nearest to its native resolution."""
    best: dict[str, tuple[tuple[float, int, str], str]] = {}
    for key, asset in item["assets"].items():
        if not is_data(asset) or len(asset_bands(asset)) > 1:
            continue
        names = (key, *(str(b.get("name")) for b in asset_bands(asset)))
        if key.endswith("-jp2"):
            continue
        for rank, name in enumerate(names):
            band = canonical_name(name)
            if band is None:
                continue
            distance = _resolution_distance(key, asset, _BY_NAME[band])
            score = (distance, rank, key)
            if band not in best or score < best[band][0]:
                best[band] = (score, key)
            break
    for band, (_, key) in best.items():
        yield band, key


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


def _asset(item: Mapping[str, Any], key: str, epsg: int | None) -> BandAsset:
    asset = item["assets"][key]
    names = (key, *(str(b.get("name")) for b in asset_bands(asset)))
    canonical = next((c for c in map(canonical_name, names) if c), None)
    reflectance = canonical is not None and _BY_NAME[canonical].center_wavelength is not None
    offset = reflectance_offset(item, asset) if reflectance else 0.0
    # 0 is "no data" in every L2A file, also where the catalogue does not say so.
    return band_asset(item, asset, epsg=epsg, offset=offset, default_nodata=0)
