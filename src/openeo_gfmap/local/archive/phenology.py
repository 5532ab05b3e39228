"""How surfaces change through the year: crops, meadows, woods and snow, as reflectances.

A field mixes bare soil, green leaves, ripe or dead plant matter and flowers. The green share
follows a double logistic curve per crop, as is usual for NDVI (Beck et al. 2006), shifted by
field, year and latitude; the other shares follow from sowing, ripening and harvest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from .landscape import Kind, Landscape
from .noise import Hashes, mix, smooth, uniform

__all__ = ["BANDS", "CROPS", "SPECTRA", "crop_numbers", "reflectances"]

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")

# Typical surface reflectances in the order of BANDS.
SPECTRA = {
    name: np.array(values, dtype=np.float32)
    for name, values in {
        "pale soil": (.075, .095, .135, .185, .205, .220, .230, .245, .260, .270, .330, .285),
        "dark soil": (.035, .045, .062, .082, .095, .105, .112, .122, .132, .138, .190, .160),
        "leaves": (.018, .024, .055, .026, .085, .310, .405, .435, .455, .460, .205, .095),
        "straw": (.065, .085, .135, .180, .205, .230, .250, .275, .295, .305, .330, .235),
        "rape flower": (.030, .042, .145, .125, .190, .330, .385, .410, .425, .430, .235, .120),
        "broadleaf": (.016, .021, .046, .023, .075, .270, .345, .375, .395, .400, .175, .075),
        "autumn leaves": (.022, .030, .062, .072, .120, .220, .260, .285, .300, .305, .190, .100),
        "bare trees": (.028, .036, .050, .058, .075, .105, .125, .140, .155, .160, .180, .120),
        "needles": (.014, .017, .030, .020, .048, .135, .170, .190, .205, .208, .095, .042),
        "water": (.030, .034, .036, .022, .018, .012, .011, .010, .009, .008, .005, .004),
        "tiles": (.070, .080, .105, .165, .180, .190, .200, .215, .225, .230, .255, .235),
        "slate": (.090, .105, .115, .120, .125, .130, .135, .140, .145, .148, .160, .150),
        "asphalt": (.070, .085, .100, .112, .122, .130, .138, .148, .158, .162, .185, .170),
        "snow": (.860, .870, .865, .850, .840, .820, .810, .790, .740, .690, .110, .090),
    }.items()
}  # fmt: skip


@dataclass(frozen=True)
class Crop:
    """A crop's year, in days since 1 January of the year of harvest, at 49 degrees north.

    Attributes
    ----------
    share
        Relative frequency.
    sown
        Day the soil is bare for; winter crops are sown in the year before.
    autumn
        Green cover reached before winter, 0 for summer crops.
    greening, ripening, harvest
        Days of fastest growth, of fastest ripening, and of harvest.
    peak
        Greatest green cover.
    flower
        Day and brightness of a visible bloom, where there is one.
    """

    share: float
    sown: int
    autumn: float
    greening: int
    ripening: int
    harvest: int
    peak: float
    flower: tuple[int, float] = (0, 0.0)


CROPS = {
    "winter wheat": Crop(0.27, -78, 0.28, 88, 176, 204, 0.95),
    "winter barley": Crop(0.10, -95, 0.38, 80, 158, 182, 0.93),
    "winter rape": Crop(0.11, -125, 0.62, 78, 168, 196, 0.93, (120, 0.75)),
    "spring barley": Crop(0.09, 78, 0.0, 112, 178, 205, 0.90),
    "maize": Crop(0.18, 116, 0.0, 166, 258, 272, 0.94),
    "sugar beet": Crop(0.08, 92, 0.0, 154, 320, 285, 0.96),
    "potato": Crop(0.06, 108, 0.0, 158, 232, 256, 0.92),
    "sunflower": Crop(0.06, 104, 0.0, 156, 228, 252, 0.88, (193, 0.25)),
    "lucerne": Crop(0.05, -400, 0.45, 78, 310, 700, 0.85),
}
_TABLE = list(CROPS.values())
_SHARES = np.cumsum([crop.share for crop in _TABLE]) / sum(crop.share for crop in _TABLE)


def reflectances(
    land: Landscape, days: Sequence[date], longitude: float, latitude: float
) -> Floats:
    """Reflectance of every surface on every day, without clouds.

    Parameters
    ----------
    land
        The surfaces.
    days
        Days to compute.
    longitude, latitude
        Place of the surfaces, degrees: shifts the seasons, sets the weather.

    Returns
    -------
    float32 array (days, bands, surfaces), bands in the order of :data:`BANDS`.
    """
    result = np.empty((len(days), len(BANDS), len(land.key)), dtype=np.float32)
    wet = _wetness(days, longitude, latitude)
    for kind in np.unique(land.kind):
        of_kind = np.flatnonzero(land.kind == kind)
        result[:, :, of_kind] = _RULES[Kind(kind)](land.key[of_kind], days, latitude, wet)
    snow = _snow(days, longitude, latitude)
    if snow.any():
        # Canopies hide most of the snow below them, and water does not keep it.
        held = np.ones(len(land.kind), dtype=np.float32)
        held[(land.kind == Kind.BROADLEAF)] = 0.5
        held[(land.kind == Kind.CONIFER)] = 0.25
        held[(land.kind == Kind.WATER)] = 0.0
        held[(land.kind == Kind.ROAD)] = 0.5
        cover = snow[:, None, None] * held
        result += cover * (SPECTRA["snow"][:, None] - result)
    return result


def _season(days: Sequence[date], latitude: float) -> tuple[Floats, np.ndarray[Any, Any]]:
    """Day of the year and year, as a place at 49 degrees north would count them."""
    # The southern hemisphere lives half a year apart; spring comes 2.5 days later per degree.
    south = latitude < 0
    shift = (182 if south else 0) + 2.5 * (np.clip(abs(latitude), 30, 65) - 49)
    ordinals = np.array([day.toordinal() for day in days]) - shift
    years = np.array([date.fromordinal(int(each)).year for each in ordinals])
    starts = np.array([date(year, 1, 1).toordinal() for year in years])
    return (ordinals - starts).astype(np.float64), years


def _rise(t: Floats, middle: Floats | float, width: float) -> Floats:
    """Logistic step from 0 to 1 around ``middle``, from 12 to 88 per cent in 4 ``width``."""
    result: Floats = 1 / (1 + np.exp(-np.clip((t - middle) / width, -40, 40)))
    return result


def crop_numbers(key: Hashes, harvest_year: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Which crop each field bears, as positions in :data:`CROPS`."""
    return np.searchsorted(_SHARES, uniform(_crop_seed(key, harvest_year)), side="right")


def _crop_seed(key: Hashes, harvest_year: int) -> Hashes:
    return mix(key, 40, harvest_year)


def _fields(key: Hashes, days: Sequence[date], latitude: float, wet: Floats) -> Floats:
    day, year = _season(days, latitude)
    green = np.zeros((len(days), len(key)))
    straw, bloom = np.zeros_like(green), np.zeros_like(green)
    # The crop of this harvest year and, from autumn on, the one sown for the next.
    for ahead in (0, 1):
        for harvest_year in np.unique(year):
            now = np.flatnonzero(year == harvest_year)
            seed = _crop_seed(key, harvest_year + ahead)
            crop = crop_numbers(key, harvest_year + ahead)
            t = day[now][:, None] - 365.25 * ahead
            for number in np.unique(crop):
                on = np.flatnonzero(crop == number)
                parts = _crop(_TABLE[number], t, seed[on])
                for total, part in zip((green, straw, bloom), parts, strict=True):
                    total[np.ix_(now, on)] = np.maximum(total[np.ix_(now, on)], part)
    straw = np.clip(straw, 0, 1 - green)
    soil = _soil(key, wet)
    shares = (green * (1 - bloom), straw, green * bloom)
    covers = ("leaves", "straw", "rape flower")
    result = soil * (1 - green - straw)[:, None, :]
    tone = 0.9 + 0.2 * uniform(key, 41)
    for share, cover in zip(shares, covers, strict=True):
        result = result + (share * tone)[:, None, :] * SPECTRA[cover][:, None]
    return result.astype(np.float32)


def _crop(crop: Crop, t: Floats, seed: Hashes) -> tuple[Floats, Floats, Floats]:
    """Shares of green leaves, straw and bloom of fields of one crop, (days, fields)."""
    late = 20 * (uniform(seed, 1) - 0.5)
    vigour = 0.82 + 0.18 * uniform(seed, 2)
    harvest = crop.harvest + 0.7 * late
    growing = crop.peak * _rise(t, crop.greening + late, 8.0)
    if crop.autumn:
        # Winter cereals stand still at their autumn cover until spring.
        growing = np.maximum(growing, crop.autumn * _rise(t, crop.sown + 38 + 0.6 * late, 8.0))
    ripe = _rise(t, crop.ripening + 0.8 * late, 5.5)
    cut = _rise(t, harvest, 1.2)
    green = vigour * growing * (1 - ripe) * (1 - cut)
    # Some fields carry a catch crop or volunteers after harvest, until winter.
    caught = 0.5 * (uniform(seed, 3) < 0.35) * _rise(t, harvest + 38, 7.0) * (1 - _rise(t, 340, 10))
    green = np.maximum(green, caught * cut)
    # Ripe standing crop, then stubble until it is ploughed in.
    ploughed = _rise(t, harvest + 15 + 60 * uniform(seed, 4), 2.0)
    straw = 0.9 * growing * ripe * (1 - cut) + 0.65 * cut * (1 - ploughed)
    day, strength = crop.flower
    bloom = strength * np.exp(-0.5 * ((t - day - late) / 7.5) ** 2) if day else np.zeros_like(green)
    if crop.harvest > 400:
        # Lucerne is mown several times a year instead.
        green = green * _mowing(t, seed)
    return green, straw, bloom


def _mowing(t: Floats, seed: Hashes) -> Floats:
    """Factor on the green cover of mown grass: falls at each cut, back after four weeks."""
    factor = np.ones(np.broadcast_shapes(t.shape, seed.shape))
    for number, cut in enumerate((140, 184, 232)):
        since = t - (cut + 24 * (uniform(seed, 5 + number) - 0.5))
        factor = factor * (1 - 0.55 * _rise(since, 0, 0.7) * np.exp(-np.clip(since, 0, None) / 14))
    return factor


def _grass(key: Hashes, days: Sequence[date], latitude: float, wet: Floats) -> Floats:
    day, year = _season(days, latitude)
    t = day[:, None]
    lush = 0.42 + 0.46 * (_rise(t, 86, 12) - _rise(t, 300, 16))
    # Meadows suffer in dry summers.
    parched = (0.35 * _rise(t, 185, 10) * (1 - _rise(t, 255, 10))) * (1 - wet[:, None])
    mown = np.where(uniform(key, 1) < 0.6, _mowing(t, mix(key, int(year[0]))), 1.0)
    green = lush * (1 - parched) * mown * (0.8 + 0.2 * uniform(key, 2))
    dry = 0.75 * (1 - green)
    soil = _soil(key, wet)
    return (
        soil * (1 - green - dry)[:, None, :]
        + green[:, None, :] * SPECTRA["leaves"][:, None]
        + dry[:, None, :] * SPECTRA["straw"][:, None] * 0.75
    ).astype(np.float32)


def _broadleaf(key: Hashes, days: Sequence[date], latitude: float, wet: Floats) -> Floats:
    day, _ = _season(days, latitude)
    t = day[:, None] - 10 * (uniform(key, 1) - 0.5)
    leafed = _rise(t, 114, 5.0) * (1 - _rise(t, 305, 6.0))
    turned = _rise(t, 283, 6.0) * leafed
    return (
        (leafed - turned)[:, None, :] * SPECTRA["broadleaf"][:, None]
        + turned[:, None, :] * SPECTRA["autumn leaves"][:, None]
        + (1 - leafed)[:, None, :] * SPECTRA["bare trees"][:, None]
    ).astype(np.float32)


def _still(*names: str) -> Any:
    """Rule of surfaces that keep their colour: each picks one of the named spectra."""
    table = np.stack([SPECTRA[name] for name in names], axis=1)

    def rule(key: Hashes, days: Sequence[date], latitude: float, wet: Floats) -> Floats:
        chosen = (uniform(key, 1) * len(names)).astype(np.int64)
        tone = 0.85 + 0.3 * uniform(key, 2)
        one = (table[:, chosen] * tone).astype(np.float32)
        return np.broadcast_to(one, (len(days), *one.shape))

    return rule


def _soil(key: Hashes, wet: Floats) -> Floats:
    """Soil reflectance (days, bands, surfaces): paler or darker by field, darker when wet."""
    pale = 0.15 + 0.7 * uniform(key, 42) * (1 - 0.45 * wet[:, None])
    result: Floats = (
        SPECTRA["dark soil"][:, None]
        + pale[:, None, :] * (SPECTRA["pale soil"] - SPECTRA["dark soil"])[:, None]
    )
    return result


def _weather(
    days: Sequence[date], longitude: float, latitude: float, seed: int, span: float
) -> Floats:
    """Weather that lasts about ``span`` days over about 500 km, in [-1, 1]."""
    time = np.array([day.toordinal() for day in days]) / span
    before = np.floor(time)
    x, y = np.full(len(days), longitude / 7), np.full(len(days), latitude / 5)
    spells = before.astype(np.int64)
    now, then = smooth(x, y, mix(seed, spells)), smooth(x, y, mix(seed, spells + 1))
    result: Floats = now + (then - now) * (time - before)
    return result


def _wetness(days: Sequence[date], longitude: float, latitude: float) -> Floats:
    """Wetness of the soil's surface, 0 to 1; winters are wet."""
    day, _ = _season(days, latitude)
    winter = np.cos(2 * np.pi * (day - 10) / 365.25)
    wet: Floats = np.clip(
        0.45 + 0.3 * winter + 0.45 * _weather(days, longitude, latitude, 50, 9), 0, 1
    )
    return wet


def _snow(days: Sequence[date], longitude: float, latitude: float) -> Floats:
    """Share of open ground under snow: where a smooth temperature stays below freezing."""
    day, _ = _season(days, latitude)
    mean = 27.0 - 0.006 * latitude**2
    swing = min(0.17 * abs(latitude), 12.0)
    temperature = mean - swing * np.cos(2 * np.pi * (day - 18) / 365.25)
    temperature = temperature + 5.0 * _weather(days, longitude, latitude, 51, 12)
    cover: Floats = np.clip((-temperature - 1.0) / 2.5, 0, 1).astype(np.float32)
    return cover


_RULES = {
    Kind.FIELD: _fields,
    Kind.GRASS: _grass,
    Kind.BROADLEAF: _broadleaf,
    Kind.CONIFER: _still("needles"),
    Kind.WATER: _still("water"),
    Kind.ROOF: _still("tiles", "tiles", "slate"),
    Kind.ROAD: _still("asphalt"),
    Kind.GARDEN: _grass,
}
