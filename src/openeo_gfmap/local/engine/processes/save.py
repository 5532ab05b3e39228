"""Results."""

from __future__ import annotations

from typing import Any

from ...errors import OpenEOError
from ..cube import Cube
from ..meta import CubeMeta, Meta, TableMeta
from ..plan import Call, PlanContext, Rule
from ..registry import (
    NOTHING,
    Boolean,
    OutputFormat,
    OutputOptions,
    TableData,
    process,
)
from ..writers import RASTER_FORMATS, VECTOR_FORMATS
from ..writers_features import FEATURE_FORMATS

_OPTIONS = ("sample_by_feature", "feature_id_property", "filename_prefix")


def _save_meta(call: Call, context: PlanContext) -> Meta | Any:
    name, options = str(call.args["format"]), call.args.get("options") or {}
    data = call.args["data"]
    raster = isinstance(data, CubeMeta) and not isinstance(data, TableMeta)
    known, kind = _formats_of(data)
    if name.lower() not in {f.lower() for f in (*RASTER_FORMATS, *VECTOR_FORMATS)}:
        raise OpenEOError(
            "FormatUnsupported",
            f"Node {call.node.id!r}: format {name!r} is not available; use one of "
            f"{', '.join(dict.fromkeys((*RASTER_FORMATS, *VECTOR_FORMATS)))}.",
            node=call.node.id,
        )
    if name.lower() not in {f.lower() for f in known}:
        raise OpenEOError(
            "FormatUnsuitable",
            f"Node {call.node.id!r}: format {name!r} cannot hold {kind}; use one of "
            f"{', '.join(known)}.",
            node=call.node.id,
        )
    if raster and name.lower() == "gtiff" and len({*data.dims} - {"t", "y", "x"}) > 1:
        raise OpenEOError(
            "FormatUnsuitable",
            f"Node {call.node.id!r}: GeoTIFF holds rasters with t, y, x and one more "
            f"dimension; this cube has {', '.join(data.dims)}. Reduce others, or save as NetCDF.",
            node=call.node.id,
        )
    if raster and options.get("sample_by_feature") and data.features is None:
        raise OpenEOError(
            "FormatArgumentInvalid",
            f"Node {call.node.id!r}: sample_by_feature needs the features of one filter_spatial; "
            "the cube has none. After merge_cubes it keeps them only when both cubes are filtered "
            "by the same: use filter_spatial last.",
            node=call.node.id,
        )
    return data


def _formats_of(data: Any) -> tuple[tuple[str, ...], str]:
    """Return the formats that hold something, and what it is called."""
    if isinstance(data, TableMeta):
        return VECTOR_FORMATS, "values per geometry"
    if isinstance(data, CubeMeta):
        return RASTER_FORMATS, "a raster data cube"
    if isinstance(data, Cube):
        return ("JSON",), "a data cube without pixels"
    return FEATURE_FORMATS, "features without values"


@process(plan=Rule(meta=_save_meta))
def save_result(data: TableData, format: OutputFormat, options: OutputOptions = NOTHING) -> Boolean:
    """Write the result to files.

    Parameters
    ----------
    data
        What to write.
    format
        NetCDF or GTiff for raster cubes; Parquet, JSON, CSV or NetCDF for values per geometry;
        Parquet, JSON (GeoJSON) or CSV for features without values.
    options
        ``sample_by_feature``: one file per feature of filter_spatial, named by its index, or by
        the property that ``feature_id_property`` names. ``filename_prefix`` stands before it
        instead of ``openEO``.

    Returns
    -------
    Boolean
        True.
    """
    return True
