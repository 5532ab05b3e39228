"""The folder of a large run, made through the job store: all kinds of jobs, no file of a sample."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd

from openeo_gfmap.manager import run_notes
from openeo_gfmap.manager.job_store import Item
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.ledger import Sample, SampleState
from openeo_gfmap.manager.lifecycle import Job, JobStatus
from openeo_gfmap.manager.tracker import Tracker

#: Names and texts from outside, as bad as they come.
NASTY = "</script><img src=x onerror=\"document.title='owned'\"><!-- \u2028 {{ 7*7 }} & 'quoted'"

CLASSES = {
    "maize": 30, "winter wheat": 25, "grassland": 15, "rapeseed": 9, "potatoes": 8, "sugar beet": 6,
    "vineyard": 4, "sunflower": 2, "hop": 1,
}  # fmt: skip
REGIONS = [(4.5, 51.0), (1.6, 48.2), (-4.6, 41.7), (11.3, 48.6), (19.5, 52.1), (26.0, 44.6)]
FAILURES = [
    (ErrorKind.OUT_OF_MEMORY, "Exit code is 143: the container was killed"),
    (ErrorKind.TRANSIENT, "ExecutorLostFailure: worker 17 heartbeat timed out"),
    (ErrorKind.BAD_INPUT, "NoDataAvailable: there is no data available for the given extents"),
]
GAP = "gate largest-gap: 71 days without a clear date, at most 60 are allowed"


def feature(name: str, label: str, x: float, y: float) -> dict[str, Any]:
    corners = [[x, y], [x + 0.006, y], [x + 0.006, y + 0.004], [x, y + 0.004], [x, y]]
    return {
        "type": "Feature",
        "properties": {"sample_id": name, "croptype_name": label},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }


def collections(jobs: int, each: int, chance: random.Random) -> list[str]:
    """Return a feature collection for each job; the first sample has the worst of names."""
    found = []
    for row in range(jobs):
        x, y = (c + chance.uniform(-1.6, 1.6) for c in REGIONS[row % len(REGIONS)])
        labels = chance.choices(list(CLASSES), list(CLASSES.values()), k=each)
        features = [
            feature(
                f"2021_{row:04}_{i:02}", label,
                round(x + chance.uniform(-0.1, 0.1), 5), round(y + chance.uniform(-0.07, 0.07), 5),
            )
            for i, label in enumerate(labels)
        ]  # fmt: skip
        if row == 0:
            features[0]["properties"] |= {"sample_id": NASTY, "croptype_name": NASTY}
        found.append(json.dumps({"type": "FeatureCollection", "features": features}))
    return found


def item(path: str, dates: list[str]) -> Item:
    dimension = {"type": "temporal", "values": dates}
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": path.replace("/", "_"), "links": [],
        "geometry": None, "properties": {"datetime": f"{dates[0]}T00:00:00Z"},
        "assets": {"sentinel2": {"href": path, "cube:dimensions": {"t": dimension}}},
    }  # fmt: skip


def job_of(row: int, chance: random.Random, *, unfinished: bool) -> Job:
    facts: dict[str, Any] = {
        "backend": "cdse" if row % 3 else "terrascope", "id": f"j-26112{row:05}",
        "title": f"GFMAP_{row}", "start_time": f"2026-11-{1 + row % 25:02}T08:{row % 60:02}:00Z",
    }  # fmt: skip
    spent = {"costs": round(chance.lognormvariate(1.2, 0.5), 2),
             "duration": f"{chance.lognormvariate(6.3, 0.6):.0f} seconds"}  # fmt: skip
    if row == 0 or row % 17 == 3:
        kind, message = FAILURES[row % len(FAILURES)]
        message = NASTY if row == 0 else message
        return Job(row, JobStatus.ERROR, message=message, kind=kind, **facts, **spent)
    if unfinished and row % 11 == 5:
        return Job(row, JobStatus.RUNNING, **facts)
    if unfinished and row % 29 == 7:
        return Job(row)
    return Job(row, JobStatus.FINISHED, **facts, **spent)


def outcome(sample: Sample, job: Job) -> Sample:
    """Return what becomes of a sample; one in 23 of finished jobs is rejected, one in 31 lost."""
    state, reason, path = SampleState.RECEIVED, None, f"2021/{sample.row}/{sample.feature}.nc"
    if job.status is JobStatus.ERROR:
        state, reason, path = SampleState.MISSING, job.message, None
    elif job.status is not JobStatus.FINISHED:
        state, path = SampleState.OPEN, None
    elif (sample.row + sample.feature) % 23 == 4:
        state, reason, path = SampleState.REJECTED, GAP, f"quarantine/{path}"
    elif (sample.row + 3 * sample.feature) % 31 == 9:
        state, reason, path = SampleState.MISSING, "the job made no file for it", None
    named = (sample.row, sample.feature, sample.sample_id, sample.sensor)
    return Sample(*named, state=state, reason=reason, path=path)


def make_run(folder: Path, *, jobs: int = 500, each: int = 20, unfinished: bool = False) -> Path:
    """Make a run of jobs with that many samples each; the same each time."""
    chance = random.Random(5)
    table = pd.DataFrame({"geometry": collections(jobs, each, chance)})
    with Tracker(folder / "job_tracker.csv", table, "sentinel2") as tracker:
        store = tracker.store
        with store.transaction():
            run_notes.begin(
                store,
                {"recipe": "Sentinel2Patches", "bands": ["S2-L2A-B04", "S2-L2A-B08"],
                 "note": NASTY, "parallel_jobs": {"cdse": 20, "terrascope": 10}},
            )  # fmt: skip
            for row in range(jobs):
                job = job_of(row, chance, unfinished=unfinished)
                if row % 41 == 1:
                    store.keep(Job(row, JobStatus.ERROR, "cdse", id=f"j-old-{row}", costs=2.5))
                samples = [outcome(sample, job) for sample in store.samples_of(row)]
                store.save(job)
                store.set_samples(row, samples)
                store.set_items(row, [
                    item(str(sample.path), [f"2021-{month:02}-{day:02}" for month in range(3, 11)
                                            for day in chance.sample(range(1, 29), 4)])
                    for sample in samples if sample.state is SampleState.RECEIVED
                ])  # fmt: skip
            if not unfinished:
                run_notes.end(store)
    return folder
