"""The catalogue on disk: split, replaced, broken off, merged, and as a table."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pystac
import pytest
import stac_geoparquet.arrow
import xarray as xr
from shapely.geometry import box

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import netcdf
from openeo_gfmap.manager.model import SavedFile
from openeo_gfmap.manager.postprocess import PostProcessor
from openeo_gfmap.manager.provenance import linked
from openeo_gfmap.manager.results import FILE_LOCK, sha256_of
from openeo_gfmap.recipes import SampleColumns, Sentinel2Patches
from openeo_gfmap.recipes.labels import Labels
from openeo_gfmap.recipes.results import PATH, ResultWriter, _properties
from openeo_gfmap.recipes.samples import prepare_samples
from openeo_gfmap.stac import merge, parquet, tree
from openeo_gfmap.stac.items import cube_item, item_id
from openeo_gfmap.stac.reading import local_path, read_items
from openeo_gfmap.stac.tree import write_collection
from openeo_gfmap.utils.netcdf import complete_cf, update_nc_attributes
from support.cf import cf_errors
from support.stac_schemas import SchemaFolder

ORDER = list("abcdefghijk")


@pytest.fixture(scope="module")
def schemas(shared_data: Path) -> SchemaFolder:
    return SchemaFolder(shared_data / "stac_schemas")


@pytest.fixture
def few_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split above four items, and write tables in small steps."""
    monkeypatch.setattr(tree, "MOST_LINKS", 4)
    monkeypatch.setattr(parquet, "_BATCH", 2)
    monkeypatch.setattr(parquet, "_ROW_GROUP", 3)


def item(name: str, *, west: float = 5.0, checksum: str = "", **properties: Any) -> dict[str, Any]:
    """Make an item of a file `data/<name>.nc`."""
    ring = [[west, 51.0], [west + 1, 51.0], [west + 1, 52.0], [west, 52.0], [west, 51.0]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/file/v2.1.0/schema.json"],
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 51.0, west + 1, 52.0],
        "properties": {"datetime": "2021-05-01T00:00:00Z", **properties},
        "links": [{"rel": "processing-expression", "href": "provenance/job 1.json"}],
        "assets": {
            "data": {
                "href": f"data/{name}.nc",
                "roles": ["data"],
                "file:checksum": "1220" + (checksum or "ab") * 32,
            }
        },
    }


def write(out: Path, items: Sequence[dict[str, Any]], **settings: Any) -> Path:
    return write_collection(
        out / "stac",
        enumerate(items),
        count=len(items),
        output_dir=out,
        **{"identifier": "C", "description": "Patches.", **settings},
    )


def documents(stac: Path) -> dict[str, Any]:
    return {
        path.relative_to(stac).as_posix(): json.loads(path.read_text())
        for path in stac.rglob("*.json")
    }


def data_files(path: Path) -> dict[str, Path]:
    """Return where the data of each item is, by the item's id, as its JSON says."""
    return {
        found["id"]: Path(str(local_path(place, found["assets"]["data"]["href"]))).resolve()
        for place, found in read_items(path)
    }


# -------------------------------------------------------------------------------------------- split


def test_many_items_are_split_by_dataset(
    tmp_path: Path, few_links: None, schemas: SchemaFolder
) -> None:
    items = [item(name, ref_id="2021_BEL") for name in "abcdef"]
    items += [item(name, ref_id=2022) for name in "gh"]
    items += [item("i", west=-70.0), item("j"), item("catalog")]
    path = write(tmp_path, items)
    found = documents(tmp_path / "stac")
    catalogs = {name.partition("/")[0] for name in found if name.endswith("catalog.json")}
    assert catalogs == {"2021_BEL", "2021_BEL-2", "2022", "N50W070", "N50E005"}
    for document in found.values():
        schemas.check(document)
        linked_to = [link for link in document["links"] if link["rel"] in ("item", "child")]
        assert len(linked_to) <= max(4, len(catalogs))
    collection = pystac.Collection.from_file(str(path))
    read = list(collection.get_items(recursive=True))
    assert sorted(each.id for each in read) == sorted([*"abcdefghij", "catalog-10"])
    assert sorted(each.id for each in collection.get_child("2021_BEL-2").get_items()) == ["e", "f"]
    for each in read:
        assert each.get_collection().id == "C"
        assert each.get_root().id == "C"
        expected = tmp_path / "data" / f"{each.id.partition('-')[0]}.nc"
        assert Path(str(each.assets["data"].get_absolute_href())) == expected
        (expression,) = each.get_links("processing-expression")
        assert Path(expression.get_absolute_href()) == tmp_path / "provenance/job 1.json"
    assert pq.read_table(tmp_path / "stac/items.parquet").num_rows == len(items)


def test_growing_and_shrinking_leaves_nothing_behind(tmp_path: Path, few_links: None) -> None:
    stac = tmp_path / "stac"
    write(tmp_path, [item(name, ref_id="set") for name in "abcd"])
    assert {path.name for path in stac.iterdir()} == {"items", "collection.json", "items.parquet"}
    foreign = stac / "items" / "theirs.json"
    foreign.write_text("{}")
    write(tmp_path, [item(name, ref_id="set") for name in "abcdef"])
    assert sorted(documents(stac)) == sorted(
        ["collection.json", "items/theirs.json", "set/catalog.json", "set-2/catalog.json"]
        + [f"set/{name}.json" for name in "abcd"]
        + [f"set-2/{name}.json" for name in "ef"]
    )
    write(tmp_path, [item(name, ref_id="set") for name in "ab"])
    expected = ["collection.json", "items/a.json", "items/b.json", "items/theirs.json"]
    assert sorted(documents(stac)) == expected
    assert not (stac / "set").exists()
    write(tmp_path, [])
    assert not (stac / "items.parquet").exists()
    assert foreign.exists()


def test_items_that_another_tool_laid_out_stay(tmp_path: Path) -> None:
    """The collection is ours from now on; files in folders of their own never were."""
    extent = pystac.Extent(
        pystac.SpatialExtent([[5, 51, 6, 52]]), pystac.TemporalExtent([[None, None]])
    )
    theirs = pystac.Collection("C", "Theirs.", extent)
    theirs.add_item(pystac.Item.from_dict(item("z")))
    sub = pystac.Catalog("sub", "Theirs, too.")
    sub.add_item(pystac.Item.from_dict(item("y")))
    theirs.add_child(sub)
    theirs.normalize_and_save(str(tmp_path / "stac"), pystac.CatalogType.SELF_CONTAINED)
    before = set(documents(tmp_path / "stac"))
    write(tmp_path, [item("a")])
    assert set(documents(tmp_path / "stac")) == before | {"items/a.json"}


def test_what_is_the_same_is_not_written_again(tmp_path: Path, few_links: None) -> None:
    items = [item(name, ref_id="set") for name in "abcdefghij"]
    write(tmp_path, items)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    write(tmp_path, [*items, item("k", ref_id="set")])
    changed = {p.name for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert changed == {"catalog.json"}  # of the last; the collection links to the same ones


def test_an_item_is_replaced_and_the_extent_follows(tmp_path: Path) -> None:
    path = write(tmp_path, [item("a"), item("b", west=20.0)])
    assert json.loads(path.read_text())["extent"]["spatial"]["bbox"] == [[5, 51, 21, 52]]
    again = item("b", west=7.0, **{"proj:code": "EPSG:32632"})
    again["properties"]["datetime"] = "2023-05-01T00:00:00Z"
    write(tmp_path, [item("a"), again, item("c", west=4.0)])
    document = json.loads(path.read_text())
    assert document["extent"]["spatial"]["bbox"] == [[4, 51, 8, 52]]
    assert document["extent"]["temporal"]["interval"][0][1] == "2023-05-01T00:00:00Z"
    assert document["summaries"]["proj:code"] == ["EPSG:32632"]
    assert set(data_files(path)) == {"a", "b", "c"}


class Killed(BaseException):
    """The process ends here."""


def test_a_write_that_is_killed_anywhere_leaves_a_catalogue(
    tmp_path: Path, few_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [item(name, ref_id="x") for name in "abcdef"]
    new = [item(name, ref_id="x" if name < "d" else "y", n=1) for name in "abdefghi"]
    for moment in range(100):
        out = tmp_path / str(moment)
        path = write(out, old)
        with monkeypatch.context() as patch, pytest.MonkeyPatch.context():
            _kill_at(patch, moment)
            try:
                write(out, new)
                done = True
            except Killed:
                done = False
        ids = set(data_files(path))  # every document that one leads to is there
        assert ids >= set("abcdef") or ids >= set("abdefghi"), moment
        assert ids <= set("abcdefghi")
        assert pq.read_table(out / "stac/items.parquet").num_rows in (len(old), len(new))
        write(out, new)
        found = documents(out / "stac")
        assert len(found) == len(new) + 1 + len({"x", "y", "y-2"}), sorted(found)
        assert not list(out.rglob("*.part"))
        if done:
            break
    assert done
    assert moment > len(new) + 5


def _kill_at(patch: pytest.MonkeyPatch, moment: int) -> None:
    """End at the n-th change of a name in the file system; what is open is not tidied up."""
    count = iter(range(10_000))

    def counting(change: Any) -> Any:
        def changed(*arguments: Any, **settings: Any) -> Any:
            if next(count) >= moment:
                raise Killed
            return change(*arguments, **settings)

        return changed

    for name in ("replace", "unlink", "rmdir"):
        patch.setattr(Path, name, counting(getattr(Path, name)))


# -------------------------------------------------------------------------------------------- table


def mixed() -> Iterator[dict[str, Any]]:
    """Items whose properties differ in type and presence."""
    for number, name in enumerate(ORDER):
        each = item(name, west=float(number))
        properties = each["properties"]
        properties["start_datetime"] = properties["end_datetime"] = "2021-05-01T10:00:00.500Z"
        if number > 4:
            properties["late"] = {"deep": [number]}
        properties["number"] = number if number < 6 else number + 0.5
        properties["code"] = "text" if number % 3 else number
        properties["created"] = "2021-05-01" if number % 2 else "2021-05-01T00:00:00+02:00"
        if number == 7:
            each["assets"]["label"] = {"href": "https://example.com/l.nc", "roles": ["labels"]}
        yield each


def test_the_table_is_read_by_others(tmp_path: Path, few_links: None) -> None:
    items = list(mixed())
    path = write(tmp_path, items)
    file = tmp_path / "stac" / "items.parquet"
    table = pq.read_table(file)
    assert pq.ParquetFile(file).num_row_groups > 1
    assert table["number"].to_pylist() == [n if n < 6 else n + 0.5 for n in range(11)]
    assert table["code"].to_pylist()[:4] == ["0", "text", "text", "3"]
    assert table["created"][0].as_py().isoformat() == "2021-04-30T22:00:00+00:00"

    theirs = list(stac_geoparquet.arrow.stac_table_to_items(table))
    assert [each["id"] for each in theirs] == ORDER
    for ours, found in zip(items, theirs, strict=True):
        assert found["bbox"] == ours["bbox"]
        assert found["geometry"] == ours["geometry"]
        assert found["collection"] == "C"
        assert found["assets"]["data"]["href"] == f"../data/{ours['id']}.nc"
        assert found["assets"]["data"]["roles"] == ["data"]
        assert found["properties"]["start_datetime"] == "2021-05-01T10:00:00.500000Z"
        links = {link["rel"]: link["href"] for link in found["links"]}
        assert links["collection"] == "./collection.json"
        assert (file.parent / links["processing-expression"]).resolve() == (
            tmp_path / "provenance/job 1.json"
        )
    assert theirs[7]["assets"]["label"]["href"] == "https://example.com/l.nc"

    frame = gpd.read_parquet(file)
    assert frame.crs.to_authority() == ("OGC", "CRS84")
    assert frame.total_bounds.tolist() == [0.0, 51.0, 11.0, 52.0]
    assert len(gpd.read_parquet(file, bbox=(0, 51, 0.5, 52))) == 1  # by the covering

    metadata = pq.read_metadata(file).metadata
    (inside,) = json.loads(metadata[b"stac-geoparquet"])["collections"].values()
    outside = json.loads(path.read_text())
    assert inside["extent"] == outside["extent"]
    assert not [link for link in inside["links"] if link["rel"] in ("item", "child")]
    assert outside["assets"]["items"]["roles"] == ["collection-mirror"]
    assert json.loads(metadata[b"geo"])["columns"]["geometry"]["geometry_types"] == ["Polygon"]


def test_the_table_is_read_by_rustac(tmp_path: Path, few_links: None) -> None:
    rustac = pytest.importorskip("rustac")
    write(tmp_path, list(mixed()))

    async def read() -> Any:
        return await rustac.read(str(tmp_path / "stac" / "items.parquet"))

    assert [each["id"] for each in asyncio.run(read())["features"]] == ORDER


def test_an_item_without_a_place_is_in_the_table(tmp_path: Path) -> None:
    nowhere = {**item("n"), "geometry": None, "assets": {}}
    del nowhere["bbox"]
    write(tmp_path, [nowhere, item("a")])
    table = pq.read_table(tmp_path / "stac" / "items.parquet")
    assert table["geometry"].null_count == table["bbox"].null_count == 1


# -------------------------------------------------------------------------------------------- merge


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    one, other = tmp_path / "one", tmp_path / "deep" / "other"
    fields = {"providers": [{"name": "Lab", "roles": ["producer"]}], "keywords": ["crops"]}
    write(one, [item("a"), item("b", checksum="cd")], fields=fields, constellation="sentinel2")
    write(
        other,
        [item("a", west=30.0), item("c")],
        identifier="D",
        fields={"license": "CC0-1.0", "links": [], "keywords": ["maize"]},
        summaries={"gsd": [10, 5], "clouds": {"minimum": 0, "maximum": 4}},
    )
    return one, other


def test_two_collections_merge(
    tmp_path: Path, two: tuple[Path, Path], schemas: SchemaFolder
) -> None:
    one, other = two
    path = merge([one / "stac", other / "stac" / "collection.json"], tmp_path / "merged")
    document = json.loads(path.read_text())
    schemas.check(document)
    assert document["id"] == "C"
    assert document["license"] == "other"  # there are two
    assert document["keywords"] == ["crops", "maize"]
    assert [each["name"] for each in document["providers"]] == ["Lab", "openeo-gfmap"]
    assert document["summaries"]["gsd"] == [10, 20, 60, 5]
    assert document["summaries"]["clouds"] == {"minimum": 0, "maximum": 4}
    assert document["extent"]["spatial"]["bbox"] == [[5, 51, 6, 52]]
    # The same id with the same checksum is the same item: the first is taken.
    assert data_files(path) == {
        "a": one / "data/a.nc",
        "b": one / "data/b.nc",
        "c": other / "data/c.nc",
    }
    table = pq.read_table(path.with_name("items.parquet"))
    assert [asset["data"]["href"] for asset in table["assets"].to_pylist()][-1] == (
        "../deep/other/data/c.nc"
    )
    for place, found in read_items(path):
        schemas.check(found)
        (link,) = (each for each in found["links"] if each["rel"] == "processing-expression")
        expected = {one / "provenance/job 1.json", other / "provenance/job 1.json"}
        assert (place.parent / link["href"]).resolve() in expected
    moved = tmp_path.with_name(f"{tmp_path.name}_moved")
    shutil.move(tmp_path, moved)
    found = data_files(moved / "merged" / "collection.json")
    assert found["c"] == moved / "deep/other/data/c.nc"
    shutil.move(moved, tmp_path)


def test_ids_that_clash(tmp_path: Path, two: tuple[Path, Path]) -> None:
    one, other = two
    write(other, [item("b", checksum="ef"), item("c")], identifier="D")
    with pytest.raises(InputError, match=r"1 ids stand for different files.*: b.*rename"):
        merge([one, other], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    path = merge([one, other], tmp_path / "merged", on_clash="rename", identifier="M")
    assert data_files(path)["b-2"] == other / "data/b.nc"
    assert data_files(path)["b"] == one / "data/b.nc"
    assert json.loads(path.read_text())["id"] == "M"
    path = merge([one, other], tmp_path / "merged", on_clash="first")
    assert data_files(path)["b"] == one / "data/b.nc"
    path = merge([one, other], tmp_path / "merged", on_clash="last")
    assert data_files(path)["b"] == other / "data/b.nc"
    assert sorted(data_files(path)) == ["a", "b", "c"]
    with pytest.raises(InputError, match="on_clash is 'guess'"):
        merge([one], tmp_path / "merged", on_clash="guess")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nothing to merge"):
        merge([], tmp_path / "merged")


def test_a_collection_takes_in_another(tmp_path: Path, two: tuple[Path, Path]) -> None:
    one, other = two
    with pytest.raises(InputError, match="name it first"):
        merge([other, one], one / "stac")
    path = merge([one, other], one / "stac")
    assert path == one / "stac" / "collection.json"
    found = data_files(path)
    assert sorted(found) == ["a", "b", "c"]
    assert found["c"] == other / "data/c.nc"
    assert merge([one, other], one / "stac") == path  # again: the same
    assert data_files(path) == found


# ------------------------------------------------------------------------------------------- recipe


def test_files_of_a_recipe_are_valid_and_keep_to_cf(
    tmp_path: Path, shared_data: Path, schemas: SchemaFolder
) -> None:
    """A real file of CDSE, through the recipe's action, the store's form and the collection."""
    name = "set/S2.nc"
    patch = tmp_path / name
    patch.parent.mkdir()
    original = shared_data / "cdse_job" / "openEO_0.nc"
    shutil.copy(original, patch)
    cube = netcdf.describe(patch)
    assert cube is not None
    inode = patch.stat().st_ino
    west, south, east, north = cube.bbox
    middle = (west + east) / 2
    fields = gpd.GeoDataFrame(
        {
            "sample_id": ["s1", "s2"], "ref_id": "set", "valid_date": "2021-06-01",
            "surveyed": "2021-06-01 10:30", "title": "of a sample", "id": [7, 8],
            "proj:epsg": "mine", "share": [0.5, None], "gfmap_label": [3, 5],
            "extract": [True, False], PATH: name,
        },
        geometry=[box(west, south, middle, north), box(middle, south, east, north)],
        crs=4326,
    )  # fmt: skip
    row = pd.Series(
        {
            "geometry": fields.to_json(),
            "legend": json.dumps({"Winter wheat": 3, "Blé d'été": 5, "nowhere": 9}),
            "start_date": "2021-01-01",
            "end_date": "2021-12-31",
        }
    )
    size, checksum = patch.stat().st_size, sha256_of(patch)
    saved = SavedFile(name, size, checksum, cube_item(item_id(name), name, cube))
    sources = ["https://example.com/S2A_1", "https://example.com/S2A_2"]
    saved = linked(saved, "provenance/job_1.json", sources)
    writer = ResultWriter("Sentinel-2 L2A", Labels("crop"), quicklook=True)
    processor = PostProcessor(tmp_path, writer.post_job_action, FILE_LOCK)
    (stored,) = processor.run((saved,), row)
    path = write(tmp_path, [stored], constellation="sentinel2")
    schemas.check(json.loads(path.read_text()))
    ((place, document),) = read_items(path)
    schemas.check(document)

    properties = document["properties"]
    assert properties["surveyed"] == "2021-06-01T10:30:00Z"
    assert properties["valid_date"] == "2021-06-01"  # a day is no moment
    assert properties["title"] == "S2"
    assert properties["sample:title"] == "of a sample"
    assert properties["sample:id"] == 7
    assert properties["sample:proj_epsg"] == "mine"
    assert document["id"] == item_id(name)
    assert "extract" not in properties
    classes = document["assets"]["auxiliary"]["classification:classes"]
    assert classes == [
        {"value": 3, "name": "Winter_wheat", "description": "Winter wheat"},
        {"value": 5, "name": "Ble_d_ete", "description": "Blé d'été"},
    ]
    assert document["assets"]["quicklook"]["type"] == "image/png"
    for asset in document["assets"].values():
        file = (place.parent / asset["href"]).resolve()
        assert asset["file:size"] == file.stat().st_size
        assert asset["file:checksum"] == f"1220{sha256_of(file)}"
    hrefs = [link["href"] for link in document["links"] if link["rel"] == "derived_from"]
    assert hrefs == sources

    assert patch.stat().st_ino == inode  # edited, not written anew
    update_nc_attributes(patch, {"title": "Once more", "history": "2021-01-01 updated"})
    labels = patch.with_name("S2_LABEL.nc")
    assert complete_cf(patch) == complete_cf(labels) == []  # done already
    assert not cf_errors(patch)
    assert not cf_errors(labels)
    with xr.open_dataset(patch) as now, xr.open_dataset(original) as before:
        xr.testing.assert_equal(now, before)
    with xr.open_dataset(labels, engine="h5netcdf", mask_and_scale=False) as file:
        assert set(np.unique(file.LABEL)) <= {0, 3, 5}
        assert file.LABEL.attrs["flag_values"].tolist() == [3, 5, 9]


def test_dates_and_odd_values_of_samples(tmp_path: Path) -> None:
    """From the columns of a sample to the properties of its item."""
    shapes = [box(3.70, 50.93, 3.703, 50.932)]
    columns = {
        "sample_id": ["a"],
        "valid_date": ["2021-06-01"],
        "croptype_label": [1],
        "surveyed": pd.to_datetime(["2021-06-01 10:30:00.5"]),
        "day": pd.to_datetime(["2021-06-01"]),
        "zoned": pd.to_datetime(["2021-06-01T00:00+02:00"]),
        "never": pd.to_datetime([None]),
        "gsd": ["a lot"],
        "list": [[1, 2]],
        "unknown": [np.nan],
    }
    samples = prepare_samples(gpd.GeoDataFrame(columns, geometry=shapes, crs=4326), SampleColumns())
    jobs = Sentinel2Patches().job_table(samples, "local")
    (sample,) = json.loads(jobs.geometry[0])["features"]
    found = _properties(sample["properties"])
    assert found["surveyed"] == "2021-06-01T10:30:00.500000Z"
    assert found["day"] == found["valid_date"] == "2021-06-01"
    assert found["zoned"] == "2021-05-31T22:00:00Z"
    assert found["sample:gsd"] == "a lot"
    assert not found.keys() & {"never", "gsd", "list", "unknown", "geometry"}
