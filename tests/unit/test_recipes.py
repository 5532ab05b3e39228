"""Recipes: what is read from samples, planned and refused before anything is spent."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import geopandas as gpd
import numpy as np
import openeo
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from rasterio.features import rasterize
from rasterio.transform import from_origin
from shapely.geometry import Point, Polygon, box

from openeo_gfmap.account import RunFolder
from openeo_gfmap.errors import InputError, InvalidGeometry, MissingCrs
from openeo_gfmap.manager.ledger import SampleState
from openeo_gfmap.manager.model import Job, JobStatus
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.recipes import (
    AroundDate,
    Extraction,
    FixedDates,
    Labels,
    SampleColumns,
    SclDilation,
    Sentinel2Patches,
)
from openeo_gfmap.recipes.labels import burn, legend_of
from openeo_gfmap.recipes.paths import PathTemplate
from openeo_gfmap.recipes.samples import prepare_samples, read_samples
from openeo_gfmap.recipes.windows import square_windows
from support.fake_openeo import FakeOpenEO

FIELDS = Path(__file__).parents[2] / "examples" / "data" / "demo_fields.gpkg"


def fields(**columns: Any) -> gpd.GeoDataFrame:
    """Four fields west of Ghent, in a row."""
    shapes = [box(3.70 + i * 0.01, 50.93, 3.703 + i * 0.01, 50.932) for i in range(4)]
    base = {
        "sample_id": list("abcd"),
        "valid_date": ["2021-06-01", "2021-06-11", "2021-07-01", "2021-06-01"],
        "extract": [True, True, False, True],
        "ref_id": "set",
        "croptype_label": [10, 20, 30, 10],
    }
    return gpd.GeoDataFrame({**base, **columns}, geometry=shapes, crs=4326)


def prepared(samples: gpd.GeoDataFrame, **kwargs: Any) -> gpd.GeoDataFrame:
    return prepare_samples(samples, kwargs.pop("columns", SampleColumns()), **kwargs)


# ----------------------------------------------------------------------------------------- samples


def test_samples_get_common_names_and_keep_their_other_columns() -> None:
    odd = fields().rename(
        columns={"sample_id": "sampleID", "valid_date": "validtime", "ref_id": "dataset"}
    )
    samples = prepared(odd.to_crs(32631))
    assert {"sample_id", "valid_date", "extract", "ref_id", "croptype_label"} <= set(samples)
    assert "sampleID" not in samples and "validtime" not in samples
    assert samples.crs.to_epsg() == 4326
    assert list(samples.sample_id) == list("abcd")
    assert samples.valid_date[1] == pd.Timestamp("2021-06-11")
    assert samples.extract.dtype == bool


@pytest.mark.parametrize(
    ("role", "column"), [("sample_id", "POINT_ID"), ("valid_date", "Date"), ("ref_id", "Ref_ID")]
)
def test_columns_are_known_by_their_usual_names_in_any_case(role: str, column: str) -> None:
    samples = prepared(fields().rename(columns={role: column}))
    assert role in samples and column not in samples


def test_columns_can_be_named() -> None:
    samples = prepared(fields().assign(code=[7, 8, 9, 10]), columns=SampleColumns(sample_id="code"))
    assert list(samples.sample_id) == ["7", "8", "9", "10"]
    with pytest.raises(
        InputError, match=r"no column 'kode' for SampleColumns\(sample_id=…\); they have"
    ):
        prepared(fields(), columns=SampleColumns(sample_id="kode"))


def test_without_columns_all_are_extracted_and_numbered() -> None:
    samples = prepared(fields()[["geometry"]], name="file")
    assert list(samples.sample_id) == ["0", "1", "2", "3"]
    assert samples.extract.all()
    assert set(samples.ref_id) == {"file"}
    assert samples.valid_date.isna().all()


@pytest.mark.parametrize(
    ("levels", "least", "expected"),
    [
        ([0, 1, 2, 1], 1, [False, True, True, True]),
        ([0, 1, 2, 1], 2, [False, False, True, False]),
        ([None, 1, 2.0, 0], 1, [False, True, True, False]),
        ([True, None, False, True], 1, [True, False, False, True]),
        (["1", "0", "2", "0"], 1, [True, False, True, False]),
    ],
)
def test_extract_can_be_a_level(levels: list[Any], least: int, expected: list[bool]) -> None:
    samples = prepared(fields(extract=levels), min_extract=least)
    assert samples.extract.tolist() == expected


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"sample_id": ["a", "a", "b", "b"]},
            InputError,
            "the samples: 2 values of sample_id.*'a', 'b'",
        ),
        ({"sample_id": ["a", None, "c", "d"]}, InputError, r"1 samples have no sample_id.*\b1\b"),
        ({"extract": [False] * 4}, InputError, "no sample is to be extracted"),
        ({"extract": ["yes", "no", "no", "no"]}, InputError, "column extract holds 'yes', 'no'"),
        ({"valid_date": ["soon"] * 4}, InputError, "column valid_date holds 'soon'"),
        ({"valid_date": ["01/06/2021"] * 4}, InputError, "holds '01/06/2021'.*the year first"),
        ({"valid_date": [2021, 2021, 2022, 2022]}, InputError, "valid_date holds 2021, 2022"),
        ({"geometry": [None, Point(0, 0), Point(0, 1), Polygon()]}, InvalidGeometry, "2 samples"),
    ],
)
def test_samples_that_cannot_be_used(
    change: dict[str, Any], error: type[Exception], match: str
) -> None:
    samples = fields()
    if "geometry" in change:
        samples = samples.set_geometry(gpd.GeoSeries(change.pop("geometry"), crs=4326))
    with pytest.raises(error, match=match):
        prepared(samples.assign(**change))


@pytest.mark.parametrize(
    "days",
    [
        ["2021-06-01", "2021/6/1", "20210601", "2021-06-01T00:00:00Z"],
        [20210601] * 4,
        [20210601.0, 20210601.0, 20210601.0, None],  # a gap makes fractions of whole numbers
        pd.to_datetime(["2021-06-01"] * 4),
    ],
)
def test_days_are_read_however_they_are_written(days: Any) -> None:
    samples = prepared(fields(valid_date=days))
    assert set(samples.valid_date.dropna()) == {pd.Timestamp("2021-06-01")}
    assert samples.valid_date.isna().tolist() == list(pd.isna(days))


def test_no_crs_no_rows_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingCrs, match="set_crs"):
        prepared(fields().set_crs(None, allow_override=True))
    with pytest.raises(InputError, match="there are no samples"):
        prepared(fields().iloc[:0])
    (tmp_path / "notes.gpkg").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.gpkg cannot be read as vector data"):
        read_samples(tmp_path / "notes.gpkg")
    (tmp_path / "table.csv").write_text("lon,lat\n4,51\n")
    with pytest.raises(
        InputError, match=r"table\.csv has no geometries, only the columns lon, lat"
    ):
        read_samples(tmp_path / "table.csv")


# ----------------------------------------------------------------------------------------- periods


def test_a_job_covers_all_its_samples() -> None:
    job = prepared(fields())[:2]
    assert AroundDate(10, 20).of(job) == ("2021-05-22", "2021-07-01")
    assert AroundDate(10, 20, whole_months=True).of(job) == ("2021-05-01", "2021-07-01")
    assert AroundDate(0, 21, whole_months=True).of(job) == ("2021-06-01", "2021-08-01")
    assert AroundDate(0, 190, whole_months=True).of(job) == ("2021-06-01", "2022-01-01")
    assert FixedDates("2020-01-01", "2020-03-01").of(job) == ("2020-01-01", "2020-03-01")


def test_periods_that_cannot_be_meant() -> None:
    with pytest.raises(InputError, match="before is -1; expected days"):
        AroundDate(-1, 10)
    with pytest.raises(InputError, match="is empty"):
        FixedDates("2021-02-01", "2021-02-01")
    with pytest.raises(InputError, match=r"start is '1 June'.*expected a date such as"):
        FixedDates("1 June", "2021-02-01")
    undated = prepared(fields(valid_date=None))
    with pytest.raises(InputError, match=r"4 of 4 samples .* no date, such as 'a'"):
        AroundDate().of(undated)


# ----------------------------------------------------------------------------------------- windows


@given(
    points=st.lists(st.tuples(st.floats(3.0, 5.9), st.floats(-60, 60)), min_size=1, max_size=1),
    size=st.sampled_from([2, 16, 64, 65 * 2]),
)
def test_windows_lie_on_the_grid_around_their_samples(
    points: list[tuple[float, float]], size: int
) -> None:
    samples = gpd.GeoDataFrame(geometry=[Point(p) for p in points], crs=4326)
    windows = square_windows(samples, size * 10, 20)
    bounds = windows.bounds.to_numpy()
    assert (bounds % 20 == 0).all()
    assert np.allclose(bounds[:, 2:] - bounds[:, :2], size * 10)
    off = windows.geometry.centroid.distance(samples.to_crs(windows.crs).geometry)
    assert (off <= 10 * 2**0.5 + 1e-6).all()


# ------------------------------------------------------------------------------------------- paths


def test_paths_are_checked_before_the_run() -> None:
    template = PathTemplate("{ref_id}/{name}.nc")
    assert template.fill({"ref_id": "a/b", "name": "../x"}) == "a_b/x.nc"
    with pytest.raises(InputError, match="field 'name', which the samples do not have"):
        template.fill({"ref_id": "a"})
    with pytest.raises(InputError, match=r"gives a/1\.nc to the samples 's1' and 's2'"):
        template.check([("s1", "a/1.nc"), ("s2", "a/1.nc")])
    with pytest.raises(InputError, match=r"gives a/1\.nc to the sample 's1' and A/1\.nc to 's2'"):
        template.check([("s1", "a/1.nc"), ("s2", "A/1.nc")])
    for wrong in ("/abs/{x}.nc", "../{x}.nc", "a\\{x}.nc", "fixed.nc", "{x"):
        with pytest.raises(InputError, match="path template"):
            PathTemplate(wrong)


@given(st.text(), st.text())
def test_a_filled_path_stays_in_the_folder(one: str, two: str) -> None:
    path = PurePosixPath(PathTemplate("{a}/{b}.nc").fill({"a": one, "b": two}))
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert len(path.parts) == 2


# ------------------------------------------------------------------------------------------ labels


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 160), st.floats(0, 160), st.floats(5, 90), st.integers(1, 200)),
        max_size=6,
    )
)
def test_labels_are_burned_as_gdal_burns_them(
    discs: list[tuple[float, float, float, int]],
) -> None:
    shapes = [Point(x + 0.123, y + 0.457).buffer(r, quad_segs=3) for x, y, r, _ in discs]
    numbers = [number for *_, number in discs]
    x, y = np.arange(5, 160, 10.0), np.arange(155, 0, -10.0)
    expected = (
        rasterize(
            list(zip(shapes, numbers, strict=True)),
            out_shape=(16, 16),
            transform=from_origin(0, 160, 10, 10),
            dtype="int32",
        )
        if shapes
        else np.zeros((16, 16), dtype=np.int32)
    )
    np.testing.assert_array_equal(burn(shapes, numbers, x, y), expected)


def test_a_point_is_burned_where_it_lies() -> None:
    x, y = np.arange(5, 40, 10.0), np.arange(35, 0, -10.0)
    raster = burn([Point(12, 34)], [7], x, y)
    assert raster[0, 1] == 7
    assert np.count_nonzero(raster) == 1


def test_legends() -> None:
    samples = fields(crop=["wheat", "maize", None, "wheat"], name=["W", "M", "B", "W"])
    assert legend_of(samples, Labels("crop")) == {"maize": 1, "wheat": 2}
    assert legend_of(samples, Labels("croptype_label")) == {"10": 10, "20": 20, "30": 30}
    assert legend_of(samples, Labels("croptype_label", names="name")) == {
        "W": 10,
        "M": 20,
        "B": 30,
    }
    with pytest.raises(InputError, match="no column 'kind' to make labels of"):
        legend_of(samples, Labels("kind"))
    with pytest.raises(InputError, match=r"croptype_label holds 1\.5"):
        legend_of(fields(croptype_label=[1.5, 2, 3, 4]), Labels())


# ------------------------------------------------------------------------------------------ recipe


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"size": 0}, "size is 0"),
        ({"grid_resolution": 16}, "grid_resolution is 16"),
        ({"size": 63}, "63 pixels of 10 m is 630 m, no multiple of snap=20 m"),
        ({"bands": ()}, "bands is empty"),
        ({"max_cloud_cover": 120}, "max_cloud_cover is 120"),
        ({"composite": "fortnight"}, "composite is 'fortnight'; expected one of .*month"),
        ({"composite": "month", "cloud_mask": None}, "without cloud_mask"),
        ({"composite": "month", "composite_by": "sum"}, "expected median or mean"),
        ({"path": "{sample_id"}, "path template"),
    ],
)
def test_a_recipe_that_cannot_be_meant(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Sentinel2Patches(**arguments)


def test_a_mask_of_classes_that_do_not_exist() -> None:
    with pytest.raises(InputError, match="mask2_values has 12"):
        SclDilation(mask2_values=(3, 12))


def test_a_plan_needs_no_back_end() -> None:
    extraction = Extraction(Sentinel2Patches(period=AroundDate(30, 30)), fields())
    plan = extraction.plan()
    assert (plan.jobs, plan.samples, plan.not_extracted) == (1, 3, 1)
    assert (plan.start, plan.end) == ("2021-05-02", "2021-07-11")
    # 70 days at 0.4 dates a day, 15 bands, 64 x 64 pixels, three patches.
    assert plan.values == 3 * 28 * 15 * 64 * 64
    assert "Patches                  3" in str(plan)
    assert ">sentinel2-patches</td>" in plan._repr_html_()


def test_a_plan_knows_what_a_run_like_it_has_cost(tmp_path: Path) -> None:
    extraction = Extraction(Sentinel2Patches(period=AroundDate(30, 30)), fields())
    with Tracker(tmp_path / "job_tracker.csv", extraction.parts.jobs) as tracker:
        store = tracker.store
        store.keep(Job(0, JobStatus.ERROR, id="j-0", costs=1.5))  # an attempt that failed, too
        store.save(Job(0, JobStatus.FINISHED, id="j-1", costs=6.0))
        received = [replace(each, state=SampleState.RECEIVED) for each in store.samples_of(0)]
        store.set_samples(0, received)
    with RunFolder(tmp_path) as history:
        assert extraction.plan(history).costs == pytest.approx(7.5)
        # A tenth of the 70 days, and one of the three samples.
        week = Sentinel2Patches(period=FixedDates("2021-06-01", "2021-06-08"))
        assert Extraction(week, fields()).plan(history).costs == pytest.approx(0.75)
        plan = Extraction(week, fields().head(1)).plan(history)
        assert plan.costs == pytest.approx(0.25)
        assert re.search(r"Costs, about +0\.25", str(plan))
    with Tracker(tmp_path / "new" / "job_tracker.csv", extraction.parts.jobs):
        pass
    with RunFolder(tmp_path / "new") as nothing:
        plan = extraction.plan(nothing)
        assert (plan.costs, plan.seconds) == (None, None)


def test_the_job_table_has_the_wanted_first_and_what_touches_them_after() -> None:
    near = fields().set_geometry(
        [box(3.70, 50.93, 3.701, 50.931), box(3.80, 50.93, 3.801, 50.931),
         box(3.702, 50.93, 3.703, 50.931), box(3.95, 50.93, 3.951, 50.931)],
        crs=4326,
    )  # fmt: skip
    jobs = Extraction(Sentinel2Patches(max_samples=1), near).parts.jobs
    assert list(jobs["samples"]) == [1, 1, 1]
    found = {
        tuple(f["properties"]["sample_id"] for f in json.loads(text)["features"]): text
        for text in jobs["geometry"]
    }
    assert set(found) == {("a", "c"), ("b",), ("d",)}  # c touches the patch of a
    first, second = json.loads(found["a", "c"])["features"]
    assert first["properties"]["gfmap_path"].startswith("set/32631/31UES/a/S2_10m_a_32631_")
    assert second["properties"]["extract"] is False


def test_samples_without_a_date_are_counted_over_all_jobs() -> None:
    # The first two are far from the others, so that they are a job of their own.
    samples = fields(valid_date=[None, "2021-06-01", "2021-06-01", None], extract=True)
    far = samples.geometry.translate(xoff=20).where([True, True, False, False], samples.geometry)
    with pytest.raises(
        InputError, match=r"^2 of 4 samples to be extracted have no date, .*'a', 'd'"
    ):
        Extraction(Sentinel2Patches(), samples.set_geometry(far))
    # Nobody needs the date of a sample that gets no patch.
    samples = samples.assign(valid_date=["2021-06-01"] * 3 + [None], extract=[True] * 3 + [False])
    assert Extraction(Sentinel2Patches(), samples).plan().samples == 3


def test_samples_that_meet_in_one_path_are_refused() -> None:
    with pytest.raises(InputError, match="add a field that tells them apart"):
        Extraction(Sentinel2Patches(path="{ref_id}/{start_date}.nc"), fields())
    with pytest.raises(InputError, match="differ in more than upper and lower case"):
        Extraction(Sentinel2Patches(), fields(sample_id=["a", "A", "b", "c"]))


def test_other_back_ends_need_a_store_for_the_windows() -> None:
    with pytest.raises(InputError, match=r"give upload='https://.*or a function"):
        Extraction(Sentinel2Patches(), fields(), "cdse")
    with pytest.raises(InputError, match=r"back-end 'nowhere' is not known; use one of .*cdse"):
        Extraction(Sentinel2Patches(), fields(), "nowhere")
    with pytest.raises(InputError, match="'startjob' is no part"):
        Extraction(Sentinel2Patches(), fields(), startjob=None)
    with pytest.raises(InputError, match=r"the store 'store\.example' is no address"):
        Extraction(Sentinel2Patches(), fields(), "cdse", upload="store.example")
    with pytest.raises(InputError, match=r"holds a user name.*OPENEO_GFMAP_UPLOAD_USER"):
        Extraction(Sentinel2Patches(), fields(), "cdse", upload="https://me:pw@store.example")


def test_a_band_that_the_back_end_lacks_is_refused_before_the_run() -> None:
    recipe = Sentinel2Patches(bands=("S2-L2A-B04", "S2-L2A-B99"))
    with pytest.raises(
        InputError, match=r"'S2-L2A-B99'.* are not available; use any of S2-L2A-B01"
    ):
        Extraction(recipe, fields())


def test_windows_are_put_into_a_store_that_wants_a_log_in(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEO_GFMAP_UPLOAD_USER", "me")
    monkeypatch.setenv("OPENEO_GFMAP_UPLOAD_PASSWORD", "geheim")
    allowed = {"Authorization": "Basic " + base64.b64encode(b"me:geheim").decode()}
    httpserver.expect_oneshot_request(
        re.compile(r"/windows/gfmap/.*\.parquet"), method="PUT", headers=allowed
    ).respond_with_data(status=201)
    httpserver.expect_request("/jobs", method="POST").respond_with_data(
        status=201, headers={"OpenEO-Identifier": "j-1"}
    )
    upload = httpserver.url_for("/windows")
    extraction = Extraction(Sentinel2Patches(), fields(), "cdse", upload=upload)
    job = extraction.parts.start_job(
        extraction.parts.jobs.iloc[0], FakeOpenEO(httpserver).connect()
    )
    assert job.job_id == "j-1"


def test_parts_can_be_replaced() -> None:
    def mine(items: Any, row: Any) -> Any:
        return items

    extraction = Extraction(Sentinel2Patches(), fields(), post_job_action=mine)
    assert extraction.parts.post_job_action is mine
    assert extraction.parts.output_path.__name__ == "output_path"
    # A table of jobs, too: here the first one only.
    some = Extraction(Sentinel2Patches(), fields(), jobs=extraction.parts.jobs.head(1))
    assert some.plan().jobs == 1


def test_a_result_of_a_feature_that_is_not_there_is_refused() -> None:
    extraction = Extraction(Sentinel2Patches(), fields())
    row = extraction.parts.jobs.iloc[0]
    with pytest.raises(InputError, match="result for feature 3, but the job has 3: 0 to 2"):
        extraction.parts.output_path(Path("out"), 3, row)


# ------------------------------------------------------------------------------------------- graph


@pytest.fixture
def connection(httpserver: HTTPServer) -> openeo.Connection:
    return FakeOpenEO(httpserver).connect()


def graph(connection: openeo.Connection, recipe: Sentinel2Patches) -> dict[str, Any]:
    row = Extraction(recipe, fields()).parts.jobs.iloc[0]
    found: dict[str, Any] = recipe.cube(row, connection, "https://a/b.parquet").flat_graph()
    return found


def processes(nodes: dict[str, Any]) -> list[str]:
    return [node["process_id"] for node in nodes.values()]


def test_the_graph_has_mask_and_distance_only_where_they_are_wanted(
    connection: openeo.Connection,
) -> None:
    full = processes(graph(connection, Sentinel2Patches()))
    assert full.count("merge_cubes") == 2
    assert "to_scl_dilation_mask" in full and "apply_neighborhood" in full
    plain = graph(
        connection,
        Sentinel2Patches(
            bands=("S2-L2A-B04",), cloud_mask=None, distance_to_cloud=False, max_cloud_cover=None
        ),
    )
    assert not {"merge_cubes", "to_scl_dilation_mask", "apply_neighborhood"} & set(processes(plain))
    load = next(node for node in plain.values() if node["process_id"] == "load_collection")
    assert load["arguments"]["bands"] == ["B04"]
    assert "eo:cloud_cover" not in load["arguments"].get("properties", {})


def test_the_scene_classification_is_read_for_the_mask_and_not_kept(
    connection: openeo.Connection,
) -> None:
    nodes = graph(connection, Sentinel2Patches(bands=("S2-L2A-B04",), composite="month"))
    load = next(node for node in nodes.values() if node["process_id"] == "load_collection")
    assert load["arguments"]["bands"] == ["B04", "SCL"]
    names = processes(nodes)
    assert "aggregate_temporal_period" in names and "mask" in names
    kept = [
        node["arguments"]["bands"]
        for node in nodes.values()
        if node["process_id"] == "filter_bands"
    ]
    assert ["S2-L2A-B04"] in kept


def test_real_samples_make_a_plan(shared_data: Path) -> None:
    extraction = Extraction(
        Sentinel2Patches(), shared_data / "worldcereal" / "wc_extraction_dataset.gpkg"
    )
    plan = extraction.plan()
    assert plan.samples == 500
    assert plan.jobs == extraction.parts.jobs["h3index"].nunique() == 88


def test_paths_hold_no_space() -> None:
    path = PathTemplate("{ref_id}/{sample_id}.nc").fill({"ref_id": "my set", "sample_id": "a b/c"})
    assert path == "my_set/a_b_c.nc"
