"""The result writers: NetCDF and GeoTIFF for raster cubes, and tables for vector cubes.

Each writes atomically (a file under its final name is whole) and returns a
:class:`~openeo_gfmap.local.engine.result.ResultAsset` that says all that STAC needs to know.
"""

from __future__ import annotations

from .writers_geotiff import write_geotiff
from .writers_netcdf import write_netcdf
from .writers_vector import VECTOR_FORMATS, write_vector

__all__ = ["VECTOR_FORMATS", "write_geotiff", "write_netcdf", "write_vector"]
