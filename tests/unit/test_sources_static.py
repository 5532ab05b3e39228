"""Folders and documents of STAC items as a source."""

from __future__ import annotations

import json
import pickle
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.stac_source import (
    as_utc,
    item_bbox,
    item_datetime,
    select_items,
    split_antimeridian,
    touches,
)
from openeo_gfmap.local.stac_static import StaticSource
from support.scenes import item

MOL = (5.0, 51.0, 5.1, 51.1)
YEAR = (date(2023, 1, 1), date(2024, 1, 1))


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def ids(items: list[dict]) -> list[str]:
    return [i["id"] for i in items]


def test_folder_of_items_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "b.json", item("b"))
    write(tmp_path / "2023/06/a.geojson", item("a"))
    write(tmp_path / "notes.json", {"some": "other file"})
    write(tmp_path / "list.json", [1, 2])
    (tmp_path / "readme.txt").write_text("no JSON")
    found = StaticSource(str(tmp_path)).search([MOL], *YEAR)
    assert ids(found) == ["a", "b"]
    assert found[0]["assets"]["B04"]["href"] == str(tmp_path / "2023/06/B04.tif")
    assert {"rel": "self"}.items() <= found[0]["links"][-1].items()


def test_links_are_followed_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "items/a.json", item("a"))
    write(
        tmp_path / "catalog/sub/collection.json",
        {
            "type": "Collection",
            "stac_version": "1.0.0",
            "links": [
                {"rel": "item", "href": "../../items/a.json"},
                {"rel": "parent", "href": "../catalog.json"},
            ],
        },
    )
    root = write(
        tmp_path / "catalog/catalog.json",
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "links": [{"rel": "child", "href": "./sub/collection.json"}],
        },
    )
    assert ids(StaticSource(str(root)).items()) == ["a"]
    assert ids(StaticSource(str(root.parent)).items()) == ["a"]


def test_item_collection_and_single_item(tmp_path: Path) -> None:
    features = [item("a"), item("b"), {"type": "Feature", "properties": {}, "geometry": None}]
    path = write(tmp_path / "all.json", {"type": "FeatureCollection", "features": features})
    assert ids(StaticSource(str(path)).items()) == ["a", "b"]
    write(tmp_path / "a.json", item("a"))
    assert sorted(ids(StaticSource(str(tmp_path)).items())) == ["a", "b"]  # each once
    assert ids(StaticSource(str(tmp_path / "a.json")).items()) == ["a"]


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    source = StaticSource(str(tmp_path), refresh_seconds=0)
    path = write(tmp_path / "a.json", item("a"))
    assert ids(source.items()) == ["a"]
    write(tmp_path / "b.json", item("b"))
    write(path, item("a-changed"))
    assert ids(source.items()) == ["a-changed", "b"]
    path.unlink()
    assert ids(source.items()) == ["b"]


def test_unchanged_files_are_not_read_again(tmp_path: Path) -> None:
    source = StaticSource(str(tmp_path), refresh_seconds=0)
    write(tmp_path / "a.json", item("a"))
    first = source.items()[0]
    assert source.items()[0] is first


def test_real_series(shared_data: Path) -> None:
    source = StaticSource(str(shared_data / "s2_series/items"))
    found = source.search([(5.055, 51.218, 5.056, 51.219)], date(2023, 4, 5), date(2023, 4, 27))
    assert len(found) == 9  # the 27th is not included
    assert ids(found) == sorted(ids(found))
    assert Path(found[0]["assets"]["red"]["href"]).is_file()
    assert source.collection()["id"] == "sentinel-2-l2a"


def test_pickled_source_travels_without_its_index(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / f"{number}.json", item(str(number)))
    source = StaticSource(str(tmp_path))
    assert len(source.items()) == 50
    packed = pickle.dumps(source)
    assert len(packed) < 500
    assert len(pickle.loads(packed).items()) == 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"type": "Feature", "stac_ver', "no valid JSON"),
        (json.dumps(item("x", datetime="last week")), "cannot be used"),
        (json.dumps(item("x", datetime=None)), "neither datetime nor start_datetime"),
    ],
)
def test_bad_documents_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(OpenEOError, match=message) as error:
        StaticSource(str(tmp_path)).items()
    assert error.value.code == "SourceInvalid"
    assert "bad.json" in error.value.message


def test_missing_place(tmp_path: Path) -> None:
    with pytest.raises(OpenEOError, match="no folder and no file"):
        StaticSource(str(tmp_path / "nowhere")).items()
    links = [{"rel": "item", "href": "./gone.json"}]
    write(tmp_path / "catalog.json", {"type": "Catalog", "stac_version": "1.0.0", "links": links})
    with pytest.raises(OpenEOError, match=r"gone\.json cannot be read"):
        StaticSource(str(tmp_path)).items()


def test_catalog_on_the_web(httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request("/stac/catalog.json").respond_with_json(
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "links": [{"rel": "item", "href": "items/a.json"}],
        }
    )
    httpserver.expect_oneshot_request("/stac/items/a.json").respond_with_json(item("a"))
    source = StaticSource(httpserver.url_for("/stac/catalog.json"))
    for _ in range(2):  # read once
        (found,) = source.items()
    assert found["assets"]["B04"]["href"] == httpserver.url_for("/stac/items/B04.tif")
    httpserver.check_assertions()


def test_document_on_the_web_must_not_name_local_files(httpserver: HTTPServer) -> None:
    document = item("a", assets={"B04": {"href": "file:///etc/hostname"}})
    httpserver.expect_request("/a.json").respond_with_json(document)
    with pytest.raises(OpenEOError, match="must not name local files"):
        StaticSource(httpserver.url_for("/a.json")).items()


def test_times() -> None:
    assert as_utc(date(2023, 1, 2)).isoformat() == "2023-01-02T00:00:00+00:00"
    assert as_utc("2023-01-02T01:00:00+02:00").isoformat() == "2023-01-01T23:00:00+00:00"
    assert as_utc("2023-01-02T01:00:00").tzinfo is not None
    span = item("x", datetime=None, start_datetime="2023-05-01T00:00:00Z")
    assert item_datetime(span).month == 5


def test_start_is_included_and_end_is_not() -> None:
    items = [item(day, datetime=f"{day}T00:00:00Z") for day in ("2023-01-01", "2023-01-02")]
    found = select_items(items, [MOL], date(2023, 1, 1), date(2023, 1, 2))
    assert ids(found) == ["2023-01-01"]


@pytest.mark.parametrize(
    ("document", "bbox"),
    [
        (item("x", bbox=(1, 2, 3, 4)), (1, 2, 3, 4)),
        (item("x", bbox=(1, 2, -10, 3, 4, 10)), (1, 2, 3, 4)),
        (
            {"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [2, 4], [1, 2]]]}},
            (1, 2, 3, 4),
        ),
        (
            {
                "geometry": {
                    "type": "GeometryCollection",
                    "geometries": [{"type": "Point", "coordinates": [1, 2, 9]}],
                }
            },
            (1, 2, 1, 2),
        ),
        ({"geometry": None}, None),
    ],
)
def test_item_bounds(document: dict, bbox: tuple | None) -> None:
    assert item_bbox(document) == bbox


def test_areas_across_the_antimeridian() -> None:
    fiji = (179.0, -18.0, -179.0, -17.0)
    items = [
        item("west of it", bbox=(179.5, -18, 179.9, -17)),
        item("east of it", bbox=(-179.9, -18, -179.5, -17)),
        item("across", bbox=(179.9, -18, -179.9, -17)),
        item("elsewhere", bbox=(0, -18, 10, -17)),
    ]
    assert ids(select_items(items, [fiji], *YEAR)) == ["across", "east of it", "west of it"]
    assert ids(select_items(items, [(179.95, -17.5, 179.96, -17.4)], *YEAR)) == ["across"]


longitudes = st.floats(-180, 180, allow_nan=False)
latitudes = st.floats(-90, 90, allow_nan=False)


@given(west=longitudes, east=longitudes, south=latitudes, x=longitudes, y=latitudes)
def test_a_point_touches_where_it_lies(
    west: float, east: float, south: float, x: float, y: float
) -> None:
    area = (west, south, east, 90.0)
    inside = y >= south and (west <= x <= east if west <= east else x >= west or x <= east)
    assert touches((x, y, x, y), area) == inside
    assert touches(area, (x, y, x, y)) == inside
    assert all(w <= e for w, _, e, _ in split_antimeridian(area))
