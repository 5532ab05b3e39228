"""What the page of a run shows, gathered from its folder: plain values, compact enough for a page.

Tables are lists of columns, since a page for 10,000 samples is sent as a file; texts that recur,
such as reasons, are numbers into a list.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from openeo_gfmap.account import RunFolder
from openeo_gfmap.account.advice import advice_for
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.ledger import Sample, SampleState, extracted_features
from openeo_gfmap.manager.lifecycle import ACTIVE
from openeo_gfmap.manager.model import Job
from openeo_gfmap.manager.register import FAILED
from openeo_gfmap.recipes.labels import LABEL_COLUMNS, LABEL_NAME_COLUMNS
from openeo_gfmap.report.patches import open_patch

__all__ = ["gather"]

STATES: Final = tuple(SampleState)
_MOST_SAMPLES: Final = 50_000  # on the map and in the table; the sums count all
_EXAMPLES: Final = 3  # messages of each kind of error
_LOOKED_AT: Final = 60  # patches that are opened to see how cloudy they are
_TEXT: Final = 300  # characters of a message


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
    places = dict(_places(run))
    samples = list(run.samples())
    asked = run.asked()
    return {
        "title": run.output_dir.name,
        "folder": str(run.output_dir),
        "made": datetime.now(UTC).isoformat(timespec="minutes"),
        "running": run.holder(),
        "sums": {
            "expected": sums.expected, "received": sums.received, "missing": sums.missing,
            "rejected": sums.rejected, "open": sums.open,
        },
        "asked": {key: value for key, value in asked.items() if key != "runs"},
        "runs": asked.get("runs", []),
        "jobs": _jobs(jobs, samples, places),
        "samples": _samples(samples, places),
        "errors": _errors(jobs),
        "classes": _classes(samples, places),
        "months": _months(run, clouds=clouds),
        "costs": {
            "spent": costs.spent, "left": costs.left, "by_backend": dict(costs.by_backend),
            "by_recipe": dict(costs.by_recipe),
            "past": sum(job.costs or 0 for job in run.past_jobs()),
        },
    }  # fmt: skip


class _Place:
    """Where the samples of a job are, and what they are labelled as."""

    __slots__ = ("labels", "points")

    def __init__(self, points: list[tuple[float, float] | None], labels: list[str | None]):
        self.points = points
        self.labels = labels

    @property
    def centre(self) -> tuple[float, float] | None:
        known = [point for point in self.points if point is not None]
        if not known:
            return None
        return (
            round(sum(x for x, _ in known) / len(known), 4),
            round(sum(y for _, y in known) / len(known), 4),
        )


def _places(run: RunFolder) -> Iterator[tuple[int, _Place]]:
    for row, record in enumerate(run.records()):
        features = extracted_features(record.values.get("geometry"))
        if features is not None:
            yield row, _Place([_point(f) for f in features], [_label(f) for f in features])


def _point(feature: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the middle of the box of a geometry, longitude and latitude."""
    coordinates = list(_coordinates((feature.get("geometry") or {}).get("coordinates")))
    if not coordinates:
        return None
    xs, ys = [x for x, _ in coordinates], [y for _, y in coordinates]
    return round((min(xs) + max(xs)) / 2, 4), round((min(ys) + max(ys)) / 2, 4)


def _coordinates(nested: Any) -> Iterator[tuple[float, float]]:
    if not isinstance(nested, list) or not nested:
        return
    if isinstance(nested[0], int | float):
        yield float(nested[0]), float(nested[1])
        return
    for part in nested:
        yield from _coordinates(part)


def _label(feature: Mapping[str, Any]) -> str | None:
    properties = feature.get("properties") or {}
    names = (properties.get(name) for name in (*LABEL_NAME_COLUMNS, *LABEL_COLUMNS))
    found = next((name for name in names if name not in (None, "")), None)
    return None if found is None else str(found)


def _jobs(
    jobs: list[Job], samples: Iterable[Sample], places: Mapping[int, _Place]
) -> dict[str, list[Any]]:
    counts: dict[int, Counter[SampleState]] = defaultdict(Counter)
    for sample in samples:
        counts[sample.row][sample.state] += 1
    columns: dict[str, list[Any]] = defaultdict(list)
    for job in jobs:
        place = places.get(job.row)
        state = "failed" if job.status in FAILED else "active" if job.status in ACTIVE else ""
        for name, value in {
            "row": job.row,
            "id": job.id,
            "backend": job.backend,
            "status": job.status.shown,
            "state": state,
            "started": job.start_time,
            "seconds": _seconds(job.duration),
            "costs": job.costs,
            "attempt": job.attempt,
            "kind": job.kind,
            "message": (job.message or job.missing or "")[:_TEXT] or None,
            "counts": [counts[job.row][each] for each in STATES],
            "place": place.centre if place else None,
        }.items():
            columns[name].append(value)
    return dict(columns)


def _seconds(duration: str | None) -> float | None:
    """Return the seconds of a text such as "120 seconds"; None for another unit."""
    number, _, unit = (duration or "").partition(" ")
    try:
        return float(number) * {"seconds": 1, "s": 1, "minutes": 60, "hours": 3600}[unit or "s"]
    except (KeyError, ValueError):
        return None


def _samples(samples: list[Sample], places: Mapping[int, _Place]) -> dict[str, Any]:
    """Return the samples; of very many, those not received and an even choice of the rest."""
    shown = samples
    if len(samples) > _MOST_SAMPLES:
        lacking = [s for s in samples if s.state is not SampleState.RECEIVED][:_MOST_SAMPLES]
        received = [s for s in samples if s.state is SampleState.RECEIVED]
        room = _MOST_SAMPLES - len(lacking)
        shown = lacking + [received[i * len(received) // room] for i in range(room)]
    reasons: dict[str, int] = {}
    labels: dict[str, int] = {}
    columns: dict[str, list[Any]] = defaultdict(list)
    for sample in shown:
        place = places.get(sample.row)
        point = place.points[sample.feature] if place else None
        label = place.labels[sample.feature] if place else None
        reason = (sample.reason or "")[:_TEXT]
        columns["id"].append(sample.sample_id)
        columns["row"].append(sample.row)
        columns["state"].append(STATES.index(sample.state))
        columns["x"].append(point[0] if point else None)
        columns["y"].append(point[1] if point else None)
        columns["reason"].append(reasons.setdefault(reason, len(reasons)) if reason else None)
        columns["label"].append(labels.setdefault(label, len(labels)) if label else None)
    return {
        **columns, "reasons": list(reasons), "labels": list(labels), "shown": len(shown),
        "states": [state.value for state in STATES],
    }  # fmt: skip


def _errors(jobs: list[Job]) -> list[dict[str, Any]]:
    kinds: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.status in FAILED:
            kinds[job.kind or "unknown"].append(job)
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


def _classes(samples: Iterable[Sample], places: Mapping[int, _Place]) -> list[dict[str, Any]]:
    """Return how many samples of each label were expected, and came; the commonest first."""
    expected: Counter[str] = Counter()
    received: Counter[str] = Counter()
    for sample in samples:
        place = places.get(sample.row)
        label = place.labels[sample.feature] if place else None
        if label is not None:
            expected[label] += 1
            received[label] += sample.state is SampleState.RECEIVED
    return [
        {"label": label, "expected": count, "received": received[label]}
        for label, count in expected.most_common()
    ]


def _months(run: RunFolder, *, clouds: bool) -> list[dict[str, Any]]:
    """Return for each month the dates that patches have, and the share of pixels that is hidden."""
    dates: Counter[str] = Counter()
    for _, item in run.items():
        dates.update(day[:7] for day in _dates(item))
    hidden = dict(_hidden(run)) if clouds and dates else {}
    return [
        {"month": month, "dates": dates[month], "hidden": hidden.get(month)}
        for month in sorted(dates)
    ]


def _dates(item: Mapping[str, Any]) -> list[str]:
    for asset in item["assets"].values():
        for dimension in (asset.get("cube:dimensions") or {}).values():
            if dimension.get("type") == "temporal":
                return [str(day) for day in dimension.get("values") or dimension.get("extent")]
    return []


def _hidden(run: RunFolder) -> Iterator[tuple[str, float]]:
    import pystac  # noqa: PLC0415

    from openeo_gfmap.stac.reading import with_absolute_assets  # noqa: PLC0415

    total = run.count_items()
    chosen = {i * total // _LOOKED_AT for i in range(_LOOKED_AT)} if total > _LOOKED_AT else None
    shares: dict[str, list[float]] = defaultdict(list)
    beside = run.output_dir / "item.json"
    for place, (_, item) in enumerate(run.items()):
        if chosen is not None and place not in chosen:
            continue
        try:
            with open_patch(pystac.Item.from_dict(with_absolute_assets(beside, item))) as patch:
                if patch.cloud_mask is None:
                    continue
                for day, share in zip(patch.dates, patch.hidden_share, strict=True):
                    shares[str(day)[:7]].append(float(share))
        except InputError:  # a patch that is gone, or is no series: `gfmap verify` tells
            continue
    for month, found in shares.items():
        yield month, round(sum(found) / len(found), 3)


def as_json(facts: Mapping[str, Any]) -> str:
    """Return facts as JSON that can stand inside a page, whatever texts are in it."""
    text = json.dumps(facts, separators=(",", ":"), default=str, allow_nan=False)
    # So that no text ends the script that holds it.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
