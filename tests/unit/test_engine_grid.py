"""Pixel grids, extents and features: where windows lie, and which pixels belong to a feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from openeo_gfmap.local.engine.features import Features, read_features
from openeo_gfmap.local.engine.grid import Extent, Grid, crs_name, is_utm, utm_of
from openeo_gfmap.local.errors import OpenEOError

UTM = "EPSG:32631"
GRID = Grid(UTM, 10.0)


@pytest.mark.parametrize("value", [32631, "32631", "EPSG:32631", "epsg:32631"])
def test_a_crs_has_one_name(value: Any) -> None:
    assert crs_name(value) == UTM


def test_a_crs_without_code_keeps_its_wkt() -> None:
    name = crs_name("+proj=laea +lat_0=10 +lon_0=20 +ellps=WGS84")
    assert name.startswith("PROJCRS")
    assert crs_name(name) == name


@pytest.mark.parametrize("value", ["", "EPSG:0", 123456789, "moon", {"a": 1}])
def test_what_is_no_crs_is_refused(value: Any) -> None:
    with pytest.raises(OpenEOError) as caught:
        crs_name(value)
    assert caught.value.code == "CRSInvalid"


def test_utm_zones() -> None:
    assert is_utm(UTM)
    assert is_utm("EPSG:32760")
    assert not is_utm("EPSG:3035")
    assert utm_of(Extent((5.0, 51.0, 5.1, 51.1))) == UTM
    assert utm_of(Extent((20.0, -30.0, 20.1, -29.9))) == "EPSG:32734"
    assert utm_of(Extent((5.0, 60.0, 5.1, 60.1))) == "EPSG:32632"  # the Norway exception


def test_a_square_on_grid_lines_is_exactly_its_pixels() -> None:
    box = GRID.cover(Extent((500000, 5600000, 500640, 5600640), UTM))
    assert box.shape == (64, 64)
    assert box.boundingbox.bbox == (500000, 5600000, 500640, 5600640)


def test_float_noise_on_a_grid_line_adds_no_pixel() -> None:
    noise = 1e-7
    box = GRID.cover(
        Extent((500000 - noise, 5600000 - noise, 500640 + noise, 5600640 + noise), UTM)
    )
    assert box.shape == (64, 64)


def test_extents_are_snapped_outward() -> None:
    box = GRID.cover(Extent((500001, 5600001, 500011, 5600011), UTM))
    assert box.boundingbox.bbox == (500000, 5600000, 500020, 5600020)


@given(
    x=st.floats(3e5, 7e5), y=st.floats(1e6, 9e6), w=st.floats(0, 5000), h=st.floats(0, 5000),
    size=st.sampled_from([10.0, 20.0, 60.0]),
)  # fmt: skip
def test_a_cover_holds_its_extent_and_no_more(
    x: float, y: float, w: float, h: float, size: float
) -> None:
    grid = Grid(UTM, size)
    box = grid.cover(Extent((x, y, x + w, y + h), UTM))
    left, bottom, right, top = box.boundingbox.bbox
    slack = 1e-5 * size
    assert left <= x + slack
    assert right >= x + w - slack
    assert bottom <= y + slack
    assert top >= y + h - slack
    assert right - left < w + 2 * size + slack
    assert grid.holds(box)
    assert grid.box(*grid.position(box), *reversed(box.shape)) == box


def test_grids_of_other_places_and_sizes_do_not_hold_a_box() -> None:
    box = GRID.box(50000, -560000, 4, 4)
    assert GRID.holds(box)
    assert not Grid(UTM, 10.0, (5.0, 0.0)).holds(box)
    assert not Grid(UTM, 20.0).holds(box)
    assert not Grid("EPSG:32632", 10.0).holds(box)


def test_extents_meet_and_unite_across_crs() -> None:
    degrees = Extent((5.0, 51.0, 5.1, 51.1))
    metres = degrees.to(UTM)
    west, south, east, north = metres.to("EPSG:4326").bounds
    assert (west, south) <= (5.0, 51.0)
    assert (east, north) >= (5.1, 51.1)
    assert degrees.union(metres).bounds == (west, south, east, north)
    common = metres.intersection(degrees)
    assert common is not None
    assert common.bounds == degrees.bounds
    assert degrees.intersection(Extent((7.0, 51.0, 7.1, 51.1))) is None


def test_an_extent_beyond_a_projection_is_told() -> None:
    with pytest.raises(OpenEOError, match="outside"):
        Extent((1e12, 1e12, 2e12, 2e12), UTM).to("EPSG:4326")


@pytest.mark.parametrize(
    "box",
    [
        {"west": 5, "south": 51, "east": 5, "north": 52},
        {"west": 5, "south": 51, "east": 6},
        {"west": "a", "south": 51, "east": 6, "north": 52},
        {"west": float("nan"), "south": 51, "east": 6, "north": 52},
    ],
)
def test_bad_boxes_are_refused(box: Any) -> None:
    with pytest.raises(OpenEOError) as caught:
        Extent.parse(box)
    assert caught.value.code == "ProcessParameterInvalid"


def test_the_windows_and_masks_of_a_real_job(shared_data: Path) -> None:
    """Six polygons, as CDSE cut them out of its grid in LAEA Europe."""
    job = shared_data / "cdse_job"
    polygons = Features.parse(
        gpd.read_file(job / "puglia_extraction_polygons.gpkg")[["geometry"]].__geo_interface__
    )
    for i in range(6):
        with xr.open_dataset(job / f"openEO_{i}.nc", mask_and_scale=False) as real:
            x, y = real.x.values, real.y.values
            grid = Grid("EPSG:3035", 10.0, ((x[0] - 5) % 10, (y[0] + 5) % 10))
            feature = polygons.one(i).to("EPSG:3035")
            box = grid.cover(feature.extent)
            assert box.shape == (len(y), len(x))
            assert box.boundingbox.left == pytest.approx(x[0] - 5, abs=1e-6)
            assert box.boundingbox.top == pytest.approx(y[0] + 5, abs=1e-6)
            valid = (real["S2-L2A-B02"].values.view("uint16") != 65535).any(axis=0)
            np.testing.assert_array_equal(polygons.one(i).inside(box), valid)


def test_pixels_of_points_lines_and_polygons() -> None:
    box = GRID.box(0, 0, 4, 4)
    point = Features((shapely.Point(15, -25),), UTM).inside(box)
    assert np.argwhere(point).tolist() == [[2, 1]]
    corner = Features((shapely.MultiPoint([(0, 0), (39.9, -39.9)]),), UTM).inside(box)
    assert np.argwhere(corner).tolist() == [[0, 0], [3, 3]]
    line = Features((shapely.LineString([(1, -5), (39, -5)]),), UTM).inside(box)
    assert np.argwhere(line).tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]
    square = Features((shapely.box(4, -16, 26, -4),), UTM).inside(box)
    assert np.argwhere(square).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_files_of_features(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(
        {"name": ["a", "b"]}, geometry=[shapely.box(0, 0, 1, 1), shapely.Point(2, 2)], crs=32631
    )
    frame.to_parquet(tmp_path / "f.parquet")
    frame.to_file(tmp_path / "f.gpkg")
    (tmp_path / "f.geojson").write_text(frame.to_crs(4326).to_json())
    for name, format in (("f.parquet", "Parquet"), ("f.gpkg", "GPKG"), ("f.geojson", "GeoJSON")):
        features = read_features(tmp_path / name, format)
        assert len(features) == 2
        assert [p["name"] for p in features.properties] == ["a", "b"]
        assert features.crs == ("EPSG:4326" if format == "GeoJSON" else UTM)
        back = features.to(UTM).geometries[1]
        assert (back.x, back.y) == pytest.approx((2, 2), abs=1e-6)
    assert read_features(tmp_path / "f.parquet", "parquet").geometries == tuple(frame.geometry)


@pytest.mark.parametrize("format", ["Parquet", "GeoJSON", "GPKG"])
def test_broken_files_are_told(tmp_path: Path, format: str) -> None:
    (tmp_path / "broken").write_bytes(b"PAR1 or anything")
    with pytest.raises(OpenEOError, match="broken"):
        read_features(tmp_path / "broken", format)


def test_null_geometries_in_a_file_are_named(shared_data: Path) -> None:
    with pytest.raises(OpenEOError, match="null"):
        read_features(shared_data / "labels" / "null_geom.geojson", "GeoJSON")


@pytest.mark.parametrize(
    "value",
    [
        {"type": "FeatureCollection", "features": []},
        {"type": "FeatureCollection", "features": [5]},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": "x"},
        {"type": "Feature", "geometry": None},
        {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}]},
        "text",
        5,
    ],
)
def test_what_are_no_features_is_refused(value: Any) -> None:
    with pytest.raises(OpenEOError) as caught:
        Features.parse(value)
    assert caught.value.code == "ProcessParameterInvalid"


def test_metres_are_no_degrees() -> None:
    with pytest.raises(OpenEOError) as caught:
        Features.parse({"type": "Point", "coordinates": [500000, 5600000]})
    assert caught.value.code == "CoordinateOutOfBounds"
