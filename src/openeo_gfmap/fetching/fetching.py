"""Kinds of extraction, and the object that carries one out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import openeo

from openeo_gfmap.backend import Backend, BackendContext
from openeo_gfmap.errors import InputError
from openeo_gfmap.spatial import SpatialContext
from openeo_gfmap.temporal import TemporalContext

__all__ = ["CollectionFetcher", "FetchType"]


class FetchType(Enum):
    """What comes out of an extraction.

    Attributes
    ----------
    TILE
        One dense cube over a bounding box.
    POINT
        A cube meant for ``aggregate_spatial``: one value per geometry, band and date.
    POLYGON
        One patch per geometry, each saved to a file of its own with ``sample_by_feature``.
    """

    TILE = "tile"
    POINT = "point"
    POLYGON = "polygon"


class CollectionFetcher:
    """Load a collection and harmonise it.

    Parameters
    ----------
    backend : Backend or BackendContext
        The back-end the process graph is built for.
    bands : sequence of str
        Harmonised band names to load, in this order.
    fetcher : callable
        ``fetcher(connection, spatial_context, temporal_context, bands, **params)`` gives the cube
        as the collection has it.
    preprocessor : callable
        ``preprocessor(cube, **params)`` gives the harmonised cube.
    **params
        Handed to both.
    """

    def __init__(
        self,
        backend: Backend | BackendContext,
        bands: Sequence[str],
        fetcher: Callable[..., openeo.DataCube],
        preprocessor: Callable[..., openeo.DataCube],
        **params: Any,
    ) -> None:
        self.backend = backend
        self.bands = list(bands)
        self.fetcher = fetcher
        self.preprocessor = preprocessor
        self.params = params

    def get_cube(
        self,
        connection: openeo.Connection,
        spatial_context: SpatialContext,
        temporal_context: TemporalContext,
    ) -> openeo.DataCube:
        """Build the cube of one place and period; nothing is computed yet.

        Parameters
        ----------
        connection : openeo.Connection
            A connection to the back-end this fetcher was built for.
        spatial_context : BoundingBoxExtent, GeoJSON mapping or str
            The place, in the form that the fetch type takes.
        temporal_context : TemporalContext
            The period; its last date is not loaded.

        Returns
        -------
        openeo.DataCube
            Dimensions t, bands, y, x.

        Raises
        ------
        InputError
            When place or period do not fit the fetch type.
        """
        if not isinstance(temporal_context, TemporalContext):
            raise InputError(
                f"temporal_context={temporal_context!r} is not a period; "
                "pass TemporalContext('2022-01-01', '2022-12-31')."
            )
        cube = self.fetcher(
            connection, spatial_context, temporal_context, self.bands, **self.params
        )
        return self.preprocessor(cube, **self.params)
