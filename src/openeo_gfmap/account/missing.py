"""Job rows for exactly the samples that are not there."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pystac

from openeo_gfmap.account.folder import RunFolder
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import _log
from openeo_gfmap.manager.disk import BESIDE_RESULTS
from openeo_gfmap.manager.job_store import Record
from openeo_gfmap.manager.ledger import (
    Sample,
    SampleState,
    expected_samples,
    extracted_features,
)
from openeo_gfmap.manager.rows import records_of
from openeo_gfmap.stac.reading import read_items

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["missing_jobs"]

_ID: Final = "sample_id"  # attribute of NetCDF files, property of items
_PATH: Final = "gfmap_path"  # property of a recipe's features: where the file goes
_HDF5: Final = frozenset({".nc", ".nc4", ".h5"})
_DATA: Final = _HDF5 | {".tif", ".tiff", ".parquet"}
_SHOWN: Final = 3


def missing_jobs(
    table: pd.DataFrame, source: RunFolder | str | Path | pystac.Collection
) -> pd.DataFrame:
    """Return the rows of a table of jobs that still lack samples, asking for those only.

    Rows that lack nothing are left out. In the others, features whose samples are there get
    ``extract`` set to false: they stay in the row, since post-job actions need them, to burn the
    labels of neighbours for example. Labels of the index stay as they are, so run the rows with a
    tracker of their own; where a row differs from the one in the old tracker, that refuses it.

    Parameters
    ----------
    table : pandas.DataFrame
        The rows of all jobs, with a GeoJSON feature collection each in ``geometry``. A row without
        one is a sample of its own, named by its ``sample_id`` or its label.
    source : RunFolder, path or pystac.Collection
        What is there:

        - a `RunFolder`: samples that its account calls received. Rejected samples are not there.
        - a folder of files: samples whose file lies where the recipe put it, or that a NetCDF file
          names in its global attribute ``sample_id``, or that another file has in its name.
        - a STAC collection, also as the path of its ``collection.json`` or of that one's folder:
          samples that an item names in its property ``sample_id``.

    Returns
    -------
    pandas.DataFrame
        The columns of `table`; empty when nothing is missing.

    Raises
    ------
    InputError
        When the table holds no sample, its samples have no names to look for, or a name of a file
        fits two of them; or when the source cannot be read.
    """
    if "geometry" not in table.columns:
        raise InputError(
            f"the table has the columns {', '.join(map(str, table.columns))}; expected 'geometry' "
            "with a GeoJSON feature collection of the samples in each row."
        )
    rows = [_Row.of(position, record) for position, record in enumerate(records_of(table)[1])]
    if not any(row.samples for row in rows):
        raise InputError(
            f"no row of the table ({len(rows)} rows) holds a sample: their 'geometry' has no "
            "feature with extract true. Pass the table that the jobs were made from."
        )
    there = _there(source, rows)
    kept, geometries, counts = [], [], []
    for row in rows:
        features = there.features(row)
        lacking = len(row.samples) - len(features)
        kept.append(lacking > 0)
        if lacking > 0:
            cell = table["geometry"].iloc[row.position]
            geometries.append(_without(cell, features) if features else cell)
            counts.append(lacking)
    missing = table[kept].copy()
    missing["geometry"] = geometries
    if (counted := _counting(table, rows)) is not None:
        missing[counted] = counts
    _log.info(
        "%d of %d rows lack %d of %d samples.",
        len(missing), len(rows), sum(counts), sum(len(row.samples) for row in rows),
    )  # fmt: skip
    return missing


@dataclass(frozen=True)
class _Row:
    """A row of the table, and the samples it is to bring, in the order of their features."""

    position: int
    record: Record
    samples: tuple[Sample, ...]
    named: bool
    paths: tuple[str | None, ...]

    @classmethod
    def of(cls, position: int, record: Record) -> _Row:
        samples = expected_samples(position, record.label, record.values)
        features = extracted_features(record.values.get("geometry"))
        paths = [(feature.get("properties") or {}).get(_PATH) for feature in features or [{}]]
        named = features is None or not any(
            sample.sample_id == f"{position}_{sample.feature}" for sample in samples
        )
        return cls(position, record, samples, named, tuple(paths))


class _There(Protocol):
    """What is there."""

    def features(self, row: _Row) -> frozenset[int]:
        """Return the geometry indices of a row's samples that are there."""


def _there(source: RunFolder | str | Path | pystac.Collection, rows: Sequence[_Row]) -> _There:
    if isinstance(source, RunFolder):
        return _Ledger(source)
    if isinstance(source, pystac.Collection):
        items = (item.to_dict(transform_hrefs=False) for item in source.get_items(recursive=True))
        return _Names(rows, _ids_of(items, source.id))
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a folder of files or a STAC collection.")
    document = path / "collection.json" if path.is_dir() else path
    if document.is_file():
        return _Names(rows, _ids_of((item for _, item in read_items(document)), document))
    return _Files(rows, path)


# ------------------------------------------------------------------------------------ from a ledger


class _Ledger:
    """The account of a run.

    Rows are told by their label when the run has a row of that label with the same samples, else
    samples by name; one that the run expected in several rows is there when all of them brought it.
    """

    def __init__(self, folder: RunFolder):
        self._rows: dict[str, int] = {}
        for row, record in enumerate(folder.records()):
            self._rows.setdefault(json.dumps(record.label), row)
        self._samples: dict[int, list[Sample]] = {}
        self._received: dict[tuple[str, str], bool] = {}
        for sample in folder.samples():
            self._samples.setdefault(sample.row, []).append(sample)
            key, received = (sample.sensor, sample.sample_id), _is_there(sample)
            self._received[key] = received and self._received.get(key, True)

    def features(self, row: _Row) -> frozenset[int]:
        there = self._rows.get(json.dumps(row.record.label))
        if there is not None:
            known = self._samples.get(there, [])
            same = expected_samples(there, row.record.label, row.record.values)
            if [s.sample_id for s in known] == [s.sample_id for s in same]:
                return frozenset(sample.feature for sample in known if _is_there(sample))
        if not row.named:
            raise InputError(
                f"row {row.record.label!r} of the table is no row of that run, and its features "
                f"have no {_ID} to find them by. Pass the table that the run was started with, or "
                f"give each feature a property {_ID}."
            )
        return frozenset(
            sample.feature
            for sample in row.samples
            if self._received.get((sample.sensor, sample.sample_id), False)
        )


def _is_there(sample: Sample) -> bool:
    return sample.state is SampleState.RECEIVED


# ---------------------------------------------------------------------- from items, or from files


class _Names:
    """Names of samples that are there."""

    def __init__(self, rows: Sequence[_Row], there: frozenset[str]):
        _check_names(rows)
        self._there = there

    def features(self, row: _Row) -> frozenset[int]:
        return frozenset(s.feature for s in row.samples if s.sample_id in self._there)


class _Files:
    """Files in a folder."""

    def __init__(self, rows: Sequence[_Row], folder: Path):
        self._folder = folder
        by_name = [row for row in rows if None in row.paths]
        _check_names(by_name)
        wanted = {sample.sample_id for row in by_name for sample in row.samples}
        self._there = _ids_in(folder, wanted) if wanted else frozenset()

    def features(self, row: _Row) -> frozenset[int]:
        return frozenset(
            sample.feature
            for sample, path in zip(row.samples, row.paths, strict=True)
            if (sample.sample_id in self._there if path is None else self._has(path))
        )

    def _has(self, path: str) -> bool:
        file = self._folder / path
        return file.is_file() and file.stat().st_size > 0


def _check_names(rows: Sequence[_Row]) -> None:
    """See to it that each sample has a name, which is no other's.

    Raises
    ------
    InputError
        When one has none, or shares it: another sensor's or year's file would be taken for its own.
    """
    nameless = next((row for row in rows if not row.named), None)
    if nameless is not None:
        raise InputError(
            f"features of row {nameless.record.label!r} have no {_ID}, so nothing tells their "
            f"files. Give each feature a property {_ID}, or pass the RunFolder of the run."
        )
    counts = Counter(sample.sample_id for row in rows for sample in row.samples)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise InputError(
            f"{len(twice)} samples are asked for by several rows, as for several sensors or "
            f"periods: {_some(twice)}. Files and items do not tell for which; pass the rows of one "
            "sensor and period at a time, or the RunFolder of the run."
        )


def _some(names: Iterable[object]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")


def _ids_of(items: Iterable[Mapping[str, Any]], collection: object) -> frozenset[str]:
    """Return the samples that items name; a collection without any item has none."""
    found: set[str] = set()
    count = 0
    for item in items:
        count += 1
        name = (item.get("properties") or {}).get(_ID)
        if name not in (None, ""):
            found.add(str(name))
    if count and not found:
        raise InputError(
            f"none of the {count} items of {collection} has a property {_ID}. Pass the folder of "
            "the files, or the RunFolder of the run."
        )
    if count > len(found):
        _log.warning("%d of %d items of %s name no sample.", count - len(found), count, collection)
    return frozenset(found)


def _ids_in(folder: Path, wanted: set[str]) -> frozenset[str]:
    """Return those of the wanted samples that files in a folder are of."""
    found: set[str] = set()
    broken: list[Path] = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if (
            path.suffix.lower() not in _DATA
            or inside.parts[0] in BESIDE_RESULTS
            or not path.is_file()
        ):
            continue
        name: str | None = None
        if path.suffix.lower() in _HDF5:
            try:
                name = _attribute(path)
            except OSError:
                broken.append(inside)
                continue
        # What the file says of itself goes before its name.
        found.add(name if name is not None else _id_in_name(path, wanted))
    if broken:
        _log.warning(
            "%d files do not open and are taken as missing: %s.", len(broken), _some(broken)
        )
    return frozenset(found & wanted)


def _attribute(path: Path) -> str | None:
    """Return the sample that a NetCDF file names in its global attributes."""
    import h5py  # noqa: PLC0415

    with h5py.File(path) as file:
        value = file.attrs.get(_ID)
    if value is None or isinstance(value, h5py.Empty):
        return None
    return value.decode() if isinstance(value, bytes) else str(value)


def _id_in_name(path: Path, wanted: set[str]) -> str:
    """Return the sample whose id is part of a file's name, between other words; "" for none."""
    words = [word.span() for word in re.finditer(r"[^\W_]+", path.stem)]
    spans = [(a, b) for i, (a, _) in enumerate(words) for _, b in words[i:]]
    fitting = [(a, b) for a, b in spans if path.stem[a:b] in wanted]
    # Of "field_7" and "7" it is the first.
    longest = {
        path.stem[a:b]
        for a, b in fitting
        if not any(c <= a and b <= d and (c, d) != (a, b) for c, d in fitting)
    }
    if len(longest) > 1:
        raise InputError(
            f"the name of {path} fits the samples {_some(sorted(longest))}. Give the files a "
            f"global attribute {_ID}, or pass the RunFolder of the run."
        )
    return next(iter(longest), "")


# ------------------------------------------------------------------------------------- what is left


def _without(cell: Any, there: frozenset[int]) -> Any:
    """Return a feature collection that no longer asks for samples which are there."""
    collection = json.loads(cell) if isinstance(cell, str) else cell
    features, index = [], 0
    for feature in collection["features"]:
        properties = feature.get("properties") or {}
        if properties.get("extract", True):
            if index in there:
                feature = {**feature, "properties": {**properties, "extract": False}}  # noqa: PLW2901
            index += 1
        features.append(feature)
    changed = {**collection, "features": features}
    return json.dumps(changed) if isinstance(cell, str) else changed


def _counting(table: pd.DataFrame, rows: Sequence[_Row]) -> str | None:
    """Return the column that says how many samples a job has, as recipes write it."""
    if "samples" in table.columns and list(table["samples"]) == [len(row.samples) for row in rows]:
        return "samples"
    return None
