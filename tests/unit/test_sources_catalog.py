"""The catalogue of collections: descriptions, lookup, scenes, load_stac's collections."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
from openeo.metadata import CollectionMetadata
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from pytest_httpserver import HTTPServer

from openeo_gfmap.local.catalog import Catalog, Collection, collection_from_stac, common_type
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.sentinel2 import BAND_NAMES
from openeo_gfmap.local.stac_source import BandInfo
from support.scenes import item, write_tiff

MOL = (5.0, 51.0, 5.1, 51.1)
YEAR = (date(2023, 1, 1), date(2024, 1, 1))


def write_items(folder: Path, *items: dict) -> str:
    folder.mkdir(exist_ok=True)
    for each in items:
        (folder / f"{each['id']}.json").write_text(json.dumps(each))
    return str(folder)


def sentinel2(folder: str, archive: Path) -> Collection:
    return Catalog.from_settings({"SENTINEL2_L2A": folder}, archive).get("SENTINEL2_L2A")


@pytest.fixture
def series(shared_data: Path) -> str:
    return str(shared_data / "s2_series/items")


def test_sentinel2_is_simulated_by_default(tmp_path: Path) -> None:
    catalog = Catalog.from_settings({}, tmp_path)
    assert catalog.ids() == ("SENTINEL2_L2A",)
    collection = catalog.get("SENTINEL2_L2A")
    assert collection.bands == tuple(b for b in BAND_NAMES if b != "WVP")
    document = collection.describe()
    assert "simulated" in document["title"]
    assert document["description"].startswith("Simulated")


def test_unknown_collection(tmp_path: Path) -> None:
    with pytest.raises(OpenEOError, match="'SENTINEL2' does not exist") as error:
        Catalog.from_settings({}, tmp_path).get("SENTINEL2")
    assert (error.value.code, error.value.status) == ("CollectionNotFound", 404)
    assert "SENTINEL2_L2A" in error.value.message


def test_catalog_travels_to_other_processes(series: str, tmp_path: Path) -> None:
    catalog = Catalog.from_settings({"SENTINEL2_L2A": series, "MINE": series}, tmp_path)
    catalog.get("SENTINEL2_L2A").scenes([MOL], *YEAR)
    packed = pickle.dumps(catalog)
    assert len(packed) < 20_000
    assert pickle.loads(packed).ids() == ("SENTINEL2_L2A", "MINE")


def test_description_is_complete(series: str, tmp_path: Path) -> None:
    document = sentinel2(series, tmp_path).describe()
    assert document["id"] == "SENTINEL2_L2A"
    assert "simulated" not in document["title"].lower()
    assert series not in json.dumps(document)  # a client has no business with our folders
    (west, south, east, north), *_ = document["extent"]["spatial"]["bbox"]
    assert 5.05 < west < east < 5.07
    assert 51.21 < south < north < 51.23
    assert document["extent"]["temporal"]["interval"] == [
        ["2023-04-02T10:50:00Z", "2023-04-30T10:50:00Z"]
    ]
    dimensions = document["cube:dimensions"]
    assert set(dimensions) == {"x", "y", "t", "bands"}
    assert dimensions["bands"]["values"] == list(BAND_NAMES)
    assert {b["name"] for b in document["summaries"]["bands"]} == set(BAND_NAMES)
    assert document["links"][0]["rel"] == "license"
    json.dumps(document, allow_nan=False)


def test_description_is_valid_stac(series: str, tmp_path: Path, shared_data: Path) -> None:
    validator = JsonSchemaSTACValidator()
    for path in (shared_data / "stac_schemas").rglob("*.json"):
        schema = json.loads(path.read_text("utf-8"))
        if isinstance(schema, dict) and "$id" in schema:
            validator.schema_cache[schema["$id"].rstrip("#")] = schema
    # Not at hand, and not needed: our reference systems are EPSG codes.
    validator.schema_cache["https://proj.org/schemas/v0.7/projjson.schema.json"] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
    }
    document = sentinel2(series, tmp_path).describe()
    validated = pystac.Collection.from_dict(document).validate(validator=validator)
    assert len(validated) == 1 + len(document["stac_extensions"])


def test_description_tells_what_cubes_hold(series: str, tmp_path: Path) -> None:
    bands = sentinel2(series, tmp_path).describe()["summaries"]["bands"]
    assert {(b["data_type"], b["nodata"]) for b in bands} == {("uint16", 65535)}


def test_description_is_understood_by_the_client(series: str, tmp_path: Path) -> None:
    metadata = CollectionMetadata(sentinel2(series, tmp_path).describe())
    assert metadata.band_names == list(BAND_NAMES)
    assert metadata.band_dimension.common_names[3] == "red"
    assert metadata.temporal_dimension.name == "t"
    assert {d.name for d in metadata.spatial_dimensions} == {"x", "y"}


def test_bands_by_name_and_common_name(series: str, tmp_path: Path) -> None:
    collection = sentinel2(series, tmp_path)
    assert collection.band_info("B8A").resolution == 20
    assert collection.band_info("nir").name == "B08"
    with pytest.raises(OpenEOError, match="'B10' is not part of SENTINEL2_L2A") as error:
        collection.band_info("B10")
    assert error.value.code == "ProcessParameterInvalid"


def test_scenes_keep_the_wanted_bands(series: str, tmp_path: Path) -> None:
    collection = sentinel2(series, tmp_path)
    assert set(collection.scenes([MOL], *YEAR)) == set()  # touches no item
    area = (5.055, 51.218, 5.056, 51.219)
    scenes = collection.scenes([area], *YEAR, ["red", "SCL"])
    assert len(scenes) == 12
    assert {tuple(s.bands) for s in scenes} == {("B04", "SCL")}
    assert collection.scenes([area], *YEAR, ["B12"]) == []  # no item has it


def test_times_within_a_day(series: str, tmp_path: Path) -> None:
    collection = sentinel2(series, tmp_path)
    area = (5.055, 51.218, 5.056, 51.219)
    noon = datetime(2023, 4, 2, 12, tzinfo=UTC)
    assert [s.datetime.day for s in collection.scenes([area], noon, date(2023, 4, 6))] == [5]
    before = datetime(2023, 4, 2, 10, 50, tzinfo=UTC)  # the very time: the end is not included
    assert collection.scenes([area], date(2023, 4, 2), before) == []


def test_property_filters(tmp_path: Path) -> None:
    folder = write_items(
        tmp_path / "items",
        item("clear", **{"eo:cloud_cover": 3, "s2:mgrs_tile": "31UFS"}),
        item("cloudy", **{"eo:cloud_cover": 99, "s2:mgrs_tile": "31UFS"}),
        item("unknown", **{"s2:mgrs_tile": "31UFS"}),
        item("other_31UGS_tile", **{"eo:cloud_cover": 3}),
    )
    collection = sentinel2(folder, tmp_path)

    def ids(**conditions: object) -> list[str]:
        names = {k.replace("__", ":"): v for k, v in conditions.items()}
        return [s.id for s in collection.scenes([MOL], *YEAR, None, names)]

    assert ids(eo__cloud_cover=lambda v: v <= 95) == ["clear", "other_31UGS_tile"]
    assert ids(tileId=lambda v: v == "31UGS") == ["other_31UGS_tile"]
    assert ids(tileId=lambda v: v == "31UFS", eo__cloud_cover=lambda v: v > 50) == ["cloudy"]
    assert ids(nothing=lambda v: True) == []


def test_older_processings_are_left_out(tmp_path: Path) -> None:
    folder = write_items(
        tmp_path / "items",
        item("S2A_31UFS_N0301", **{"s2:processing_baseline": "03.01"}),
        item("S2A_31UFS_N0500", **{"s2:processing_baseline": "05.00"}),
    )
    scenes = sentinel2(folder, tmp_path).scenes([MOL], *YEAR)
    assert [s.id for s in scenes] == ["S2A_31UFS_N0500"]
    assert scenes[0].bands["B04"].offset == -1000


def test_sentinel2_cube_type(series: str, tmp_path: Path) -> None:
    collection = sentinel2(series, tmp_path)
    assert collection.cube_type(["SCL"]) == (np.dtype("uint16"), 65535)
    assert collection.cube_type(["B02", "SCL"]) == (np.dtype("uint16"), 65535)


@pytest.mark.parametrize(
    ("bands", "dtype", "nodata"),
    [
        ([("uint16", 0)], "uint16", 0),
        ([("int16", -32768), ("int16", -32768)], "int16", -32768),
        ([("uint8", 255), ("uint8", 0)], "uint16", 65535),  # 0 is a value in the first
        ([("uint8", None)], "uint16", 65535),  # all 256 are values
        ([("uint8", 300)], "uint16", 65535),  # no value that uint8 holds
        ([("uint8", 0), ("int16", 0)], "int32", -(2**31)),
        ([("uint16", 0), ("float32", None)], "float32", None),
        ([("float64", -9999.0)], "float64", None),
    ],
)
def test_common_type(bands: list, dtype: str, nodata: float | None) -> None:
    infos = [BandInfo(str(i), dtype=d, nodata=n) for i, (d, n) in enumerate(bands)]
    assert common_type(infos) == (np.dtype(dtype), nodata)


def test_load_stac_of_sentinel2(series: str) -> None:
    collection = collection_from_stac(series)
    assert collection.id == "sentinel-2-l2a"
    assert collection.bands == ("B01", "B04", "B08", "B11", "SCL", "AOT")
    assert collection.cube_type(["B04"]) == (np.dtype("uint16"), 65535)
    renamed = collection_from_stac(series, ["red", "scl"])
    assert renamed.bands == ("red", "scl")
    scene = renamed.scenes([(5.055, 51.218, 5.056, 51.219)], *YEAR)[0]
    assert tuple(scene.bands) == ("red", "scl")
    with pytest.raises(OpenEOError, match="'B99' is not part of sentinel-2-l2a"):
        collection_from_stac(series, ["B99"])


def test_load_stac_of_anything(tmp_path: Path) -> None:
    write_tiff(tmp_path / "temperature.tif", np.zeros((20, 20), "int16"), nodata=-9999)
    two = np.zeros((2, 20, 20), "float32")
    write_tiff(tmp_path / "wind.tif", two, nodata=None, resolution=30)
    assets = {
        "temperature": {"title": "Air temperature"},
        "wind": {"bands": [{"name": "u"}, {"name": "v"}]},
        "picture": {"roles": ["thumbnail"]},
        "report": {"type": "application/pdf"},
    }
    folder = write_items(tmp_path / "items", item("x", assets=assets, collection="weather"))
    for href in ("temperature.tif", "wind.tif"):
        (tmp_path / href).rename(tmp_path / "items" / href)
    collection = collection_from_stac(folder)
    assert collection.id == "weather"
    assert [(b.name, b.dtype, b.nodata, b.resolution) for b in collection.band_infos] == [
        ("temperature", "int16", -9999, 10),
        ("u", "float32", None, 30),
        ("v", "float32", None, 30),
    ]
    assert collection.cube_type(["temperature"]) == (np.dtype("int16"), -9999)
    (scene,) = collection.scenes([MOL], *YEAR, ["v"])
    assert scene.bands["v"].band_index == 2
    assert collection_from_stac(folder, ["v", "temperature"]).bands == ("v", "temperature")
    with pytest.raises(OpenEOError, match="'w' is not part of weather; it has temperature, u, v"):
        collection_from_stac(folder, ["w"])


def test_one_name_in_several_assets(tmp_path: Path) -> None:
    described = {"data_type": "uint8", "nodata": 0, "gsd": 10}
    assets = {
        "red_10m": {"bands": [{"name": "red"}], **described},
        "red_20m": {"bands": [{"name": "red"}], **described},
        "mixed": {"bands": [{"name": "red"}, {"name": "blue"}], **described},
    }
    folder = write_items(tmp_path / "items", item("x", assets=assets, collection="other"))
    assert collection_from_stac(folder).bands == ("red_10m", "red_20m", "mixed:red", "blue")


def test_load_stac_of_an_api(httpserver: HTTPServer) -> None:
    root = httpserver.url_for("/stac")
    described = {"data_type": "uint16", "nodata": 0, "gsd": 30}
    page = {"features": [item("x", assets={"lst": described}, collection="modis")]}
    links = [{"rel": "root", "href": root}, {"rel": "items", "href": f"{root}/c/items"}]
    document = {"type": "Collection", "id": "modis", "links": links, "license": "CC0-1.0"}
    httpserver.expect_request("/stac/search", method="POST").respond_with_json(page)
    httpserver.expect_request("/stac/collections/modis").respond_with_json(document)
    httpserver.expect_request("/stac").respond_with_json(
        {"type": "Catalog", "id": "api", "links": [{"rel": "search", "href": f"{root}/search"}]}
    )
    for place in (f"{root}/collections/modis", f"{root}#modis", root):
        collection = collection_from_stac(place)
        assert collection.bands == ("lst",)
        assert [s.id for s in collection.scenes([MOL], *YEAR)] == ["x"]
        json.dumps(collection.describe(), allow_nan=False)
    assert collection_from_stac(f"{root}/collections/modis").describe()["license"] == "CC0-1.0"


def test_sources_with_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(OpenEOError, match="has no items"):
        collection_from_stac(str(tmp_path))
    write_items(tmp_path / "items", item("x", assets={"r": {"type": "application/pdf"}}))
    with pytest.raises(OpenEOError, match="has no bands to read"):
        collection_from_stac(str(tmp_path / "items"))
