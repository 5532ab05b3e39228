"""A small picture of a patch: its clearest date in true colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_gfmap.errors import InputError
from openeo_gfmap.files import whole
from openeo_gfmap.utils.pictures import (
    HIDING,
    SCENE_CLASSES,
    TRUE_COLOUR,
    bands_to_show,
    least_typical,
    stretched,
)

if TYPE_CHECKING:
    import h5py

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
    import h5py  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    png = Path(png)
    with h5py.File(netcdf, "r") as file:
        names = [name for name in file if _is_band(file[name])]
        shown = bands_to_show(names)
        if not shown:
            raise InputError(f"{netcdf} has no band to draw; it has {', '.join(file)}.")
        date = _clearest(file, names, shown[0])
        layers = [stretched(_frame(file[name], date), name) for name in shown]
    picture = np.stack([*(layers if len(layers) == 3 else layers * 3)], axis=-1)
    hidden = np.isnan(picture).any(axis=-1)
    rgba = np.dstack([np.nan_to_num(picture), ~hidden])
    png.parent.mkdir(parents=True, exist_ok=True)
    with whole(png) as part:
        Image.fromarray((rgba * 255).round().astype(np.uint8), "RGBA").save(part, "PNG")
    return png


def _is_band(member: Any) -> bool:
    return getattr(member, "ndim", 0) in (2, 3) and member.dtype.kind in "iuf"


def _values(dataset: h5py.Dataset, where: Any) -> np.ndarray[Any, Any]:
    """Return values as they are meant: unsigned ones are stored as signed."""
    values: np.ndarray[Any, Any] = dataset[where]
    unsigned = dataset.attrs.get("_Unsigned")
    is_unsigned = unsigned is not None and str(np.asarray(unsigned).astype(str)) == "true"
    return values.view(f"u{values.dtype.itemsize}") if is_unsigned else values


def _frame(dataset: h5py.Dataset, date: int) -> np.ndarray[Any, Any]:
    return _values(dataset, date if dataset.ndim == 3 else ...)


def _clearest(file: h5py.File, names: list[str], band: str) -> int:
    """Return the date with most pixels to see."""
    if file[band].ndim == 2:
        return 0
    name = SCENE_CLASSES if SCENE_CLASSES in names else band
    values = _values(file[name], ...)
    if name == SCENE_CLASSES:
        seen = ~np.isin(values, (*HIDING, 65535))
    elif values.dtype.kind == "f":
        seen = ~np.isnan(values)
    else:
        seen = values != 65535
    counts = seen.reshape(len(seen), -1).sum(axis=1)
    best = np.flatnonzero(counts == counts.max())
    if name != TRUE_COLOUR[0] or not counts.max():
        return int(best[0])
    reflectance = np.where(seen, values, 0).sum(axis=(1, 2), dtype=np.float64)
    return int(best[least_typical(reflectance[best]).argmin()])
