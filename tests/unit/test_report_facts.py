"""The page of a run as a file, and the facts on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from openeo_gfmap.account import RunFolder
from openeo_gfmap.account.advice import ADVICE
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.ledger import SampleState
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.report import facts, write_report
from support.made_run import NASTY, feature, item, make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), jobs=60, each=5, unfinished=True)


def gathered(folder: Path) -> dict[str, Any]:
    with RunFolder(folder) as run:
        found = facts.gather(run)
    return dict(json.loads(facts.as_json(found)))


def test_ten_thousand_samples_are_a_small_file(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path))
    assert page == tmp_path / "report.html"
    assert page.stat().st_size < 5_000_000
    assert not list(tmp_path.glob("*.part"))


def test_the_sums_on_the_page_are_those_of_the_run(folder: Path) -> None:
    found = gathered(folder)
    with RunFolder(folder) as run:
        sums, samples, jobs = run.sums(), list(run.samples()), run.jobs()
    assert found["sums"]["expected"] == sums.expected == 300
    states = [SampleState(found["samples"]["states"][s]) for s in found["samples"]["state"]]
    assert states == [sample.state for sample in samples]
    assert all(count for count in found["sums"].values()), "each state occurs"
    for state in SampleState:
        column = found["samples"]["states"].index(state)
        assert sum(counts[column] for counts in found["jobs"]["counts"]) == states.count(state)
    failed = [job for job in jobs if job.status is JobStatus.ERROR]
    assert sum(error["jobs"] for error in found["errors"]) == len(failed)
    lacking = states.count(SampleState.MISSING) + states.count(SampleState.REJECTED)
    assert sum(reason["samples"] for reason in found["reasons"]) == lacking
    kinds = {found["jobs"]["states"][s] for s in found["jobs"]["state"]}
    assert kinds == {"finished", "partly", "failed", "active", "waiting"}


def test_months_count_the_dates_of_all_patches(folder: Path) -> None:
    found = gathered(folder)
    assert [each["month"] for each in found["months"]] == [f"2021-{m:02}" for m in range(3, 11)]
    assert {each["dates"] for each in found["months"]} == {4 * found["sums"]["received"]}
    assert {each["hidden"] for each in found["months"]} == {None}, "there is no file to open"


def test_clouds_are_those_of_the_scene_classification(tmp_path: Path) -> None:
    table = pd.DataFrame({"sample_id": ["a"], "label": [7]})
    times = np.array(["2021-05-03", "2021-05-13", "2021-06-02"], "datetime64[ns]")
    classes = np.full((3, 4, 4), 4, np.uint16)
    classes[0] = 9  # clouds all over the first date, and a quarter of the last
    classes[2, 0] = 8
    xr.Dataset(
        {"S2-L2A-SCL": (("t", "y", "x"), classes), "S2-L2A-B04": (("t", "y", "x"), classes)},
        {"t": times},
    ).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with Tracker(tmp_path / "job_tracker.csv", table) as tracker:
        tracker.store.set_items(0, [item("a.nc", [str(t)[:10] for t in times])])
    found = gathered(tmp_path)
    assert found["months"] == [
        {"month": "2021-05", "dates": 2, "hidden": 0.5},
        {"month": "2021-06", "dates": 1, "hidden": 0.25},
    ]
    assert found["looked_at"] == 1
    with RunFolder(tmp_path) as run:
        assert facts.gather(run, clouds=False)["looked_at"] == 0


def test_rows_without_feature_collections_have_places_and_labels_too(tmp_path: Path) -> None:
    square = feature("a", "", 3.0, 51.0)["geometry"]
    table = pd.DataFrame(
        {
            "sample_id": ["a", "b", "c"],
            "crop_type": ["maize", None, "maize"],
            "geometry": [square, None, {"type": "Point", "coordinates": []}],
        }
    )
    with Tracker(tmp_path / "job_tracker.csv", table):
        pass
    found = gathered(tmp_path)
    assert found["samples"]["x"] == [3.003, None, None]
    assert found["samples"]["y"] == [51.002, None, None]
    assert found["classes"] == [{"label": "maize", "expected": 2, "received": 0}]
    assert write_report(tmp_path).is_file()


def test_an_action_that_raised_is_an_error_with_advice(tmp_path: Path) -> None:
    with Tracker(tmp_path / "job_tracker.csv", pd.DataFrame({"a": [1]})) as tracker:
        status = JobStatus.POSTPROCESSING_ERROR
        tracker.store.save(Job(0, status, id="j", message="KeyError: 'B04'", kind="callback"))
    (error,) = gathered(tmp_path)["errors"]
    assert error["kind"] == "callback" and error["advice"] == ADVICE[ErrorKind.CALLBACK]
    assert error["examples"] == [{"row": 0, "id": "j", "message": "KeyError: 'B04'"}]


def test_a_job_that_somebody_cancelled_is_no_unknown_error(tmp_path: Path) -> None:
    with Tracker(tmp_path / "job_tracker.csv", pd.DataFrame({"a": [1, 2]})) as tracker:
        tracker.store.save(Job(0, JobStatus.CANCELED, id="j"))
        tracker.store.save(Job(1, JobStatus.CANCELED, id="k", kind="time-limit"))
    advice = {error["kind"]: error["advice"] for error in gathered(tmp_path)["errors"]}
    assert set(advice) == {"canceled", "time-limit"}
    assert "cancelled it" in advice["canceled"]
    assert advice["time-limit"] == ADVICE[ErrorKind.TIME_LIMIT]


def test_of_very_many_samples_all_that_lack_are_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_MOST_SAMPLES", 200)
    found = gathered(folder)
    states = [found["samples"]["states"][s] for s in found["samples"]["state"]]
    assert len(states) == 200
    for state in ("missing", "rejected", "open"):
        assert states.count(state) == found["sums"][state]
    assert found["samples"]["row"] == sorted(found["samples"]["row"])
    assert found["classes"] == gathered(folder)["classes"], "sums count all"


def test_no_text_leaves_its_place(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    assert NASTY not in page
    assert "<img" not in page.replace("<img>", "")
    assert page.count("</script>") == 3
    assert gathered(folder)["samples"]["id"][0] == NASTY
    assert "innerHTML" not in page and "document.write" not in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "unsafe" not in policy[1] and policy[1].startswith("default-src &#39;none")
    addresses = set(re.findall(r"https?://[^\s\"'`]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}, "a name space, not a place"


def test_the_page_stands_where_it_is_wanted(folder: Path, tmp_path: Path) -> None:
    with RunFolder(folder) as run:
        page = write_report(run, tmp_path / "new" / "page.html", clouds=False)
    assert page == tmp_path / "new" / "page.html"
    base = re.search(r'"base":"([^"]+)"', page.read_text(encoding="utf-8"))
    assert base and (page.parent / base[1]).resolve() == folder.resolve()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tracker"):
        write_report(tmp_path)


def test_every_kind_of_error_has_advice() -> None:
    assert set(ADVICE) == set(ErrorKind)
    assert all(text.endswith(".") and len(text) < 200 for text in ADVICE.values())
