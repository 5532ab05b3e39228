"""Split labelled geometries into jobs of neighbours.

An openEO back-end limits what one job may extract, and a job is cheap when its geometries lie
close together. Each function here groups the rows of a GeoDataFrame by the cell of a grid that
they lie in, and cuts groups that are too large:

- `split_job_hex`: H3 hexagons, all of about one size,
- `split_job_s2grid`: Sentinel-2 tiles,
- `split_job_s2sphere`: S2 cells, divided until they hold few enough geometries.

They have in common:

- Every row comes out in exactly one job; rows keep their order inside a job. The jobs follow the
  order of the cells, so that the same input always gives the same jobs.
- CRS, columns, dtypes and the bits of the coordinates are kept; the input is not changed. The
  column that tells the cell is added, or replaced where the input has one of that name.
- Each job has the index 0, 1, …, as the results of a job number its features.
- A geometry lies where its centroid lies, in the input's own CRS; a geometry across the
  antimeridian lies where its pieces meet.
- What cannot be placed raises an `InputError` that names the rows, by their index labels.
"""

from __future__ import annotations

import logging
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from h3ronpy import cells_to_string
from h3ronpy.vector import coordinates_to_cells

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.blocks import map_blocks
from openeo_gfmap.manager.positions import representative_points
from openeo_gfmap.manager.s2_cells import MAX_LEVEL, leaf_cells, parent_cells
from openeo_gfmap.manager.s2_grid import load_s2_grid, load_s2_grid_centroids
from openeo_gfmap.tiling import all_tiles, tile_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    import geopandas as gpd
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = [
    "append_h3_index",
    "load_s2_grid",
    "load_s2_grid_centroids",
    "split_job_hex",
    "split_job_s2grid",
    "split_job_s2sphere",
]

_log = logging.getLogger(__name__)
_MAX_H3_RESOLUTION = 15


def split_job_hex(
    polygons: gpd.GeoDataFrame, max_points: int = 500, grid_resolution: int = 3
) -> list[gpd.GeoDataFrame]:
    """Split into jobs by H3 hexagon.

    Parameters
    ----------
    polygons : GeoDataFrame
        Geometries of any kind, with a CRS.
    max_points : int
        Most rows in one job; a hexagon with more gives several jobs.
    grid_resolution : int
        H3 resolution, 0 (4,400,000 km² a hexagon) to 15 (1 m²); 3 has 12,400 km², 4 has
        1,770 km². See https://h3geo.org/docs/core-library/restable

    Returns
    -------
    list of GeoDataFrame
        With the column ``h3index``, the hexagon as 15 hexadecimal digits; ordered by it.

    Raises
    ------
    InputError
        ``max_points`` or ``grid_resolution`` out of range, no CRS, no rows, or geometries that
        are null, empty or not on the globe.
    """
    max_points = _checked_int("max_points", max_points, 1)
    codes, names = _h3_cells(polygons, grid_resolution)
    return _jobs(polygons, codes, {"h3index": names}, max_points)


def append_h3_index(polygons: gpd.GeoDataFrame, grid_resolution: int = 3) -> gpd.GeoDataFrame:
    """Add the column ``h3index`` of `split_job_hex`.

    Parameters
    ----------
    polygons : GeoDataFrame
        Geometries of any kind, with a CRS.
    grid_resolution : int
        H3 resolution, 0 to 15.

    Returns
    -------
    GeoDataFrame
        A copy with the same rows, index and CRS. (openeo-gfmap 0.4 gave it in EPSG:3857.)

    Raises
    ------
    InputError
        As for `split_job_hex`.
    """
    codes, names = _h3_cells(polygons, grid_resolution)
    appended = polygons.copy()
    appended["h3index"] = names[codes]
    return appended


def split_job_s2grid(
    polygons: gpd.GeoDataFrame, max_points: int = 500, web_mercator: bool = False
) -> list[gpd.GeoDataFrame]:
    """Split into jobs by Sentinel-2 tile.

    Tiles overlap by 9.8 km. The tile taken is the one with the widest margin around the point, of
    those in the point's own UTM zone, so that a patch around the point fits in it; see
    `openeo_gfmap.tiling.tile_of`.

    Parameters
    ----------
    polygons : GeoDataFrame
        Geometries of any kind, with a CRS.
    max_points : int
        Most rows in one job; a tile with more gives several jobs.
    web_mercator : bool
        Has no effect: tiles are computed from their UTM squares, whatever map they are drawn on.
        It is accepted because openeo-gfmap 0.4 looked the tiles up on two different maps.

    Returns
    -------
    list of GeoDataFrame
        With the column ``tile``, such as ``"31UFS"``; ordered by it. No tile lies around the
        poles: rows there come last, with ``None`` for a tile, and a warning is logged.

    Raises
    ------
    InputError
        ``max_points`` out of range, no CRS, no rows, or geometries that are null, empty or not on
        the globe.
    """
    del web_mercator
    max_points = _checked_int("max_points", max_points, 1)
    index = map_blocks(
        lambda lon, lat: tile_index(lon, lat, choose="margin"), *representative_points(polygons)
    )
    tiles = all_tiles()
    without = index < 0
    if without.any():
        _log.warning(
            "%d of %d geometries lie near a pole, where Sentinel-2 has no tiles; the tile of "
            "their jobs is None.",
            without.sum(),
            len(index),
        )
    index[without] = len(tiles)
    present, codes = np.unique(index, return_inverse=True)
    names = np.append(tiles.id.astype(object), np.array([None]))
    return _jobs(polygons, codes, {"tile": names[present]}, max_points)


def split_job_s2sphere(
    gdf: gpd.GeoDataFrame, max_points: int = 500, start_level: int = 8
) -> list[gpd.GeoDataFrame]:
    """Split into jobs by S2 cell, with smaller cells where there are more geometries.

    A cell with more than ``max_points`` geometries is divided in four, and so on. More than
    ``max_points`` geometries in one cell of the last level, 1 cm wide, are cut into several jobs.

    Parameters
    ----------
    gdf : GeoDataFrame
        Geometries of any kind, with a CRS.
    max_points : int
        Most rows in one job.
    start_level : int
        S2 level of the largest cells, 0 (a sixth of the globe) to 30; 8 has about 1,300 km². See
        https://s2geometry.io/resources/s2cell_statistics

    Returns
    -------
    list of GeoDataFrame
        With the columns ``s2sphere_cell_id`` (uint64) and ``s2sphere_cell_level``; in the order
        of the cells on the Hilbert curve.

    Raises
    ------
    InputError
        ``max_points`` or ``start_level`` out of range, no CRS, no rows, or geometries that are
        null, empty or not on the globe.
    """
    max_points = _checked_int("max_points", max_points, 1)
    start_level = _checked_int("start_level", start_level, 0, MAX_LEVEL)
    leaves = leaf_cells(*representative_points(gdf))
    along_curve = np.argsort(leaves, kind="stable")
    first, levels = _divide_cells(leaves[along_curve], max_points, start_level)

    codes = np.empty(len(leaves), dtype=np.int64)
    codes[along_curve] = np.cumsum(first) - 1
    firsts, levels = leaves[along_curve][first], levels[first]
    cells = np.empty_like(firsts)
    for level in np.unique(levels):
        cells[levels == level] = parent_cells(firsts[levels == level], int(level))
    return _jobs(gdf, codes, {"s2sphere_cell_id": cells, "s2sphere_cell_level": levels}, max_points)


def _divide_cells(
    leaves: NDArray[np.uint64], max_points: int, start_level: int
) -> tuple[NDArray[np.bool_], Ints]:
    """Divide cells until they hold at most ``max_points`` of the sorted ``leaves``.

    Returns, per leaf, whether it is the first of its cell, and the level of its cell.
    """
    levels = np.full(len(leaves), start_level, dtype=np.int64)
    first = np.zeros(len(leaves), dtype=bool)
    first[0] = True
    # All leaves of a cell follow each other: a cell begins wherever the parent changes. Only the
    # leaves of crowded cells go on to the next level.
    crowded = np.arange(len(leaves))
    for level in range(start_level, MAX_LEVEL + 1):
        parents = parent_cells(leaves[crowded], level)
        first[crowded[1:][parents[1:] != parents[:-1]]] = True
        levels[crowded] = level
        starts = np.flatnonzero(first[crowded])
        sizes = np.diff(starts, append=len(crowded))
        crowded = crowded[np.repeat(sizes > max_points, sizes)]
        if not crowded.size:
            break
    return first, levels


def _h3_cells(gdf: gpd.GeoDataFrame, resolution: int) -> tuple[Ints, NDArray[np.object_]]:
    """Hexagons of the rows: their number among the sorted names, and the names."""
    resolution = _checked_int("grid_resolution", resolution, 0, _MAX_H3_RESOLUTION)
    lon, lat = representative_points(gdf)
    # Ask for the wanted resolution: the parent of a finer cell is not always the cell here.
    cells = map_blocks(
        lambda lat, lon: np.asarray(coordinates_to_cells(lat, lon, resolution)), lat, lon
    )
    codes, present = pd.factorize(cells, sort=True)
    names = np.array(cells_to_string(present).to_pylist(), dtype=object)
    return codes, names


def _jobs(
    gdf: gpd.GeoDataFrame,
    codes: Ints,
    columns: Mapping[str, NDArray[Any]],
    max_points: int,
) -> list[gpd.GeoDataFrame]:
    """Cut a frame into one frame per cell, of at most ``max_points`` rows.

    Parameters
    ----------
    gdf : GeoDataFrame
        The rows.
    codes : ndarray of int
        Number of each row's cell, 0 to the number of cells.
    columns : mapping
        Columns to add, with one value per cell.
    max_points : int
        Most rows in one frame.
    """
    cells = len(next(iter(columns.values())))
    # numpy sorts 16-bit integers by radix, ten times faster than wider ones.
    narrow = codes.astype(np.min_scalar_type(cells))
    by_cell = np.argsort(narrow, kind="stable")
    labelled = gdf.copy(deep=False)
    for name, values in columns.items():
        labelled[name] = values[codes]

    jobs = []
    stop = 0
    for size in np.bincount(codes, minlength=cells).tolist():
        start, stop = stop, stop + size
        for begin in range(start, stop, max_points):
            job = labelled.take(by_cell[begin : min(begin + max_points, stop)])
            job.index = pd.RangeIndex(len(job))
            jobs.append(job)
    return jobs


def _checked_int(name: str, value: Any, low: int, high: int | None = None) -> int:
    expected = f"an integer from {low} " + ("upward" if high is None else f"to {high}")
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputError(f"{name}={value!r} is not usable; expected {expected}.") from error
    if isinstance(value, bool) or number < low or (high is not None and number > high):
        raise InputError(f"{name}={value!r} is out of range; expected {expected}.")
    return number
