"""The simulated archive, read as any other source of Sentinel-2 scenes."""

from __future__ import annotations

import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.catalog import Catalog, Collection, collection_from_stac
from openeo_gfmap.local.engine.reader import Reader

AREA = (5.0515, 51.2158, 5.0603, 51.2215)
WINDOW = GeoBox((64, 64), Affine(10, 0, 643260, 0, -10, 5676480), "EPSG:32631")


def days_around(year: int) -> tuple[date, date]:
    return date(year, 6, 1), date(year, 6, 25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def collection(folder: Path) -> Collection:
    return Catalog.from_settings({}, folder).get("SENTINEL2_L2A")


def read(collection: Collection, year: int, bands: list[str]) -> np.ndarray:
    scenes = collection.scenes([AREA], *days_around(year), bands)
    dtype, nodata = collection.cube_type(bands)
    return Reader().read(
        scenes, bands, WINDOW, dtype=dtype, nodata=nodata, lookup=collection.band_info
    ).data  # fmt: skip


def test_every_band_is_there(collection: Collection) -> None:
    scenes = collection.scenes([AREA], *days_around(2021))
    assert scenes
    assert {tuple(s.bands) for s in scenes} == {collection.bands}
    assert {s.tile for s in scenes} >= {"31UFS"}
    assert {s.epsg for s in scenes} == {32631}
    assert all(s.id.startswith("SIMULATED") for s in scenes)
    data = read(collection, 2021, list(collection.bands))
    assert (data != 65535).any(axis=(0, 2, 3)).all()
    scl = data[:, collection.bands.index("SCL")]
    assert set(np.unique(scl)) <= {*range(12), 65535}


def test_the_baselines_offset_is_taken_off(collection: Collection) -> None:
    offsets = {
        year: {s.bands["B08"].offset for s in collection.scenes([AREA], *days_around(year))}
        for year in (2021, 2023)
    }
    assert offsets == {2021: {0}, 2023: {-1000}}
    medians = []
    for year in (2021, 2023):
        data = read(collection, year, ["B04", "SCL"])
        clear = np.isin(data[:, 1], (4, 5))
        medians.append(np.median(data[:, 0][clear]))
    assert abs(medians[0] - medians[1]) < 500  # not 1000 apart


def test_the_archives_folder_is_a_stac_source(collection: Collection, folder: Path) -> None:
    expected = read(collection, 2021, ["B02", "B11"])
    again = collection_from_stac(str(folder), ["B02", "B11"])
    np.testing.assert_array_equal(read(again, 2021, ["B02", "B11"]), expected)


def test_the_catalogue_travels_to_workers(collection: Collection) -> None:
    copy = pickle.loads(pickle.dumps(collection))
    np.testing.assert_array_equal(read(copy, 2021, ["B03"]), read(collection, 2021, ["B03"]))
