"""Rows of the user's table: into the store and back, and merged with what the store has."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_gfmap.errors import InputError, Words
from openeo_gfmap.manager.job_store import JobStore, Record
from openeo_gfmap.manager.lifecycle import Job

# pandas and shapely are imported where they are used: the package's import stays light.
if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CONTRACT_COLUMNS",
    "FURTHER_COLUMNS",
    "columns_shown",
    "merge",
    "pack",
    "row_of",
    "shadowed",
    "shown",
    "values_shown",
]

#: The columns that the manager fills, in the order of the tracker.
CONTRACT_COLUMNS = (
    "backend_name",
    "status",
    "id",
    "start_time",
    "cpu",
    "memory",
    "duration",
    "description",
    "costs",
)

#: Columns that the manager adds after those, unless the user's table has one of that name.
FURTHER_COLUMNS = ("attempt", "error_kind", "error_message")

_TAG = "__type__"


def shown(job: Job) -> dict[str, Any]:
    """Return the manager's columns of a job."""
    return {
        "backend_name": job.backend,
        "status": job.status.shown,
        "id": job.id,
        "start_time": job.start_time,
        "cpu": job.cpu,
        "memory": job.memory,
        "duration": job.duration,
        "description": job.description,
        "costs": job.costs,
        "attempt": job.attempt,
        "error_kind": job.kind,
        "error_message": job.message,
    }


def columns_shown(columns: Sequence[str]) -> list[str]:
    """Return the columns of the tracker: the user's, and the manager's that are not among them."""
    ours = (*CONTRACT_COLUMNS, *FURTHER_COLUMNS)
    return [*columns, *(name for name in ours if name not in columns)]


def values_shown(job: Job, record: Record) -> dict[str, Any]:
    """Return the cells of a row of the tracker, those of the user packed.

    The user's cell goes before one of the manager's further columns that has its name.
    """
    ours = shown(job)
    for name in FURTHER_COLUMNS:
        if name in record.values:
            del ours[name]
    return {**record.values, **ours}


def row_of(job: Job, record: Record) -> pd.Series[Any]:
    """Return the row as callbacks see it: the user's columns and the manager's."""
    import pandas as pd  # noqa: PLC0415

    values = {name: unpack(value) for name, value in values_shown(job, record).items()}
    label = unpack(record.label)
    name = tuple(label) if isinstance(label, list) else label  # of an index of several levels
    return pd.Series(values, name=name, dtype=object)


def pack(value: Any, where: str) -> Any:
    """Return a cell as JSON types that `unpack` gives back equal.

    Raises
    ------
    InputError
        For a type that a tracker cannot hold; `where` names the cell.
    """
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.item()
    if isinstance(value, str):
        return _unicode(str(value), where)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return [pack(part, where) for part in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: pack(part, where) for key, part in value.items()}
    return _tagged(value, where)


def _unicode(text: str, where: str) -> str:
    """Return a text that files can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:  # such as a file name in another encoding
        raise InputError(
            f"{where} is {text[:80]!a}, which is no valid text ({error.reason}) and cannot be "
            "written to a file. Put right how it was read, or take it out."
        ) from error
    return text


def _tagged(value: Any, where: str) -> dict[str, Any] | None:
    """Return a cell of a type that JSON does not know."""
    import pandas as pd  # noqa: PLC0415
    import shapely  # noqa: PLC0415

    if value is pd.NA:
        return None
    if value is pd.NaT:
        return {_TAG: "timestamp", "value": None}
    if isinstance(value, np.datetime64 | datetime):
        return {_TAG: "timestamp", "value": pd.Timestamp(value).isoformat()}
    if isinstance(value, date):
        return {_TAG: "date", "value": value.isoformat()}
    if isinstance(value, shapely.Geometry):
        return {_TAG: "geometry", "value": value.wkb.hex()}
    raise InputError(
        f"{where} holds a {type(value).__name__}, which a tracker cannot keep; it can keep text, "
        "numbers, dates, geometries, and lists and dictionaries of them. Convert it to one of them."
    )


def unpack(value: Any) -> Any:
    """Return what `pack` was given."""
    import pandas as pd  # noqa: PLC0415

    if isinstance(value, list):
        return [unpack(part) for part in value]
    if not isinstance(value, dict):
        return value
    match value.get(_TAG):
        case "timestamp":
            return pd.NaT if value["value"] is None else pd.Timestamp(value["value"])
        case "date":
            return date.fromisoformat(value["value"])
        case "geometry":
            return _geometry(value["value"])
        case _:
            return {key: unpack(part) for key, part in value.items()}


@lru_cache(maxsize=64)
def _geometry(wkb: str) -> Any:
    """Return a geometry, which nobody can change; each is wanted for several actions in a row."""
    import shapely  # noqa: PLC0415

    return shapely.from_wkb(bytes.fromhex(wkb))  # 30 times as fast as to let shapely read the hex


def text_of(packed: Any) -> str:
    """Return a packed cell as the tracker's CSV shows it: what pandas would write."""
    if packed is None or (isinstance(packed, float) and math.isnan(packed)):
        return ""
    if isinstance(packed, dict) and _TAG in packed:
        value = unpack(packed)
        if packed[_TAG] == "geometry":
            return str(value.wkt)
        if packed[_TAG] == "timestamp" and packed["value"] is not None:
            return str(value.date() if value == value.normalize() else value)
        return "" if packed["value"] is None else str(value)
    return str(unpack(packed)) if isinstance(packed, list | dict) else str(packed)


def records_of(df: pd.DataFrame) -> tuple[list[str], Iterator[Record]]:
    """Return the user's columns, and the rows without the columns that the manager fills.

    ``backend_name`` is both: the user asks, the manager answers. Rows are packed one by one, as
    they are asked for: those of a large table do not fit in memory twice.
    """
    columns = [_unicode(str(name), "the name of a column") for name in df.columns]
    # In a CSV, 1 and "1" are the same.
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise InputError(f"the table has columns twice: {', '.join(twice)}. Rename or drop one.")
    kept = [name for name in columns if name not in CONTRACT_COLUMNS or name == "backend_name"]
    return kept, _records(df, columns, [columns.index(name) for name in kept])


def _records(df: pd.DataFrame, columns: Sequence[str], indices: Sequence[int]) -> Iterator[Record]:
    for label, values in zip(df.index, df.itertuples(index=False, name=None), strict=True):
        cells = {
            columns[i]: pack(values[i], f"row {label!r}, column {columns[i]!r}") for i in indices
        }
        yield Record(pack(label, f"the label of row {label!r}"), cells)


def shadowed(df: pd.DataFrame) -> list[str]:
    """Return the table's columns that hold something and have a name of the manager's own."""
    ours = [name for name in CONTRACT_COLUMNS if name != "backend_name"]
    return [name for name in ours if name in df.columns and bool(df[name].notna().any())]


def merge(store: JobStore, df: pd.DataFrame) -> int:
    """Bring the user's table and the store together; return how many rows were added.

    A row that the store has, with the same content, is that job, whatever became of it. A row with
    a new label is a new job. Stored rows that the table no longer has stay and are seen through.

    Raises
    ------
    InputError
        When a row has the label of a stored one but other content: it is not clear which is meant.
    """
    columns, records = records_of(df)
    known: dict[bytes, int] = defaultdict(int)
    by_label: dict[str, int] = {}
    count = 0
    for stored in store.records():
        known[_content(stored, columns)] += 1
        by_label[json.dumps(stored.label)] = count
        count += 1

    def new_rows() -> Iterator[tuple[Job, Record]]:
        row = count
        for record in records:
            if known:  # else the tracker is new, and there is nothing to compare with
                content = _content(record, columns)
                if known[content]:
                    known[content] -= 1
                    continue
            taken = by_label.get(json.dumps(record.label))
            if taken is not None:
                stored = store.record(taken)
                raise InputError(partial(_differs, stored, record, columns), about="tracker")
            yield Job(row, backend=wanted_backend(record)), record
            row += 1

    with store.transaction():
        rows = new_rows()
        first = next(rows, None)
        if first is None:
            return 0
        old = store.columns()
        merged = [*old, *(name for name in columns if name not in old)]
        return store.add(merged, chain([first], rows))


def _differs(stored: Record, record: Record, columns: Sequence[str], words: Words) -> str:
    """Say why a row cannot be taken in."""
    differing = [
        name for name in columns if text_of(stored.values.get(name)) != text_of(record.values[name])
    ]
    return (
        f"row {record.label!r} of the table is not the row of that label in the tracker: "
        f"{', '.join(differing) or 'its number of copies'} differs. "
        + words.either(
            "Name another tracker for another set of jobs, or give new rows new labels to add them "
            "to this one.",
            "The folder holds a run of other samples or settings: name another one, or go back to "
            "those; what was run is in the gfmap.toml there.",
        )
    )


def wanted_backend(record: Record) -> str | None:
    """Return the back-end the user's row names."""
    value = record.values.get("backend_name")
    return value if isinstance(value, str) and value else None


def _content(record: Record, columns: Sequence[str]) -> bytes:
    """Return a digest of a row's content; what a CSV cannot tell apart is the same."""
    text = json.dumps([text_of(record.values.get(name)) for name in columns])
    return hashlib.sha256(text.encode()).digest()
