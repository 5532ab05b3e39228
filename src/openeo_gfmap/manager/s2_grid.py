"""The Sentinel-2 tiling grid as GeoDataFrames, computed instead of downloaded.

See `openeo_gfmap.tiling` for how the grid is computed, and for the tile of a point.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import geopandas as gpd
import numpy as np
import shapely

from openeo_gfmap.tiling import TILE_SIZE, all_tiles
from openeo_gfmap.utm import utm_to_lonlat

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["load_s2_grid", "load_s2_grid_centroids"]

# The edges of a tile are straight in UTM and bent in degrees. With this many segments an edge is
# off by less than 10 m up to 65° of latitude and 40 m at the far ends of the grid.
_SEGMENTS: Final = 8
_FALSE_NORTHING = 10_000_000


def load_s2_grid(web_mercator: bool = False) -> gpd.GeoDataFrame:
    """All Sentinel-2 tiles with their outlines.

    Parameters
    ----------
    web_mercator : bool
        Give the outlines in EPSG:3857 instead of EPSG:4326.

    Returns
    -------
    GeoDataFrame
        One row per tile, ordered by ``tile``:

        - ``tile``: id, such as ``"31UFS"``,
        - ``epsg``: UTM zone of the tile,
        - ``xmin``, ``ymin``, ``xmax``, ``ymax``: outer pixel edges in metres, in ``epsg``,
        - ``geometry``: Polygon, counter-clockwise; a tile that crosses the antimeridian is a
          MultiPolygon cut there.

        The frame is the caller's own: changing it changes nothing else.
    """
    return _grid(web_mercator).copy()


def load_s2_grid_centroids(web_mercator: bool = False) -> gpd.GeoDataFrame:
    """All Sentinel-2 tiles with their centres.

    Parameters
    ----------
    web_mercator : bool
        Give the points in EPSG:3857 instead of EPSG:4326.

    Returns
    -------
    GeoDataFrame
        The columns of `load_s2_grid`, with a Point for ``geometry``: the centre of the 109.8 km
        square. (It differs from the centroid of the outline in degrees by up to 1 km near the
        poles, and from the meaningless planar centroid of tiles on the antimeridian.)
    """
    tiles = all_tiles()
    points = gpd.GeoDataFrame(
        _attributes(), geometry=gpd.points_from_xy(tiles.lon, tiles.lat), crs=4326
    )
    return points.to_crs(3857) if web_mercator else points


@lru_cache(maxsize=2)
def _grid(web_mercator: bool) -> gpd.GeoDataFrame:
    if web_mercator:
        return _grid(False).to_crs(3857)
    return gpd.GeoDataFrame(_attributes(), geometry=_outlines(), crs=4326)


def _attributes() -> dict[str, NDArray[np.generic]]:
    tiles = all_tiles()
    columns = {name: getattr(tiles, name) for name in ("epsg", "xmin", "ymin", "xmax", "ymax")}
    return {"tile": tiles.id.astype(object), **columns}


def _outlines() -> NDArray[np.object_]:
    """Polygons in degrees; those that cross the antimeridian cut in two."""
    tiles = all_tiles()
    bottom = tiles.ymin - np.where(tiles.epsg > 32700, _FALSE_NORTHING, 0)
    # Once around the square, counter-clockwise from the lower left, in parts of its side.
    along = np.arange(_SEGMENTS) / _SEGMENTS
    zero, one = np.zeros(_SEGMENTS), np.ones(_SEGMENTS)
    x = np.concatenate([along, one, 1 - along, zero, [0]]) * TILE_SIZE
    y = np.concatenate([zero, along, one, 1 - along, [0]]) * TILE_SIZE
    lon, lat = utm_to_lonlat(
        (tiles.epsg % 100)[:, None], tiles.xmin[:, None] + x, bottom[:, None] + y
    )
    outlines: NDArray[np.object_] = shapely.polygons(np.stack([lon, lat], axis=-1))

    # The longitudes go beyond ±180° where a tile crosses: what is over the line moves one turn.
    for crossing, turn in ((lon.min(axis=1) < -180, 360.0), (lon.max(axis=1) > 180, -360.0)):
        whole = outlines[crossing]
        inside = shapely.intersection(whole, shapely.box(-180, -90, 180, 90))
        beyond = shapely.difference(whole, shapely.box(-180, -90, 180, 90))
        moved = shapely.transform(beyond, lambda xy, turn=turn: xy + np.array([turn, 0.0]))
        both = np.stack([inside, moved], axis=1)
        outlines[crossing] = shapely.orient_polygons(shapely.multipolygons(both))
    return outlines
