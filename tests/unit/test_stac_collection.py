"""Items and collections: valid against the schemas, right about the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

from openeo_gfmap.manager import netcdf
from openeo_gfmap.manager.catalog import Existing
from openeo_gfmap.stac import AUXILIARY
from openeo_gfmap.stac.constants import STAC_EXTENSIONS
from openeo_gfmap.stac.items import cube_item, item_id, modern_item, service_item
from openeo_gfmap.stac.tree import write_collection
from support.patches import BANDS, patch_bytes
from support.stac_schemas import SchemaFolder


@pytest.fixture(scope="module")
def schemas(shared_data: Path) -> SchemaFolder:
    return SchemaFolder(shared_data / "stac_schemas")


def item_of(path: Path, name: str = "a/b.nc") -> dict[str, Any]:
    cube = netcdf.describe(path)
    assert cube is not None
    return cube_item(item_id(name), name, cube)


def patch(tmp_path: Path, **settings: int) -> Path:
    path = tmp_path / "patch.nc"
    path.write_bytes(patch_bytes(tmp_path, **settings))
    return path


def test_a_real_file_says_what_its_item_needs(shared_data: Path) -> None:
    """Compared with what xarray reads, and with the back-end's own description of the file."""
    results = json.loads((shared_data / "cdse_job" / "job-results.json").read_text())
    for name, asset in results["assets"].items():
        path = shared_data / "cdse_job" / name
        item = item_of(path)
        properties = item["properties"]
        assert properties["proj:code"] == f"EPSG:{asset['proj:epsg']}"
        assert properties["proj:shape"] == asset["proj:shape"]
        assert properties["proj:bbox"] == pytest.approx(asset["proj:bbox"], abs=1e-3)
        data = item["assets"]["sentinel2"]
        assert [band["name"] for band in data["bands"]] == [b["name"] for b in asset["eo:bands"]]
        assert {band["data_type"] for band in data["bands"]} == {"uint16"}
        assert {band["nodata"] for band in data["bands"]} == {65535}
        assert data["raster:spatial_resolution"] == 10
        with xr.open_dataset(path) as file:
            days = [f"{np.datetime_as_string(day, 's')}Z" for day in file.t.values]
            assert data["cube:dimensions"]["t"]["values"] == days
            assert (properties["start_datetime"], properties["end_datetime"]) == (days[0], days[-1])
            assert data["cube:dimensions"]["x"]["extent"] == [file.x.min(), file.x.max()]
            assert data["cube:dimensions"]["y"]["step"] == -10
        with rasterio.open(f"netcdf:{path}:S2-L2A-B02") as image:
            assert properties["proj:transform"] == pytest.approx(list(image.transform)[:6])
        west, south, east, north = item["bbox"]
        assert 17.6 < west < east < 17.8 and 40.5 < south < north < 40.7


def test_an_item_is_valid(tmp_path: Path, schemas: SchemaFolder) -> None:
    item = item_of(patch(tmp_path))
    schemas.check({**item, "links": [], "collection": None} | {"collection": "c"} | {"links": [
        {"rel": "collection", "href": "../collection.json"}]})  # fmt: skip
    assert [band["name"] for band in item["assets"]["sentinel2"]["bands"]] == list(BANDS)
    assert item["assets"]["sentinel2"]["bands"][0]["eo:common_name"] == "red"


def test_ids_are_stable_and_differ_by_path() -> None:
    assert item_id("a/openEO_0.nc") == item_id("a/openEO_0.nc") != item_id("b/openEO_0.nc")
    assert item_id("a/openEO_0.nc").startswith("openEO_0_")


def test_a_file_that_is_no_cube_is_not_described(tmp_path: Path) -> None:
    xr.Dataset({"a": ("n", [1, 2])}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert netcdf.describe(tmp_path / "a.nc") is None


def test_a_geographic_file(tmp_path: Path, schemas: SchemaFolder) -> None:
    from pyproj import CRS

    dataset = xr.Dataset(
        {"B": (("lat", "lon"), np.ones((3, 4), "float32"), {"grid_mapping": "crs"})},
        coords={"lat": [51.3, 51.2, 51.1], "lon": [5.1, 5.2, 5.3, 5.4]},
    )
    dataset["crs"] = ((), 0, {"crs_wkt": CRS.from_epsg(4326).to_wkt()})
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    item = item_of(tmp_path / "a.nc")
    assert item["bbox"] == pytest.approx([5.05, 51.05, 5.45, 51.35])
    assert "raster:spatial_resolution" not in item["assets"]["data"]  # it is in metres
    assert item["properties"]["datetime"] is None


def test_an_item_from_the_back_ends_words(shared_data: Path, schemas: SchemaFolder) -> None:
    """For files that do not describe themselves; old spellings become those of STAC 1.1."""
    theirs = json.loads((shared_data / "stac_items" / "cdse_job_result_item.json").read_text())
    (asset,) = theirs["assets"].values()
    item = service_item("x_1", "a/x.tif", asset, theirs, {})
    properties, (data,) = item["properties"], item["assets"].values()
    assert properties["start_datetime"] == "2022-01-01T00:00:00Z"
    assert data["proj:code"] == "EPSG:32631" and "proj:epsg" not in data
    assert [band["name"] for band in data["bands"]] == ["B04", "B03", "B02"]
    assert data["bands"][0]["eo:center_wavelength"] == 0.6646
    assert "eo:bands" not in data and "raster:bands" not in data
    assert data["href"] == "a/x.tif" and "file:size" not in data  # that of the moment is added
    schemas.check({**item, "links": [{"rel": "collection", "href": "c"}], "collection": "c"})


def test_an_item_without_any_words_takes_the_extent_of_the_results() -> None:
    results = {
        "extent": {
            "spatial": {"bbox": [[5, 51, 6, 52]]},
            "temporal": {"interval": [["2023-01-01T00:00:00Z", "2023-02-01T00:00:00Z"]]},
        }
    }
    item = service_item("x", "x.csv", {"href": "http://x/x.csv"}, None, results)
    assert item["bbox"] == [5, 51, 6, 52]
    assert item["geometry"]["type"] == "Polygon"
    assert item["properties"]["end_datetime"] == "2023-02-01T00:00:00Z"


def test_extensions_are_the_ones_in_use_in_our_versions() -> None:
    old = {
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://example.com/mine/v1/schema.json",
        ],
        "properties": {"proj:epsg": 32631},
        "assets": {},
    }
    new = modern_item(old)
    assert new["properties"] == {"proj:code": "EPSG:32631"}
    assert new["stac_extensions"] == [
        "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
        "https://example.com/mine/v1/schema.json",
    ]


# ------------------------------------------------------------------------------------- collections


def written(tmp_path: Path, items: list[dict[str, Any]], **settings: Any) -> Path:
    return write_collection(
        tmp_path / "out" / "stac",
        enumerate(items),
        count=len(items),
        output_dir=tmp_path / "out",
        identifier="C",
        description="Patches.",
        **settings,
    )


def test_a_collection_is_valid_and_self_contained(tmp_path: Path, schemas: SchemaFolder) -> None:
    items = []
    for seed, epsg in enumerate((32631, 32631, 32632)):
        name = f"a/{seed}/openEO_0.nc"
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(patch_bytes(tmp_path, seed=seed, epsg=epsg))
        item = item_of(path, name)
        label = AUXILIARY.create_asset(href=f"a/{seed}/label.nc").to_dict()
        classes = [{"value": seed + 1, "name": f"crop{seed}", "description": f"Crop {seed}"}]
        item["assets"]["auxiliary"] = {
            **label, "file:size": 3, "classification:classes": classes,
        }  # fmt: skip
        item["properties"]["processing:software"] = {"openeo-gfmap": "0"}
        items.append(modern_item(item))
    path = written(tmp_path, items, constellation="sentinel2")
    document = json.loads(path.read_text())
    schemas.check(document)
    assert set(document["stac_extensions"]) == set(STAC_EXTENSIONS)
    assert document["stac_version"] == "1.1.0"
    assert document["summaries"]["proj:code"] == ["EPSG:32631", "EPSG:32632"]
    assert set(document["item_assets"]) == {"sentinel2", "auxiliary"}
    bands = document["item_assets"]["sentinel2"]["bands"]
    assert bands[0]["eo:common_name"] == "red"
    classes = document["item_assets"]["auxiliary"]["classification:classes"]
    assert [each["value"] for each in classes] == [1, 2, 3]  # of all items
    moved = tmp_path / "moved"
    (tmp_path / "out").rename(moved)  # it moves together with the files
    collection = pystac.Collection.from_file(str(moved / "stac" / "collection.json"))
    found = list(collection.get_items())
    assert len({item.id for item in found}) == 3
    for item, original in zip(found, items, strict=True):
        assert item.id == original["id"]
        assert Path(str(item.assets["sentinel2"].get_absolute_href())).is_file()
        assert item.get_parent().id == "C"
        saved = json.loads(Path(item.self_href).read_text())
        schemas.check(saved)
        assert all(not link["href"].startswith("/") for link in saved["links"])
    assert document["extent"]["temporal"]["interval"] == [
        ["2023-03-03T00:00:00Z", "2023-03-08T00:00:00Z"]
    ]
    box = document["extent"]["spatial"]["bbox"][0]
    assert box[0] == min(item["bbox"][0] for item in items)
    assert box[3] == max(item["bbox"][3] for item in items)


def test_an_empty_collection_is_valid(tmp_path: Path, schemas: SchemaFolder) -> None:
    schemas.check(json.loads(written(tmp_path, []).read_text()))


def test_equal_ids_are_told_apart_and_old_items_go(tmp_path: Path) -> None:
    def simple(identifier: str) -> dict[str, Any]:
        return {
            "type": "Feature", "id": identifier, "properties": {"datetime": None},
            "geometry": None, "assets": {}, "links": [],
        }  # fmt: skip

    path = written(tmp_path, [simple("openEO_0.nc"), simple("openEO_0.nc"), simple("OPENEO_0.nc")])
    names = sorted(p.name for p in (path.parent / "items").iterdir())
    assert len(names) == 3
    ids = [json.loads((path.parent / "items" / name).read_text())["id"] for name in names]
    assert len(set(ids)) == 3 and "openEO_0.nc" in ids
    foreign = path.parent / "items" / "of_somebody_else.json"
    foreign.write_text("{}")
    written(tmp_path, [simple("only")])
    names = sorted(p.name for p in (path.parent / "items").iterdir())
    assert names == ["of_somebody_else.json", "only.json"]


def test_an_existing_collection_is_carried_over(tmp_path: Path) -> None:
    name = "a/openEO_0.nc"
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(patch_bytes(tmp_path))
    path = written(tmp_path, [item_of(file, name)])
    existing = Existing(path, tmp_path / "out")
    assert existing.identifier == "C"
    (item,) = existing.items()
    assert item["assets"]["sentinel2"]["href"] == name
    for other in (path.parent, pystac.Collection.from_file(str(path))):
        assert list(Existing(other, tmp_path / "out").items()) == [item]
    assert list(existing.beside([])) == [item]
    assert list(existing.beside([{"id": "x", "assets": {"a": {"href": name}}}])) == []
