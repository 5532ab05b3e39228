"""A recipe from samples to a collection, on the embedded back-end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import openeo
import pystac
import pytest
import shapely
import xarray as xr
from PIL import Image
from rasterio import Affine
from rasterio.features import rasterize

from openeo_gfmap.backend import local_connection
from openeo_gfmap.launcher import running_server
from openeo_gfmap.recipes import AroundDate, Extraction, FixedDates, Labels, Sentinel2Patches
from openeo_gfmap.report import contact_sheets, sample_page
from openeo_gfmap.report.contact_sheet import read_row
from openeo_gfmap.report.patches import open_patch
from support.cf import cf_errors

FIELDS = Path(__file__).parents[2] / "examples" / "data" / "demo_fields.gpkg"
PERIOD = FixedDates("2021-05-20", "2021-06-04")


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openeo.Connection]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("OPENEO_GFMAP_HOME", str(home))
        yield local_connection()
        server = running_server(home)
        assert server is not None
        os.kill(server.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def samples() -> gpd.GeoDataFrame:
    """Two fields of one job that get a patch, and all others, which may touch one."""
    fields = gpd.read_file(FIELDS)
    wanted = fields.index[fields.extract][:2]
    return fields.assign(extract=fields.index.isin(wanted))


def items_of(folder: Path) -> list[pystac.Item]:
    collection = pystac.Collection.from_file(str(folder / "stac" / "collection.json"))
    return sorted(collection.get_items(recursive=True), key=lambda item: item.id)


def file_of(item: pystac.Item, key: str) -> Path:
    return Path(str(item.assets[key].get_absolute_href()))


def test_patches_labels_and_catalogue(
    connection: openeo.Connection, samples: gpd.GeoDataFrame, tmp_path: Path
) -> None:
    recipe = Sentinel2Patches(period=PERIOD, labels=Labels("croptype_name"))
    extraction = Extraction(recipe, samples)
    counts = extraction.run(tmp_path, poll_sleep=0.2)
    assert set(counts) == {"finished"}
    items = items_of(tmp_path)
    wanted = samples[samples.extract]
    assert {item.properties["sample_id"] for item in items} == set(wanted.sample_id)
    legend = json.loads(extraction.parts.jobs["legend"][0])
    for item in items:
        sample = wanted[wanted.sample_id == item.properties["sample_id"]].iloc[0]
        assert item.properties["croptype_name"] == sample.croptype_name
        assert item.properties["valid_date"] == "2021-06-01"
        assert "extract" not in item.properties
        picture = item.assets["quicklook"]
        assert picture.roles == ["thumbnail"]
        assert Image.open(file_of(item, "quicklook")).size == (64, 64)
        patch, labels = file_of(item, "sentinel2"), file_of(item, "auxiliary")
        assert patch.is_relative_to(tmp_path / sample.ref_id)
        assert not cf_errors(patch)
        assert not cf_errors(labels)
        with (
            xr.open_dataset(patch, engine="h5netcdf") as cube,
            xr.open_dataset(labels, engine="h5netcdf", mask_and_scale=False) as raster,
        ):
            assert cube.sizes["x"] == cube.sizes["y"] == 64
            assert len([name for name in cube.data_vars if name.startswith("S2-L2A")]) == 15
            assert cube.attrs["sample_id"] == sample.sample_id
            crs = cube.crs.attrs["crs_wkt"]
            _check_labels(raster["LABEL"], samples.to_crs(crs), sample.sample_id, legend)
    # The same again makes nothing and asks for nothing.
    assert Extraction(recipe, samples).run(tmp_path, poll_sleep=0.2) == counts


def _check_labels(
    raster: xr.DataArray, fields: gpd.GeoDataFrame, sample: str, legend: dict[str, int]
) -> None:
    """Compare with what GDAL burns, on cells whose edges lie half a pixel from their centres."""
    x, y = raster.x.to_numpy(), raster.y.to_numpy()
    transform = (10.0, 0.0, x[0] - 5, 0.0, -10.0, y[0] + 5)
    order = (fields.sample_id == sample).argsort(kind="stable")
    fields = fields.iloc[order]
    shapes = [
        (shape, legend[name])
        for shape, name in zip(fields.geometry, fields.croptype_name, strict=True)
    ]
    expected = rasterize(
        shapes, out_shape=raster.shape, transform=Affine(*transform), dtype="int32"
    )
    # A field's edge can run through the centres of pixels, where rounding decides.
    edges = shapely.union_all(fields.boundary.to_numpy())
    clear = shapely.distance(shapely.points(*np.meshgrid(x, y)), edges) > 0.001
    np.testing.assert_array_equal(raster.to_numpy()[clear], expected[clear])
    assert clear.mean() > 0.95
    assert (raster.to_numpy() > 0).any()
    assert raster.attrs["flag_meanings"].split() == [name.replace(" ", "_") for name in legend]


def test_monthly_composites_of_a_few_bands(
    connection: openeo.Connection, samples: gpd.GeoDataFrame, tmp_path: Path
) -> None:
    recipe = Sentinel2Patches(
        period=AroundDate(15, 15, whole_months=True),
        bands=("S2-L2A-B04", "S2-L2A-B08"),
        composite="month",
        distance_to_cloud=False,
        labels=None,
    )
    counts = Extraction(recipe, samples).run(tmp_path, poll_sleep=0.2)
    assert set(counts) == {"finished"}
    for item in items_of(tmp_path):
        assert set(item.assets) == {"sentinel2", "quicklook"}
        with xr.open_dataset(file_of(item, "sentinel2"), engine="h5netcdf") as cube:
            bands = {name for name in cube.data_vars if name != "crs"}
            assert bands == {"S2-L2A-B04", "S2-L2A-B08"}
            months = [str(moment)[:10] for moment in cube.t.to_numpy()]
            assert months == ["2021-05-01", "2021-06-01"]
    _check_preview(tmp_path, samples[samples.extract])


def _check_preview(folder: Path, samples: gpd.GeoDataFrame) -> None:
    """Composites have two bands and no clouds: months in grey, NDVI of all pixels, no label."""
    for item in items_of(folder):
        row = read_row(item)
        assert row.name == item.properties["sample_id"]
        assert row.note == "2 dates"
        assert row.days == ["01 May 2021", "01 Jun 2021"]
        assert row.cloud is None and row.label is None and row.pixel_metres == 10
        with xr.open_dataset(file_of(item, "sentinel2"), engine="h5netcdf") as cube:
            near, red = (cube[f"S2-L2A-{band}"].values for band in ("B08", "B04"))
        for month, picture in enumerate(row.colours):
            white = 5500  # of the near infrared
            grey = np.sqrt(np.clip(near[month] / white, 0, 1))
            expected = np.where(np.isnan(grey), 0.88, grey)  # what is never clear is light grey
            np.testing.assert_allclose(picture, np.stack([expected] * 3, axis=-1), atol=1e-6)
        with open_patch(item) as patch:
            found = patch.ndvi()
        assert found is not None
        ndvi = ((near - red) / (near + red)).reshape(2, -1)
        assert np.isfinite(found[1]).any()
        np.testing.assert_allclose(found[1], np.nanmedian(ndvi, axis=1), rtol=1e-5)
    (sheet,) = contact_sheets(folder, folder / "preview")
    assert np.asarray(Image.open(sheet))[..., :3].std() > 10
    page = sample_page(folder, samples.sample_id.iloc[0], folder / "preview")
    assert Image.open(page).size[0] == 1320


def test_a_part_of_ones_own(
    connection: openeo.Connection, samples: gpd.GeoDataFrame, tmp_path: Path
) -> None:
    def rename(items: list[pystac.Item], row: Any) -> list[pystac.Item]:
        for item in items:
            item.properties["mine"] = row["recipe"]
        return items

    recipe = Sentinel2Patches(
        period=PERIOD, bands=("S2-L2A-B04",), cloud_mask=None, distance_to_cloud=False
    )
    Extraction(recipe, samples, post_job_action=rename).run(tmp_path, poll_sleep=0.2)
    assert {item.properties["mine"] for item in items_of(tmp_path)} == {"sentinel2-patches"}
