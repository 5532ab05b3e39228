"""The tables between a product's own band names and the harmonised ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["BASE_SENTINEL2_L2A_MAPPING", "SENTINEL2_L2A_BANDS", "BandInfo"]


@dataclass(frozen=True)
class BandInfo:
    """What is known of a band whatever back-end serves it.

    Parameters
    ----------
    native : str
        Name in the product, such as "B02".
    harmonised : str
        Name in the cubes this package builds, such as "S2-L2A-B02".
    title : str
        Description in a few words.
    gsd : int
        Ground sampling distance in metres.
    common_name : str, optional
        Name in STAC's list of common band names; None for a band that is not spectral.
    center_wavelength, full_width_half_max : float, optional
        Spectral response of Sentinel-2A, in micrometres.
    scale : float, optional
        Factor from the stored integer to the physical value; None for classes.
    """

    native: str
    harmonised: str
    title: str
    gsd: int
    common_name: str | None = None
    center_wavelength: float | None = None
    full_width_half_max: float | None = None
    scale: float | None = None


def _spectral(
    native: str, title: str, gsd: int, common_name: str, response: tuple[float, float]
) -> BandInfo:
    center, width = response
    return BandInfo(native, f"S2-L2A-{native}", title, gsd, common_name, center, width, 1e-4)


#: Sentinel-2 level 2A: reflectances, scene classification, aerosol, snow. Wavelengths as in
#: ESA's spectral response functions of Sentinel-2A, the ones used by public STAC catalogues.
SENTINEL2_L2A_BANDS: tuple[BandInfo, ...] = (
    _spectral("B01", "Coastal aerosol", 60, "coastal", (0.443, 0.027)),
    _spectral("B02", "Blue", 10, "blue", (0.49, 0.098)),
    _spectral("B03", "Green", 10, "green", (0.56, 0.045)),
    _spectral("B04", "Red", 10, "red", (0.665, 0.038)),
    _spectral("B05", "Red edge 1", 20, "rededge071", (0.704, 0.019)),
    _spectral("B06", "Red edge 2", 20, "rededge075", (0.74, 0.018)),
    _spectral("B07", "Red edge 3", 20, "rededge078", (0.783, 0.028)),
    _spectral("B08", "Near infrared", 10, "nir", (0.842, 0.145)),
    _spectral("B8A", "Near infrared, narrow", 20, "nir08", (0.865, 0.033)),
    _spectral("B09", "Water vapour", 60, "nir09", (0.945, 0.026)),
    _spectral("B11", "Short-wave infrared 1", 20, "swir16", (1.61, 0.143)),
    _spectral("B12", "Short-wave infrared 2", 20, "swir22", (2.19, 0.242)),
    BandInfo("SCL", "S2-L2A-SCL", "Scene classification", 20),
    BandInfo("AOT", "S2-L2A-AOT", "Aerosol optical thickness", 20, scale=1e-3),
    BandInfo("SNW", "S2-L2A-SNW", "Snow probability, percent", 20),
)

#: Native name to harmonised name.
BASE_SENTINEL2_L2A_MAPPING: Mapping[str, str] = MappingProxyType(
    {band.native: band.harmonised for band in SENTINEL2_L2A_BANDS}
)
