"""How a row's parts are kept in the store: compressed JSON, unpacked by who reads them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

from openeo_gfmap.manager.ledger import Sample, SampleState
from openeo_gfmap.manager.lifecycle import SavedFile

__all__ = [
    "Kept",
    "pack",
    "pack_files",
    "pack_items",
    "pack_samples",
    "unpack",
    "unpack_files",
    "unpack_items",
    "unpack_samples",
]

# What a job has of a kind is kept together: its events concern all of it, and items that are alike
# take little room side by side.
_of_a_sample = attrgetter("feature", "sample_id", "sensor", "state", "reason", "path")


def pack(values: Mapping[str, Any]) -> bytes:
    """Return a row or an item to be kept; the fastest compression is worth its time already."""
    return _compressed(dict(values))


def unpack(kept: bytes | str) -> dict[str, Any]:
    """Return what `pack` was given; older stores have it as text."""
    return dict(json.loads(kept) if isinstance(kept, str) else _plain(kept))


def pack_files(files: Iterable[SavedFile]) -> bytes:
    """Return the files of one job to be kept."""
    return _compressed([(file.path, file.size, file.checksum, file.item) for file in files])


def unpack_files(kept: bytes) -> tuple[SavedFile, ...]:
    """Return what `pack_files` was given."""
    return tuple(SavedFile(*each) for each in _plain(kept))


def pack_items(items: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the items of one job to be kept."""
    return _compressed(list(items))


def unpack_items(kept: bytes) -> list[dict[str, Any]]:
    """Return what `pack_items` was given."""
    return list(_plain(kept))


def pack_samples(samples: Iterable[Sample]) -> bytes:
    """Return the samples of one job to be kept."""
    return _compressed(list(map(_of_a_sample, samples)))


def unpack_samples(row: int, kept: bytes) -> tuple[Sample, ...]:
    """Return what `pack_samples` was given for a row."""
    return tuple(
        Sample(row, feature, sample_id, sensor, SampleState(state), reason, path)
        for feature, sample_id, sensor, state, reason, path in _plain(kept)
    )


def _compressed(values: Any) -> bytes:
    return zlib.compress(json.dumps(values).encode(), 1)


def _plain(kept: bytes) -> Any:
    return json.loads(zlib.decompress(kept))


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
