"""What a job costs in requests, statements and bytes, counted at two sizes of a real run."""

from __future__ import annotations

import importlib
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from openeo_gfmap.manager import packing
from openeo_gfmap.manager.sqlite_store import SqliteJobStore
from openeo_gfmap.stac import tree
from support.patches import patch_bytes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("bench_manager")


@dataclass
class Counted:
    """What a run took.

    Attributes
    ----------
    requests
        By endpoint, without the log-in.
    statements
        SQL statements, those of all transactions.
    unpacked
        Rows, and what jobs have of files, items or samples, that were read from the store.
    items
        STAC files that were written.
    store
        Bytes of the store.
    """

    requests: dict[str, int]
    statements: int
    unpacked: int
    items: int
    store: int


def count(bench: ModuleType, folder: Path, jobs: int) -> Counted:
    import manager_run
    import openeo

    folder.mkdir()
    result = folder / "result.nc"
    result.write_bytes(patch_bytes(folder))
    counts = {"statements": 0, "unpacked": 0, "items": 0}
    with pytest.MonkeyPatch.context() as patch, bench.back_end(result) as url:

        def counted(owner: object, name: str, what: str) -> None:
            whole = getattr(owner, name)

            def call(*args: object, **kwargs: object) -> object:
                counts[what] += 1
                return whole(*args, **kwargs)

            patch.setattr(owner, name, call)

        def count_statement(_: str) -> None:
            counts["statements"] += 1

        open_ = SqliteJobStore.__init__

        def opened(store: SqliteJobStore, path: Path) -> None:
            open_(store, path)
            store._db.set_trace_callback(count_statement)

        patch.setattr(SqliteJobStore, "__init__", opened)
        counted(packing, "_plain", "unpacked")
        counted(tree, "_replace", "items")
        work = folder / "work"
        done = manager_run.run_ours(manager_run.make_table(jobs), openeo.connect(url), work)
        assert done == jobs
        with urllib.request.urlopen(f"{url}/counts", timeout=30) as response:
            requests = json.load(response)["requests"]
    return Counted(
        {name: asked for name, asked in requests.items() if "jobs" in name or "files" in name},
        **counts,
        store=(work / "jobs.csv.sqlite").stat().st_size,
    )


def test_a_job_costs_the_same_however_many_there_are(bench: ModuleType, tmp_path: Path) -> None:
    few, many = (count(bench, tmp_path / str(jobs), jobs) for jobs in (20, 80))
    for counted, jobs in ((few, 20), (many, 80)):
        assert sum(counted.requests.values()) <= 10 * jobs
        # Each of these once a job, or a file, and no more.
        for endpoint in ("POST /jobs", "POST /jobs/{id}/results", "GET /jobs/{id}/results"):
            assert counted.requests[endpoint] == jobs
        assert counted.requests["GET /files/{id}/{n}"] == 3 * jobs
        assert counted.items == 3 * jobs + 1
        # A row for the creation, for the files (unless it is still at hand) and, once, for the
        # CSV; all files for the action, all items for STAC; the samples when files came, when they
        # were done, and for their table.
        assert counted.unpacked <= (2 + 1 + 1 + 1 + 3) * jobs
    assert many.statements / 80 <= few.statements / 20 * 1.2
    assert many.store / 80 <= few.store / 20 * 1.2
