"""The file formats that ``GET /file_formats`` names."""

from __future__ import annotations

from typing import Any

__all__ = ["file_formats"]

_PREFIX = {
    "filename_prefix": {
        "type": "string",
        "description": "Start of the file names.",
        "default": "openEO",
    }
}
_PER_FEATURE = {
    "sample_by_feature": {
        "type": "boolean",
        "description": "One file per feature of the filter_spatial before.",
        "default": False,
    },
    "feature_id_property": {
        "type": "string",
        "description": "Property whose value stands in the file name instead of the index.",
    },
    **_PREFIX,
}


def file_formats() -> dict[str, Any]:
    """Return the openEO document of input and output formats."""
    return {
        "input": {
            "Parquet": _format("GeoParquet", ["vector"], description="Features, in any CRS."),
            "GeoJSON": _format("GeoJSON", ["vector"], description="Features, in WGS84."),
        },
        "output": {
            "NetCDF": _format(
                "NetCDF", ["raster", "vector"], _PER_FEATURE,
                description="CF-1.9, one variable per band.",
            ),
            "GTiff": _format(
                "GeoTIFF", ["raster"], _PER_FEATURE,
                description="Cloud-optimised, one file per date.",
            ),
            "Parquet": _format("GeoParquet", ["vector"], _PREFIX),
            "JSON": _format("JSON", ["vector", "other"], _PREFIX),
            "CSV": _format("CSV", ["vector"], _PREFIX),
        },
    }  # fmt: skip


def _format(
    title: str, data: list[str], parameters: dict[str, Any] | None = None, description: str = ""
) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "gis_data_types": data,
        "parameters": parameters or {},
    }
