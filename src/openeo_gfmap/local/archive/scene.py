"""Render a cell: the digital numbers of all bands and the scene classification, per pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from .clouds import Sky, skies
from .grid import CELL_SIZE, Cell
from .landscape import Kind, Landscape, landscape
from .noise import block_mean, grain, mix
from .orbits import Acquisition, swath_margin
from .phenology import BANDS, reflectances

__all__ = ["LAYOUT", "Picture", "baseline", "offset_of", "render"]

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Numbers = np.ndarray[Any, np.dtype[np.uint16]]

# Which bands are stored at which resolution, in file order.
LAYOUT: dict[int, tuple[str, ...]] = {
    10: ("B02", "B03", "B04", "B08"),
    20: ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL", "AOT"),
    60: ("B01", "B09"),
}

# fmt: off
# Clouds and cirrus are white to the eye and darker in the shortwave infrared (BANDS order).
_CLOUD = np.array((.74, .73, .72, .73, .74, .75, .76, .77, .77, .70, .50, .40), "f4")
_CIRRUS = np.array((.52, .50, .48, .47, .47, .47, .47, .47, .46, .30, .26, .20), "f4")
# What a cloud shadow leaves of the light; the sky still lights the blue.
_SHADE = np.array((.62, .55, .47, .42, .40, .38, .37, .36, .35, .35, .30, .28), "f4")
# fmt: on

# First day of each processing baseline, newest first.
_BASELINES = (
    (date(2024, 7, 23), "05.11"),
    (date(2023, 12, 13), "05.10"),
    (date(2022, 12, 6), "05.09"),
    (date(2022, 1, 25), "04.00"),
    (date(2021, 7, 1), "03.01"),
)
_SENSOR_NOISE = 6.0  # standard deviation in digital numbers
# Numbers go in steps of 8, about the sensor's noise: a third less to store.
_STEP = 8
_CHUNK = 16  # passes rendered together; bounds the memory


@dataclass(frozen=True)
class Picture:
    """One acquisition of one cell.

    Attributes
    ----------
    acquisition
        The pass.
    bands
        Per resolution in metres a uint16 array (bands, rows, columns) in the order of
        :data:`LAYOUT`; 0 is nodata.
    """

    acquisition: Acquisition
    bands: dict[int, Numbers]


def baseline(day: date) -> str:
    """Return the processing baseline of products sensed on a day."""
    return next((name for first, name in _BASELINES if day >= first), "03.00")


def offset_of(day: date) -> int:
    """Return the number added to 10,000 x reflectance: 1000 from baseline 04.00 on, else 0."""
    return 1000 if baseline(day) >= "04.00" else 0


def render(cell: Cell, passes: Sequence[Acquisition]) -> Iterator[Picture]:
    """Render a cell at each pass, in order.

    Every value is a function of the cell and the pass alone; a pixel outside the pass's swath
    is nodata in all bands.
    """
    longitude, latitude = cell.centre
    land = landscape(cell)
    water = _water(land)
    for start in range(0, len(passes), _CHUNK):
        chunk = passes[start : start + _CHUNK]
        surface = reflectances(land, [each.node_day for each in chunk], longitude, latitude)
        over = skies(cell, chunk, latitude)
        ground = {r: _ground(land, surface, r) for r in LAYOUT}
        for number, each in enumerate(chunk):
            yield _picture(cell, each, over[number], {r: ground[r][number] for r in LAYOUT}, water)


def _ground(land: Landscape, surface: Floats, resolution: int) -> Floats:
    """Reflectance of the ground (passes, bands, rows, columns) at one resolution."""
    chosen = [BANDS.index(band) for band in LAYOUT[resolution] if band in BANDS]
    columns = surface[:, chosen].reshape(-1, surface.shape[2])
    pixels = (land.mixing[resolution] @ columns.T).T
    texture = land.texture[resolution]
    result: Floats = pixels.reshape(len(surface), len(chosen), *texture.shape) * texture
    return result


def _water(land: Landscape) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which 20 m pixels are mostly water."""
    share = land.mixing[20] @ (land.kind == Kind.WATER).astype(np.float32)
    result: np.ndarray[Any, np.dtype[np.bool_]] = share.reshape(land.texture[20].shape) > 0.5
    return result


def _picture(
    cell: Cell,
    each: Acquisition,
    sky: Sky,
    ground: dict[int, Floats],
    water: np.ndarray[Any, np.dtype[np.bool_]],
) -> Picture:
    covered = _covered(cell, each)
    skies_at = {resolution: sky.coarsened(resolution // 10) for resolution in LAYOUT}
    classes = _classes(ground, skies_at[20], water)
    bands = {}
    for resolution, names in LAYOUT.items():
        chosen = [BANDS.index(name) for name in names if name in BANDS]
        light = _through(skies_at[resolution], ground[resolution], chosen)
        numbers = _numbers(light, cell, each, resolution)
        if resolution == 20:
            numbers = np.concatenate([numbers, classes[None], _aerosol(each, classes)[None]])
        if not covered.all():
            factor = 60 // resolution
            numbers *= covered.repeat(factor, axis=0).repeat(factor, axis=1)
        bands[resolution] = numbers
    return Picture(each, bands)


def _through(sky: Sky, ground: Floats, chosen: list[int]) -> Floats:
    """Reflectance of the ground as seen through the sky."""
    seen = ground
    if sky.shadow is not None:
        seen = seen * (1 - sky.shadow * (1 - _SHADE[chosen, None, None]))
    if sky.cirrus is not None:
        seen = seen + sky.cirrus * (_CIRRUS[chosen, None, None] - seen)
    if sky.cloud is not None:
        # Thick parts are brightest: 1 - exp(-0.9 thickness), from 1 - exp(-3.6 thickness).
        thick = 1 - np.sqrt(np.sqrt(1 - sky.cloud))
        bright = _CLOUD[chosen, None, None] * (0.45 + 0.55 * thick)
        seen = seen + sky.cloud * (bright - seen)
    return seen


def _numbers(light: Floats, cell: Cell, each: Acquisition, resolution: int) -> Numbers:
    """Digital numbers of reflectances, with sensor noise; never 0, which is nodata."""
    rows, columns = light.shape[1:]
    noisy = light * np.float32(10_000) + np.float32(offset_of(each.node_day))
    place = mix(cell.epsg, cell.column, cell.row, each.key, resolution)
    for band, at in enumerate(mix(place, np.arange(len(light))).tolist()):
        top, left = at % 512, (at >> 9) % 512
        noisy[band] += _SENSOR_NOISE * grain()[top : top + rows, left : left + columns]
    steps = np.rint(noisy / _STEP, out=noisy)
    return np.clip(steps, 1, 65535 // _STEP, out=steps).astype(np.uint16) * np.uint16(_STEP)


def _classes(ground: dict[int, Floats], sky: Sky, water: np.ndarray[Any, Any]) -> Numbers:
    """Scene classification at 20 m (Sentinel-2 L2A class numbers), from what was rendered."""
    red, near = block_mean(ground[10][2], 2), block_mean(ground[10][3], 2)
    green, short = block_mean(ground[10][1], 2), ground[20][4]
    ndvi = (near - red) / (near + red)
    classes = np.where(ndvi > 0.4, 4, 5).astype(np.uint16)
    classes[(near < 0.13) & (red < 0.06) & (ndvi <= 0.4)] = 2
    classes[(green - short) / (green + short) > 0.42] = 11
    classes[water] = 6
    if sky.shadow is not None:
        classes[sky.shadow > 0.3] = 3
    if sky.cirrus is not None:
        classes[sky.cirrus > 0.05] = 10
    if sky.cloud is not None:
        classes[sky.cloud > 0.1] = 8
        classes[sky.cloud > 0.6] = 9
    return classes


def _aerosol(each: Acquisition, classes: Numbers) -> Numbers:
    """Aerosol optical thickness x 1000, one value per pass, higher under clouds."""
    clear = 60 + int(mix(each.key, 70)) % 120
    return np.where(classes >= 8, clear + 90, clear).astype(np.uint16)


def _covered(cell: Cell, each: Acquisition) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which 60 m pixels lie in the swath: all bands end at the same line."""
    lon, lat = cell.corners
    margin = swath_margin(lon, lat, np.array(each.orbit))
    # Over a cell the distance to the track is linear to within a metre.
    size = CELL_SIZE // 60
    step = (np.arange(size) + 0.5) / size
    (nw, ne), (sw, se) = margin
    top, bottom = nw + (ne - nw) * step, sw + (se - sw) * step
    covered: np.ndarray[Any, np.dtype[np.bool_]] = top + (bottom - top) * step[:, None] > 0
    return covered
