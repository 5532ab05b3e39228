"""Splitting on the inputs that are hard to get right, and on real label sets."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal
from shapely.geometry import MultiPoint, MultiPolygon, Point, Polygon, box

from openeo_gfmap.errors import InputError, InvalidGeometry, MissingCrs
from openeo_gfmap.manager.job_splitters import (
    append_h3_index,
    load_s2_grid,
    load_s2_grid_centroids,
    split_job_hex,
    split_job_s2grid,
    split_job_s2sphere,
)
from openeo_gfmap.manager.positions import representative_points
from openeo_gfmap.manager.s2_cells import leaf_cells, parent_cells
from openeo_gfmap.tiling import tile_info

Split = Callable[..., list[gpd.GeoDataFrame]]

ADDED = {
    split_job_hex: ["h3index"],
    split_job_s2grid: ["tile"],
    split_job_s2sphere: ["s2sphere_cell_id", "s2sphere_cell_level"],
}
all_splitters = pytest.mark.parametrize("split", list(ADDED), ids=lambda f: f.__name__)


def frame(geometries: list[object], crs: object = 4326, **columns: object) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {"row": np.arange(len(geometries)), **columns}, geometry=geometries, crs=crs
    )


def fields(count: int = 200) -> gpd.GeoDataFrame:
    """Small fields in a few places, not in the order of any grid."""
    rng = np.random.default_rng(42)
    centres = rng.choice([[5.1, 51.2], [33.8, -14.0], [-58.4, -34.6], [16.5, 40.6]], count)
    lon, lat = (centres + rng.uniform(-0.8, 0.8, centres.shape)).T
    return frame([box(x, y, x + 0.003, y + 0.002) for x, y in zip(lon, lat, strict=True)])


def check(gdf: gpd.GeoDataFrame, jobs: list[gpd.GeoDataFrame], max_points: int = 500) -> None:
    """What holds for every splitter: all rows once, in order, untouched. Needs a column `row`."""
    rows = np.concatenate([job["row"] for job in jobs])
    assert sorted(rows) == sorted(gdf["row"])
    geometry = gdf.set_index("row").geometry
    for job in jobs:
        assert type(job) is gpd.GeoDataFrame
        assert 1 <= len(job) <= max_points
        assert job["row"].is_monotonic_increasing
        assert job.index.equals(pd.RangeIndex(len(job)))
        assert job.crs == gdf.crs
        assert job.active_geometry_name == gdf.active_geometry_name
        assert list(job.columns[: len(gdf.columns)]) == list(gdf.columns)
        assert (job.dtypes[gdf.columns] == gdf.dtypes).all()
        for ours, given in zip(job.geometry, geometry.loc[job["row"]], strict=True):
            assert ours.wkb == given.wkb


# -- in common ---------------------------------------------------------------------------------


@all_splitters
def test_every_row_in_one_job_and_the_input_as_it_was(split: Split) -> None:
    gdf = fields()
    before = gdf.copy(deep=True)
    jobs = split(gdf, max_points=7)
    check(gdf, jobs, max_points=7)
    assert_geodataframe_equal(gdf, before)
    for job in jobs:
        assert list(job.columns) == [*gdf.columns, *ADDED[split]]
        assert all(job[name].nunique() == 1 for name in ADDED[split])


@all_splitters
def test_the_same_input_gives_the_same_jobs(split: Split) -> None:
    for one, other in zip(split(fields(), 7), split(fields(), 7), strict=True):
        assert_geodataframe_equal(one, other)


@all_splitters
def test_a_job_belongs_to_its_owner(split: Split) -> None:
    gdf = fields(20)
    jobs = split(gdf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for job in jobs:
            job["row"] = -1
            job.loc[0, "row"] = -2
    assert (gdf["row"] >= 0).all()


@all_splitters
@pytest.mark.parametrize("crs", [4326, 4258, 3857, 3035, 32633, "OGC:CRS84"])
def test_any_crs_gives_the_same_groups(split: Split, crs: object) -> None:
    places = fields(60).cx[:30, 36:60].reset_index(drop=True)
    points = places.set_geometry(places.representative_point())
    expected = [job["row"].tolist() for job in split(points)]
    jobs = split(points.to_crs(crs))
    check(points.to_crs(crs), jobs)
    assert [job["row"].tolist() for job in jobs] == expected


@all_splitters
def test_geometry_column_of_any_name_beside_another(split: Split) -> None:
    gdf = fields(30).rename_geometry("outline")
    gdf["centre"] = gdf.outline.representative_point().to_crs(3857)
    jobs = split(gdf)
    check(gdf, jobs)
    assert jobs[0]["centre"].crs == "EPSG:3857"


@all_splitters
def test_duplicate_index_and_strange_labels(split: Split) -> None:
    gdf = fields(30)
    gdf.index = pd.Index(["a", "b", "c"] * 10, name="field")
    check(gdf, split(gdf))


@all_splitters
def test_column_types_are_kept(split: Split) -> None:
    gdf = fields(30)
    gdf["date"] = pd.date_range("2021-01-01", periods=30, tz="UTC")
    gdf["crop"] = pd.Categorical(["maize", "wheat", "rice"] * 10)
    gdf["flag"] = pd.array([True, None, False] * 10, dtype="boolean")
    gdf["list"] = [[i] for i in range(30)]
    gdf.attrs["source"] = "survey"
    jobs = split(gdf)
    check(gdf, jobs)
    assert jobs[0].attrs == {"source": "survey"}


@all_splitters
def test_an_older_column_of_the_same_name_is_replaced_in_place(split: Split) -> None:
    gdf = fields(30)
    for name in ADDED[split]:
        gdf.insert(0, name, "old")
    before = gdf.copy(deep=True)
    jobs = split(gdf)
    assert_geodataframe_equal(gdf, before)
    for job in jobs:
        assert list(job.columns) == list(gdf.columns)
        assert not (job[ADDED[split]] == "old").to_numpy().any()
    assert sum(map(len, jobs)) == 30


@all_splitters
def test_other_splitters_columns_are_left_alone(split: Split) -> None:
    gdf = fields(30)
    others = {name for names in ADDED.values() for name in names} - set(ADDED[split])
    for name in others:
        gdf[name] = "mine"
    for job in split(gdf):
        assert (job[list(others)] == "mine").to_numpy().all()


@all_splitters
def test_more_identical_points_than_a_job_may_hold(split: Split) -> None:
    gdf = frame([Point(5.06, 51.2)] * 1001)
    jobs = split(gdf, max_points=500)
    check(gdf, jobs)
    assert [len(job) for job in jobs] == [500, 500, 1]


@all_splitters
def test_all_kinds_of_geometry(split: Split) -> None:
    square = box(5, 51, 5.01, 51.01)
    kinds = [
        Point(5, 51),
        MultiPoint([(5, 51), (5.1, 51.1)]),
        square.exterior,
        square,
        MultiPolygon([square, box(5.02, 51, 5.03, 51.01)]),
        shapely.GeometryCollection([square, Point(5, 51)]),
        shapely.force_3d(square, 12.5),
        Polygon([(5, 51), (5, 51), (5, 51)]),  # without an area
    ]
    gdf = frame(kinds)
    jobs = split(gdf)
    check(gdf, jobs)


@all_splitters
def test_the_antimeridian_does_not_move_rows_to_greenwich(split: Split) -> None:
    pieces = [box(179.97, -17, 180, -16.99), box(-180, -17, -179.99, -16.99)]
    long_way_round = Polygon([(179.97, -17), (-179.99, -17), (-179.99, -16.99), (179.97, -16.99)])
    crossing = [
        Point(179.99, -16.995),
        MultiPolygon(pieces),
        MultiPolygon(pieces[::-1]),
        long_way_round,
        box(179.97, -17, 180.01, -16.99),  # longitudes that go on beyond 180°
        box(-180.03, -17, -179.99, -16.99),
        MultiPoint([(179.98, -16.995), (-180, -16.995)]),
    ]
    gdf = frame(crossing)
    jobs = split(gdf)
    check(gdf, jobs)
    assert len(jobs) == 1, [job["row"].tolist() for job in jobs]
    mercator = frame(crossing[:4]).to_crs(3857)
    assert len(split(mercator)) == 1


@all_splitters
def test_unnormalised_longitudes_are_the_same_place(split: Split) -> None:
    gdf = frame([Point(5.06 + turn, 51.2) for turn in (0, 360, -360, 720)])
    jobs = split(gdf)
    check(gdf, jobs)
    assert len(jobs) == 1


@all_splitters
def test_poles(split: Split) -> None:
    gdf = frame([Point(0, 90), Point(5, 51), Point(120, 90), Point(-77, -90), box(-9, 89, 9, 90)])
    check(gdf, split(gdf))


@all_splitters
def test_polar_projection(split: Split) -> None:
    gdf = frame([Point(0, 0), Point(1e5, 0), Point(0, 2e6)], crs=3413)
    check(gdf, split(gdf))


# -- input that cannot be used -----------------------------------------------------------------


@all_splitters
def test_null_and_empty_geometries_are_named(split: Split) -> None:
    gdf = frame([Point(5, 51), None, Point(5, 51), Polygon(), None])
    gdf.index = ["a", "b", "c", "d", "e"]
    with pytest.raises(InvalidGeometry) as caught:
        split(gdf)
    message = str(caught.value)
    assert "2 of 5 geometries are null: rows 'b', 'e'" in message
    assert "1 of 5 geometries is empty: row 'd'" in message
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, ValueError)


def test_a_long_list_of_rows_is_shortened() -> None:
    with pytest.raises(InvalidGeometry, match=r"rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"):
        split_job_hex(frame([None] * 12))


@all_splitters
def test_coordinates_that_are_no_place_are_named(split: Split) -> None:
    with np.errstate(invalid="ignore"):
        nan = Polygon([(5, 51), (np.nan, 51), (6, 52)])
    with pytest.raises(InvalidGeometry, match=r"1 of 2 geometries is without finite .* row 1"):
        split(frame([Point(5, 51), nan]))
    with pytest.raises(InvalidGeometry, match="without finite"):
        split(frame([Point(np.inf, 51)]))
    with pytest.raises(InvalidGeometry, match=r"not on the globe: row 1.*\[5.0, 95.0, 5.0, 95.0\]"):
        split(frame([Point(5, 51), Point(5, 95)]))
    with pytest.raises(InvalidGeometry, match="not on the globe: row 0"):
        split(frame([Point(1e12, 1e12)], crs=32631))


@all_splitters
def test_frames_without_place_or_rows(split: Split) -> None:
    with pytest.raises(MissingCrs, match="set_crs"):
        split(frame([Point(5, 51)], crs=None))
    with pytest.raises(InputError, match="no rows"):
        split(frame([Point(5, 51)]).iloc[:0])
    with pytest.raises(InputError, match="no active geometry column"):
        split(gpd.GeoDataFrame({"a": [1]}))
    with pytest.raises(InputError, match="got DataFrame"):
        split(pd.DataFrame({"a": [1]}))
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    with pytest.raises(InputError, match="'site' has no known place"):
        split(frame([Point(5, 51)], crs=local))


@all_splitters
@pytest.mark.parametrize("max_points", [0, -1, 2.5, "7", None, True])
def test_max_points_must_be_a_positive_integer(split: Split, max_points: object) -> None:
    with pytest.raises(InputError, match=r"max_points=.*expected an integer from 1 upward"):
        split(fields(3), max_points=max_points)


@pytest.mark.parametrize("resolution", [-1, 16, 3.5, None])
def test_h3_resolution_must_exist(resolution: object) -> None:
    for call in (
        lambda: split_job_hex(fields(3), 5, resolution),
        lambda: append_h3_index(fields(3), resolution),
    ):
        with pytest.raises(InputError, match=r"grid_resolution=.*from 0 to 15"):
            call()


def test_s2_level_must_exist() -> None:
    with pytest.raises(InputError, match=r"start_level=31.*from 0 to 30"):
        split_job_s2sphere(fields(3), start_level=31)


# -- hexagons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [0, 3, 4, 9, 15])
def test_hexagons_are_those_of_h3(resolution: int) -> None:
    gdf = fields(100)
    jobs = split_job_hex(gdf, 1000, resolution)
    centroids = shapely.centroid(gdf.geometry.array)
    expected = [
        h3.latlng_to_cell(y, x, resolution)
        for x, y in zip(shapely.get_x(centroids), shapely.get_y(centroids), strict=True)
    ]
    found = pd.concat(jobs).set_index("row")["h3index"].sort_index()
    assert found.tolist() == expected
    names = [job["h3index"][0] for job in jobs]
    assert names == sorted(set(expected))


def test_append_h3_index_keeps_rows_index_and_crs() -> None:
    gdf = fields(20).to_crs(3857)
    gdf.index = [5, 5, *range(18)]
    before = gdf.copy(deep=True)
    appended = append_h3_index(gdf)
    assert_geodataframe_equal(gdf, before)
    assert_geodataframe_equal(appended.drop(columns="h3index"), gdf)
    assert (appended["h3index"].str.len() == 15).all()


# -- Sentinel-2 tiles --------------------------------------------------------------------------


def test_a_job_fits_in_its_tile() -> None:
    rng = np.random.default_rng(5)
    gdf = frame(list(shapely.points(rng.uniform(4, 5.9, 500), rng.uniform(50, 52, 500))))
    for job in split_job_s2grid(gdf):
        info = tile_info(job["tile"][0])
        patches = job.to_crs(info.epsg).buffer(320, cap_style="square")
        assert box(*info.bounds).contains(patches).all()


def test_a_point_on_the_edge_of_tiles_comes_out_once() -> None:
    edges = frame([Point(600_000, 5_700_000), Point(609_780, 5_590_200)], crs=32631)
    check(edges, split_job_s2grid(edges))


def test_web_mercator_changes_nothing() -> None:
    gdf = fields(50)
    for one, other in zip(
        split_job_s2grid(gdf), split_job_s2grid(gdf, web_mercator=True), strict=True
    ):
        assert_geodataframe_equal(one, other)


def test_rows_without_a_tile_come_last_and_are_told(caplog: pytest.LogCaptureFixture) -> None:
    gdf = frame([Point(0, 90), Point(5, 51), Point(0, -90)])
    with caplog.at_level(logging.WARNING, logger="openeo_gfmap.manager"):
        jobs = split_job_s2grid(gdf)
    assert [job["tile"].tolist() for job in jobs] == [["31UFS"], [None, None]]
    assert "2 of 3 geometries lie near a pole" in caplog.text


def test_the_grid_is_at_hand_beside_the_splitters() -> None:
    assert len(load_s2_grid()) == len(load_s2_grid_centroids())


# -- S2 cells ----------------------------------------------------------------------------------


def test_s2_cells_of_known_places() -> None:
    # Leaf cell ids given by the s2sphere library.
    lon = np.array([0.0, 180, -180, 90, 0, 0, 4.35, -70.5])
    lat = np.array([0.0, 0, 0, 0, 90, -90, 50.85, -33.4])
    expected = [
        0x1000000000000001,
        0x6FFFFFFFFFFFFFFF,
        0x7000000000000001,
        0x3000000000000001,
        0x5000000000000001,
        0xB000000000000001,
        0x47C3C38705F0E761,
        0x9662CC402A38A465,
    ]
    leaves = leaf_cells(lon, lat)
    assert leaves.tolist() == expected
    assert parent_cells(leaves, 30).tolist() == expected
    assert parent_cells(leaves, 0).tolist()[0] == 0x1000000000000000
    assert [hex(cell) for cell in parent_cells(leaves[6:], 8).tolist()] == [
        "0x47c3d00000000000",
        "0x9662d00000000000",
    ]


def test_crowded_s2_cells_are_divided() -> None:
    rng = np.random.default_rng(1)
    crowd = rng.normal([5.06, 51.2], 0.01, (300, 2))
    sparse = rng.uniform([-60, -30], [60, 60], (50, 2))
    gdf = frame(list(shapely.points(np.concatenate([crowd, sparse]))))
    jobs = split_job_s2sphere(gdf, max_points=20, start_level=6)
    check(gdf, jobs, max_points=20)
    levels = [int(job["s2sphere_cell_level"][0]) for job in jobs]
    assert min(levels) == 6
    assert max(levels) > 10
    ids = [int(job["s2sphere_cell_id"][0]) for job in jobs]
    assert ids == sorted(set(ids))
    for job, level in zip(jobs, levels, strict=True):
        assert job["s2sphere_cell_id"].dtype == np.uint64
        leaves = leaf_cells(*representative_points(job))
        assert (parent_cells(leaves, level) == job["s2sphere_cell_id"]).all()
    # A cell is only divided when it must be: its parent would have held too many.
    everything = leaf_cells(*representative_points(gdf))
    for cell, level in zip(ids, levels, strict=True):
        if level > 6:
            above = parent_cells(np.array([cell], dtype=np.uint64), level - 1)
            assert (parent_cells(everything, level - 1) == above).sum() > 20


# -- positions ---------------------------------------------------------------------------------


def test_the_whole_globe_is_not_taken_for_a_crossing() -> None:
    belt = shapely.segmentize(box(-100, 0, 120, 10), 10)
    lon, lat = representative_points(frame([box(-180, -80, 180, 80), belt]))
    assert lon.tolist() == pytest.approx([0.0, 10.0])
    assert lat.tolist() == pytest.approx([0.0, 5.0])


def test_wide_pieces_keep_their_centroid() -> None:
    overseas = MultiPolygon([box(-54, 3, -52, 5), box(0, 45, 6, 49)])
    gdf = frame([overseas])
    assert representative_points(gdf)[0][0] == overseas.centroid.x
    expected = gdf.to_crs(3857).centroid.to_crs(4326).x[0]
    assert representative_points(gdf.to_crs(3857))[0][0] == pytest.approx(expected, abs=1e-12)


# -- real label sets ---------------------------------------------------------------------------


@all_splitters
@pytest.mark.parametrize("name", ["wc_extraction_dataset.gpkg", "malawi_extraction_polygons.gpkg"])
def test_real_labels(split: Split, shared_data: Path, name: str) -> None:
    gdf = gpd.read_file(shared_data / "worldcereal" / name)
    gdf["row"] = np.arange(len(gdf))
    check(gdf, split(gdf, max_points=60), max_points=60)


def test_the_pipeline_s_split_finds_the_hexagons_that_the_labels_came_with(
    shared_data: Path,
) -> None:
    gdf = gpd.read_file(shared_data / "worldcereal" / "wc_extraction_dataset.gpkg")
    jobs = split_job_hex(gdf, max_points=60, grid_resolution=4)
    assert len(jobs) == gdf["h3index"].nunique() == 88
    found = pd.concat(jobs).set_index("sample_id")["h3index"]
    assert (found == gdf.set_index("sample_id")["h3index"].loc[found.index]).all()


@all_splitters
def test_awkward_label_files(split: Split, shared_data: Path) -> None:
    folder = shared_data / "labels"
    patches = gpd.read_parquet(folder / "worldcereal_34TFM_100_patches_utm.parquet")
    patches["row"] = np.arange(len(patches))
    check(patches, split(patches))
    collection = gpd.read_file(folder / "GeometryCollection01.json")
    collection["row"] = np.arange(len(collection))
    check(collection, split(collection))
    with pytest.raises(InvalidGeometry, match="null"):
        split(gpd.read_file(folder / "null_geom.geojson"))
    with pytest.raises(InvalidGeometry, match="not on the globe"):
        split(gpd.read_file(folder / "test_geojson_invalid_coordinates.geojson"))


def test_patches_of_one_tile_find_it(shared_data: Path) -> None:
    name = "worldcereal_34TFM_100_patches_utm.parquet"
    patches = gpd.read_parquet(shared_data / "labels" / name)
    assert {job["tile"][0] for job in split_job_s2grid(patches)} == {"34TFM"}
