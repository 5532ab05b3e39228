"""Job rows for exactly the samples that are not there: from a ledger, a folder, a collection."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import h5py
import pandas as pd
import pystac
import pytest
from shapely.geometry import box

from openeo_gfmap.account.folder import RunFolder
from openeo_gfmap.account.missing import missing_jobs
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.ledger import SampleState
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.recipes import FixedDates, Sentinel2Patches
from openeo_gfmap.recipes.results import PATH
from openeo_gfmap.recipes.samples import prepare_samples


def collection(*names: str | None, left_out: Collection[str] = ()) -> str:
    features = []
    for name in names:
        properties: dict[str, Any] = {} if name is None else {"sample_id": name}
        if name in left_out:
            properties["extract"] = False
        features.append({"type": "Feature", "properties": properties, "geometry": None})
    return json.dumps({"type": "FeatureCollection", "features": features})


def table(*cells: Any, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"geometry": list(cells), "title": "t", **columns})


def wanted(missing: pd.DataFrame) -> dict[Any, list[str]]:
    """Return the samples that each row still asks for."""
    found = {}
    for label, cell in missing["geometry"].items():
        features = (json.loads(cell) if isinstance(cell, str) else cell)["features"]
        found[label] = [
            f["properties"]["sample_id"] for f in features if f["properties"].get("extract", True)
        ]
    return found


def run_folder(folder: Path, df: pd.DataFrame, states: dict[tuple[int, int], str]) -> RunFolder:
    """Return a run in whose account the samples that are named are in the states, others open."""
    with Tracker(folder / "job_tracker.csv", df) as tracker, tracker.store.transaction():
        for row in range(len(df)):
            before = tracker.store.samples_of(row)
            named = ((s, states.get((row, s.feature), s.state)) for s in before)
            tracker.store.set_samples(row, [replace(s, state=SampleState(st)) for s, st in named])
    return RunFolder(folder)


# ---------------------------------------------------------------------------------- from a ledger


def test_a_ledger_says_which_samples_are_asked_for_again(tmp_path: Path) -> None:
    df = table(
        collection("a", "x", "b", "c", left_out="x"), collection("d", "e"), collection("f", "g")
    )
    states = {
        (0, 0): "received", (0, 1): "missing", (0, 2): "received",
        (1, 0): "received", (1, 1): "received",
        (2, 0): "rejected",
    }  # fmt: skip
    with run_folder(tmp_path, df, states) as folder:
        missing = missing_jobs(df, folder)
    assert wanted(missing) == {0: ["b"], 2: ["f", "g"]}
    # All features are still there, for their labels; what was no sample is still none.
    features = json.loads(missing["geometry"].loc[0])["features"]
    assert [f["properties"]["sample_id"] for f in features] == ["a", "x", "b", "c"]
    assert list(missing.columns) == list(df.columns)
    assert missing["geometry"].loc[2] == df["geometry"].loc[2]
    assert json.loads(df["geometry"].loc[0])["features"][0]["properties"] == {"sample_id": "a"}


def test_nothing_is_missing_of_a_run_that_brought_all(tmp_path: Path) -> None:
    df = table(collection("a"), collection("b"))
    states = {(0, 0): "received", (1, 0): "received"}
    with run_folder(tmp_path, df, states) as folder:
        assert missing_jobs(df, folder).empty


def test_features_without_names_are_told_by_the_labels_of_their_rows(tmp_path: Path) -> None:
    df = table(collection(None, None), collection(None, None)).set_axis(["x", "y"])
    states = {(0, 0): "received", (0, 1): "received", (1, 1): "received"}
    with run_folder(tmp_path, df, states) as folder:
        missing = missing_jobs(df.iloc[::-1], folder)
        assert list(missing.index) == ["y"]
        flags = [f["properties"] for f in json.loads(missing["geometry"].iloc[0])["features"]]
        assert flags == [{}, {"extract": False}]
        with pytest.raises(InputError, match="row 'z' of the table is no row of that run"):
            missing_jobs(df.set_axis(["x", "z"]), folder)


def test_samples_of_other_rows_are_told_by_name_and_sensor(tmp_path: Path) -> None:
    df = table(collection("a", "b"), collection("a", "b"), sensor=["s1", "s2"])
    states = {(0, 0): "received", (1, 0): "received", (1, 1): "received"}
    cut_otherwise = table(collection("a"), collection("b"), sensor="s1")
    with run_folder(tmp_path, df, states) as folder:
        assert wanted(missing_jobs(df, folder)) == {0: ["b"]}
        assert wanted(missing_jobs(cut_otherwise, folder)) == {1: ["b"]}


def test_a_name_that_two_rows_have_is_there_when_both_brought_it(tmp_path: Path) -> None:
    df = table(collection("a"), collection("a"), year=[2020, 2021]).set_axis(["20", "21"])
    with run_folder(tmp_path, df, {(0, 0): "received"}) as folder:
        assert list(missing_jobs(df, folder).index) == ["21"]  # its rows: each by itself
        other = table(collection("a"), year=2020).set_axis(["new"])
        assert list(missing_jobs(other, folder).index) == ["new"]


def test_rows_without_a_feature_collection_are_samples_themselves(tmp_path: Path) -> None:
    df = gpd.GeoDataFrame({"title": ["p", "q"]}, geometry=[box(0, 0, 1, 1)] * 2, crs=4326)
    with run_folder(tmp_path, pd.DataFrame(df), {(1, 0): "received"}) as folder:
        missing = missing_jobs(df, folder)
    assert list(missing["title"]) == ["p"]
    assert isinstance(missing, gpd.GeoDataFrame)
    assert missing.crs == df.crs


# ---------------------------------------------------------------------------------- from a folder


def write(path: Path, sample_id: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if sample_id is not None:
            file.attrs["sample_id"] = sample_id


def test_files_name_their_samples_or_are_named_after_them(tmp_path: Path) -> None:
    df = table(collection("a", "b_1", "1", "c"), collection("d"))
    write(tmp_path / "deep" / "any.nc", "a")
    write(tmp_path / "c_2020.nc", "d")  # what it says itself goes before its name
    (tmp_path / "S2_10m_b_1_32631_2020-05-01.tif").touch()
    assert wanted(missing_jobs(df, tmp_path)) == {0: ["1", "c"]}
    (tmp_path / "1.tif").touch()
    assert wanted(missing_jobs(df, str(tmp_path))) == {0: ["c"]}


def test_other_files_of_a_run_and_broken_ones_are_no_samples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    df = table(collection("a", "b", "c"))
    write(tmp_path / "quarantine" / "a.nc", "a")
    write(tmp_path / ".downloads" / "j-1_0" / "a.nc", "a")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.nc").write_bytes(b"cut short")
    assert wanted(missing_jobs(df, tmp_path)) == {0: ["a", "b", "c"]}
    assert "1 files do not open and are taken as missing: b.nc" in caplog.text


def test_what_a_file_cannot_tell_is_refused(tmp_path: Path) -> None:
    (tmp_path / "12_2020.tif").touch()
    with pytest.raises(InputError, match=r"12_2020\.tif fits the samples 12, 2020"):
        missing_jobs(table(collection("12", "2020")), tmp_path)
    with pytest.raises(InputError, match="features of row 0 have no sample_id"):
        missing_jobs(table(collection("a", None)), tmp_path)
    with pytest.raises(InputError, match=r"asked for by several rows.*: a\."):
        missing_jobs(table(collection("a"), collection("a")), tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        missing_jobs(table(collection("a")), tmp_path / "nothing")


def test_tables_without_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="columns title; expected 'geometry'"):
        missing_jobs(pd.DataFrame({"title": ["t"]}), tmp_path)
    with pytest.raises(InputError, match=r"no row of the table \(2 rows\) holds a sample"):
        missing_jobs(table(collection(), collection("a", left_out="a")), tmp_path)


def test_features_as_dictionaries_stay_dictionaries(tmp_path: Path) -> None:
    df = table(json.loads(collection("a", "b")))
    write(tmp_path / "x.nc", "a")
    missing = missing_jobs(df, tmp_path)
    assert wanted(missing) == {0: ["b"]}
    assert "extract" not in df["geometry"].iloc[0]["features"][0]["properties"]


def test_a_recipes_files_are_told_by_their_paths(tmp_path: Path) -> None:
    """A label file beside a lost patch names the same sample, and is not taken for it."""
    samples = gpd.GeoDataFrame(
        {"sample_id": list("abc"), "extract": [True, True, False], "valid_date": "2021-06-01"},
        geometry=[box(3.70 + i / 1000, 50.93, 3.7005 + i / 1000, 50.931) for i in range(3)],
        crs=4326,
    )
    recipe = Sentinel2Patches(period=FixedDates("2021-05-01", "2021-07-01"), labels=None)
    prepared = prepare_samples(samples, recipe.columns)
    jobs = recipe.parts(prepared, "local", None).jobs
    assert len(jobs) == 1
    features = json.loads(jobs["geometry"].iloc[0])["features"]
    path = tmp_path / next(
        f["properties"][PATH] for f in features if f["properties"]["sample_id"] == "b"
    )
    write(path, "b")
    write(tmp_path / "a_LABEL.nc", "a")
    missing = missing_jobs(jobs, tmp_path)
    assert wanted(missing) == {0: ["a"]}
    assert list(missing["samples"]) == [1]
    assert list(jobs["samples"]) == [2]
    assert "c" in missing["geometry"].iloc[0]
    path.write_bytes(b"")
    assert missing_jobs(jobs, tmp_path).equals(jobs)


# ------------------------------------------------------------------------------ from a collection


def stac(folder: Path, *names: str | None) -> pystac.Collection:
    extent = pystac.Extent(
        pystac.SpatialExtent([[0, 0, 1, 1]]), pystac.TemporalExtent([[None, None]])
    )
    made = pystac.Collection("SET", "a set", extent)
    moment = pd.Timestamp("2021-01-01", tz="UTC").to_pydatetime()
    for number, name in enumerate(names):
        properties = {} if name is None else {"sample_id": name}
        made.add_item(pystac.Item(f"i-{number}", None, None, moment, properties))
    made.normalize_hrefs(str(folder))
    made.save(pystac.CatalogType.SELF_CONTAINED)
    return made


def test_a_collection_names_its_samples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    df = table(collection("a", "b"), collection("c"))
    made = stac(tmp_path / "stac", "c", "b", None)
    for source in (made, tmp_path / "stac", str(tmp_path / "stac" / "collection.json")):
        caplog.clear()
        assert wanted(missing_jobs(df, source)) == {0: ["a"]}
        assert "1 of 3 items of" in caplog.text


def test_a_collection_is_read_with_what_is_below_it(tmp_path: Path) -> None:
    stac(tmp_path / "one", "of one")
    stac(tmp_path / "two", "of two")
    links = [{"rel": "child", "href": f"./{part}/collection.json"} for part in ("one", "two")]
    top = {"stac_version": "1.1.0", "type": "Collection", "links": [{"rel": "root"}, *links]}
    (tmp_path / "collection.json").write_text(json.dumps(top))
    df = table(collection("of one", "of two", "of three"))
    assert wanted(missing_jobs(df, tmp_path)) == {0: ["of three"]}


def test_collections_that_tell_nothing_are_refused(tmp_path: Path) -> None:
    df = table(collection("a"))
    stac(tmp_path / "stac", None, None)
    with pytest.raises(InputError, match=r"none of the 2 items of .* has a property sample_id"):
        missing_jobs(df, tmp_path / "stac")
    (tmp_path / "collection.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as STAC"):
        missing_jobs(df, tmp_path)


def test_an_empty_collection_has_nothing(tmp_path: Path) -> None:
    stac(tmp_path / "stac")
    df = table(collection("a"))
    assert missing_jobs(df, tmp_path / "stac").equals(df)
