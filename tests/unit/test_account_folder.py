"""A run's folder is read without a change to it, also while somebody writes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from openeo_gfmap.account import RunFolder, SampleState, Sums
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.tracker import Tracker


def table(*labels: str) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": list(labels), "recipe": "s2"})


def test_what_the_store_holds_is_shown(tmp_path: Path) -> None:
    with Tracker(tmp_path / "job_tracker.csv", table("a", "b")) as tracker:
        tracker.store.save(Job(0, JobStatus.FINISHED, "local", id="j-1", costs=3.0))
        tracker.store.keep(Job(0, JobStatus.ERROR, "local", id="j-0", costs=2.0))
        with RunFolder(tmp_path) as run:  # while the tracker is open
            assert run.running()
            assert str(os.getpid()) in str(run.holder())
            assert [job.id for job in run.jobs()] == ["j-1", None]
            assert [job.id for job in run.past_jobs()] == ["j-0"]
            assert [job.id for job in run.attempts(0)] == ["j-0", "j-1"]
            assert [job.id for job in run.attempts(1)] == [None]
            with pytest.raises(InputError, match="no row 2; the tracker has rows 0 to 1"):
                run.attempts(2)
            assert run.columns() == ["sample_id", "recipe"]
            assert run.record(1).values["sample_id"] == "b"
            assert [s.sample_id for s in run.samples()] == ["a", "b"]
            assert {s.sensor for s in run.samples()} == {"s2"}
            assert run.sums() == Sums(open=2)
            assert run.costs().spent == 5.0
            assert run.costs().by_recipe == {"s2": 5.0}
            # A change by the writer is seen at the next look.
            first, *_ = tracker.store.samples()
            tracker.store.set_samples(0, [replace(first, state=SampleState.RECEIVED)])
            assert run.sums() == Sums(received=1, open=1)
    with RunFolder(tmp_path) as run:
        assert not run.running()
        assert run.asked() == {}


def test_nothing_is_written(tmp_path: Path) -> None:
    with Tracker(tmp_path / "jobs.csv", table("a")):
        pass
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with RunFolder(tmp_path) as run:
        assert run.sums().expected == 1
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before


def test_a_tracker_elsewhere_is_named(tmp_path: Path) -> None:
    with Tracker(tmp_path / "elsewhere" / "t.csv", table("a")):
        pass
    with RunFolder(tmp_path, tmp_path / "elsewhere" / "t.csv") as run:
        assert run.output_dir == tmp_path
        assert len(run.jobs()) == 1


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        RunFolder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no tracker"):
        RunFolder(tmp_path)
    for name in ("a.csv", "b.csv"):
        with Tracker(tmp_path / name, table("a")):
            pass
    with pytest.raises(InputError, match=r"several trackers \(a.csv, b.csv\)"):
        RunFolder(tmp_path)
    (tmp_path / "job_tracker.csv.sqlite").write_text("no database at all, whatever its name" * 40)
    with pytest.raises(InputError, match="is not a job store"):
        RunFolder(tmp_path)


def test_a_job_whose_action_raised_counts_among_the_errors(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from openeo_gfmap.cli import app

    with Tracker(tmp_path / "job_tracker.csv", table("a", "b")) as tracker:
        raised = Job(0, JobStatus.POSTPROCESSING_ERROR, "local", id="j-1", kind="callback")
        tracker.store.save(raised)
    result = CliRunner().invoke(app, ["status", str(tmp_path), "--json"])
    assert result.exit_code == 1
    assert [(e["kind"], e["jobs"]) for e in json.loads(result.stdout)["errors"]] == [
        ("callback", 1)
    ]
    said = CliRunner().invoke(app, ["status", str(tmp_path)]).stdout
    assert "0 of 2 samples received, 2 open." in said
