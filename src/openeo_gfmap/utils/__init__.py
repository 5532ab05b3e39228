"""Helpers around a run: uploading geometries, reading results, small operations on patches."""

from openeo_gfmap.utils.arrays import (
    array_bounds,
    arrays_cosine_similarity,
    normalize_array,
    select_optical_bands,
)
from openeo_gfmap.utils.build_df import load_json
from openeo_gfmap.utils.intervals import quintad_intervals
from openeo_gfmap.utils.netcdf import update_nc_attributes
from openeo_gfmap.utils.split_stac import split_collection_by_epsg
from openeo_gfmap.utils.upload import upload_geoparquet

__all__ = [
    "array_bounds",
    "arrays_cosine_similarity",
    "load_json",
    "normalize_array",
    "quintad_intervals",
    "select_optical_bands",
    "split_collection_by_epsg",
    "update_nc_attributes",
    "upload_geoparquet",
]
