"""The grid as GeoDataFrames."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from openeo_gfmap.manager.s2_grid import load_s2_grid, load_s2_grid_centroids
from openeo_gfmap.tiling import tile_info, tiles_at


def test_one_row_per_tile() -> None:
    grid = load_s2_grid()
    assert list(grid.columns) == ["tile", "epsg", "xmin", "ymin", "xmax", "ymax", "geometry"]
    assert grid.crs == "EPSG:4326"
    assert len(grid) == grid.tile.nunique() == 56_686
    assert grid.geometry.is_valid.all()
    row = grid.set_index("tile").loc["31UFS"]
    assert (row.xmin, row.ymin, row.xmax, row.ymax) == tile_info("31UFS").bounds


def test_outlines_hold_the_points_that_the_tiles_hold() -> None:
    grid = load_s2_grid()
    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(-180, 180, 2_000), rng.uniform(-82, 83, 2_000)
    points, found = grid.sindex.query(shapely.points(lon, lat), predicate="intersects")
    pairs = set(zip(points.tolist(), grid.tile.to_numpy()[found].tolist(), strict=True))
    expected = {(i, t) for i, tiles in enumerate(tiles_at(lon, lat)) for t in tiles}
    # Outlines bend between their vertices: a point within metres of an edge may go either way.
    assert len(pairs ^ expected) <= 2


def test_tiles_on_the_antimeridian_are_cut_there() -> None:
    grid = load_s2_grid().set_index("tile")
    cut = grid[grid.geom_type == "MultiPolygon"]
    assert len(cut) == 298
    assert (cut.geometry.count_geometries() == 2).all()
    pieces = cut.geometry.explode()
    assert (pieces.bounds.maxx - pieces.bounds.minx < 40).all()
    fiji = grid.loc["01KAB"].geometry
    assert fiji.intersects(shapely.Point(179.9, -16.9))
    assert fiji.intersects(shapely.Point(-179.9, -16.9))
    west, south, east, north = grid.total_bounds
    assert (west, east) == (-180, 180)
    assert (south, north) == pytest.approx((-83.836, 84.644), abs=1e-3)


def test_web_mercator() -> None:
    grid = load_s2_grid(web_mercator=True)
    assert grid.crs == "EPSG:3857"
    west, _, east, _ = grid.total_bounds
    assert (west, east) == pytest.approx((-20_037_508.34, 20_037_508.34), abs=0.01)
    assert load_s2_grid_centroids(web_mercator=True).crs == "EPSG:3857"


def test_centroids_lie_in_their_tiles() -> None:
    grid, centroids = load_s2_grid(), load_s2_grid_centroids()
    assert centroids.crs == "EPSG:4326"
    assert (centroids.tile == grid.tile).all()
    assert (centroids.geom_type == "Point").all()
    assert grid.geometry.contains(centroids.geometry).all()


def test_a_changed_grid_stays_with_its_owner() -> None:
    load_s2_grid()["tile"] = "spoiled"
    assert load_s2_grid().tile[0] == "01CCV"
