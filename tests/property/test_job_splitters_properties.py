"""Whatever is split, every row comes out once, in order, and untouched."""

from __future__ import annotations

from collections import Counter

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from shapely.geometry import box

from openeo_gfmap.manager.job_splitters import (
    split_job_hex,
    split_job_s2grid,
    split_job_s2sphere,
)
from openeo_gfmap.manager.positions import representative_points

longitudes = st.one_of(
    st.floats(-720, 720, allow_subnormal=False),
    st.sampled_from([-180.0, 180.0, 0.0, 5.06, 179.9999999, -179.9999999]),
)
latitudes = st.one_of(
    st.floats(-90, 90, allow_subnormal=False), st.sampled_from([-90.0, 90.0, 0.0, 51.2, 84.1])
)


@st.composite
def geometries(draw: st.DrawFn) -> shapely.Geometry:
    x, y = draw(longitudes), draw(latitudes)
    size = draw(st.sampled_from([0.0, 1e-6, 0.01, 0.5]))
    kind = draw(st.sampled_from(["point", "box", "multi", "hole", "line"]))
    square = box(x - size, max(y - size, -90), x + size, min(y + size, 90))
    if kind == "point":
        return shapely.Point(x, y)
    if kind == "multi":
        return shapely.MultiPolygon([square, shapely.transform(square, lambda xy: xy * 0.999)])
    if kind == "hole" and size > 0:
        return square.difference(square.centroid.buffer(size / 4))
    if kind == "line":
        return square.exterior
    return square


@st.composite
def frames(draw: st.DrawFn) -> gpd.GeoDataFrame:
    drawn = draw(st.lists(geometries(), min_size=1, max_size=30))
    times = draw(st.integers(1, 3))  # the same geometries again: crowded cells
    drawn = drawn * times
    name = draw(st.sampled_from(["geometry", "outline"]))
    index = draw(st.lists(st.integers(0, 5), min_size=len(drawn), max_size=len(drawn)))
    return gpd.GeoDataFrame(
        {"row": np.arange(len(drawn)), name: drawn}, geometry=name, crs=4326, index=index
    )


@pytest.mark.parametrize("split", [split_job_hex, split_job_s2grid, split_job_s2sphere])
@given(gdf=frames(), max_points=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_split_is_a_partition(split: object, gdf: gpd.GeoDataFrame, max_points: int) -> None:
    wkb = shapely.to_wkb(gdf.geometry.array)
    before = gdf.drop(columns=gdf.geometry.name).copy(deep=True)
    jobs = split(gdf, max_points)  # type: ignore[operator]
    assert (shapely.to_wkb(gdf.geometry.array) == wkb).all()
    assert_frame_equal(gdf.drop(columns=gdf.geometry.name), before)
    rows = [row for job in jobs for row in job["row"]]
    assert Counter(rows) == Counter(gdf["row"])
    for job in jobs:
        assert 1 <= len(job) <= max_points
        assert job["row"].is_monotonic_increasing
        assert job.crs == gdf.crs
        assert (shapely.to_wkb(job.geometry.array) == wkb[job["row"]]).all()
        added = job.columns.difference(gdf.columns)
        assert len(added) in (1, 2)
        assert (job[added].nunique(dropna=False) == 1).all()
    again = split(gdf, max_points)  # type: ignore[operator]
    assert [job["row"].tolist() for job in again] == [job["row"].tolist() for job in jobs]


@given(gdf=frames(), max_points=st.integers(1, 12), seed=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_rows_does_not_move_them_to_other_cells(
    gdf: gpd.GeoDataFrame, max_points: int, seed: object
) -> None:
    order = list(range(len(gdf)))
    seed.shuffle(order)  # type: ignore[attr-defined]
    for split, name in ((split_job_hex, "h3index"), (split_job_s2sphere, "s2sphere_cell_id")):
        cells = {row: job[name][0] for job in split(gdf, max_points) for row in job["row"]}
        shuffled = split(gdf.iloc[order], max_points)
        assert {row: job[name][0] for job in shuffled for row in job["row"]} == cells


@given(gdf=frames())
@settings(max_examples=100, deadline=None)
def test_centroids_are_those_of_geos(gdf: gpd.GeoDataFrame) -> None:
    lon, lat = representative_points(gdf)
    centroid = shapely.centroid(gdf.geometry.array)
    turned = np.abs((lon - shapely.get_x(centroid) + 180) % 360 - 180)
    # Rings of 1e-6 degrees far from the origin keep six digits: 1e-9 degrees are 0.1 mm.
    assert turned.max() < 1e-9
    assert np.abs(lat - shapely.get_y(centroid)).max() < 1e-9
    assert ((lon >= -180) & (lon < 180)).all()
