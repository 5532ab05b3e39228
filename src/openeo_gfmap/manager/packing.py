"""How a row's parts are kept in the store: compressed JSON, unpacked by who reads them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from operator import attrgetter
from typing import Any

from openeo_gfmap.manager.ledger import Sample, SampleState

__all__ = ["Kept", "pack", "pack_samples", "unpack", "unpack_samples"]

_of_a_sample = attrgetter("feature", "sample_id", "sensor", "state", "reason", "path")


def pack(values: Mapping[str, Any]) -> bytes:
    """Return a row or an item to be kept; the fastest compression is worth its time already."""
    return _compressed(dict(values))


def unpack(kept: bytes | str) -> dict[str, Any]:
    """Return what `pack` was given; older stores have it as text."""
    return dict(json.loads(kept if isinstance(kept, str) else zlib.decompress(kept)))


def pack_samples(samples: Iterable[Sample]) -> bytes:
    """Return the samples of one job to be kept: together, since a job's events concern all."""
    return _compressed(list(map(_of_a_sample, samples)))


def unpack_samples(row: int, kept: bytes) -> tuple[Sample, ...]:
    """Return what `pack_samples` was given for a row."""
    return tuple(
        Sample(row, feature, sample_id, sensor, SampleState(state), reason, path)
        for feature, sample_id, sensor, state, reason, path in json.loads(zlib.decompress(kept))
    )


def _compressed(values: Any) -> bytes:
    return zlib.compress(json.dumps(values).encode(), 1)


class Kept(Mapping[str, Any]):
    """The user's row as it is kept: unpacked by who reads it, for most actions do not."""

    def __init__(self, kept: bytes | str):
        self._kept = kept

    @cached_property
    def _values(self) -> dict[str, Any]:
        return unpack(self._kept)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
