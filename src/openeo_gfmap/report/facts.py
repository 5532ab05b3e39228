"""What the page of a run shows, gathered from its folder: plain values, compact enough for a page.

Tables are lists of columns, since a page for 10,000 samples is sent as a file; texts that recur,
such as reasons, are numbers into a list.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

from openeo_gfmap.account import RunFolder
from openeo_gfmap.account.advice import advice_for, kind_of
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.job_store import Item, Record
from openeo_gfmap.manager.ledger import Sample, SampleState, commonest, extracted_features
from openeo_gfmap.manager.lifecycle import FINAL, Job, JobStatus
from openeo_gfmap.manager.register import UNSUCCESSFUL
from openeo_gfmap.recipes.labels import LABEL_COLUMNS, LABEL_NAME_COLUMNS
from openeo_gfmap.report.patches import open_patch

__all__ = ["as_json", "gather"]

STATES: Final = tuple(SampleState)
JOB_STATES: Final = ("finished", "partly", "failed", "active", "waiting", "skipped")
_MOST_SAMPLES: Final = 40_000  # on the map and in the table; the sums count all
_EXAMPLES: Final = 3  # messages of each kind of error
_REASONS: Final = 12  # of samples that are missing or rejected
_LOOKED_AT: Final = 60  # patches that are opened to see how cloudy they are
_TEXT: Final = 300  # characters of a message
_UNITS: Final = {"seconds": 1, "s": 1, "minutes": 60, "hours": 3600}

_Point = tuple[float, float]


def gather(run: RunFolder, *, clouds: bool = True) -> dict[str, Any]:
    """Return what the page shows.

    Parameters
    ----------
    run : RunFolder
        The run.
    clouds : bool
        Open up to 60 patches, evenly chosen, to see how much of each month is hidden by clouds.
    """
    jobs, sums, costs = run.jobs(), run.sums(), run.costs()
    places = {row: _place(record) for row, record in enumerate(run.records())}
    samples = list(run.samples())
    asked = run.asked()
    months, looked_at = _months(run, clouds=clouds)
    return {
        "folder": str(run.output_dir),
        "tracker": str(run.tracker),
        "made": datetime.now(UTC).isoformat(timespec="minutes"),
        "running": run.holder(),
        "sums": {state.value: getattr(sums, state.value) for state in STATES}
        | {"expected": sums.expected},
        "asked": {key: value for key, value in asked.items() if key != "runs"},
        "runs": asked.get("runs", []),
        "jobs": _jobs(jobs, samples),
        "samples": _samples(samples, places),
        "errors": _errors(jobs),
        "reasons": _reasons(samples),
        "classes": _classes(samples, places),
        "months": months,
        "looked_at": looked_at,
        "costs": {
            "spent": costs.spent, "left": costs.left, "by_backend": dict(costs.by_backend),
            "by_recipe": dict(costs.by_recipe),
            "past": sum(job.costs or 0 for job in run.past_jobs()),
        },
    }  # fmt: skip


class _Place:
    """Where the samples of a job are, and what they are labelled as; both by feature."""

    __slots__ = ("labels", "points")

    def __init__(self, points: list[_Point | None], labels: list[str | None]):
        self.points = points
        self.labels = labels


def _place(record: Record) -> _Place:
    geometry = record.values.get("geometry")
    features = extracted_features(geometry)
    if features is None:  # the row is the sample
        return _Place([_point(geometry)], [_label(record.values)])
    return _Place(
        [_point(feature.get("geometry")) for feature in features],
        [_label(feature.get("properties") or {}) for feature in features],
    )


def _point(geometry: Any) -> _Point | None:
    """Return the middle of the box of a geometry, longitude and latitude; None for none."""
    if not isinstance(geometry, Mapping):
        return None
    corners = list(_coordinates(geometry.get("coordinates")))
    if not corners or not all(math.isfinite(number) for number in chain(*corners)):
        return None
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return round((min(xs) + max(xs)) / 2, 4), round((min(ys) + max(ys)) / 2, 4)


def _coordinates(nested: Any) -> Iterator[tuple[float, float]]:
    if not isinstance(nested, list) or not nested:
        return
    if isinstance(nested[0], int | float):
        yield float(nested[0]), float(nested[1])
        return
    for part in nested:
        yield from _coordinates(part)


def _label(properties: Mapping[str, Any]) -> str | None:
    names = (properties.get(name) for name in (*LABEL_NAME_COLUMNS, *LABEL_COLUMNS))
    found = next((name for name in names if name not in (None, "")), None)
    return None if found is None else str(found)


class _Numbers(dict[str, int]):
    """Texts that recur, and the number of each, in the order of their first use."""

    def of(self, text: str | None) -> int | None:
        """Return the number of a text; None of none."""
        return self.setdefault(text, len(self)) if text else None


def _jobs(jobs: Sequence[Job], samples: Iterable[Sample]) -> dict[str, Any]:
    counts: dict[int, Counter[SampleState]] = defaultdict(Counter)
    for sample in samples:
        counts[sample.row][sample.state] += 1
    backends, kinds, messages = _Numbers(), _Numbers(), _Numbers()
    columns: dict[str, list[Any]] = {
        "row": [job.row for job in jobs],
        "id": [job.id for job in jobs],
        "title": [job.title for job in jobs],
        "backend": [backends.of(job.backend) for job in jobs],
        "status": [job.status.shown for job in jobs],
        "state": [JOB_STATES.index(_state(job, counts[job.row])) for job in jobs],
        "started": [job.start_time for job in jobs],
        "seconds": [_seconds(job.duration) for job in jobs],
        "costs": [job.costs for job in jobs],
        "attempt": [job.attempt for job in jobs],
        "kind": [kinds.of(_kind(job)) for job in jobs],
        "message": [messages.of((job.message or job.missing or "")[:_TEXT]) for job in jobs],
        "counts": [[counts[job.row][state] for state in STATES] for job in jobs],
    }
    return {
        **columns, "states": JOB_STATES, "backends": list(backends), "kinds": list(kinds),
        "messages": list(messages),
    }  # fmt: skip


def _failed(job: Job) -> bool:
    return job.status in UNSUCCESSFUL


def _kind(job: Job) -> str | None:
    return kind_of(job) if _failed(job) else None


def _state(job: Job, counts: Mapping[SampleState, int]) -> str:
    """Return which of `JOB_STATES` a job is in."""
    if _failed(job):
        return "failed"
    if job.status is JobStatus.FINISHED:
        lacking = counts[SampleState.MISSING] or counts[SampleState.REJECTED]
        return "partly" if lacking else "finished"
    if job.status in FINAL:
        return "skipped"
    return "waiting" if job.status is JobStatus.NOT_STARTED else "active"


def _seconds(duration: str | None) -> float | None:
    """Return the seconds of a text such as "120 seconds"; None for another unit."""
    number, _, unit = (duration or "").partition(" ")
    try:
        seconds = float(number) * _UNITS[unit or "s"]
    except (KeyError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None


def _samples(samples: Sequence[Sample], places: Mapping[int, _Place]) -> dict[str, Any]:
    """Return the samples; of very many, those not received and an even choice of the others."""
    shown = samples
    if len(samples) > _MOST_SAMPLES:
        lacking = [s for s in samples if s.state is not SampleState.RECEIVED][:_MOST_SAMPLES]
        received = [s for s in samples if s.state is SampleState.RECEIVED]
        room = _MOST_SAMPLES - len(lacking)
        shown = lacking + [received[i * len(received) // room] for i in range(room)]
        shown.sort(key=lambda sample: (sample.row, sample.feature))
    reasons, labels, sensors = _Numbers(), _Numbers(), _Numbers()
    points = [places[sample.row].points[sample.feature] for sample in shown]
    columns: dict[str, list[Any]] = {
        "id": [sample.sample_id for sample in shown],
        "row": [sample.row for sample in shown],
        "state": [STATES.index(sample.state) for sample in shown],
        "sensor": [sensors.of(sample.sensor) for sample in shown],
        "x": [point[0] if point else None for point in points],
        "y": [point[1] if point else None for point in points],
        "reason": [reasons.of((sample.reason or "")[:_TEXT]) for sample in shown],
        "label": [labels.of(places[sample.row].labels[sample.feature]) for sample in shown],
        "path": [sample.path for sample in shown],
    }
    return {
        **columns, "states": STATES, "reasons": list(reasons), "labels": list(labels),
        "sensors": list(sensors),
    }  # fmt: skip


def _errors(jobs: Iterable[Job]) -> list[dict[str, Any]]:
    kinds: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if (kind := _kind(job)) is not None:
            kinds[kind].append(job)
    return [
        {
            "kind": kind,
            "jobs": len(failed),
            "advice": advice_for(kind),
            "examples": [
                {"row": job.row, "id": job.id, "message": (job.message or "")[:_TEXT]}
                for job in failed[:_EXAMPLES]
            ],
        }
        for kind, failed in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]


def _reasons(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """Return why most samples are missing, and why most were rejected."""
    lacking: dict[SampleState, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.state in (SampleState.MISSING, SampleState.REJECTED):
            lacking[sample.state].append(sample)
    found = [
        {"state": state, "reason": reason[:_TEXT], "samples": count}
        for state, group in lacking.items()
        for reason, count in commonest(group, _REASONS)
    ]
    return sorted(found, key=lambda each: -each["samples"])


def _classes(samples: Iterable[Sample], places: Mapping[int, _Place]) -> list[dict[str, Any]]:
    """Return how many samples of each label were expected, and came; the commonest first."""
    expected: Counter[str] = Counter()
    received: Counter[str] = Counter()
    for sample in samples:
        label = places[sample.row].labels[sample.feature]
        if label is not None:
            expected[label] += 1
            received[label] += sample.state is SampleState.RECEIVED
    return [
        {"label": label, "expected": count, "received": received[label]}
        for label, count in expected.most_common()
    ]


def _months(run: RunFolder, *, clouds: bool) -> tuple[list[dict[str, Any]], int]:
    """Return for each month the dates of patches and the share that is hidden; patches opened."""
    dates: Counter[str] = Counter()
    shares: dict[str, list[float]] = defaultdict(list)
    total = run.count_items()
    chosen = {i * total // _LOOKED_AT for i in range(_LOOKED_AT)} if clouds else set()
    looked_at = 0
    for place, (_, item) in enumerate(run.items()):
        dates.update(day[:7] for day in _dates(item))
        if place in chosen:
            hidden = _hidden(run.output_dir, item)
            looked_at += bool(hidden)
            for day, share in hidden:
                shares[day[:7]].append(share)
    months = [
        {
            "month": month,
            "dates": dates[month],
            "hidden": round(math.fsum(found) / len(found), 3) if (found := shares[month]) else None,
        }
        for month in sorted(dates)
    ]
    return months, looked_at


def _dates(item: Mapping[str, Any]) -> list[str]:
    for asset in item["assets"].values():
        for dimension in (asset.get("cube:dimensions") or {}).values():
            if dimension.get("type") == "temporal":
                return [str(day) for day in dimension.get("values") or dimension.get("extent")]
    return []


def _hidden(folder: Path, item: Item) -> list[tuple[str, float]]:
    """Return the dates of a patch and the share of its pixels that cannot be seen.

    Nothing when it cannot be opened, or says nothing of clouds.
    """
    import pystac  # noqa: PLC0415

    from openeo_gfmap.stac.reading import with_absolute_assets  # noqa: PLC0415

    found = with_absolute_assets(folder / "item.json", item)
    try:
        with open_patch(pystac.Item.from_dict(found)) as patch:
            if patch.cloud_mask is None:
                return []
            days = zip(patch.dates, patch.hidden_share, strict=True)
            return [(str(day), float(share)) for day, share in days]
    except InputError:  # a patch that is gone, or is no series: `gfmap verify` tells
        return []


def as_json(facts: Mapping[str, Any]) -> str:
    """Return facts as JSON that can stand inside a page, whatever texts are in it."""
    text = json.dumps(facts, separators=(",", ":"), default=str, allow_nan=False)
    # So that no text ends the script that holds it.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
