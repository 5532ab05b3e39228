"""Jobs that end badly, say odd things, or whose callbacks misbehave: each its own affair."""

from __future__ import annotations

import json
import logging
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest

from faults.proxy import UNAVAILABLE, Answer, Fault
from faults.world import QUICK, World

ENTRIES = tuple(
    {"id": str(n), "level": "error" if n == 4 else "info", "message": f"line {n}"} for n in range(5)
)


# --------------------------------------------------------------------------------- what jobs say


def test_odd_fields_are_read_with_care(world: World) -> None:
    odd: list[dict[str, Any]] = [
        {"costs": None, "usage": None, "title": None, "description": None},
        {"costs": "free", "usage": {"cpu": None, "memory": {"value": {}}, "duration": []}},
        {"costs": {"amount": 3}, "usage": [1], "title": 7, "created": "yesterday", "progress": -1},
        {"new": {"deep": [{}]}, "id": "another", "updated": 0, "plan": False},
    ]
    for row, overrides in enumerate(odd):
        world.script(row, overrides=overrides)
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)


@pytest.mark.parametrize(
    "amount", [math.nan, math.inf, -math.inf, 10**400], ids=["nan", "inf", "-inf", "huge"]
)
def test_costs_that_are_no_amount_are_none(world: World, amount: float) -> None:
    """Python's JSON reads them; a sum with them is none, and no limit holds."""
    world.backend.describe_in_list = False
    world.script(1, overrides={"costs": amount})
    assert world.run(options=replace(QUICK, max_costs=100)) == {"finished": world.jobs}
    world.check(warnings=1)
    assert world.rows().costs.sum() == 3 * (world.jobs - 1)


def test_a_limit_that_cannot_be_kept_to_is_told(world: World) -> None:
    """The back-end does not say what jobs cost; who set max_costs would rely on it."""
    world.backend.describe_in_list = False
    world.backend.default.overrides = {"costs": None}
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)
    world.jobs += 2
    assert world.run(options=replace(QUICK, max_costs=1)) == {"finished": world.jobs}
    world.check(warnings=1)
    assert sum("max_costs does not hold" in text for text in world.warnings()) == 1


def test_texts_that_were_cut_within_a_character_are_kept_as_far_as_they_are(world: World) -> None:
    """JSON may hold half an emoji, files and stores may not; back-ends in Java cut texts so."""
    half = "on fire \ud83d"
    world.script(0, overrides={"title": "x" * 200 + half, "description": half})
    unit = {"cpu": {"value": 1, "unit": half}}
    entry = {"level": "error", "message": half}
    world.script(1, states=("error",), overrides={"title": half, "usage": unit}, logs=(entry,))
    gone = Answer(400, json.dumps({"code": "ProcessGraphInvalid", "message": half}).encode())
    world.fail(Fault("POST /jobs", gone, 1, each=False, skip=2))
    counts = world.run(parallel_jobs=1)
    assert counts == {"error": 1, "start_failed": 1, "finished": world.jobs - 2}
    world.check(
        {1: ("error", r"on fire \ud83d"), 2: ("start_failed", r"on fire \ud83d")}, warnings=0
    )
    (log,) = (world.out / "failed_jobs").iterdir()
    assert log.read_text() == "ERROR: on fire \\ud83d\n"


def test_words_for_states_that_are_not_known_change_nothing(world: World) -> None:
    world.backend.default.states = ("queued", "warming up", "RUNNING", "", "finished")
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)


def test_the_log_of_a_failed_job_is_saved_whatever_its_title(world: World) -> None:
    titles = ["../../x", "/etc/passwd", "a" * 500, "", None, "näme: 50 % ?*\n", "con.log"]
    world.jobs = len(titles) + 1
    for row, title in enumerate(titles):
        overrides = {"title": title}
        world.script(row, states=("running", "error"), logs=ENTRIES, overrides=overrides)
    assert world.run() == {"error": len(titles), "finished": 1}
    world.check(dict.fromkeys(range(len(titles)), ("error", "line 4")), warnings=0)
    logs = list((world.out / "failed_jobs").iterdir())
    assert len(logs) == len(titles)
    for log in logs:
        lines = log.read_text().splitlines()
        assert [line.split(": ")[-1] for line in lines] == [f"line {n}" for n in range(5)]
        assert "j-000" in log.name and len(log.name.encode()) < 256


def test_a_log_that_cannot_be_had_is_no_reason_to_stop(world: World) -> None:
    answers = [
        UNAVAILABLE, Answer(200, b"[]"), Answer(200, b"<html>"), Answer(404, b"{}"),
        Answer(200, b'{"logs": null}'), Answer(200, b'{"logs": [null, 3, {}], "links": 1}'),
    ]  # fmt: skip
    world.jobs = len(answers)
    world.backend.default.states = ("error",)
    world.fail(*(Fault(f"GET /jobs/j-{n:04}/logs", a, None) for n, a in enumerate(answers)))
    assert world.run() == {"error": world.jobs}
    world.check(dict.fromkeys(range(world.jobs), ("error", "failed")), warnings=2)
    assert len(list((world.out / "failed_jobs").iterdir())) == world.jobs


def test_a_log_that_breaks_off_is_kept_as_far_as_it_came(world: World) -> None:
    world.script(1, states=("error",), logs=ENTRIES)
    world.fail(Fault("GET /jobs/[^/]+/logs", UNAVAILABLE, None, skip=1))
    world.run()
    (log,) = (world.out / "failed_jobs").iterdir()
    assert "line 0" in log.read_text() and "cannot be had" in log.read_text()


@pytest.mark.parametrize("entries", [[], [{"id": "1", "level": "error", "message": "the same"}]])
def test_a_log_without_an_end_is_read_once(world: World, entries: list[Any]) -> None:
    """Each page has another next one."""
    world.script(1, states=("error",))

    def page(number: int) -> bytes:
        following = {"rel": "next", "href": f"?offset={number + 1}"}
        return json.dumps({"logs": entries, "links": [following]}).encode()

    logs = "GET /jobs/[^/]+/logs"
    world.fail(*(Fault(logs, Answer(200, page(n)), 1) for n in range(20)))
    assert world.run() == {"error": 1, "finished": world.jobs - 1}
    world.check({1: ("error", "failed on fake")}, warnings=0)
    assert world.proxy.asked(logs) == 4  # to save it, and to see why


# ----------------------------------------------------------------------------- post-job actions


def test_an_action_that_raises_fails_its_job_until_the_next_run(world: World) -> None:
    def act(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        if row.name == 1 and healthy == []:
            raise RuntimeError("no weights for the model")
        return items

    healthy: list[int] = []
    assert world.run(post_job_action=act) == {
        "postprocessing-error": 1, "finished": world.jobs - 1,
    }  # fmt: skip
    assert "no weights for the model" in world.messages()[1]
    assert len(world.items()) == 2 * (world.jobs - 1)
    healthy.append(1)
    assert world.run(post_job_action=act) == {"finished": world.jobs}
    world.check(warnings=1)


@pytest.mark.parametrize("parallel", [False, True], ids=["in turns", "in parallel"])
def test_an_action_that_hangs_loses_its_turn(world: World, parallel: bool) -> None:
    """Its thread cannot be ended; the others go on, and what it brings late is not used."""
    release, late = threading.Event(), threading.Event()

    def act(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        if row.name == 1 and not release.is_set():
            release.wait(60)
            late.set()
            return []
        return items

    options = replace(QUICK, action_seconds=0.5, parallel_callbacks=parallel)
    counts = world.run(post_job_action=act, n_threads=1, options=options)
    assert counts == {"postprocessing-error": 1, "finished": world.jobs - 1}
    assert "did not return within 0.5 seconds" in world.messages()[1]
    release.set()
    assert late.wait(10)
    assert len(world.items()) == 2 * (world.jobs - 1)
    assert world.run(post_job_action=act, options=options) == {"finished": world.jobs}
    world.check(warnings=1)


def test_a_path_generator_that_hangs_fails_its_job(world: World) -> None:
    done = threading.Event()

    def path(root_folder: Path, geometry_index: int, row: pd.Series) -> str:
        if row.name == 1:
            done.wait(60)
        return f"job_{row.name}/patch_{geometry_index}.nc"

    options = replace(QUICK, action_seconds=0.3)
    counts = world.run(output_path_generator=path, options=options)
    done.set()
    assert counts == {"error": 1, "finished": world.jobs - 1}
    world.check({1: ("error", "did not return within 0.3 seconds")}, warnings=0)


def test_items_are_those_that_the_action_returns(world: World) -> None:
    def act(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        return items[:1] if row.name == 1 else [] if row.name == 2 else items

    assert world.run(post_job_action=act) == {"finished": world.jobs}
    assert len(world.items()) == 2 * (world.jobs - 2) + 1
    assert world.run(post_job_action=act) == {"finished": world.jobs}
    assert len(world.items()) == 2 * (world.jobs - 2) + 1


def test_an_action_that_returns_no_items_fails_its_job(world: World) -> None:
    returned: list[Any] = [None, "items", [1, 2], {"a": 1}]

    def act(items: list[pystac.Item], row: pd.Series) -> Any:
        return returned[row.name] if row.name < len(returned) else items

    assert world.run(post_job_action=act) == {"postprocessing-error": 4, "finished": 1}
    for row in range(len(returned)):
        assert "expected the list of items" in world.messages()[row]


def test_what_numpy_and_pandas_have_is_kept_in_items(world: World) -> None:
    day = pd.Timestamp("2021-05-01T10:00:00Z")
    given = {
        "cover": np.float32(0.5), "count": np.int64(3), "means": np.array([1, 2]), "no": np.nan,
        "day": day, "never": pd.NaT, "at": np.datetime64("2021-05-01"), "parts": ({"n": np.True_},),
    }  # fmt: skip

    def act(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        for item in items:
            item.properties |= given
        return items

    assert world.run(post_job_action=act) == {"finished": world.jobs}
    world.check(warnings=0)
    assert {name: world.items()[0]["properties"][name] for name in given} == {
        "cover": 0.5, "count": 3, "means": [1, 2], "no": None, "day": "2021-05-01T10:00:00+00:00",
        "never": None, "at": "2021-05-01", "parts": [{"n": True}],
    }  # fmt: skip


def test_items_that_no_collection_can_hold_are_an_error_of_their_job(world: World) -> None:
    """They are not stored, where they would end this run and each after it."""

    def change(row: int, item: pystac.Item) -> None:
        match row:
            case 0:
                item.properties["deep"] = {"bands": [{"B02"}]}
            case 1:
                item.properties["by place"] = {(1, 2): "x"}
            case 2:
                item.bbox = [5.0]
            case 3:
                item.properties["proj:code"] = 32631
            case 4:
                item.geometry = {"type": "Polygon", "coordinates": "here"}

    def act(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        change(int(row.name), items[0])
        return items

    world.jobs = 6
    assert world.run(post_job_action=act) == {"postprocessing-error": 5, "finished": 1}
    for row, word in enumerate(["deep.bands[0] is", "by place", "bbox", "proj:code", "geometry"]):
        assert word in world.messages()[row]
    assert len(world.items()) == 2
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=5)


def test_an_action_that_removes_its_files_is_told(world: World) -> None:
    def act(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        if row.name == 1:
            Path(next(iter(items[0].assets.values())).href).unlink()
        return items

    assert world.run(post_job_action=act) == {
        "postprocessing-error": 1, "finished": world.jobs - 1,
    }  # fmt: skip
    assert "no file" in world.messages()[1]
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=1)


def test_the_log_tells_each_failure_once(world: World) -> None:
    """Also when dozens of jobs fail for the same reason."""
    world.jobs = 30
    world.backend.page = 50
    world.backend.default.states = ("error",)
    assert world.run(parallel_jobs=10) == {"error": 30}
    told = [r for r in world.caplog.records if r.levelno >= logging.WARNING]
    assert len(told) <= 31
    assert world.run(parallel_jobs=10) == {"error": 30}  # and the next run says nothing of them
    assert len([r for r in world.caplog.records if r.levelno >= logging.WARNING]) == len(told)
