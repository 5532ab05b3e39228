"""A small picture of a patch: its clearest date in true colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from openeo_gfmap.errors import InputError
from openeo_gfmap.files import whole
from openeo_gfmap.utils.patch_file import NODATA, PatchFile, open_patch_file
from openeo_gfmap.utils.pictures import (
    HIDING,
    SCENE_CLASSES,
    TRUE_COLOUR,
    bands_to_show,
    least_typical,
    stretched,
)

__all__ = ["write_quicklook"]


def write_quicklook(netcdf: str | Path, png: str | Path) -> Path:
    """Draw the clearest date of a patch, pixel by pixel; return the path of the PNG.

    The clearest date is the one with most pixels that are valid and, where the patch has the scene
    classification, neither cloud nor shadow; without it, of several in true colour, the one
    of most usual brightness. True colour where the bands for it are there, else the first band in
    grey; nodata is transparent. The file appears whole or not at all.

    Parameters
    ----------
    netcdf : path
        NetCDF file with bands of dims (t, y, x) or (y, x).
    png : path
        File to write.

    Raises
    ------
    InputError
        When the file has no band.
    OSError
        When it cannot be read.
    """
    from PIL import Image  # noqa: PLC0415

    png = Path(png)
    with open_patch_file(netcdf) as file:
        shown = bands_to_show(list(file.rasters))
        if not shown:
            raise InputError(f"{netcdf} has no band to draw; it has {', '.join(file.variables)}.")
        date = _clearest(file, shown[0])
        layers = [
            stretched(file.values(name, date if len(file.rasters[name]) == 3 else ...), name)
            for name in shown
        ]
    picture = np.stack([*(layers if len(layers) == 3 else layers * 3)], axis=-1)
    hidden = np.isnan(picture).any(axis=-1)
    rgba = np.dstack([np.nan_to_num(picture), ~hidden])
    png.parent.mkdir(parents=True, exist_ok=True)
    with whole(png) as part:
        Image.fromarray((rgba * 255).round().astype(np.uint8), "RGBA").save(part, "PNG")
    return png


def _clearest(file: PatchFile, band: str) -> int:
    """Return the date with most pixels to see."""
    if len(file.rasters[band]) == 2:
        return 0
    name = SCENE_CLASSES if SCENE_CLASSES in file.rasters else band
    values = file.values(name)
    seen = ~np.isnan(values) if values.dtype.kind == "f" else values != NODATA
    if name == SCENE_CLASSES:
        seen &= ~np.isin(values, HIDING)
    counts = seen.reshape(len(seen), -1).sum(axis=1)
    best = np.flatnonzero(counts == counts.max())
    if name != TRUE_COLOUR[0] or not counts.max():
        return int(best[0])
    reflectance = np.where(seen, values, 0).sum(axis=(1, 2), dtype=np.float64)
    return int(best[least_typical(reflectance[best]).argmin()])
