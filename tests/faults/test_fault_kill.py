"""Killed at any moment, and the same again: nothing lost, nothing twice, nothing broken."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from faults.nursery import Nursery
from openeo_gfmap.account import RunFolder
from openeo_gfmap.manager.ledger import Sample
from support.fake_backend import FakeBackend, Script, fake_backend
from support.manager_run import table
from support.patches import patch_bytes

JOBS = 6
KILLS = 11  # in each of the lives below, which makes more than a hundred
LIVES = 10
GATED = (4, 9)  # lives in which files are rejected
# The largest n that a whole run reaches, about: moments are chosen up to it.
MOST = {"event": 260, "statement": 260, "size": 40_000, "seconds": 0.8}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("patches")
    return {f"openEO_{n}.nc": patch_bytes(folder, seed=n, size=20 + 10 * n) for n in range(2)}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what does not pass the gates of a run that has some."""
    folder = tmp_path_factory.mktemp("bad")
    return {f"openEO_{n}.nc": patch_bytes(folder, seed=n, epsg=32632) for n in (2, 3)}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery(tmp_path_factory.mktemp("nursery") / "log.txt")
    yield made
    made.close()


@pytest.fixture
def backend(files: dict[str, bytes]) -> Iterator[FakeBackend]:
    with fake_backend() as running:
        running.default = Script(states=("running", "finished"), assets=files)
        running.page = 50
        yield running


def catalogue(folder: Path) -> dict[str, Any]:
    """Return all documents of the collection, without times and the back-end's job ids."""
    stac = folder / "out" / "stac"
    return {
        path.relative_to(stac).as_posix(): _timeless(_content(path))
        for path in stac.rglob("*")
        if path.is_file()
    }


def _content(path: Path) -> Any:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return json.loads(path.read_text())


def _timeless(document: Any) -> Any:
    if isinstance(document, str) and "/provenance/" in document:
        return re.sub(r"_j-\d+_", "_", document)
    if isinstance(document, dict):
        return {k: _timeless(v) for k, v in document.items() if k not in ("created", "updated")}
    return [_timeless(each) for each in document] if isinstance(document, list) else document


def tree(folder: Path) -> dict[str, bytes]:
    """Return all result files, also those in quarantine."""
    found = [*(folder / "out").glob("job_*/*"), *(folder / "out").glob("quarantine/job_*/*")]
    return {
        path.relative_to(folder).as_posix(): re.sub(rb'"j-\d+"', b"", path.read_bytes())
        for path in found
        if path.suffix != ".part"
    }


def account(folder: Path) -> Any:
    """Return what became of each sample, but for the ids of the jobs, which are the back-end's."""
    with RunFolder(folder / "out", folder / "tracker.csv") as run:
        kept = [dataclasses.astuple(sample) for sample in run.samples()]
    table = pd.read_parquet(folder / "out" / "samples.parquet")
    shown = table[[field.name for field in dataclasses.fields(Sample)]].astype(object)
    assert [tuple(row) for row in shown.where(shown.notna(), None).to_numpy()] == kept
    return kept


def check_quarantine(folder: Path) -> None:
    """Check that each file there has its reason; one that has none yet is nothing."""
    for path in (folder / "out").glob("quarantine/job_*/*.nc"):
        reason = json.loads(path.with_name(f"{path.name}.reason.json").read_text())
        assert reason["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def check_provenance(folder: Path) -> None:
    """Check that each job has its document, and each item leads to one."""
    documents = list((folder / "out" / "provenance").iterdir())
    assert len(documents) == JOBS
    rows = {json.loads(path.read_text())["input"]["row"] for path in documents}
    assert rows == set(range(JOBS))
    for path in (folder / "out" / "stac" / "items").iterdir():
        links = json.loads(path.read_text())["links"]
        (href,) = [link["href"] for link in links if link["rel"] == "processing-expression"]
        assert (path.parent / href).is_file()


def check_store(folder: Path) -> None:
    path = folder / "tracker.csv.sqlite"
    if path.exists():
        with closing(sqlite3.connect(path)) as store:
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    csv = folder / "tracker.csv"
    if csv.exists():
        found = pd.read_csv(csv)
        assert list(found.geometry) == list(table(JOBS).geometry)


@pytest.mark.parametrize("life", range(LIVES))
def test_killed_again_and_again(
    tmp_path: Path,
    backend: FakeBackend,
    nursery: Nursery,
    files: dict[str, bytes],
    bad_files: dict[str, bytes],
    undisturbed: dict[tuple[bool, bool], tuple[dict[str, Any], dict[str, bytes], Any]],
    life: int,
) -> None:
    rewrite, gated = bool(life % 2), life in GATED
    if gated:
        backend.default = replace(backend.default, assets=files | bad_files)
    chance = random.Random(life)
    order = {
        "folder": str(tmp_path), "url": backend.url, "jobs": JOBS, "rewrite": rewrite,
        "gated": gated,
    }  # fmt: skip
    documents, whole, samples = undisturbed[rewrite, gated]
    killed, done = 0, False
    for _ in range(5 * KILLS):
        place = "event" if done else chance.choice(tuple(MOST))
        # Early moments are likelier: what a run begins with is done in each.
        most = 60 if done else MOST[place]
        n = most * chance.random() ** 2
        status = nursery.run(place, n if place == "seconds" else 1 + int(n), **order)
        assert status <= 0, nursery.log.read_text()
        killed, done = killed + (status < 0), done or status == 0
        check_store(tmp_path)
        check_quarantine(tmp_path)
        for name, content in tree(tmp_path).items():
            # A file that the action rewrites in place may be half rewritten, no other.
            assert rewrite or "label" in name or content == whole[name], name
        if killed == KILLS:
            break
    assert killed == KILLS
    assert nursery.run(**order) == 0, nursery.log.read_text()
    assert backend.created() == backend.started() == {f"job {row}": 1 for row in range(JOBS)}
    assert set(backend.graphs().values()) == {1}
    rows = pd.read_csv(tmp_path / "tracker.csv")
    assert list(rows.status) == ["error" if gated else "finished"] * JOBS
    assert list(rows.title) == list(table(JOBS).title) and rows.id.is_unique
    assert tree(tmp_path) == whole
    assert catalogue(tmp_path) == documents
    assert account(tmp_path) == samples
    check_provenance(tmp_path)
    check_store(tmp_path)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and "out" not in path.parts}
    assert left <= {"tracker.csv", "tracker.csv.sqlite", "tracker.csv.lock"}
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not (tmp_path / "out" / ".downloads").exists()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    nursery: Nursery,
    files: dict[str, bytes],
    bad_files: dict[str, bytes],
) -> dict[tuple[bool, bool], tuple[dict[str, Any], dict[str, bytes], Any]]:
    """Return catalogue, files and samples of a run that nobody kills."""
    found = {}
    for how in product((False, True), repeat=2):
        rewrite, gated = how
        folder = tmp_path_factory.mktemp("undisturbed")
        with fake_backend() as backend:
            assets = files | (bad_files if gated else {})
            backend.default = Script(states=("running", "finished"), assets=assets)
            order = {"folder": str(folder), "url": backend.url, "jobs": JOBS}
            status = nursery.run(**order, rewrite=rewrite, gated=gated)
        assert status == 0, nursery.log.read_text()
        found[how] = catalogue(folder), tree(folder), account(folder)
        # Each file has a label, or its reason, beside it.
        assert len(found[how][1]) == 2 * len(assets) * JOBS
        assert {state for *_, state, _, _ in found[how][2]} == {"rejected" if gated else "received"}
    return found
