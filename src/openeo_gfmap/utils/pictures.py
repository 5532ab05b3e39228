"""How pixels become colours: one stretch for all pictures, so that dates and samples compare."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np

__all__ = [
    "CLOUD_MASK",
    "FALSE_COLOUR",
    "HIDING",
    "SCENE_CLASSES",
    "TRUE_COLOUR",
    "bands_to_show",
    "least_typical",
    "stretched",
    "tinted",
]

Array = np.ndarray[Any, Any]

TRUE_COLOUR: Final = ("S2-L2A-B04", "S2-L2A-B03", "S2-L2A-B02")
#: Near infrared, red, green: vegetation is red.
FALSE_COLOUR: Final = ("S2-L2A-B08", "S2-L2A-B04", "S2-L2A-B03")
SCENE_CLASSES: Final = "S2-L2A-SCL"
CLOUD_MASK: Final = "S2-L2A-SCL_DILATED_MASK"
#: Classes that hide the ground: no data, saturated, shadow, clouds, cirrus.
HIDING: Final = (0, 1, 3, 8, 9, 10)

#: Surface reflectance x 10,000 that is drawn as white; bright soil stays below it in visible light,
#: and dense crops in the near infrared.
_WHITE: Final = {"S2-L2A-B08": 5500.0, "S2-L2A-B8A": 5500.0}
_WHITE_ELSEWHERE: Final = 3000.0
_TINT: Final = (0.86, 0.16, 0.35)
#: In grey, these say most of what grows.
_TELLING: Final = ("S2-L2A-B08", "S2-L2A-B8A", "S2-L2A-B04")
#: Bands of Sentinel-2 that are no reflectances are shown last: classes, angles, thickness of air.
_OPTICAL: Final = "S2-L2A-B"
_SENTINEL2: Final = "S2-L2A-"


def bands_to_show(available: Collection[str]) -> tuple[str, ...]:
    """Return the three bands of true colour, or else the one band that a grey picture is made of.

    Empty when there is no band at all.
    """
    if set(TRUE_COLOUR) <= set(available):
        return TRUE_COLOUR
    return tuple(sorted(available, key=_grey_order)[:1])


def _grey_order(name: str) -> tuple[bool, int, str]:
    no_picture = name.startswith(_SENTINEL2) and not name.startswith(_OPTICAL)
    return no_picture, _TELLING.index(name) if name in _TELLING else len(_TELLING), name


def least_typical(brightness: Array) -> Array:
    """Return how far each date is from the usual brightness; clouds are brighter, shadows darker.

    Parameters
    ----------
    brightness : array, dims (t,)
        Mean of a band.

    Returns
    -------
    array, dims (t,)
        0 to 1.
    """
    distance = abs(brightness - np.median(brightness))
    return np.asarray(distance / max(float(distance.max()), 1e-9))


def stretched(values: Array, band: str) -> Array:
    """Return values of a band as brightness.

    Parameters
    ----------
    values : array
        Any dims; 65535 in uint16 and NaN in floats are nodata. Reflectance times 10,000 for optical
        bands; bands of other kinds are stretched between the 2nd and 98th percentile.
    band : str
        Harmonised name.

    Returns
    -------
    array, float32
        0 to 1; NaN is nodata.
    """
    brightness: Array = np.asarray(values).astype(np.float32)
    if np.asarray(values).dtype == np.uint16:
        brightness = np.where(values == 65535, np.float32(np.nan), brightness)
    if band.startswith(_OPTICAL):
        # A square root lifts dark vegetation without burning out soil.
        return np.asarray(np.sqrt(np.clip(brightness / _WHITE.get(band, _WHITE_ELSEWHERE), 0, 1)))
    known = brightness[~np.isnan(brightness)]
    if not known.size:
        return brightness
    low, high = np.percentile(known, [2, 98])
    return np.asarray(np.clip((brightness - low) / max(high - low, 1e-9), 0, 1))


def tinted(rgb: Array, mask: Array) -> Array:
    """Return a picture (y, x, 3) with a tint where a mask (y, x) is true."""
    return np.where(mask[..., None], 0.45 * rgb + 0.55 * np.array(_TINT), rgb)
