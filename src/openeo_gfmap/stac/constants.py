"""Values that every STAC collection made from extraction jobs shares.

Tables are keyed by constellation ("sentinel2"), the name that ``GFMAPJobManager.setup_stac`` takes.
"""

from __future__ import annotations

from typing import Any, Final

import pystac

from openeo_gfmap.bands import SENTINEL2_L2A_BANDS, BandInfo

__all__ = [
    "AUXILIARY",
    "CONSTELLATION",
    "GSD",
    "INSTRUMENTS",
    "ITEM_ASSETS",
    "LICENSE",
    "LICENSE_LINK",
    "PLATFORM",
    "QUICKLOOK",
    "SENTINEL2",
    "STAC_EXTENSIONS",
    "SUMMARIES",
]

LICENSE: Final = "CC-BY-4.0"

LICENSE_LINK: Final = pystac.Link(
    rel="license",
    target="https://spdx.org/licenses/CC-BY-4.0.html",
    media_type=pystac.MediaType.HTML,
    title="Creative Commons Attribution 4.0 International License",
)

#: Schemas that the collections and items are written to; pystac may know older versions only.
STAC_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/datacube/v2.3.0/schema.json",
    "https://stac-extensions.github.io/classification/v1.1.0/schema.json",
]

CONSTELLATION: Final = {"sentinel2": ["sentinel-2"]}
PLATFORM: Final = {"sentinel2": ["sentinel-2a", "sentinel-2b", "sentinel-2c"]}
INSTRUMENTS: Final = {"sentinel2": ["msi"]}
GSD: Final = {"sentinel2": [10, 20, 60]}  # metres

SUMMARIES: Final = {
    name: pystac.Summaries(
        {
            "constellation": CONSTELLATION[name],
            "platform": PLATFORM[name],
            "instruments": INSTRUMENTS[name],
            "gsd": GSD[name],
        }
    )
    for name in CONSTELLATION
}

_NETCDF = "application/x-netcdf"


def _band(band: BandInfo) -> dict[str, Any]:
    """Describe a band as STAC 1.1 does, leaving out what does not apply to it."""
    fields = {
        "name": band.harmonised,
        "description": band.title,
        "gsd": band.gsd,
        "eo:common_name": band.common_name,
        "eo:center_wavelength": band.center_wavelength,
        "eo:full_width_half_max": band.full_width_half_max,
        "raster:scale": band.scale,
    }
    return {key: value for key, value in fields.items() if value is not None}


SENTINEL2: Final = pystac.ItemAssetDefinition.create(
    title="Sentinel-2 L2A",
    description="Time series of Sentinel-2 level 2A bands, resampled to one grid.",
    media_type=_NETCDF,
    roles=["data"],
    extra_fields={
        "gsd": 10,
        "data_type": "uint16",
        "nodata": 65535,
        "bands": [_band(band) for band in SENTINEL2_L2A_BANDS],
    },
)

AUXILIARY: Final = pystac.ItemAssetDefinition.create(
    title="Ground truth",
    description="Labels of the sample and its surroundings, burnt into the grid of the data.",
    media_type=_NETCDF,
    roles=["data"],
    extra_fields={"bands": [{"name": "LABEL"}]},
)

QUICKLOOK: Final = pystac.ItemAssetDefinition.create(
    title="Quicklook",
    description="The clearest date, pixel by pixel, in true colour where the bands are there.",
    media_type=pystac.MediaType.PNG,
    roles=["thumbnail"],
)

ITEM_ASSETS: Final = {"sentinel2": SENTINEL2, "auxiliary": AUXILIARY, "quicklook": QUICKLOOK}
