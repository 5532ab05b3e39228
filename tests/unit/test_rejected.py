"""What is asked for again, of what gates have rejected."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from openeo_gfmap.account import RunFolder
from openeo_gfmap.account.rejected import Again, to_ask_again
from openeo_gfmap.manager import run_notes
from openeo_gfmap.manager.ledger import Sample, SampleState
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.quarantine import Quarantine
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.quality import Finding, QualityGates

OLD = QualityGates(shape=(4, 4), min_dates=5, values={"B": (None, 3)})
NEW = QualityGates(shape=(4, 4), min_dates=3, values={"B": (None, 3)})

#: What became of the samples of each row: (r)eceived, (m)issing, rejected under (o)ld or (n)ew
#: gates, or without a (f)ile that says which.
ROWS = ["rr", "ro", "oo", "om", "m", "rn", "f", "no"]
STATES = {"r": SampleState.RECEIVED, "m": SampleState.MISSING}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with Tracker(tmp_path / "job_tracker.csv", pd.DataFrame({"name": ROWS})) as tracker:
        store = tracker.store
        # The last run had the new gates, which holds for files that do not tell.
        run_notes.begin(store, {"gates": NEW.to_dict()})
        for row, marks in enumerate(ROWS):
            status = JobStatus.FINISHED if set(marks) == {"r"} else JobStatus.ERROR
            store.save(Job(row, status=status, id=f"j{row}", backend="b"))
            samples = []
            for feature, mark in enumerate(marks):
                state = STATES.get(mark, SampleState.REJECTED)
                path = f"{row}/{feature}.nc"
                if mark in "on":
                    (tmp_path / "file").touch()
                    gates = {"o": OLD, "n": NEW}[mark]
                    findings = [Finding("min_dates", "has 1 date")]
                    path = Quarantine(tmp_path, gates).put(tmp_path / "file", path, findings)
                elif mark == "f":
                    path = f"quarantine/{path}"
                samples.append(Sample(row, feature, f"{row}{mark}", "s2", state, "why", path))
            store.set_samples(row, samples)
    return tmp_path


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        # Under the old gates: rows with other samples to ask for, and those rejected by the new.
        (OLD, Again(frozenset({3, 4, 5, 6, 7}), rejected=5, spared=3)),
        (NEW, Again(frozenset({1, 2, 3, 4, 7}), rejected=6, spared=2)),
        (None, Again(frozenset({1, 2, 3, 4, 5, 6, 7}), rejected=8, spared=0)),
    ],
    ids=["old", "new", "none"],
)
def test_only_what_other_gates_have_rejected(
    gates: QualityGates | None, expected: Again, run: Path
) -> None:
    with RunFolder(run) as folder:
        assert to_ask_again(folder, gates) == expected


def test_all_that_failed_where_somebody_insists(run: Path) -> None:
    with RunFolder(run) as folder:
        found = to_ask_again(folder, NEW, rejected=True)
    assert found == Again(frozenset(range(1, len(ROWS))), rejected=8, spared=0)
