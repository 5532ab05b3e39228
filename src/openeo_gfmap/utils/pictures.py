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
#: Bands that are no measurements: shown last.
_NO_PICTURE: Final = (SCENE_CLASSES, CLOUD_MASK, "S2-L2A-DISTANCE-TO-CLOUD")


def bands_to_show(available: Collection[str]) -> tuple[str, ...]:
    """Return the three bands of true colour, or else the one band that a grey picture is made of.

    Empty when there is no band at all.
    """
    if set(TRUE_COLOUR) <= set(available):
        return TRUE_COLOUR
    grey = sorted(available, key=lambda name: (name in _NO_PICTURE, name))
    return tuple(grey[:1])


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
    if band.startswith("S2-L2A-B"):
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
