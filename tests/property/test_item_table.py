"""Tables of items with any properties: nothing is lost, whatever comes together."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_gfmap.stac import parquet
from openeo_gfmap.stac.parquet import ItemTable, conform, infer, unify

TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
SCALARS = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | TEXTS | st.floats(-1e9, 1e9)
VALUES = st.recursive(
    SCALARS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from("abc"), each),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["p", "q", "r"]), VALUES), min_size=1, max_size=8)


def read_as(value: Any, kind: pa.DataType) -> Any:
    """What a value is in a column of a type: worked out by another way than the writer's."""
    empty = value is None or value == {}
    if pa.types.is_null(kind) or (empty and not pa.types.is_string(kind)):
        return None
    if pa.types.is_struct(kind):
        return {f.name: read_as(value.get(f.name), f.type) for f in kind}
    if pa.types.is_list(kind):
        return [read_as(part, kind.value_type) for part in value]
    if pa.types.is_string(kind):
        return value if isinstance(value, str) or value is None else json.dumps(value)
    return float(value) if pa.types.is_floating(kind) else value


def without_nothing(value: Any) -> Any:
    """Leave out what is None, or an empty structure, which a table does not tell from absence."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict):
        parts = {k: without_nothing(v) for k, v in value.items()}
        return {k: v for k, v in parts.items() if v is not None} or None
    return [without_nothing(part) for part in value] if isinstance(value, list) else value


@given(VALUES, VALUES, VALUES)
def test_unify_has_no_order(one: Any, two: Any, three: Any) -> None:
    kinds = [infer(value) for value in (one, two, three)]
    assert unify(kinds[0], kinds[0]).equals(kinds[0])
    assert _sorted(unify(*kinds[:2])).equals(_sorted(unify(kinds[1], kinds[0])))
    left = unify(unify(kinds[0], kinds[1]), kinds[2])
    right = unify(kinds[0], unify(kinds[1], kinds[2]))
    assert _sorted(left).equals(_sorted(right))


def _sorted(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        fields = sorted(kind, key=lambda field: field.name)
        return pa.struct({field.name: _sorted(field.type) for field in fields})
    return pa.list_(_sorted(kind.value_type)) if pa.types.is_list(kind) else kind


@given(ROWS)
def test_what_was_written_in_one_type_is_read_in_a_wider_one(rows: list[dict[str, Any]]) -> None:
    kinds = [infer(row) for row in rows]
    wide = reduce(unify, kinds)
    for row, kind in zip(rows, kinds, strict=True):
        narrow = parquet._arrow([row])
        (found,) = conform(narrow, wide).to_pylist()
        expected = read_as(read_as(row, kind), wide)
        assert without_nothing(found) == without_nothing(expected)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(1, 3), st.integers(1, 4))
def test_a_table_has_every_item_and_every_property(
    rows: list[dict[str, Any]], batch: int, group: int
) -> None:
    """In batches and row groups that are so small that columns appear in the middle."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_BATCH", batch)
        patch.setattr(parquet, "_ROW_GROUP", group)
        table = ItemTable(Path(folder) / "items.parquet")
        for number, row in enumerate(rows):
            table.add({"id": str(number), "geometry": None, "properties": row, "assets": {}})
        assert table.finish({"id": "C"})
        found = pq.read_table(Path(folder) / "items.parquet")
        assert [path.name for path in Path(folder).iterdir()] == ["items.parquet"]
    assert found["id"].to_pylist() == [str(number) for number in range(len(rows))]
    for name in {name for row in rows for name in row}:
        column = found[name]
        for row, value in zip(rows, column.to_pylist(), strict=True):
            # A text made of a structure has the fields of its batch, so only scalars are compared.
            if not isinstance(row.get(name), dict | list):
                expected = read_as(row.get(name), column.type)
                assert value == expected or json.loads(value) == pytest.approx(row[name])
