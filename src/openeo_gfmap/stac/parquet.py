"""All items of a collection as one table: stac-geoparquet, written in a stream.

Each row is an item, its properties are columns, links, assets and the bounding box are nested, and
the geometry is WKB, as the stac-geoparquet specification wants it. Items come one at a time and
differ: a property can be absent from the first million of them, or be a whole number here and a
fraction there. So the columns grow with what comes. As long as they do not, the file is written at
once; else what was written is brought to the last columns when all have come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

__all__ = ["ItemTable", "conform", "infer", "unify"]

#: Items that are made Arrow at once, and those of a row group. A batch of dictionaries takes a
#: multiple of its Arrow form, and each row group has a place in the footer for each column.
_BATCH: Final = 500
_ROW_GROUP: Final = 10_000

_GEOPARQUET: Final = "1.1.0"
_STAC_GEOPARQUET: Final = "1.0.0"
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_TIME: Final = pa.timestamp("us", tz="UTC")
#: Properties that are moments, in STAC's common metadata and the extension of timestamps.
_TIMES: Final = frozenset(
    {
        *("datetime", "start_datetime", "end_datetime", "created", "updated"),
        *("expires", "published", "unpublished"),
    }
)
#: What is there even when no item says it, in the order of the columns.
_ALWAYS: Final = pa.struct(
    {
        "id": pa.string(),
        "stac_version": pa.string(),
        "stac_extensions": pa.list_(pa.string()),
        "collection": pa.string(),
        "geometry": pa.binary(),
        "bbox": pa.struct({corner: pa.float64() for corner in _CORNERS}),
        "datetime": _TIME,
        "links": pa.list_(
            pa.struct({name: pa.string() for name in ("href", "rel", "type", "title")})
        ),
        "assets": pa.null(),
    }
)
_TOP: Final = frozenset({"type", *(field.name for field in _ALWAYS)} - {"datetime"})


class ItemTable:
    """Writes items to one Parquet file, in bounded memory.

    Parameters
    ----------
    path : Path
        The file; it gets its name when it is whole.
    """

    def __init__(self, path: Path):
        self._path = path
        self._items: list[Mapping[str, Any]] = []
        self._arrays: list[pa.StructArray] = []
        self._rows = 0  # in `_arrays`
        self._kind = _ALWAYS
        self._parts: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._shapes: set[str] = set()

    def add(self, item: Mapping[str, Any]) -> None:
        """Append an item; addresses in it are relative to the file."""
        self._items.append(item)
        if len(self._items) >= _BATCH:
            self._convert()

    def finish(self, collection: Mapping[str, Any]) -> bool:
        """Write what is left and give the file its name; tell whether there is one.

        Parameters
        ----------
        collection : mapping
            The collection of the items, which is written into the file.

        Returns
        -------
        bool
            False when there was no item: then there is no file, and none of before.
        """
        self._convert()
        self._write_group()
        if self._writer is None:
            self._path.unlink(missing_ok=True)
            return False
        metadata = self._metadata(collection)
        if len(self._parts) == 1:
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()
            self._parts[0].replace(self._path)
        else:
            self._writer.close()
            whole = self._part("whole")
            _rewrite(self._parts, whole, pa.schema(_concrete(self._kind)), metadata)
            whole.replace(self._path)
        self._writer = None
        self.discard()
        return True

    def discard(self) -> None:
        """Remove what is not finished."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for part in self._parts:
            part.unlink(missing_ok=True)
        self._parts.clear()

    def _part(self, name: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{name}.part")

    def _convert(self) -> None:
        if not self._items:
            return
        self._shapes |= {i["geometry"]["type"] for i in self._items if i.get("geometry")}
        array = _arrow(_rows(self._items))
        self._items.clear()
        self._kind = unify(self._kind, _without_empty(array.type))
        self._arrays.append(array)
        self._rows += len(array)
        if self._rows >= _ROW_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        if not self._arrays:
            return
        kind = _concrete(self._kind)
        schema = pa.schema(kind)
        arrays = [conform(array, kind) for array in self._arrays]
        self._arrays.clear()
        self._rows = 0
        if self._writer is None or not self._writer.schema.equals(schema):
            if self._writer is not None:
                self._writer.close()
            self._parts.append(self._part(str(len(self._parts))))
            self._writer = pq.ParquetWriter(self._parts[-1], schema, compression="zstd")
        table = pa.Table.from_batches([pa.RecordBatch.from_struct_array(a) for a in arrays])
        self._writer.write_table(table, row_group_size=_ROW_GROUP)

    def _metadata(self, collection: Mapping[str, Any]) -> dict[str, str]:
        shapes = sorted(self._shapes)
        geometry: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": shapes,
            "covering": {"bbox": {corner: ["bbox", corner] for corner in _CORNERS}},
        }
        columns = {"geometry": geometry}
        if "proj:geometry" in {field.name for field in self._kind}:
            columns["proj:geometry"] = {"encoding": "WKB", "geometry_types": [], "crs": None}
        geo = {"version": _GEOPARQUET, "primary_column": "geometry", "columns": columns}
        stac = {
            "version": _STAC_GEOPARQUET,
            "collections": {collection["id"]: dict(collection)},
        }
        return {"geo": json.dumps(geo), "stac-geoparquet": json.dumps(stac)}


def _rewrite(
    parts: Sequence[Path], path: Path, schema: pa.Schema, metadata: Mapping[str, str]
) -> None:
    """Write the rows of several files, whose columns differ, to one."""
    kind = pa.struct(schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            with pq.ParquetFile(part) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group).combine_chunks()
                    for batch in table.to_batches():
                        array = conform(batch.to_struct_array(), kind)
                        writer.write_batch(pa.RecordBatch.from_struct_array(array))
        writer.add_key_value_metadata(dict(metadata))


# --------------------------------------------------------------------------------------------- rows


def _rows(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return items as rows: properties on the top, geometries as WKB, times as moments."""
    shapes = _wkb([item.get("geometry") for item in items])
    rows = []
    for item, shape in zip(items, shapes, strict=True):
        properties = item["properties"]
        row = {name: value for name, value in properties.items() if name not in _TOP}
        for name in _TIMES & row.keys():
            row[name] = _moment(row[name])
        box = item.get("bbox")
        row |= {
            "id": item["id"],
            "stac_version": item.get("stac_version"),
            "stac_extensions": item.get("stac_extensions") or [],
            "collection": item.get("collection"),
            "geometry": shape,
            "bbox": dict(zip(_CORNERS, _flat(box), strict=True)) if box else None,
            "links": item.get("links") or [],
            "assets": {key: _asset(asset) for key, asset in item["assets"].items()},
        }
        if row.get("proj:geometry"):
            row["proj:geometry"] = _wkb([row["proj:geometry"]])[0]
        rows.append(row)
    return rows


def _asset(asset: Mapping[str, Any]) -> Mapping[str, Any]:
    if not asset.get("proj:geometry"):
        return asset
    return {**asset, "proj:geometry": _wkb([asset["proj:geometry"]])[0]}


def _wkb(geometries: Sequence[Mapping[str, Any] | None]) -> list[bytes | None]:
    texts = [None if each is None else json.dumps(each) for each in geometries]
    return list(shapely.to_wkb(shapely.from_geojson(texts), flavor="iso"))


def _flat(box: Sequence[float]) -> list[float]:
    """Return a box without heights."""
    sides = box if len(box) == 4 else (box[0], box[1], box[3], box[4])
    return [float(side) for side in sides]


def _moment(value: Any) -> datetime | None:
    """Return a moment; None of what is none, which the item's JSON still has."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# -------------------------------------------------------------------------------------------- types


def _arrow(rows: Sequence[Mapping[str, Any]]) -> pa.StructArray:
    """Return rows as one array, whatever is in them."""
    try:
        return pa.array(rows)
    except (pa.ArrowException, TypeError, OverflowError):
        # Texts and numbers under one name, say: Arrow's own inference is fast, but gives up.
        kind = reduce(unify, map(infer, rows))
        return pa.array([_fitted(row, kind) for row in rows], type=kind)


def infer(value: Any) -> pa.DataType:  # noqa: PLR0911 - one for each JSON type
    """Return the type that holds a value of JSON's types, bytes or a moment."""
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64() if -(2**63) <= value < 2**63 else pa.float64()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, Mapping):
        return pa.struct({str(name): infer(part) for name, part in value.items()})
    if isinstance(value, list | tuple):
        return pa.list_(reduce(unify, map(infer, value), pa.null()))
    if isinstance(value, bytes):
        return pa.binary()
    return _TIME if isinstance(value, datetime) else pa.string()


def unify(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both.

    Whole numbers, truth values and fractions are fractions, structures have the fields of both, and
    what has nothing in common is text: JSON of what is none.
    """
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        kinds = {field.name: field.type for field in one}
        for field in other:
            known = kinds.get(field.name)
            kinds[field.name] = field.type if known is None else unify(known, field.type)
        return pa.struct(kinds)
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(unify(one.value_type, other.value_type))
    if _is_number(one) and _is_number(other):
        return pa.float64()
    return pa.string()


def _is_number(kind: pa.DataType) -> bool:
    # Truth values too: Arrow's inference makes ones and zeros of those among fractions.
    is_numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(is_numeric or pa.types.is_boolean(kind))


def _fitted(value: Any, kind: pa.DataType) -> Any:
    """Return a value in a form that Arrow makes of the type."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _fitted(value.get(field.name), field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_fitted(part, kind.value_type) for part in value]
    if pa.types.is_floating(kind):
        return float(value)
    return _text(value) if pa.types.is_string(kind) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _without_empty(kind: pa.DataType) -> pa.DataType:
    """Return a type whose structures without fields, which Parquet has not, are nothing."""
    return _changed(kind, lambda each: pa.null() if _is_empty(each) else each)


def _concrete(kind: pa.DataType) -> pa.DataType:
    """Return a type to be written: what no item had is text, which all readers know."""
    return _changed(
        kind, lambda each: pa.string() if pa.types.is_null(each) or _is_empty(each) else each
    )


def _is_empty(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.num_fields == 0)


def _changed(kind: pa.DataType, change: Any) -> pa.DataType:
    if pa.types.is_struct(kind):
        kind = pa.struct({field.name: _changed(field.type, change) for field in kind})
    elif pa.types.is_list(kind):
        kind = pa.list_(_changed(kind.value_type, change))
    return change(kind)


def conform(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return an array in a type that `unify` made of its own and others."""
    if array.type.equals(kind):
        return array
    if array.null_count == len(array) or _is_empty(array.type):
        return pa.nulls(len(array), kind)
    if pa.types.is_struct(kind):
        parts = dict(zip(_names(array.type), array.flatten(), strict=True))
        children = [
            conform(parts[field.name], field.type)
            if field.name in parts
            else pa.nulls(len(array), field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=array.is_null())
    if pa.types.is_list(kind):
        values = conform(array.values, kind.value_type)
        return pa.ListArray.from_arrays(array.offsets, values, type=kind, mask=array.is_null())
    if pa.types.is_string(kind):
        texts = (None if value is None else _text(value) for value in array.to_pylist())
        return pa.array(texts, type=kind)
    return array.cast(kind)


def _names(kind: pa.DataType) -> Iterable[str]:
    return (field.name for field in kind)
