"""Square windows around samples, on the pixel grid of Sentinel-2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["square_windows"]


def square_windows(samples: gpd.GeoDataFrame, side: float, snap: float) -> gpd.GeoDataFrame:
    """Return the samples with a square around each one's centre for a geometry.

    Parameters
    ----------
    samples : GeoDataFrame
        In any CRS.
    side : float
        Side of the square in metres.
    snap : float
        Corners lie on multiples of this, in metres. Sentinel-2's bands of 10 m and 20 m share the
        lines of a 20 m grid that begins at 0, so squares on it hold whole pixels of both.

    Returns
    -------
    GeoDataFrame
        In the UTM zone that the samples' extent suggests: one for all, since a job has one grid.
    """
    import shapely  # noqa: PLC0415

    utm = samples.to_crs(samples.estimate_utm_crs())
    centres = utm.geometry.centroid
    west = np.rint((centres.x.to_numpy() - side / 2) / snap) * snap
    south = np.rint((centres.y.to_numpy() - side / 2) / snap) * snap
    return utm.set_geometry(shapely.box(west, south, west + side, south + side), crs=utm.crs)
