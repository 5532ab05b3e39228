"""Reading and editing result files: JSON of points, NetCDF attributes, STAC collections."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pystac
import pytest
import xarray as xr

from openeo_gfmap.errors import InputError
from openeo_gfmap.utils import load_json, split_collection_by_epsg, update_nc_attributes

BANDS = ["S2-L2A-B01", "S2-L2A-B04", "S2-L2A-B08", "S2-L2A-B11"]


def test_json_of_points_is_the_back_ends_own_table(shared_data: Path) -> None:
    folder = shared_data / "cdse_job"
    table = load_json(folder / "points_cdse_sentinel2_l2a.json", BANDS)
    expected = pd.read_parquet(folder / "points_cdse_sentinel2_l2a.parquet")
    pd.testing.assert_frame_equal(
        table, expected[table.columns], check_index_type=False, check_names=False
    )
    assert set(table.columns) == set(expected.columns)


def test_json_dates_are_sorted_and_gaps_are_nan(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    values = {"2023-05-10T00:00:00Z": [[1, None], []], "2023-05-05": [[3, 4], None]}
    path.write_text(json.dumps(values), encoding="utf-8")
    table = load_json(path, ["a", "b"])
    assert table.columns.tolist() == [
        "a:2023-05-05",
        "b:2023-05-05",
        "a:2023-05-10",
        "b:2023-05-10",
    ]
    np.testing.assert_array_equal(table, [[3, 4, 1, np.nan], [np.nan] * 4])


def test_json_without_dates_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text("{}", encoding="utf-8")
    assert load_json(path, ["a"]).empty


@pytest.mark.parametrize(
    "content", ["[1, 2]", "{", '{"2023-05-05": [[1, 2, 3]]}', '{"a": 1}', None]
)
def test_json_of_another_form_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"points\.json"):
        load_json(path, ["a", "b"])


@pytest.fixture
def patch_file(tmp_path: Path) -> Path:
    """Return a file as xarray writes it, with more attributes than HDF5 keeps in one block."""
    path = tmp_path / "patch.nc"
    data = xr.Dataset(
        {"B02": (("t", "y", "x"), np.arange(24, dtype=np.uint16).reshape(2, 3, 4))},
        attrs={f"attribute_{i}": "text" * 20 for i in range(20)},
    )
    data.to_netcdf(path, engine="h5netcdf", unlimited_dims=["t"])
    return path


ATTRIBUTES: dict[str, Any] = {
    "title": "Sample ä–é",
    "attribute_3": "replaced by something of another length",
    "count": 7,
    "share": 0.25,
    "dates": ["2023-05-05", "2023-05-10"],
    "sizes": np.array([1, 2, 3], dtype=np.int32),
}


def assert_has_attributes(path: Path) -> None:
    """Check with both libraries that people read NetCDF with."""
    with netCDF4.Dataset(path) as nc, xr.open_dataset(path, engine="h5netcdf") as ds:
        for attributes in (nc.__dict__, ds.attrs):
            assert attributes["title"] == "Sample ä–é"
            assert attributes["attribute_3"] == ATTRIBUTES["attribute_3"]
            assert attributes["count"] == 7
            assert attributes["share"] == 0.25
            assert list(attributes["dates"]) == ["2023-05-05", "2023-05-10"]
            assert list(attributes["sizes"]) == [1, 2, 3]


@pytest.mark.parametrize("atomic", [False, True])
def test_attributes_are_added_and_replaced(atomic: bool, patch_file: Path) -> None:
    with xr.open_dataset(patch_file, engine="h5netcdf") as ds:
        before = ds.load()
    for _ in range(3):
        update_nc_attributes(patch_file, ATTRIBUTES, atomic=atomic)
    assert_has_attributes(patch_file)
    with xr.open_dataset(patch_file, engine="h5netcdf") as ds:
        xr.testing.assert_equal(ds, before)
        assert {f"attribute_{i}" for i in range(20)} <= set(ds.attrs)
    assert [p.name for p in patch_file.parent.iterdir()] == ["patch.nc"]


def test_attributes_of_a_real_result(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "openEO_0.nc"
    shutil.copyfile(shared_data / "cdse_job" / "openEO_0.nc", path)
    with netCDF4.Dataset(path) as nc:
        before = dict(nc.__dict__)
        pixels = {name: nc[name][:] for name in nc.variables}
    update_nc_attributes(path, ATTRIBUTES)
    assert_has_attributes(path)
    with netCDF4.Dataset(path) as nc:
        assert before.items() - {("title", before.get("title"))} <= nc.__dict__.items()
        for name, values in pixels.items():
            np.testing.assert_array_equal(nc[name][:], values)


@pytest.mark.parametrize(
    ("attributes", "hint"),
    [
        ({"title": "new", "when": datetime(2024, 1, 1, tzinfo=UTC)}, "datetime"),
        ({"title": "new", "flag": True}, "bool"),
        ({"title": "new", "nothing": None}, "NoneType"),
        ({"title": "new", "nested": [[1, 2], [3, 4]]}, "list"),
        ({"title": "new", "": "x"}, "name"),
        ({"title": "new", "a/b": "x"}, "name"),
        ({"title": "new", "_NCProperties": "x"}, "_NCProperties"),
    ],
)
def test_one_bad_attribute_changes_nothing(
    attributes: dict[str, Any], hint: str, patch_file: Path
) -> None:
    before = patch_file.read_bytes()
    with pytest.raises(InputError, match=hint):
        update_nc_attributes(patch_file, attributes)
    assert patch_file.read_bytes() == before


def test_attributes_need_a_netcdf_file(tmp_path: Path) -> None:
    text = tmp_path / "page.nc"
    text.write_text("<html>", encoding="utf-8")
    with pytest.raises(InputError, match="netCDF-4"):
        update_nc_attributes(text, {"title": "x"})
    with pytest.raises(InputError, match="no file"):
        update_nc_attributes(tmp_path / "missing.nc", {"title": "x"})


def item(name: str, longitude: float, properties: dict[str, Any], asset: str) -> pystac.Item:
    west, east = longitude, longitude + 0.01
    ring = [[west, 50], [east, 50], [east, 50.01], [west, 50.01], [west, 50]]
    stac_item = pystac.Item(
        id=name,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=[west, 50, east, 50.01],
        datetime=datetime(2023, 5, 5, tzinfo=UTC),
        properties=properties,
    )
    stac_item.add_asset("data", pystac.Asset(href=asset))
    return stac_item


@pytest.fixture
def collection_file(tmp_path: Path) -> Path:
    collection = pystac.Collection(
        id="samples",
        description="Samples.",
        title="Samples of 2023",
        license="CC-BY-4.0",
        extent=pystac.Extent(
            pystac.SpatialExtent([[0, 50, 12, 51]]),
            pystac.TemporalExtent([[datetime(2023, 1, 1, tzinfo=UTC), None]]),
        ),
        summaries=pystac.Summaries({"gsd": [10]}),
    )
    collection.add_items(
        [
            item("a", 3, {"proj:code": "EPSG:32631"}, "/data/a.nc"),
            item("b", 9, {"proj:epsg": 32632}, "/data/b.nc"),
            item("c", 4, {"proj:code": "EPSG:32631"}, "/data/c.nc"),
        ]
    )
    folder = tmp_path / "whole"
    collection.normalize_and_save(str(folder), pystac.CatalogType.SELF_CONTAINED)
    return folder / "collection.json"


def test_collection_is_split_by_crs(collection_file: Path, tmp_path: Path) -> None:
    files = split_collection_by_epsg(collection_file, tmp_path / "parts")
    assert files == [
        tmp_path / "parts" / f"collection-{epsg}" / "collection.json" for epsg in (32631, 32632)
    ]
    parts = [pystac.Collection.from_file(str(file)) for file in files]
    assert [part.id for part in parts] == ["samples_32631", "samples_32632"]
    items = [sorted(part.get_items(), key=lambda i: i.id) for part in parts]
    assert [[i.id for i in group] for group in items] == [["a", "c"], ["b"]]
    assert items[0][1].assets["data"].get_absolute_href() == "/data/c.nc"
    assert parts[0].extent.spatial.bboxes == [[3, 50, 4.01, 50.01]]
    assert parts[0].title == "Samples of 2023"
    assert parts[0].license == "CC-BY-4.0"
    assert parts[0].summaries.to_dict() == {"gsd": [10]}
    assert len(list(pystac.Collection.from_file(str(collection_file)).get_items())) == 3


def test_item_without_crs_is_named_and_nothing_is_written(
    collection_file: Path, tmp_path: Path
) -> None:
    path = next(collection_file.parent.rglob("b.json"))
    path.write_text(path.read_text("utf-8").replace("proj:epsg", "other"), encoding="utf-8")
    with pytest.raises(InputError, match="'b'"):
        split_collection_by_epsg(collection_file, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_split_needs_a_collection(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"collection\.json"):
        split_collection_by_epsg(tmp_path / "collection.json", tmp_path / "parts")
