"""Extraction of Sentinel-2 level 2A."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import openeo

from openeo_gfmap.backend import Backend, BackendContext
from openeo_gfmap.bands import BASE_SENTINEL2_L2A_MAPPING
from openeo_gfmap.fetching.arguments import as_fetch_type, check_params
from openeo_gfmap.fetching.commons import (
    convert_band_names,
    load_cube,
    rename_bands,
    resample_reproject,
)
from openeo_gfmap.fetching.fetching import CollectionFetcher, FetchType
from openeo_gfmap.sources import Product, find_source
from openeo_gfmap.spatial import SpatialContext
from openeo_gfmap.temporal import TemporalContext

__all__ = ["BASE_SENTINEL2_L2A_MAPPING", "build_sentinel2_l2a_extractor"]

# The largest uint16 that is a value: 65535 marks nodata. Scaling 0..65534 onto itself changes no
# value; it tells the back-end that 16 bits are enough.
_MAX_UINT16 = 65534


def build_sentinel2_l2a_extractor(
    backend_context: Backend | BackendContext,
    bands: Sequence[str],
    fetch_type: FetchType,
    **params: Any,
) -> CollectionFetcher:
    """Build the extractor of Sentinel-2 level 2A for a back-end.

    The cube it gives has the harmonised band names, uint16 values (reflectance times 10,000, the
    offset of newer processing baselines taken off) and nodata 65535.

    Parameters
    ----------
    backend_context : Backend or BackendContext
    bands : sequence of str
        Harmonised names: "S2-L2A-B01" to "S2-L2A-B12", "S2-L2A-B8A", "S2-L2A-SCL" and so on.
    fetch_type : FetchType
    **params
        Any of these:

        - ``target_resolution``: pixel size in units of the target CRS, by default 10.0; None leaves
          the native grid.
        - ``target_crs``: EPSG code; by default the cube keeps the CRS of the data.
        - ``resampling_method``: by default "near".
        - ``load_collection``: filters on scene properties, such as
          ``{"eo:cloud_cover": lambda value: value <= 95}``.
        - ``update_arguments``: further arguments for the ``load_collection`` node.
        - ``pre_mask``, ``pre_merge``: data cube that masks, or is merged with, what was loaded,
          right after loading.

    Returns
    -------
    CollectionFetcher

    Raises
    ------
    UnknownBand
        When the back-end's collection lacks a band.
    UnsupportedCollection
        When the back-end has no Sentinel-2 level 2A.
    InputError
        When a parameter is unknown or out of its range.

    Examples
    --------
    >>> extractor = build_sentinel2_l2a_extractor(
    ...     Backend.CDSE, ["S2-L2A-B04", "S2-L2A-B08"], FetchType.TILE, target_resolution=20
    ... )
    """
    if not isinstance(backend_context, BackendContext):
        backend_context = BackendContext(backend_context)
    source = find_source(backend_context.backend, Product.SENTINEL2_L2A)
    fetch_type = as_fetch_type(fetch_type)
    convert_band_names(bands, source.bands)  # a wrong band is reported here, not in the job

    def fetch(
        connection: openeo.Connection,
        spatial_context: SpatialContext,
        temporal_context: TemporalContext,
        bands: Sequence[str],
        **params: Any,
    ) -> openeo.DataCube:
        return load_cube(
            connection,
            source.collection_id,
            convert_band_names(bands, source.bands),
            spatial_context,
            temporal_context,
            fetch_type=fetch_type,
            properties=params.get("load_collection"),
            update_arguments=params.get("update_arguments"),
            pre_mask=params.get("pre_mask"),
            pre_merge=params.get("pre_merge"),
        )

    def harmonise(cube: openeo.DataCube, **params: Any) -> openeo.DataCube:
        if params["target_resolution"] is not None:
            cube = resample_reproject(
                cube,
                params["target_resolution"],
                params["target_crs"],
                params["resampling_method"],
            )
        cube = rename_bands(cube, source.bands)
        return cube.linear_scale_range(0, _MAX_UINT16, 0, _MAX_UINT16)

    return CollectionFetcher(
        backend_context, bands, fetch, harmonise, **check_params(params, source.defaults)
    )
