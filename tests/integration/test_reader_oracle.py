"""Real pixels: what the Copernicus back-end returned for twelve dates comes back exactly."""

from __future__ import annotations

import math
import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from openeo_gfmap.local.catalog import Catalog, Collection, collection_from_stac
from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.reader import Reader

BBOX = (5.0515130512706845, 51.215806593713, 5.060320484557499, 51.22149744530769)
BANDS = ["B01", "B04", "B08", "B11", "SCL", "AOT"]
APRIL = (date(2023, 4, 1), date(2023, 5, 1))


def snapped(bbox: tuple[float, float, float, float], margin: int = 0) -> GeoBox:
    """Return the 10 m grid in UTM 31N that holds a WGS84 box, snapped outward."""
    to_utm = Transformer.from_crs(4326, 32631, always_xy=True)
    west, south, east, north = (v / 10 for v in to_utm.transform_bounds(*bbox))
    left, top = math.floor(west) - margin, math.ceil(north) + margin
    shape = (top - math.floor(south) + margin, math.ceil(east) + margin - left)
    return GeoBox(shape, Affine(10, 0, left * 10, 0, -10, top * 10), "EPSG:32631")


@pytest.fixture(scope="module")
def collection(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    place = str(shared_data / "s2_series/items")
    catalog = Catalog.from_settings({"SENTINEL2_L2A": place}, tmp_path_factory.mktemp("archive"))
    return pickle.loads(pickle.dumps(catalog)).get("SENTINEL2_L2A")


def read(collection: Collection, bands: list[str], geobox: GeoBox, **options: object) -> Cube:
    scenes = collection.scenes([BBOX], *APRIL, bands)
    dtype, nodata = collection.cube_type(bands)
    return Reader().read(
        scenes, bands, geobox, dtype=dtype, nodata=nodata, lookup=collection.band_info, **options
    )


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> xr.Dataset:
    path = shared_data / "s2_series/oracle_cdse_sentinel2_l2a.nc"
    with xr.open_dataset(path, mask_and_scale=False) as dataset:
        return dataset.load()


def test_every_band_date_coordinate_and_value(collection: Collection, oracle: xr.Dataset) -> None:
    geobox = snapped(BBOX)
    assert geobox.shape == (66, 64)
    assert (geobox.affine.c, geobox.affine.f) == (643260, 5676480)
    cube = read(collection, BANDS, geobox)
    assert cube.dims == ("t", "bands", "y", "x")
    assert cube.data.dtype == np.uint16
    assert cube.nodata == 65535
    assert cube.labels["bands"].tolist() == BANDS
    np.testing.assert_array_equal(cube.labels["t"], oracle.t.values.astype("datetime64[ns]"))
    np.testing.assert_array_equal(geobox.coords["x"].values, oracle.x)
    np.testing.assert_array_equal(geobox.coords["y"].values, oracle.y)
    for index, band in enumerate(BANDS):
        expected = oracle[f"S2-L2A-{band}"].values.view("uint16")
        np.testing.assert_array_equal(cube.data[:, index], expected, err_msg=band)


def test_load_stac_gives_the_same(collection: Collection, shared_data: Path) -> None:
    geobox = snapped(BBOX)
    generic = collection_from_stac(str(shared_data / "s2_series/items"), ["red", "scl"])
    cube = read(generic, ["red", "scl"], geobox)
    np.testing.assert_array_equal(cube.data, read(collection, ["B04", "SCL"], geobox).data)


def test_a_larger_window_has_missing_pixels_around(collection: Collection) -> None:
    whole = read(collection, BANDS, snapped(BBOX))
    padded = read(collection, BANDS, snapped(BBOX, margin=7))
    np.testing.assert_array_equal(padded.data[:, :, 7:-7, 7:-7], whole.data)
    # B01 is 66 x 66 px: the 60 m pixels reach beyond the others' edge.
    border = np.ones(padded.geobox.shape, bool)
    border[7:-7, 7:-5] = False
    assert (padded.data[:, :, border] == 65535).all()


def test_wanted_days(collection: Collection) -> None:
    days = [np.datetime64("2023-04-10"), np.datetime64("2023-04-11"), np.datetime64("2023-04-02")]
    cube = read(collection, ["B04"], snapped(BBOX), times=days)
    every = read(collection, ["B04"], snapped(BBOX))
    assert cube.labels["t"].astype("datetime64[D]").tolist() == [d.item() for d in days]
    np.testing.assert_array_equal(cube.data[0], every.data[3])
    np.testing.assert_array_equal(cube.data[2], every.data[0])
    assert (cube.data[1] == 65535).all()
