"""A patch as pictures need it: dates, clouds, colours, NDVI, label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import numpy as np

from openeo_gfmap.errors import InputError
from openeo_gfmap.utils.patch_file import NODATA, PatchFile, open_patch_file
from openeo_gfmap.utils.pictures import (
    CLOUD_MASK,
    FALSE_COLOUR,
    HIDING,
    SCENE_CLASSES,
    bands_to_show,
    least_typical,
    stretched,
    tinted,
)

if TYPE_CHECKING:
    import pystac

__all__ = ["LabelRaster", "OpenPatch", "open_patch"]

Array = np.ndarray[Any, Any]

_RED, _NEAR_INFRARED = "S2-L2A-B04", "S2-L2A-B08"
_MISSING = 0.88  # brightness of nodata
_LABELS = "auxiliary"  # key of the asset
_METRES = {"m", "metre", "meter"}
_CLEAR = 0.5  # of the pixels are hidden at most on a clear date
_NOTHING_SEEN = 0.95


class LabelRaster:
    """Labels on the grid of a patch.

    Attributes
    ----------
    codes : array, dims (y, x)
        0 is nothing.
    meanings : mapping of int to str
        As far as the file says.
    """

    def __init__(self, codes: Array, meanings: Mapping[int, str]):
        self.codes = codes
        self.meanings = dict(meanings)

    @property
    def at_centre(self) -> int:
        """The code of the pixel in the middle."""
        rows, columns = self.codes.shape
        return int(self.codes[rows // 2, columns // 2])


class OpenPatch:
    """A patch whose file is open: bands are read when they are asked for.

    Parameters
    ----------
    file : PatchFile
        Bands have dims (t, y, x).
    name : str
        What to call it.
    label : LabelRaster, optional
        Of its item.

    Raises
    ------
    InputError
        When it has no band, or no dates; later, when a band cannot be read.
    """

    def __init__(self, file: PatchFile, name: str, label: LabelRaster | None = None):
        self._file = file
        self.label = label
        self.name = name
        self.bands = [key for key, dims in file.rasters.items() if dims == ("t", "y", "x")]
        if not self.bands or not len(self.dates):
            raise InputError(
                f"{file.path} has no band with dates to draw: expected dims (t, y, x), found "
                f"{', '.join(f'{key} {dims}' for key, dims in file.variables.items()) or 'none'}."
            )
        self._shown = bands_to_show(self.bands)
        self._read: dict[str, Array] = {}

    def _values(self, band: str) -> Array:
        """Return all dates of a band, dims (t, y, x)."""
        if band not in self._read:
            try:
                self._read[band] = self._file.values(band)
            except OSError as error:
                raise InputError(f"{band} of {self._file.path} cannot be read: {error}") from error
        return self._read[band]

    @cached_property
    def dates(self) -> Array:
        """Dates, datetime64, dims (t,)."""
        return self._file.dates()

    def day(self, index: int) -> str:
        """Return a date in words."""
        return f"{self.dates[index].astype('datetime64[s]').item():%d %b %Y}"

    @cached_property
    def _hidden(self) -> Array | None:
        if SCENE_CLASSES not in self.bands:
            return None
        classes = self._values(SCENE_CLASSES)
        missing = np.isnan(classes) if classes.dtype.kind == "f" else False
        return np.asarray(np.isin(classes, (*HIDING, NODATA)) | missing)

    @cached_property
    def cloud_mask(self) -> Array | None:
        """The dilated mask of the file, else classes that hide the ground; dims (t, y, x)."""
        if CLOUD_MASK in self.bands:
            return np.asarray(self._values(CLOUD_MASK) == 1)
        return self._hidden

    @cached_property
    def hidden_share(self) -> Array:
        """Share of pixels that cannot be seen, dims (t,); of those that ever have a value.

        A patch that was cut along a polygon has none beyond it.
        """
        band = self._values(self._shown[0])
        missing = band == NODATA if band.dtype.kind in "iu" else np.isnan(band)
        hidden = missing if self._hidden is None else self._hidden | missing
        inside = ~missing.all(axis=0)
        if not inside.any():
            return np.ones(len(hidden))
        return np.asarray(hidden[:, inside].mean(axis=1))

    def clearest(self, most: int) -> list[int]:
        """Return the clearest date of each part of the series, in order.

        Where clouds are not known, of equals the one of most usual brightness. Parts without a date
        that shows anything are left out, unless there are no others.
        """
        badness = self.hidden_share
        if self._hidden is None and self.has_true_colour:
            reflectance = np.nan_to_num(self._floats(self._shown[0])).mean(axis=(1, 2))
            badness = badness + 1e-6 * least_typical(reflectance)
        picked = self._best_of_parts(badness, most)
        return [index for index in picked if self.hidden_share[index] < _NOTHING_SEEN] or picked

    def partly_cloudy(self, most: int) -> list[int]:
        """Return the date of each part of the series whose mask shows most, in order."""
        if self.cloud_mask is None:
            return []
        return self._best_of_parts(abs(self.cloud_share - 0.5), most)

    def _best_of_parts(self, badness: Array, most: int) -> list[int]:
        parts = np.array_split(np.arange(len(self.dates)), min(most, len(self.dates)))
        return [int(part[badness[part].argmin()]) for part in parts]

    @property
    def has_true_colour(self) -> bool:
        """Whether there are the bands for it."""
        return len(self._shown) == 3

    @property
    def shown_in_grey(self) -> str:
        """The band that stands in where there is no colour."""
        return self._shown[0]

    @property
    def has_false_colour(self) -> bool:
        """Whether there are the bands for it."""
        return set(FALSE_COLOUR) <= set(self.bands)

    def colour(self, index: int, bands: Sequence[str] | None = None) -> Array:
        """Return a date in colour, or in grey where there are no bands for it; dims (y, x, RGB).

        0 to 1; missing pixels are light grey.
        """
        layers = [stretched(self._values(band)[index], band) for band in bands or self._shown]
        picture = np.stack(layers if len(layers) == 3 else layers[:1] * 3, axis=-1)
        return np.where(np.isnan(picture), _MISSING, picture)

    def masked(self, index: int) -> Array | None:
        """Return a date in colour with its clouds tinted; None without information on clouds."""
        if self.cloud_mask is None:
            return None
        return tinted(self.colour(index), self.cloud_mask[index])

    @cached_property
    def cloud_share(self) -> Array:
        """Share of pixels in the cloud mask, dims (t,); 0 without one."""
        if self.cloud_mask is None:
            return np.zeros(len(self.dates))
        return np.asarray(self.cloud_mask.mean(axis=(1, 2)))

    @cached_property
    def clear_dates(self) -> Array:
        """Dates of which at least half can be seen, bool, dims (t,)."""
        return self.hidden_share <= _CLEAR

    @cached_property
    def pixel_metres(self) -> float | None:
        """Width of a pixel; None where the file does not say it, or not in metres."""
        x = self._file.coordinate("x")
        if x is None or len(x) < 2 or (self._file.text("units", "x") or "m") not in _METRES:
            return None
        return abs(float(x[1] - x[0])) or None

    @cached_property
    def label_name(self) -> str | None:
        """Meaning of the label at the centre; None where there is none."""
        code = self.label.at_centre if self.label is not None else 0
        return self.label.meanings.get(code, f"label {code}") if self.label and code else None

    @property
    def seen(self) -> str:
        """How many dates there are and can be seen, in words."""
        number = len(self.dates)
        dates = f"{number} date{'s' * (number > 1)}"
        if self._hidden is None:
            return f"{dates}, clouds not known" if self.has_true_colour else dates
        return f"{int(self.clear_dates.sum())} of {dates} clear"

    def ndvi(self) -> tuple[Array, Array, Array] | None:
        """Return NDVI of the pixels that are seen: its 10th, 50th and 90th percentile, dims (t,).

        (near infrared - red) / (near infrared + red), of the labelled field where there is one.
        NaN on dates without a pixel. None without the bands for it.
        """
        if not {_RED, _NEAR_INFRARED} <= set(self.bands):
            return None
        near, red = (self._floats(band) for band in (_NEAR_INFRARED, _RED))
        with np.errstate(divide="ignore", invalid="ignore"):
            ndvi = (near - red) / (near + red)
        if self._hidden is not None:
            ndvi[self._hidden] = np.nan
        if (field := self._field()) is not None:
            ndvi[:, ~field] = np.nan
        flat = ndvi.reshape(len(ndvi), -1)
        found = np.full((3, len(flat)), np.nan)
        seen = ~np.isnan(flat).all(axis=1)
        if seen.any():
            found[:, seen] = np.nanpercentile(flat[seen], [10, 50, 90], axis=1)
        return found[0], found[1], found[2]

    def _field(self) -> Array | None:
        """Return the labelled field at the centre; None where there is none."""
        if self.label is None or not (code := self.label.at_centre):
            return None
        return _connected(self.label.codes == code)

    def _floats(self, band: str) -> Array:
        values = self._values(band)
        floats = values.astype(np.float32)
        if values.dtype == np.uint16:
            floats[values == NODATA] = np.nan
        return floats


def _connected(mask: Array) -> Array:
    """Return the part of a mask that hangs together, by edges, with the pixel in the middle."""
    part = np.zeros_like(mask)
    part[mask.shape[0] // 2, mask.shape[1] // 2] = True
    size = 0
    while (found := int(part.sum())) > size:
        size = found
        grown = part.copy()
        grown[1:] |= part[:-1]
        grown[:-1] |= part[1:]
        grown[:, 1:] |= part[:, :-1]
        grown[:, :-1] |= part[:, 1:]
        part = grown & mask
    return part


@contextmanager
def open_patch(item: pystac.Item) -> Iterator[OpenPatch]:
    """Open the first asset of an item, which is its patch.

    Raises
    ------
    InputError
        When it cannot be drawn.
    """
    asset = next((asset for key, asset in item.assets.items() if key != _LABELS), None)
    if asset is None:
        raise InputError(f"Item {item.id} has no asset to draw.")
    with _opened(asset, item) as file:
        name = item.properties.get("sample_id") or file.text("sample_id") or item.id
        yield OpenPatch(file, str(name), _label(item))


@contextmanager
def _opened(asset: pystac.Asset, item: pystac.Item) -> Iterator[PatchFile]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_patch_file(_local(asset)))
        except OSError as error:
            raise InputError(f"Item {item.id}: {asset.href} cannot be opened: {error}") from error
        yield file


def _label(item: pystac.Item) -> LabelRaster | None:
    asset = item.assets.get(_LABELS)
    if asset is None:
        return None
    with _opened(asset, item) as file:
        raster = next((name for name, dims in file.rasters.items() if dims == ("y", "x")), None)
        if raster is None:
            return None
        values = file.attribute("flag_values", raster)
        words = (file.text("flag_meanings", raster) or "").split()
        meanings = {
            int(value): word.replace("_", " ")
            for value, word in zip(np.ravel([] if values is None else values), words, strict=False)
        }
        return LabelRaster(file.stored(raster), meanings)


def _local(asset: pystac.Asset) -> Path:
    href = asset.get_absolute_href() or asset.href
    return Path(unquote(urlparse(href).path) if href.startswith("file:") else href)
