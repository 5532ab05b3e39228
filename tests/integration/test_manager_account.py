"""A run accounts for each sample: in the store, as a table, in the log, in quarantine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pystac
import pytest

from openeo_gfmap.account import RunFolder, Sums, missing_jobs
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.policy import Again, RetryPolicy
from openeo_gfmap.quality import QualityGates
from support.fake_backend import FakeBackend, Script, fake_backend
from support.manager_run import QUICK, manager, start_job
from support.patches import patch_bytes

GATES = QualityGates(shape=(8, 8))
OTHER_GATES = QualityGates(bands=("S2-L2A-B04",))


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    with fake_backend() as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Files of four features: the second is too large, the third has none."""
    return {
        f"openEO_{n}.nc": patch_bytes(tmp_path, seed=n, size=10 if n == 1 else 8) for n in (0, 1, 3)
    }


def table(*rows: str) -> pd.DataFrame:
    """Return a row for each word, whose features are its letters."""
    cells = [
        {
            "type": "FeatureCollection",
            "features": [
                {"type": "Feature", "geometry": None, "properties": {"sample_id": letter}}
                for letter in word
            ],
        }
        for word in rows
    ]
    return pd.DataFrame(
        {
            "title": list(rows),
            "geometry": [json.dumps(cell) for cell in cells],
            "start_date": "2023-03-01",
            "end_date": "2023-03-15",
        }
    )


def run(folder: Path, backend: FakeBackend, df: pd.DataFrame, **settings: Any) -> Any:
    made = manager(folder, backend.url, **settings)
    made.setup_stac("sentinel2")
    made.run_jobs(df, start_job, folder / "out" / "job_tracker.csv")
    return made


def gated(gates: QualityGates | None = GATES, **others: Any) -> ManagerOptions:
    settings = {name: getattr(QUICK, name) for name in ("settle", "longest_wait")}
    return ManagerOptions(gates=gates, **settings, **others)


def states(folder: Path) -> dict[str, tuple[str, str | None]]:
    found = pd.read_parquet(folder / "out" / "samples.parquet")
    return {
        sample: (state, reason if isinstance(reason, str) else None)
        for sample, state, reason in zip(found.sample_id, found.state, found.reason, strict=True)
    }


def items(folder: Path) -> list[pystac.Item]:
    path = folder / "out" / "stac" / "collection.json"
    return list(pystac.Collection.from_file(str(path)).get_items())


def tree(folder: Path) -> set[str]:
    found = (path for path in (folder / "out").rglob("*") if path.is_file())
    names = {path.relative_to(folder / "out").as_posix() for path in found}
    return {name for name in names if name.split("/")[0] not in ("stac", "provenance")}


# ---------------------------------------------------------------------------------- the whole


def test_each_sample_is_accounted_for(
    tmp_path: Path,
    backend: FakeBackend,
    files: Mapping[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend.default = Script(assets=files)
    backend.scripts["efgh"] = Script(states=("running", "error"))
    caplog.set_level("INFO", "openeo_gfmap.manager")
    made = run(tmp_path, backend, table("abcd", "efgh"), options=gated())
    assert made.sums() == Sums(received=2, missing=5, rejected=1)
    assert not made.sums().complete
    found = states(tmp_path)
    assert {found[name] for name in "ad"} == {("received", None)}
    assert found["b"] == ("rejected", "has 10 x 10 pixels, expected 8 x 8")
    assert found["c"] == ("missing", "the job made no file for it")
    assert {state for state, _ in map(found.get, "efgh")} == {"missing"}
    assert "failed on fake" in found["e"][1]
    account = pd.read_parquet(tmp_path / "out" / "samples.parquet")
    assert list(account.columns) == [
        "row", "feature", "sample_id", "sensor", "state", "reason", "path", "backend", "job_id",
        "job_status", "attempt", "error_kind",
    ]  # fmt: skip
    assert list(account.path.dropna()) == [
        "abcd/patch_0.nc", "quarantine/abcd/patch_1.nc", "abcd/patch_3.nc",
    ]  # fmt: skip
    assert set(account.sensor) == {"sentinel2"} and set(account.job_status) == {"error"}
    with RunFolder(tmp_path / "out") as folder:
        assert folder.sums() == made.sums()
        (first, _) = folder.jobs()
        assert (first.status.value, first.kind) == ("error", "results")
        assert first.message == (
            "1 of 3 files are rejected: openEO_1.nc has 10 x 10 pixels, expected 8 x 8; "
            "1 of 4 features have no file: 2"
        )
        asked = folder.asked()
        assert asked["constellation"] == "sentinel2" and asked["gates"] == {"shape": [8, 8]}
        assert asked["backends"]["fake"]["url"] == backend.url
        assert len(asked["runs"]) == 1 and asked["runs"][0]["began"] <= asked["runs"][0]["ended"]
        rows = missing_jobs(table("abcd", "efgh"), folder)
        wanted = [
            [f["properties"].get("extract", True) for f in json.loads(cell)["features"]]
            for cell in rows.geometry
        ]
        assert wanted == [[False, True, True, False], [True] * 4]
    assert len(items(tmp_path)) == 2
    *_, first, second, third, fourth, _ = [record.getMessage() for record in caplog.records]
    assert first.startswith("2 of 8 samples received, 5 missing, 1 rejected; the reason of each ")
    assert second.startswith("  4 of them: job j-")
    assert {line[:12] for line in (third, fourth)} == {"  1 of them:"}


def test_a_run_that_brought_all_says_so_in_a_line(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.default = Script(assets={"openEO_0.nc": patch_bytes(tmp_path)})
    caplog.set_level("INFO", "openeo_gfmap.manager")
    made = run(tmp_path, backend, table("a", "b"), options=gated())
    assert made.sums() == Sums(received=2) and made.sums().complete
    assert caplog.records[-1].getMessage().startswith("2 of 2 samples received; see ")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert not (tmp_path / "out" / "quarantine").exists()


# --------------------------------------------------------------------------------- quarantine


def test_a_rejected_file_waits_in_quarantine_until_it_is_good_enough(
    tmp_path: Path, backend: FakeBackend, files: Mapping[str, bytes]
) -> None:
    backend.default = Script(assets=files)
    run(tmp_path, backend, table("abcd"), options=gated())
    put_away = tmp_path / "out" / "quarantine" / "abcd" / "patch_1.nc"
    assert put_away.read_bytes() == files["openEO_1.nc"]
    reason = json.loads(put_away.with_name("patch_1.nc.reason.json").read_text())
    assert reason["findings"] == [
        {"gate": "shape", "message": "has 10 x 10 pixels, expected 8 x 8"}
    ]
    assert (reason["path"], reason["row"], reason["job_id"]) == ("abcd/patch_1.nc", 0, "j-0000")
    assert reason["size"] == len(files["openEO_1.nc"]) and len(reason["sha256"]) == 64
    before = tree(tmp_path)
    assert "abcd/patch_1.nc" not in before
    # The same again, and again with a restart: the file is as it was.
    run(tmp_path, backend, table("abcd"), options=gated())
    run(tmp_path, backend, table("abcd"), options=gated(), restart_failed=True)
    assert tree(tmp_path) == before and len(backend.jobs) == 1
    assert states(tmp_path)["b"][0] == "rejected"
    # Other gates: it passes, and no trace of it stays in quarantine.
    made = run(tmp_path, backend, table("abcd"), options=gated(OTHER_GATES), restart_failed=True)
    assert made.sums() == Sums(received=3, missing=1)
    assert "abcd/patch_1.nc" in tree(tmp_path)
    assert not [name for name in tree(tmp_path) if name.startswith("quarantine")]
    # And back: what was good enough once is not left among the good ones.
    run(tmp_path, backend, table("abcd"), options=gated(), restart_failed=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("all_came", [True, False])
def test_what_gates_reject_is_not_fetched_again_unless_more_is_missing(
    tmp_path: Path, backend: FakeBackend, files: Mapping[str, bytes], all_came: bool
) -> None:
    """The same file would be rejected again; the third feature's may come yet."""
    backend.default = Script(assets=files)
    retry = RetryPolicy(max_attempts=2, remedies={ErrorKind.RESULTS: Again()})
    options = gated(retry=retry, features_without_file=all_came)
    run(tmp_path, backend, table("abcd"), options=options)
    with RunFolder(tmp_path / "out") as made:
        (job,) = made.jobs()
    times, kind = (1, "rejected") if all_came else (2, "results")
    assert (job.status.value, job.kind, job.retries) == ("error", kind, times - 1)
    assert backend.requests["GET /jobs/{id}/results"] == times and len(backend.jobs) == 1
    assert states(tmp_path)["b"][0] == "rejected"


def test_nothing_good_enough(tmp_path: Path, backend: FakeBackend) -> None:
    """The action has nothing to do then, and is not asked."""
    asked: list[Any] = []

    def action(found: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        asked.append(row.title)
        return found

    backend.default = Script(assets={"openEO_0.nc": patch_bytes(tmp_path, size=9)})
    made = run(tmp_path, backend, table("a"), options=gated(), post_job_action=action)
    assert made.sums() == Sums(rejected=1)
    assert asked == [] and items(tmp_path) == []


def test_a_file_that_is_no_cube_is_rejected(tmp_path: Path, backend: FakeBackend) -> None:
    backend.default = Script(assets={"openEO_0.csv": b"a,b\n1,2\n"})
    assert run(tmp_path, backend, table("a"), options=gated()).sums() == Sums(rejected=1)
    assert run(tmp_path / "free", backend, table("a"), options=gated(None)).sums().complete


# -------------------------------------------------------------------------------- provenance


def test_items_lead_to_what_they_were_made_of(
    tmp_path: Path, backend: FakeBackend, files: Mapping[str, bytes]
) -> None:
    backend.default = Script(assets=files)
    df = table("abcd").assign(extra="https://user:pw@store/x?X-Amz-Signature=abc&y=1")
    run(tmp_path, backend, df)
    for item in items(tmp_path):
        (link,) = item.get_links("processing-expression")
        assert link.media_type == "application/vnd.openeo+json;type=process"
        document = json.loads(Path(link.get_absolute_href() or "").read_text())
    assert document["process_graph"] == {
        "add1": {"process_id": "add", "arguments": {"x": 1, "y": "abcd"}, "result": True}
    }
    assert document["job"]["id"] == "j-0000" and document["job"]["status"] == "finished"
    assert document["job"]["usage"]["cpu"] == {"value": 12, "unit": "cpu-seconds"}
    assert document["backend"] == {"name": "fake", "url": backend.url}
    assert document["input"]["values"]["geometry"] == df.geometry[0]
    assert document["input"]["values"]["extra"] == "https://store/x"
    assert document["taken_out"] == ["input/values/extra"]
    assert {"openeo-gfmap", "openeo", "python"} <= document["software"].keys()


def test_failed_jobs_have_their_documents_too(tmp_path: Path, backend: FakeBackend) -> None:
    backend.scripts["a"] = Script(states=("running", "error"))
    backend.scripts["b"] = Script(states=("canceled",))
    backend.scripts["c"] = Script(start_failures=99, start_status=400)
    run(tmp_path, backend, table("a", "b", "c"))
    documents = [
        json.loads(path.read_text())
        for path in sorted((tmp_path / "out" / "provenance").glob("*.json"))
    ]
    assert [d["process_graph"]["add1"]["arguments"]["y"] for d in documents] == ["a", "b", "c"]
    assert [d["job"].get("status") for d in documents] == ["error", "canceled", None]


def test_the_log_of_a_finished_job_is_kept_when_it_is_asked_for(
    tmp_path: Path, backend: FakeBackend, files: Mapping[str, bytes]
) -> None:
    backend.default = Script(assets=files, logs=({"level": "info", "message": "all is well"},))
    run(tmp_path, backend, table("abcd"), options=gated(None, logs_of_finished=True))
    (log,) = (tmp_path / "out" / "provenance").glob("*.log")
    assert "all is well" in log.read_text()
    assert log.with_suffix(".json").is_file()


# ------------------------------------------------------------------------------- from elsewhere


def test_another_process_can_look_while_the_run_goes_on(
    tmp_path: Path, backend: FakeBackend, files: Mapping[str, bytes]
) -> None:
    backend.default = Script(assets=files)
    looked: list[str] = []
    program = (
        "import sys; from openeo_gfmap.account import RunFolder\n"
        "with RunFolder(sys.argv[1]) as run: print(run.running(), run.sums().expected)"
    )

    def action(found: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        arguments = [sys.executable, "-c", program, str(tmp_path / "out")]
        looked.append(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
        return found

    run(tmp_path, backend, table("abcd"), post_job_action=action)
    assert looked == ["True 4\n"]
