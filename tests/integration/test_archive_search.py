"""The simulated archive on disk: made on demand, kept, shared between tiles and processes."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyproj
import pystac
import pytest
import rasterio
from pystac.validation import validate_dict
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.warp import Resampling, reproject

from openeo_gfmap.local.archive import SimulatedArchive
from openeo_gfmap.local.archive.scene import LAYOUT

# In 31UFS alone; about one cell wide, so it touches several.
AREA = (5.050, 51.210, 5.060, 51.216)
APRIL = (date(2023, 4, 1), date(2023, 4, 11))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def items(folder: Path) -> list[dict]:
    return SimulatedArchive(folder).search([AREA], *APRIL)


def read(item: dict, resolution: int) -> np.ndarray:
    with rasterio.open(item["assets"][f"B{resolution}m"]["href"]) as file:
        return file.read()


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_items_are_those_asked_for_in_order(items: list[dict]):
    days = [each["properties"]["datetime"][:10] for each in items]
    assert sorted(set(days)) == ["2023-04-02", "2023-04-05", "2023-04-07", "2023-04-10"]
    keys = [(each["properties"]["datetime"], each["id"]) for each in items]
    assert keys == sorted(keys)
    assert len({each["id"] for each in items}) == len(items)
    west, south, east, north = AREA
    for each in items:
        w, s, e, n = each["bbox"]
        assert w <= east
        assert e >= west
        assert s <= north
        assert n >= south


def test_everything_says_that_it_is_simulated(items: list[dict], folder: Path):
    for each in items:
        assert each["id"].startswith("SIMULATED_")
        assert each["properties"]["title"].startswith("Simulated")
        assert each["properties"]["description"].startswith("Simulated")
        assert each["properties"]["gfmap:simulated"] is True
    with rasterio.open(items[0]["assets"]["B10m"]["href"]) as file:
        assert file.tags()["TIFFTAG_IMAGEDESCRIPTION"].startswith("Simulated")
    assert json.loads((folder / "collection.json").read_bytes())["title"].startswith("Simulated")


def test_making_scenes_is_logged_as_simulated(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    archive = SimulatedArchive(tmp_path)
    with caplog.at_level(logging.INFO, logger="openeo_gfmap"):
        archive.search([(5.05, 51.21, 5.051, 51.211)], date(2023, 4, 1), date(2023, 4, 3))
    assert "Simulated" in caplog.text
    assert "invented" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="openeo_gfmap"):
        archive.search([(5.05, 51.21, 5.051, 51.211)], date(2023, 4, 1), date(2023, 4, 3))
    assert caplog.text == "", "nothing new was made"


def test_files_are_what_the_items_say(items: list[dict]):
    for each in items[:6]:
        for resolution, names in LAYOUT.items():
            asset = each["assets"][f"B{resolution}m"]
            assert [band["name"] for band in asset["bands"]] == list(names)
            with rasterio.open(asset["href"]) as file:
                assert file.descriptions == names
                assert file.crs.to_string() == each["properties"]["proj:code"]
                assert list(file.transform)[:6] == asset["proj:transform"]
                assert list(file.shape) == asset["proj:shape"]
                assert file.nodata == asset["nodata"] == 0


def test_a_second_search_makes_nothing_and_answers_the_same(folder: Path, items: list[dict]):
    before = files(folder)
    again = pickle.loads(pickle.dumps(SimulatedArchive(folder))).search([AREA], *APRIL)
    assert again == items
    assert files(folder) == before


def test_a_lost_file_is_no_obstacle(tmp_path: Path):
    archive = SimulatedArchive(tmp_path)
    span = (date(2023, 4, 1), date(2023, 4, 6))
    area = (5.05, 51.21, 5.051, 51.211)
    found = archive.search([area], *span)
    # A process that was killed left pixels without their item, and a half-written part.
    item = Path(found[0]["links"][0]["href"])
    before = Path(found[0]["assets"]["B10m"]["href"]).read_bytes()
    item.unlink()
    (item.parent / f".{item.name}.123.part").write_bytes(b"{")
    assert archive.search([area], *span) == found
    assert item.exists()
    assert Path(found[0]["assets"]["B10m"]["href"]).read_bytes() == before


def test_the_way_of_asking_makes_no_difference(tmp_path: Path, folder: Path, items: list[dict]):
    # Small areas and other dates first, in another folder.
    archive = SimulatedArchive(tmp_path)
    archive.search([(5.0595, 51.2155, 5.06, 51.216)], date(2023, 4, 7), date(2023, 4, 9))
    archive.search([(5.050, 51.210, 5.0505, 51.2105)], date(2023, 3, 20), date(2023, 4, 6))
    other = archive.search([AREA], *APRIL)
    assert [each["id"] for each in other] == [each["id"] for each in items]
    for one, two in zip(items, other, strict=True):
        for resolution in LAYOUT:
            assert (read(one, resolution) == read(two, resolution)).all()


def test_the_folder_is_a_static_stac_collection(folder: Path, items: list[dict]):
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    linked = {item.id for item in collection.get_items(recursive=True)}
    assert linked == {each["id"] for each in items}
    for item in collection.get_items(recursive=True):
        assert item.get_collection().id == collection.id
        assert Path(item.assets["B20m"].get_absolute_href()).is_file()


def test_documents_validate(folder: Path, items: list[dict], shared_data: Path):
    validator = JsonSchemaSTACValidator()
    for path in (shared_data / "stac_schemas").rglob("*.json"):
        schema = json.loads(path.read_text("utf-8"))
        if isinstance(schema, dict) and "$id" in schema:
            validator.schema_cache[schema["$id"].rstrip("#")] = schema
    for each in items[:3]:
        validate_dict(each, validator=validator)
    place = Path(items[0]["links"][0]["href"]).parent
    for path in (folder / "collection.json", place / "catalog.json"):
        validate_dict(json.loads(path.read_bytes()), validator=validator)


def test_overlapping_tiles_show_the_same_ground(tmp_path: Path):
    # 31UFS and 31UGS overlap here.
    found = SimulatedArchive(tmp_path).search(
        [(5.92, 50.97, 5.926, 50.974)], date(2023, 6, 1), date(2023, 6, 8)
    )
    tiles = {each["properties"]["s2:mgrs_tile"] for each in found}
    assert {"31UFS", "31UGS"} <= tiles
    by_place: dict[tuple, list[dict]] = {}
    for each in found:
        properties = each["properties"]
        key = (properties["datetime"][:10], properties["sat:relative_orbit"], *each["bbox"])
        by_place.setdefault((properties["proj:code"], *key), []).append(each)
    pairs = [each for each in by_place.values() if len(each) > 1]
    assert pairs
    for one, two, *_ in pairs:
        for resolution in LAYOUT:
            a, b = read(one, resolution), read(two, resolution)
            both = (a > 0) & (b > 0)
            assert (a[both] == b[both]).all()
            assert both.any()


def test_a_tile_ends_where_its_square_ends(tmp_path: Path):
    # The eastern end of 31UFS at 709,800 m lies inside a cell.
    found = SimulatedArchive(tmp_path).search(
        [(5.995, 51.20, 6.003, 51.203)], date(2023, 6, 1), date(2023, 6, 6)
    )
    ends = 0
    for each in found:
        if each["properties"]["s2:mgrs_tile"] != "31UFS":
            continue
        left = each["assets"]["B10m"]["proj:transform"][2]
        outside = left + 10 * (np.arange(144) + 0.5) > 709_800
        bands = read(each, 10)
        assert (bands[:, :, outside] == 0).all()
        ends += 0 < outside.mean() < 1
    assert ends


def test_neighbouring_zones_show_the_same_fields(tmp_path: Path):
    # At 6.3 degrees east tiles of zones 31 and 32 overlap.
    found = SimulatedArchive(tmp_path).search(
        [(6.297, 50.70, 6.303, 50.704)], date(2023, 6, 1), date(2023, 7, 1)
    )
    of_zone: dict[str, dict[str, np.ndarray]] = {"EPSG:32631": {}, "EPSG:32632": {}}
    to_zone_31 = pyproj.Transformer.from_crs(4326, 32631, always_xy=True)
    left, top = (round(each, -1) for each in to_zone_31.transform(6.297, 50.704))
    grid = rasterio.Affine(10, 0, left, 0, -10, top)
    for each in found:
        code, day = each["properties"]["proj:code"], each["properties"]["datetime"][:10]
        image = of_zone[code].setdefault(day, np.zeros((40, 40), np.uint16))
        part = np.zeros_like(image)
        with rasterio.open(each["assets"]["B10m"]["href"]) as file:
            reproject(
                rasterio.band(file, 4), part, dst_transform=grid, dst_crs="EPSG:32631",
                resampling=Resampling.bilinear, src_nodata=0, dst_nodata=0,
            )  # fmt: skip
        image[part > 0] = part[part > 0]
    compared = 0
    for day in of_zone["EPSG:32631"].keys() & of_zone["EPSG:32632"].keys():
        one, two = of_zone["EPSG:32631"][day], of_zone["EPSG:32632"][day]
        both = (one > 0) & (two > 0)
        if both.mean() > 0.9 and one[both].std() > 300:
            assert np.corrcoef(one[both], two[both])[0, 1] > 0.9, day
            compared += 1
    assert compared >= 2


@pytest.mark.parametrize(
    ("area", "zone"),
    [
        ((18.40, -33.93, 18.405, -33.927), "EPSG:32734"),  # Cape Town, south
        ((100.0, 0.0005, 100.003, 0.002), "EPSG:32647"),  # just north of the equator
        ((179.9985, -16.8, -179.9985, -16.798), "EPSG:32701"),  # across the antimeridian
        ((20.0, 78.0, 20.02, 78.002), "EPSG:32633"),  # Svalbard
    ],
)
def test_any_place_on_earth(tmp_path: Path, area: tuple, zone: str):
    found = SimulatedArchive(tmp_path).search([area], date(2023, 6, 1), date(2023, 6, 11))
    assert zone in {each["properties"]["proj:code"] for each in found}
    for each in found[:2]:
        assert read(each, 60).shape == (2, 24, 24)
        west, south, east, north = each["bbox"]
        assert south < north
        assert (east - west) % 360 < 0.2


def test_nothing_at_the_pole_nor_in_an_empty_period(tmp_path: Path):
    archive = SimulatedArchive(tmp_path)
    assert archive.search([(0, 88.0, 1, 88.1)], date(2023, 6, 1), date(2023, 6, 11)) == []
    assert archive.search([AREA], date(2023, 4, 1), date(2023, 4, 1)) == []
    assert archive.search([], date(2023, 4, 1), date(2023, 5, 1)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "area", [(5, 51, 5.1, 50), (500_000, 5_600_000, 501_000, 5_601_000), (float("nan"), 0, 1, 1)]
)
def test_an_area_that_is_no_box_of_degrees_is_named(tmp_path: Path, area: tuple):
    with pytest.raises(ValueError, match="is not a box of degrees"):
        SimulatedArchive(tmp_path).search([area], *APRIL)


def test_two_processes_at_once_make_one_archive(tmp_path: Path, items: list[dict]):
    code = (
        "import sys, json; from datetime import date; from pathlib import Path\n"
        "from openeo_gfmap.local.archive import SimulatedArchive\n"
        "area, start, end = json.loads(sys.argv[2])\n"
        "sys.stdin.readline()\n"
        "found = SimulatedArchive(Path(sys.argv[1])).search(\n"
        "    [tuple(area)], date.fromisoformat(start), date.fromisoformat(end))\n"
        "print(len(found))\n"
    )
    asked = json.dumps([AREA, *(day.isoformat() for day in APRIL)])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), asked],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:  # start both searches at the same moment
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [int(answer) for answer in answers] == [len(items)] * 2
    made = SimulatedArchive(tmp_path).search([AREA], *APRIL)
    for one, two in zip(items, made, strict=True):
        for resolution in LAYOUT:
            assert (read(one, resolution) == read(two, resolution)).all()
    assert not list(tmp_path.rglob("*.part"))
    collection = pystac.Collection.from_file(str(tmp_path / "collection.json"))
    assert len(list(collection.get_items(recursive=True))) == len(items)
