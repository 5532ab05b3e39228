"""The result writers: what they write is read back with the tools that users have."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from shapely.geometry import Point, box

from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.vector import VectorCube
from openeo_gfmap.local.engine.writers import write_geotiff, write_netcdf, write_vector
from openeo_gfmap.local.errors import OpenEOError
from support.cf import cf_errors

UTM = GeoBox((66, 64), Affine(10, 0, 643260, 0, -10, 5676480), "EPSG:32631")
DAYS = np.array(["2023-04-02", "2023-04-12", "2023-05-02"], dtype="datetime64[ns]")
BANDS = np.array(["S2-L2A-B04", "S2-L2A-SCL"])


def make_cube(dtype="uint16", nodata=65535, geobox=UTM, days=DAYS) -> Cube:
    shape = (len(days), len(BANDS), *geobox.shape)
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    if nodata is not None:
        data[:, :, :3, :2] = nodata
    return Cube(data, ("t", "bands", "y", "x"), {"t": days, "bands": BANDS}, geobox, nodata)


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_netcdf_reads_back_with_xarray(tmp_path: Path, engine: str) -> None:
    cube = make_cube()
    asset = write_netcdf(tmp_path / "openEO_0.nc", cube, feature=0)
    with xr.open_dataset(tmp_path / "openEO_0.nc", engine=engine) as dataset:
        assert dict(dataset.sizes) == {"t": 3, "y": 66, "x": 64}
        assert [v for v in dataset.data_vars if v != "crs"] == list(BANDS)
        for index, band in enumerate(BANDS):
            assert dataset[band].dtype == np.uint16
            np.testing.assert_array_equal(dataset[band], cube.data[:, index])
        np.testing.assert_array_equal(dataset.t, DAYS)
        np.testing.assert_array_equal(dataset.x, 643265 + 10 * np.arange(64))
        np.testing.assert_array_equal(dataset.y, 5676475 - 10 * np.arange(66))
        assert CRS.from_wkt(dataset.crs.attrs["crs_wkt"]).to_epsg() == 32631
        assert CRS.from_wkt(dataset.crs.attrs["spatial_ref"]).to_epsg() == 32631
    raw = (tmp_path / "openEO_0.nc").read_bytes()
    assert (asset.size, asset.checksum) == (len(raw), "1220" + hashlib.sha256(raw).hexdigest())
    assert asset.bands == ("S2-L2A-B04", "S2-L2A-SCL")
    assert (asset.proj_epsg, asset.proj_shape, asset.feature) == (32631, (66, 64), 0)
    assert asset.proj_bbox == (643260, 5675820, 643900, 5676480)
    assert asset.bbox == pytest.approx((5.0513, 51.2156, 5.0607, 51.2217), abs=1e-4)
    assert (asset.start, asset.end) == ("2023-04-02T00:00:00Z", "2023-05-02T00:00:00Z")
    assert list(tmp_path.iterdir()) == [tmp_path / "openEO_0.nc"]


def test_netcdf_is_seen_by_gdal(tmp_path: Path) -> None:
    cube = make_cube()
    write_netcdf(tmp_path / "a.nc", cube)
    with rasterio.open(f"netcdf:{tmp_path / 'a.nc'}:S2-L2A-SCL") as file:
        assert file.crs.to_epsg() == 32631
        assert file.transform == UTM.affine
        assert (file.count, file.shape, file.dtypes[0]) == (3, (66, 64), "uint16")
        assert file.nodata == 65535
        np.testing.assert_array_equal(file.read(), cube.data[:, 1])


def test_netcdf_structure_is_that_of_cdse(tmp_path: Path, shared_data: Path) -> None:
    """Every attribute of a real CDSE file is there, with CF's own name for time."""
    real = shared_data / "s2_series" / "oracle_cdse_sentinel2_l2a.nc"
    with xr.open_dataset(real) as dataset:
        bands = [str(v) for v in dataset.data_vars if v != "crs"]
        data = np.stack([dataset[b].values for b in bands], axis=1)
        labels = {"t": dataset.t.values, "bands": np.array(bands)}
    cube = Cube(data, ("t", "bands", "y", "x"), labels, UTM, 65535)
    write_netcdf(tmp_path / "ours.nc", cube)
    with xr.open_dataset(real) as theirs, xr.open_dataset(tmp_path / "ours.nc") as ours:
        xr.testing.assert_equal(theirs, ours)
        assert list(theirs.data_vars) == list(ours.data_vars)
    with netCDF4.Dataset(real) as theirs, netCDF4.Dataset(tmp_path / "ours.nc") as ours:
        assert set(theirs.variables) == set(ours.variables)
        assert ours.dimensions["t"].isunlimited()
        for name, variable in theirs.variables.items():
            mine = ours.variables[name]
            assert mine.dimensions == variable.dimensions
            assert mine.dtype == variable.dtype
            for key in variable.ncattrs():
                if key not in ("crs_wkt", "spatial_ref", "standard_name"):
                    assert mine.getncattr(key) == variable.getncattr(key), (name, key)
        assert ours["t"].standard_name == "time"
        assert ours["t"].dtype == np.int32
        assert "_FillValue" not in ours[bands[0]].ncattrs()
        assert CRS.from_wkt(theirs["crs"].crs_wkt).equals(
            CRS.from_wkt(ours["crs"].spatial_ref), ignore_axis_order=True
        )


@pytest.mark.parametrize(
    "geobox",
    [
        UTM,
        GeoBox((5, 7), Affine(0.001, 0, 5.0, 0, -0.001, 51.0), "EPSG:4326"),
        GeoBox((5, 7), Affine(10, 0, 4975312.78, 0, -10, 1976978.836), "EPSG:3035"),
        GeoBox((1, 1), Affine(10, 0, 643260, 0, -10, 5676480), "EPSG:32631"),
    ],
    ids=["utm", "geographic", "laea", "one pixel"],
)
def test_netcdf_passes_the_cf_checker(tmp_path: Path, geobox: GeoBox) -> None:
    path = tmp_path / "a.nc"
    write_netcdf(path, make_cube(geobox=geobox), description="Patches", title="Test")
    assert cf_errors(path) == []


def test_netcdf_georeferences_any_grid_for_gdal(tmp_path: Path) -> None:
    for name, geobox in {
        "geographic": GeoBox((5, 7), Affine(0.001, 0, 5.0, 0, -0.001, 51.0), "EPSG:4326"),
        "pixel": GeoBox((1, 1), Affine(10, 0, 643260, 0, -10, 5676480), "EPSG:32631"),
    }.items():
        write_netcdf(tmp_path / f"{name}.nc", make_cube(geobox=geobox))
        with rasterio.open(f"netcdf:{tmp_path / name}.nc:S2-L2A-B04") as file:
            assert file.crs.to_epsg() == geobox.crs.to_epsg()
            assert file.transform.almost_equals(geobox.affine)


@pytest.mark.parametrize(
    ("dtype", "nodata", "stored"),
    [
        ("uint8", 255, "int8"),
        ("bool", None, "int8"),
        ("int16", -32768, "int16"),
        ("uint32", None, "int32"),
        ("int64", -1, "int64"),
        ("float32", None, "float32"),
        ("float64", None, "float64"),
        ("float16", None, "float32"),
    ],
)
def test_netcdf_keeps_the_values_of_any_dtype(tmp_path, dtype, nodata, stored) -> None:
    cube = make_cube(dtype, nodata)
    if np.dtype(dtype).kind == "f":
        cube.data[0, 0, 0, 0] = np.nan
    write_netcdf(tmp_path / "a.nc", cube)
    with h5py.File(tmp_path / "a.nc") as file:
        assert file["S2-L2A-B04"].dtype == stored
    with xr.open_dataset(tmp_path / "a.nc") as dataset:
        np.testing.assert_array_equal(dataset["S2-L2A-B04"], cube.data[:, 0])
    if np.dtype(dtype).itemsize == 1:
        nodata = None  # GDAL takes no fill value from bytes
    with rasterio.open(f"netcdf:{tmp_path / 'a.nc'}:S2-L2A-B04") as file:
        if np.dtype(dtype).kind == "f":
            assert np.isnan(file.nodata)
        else:
            assert file.nodata == nodata


def test_netcdf_of_cubes_without_some_dimensions(tmp_path: Path) -> None:
    cube = make_cube()
    labels = cube.labels
    cases = {
        "no_t": (cube.data[0], ("bands", "y", "x"), {"bands": labels["bands"]}),
        "no_bands": (cube.data[:, 0], ("t", "y", "x"), {"t": labels["t"]}),
        "plain": (cube.data[0, 0], ("y", "x"), {}),
    }
    for name, (data, dims, labels_) in cases.items():
        write_netcdf(tmp_path / f"{name}.nc", Cube(data, dims, labels_, UTM, 65535))
        with xr.open_dataset(tmp_path / f"{name}.nc") as dataset:
            variable = "S2-L2A-B04" if "bands" in dims else "var"
            assert dataset[variable].dims == tuple(d for d in dims if d != "bands")
            expected = data[0] if "bands" in dims else data
            np.testing.assert_array_equal(dataset[variable], expected)
    series = Cube(cube.data[:, :, 0, 0], ("t", "bands"), labels)
    write_netcdf(tmp_path / "series.nc", series)
    with xr.open_dataset(tmp_path / "series.nc") as dataset:
        np.testing.assert_array_equal(dataset["S2-L2A-SCL"], series.data[:, 1])
    write_netcdf(
        tmp_path / "none.nc", replace(cube, data=cube.data[:0], labels={**labels, "t": DAYS[:0]})
    )
    with xr.open_dataset(tmp_path / "none.nc") as dataset:
        assert dict(dataset.sizes) == {"t": 0, "y": 66, "x": 64}


def test_netcdf_with_times_of_day_many_chunks_and_odd_labels(tmp_path: Path) -> None:
    geobox = GeoBox((600, 530), Affine(10, 0, 643260, 0, -10, 5676480), "EPSG:32631")
    times = DAYS + np.timedelta64(11 * 3600 + 5, "s")
    data = np.random.default_rng(1).integers(0, 9999, (3, 2, 600, 530)).astype("uint16")
    labels = {"t": times, "bands": np.array(["a/b", "x"])}
    cube = Cube(data, ("t", "bands", "y", "x"), labels, geobox, 65535)
    write_netcdf(tmp_path / "a.nc", cube, band_attrs={"x": {"units": "1", "scale": 2.0}})
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file["t"].units == "seconds since 1990-01-01"
        assert file["a_b"].long_name == "a/b"
        assert file["x_band"].units == "1"
        assert file["a_b"].chunking() == [1, 512, 512]
    with xr.open_dataset(tmp_path / "a.nc") as dataset:
        np.testing.assert_array_equal(dataset.t, times)
        np.testing.assert_array_equal(dataset["a_b"], data[:, 0])
        np.testing.assert_array_equal(dataset["x_band"], data[:, 1])


def test_files_of_one_structure_share_nothing_else(tmp_path: Path) -> None:
    """The structure is made once for all files that have it: no value may come along."""
    first = make_cube()
    write_netcdf(tmp_path / "first.nc", first, band_attrs={BANDS[0]: {"scale": 1}})
    other = GeoBox(UTM.shape, Affine(10, 0, 500000, 0, -10, 4000000), "EPSG:32631")
    second = replace(
        make_cube(geobox=other, days=DAYS + np.timedelta64(7, "D")), data=first.data[::-1].copy()
    )
    write_netcdf(
        tmp_path / "second.nc", second, title="Second", band_attrs={BANDS[0]: {"scale": 1.0}}
    )
    write_netcdf(tmp_path / "third.nc", first, band_attrs={BANDS[0]: {"scale": [1, 2]}})
    with (
        xr.open_dataset(tmp_path / "first.nc") as one,
        xr.open_dataset(tmp_path / "second.nc") as two,
        xr.open_dataset(tmp_path / "third.nc") as three,
    ):
        assert (one.title, two.title, three.title) == ("first", "Second", "third")
        assert two.x[0] == 500005
        assert two.y[0] == 3999995
        np.testing.assert_array_equal(two.t, DAYS + np.timedelta64(7, "D"))
        np.testing.assert_array_equal(two[BANDS[1]], second.data[:, 1])
        np.testing.assert_array_equal(one[BANDS[1]], first.data[:, 1])
        kinds = [np.asarray(d[BANDS[0]].attrs["scale"]).dtype.kind for d in (one, two, three)]
        assert kinds == ["i", "f", "i"]
        np.testing.assert_array_equal(three[BANDS[0]].attrs["scale"], [1, 2])


def test_netcdf_survives_what_the_reference_pipeline_does_to_it(tmp_path: Path) -> None:
    """Its post-job action loads the file, adds attributes, and writes it over itself."""
    cube = make_cube()
    path = tmp_path / "a.nc"
    write_netcdf(path, cube)
    with xr.open_dataset(path) as opened:
        dataset = opened.load()
    dataset.attrs.update({"title": "Sentinel2 L2A", "valid_date": "2020-07-01"})
    dataset.to_netcdf(path, format="NETCDF4", engine="h5netcdf")
    with xr.open_dataset(path) as again:
        # xarray drops _Unsigned from variables without _FillValue, in CDSE's own files as well:
        # the bits stay, 65535 comes back as -1.
        np.testing.assert_array_equal(again["S2-L2A-B04"].astype("uint16"), cube.data[:, 0])
    with rasterio.open(f"netcdf:{path}:S2-L2A-B04") as file:
        assert file.crs.to_epsg() == 32631
        assert file.transform == UTM.affine


def test_netcdf_can_be_appended_to_with_netcdf4(tmp_path: Path) -> None:
    write_netcdf(tmp_path / "a.nc", make_cube())
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file.sample_id = "x"
        file["S2-L2A-B04"].long_name = "red"
    with xr.open_dataset(tmp_path / "a.nc") as dataset:
        assert dataset.attrs["sample_id"] == "x"
        assert dataset["S2-L2A-B04"].attrs["long_name"] == "red"


def test_the_same_cube_gives_the_same_bytes(tmp_path: Path) -> None:
    one = write_netcdf(tmp_path / "1" / "a.nc", make_cube())
    two = write_netcdf(tmp_path / "2" / "a.nc", make_cube())
    assert one == two


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"before")
    broken = replace(make_cube(), data=np.zeros((3, 2, 66, 64), dtype="complex64"))
    with pytest.raises(OpenEOError, match="complex64"):
        write_netcdf(tmp_path / "a.nc", broken)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    assert (tmp_path / "a.nc").read_bytes() == b"before"


def test_geotiff_one_file_per_date(tmp_path: Path) -> None:
    cube = make_cube()
    assets = write_geotiff(tmp_path, "openEO", cube)
    assert [a.name for a in assets] == [
        "openEO_2023-04-02Z.tif",
        "openEO_2023-04-12Z.tif",
        "openEO_2023-05-02Z.tif",
    ]
    assert {p.name for p in tmp_path.iterdir()} == {a.name for a in assets}
    with rasterio.open(tmp_path / assets[1].name) as file:
        assert file.crs.to_epsg() == 32631
        assert file.transform == UTM.affine
        assert file.descriptions == ("S2-L2A-B04", "S2-L2A-SCL")
        assert (file.nodata, file.dtypes) == (65535, ("uint16", "uint16"))
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags()["TIFFTAG_DATETIME"] == "2023:04:12 00:00:00"
        np.testing.assert_array_equal(file.read(), cube.data[1])
    assert assets[1].start == assets[1].end == "2023-04-12T00:00:00Z"


def test_geotiff_without_dates_or_bands_and_with_floats(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 66 * 64, dtype="float32").reshape(66, 64)
    values[0, 0] = np.nan
    (asset,) = write_geotiff(tmp_path, "ndvi", Cube(values, ("y", "x"), {}, UTM))
    assert asset.name == "ndvi.tif"
    with rasterio.open(tmp_path / "ndvi.tif") as file:
        assert np.isnan(file.nodata)
        np.testing.assert_array_equal(file.read(1), values)
    mask = Cube(values > 0.5, ("y", "x"), {}, UTM)
    write_geotiff(tmp_path, "mask", mask)
    with rasterio.open(tmp_path / "mask.tif") as file:
        np.testing.assert_array_equal(file.read(1), mask.data)
    with pytest.raises(OpenEOError, match="NetCDF"):
        write_geotiff(tmp_path, "series", Cube(values[:3, 0], ("t",), {"t": DAYS}))


@pytest.fixture
def table() -> VectorCube:
    values = np.arange(12, dtype=float).reshape(2, 3, 2)
    values[1, 0, 1] = np.nan
    return VectorCube(
        values,
        ("geometry", "t", "bands"),
        {"t": DAYS, "bands": BANDS},
        (Point(5.0, 51.0), box(5.1, 51.1, 5.2, 51.2)),
        "EPSG:4326",
    )


def test_vector_parquet_has_the_columns_of_cdse(tmp_path, table, shared_data) -> None:
    asset = write_vector(tmp_path / "t.parquet", table, "Parquet")
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert list(frame.columns[:3]) == [
        "S2-L2A-B04:2023-04-02",
        "S2-L2A-SCL:2023-04-02",
        "S2-L2A-B04:2023-04-12",
    ]
    np.testing.assert_array_equal(frame.to_numpy(), table.data.reshape(2, 6))
    assert asset.bbox == (5.0, 51.0, 5.2, 51.2)

    folder = shared_data / "cdse_job"
    real = pd.read_parquet(folder / "points_cdse_sentinel2_l2a.parquet")
    document = json.loads((folder / "points_cdse_sentinel2_l2a.json").read_text())
    days = np.array([d[:10] for d in sorted(document)], dtype="datetime64[ns]")
    bands = np.array(list(dict.fromkeys(c.split(":")[0] for c in real.columns)))
    values = np.array([document[d] for d in sorted(document)], dtype=float)
    cube = VectorCube(values, ("t", "geometry", "bands"), {"t": days, "bands": bands})
    write_vector(tmp_path / "real.parquet", cube, "parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "real.parquet"), real)
    write_vector(tmp_path / "real.json", cube, "json")
    assert json.loads((tmp_path / "real.json").read_text()) == document


def test_vector_json_csv_netcdf(tmp_path: Path, table: VectorCube) -> None:
    write_vector(tmp_path / "t.json", table, "JSON")
    document = json.loads((tmp_path / "t.json").read_text())
    assert list(document) == [f"{d}T00:00:00Z" for d in ("2023-04-02", "2023-04-12", "2023-05-02")]
    assert document["2023-04-02T00:00:00Z"] == [[0.0, 1.0], [6.0, None]]
    write_vector(tmp_path / "t.csv", table, "CSV")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert list(frame.columns) == ["date", "feature_index", "S2-L2A-B04", "S2-L2A-SCL"]
    assert frame.feature_index.tolist() == [0, 1] * 3
    assert np.isnan(frame["S2-L2A-SCL"][1])
    write_vector(tmp_path / "t.nc", table, "netCDF")
    with xr.open_dataset(tmp_path / "t.nc") as dataset:
        np.testing.assert_array_equal(dataset["S2-L2A-B04"], table.data[:, :, 0])
        np.testing.assert_allclose(dataset.lon, [5.0, 5.15])
        np.testing.assert_array_equal(dataset.t, DAYS)


def test_vector_without_dates_or_bands(tmp_path: Path) -> None:
    table = VectorCube(np.array([1.0, np.nan]), ("geometry",))
    write_vector(tmp_path / "t.json", table, "JSON")
    assert json.loads((tmp_path / "t.json").read_text()) == [[1.0], [None]]
    write_vector(tmp_path / "t.csv", table, "CSV")
    assert (tmp_path / "t.csv").read_text() == "feature_index,value\n0,1.0\n1,\n"
    write_vector(tmp_path / "t.parquet", table, "Parquet")
    assert pd.read_parquet(tmp_path / "t.parquet").columns.tolist() == ["value"]
    with pytest.raises(OpenEOError, match="'GTiff' cannot hold values per geometry"):
        write_vector(tmp_path / "t.tif", table, "GTiff")
