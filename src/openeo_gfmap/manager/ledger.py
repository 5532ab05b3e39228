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
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from openeo_gfmap.manager import model
from openeo_gfmap.manager.model import Job, JobStatus

__all__ = [
    "Sample",
    "SampleState",
    "Sums",
    "after",
    "commonest",
    "concerns",
    "expected_samples",
    "extracted_features",
    "recovered",
]

#: Properties of a feature, and columns of a table, that name a sample.
_ID_NAMES: Final = ("sample_id", "sampleID", "sampleid")
_SENSOR_COLUMNS: Final = ("sensor", "recipe")

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
        The row's ``sensor`` or ``recipe``, else empty.
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


def expected_samples(row: int, label: Any, values: Mapping[str, Any]) -> tuple[Sample, ...]:
    """Return the samples that a row of the user's table is to bring.

    Parameters
    ----------
    row : int
        Its position in the tracker.
    label
        Its label in the index of the table; names the sample of a row without feature collection.
    values : mapping
        The user's columns; ``geometry`` may be a GeoJSON feature collection, also as text.
    """
    sensor = next((str(values[n]) for n in _SENSOR_COLUMNS if values.get(n)), "")
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
        case model.Resumed():
            # Where the action failed the files are still there, and may yet be received.
            found = (_open(s) if s.path and _is(s, SampleState.MISSING) else s for s in samples)
        case model.ProcessingFailed():
            found = _given_up(samples, job)
        case _ if isinstance(event, _TELLING):  # all that begins anew, if only the download
            found = (replace(_open(sample), path=None) for sample in samples)
        case _ if job.status in _UNSUCCESSFUL:
            found = _given_up(samples, job)
    return tuple(found)


def _is(sample: Sample, state: SampleState) -> bool:
    return sample.state is state


def _open(sample: Sample) -> Sample:
    return replace(sample, state=SampleState.OPEN, reason=None)


def _given_up(samples: Iterable[Sample], job: Job) -> Iterable[Sample]:
    reason = job.message or f"its job is {job.status.value}"
    for sample in samples:
        if _is(sample, SampleState.OPEN):
            yield replace(sample, state=SampleState.MISSING, reason=reason)
        else:
            yield sample


def _fetched(samples: Sequence[Sample], event: model.Fetched) -> Iterable[Sample]:
    """Note where files are, and which did not come; those that came wait for the action."""
    absent = {absence.feature: absence for absence in event.absent}
    if event.features:
        paths = {feature: file.path for feature, file in zip(event.features, event.files)}  # noqa: B905
    elif len(event.files) == len(samples):
        paths = {sample.feature: file.path for sample, file in zip(samples, event.files)}  # noqa: B905
    else:
        # One file for all, or files that are no sample's own: all of them came with the job.
        only = event.files[0].path if event.files else None
        paths = {sample.feature: only for sample in samples if only is not None}
    for sample in samples:
        if absence := absent.get(sample.feature):
            state = SampleState.REJECTED if absence.rejected else SampleState.MISSING
            yield replace(sample, state=state, reason=absence.reason, path=absence.path)
        elif sample.feature in paths:
            yield replace(_open(sample), path=paths[sample.feature])
        else:
            yield replace(sample, state=SampleState.MISSING, reason=_NO_FILE, path=None)


def _processed(samples: Sequence[Sample], items: Iterable[Mapping[str, Any]]) -> Iterable[Sample]:
    """Take as received what the catalogue has; the rest of what came was left out."""
    catalogued = {
        str(asset.get("href")) for item in items for asset in item.get("assets", {}).values()
    }
    for sample in samples:
        if not _is(sample, SampleState.OPEN):
            yield sample
        elif sample.path in catalogued:
            yield replace(sample, state=SampleState.RECEIVED, reason=None)
        else:
            yield replace(sample, state=SampleState.REJECTED, reason=_LEFT_OUT)


def recovered(
    samples: Sequence[Sample], job: Job, items: Sequence[Mapping[str, Any]]
) -> Iterable[Sample]:
    """Return the samples of a job from its state and items, where no account of them was kept.

    Items are told by their property ``sample_id``; without it, by their order, if there are as many
    as samples.
    """
    paths = {str(item["properties"].get("sample_id") or ""): _data_path(item) for item in items}
    if len(items) == len(samples) and not any(sample.sample_id in paths for sample in samples):
        paths = {s.sample_id: _data_path(item) for s, item in zip(samples, items, strict=True)}
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


def _data_path(item: Mapping[str, Any]) -> str | None:
    return next((str(asset.get("href")) for asset in item["assets"].values()), None)


def commonest(samples: Iterable[Sample], most: int) -> list[tuple[str, int]]:
    """Return the reasons for which most samples are missing or rejected, and how many each."""
    wanting = Counter(
        sample.reason or "no reason given"
        for sample in samples
        if sample.state in (SampleState.MISSING, SampleState.REJECTED)
    )
    return wanting.most_common(most)
