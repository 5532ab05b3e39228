"""GeoTIFF: one cloud-optimised file per date, named as CDSE names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OpenEOError
from .cube import Cube
from .result import ResultAsset
from .writers_cog import write_cog
from .writers_common import atomic, describe_place, finish, rfc3339, software

__all__ = ["write_geotiff"]


def write_geotiff(
    folder: Path, prefix: str, cube: Cube, *, feature: int | None = None
) -> list[ResultAsset]:
    """Write a raster cube as cloud-optimised GeoTIFFs, each atomically.

    Parameters
    ----------
    folder
        Where the files go.
    prefix
        Start of the file names: ``openEO`` gives ``openEO_2023-04-12Z.tif`` for a date (with the
        time of day where it is not midnight) and ``openEO.tif`` for a cube without dates.
    cube
        Dims (t, bands, y, x) or a subset that has y and x; another dimension may stand in for
        ``bands``, as flatten_dimensions makes one. Booleans are written as bytes.
    feature
        Index of the feature that the files belong to, for the returned descriptions.

    Returns
    -------
    list of ResultAsset
        One per file, in the order of the dates. Deflate, tiles of 512 px, overviews where the
        raster is larger than a tile, band descriptions, nodata (NaN for floats).

    Raises
    ------
    OpenEOError
        FormatUnsuitable: the cube has no y and x on a pixel grid, or other dimensions.
    """
    others = [d for d in cube.dims if d not in ("t", "y", "x")]
    if cube.geobox is None or len(others) > 1:
        raise OpenEOError(
            "FormatUnsuitable",
            f"GeoTIFF holds rasters with the dimensions t, bands, y, x; this cube has "
            f"{', '.join(cube.dims) or 'none'}. Reduce or flatten the others, or save as NetCDF.",
        )
    bands = tuple(str(b) for d in others for b in cube.labels[d])
    place = describe_place(cube.geobox)
    nodata = float("nan") if cube.data.dtype.kind == "f" else cube.nodata
    assets = []
    for time, frame in _frames(cube):
        path = folder / (f"{prefix}.tif" if time is None else f"{prefix}_{_stamp(time)}.tif")
        with atomic(path) as part:
            write_cog(part, frame, cube.geobox, nodata, tags=_tags(time), bands=bands)
        stamp = None if time is None else rfc3339(time)
        asset = ResultAsset(
            name=path.name,
            media_type="image/tiff; application=geotiff; profile=cloud-optimized",
            bands=bands,
            start=stamp,
            end=stamp,
            feature=feature,
            nodata=nodata,
            **place,
        )
        assets.append(finish(asset, path))
    return assets


def _frames(cube: Cube) -> list[tuple[np.datetime64 | None, np.ndarray[Any, Any]]]:
    """Return (date or None, array of bands, y, x) for each date."""
    banded = set(cube.dims) - {"t", "y", "x"}
    data = cube.data if banded else np.expand_dims(cube.data, -3)
    if data.dtype == bool:
        data = data.view(np.uint8)
    elif data.dtype == np.float16:
        data = data.astype(np.float32)
    if "t" not in cube.dims:
        return [(None, data)]
    return list(zip(cube.labels["t"], data, strict=True))


def _stamp(time: np.datetime64) -> str:
    text = rfc3339(time)
    midnight = time.astype("datetime64[D]") == time
    # Colons are not allowed in file names everywhere.
    return text[:10] + "Z" if midnight else text.replace(":", "")


def _tags(time: np.datetime64 | None) -> dict[str, str]:
    tags = {"TIFFTAG_SOFTWARE": software()}
    if time is not None:
        stamp = rfc3339(time)
        tags["TIFFTAG_DATETIME"] = f"{stamp[:10].replace('-', ':')} {stamp[11:19]}"
    return tags
