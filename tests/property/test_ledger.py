"""The account of samples closes, whatever happens to their job."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_gfmap.manager import ledger
from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.ledger import Sample, SampleState, Sums
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.model import Absence
from openeo_gfmap.stac.items import item_id

FEATURES = 4
GEOMETRY = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "geometry": None, "properties": {"sample_id": f"s{i}"}}
            for i in range(FEATURES)
        ],
    }
)


def saved(path: str) -> life.SavedFile:
    return life.SavedFile(path, 1, "0", {"assets": {"data": {"href": path}}})


def item(path: str) -> dict[str, Any]:
    return {"properties": {}, "assets": {"data": {"href": path}}}


indices = st.sets(st.integers(0, FEATURES - 1))


@st.composite
def fetched(draw: st.DrawFn) -> life.Fetched:
    came = sorted(draw(indices))
    absent = sorted(draw(indices) - set(came))
    return life.Fetched(
        tuple(saved(f"{i}.nc") for i in came),
        "some" if absent else None,
        tuple(came),
        tuple(Absence(i, "why", rejected=bool(i % 2)) for i in absent),
    )


items = indices.map(lambda chosen: tuple(item(f"{i}.nc") for i in sorted(chosen)))
lost = st.frozensets(st.integers(0, FEATURES - 1).map("{}.nc".format))
EVENTS: dict[type[Any], st.SearchStrategy[life.Event]] = {
    life.Intended: st.just(life.Intended("a", "mark", "now")),
    life.Created: st.just(life.Created("j")),
    life.Skipped: st.just(life.Skipped()),
    life.CreationFailed: st.just(life.CreationFailed("why")),
    life.Seen: st.sampled_from(list(life.REMOTE)).map(life.Seen),
    life.StartFailed: st.just(life.StartFailed("refused")),
    life.Vanished: st.just(life.Vanished("gone")),
    life.TimedOut: st.just(life.TimedOut("late")),
    life.Fetched: fetched(),
    life.FetchFailed: st.just(life.FetchFailed("none came")),
    life.FilesChanged: st.just(life.FilesChanged()),
    life.FilesLost: lost.map(life.FilesLost),
    life.Processed: items.map(life.Processed),
    life.ProcessedPartly: items.map(lambda found: life.ProcessedPartly("why", None, found)),
    life.ProcessingFailed: st.just(life.ProcessingFailed("raised")),
    life.Restarted: st.just(life.Restarted()),
    life.Retried: st.just(life.Retried("a")),
    life.FetchAgain: st.just(life.FetchAgain()),
    life.Resumed: st.just(life.Resumed()),
}


@given(st.data(), st.integers(0, 40))
def test_sums_close_and_states_follow_the_job(data: st.DataObject, length: int) -> None:
    job = Job(0)
    samples = ledger.expected_samples(0, 0, {"geometry": GEOMETRY})
    catalogue: set[str] = set()
    for _ in range(length):
        possible = [EVENTS[kind] for kind in life.TRANSITIONS[job.status] if kind in EVENTS]
        if not possible:
            break
        event = data.draw(st.one_of(possible))
        job = life.apply(job, event)
        if ledger.concerns(event, job):
            samples = ledger.after(samples, event, job)
        if isinstance(event, life.Processed | life.ProcessedPartly):
            catalogue = {found["assets"]["data"]["href"] for found in event.items}
        elif isinstance(event, life.Fetched):
            catalogue = set()
        sums = Sums.of(Counter(sample.state for sample in samples))
        assert sums.expected == FEATURES == len(samples)
        assert [sample.feature for sample in samples] == list(range(FEATURES))
        for sample in samples:
            lacking = sample.state in (SampleState.MISSING, SampleState.REJECTED)
            assert (sample.reason is not None) == lacking
            if sample.state is SampleState.RECEIVED:
                assert sample.path in catalogue
        if job.status in life.FINAL:
            assert sums.open == 0
        if job.status is JobStatus.NOT_STARTED:
            assert sums.missing == sums.rejected == 0


def after(samples: tuple[Sample, ...], event: life.Event, status: JobStatus) -> tuple[Sample, ...]:
    return ledger.after(samples, event, Job(0, status, message="the reason"))


EXPECTED = ledger.expected_samples(0, 0, {"geometry": GEOMETRY, "recipe": "s2"})


def test_each_sample_has_its_own_reason() -> None:
    files = (saved("a.nc"), saved("b.nc"))
    absent = (Absence(1, "not come"), Absence(3, "too cloudy", True, "quarantine/d.nc"))
    waiting = after(EXPECTED, life.Fetched(files, "x", (0, 2), absent), JobStatus.POSTPROCESSING)
    assert [(s.state.value, s.reason) for s in waiting] == [
        ("open", None), ("missing", "not come"), ("open", None), ("rejected", "too cloudy"),
    ]  # fmt: skip
    done = after(waiting, life.ProcessedPartly("x", None, (item("a.nc"),)), JobStatus.ERROR)
    assert [s.state.value for s in done] == ["received", "missing", "rejected", "rejected"]
    assert done[2].reason == "post_job_action left it out"
    assert {s.sensor for s in done} == {"s2"}
    assert ledger.commonest(done, 1) == [("not come", 1)]


def test_what_an_action_that_raised_had_is_received_when_it_works() -> None:
    files = tuple(saved(f"{i}.nc") for i in range(3))
    fetched = life.Fetched(files, None, (0, 1, 2))
    waiting = after(EXPECTED, fetched, JobStatus.POSTPROCESSING)
    failed = after(waiting, life.ProcessingFailed("x"), JobStatus.POSTPROCESSING_ERROR)
    assert {s.reason for s in failed[:3]} == {"the reason"}
    again = after(failed, life.Resumed(), JobStatus.POSTPROCESSING)
    done = after(
        again, life.Processed(tuple(item(f"{i}.nc") for i in range(3))), JobStatus.FINISHED
    )
    assert Sums.of(Counter(s.state for s in done)) == Sums(received=3, missing=1)
    assert done[3].reason == "the job made no file for it"


@pytest.mark.parametrize("names", [["x.tif"], ["x.tif", "y.tif"]])
def test_files_that_are_no_samples_own_stand_for_all(names: list[str]) -> None:
    waiting = after(EXPECTED, life.Fetched(tuple(map(saved, names))), JobStatus.POSTPROCESSING)
    done = after(waiting, life.Processed(tuple(map(item, names))), JobStatus.FINISHED)
    assert {s.state for s in done} == {SampleState.RECEIVED}


def test_files_that_are_no_samples_own_are_wanted_all() -> None:
    event = life.Fetched((saved("x.tif"),), "x", (), (Absence(None, "y.tif cannot be had"),))
    waiting = after(EXPECTED, event, JobStatus.POSTPROCESSING)
    assert {(s.state.value, s.reason) for s in waiting} == {("missing", "y.tif cannot be had")}


def received() -> tuple[Sample, ...]:
    files = tuple(saved(f"{i}.nc") for i in range(3))
    waiting = after(EXPECTED, life.Fetched(files, "x", (0, 1, 2)), JobStatus.POSTPROCESSING)
    items = tuple(item(f"{i}.nc") for i in range(3))
    return after(waiting, life.ProcessedPartly("x", None, items), JobStatus.ERROR)


@pytest.mark.parametrize("event", [life.FetchAgain(), life.Restarted(), life.Retried("a")])
def test_what_was_received_stays_so_until_something_takes_its_place(event: life.Event) -> None:
    again = after(received(), event, JobStatus.NOT_STARTED)
    assert [s.state.value for s in again] == ["received"] * 3 + ["open"]
    failed = after(again, life.FetchFailed("gone"), JobStatus.ERROR)
    assert [s.state.value for s in failed] == ["received"] * 3 + ["missing"]
    anew = after(again, life.Fetched((saved("3.nc"),), "x", (3,)), JobStatus.POSTPROCESSING)
    assert [s.state.value for s in anew] == ["missing"] * 3 + ["open"]


def test_of_lost_files_only_those_samples_are_open_again() -> None:
    lost = after(received(), life.FilesLost(frozenset({"1.nc"})), JobStatus.DOWNLOADING)
    assert [s.state.value for s in lost] == ["received", "open", "received", "missing"]


def test_an_action_may_rename_files_or_make_one_of_them() -> None:
    files = tuple(saved(f"{i}.nc") for i in range(FEATURES))
    event = life.Fetched(files, None, tuple(range(FEATURES)))
    waiting = after(EXPECTED, event, JobStatus.POSTPROCESSING)
    renamed = tuple({**item(f"new_{i}.nc"), "id": item_id(f"{i}.nc")} for i in range(3))
    done = after(waiting, life.Processed(renamed), JobStatus.FINISHED)
    assert [s.path for s in done] == ["new_0.nc", "new_1.nc", "new_2.nc", "3.nc"]
    assert [s.state.value for s in done] == ["received"] * 3 + ["rejected"]
    merged = after(waiting, life.Processed((item("all.nc"),)), JobStatus.FINISHED)
    assert {(s.state.value, s.path) for s in merged} == {("received", "all.nc")}
    nothing = after(waiting, life.Processed(()), JobStatus.FINISHED)
    assert {s.state.value for s in nothing} == {"rejected"}


def test_reasons_that_differ_in_numbers_only_are_counted_together() -> None:
    lacking = [
        replace(EXPECTED[0], state=SampleState.MISSING, reason=reason)
        for reason in ("job j-1 failed on cdse: no", "job j-22 failed on cdse: no", "gone", "gone")
    ]
    assert ledger.commonest([*lacking, EXPECTED[1]], 3) == [
        ("job j-1 failed on cdse: no", 2), ("gone", 2),
    ]  # fmt: skip


def test_jobs_that_come_in_as_failed_have_missing_samples() -> None:
    failed = Job(0, JobStatus.START_FAILED, message="refused")
    assert [s.reason for s in ledger.initial(failed, 0, {"geometry": GEOMETRY})] == ["refused"] * 4
    skipped = ledger.initial(Job(0, JobStatus.SKIPPED), 0, {}, "sentinel1")
    assert skipped == (
        Sample(0, 0, "0", "sentinel1", SampleState.MISSING, "start_job made no job for it"),
    )


def test_a_row_without_features_is_one_sample() -> None:
    assert ledger.expected_samples(7, "west", {"a": 1}) == (Sample(7, 0, "west"),)
    assert ledger.expected_samples(7, 3, {"sample_id": "x", "sensor": "s1"}) == (
        Sample(7, 0, "x", "s1"),
    )


def test_features_that_are_not_extracted_are_not_expected() -> None:
    collection = json.loads(GEOMETRY)
    collection["features"][1]["properties"]["extract"] = False
    collection["features"][2]["properties"] = None
    for geometry in (collection, json.dumps(collection)):
        samples = ledger.expected_samples(5, 0, {"geometry": geometry})
        assert [(s.feature, s.sample_id) for s in samples] == [(0, "s0"), (1, "5_1"), (2, "s3")]


def test_samples_of_older_stores_are_found_in_their_items() -> None:
    job = Job(0, JobStatus.ERROR, message="two are missing")
    named = [{**item("x/2.nc"), "properties": {"sample_id": "s2"}}]
    found = list(ledger.recovered(EXPECTED, job, named))
    assert [s.state.value for s in found] == ["missing", "missing", "received", "missing"]
    assert found[2].path == "x/2.nc" and found[0].reason == "two are missing"
    ordered = [item(f"{i}.nc") for i in range(FEATURES)]
    found = list(ledger.recovered(EXPECTED, replace(job, status=JobStatus.FINISHED), ordered))
    assert [s.path for s in found] == [f"{i}.nc" for i in range(FEATURES)]
    found = list(ledger.recovered(EXPECTED, Job(0, JobStatus.RUNNING), []))
    assert {s.state for s in found} == {SampleState.OPEN}
