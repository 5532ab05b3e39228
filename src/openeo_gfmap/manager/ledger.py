"""The account of a run: what was expected, what came, and what did not and why.

A sample is what one file is expected for: a feature of a job that is to be extracted, or, in a
table without feature collections, the job itself. Each has one entry a sensor from the moment that
its row comes in, and the entry follows the job's events:

===================== ============================================================
`SampleState.OPEN`      nothing is decided yet
`SampleState.RECEIVED`  its file is in place, checked, post-processed and catalogued
`SampleState.MISSING`   it has no file, or its job failed
`SampleState.REJECTED`  its file came, and was not good enough
===================== ============================================================

Pure functions: the register applies them, the store keeps what they return.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from openeo_gfmap.manager import model
from openeo_gfmap.manager.model import Job, JobStatus
from openeo_gfmap.stac.items import item_id

__all__ = [
    "Sample",
    "SampleState",
    "Sums",
    "after",
    "commonest",
    "concerns",
    "expected_samples",
    "extracted_features",
    "initial",
    "recovered",
]

#: Properties of a feature, and columns of a table, that name a sample.
_ID_NAMES: Final = ("sample_id", "sampleID", "sampleid")
_SENSOR_COLUMNS: Final = ("sensor", "recipe")

_ENDS: Final = {
    JobStatus.CANCELED: "its job was cancelled",
    JobStatus.SKIPPED: "start_job made no job for it",
}
_NO_FILE = "the job made no file for it"
_LEFT_OUT = "post_job_action left it out"

_UNSUCCESSFUL = frozenset(
    {JobStatus.ERROR, JobStatus.CANCELED, JobStatus.START_FAILED, JobStatus.SKIPPED}
)


class SampleState(StrEnum):
    """What became of a sample."""

    OPEN = "open"
    RECEIVED = "received"
    MISSING = "missing"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of one sensor.

    Attributes
    ----------
    row
        Position of its job in the tracker.
    feature
        Its geometry index: position among the features of the job that are extracted.
    sample_id
        What the user calls it; without a name, row and feature.
    sensor
        The row's ``sensor`` or ``recipe``, else the constellation of the run, or empty.
    state, reason
        What became of it, and why it is missing or rejected.
    path
        Its file, relative to the output folder; of a rejected one, where it lies in quarantine.
    """

    row: int
    feature: int
    sample_id: str
    sensor: str = ""
    state: SampleState = SampleState.OPEN
    reason: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """How many samples there are in each state; ``expected`` is the sum of all others."""

    received: int = 0
    missing: int = 0
    rejected: int = 0
    open: int = 0

    @classmethod
    def of(cls, counts: Mapping[SampleState, int]) -> Sums:
        """Return the sums for a number of samples by state."""
        return cls(**{state.value: counts.get(state, 0) for state in SampleState})

    @property
    def expected(self) -> int:
        """All samples."""
        return self.received + self.missing + self.rejected + self.open

    @property
    def complete(self) -> bool:
        """Whether every sample was received."""
        return self.received == self.expected

    @property
    def lacking(self) -> str:
        """What is missing or rejected, in words; empty for nothing."""
        parts = [(self.missing, "missing"), (self.rejected, "rejected")]
        return ", ".join(f"{count:,} {name}" for count, name in parts if count)

    def __str__(self) -> str:
        received = f"{self.received:,} of {self.expected:,} samples received"
        return f"{received}, {self.lacking}" if self.lacking else received


def extracted_features(geometry: Any) -> list[Mapping[str, Any]] | None:
    """Return the features that a row wants a file for; None when it has no feature collection.

    Those with ``extract`` set to false are there for the post-job action only.
    """
    if isinstance(geometry, str) and "FeatureCollection" in geometry:
        try:
            geometry = json.loads(geometry)
        except ValueError:
            return None
    features = geometry.get("features") if isinstance(geometry, Mapping) else None
    if not isinstance(features, list):
        return None
    return [feature for feature in features if _properties(feature).get("extract", True)]


def _properties(feature: Any) -> Mapping[str, Any]:
    found = feature.get("properties") if isinstance(feature, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def expected_samples(
    row: int, label: Any, values: Mapping[str, Any], sensor: str = ""
) -> tuple[Sample, ...]:
    """Return the samples that a row of the user's table is to bring.

    Parameters
    ----------
    row : int
        Its position in the tracker.
    label
        Its label in the index of the table; names the sample of a row without feature collection.
    values : mapping
        The user's columns; ``geometry`` may be a GeoJSON feature collection, also as text.
    sensor : str
        That of a row that names none.
    """
    sensor = next((str(values[n]) for n in _SENSOR_COLUMNS if values.get(n)), sensor)
    features = extracted_features(values.get("geometry"))
    if features is None:
        return (Sample(row, 0, _name(values) or str(label), sensor),)
    return tuple(
        Sample(row, index, _name(_properties(feature)) or f"{row}_{index}", sensor)
        for index, feature in enumerate(features)
    )


def _name(fields: Mapping[str, Any]) -> str | None:
    found = (fields.get(name) for name in _ID_NAMES)
    return next((str(name) for name in found if name not in (None, "")), None)


#: Events that say something of samples; any other does when it leads to a state without success.
_TELLING: Final = (
    model.Fetched,
    model.Processed,
    model.ProcessedPartly,
    model.ProcessingFailed,
    model.Resumed,
    model.Restarted,
    model.Retried,
    model.FetchAgain,
    model.FilesChanged,
    model.FilesLost,
)


def concerns(event: model.Event, job: Job) -> bool:
    """Tell whether an event, after which the job stands as given, says something of its samples."""
    return isinstance(event, _TELLING) or job.status in _UNSUCCESSFUL


def after(samples: Sequence[Sample], event: model.Event, job: Job) -> tuple[Sample, ...]:
    """Return the samples of a job after an event.

    What was received stays so until other files take its place, even while the job is made anew:
    its files and items are still there.

    Parameters
    ----------
    samples : sequence of Sample
        Those of the job, in the order of their features.
    event : Event
        What happened.
    job : Job
        The job after it.
    """
    found: Iterable[Sample] = samples
    match event:
        case model.Fetched():
            found = _fetched(samples, event)
        case model.Processed() | model.ProcessedPartly():
            found = _processed(samples, event.items)
        case model.ProcessingFailed():
            found = _given_up(samples, job)
        case model.Resumed():
            # Where the action failed the files are still there, and may yet be received.
            found = (_open(s) if s.path and _is(s, SampleState.MISSING) else s for s in samples)
        case model.FilesLost():
            found = (_anew(s) if s.path in event.paths or not event.paths else s for s in samples)
        case _ if isinstance(event, _TELLING):  # all that begins anew, if only the download
            found = (s if _is(s, SampleState.RECEIVED) else _anew(s) for s in samples)
        case _ if job.status in _UNSUCCESSFUL:
            found = _given_up(samples, job)
    return tuple(found)


def _is(sample: Sample, state: SampleState) -> bool:
    return sample.state is state


def _open(sample: Sample) -> Sample:
    return replace(sample, state=SampleState.OPEN, reason=None)


def _anew(sample: Sample) -> Sample:
    return replace(_open(sample), path=None)


def _given_up(samples: Iterable[Sample], job: Job) -> Iterable[Sample]:
    reason = job.message or _ENDS.get(job.status) or f"its job is {job.status.value}"
    for sample in samples:
        if _is(sample, SampleState.OPEN):
            yield replace(sample, state=SampleState.MISSING, reason=reason)
        else:
            yield sample


def _fetched(samples: Sequence[Sample], event: model.Fetched) -> Iterable[Sample]:
    """Note where files are, and which did not come; those that came wait for the action."""
    absent = {absence.feature: absence for absence in event.absent}
    features = event.features
    if not features and not absent and len(event.files) == len(samples):
        features = tuple(sample.feature for sample in samples)
    paths = dict(zip(features, (file.path for file in event.files), strict=False))
    # Files that are no sample's own, as one for all: each sample came if all of them did.
    shared = event.files[0].path if event.files and not features else None
    for sample in samples:
        if absence := absent.get(sample.feature) or absent.get(None):
            state = SampleState.REJECTED if absence.rejected else SampleState.MISSING
            yield replace(sample, state=state, reason=absence.reason, path=absence.path)
        elif path := paths.get(sample.feature, shared):
            yield replace(_open(sample), path=path)
        else:
            yield replace(sample, state=SampleState.MISSING, reason=_NO_FILE, path=None)


def _processed(samples: Sequence[Sample], items: Sequence[Mapping[str, Any]]) -> Iterable[Sample]:
    """Take as received what the catalogue has; the rest of what came was left out.

    A sample is in the catalogue when an asset is its file, or an item still has the id that the
    file's item had. An action that put other items in place of all of them has used all.
    """
    by_path = {path: path for item in items for path in _paths(item)}
    by_id = {str(item.get("id")): next(iter(_paths(item)), None) for item in items}
    places: dict[int, str] = {}
    for sample in samples:
        if sample.path is not None and _is(sample, SampleState.OPEN):
            place = by_path.get(sample.path) or by_id.get(item_id(sample.path))
            if place is not None:
                places[sample.feature] = place
    if items and not places:
        places = dict.fromkeys((s.feature for s in samples), next(iter(by_path), ""))
    for sample in samples:
        if not _is(sample, SampleState.OPEN):
            yield sample
        elif sample.feature in places:
            path = places[sample.feature] or sample.path
            yield replace(sample, state=SampleState.RECEIVED, reason=None, path=path)
        else:
            yield replace(sample, state=SampleState.REJECTED, reason=_LEFT_OUT)


def _paths(item: Mapping[str, Any]) -> list[str]:
    """Return the files of an item; those with data come first."""
    assets = [asset for asset in item.get("assets", {}).values() if asset.get("href")]
    assets.sort(key=lambda asset: "data" not in (asset.get("roles") or ["data"]))
    return [str(asset["href"]) for asset in assets]


def initial(
    job: Job, label: Any, values: Mapping[str, Any], sensor: str = ""
) -> tuple[Sample, ...]:
    """Return the samples of a row that comes in; those of a job that has failed are missing.

    Such jobs are taken over from the tracker of another tool.
    """
    return tuple(recovered(expected_samples(job.row, label, values, sensor), job, ()))


def recovered(
    samples: Sequence[Sample], job: Job, items: Sequence[Mapping[str, Any]]
) -> Iterable[Sample]:
    """Return the samples of a job from its state and items, where no account of them was kept.

    Items are told by their property ``sample_id``; without it, by their order, if there are as many
    as samples.
    """
    found = [next(iter(_paths(item)), None) for item in items]
    names = [str(item["properties"].get("sample_id") or "") for item in items]
    paths = dict(zip(names, found, strict=True))
    if len(items) == len(samples) and not any(sample.sample_id in paths for sample in samples):
        paths = {sample.sample_id: path for sample, path in zip(samples, found, strict=True)}
    for sample in samples:
        if sample.sample_id in paths:
            state, path = SampleState.RECEIVED, paths[sample.sample_id]
            yield replace(sample, state=state, path=path)
        elif job.status in _UNSUCCESSFUL or job.status is JobStatus.POSTPROCESSING_ERROR:
            yield from _given_up([sample], job)
        elif job.status is JobStatus.FINISHED:
            yield replace(sample, state=SampleState.MISSING, reason=_NO_FILE)
        else:
            yield sample


def commonest(samples: Iterable[Sample], most: int) -> list[tuple[str, int]]:
    """Return the reasons for which most samples are missing or rejected, and how many each.

    Reasons that differ in numbers and job ids only are one; the first of them stands for all.
    """
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for sample in samples:
        if sample.state in (SampleState.MISSING, SampleState.REJECTED):
            reason = sample.reason or "no reason given"
            kind = _kind(reason)
            counts[kind] += 1
            first.setdefault(kind, reason)
    return [(first[kind], count) for kind, count in counts.most_common(most)]


@lru_cache(maxsize=1024)  # samples of a job have one reason, as a rule
def _kind(reason: str) -> str:
    return re.sub(r"[\w.:/-]*\d[\w.:/-]*", "#", reason)
