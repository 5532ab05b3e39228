"""Tables of values per geometry: Parquet, JSON and CSV as CDSE writes them, and NetCDF."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OpenEOError
from .result import ResultAsset
from .vector import VectorCube
from .writers_common import atomic, finish, rfc3339, software

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["VECTOR_FORMATS", "write_vector"]


def write_vector(path: Path, table: VectorCube, format: str) -> ResultAsset:
    """Write a vector cube as a table, atomically.

    Parameters
    ----------
    path
        Target file; an existing one is replaced.
    table
        Dims (geometry, t, bands), the last two optional.
    format
        One of these, in any case:

        - ``Parquet``: one row per geometry in their order, one column per date and band, named
          ``<band>:<YYYY-MM-DD>``, the dates outside, the bands inside.
        - ``JSON``: an object ``{date: [[value per band] per geometry]}``; without dates the
          inner list alone. Missing values are null.
        - ``CSV``: one row per date and geometry: ``date``, ``feature_index``, one column per band.
        - ``NetCDF``: dims (feature, t), one variable per band, ``lon`` and ``lat`` of a point in
          each geometry.

    Returns
    -------
    ResultAsset
        The file as the job's results describe it.

    Raises
    ------
    OpenEOError
        FormatUnsuitable: an unknown format.
    """
    try:
        media_type, write = _FORMATS[format.lower()]
    except KeyError:
        raise OpenEOError(
            "FormatUnsuitable",
            f"Format {format!r} cannot hold values per geometry; use one of "
            f"{', '.join(VECTOR_FORMATS)}.",
        ) from None
    with atomic(path) as part:
        write(part, table)
    times = table.labels["t"] if "t" in table.dims else np.empty(0, dtype="datetime64[ns]")
    box = table.bounds()
    return finish(
        ResultAsset(
            name=path.name,
            media_type=media_type,
            bands=_bands(table),
            bbox=box,
            geometry=None if box is None else _rectangle(box),
            start=rfc3339(np.min(times)) if len(times) else None,
            end=rfc3339(np.max(times)) if len(times) else None,
        ),
        path,
    )


def _bands(table: VectorCube) -> tuple[str, ...]:
    return tuple(str(b) for b in table.labels["bands"]) if "bands" in table.dims else ()


def _aligned(table: VectorCube) -> np.ndarray[Any, Any]:
    """Return the values with dims (t, geometry, bands), length 1 for those the table lacks."""
    known = [d for d in ("t", "geometry", "bands") if d in table.dims]
    if len(known) != len(table.dims):
        raise OpenEOError(
            "FormatUnsuitable",
            f"A table holds the dimensions geometry, t and bands; this result has "
            f"{', '.join(table.dims)}. Reduce or drop the others first.",
        )
    data = np.transpose(table.data, [table.dims.index(d) for d in known])
    for axis, dim in enumerate(("t", "geometry", "bands")):
        if dim not in known:
            data = np.expand_dims(data, axis)
    return data


def _write_parquet(path: Path, table: VectorCube) -> None:
    wide_table(table).to_parquet(path, engine="pyarrow")


def wide_table(table: VectorCube) -> pd.DataFrame:
    """Return one row per geometry and one column per date and band."""
    import pandas as pd  # noqa: PLC0415  (slow to import, and not needed for rasters)

    days = [rfc3339(t)[:10] for t in table.labels["t"]] if "t" in table.dims else [""]
    bands = _bands(table) or ("",)
    names = [":".join(filter(None, (band, day))) or "value" for day in days for band in bands]
    values = np.swapaxes(_aligned(table), 0, 1).reshape(len(table), len(names))
    return pd.DataFrame(np.asarray(values, dtype=np.float64), columns=names)


def _write_json(path: Path, table: VectorCube) -> None:
    frames = [
        [[None if math.isnan(v) else v for v in row] for row in frame]
        for frame in _aligned(table).astype(np.float64).tolist()
    ]
    document: Any = frames[0] if "t" not in table.dims else None
    if document is None:
        document = dict(zip(map(rfc3339, table.labels["t"]), frames, strict=True))
    with path.open("w", encoding="utf-8") as file:
        json.dump(document, file, separators=(",", ":"))


def _write_csv(path: Path, table: VectorCube) -> None:
    dates = [[rfc3339(t)] for t in table.labels["t"]] if "t" in table.dims else [[]]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ["date"] if "t" in table.dims else []
        writer.writerow([*head, "feature_index", *(_bands(table) or ("value",))])
        for date, frame in zip(dates, _aligned(table).astype(np.float64).tolist(), strict=True):
            for index, row in enumerate(frame):
                writer.writerow([*date, index, *("" if math.isnan(v) else repr(v) for v in row)])


def _write_netcdf(path: Path, table: VectorCube) -> None:
    import xarray as xr  # noqa: PLC0415  (slow to import, and not needed for rasters)

    values = _aligned(table)
    dims, coords = ["feature"], dict(_points(table))
    if "t" in table.dims:
        dims.append("t")
        coords["t"] = ("t", table.labels["t"], {"standard_name": "time", "axis": "T"})
    else:
        values = values[:1]
    variables = {}
    for index, band in enumerate(_bands(table) or ("value",)):
        plane = values[..., index].T
        plane = plane if "t" in table.dims else plane[:, 0]
        variables[band] = (dims, plane, {"long_name": band, "units": ""})
    dataset = xr.Dataset(
        variables,
        coords=coords,
        attrs={
            "Conventions": "CF-1.9",
            "title": path.stem,
            "institution": f"openEO platform - {software()}",
            "history": f"Written by {software()} from an openEO process graph.",
        },
    )
    dataset.to_netcdf(path, engine="h5netcdf")


def _points(table: VectorCube) -> dict[str, Any]:
    """Return WGS84 coordinates of a point in each geometry, NaN for an empty one."""
    import shapely  # noqa: PLC0415  (only vector results need it)
    from pyproj import Transformer  # noqa: PLC0415

    if not table.geometries:
        return {}
    points = shapely.point_on_surface(np.asarray(table.geometries, dtype=object))
    to_wgs84 = Transformer.from_crs(table.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_wgs84.transform(shapely.get_x(points), shapely.get_y(points))
    return {
        "lon": ("feature", lon, {"standard_name": "longitude", "units": "degrees_east"}),
        "lat": ("feature", lat, {"standard_name": "latitude", "units": "degrees_north"}),
    }


def _rectangle(box: tuple[float, float, float, float]) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


_FORMATS: dict[str, tuple[str, Callable[[Path, VectorCube], None]]] = {
    "parquet": ("application/vnd.apache.parquet", _write_parquet),
    "json": ("application/json", _write_json),
    "csv": ("text/csv", _write_csv),
    "netcdf": ("application/x-netcdf", _write_netcdf),
}

VECTOR_FORMATS = ("Parquet", "JSON", "CSV", "NetCDF")
"""Formats that :func:`write_vector` knows."""
