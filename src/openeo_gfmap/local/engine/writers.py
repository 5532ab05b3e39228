"""The result writers: NetCDF and GeoTIFF for raster cubes, and tables for vector cubes.

Each writes atomically (a file under its final name is whole) and returns a
:class:`~openeo_gfmap.local.engine.result.ResultAsset` that says all that STAC needs to know.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .cube import Cube
from .result import ResultAsset
from .writers_geotiff import write_geotiff
from .writers_netcdf import write_netcdf
from .writers_vector import VECTOR_FORMATS, write_vector

__all__ = [
    "RASTER_FORMATS",
    "RASTER_WRITERS",
    "VECTOR_FORMATS",
    "write_geotiff",
    "write_netcdf",
    "write_vector",
]

RASTER_FORMATS = ("NetCDF", "GTiff")
"""Formats that raster cubes can be written to."""


def _save_netcdf(folder: Path, name: str, cube: Cube) -> list[ResultAsset]:
    return [write_netcdf(folder / f"{name}.nc", cube)]


RASTER_WRITERS: dict[str, Callable[[Path, str, Cube], list[ResultAsset]]] = {
    "netcdf": _save_netcdf,
    "gtiff": write_geotiff,
}
"""By format, in lower case: writes a cube to a folder under a name, which gets a suffix."""
