"""The small parts: cubes' types, descriptions, callbacks, and what is read for a window."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_gfmap.local.engine.callbacks import Predicate, evaluate_callback
from openeo_gfmap.local.engine.cube import Array, Cube, align, crop, hide, select
from openeo_gfmap.local.engine.demands import Window
from openeo_gfmap.local.engine.executors.shares import LARGEST_TASK, Shares
from openeo_gfmap.local.engine.graph import ProcessGraph, parse
from openeo_gfmap.local.engine.grid import Extent, Grid
from openeo_gfmap.local.engine.loading import area_of, wider
from openeo_gfmap.local.engine.order import z_order
from openeo_gfmap.local.engine.plain_json import to_json
from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.errors import OpenEOError

GRID = Grid("EPSG:32631", 10.0)
BOX = GRID.box(50000, -560000, 3, 2)


def cube(values: Any, dtype: Any, nodata: float | None = None) -> Cube:
    data = np.asarray(values, dtype=dtype).reshape(1, 1, 2, 3)
    labels = {"t": np.asarray(["2022-01-01"], "datetime64[ns]"), "bands": np.asarray(["a"])}
    return Cube(data, ("t", "bands", "y", "x"), labels, BOX, nodata)


@pytest.mark.parametrize(
    ("one", "two", "dtype", "nodata"),
    [
        (("uint16", 65535), ("uint16", 65535), "uint16", 65535),
        (("uint16", 65535), ("uint8", None), "uint16", 65535),
        (("uint16", 65535), ("int32", None), "int32", 65535),
        (("uint16", 65535), ("uint8", 255), "uint16", 65535),
        (("int16", -32768), ("uint8", 255), "int16", 32767),
        (("uint16", 65535), ("float32", None), "float32", None),
        (("uint8", None), ("uint8", None), "uint8", None),
        (("bool", None), ("uint16", 65535), "uint16", 65535),
    ],
)
def test_cubes_find_a_common_type(one: Any, two: Any, dtype: str, nodata: float | None) -> None:
    first = cube([0, 1, 1, 0, 1, 0], *one)
    second = cube([1, 0, 1, 0, 0, 1], *two)
    for got, given_cube in zip(align([first, second]), (first, second), strict=True):
        assert (got.data.dtype, got.nodata) == (np.dtype(dtype), nodata)
        np.testing.assert_array_equal(got.data, given_cube.data)


@given(
    st.lists(st.integers(0, 255), min_size=6, max_size=6),
    st.lists(st.integers(-128, 127), min_size=6, max_size=6),
    st.sampled_from([None, 0, 255]),
    st.sampled_from([None, -128, 0]),
)
def test_a_common_type_loses_nothing(
    a: list[int], b: list[int], nodata_a: float | None, nodata_b: float | None
) -> None:
    cubes = [cube(a, "uint8", nodata_a), cube(b, "int8", nodata_b)]
    for room in (False, True):
        for before, after in zip(cubes, align(cubes, room=room), strict=True):
            np.testing.assert_array_equal(before.missing(), after.missing())
            seen = ~before.missing()
            np.testing.assert_array_equal(before.data[seen], after.data[seen])
            assert after.nodata is not None or not room or after.data.dtype.kind == "f"


def test_hiding_makes_room_where_every_value_is_taken() -> None:
    values = np.resize(np.arange(256), 6)
    full = cube(values, "uint8")
    data = np.arange(256, dtype="uint8").reshape(1, 1, 16, 16)
    full = Cube(data, full.dims, full.labels, GRID.box(0, 0, 16, 16))
    hidden = hide(full, np.arange(256).reshape(1, 1, 16, 16) == 7)
    assert hidden.missing().sum() == 1
    assert np.isnan(hidden.data[0, 0, 0, 7])
    assert hide(full, np.zeros((1, 1, 16, 16), dtype=bool)) is full


def test_cropping_and_selecting() -> None:
    whole = cube(range(6), "uint8")
    part = crop(whole, GRID.box(50001, -559999, 2, 1))
    assert part.data.ravel().tolist() == [4, 5]
    with pytest.raises(ValueError, match="no pixels"):
        crop(whole, GRID.box(49999, -560000, 2, 1))
    with pytest.raises(KeyError):
        select(whole, "bands", ["b"])


def test_boxes_unite() -> None:
    assert wider(GRID.box(0, 0, 2, 2), GRID.box(5, -3, 1, 1)) == GRID.box(0, -3, 6, 5)
    west, south, east, north = area_of([BOX, BOX.pad(2)])
    assert west < east
    assert south < north


def windows_of(near: list[tuple[int, int] | None]) -> list[Window]:
    return [Window(i, None, Extent((0, 0, 1, 1)), near=n) for i, n in enumerate(near)]


@given(
    st.lists(st.sampled_from([(0, 0), (0, 1), None]), min_size=1, max_size=60),
    st.integers(1, 5),
    st.lists(st.integers(0, 7), max_size=40),
)
def test_windows_are_shared_out(
    near: list[tuple[int, int] | None], workers: int, asking: list[int]
) -> None:
    """Whoever asks, also one that came later: each window is given out once, in runs."""
    windows = windows_of(near)
    shares = Shares(windows, range(workers))
    tasks = [task for worker in asking if (task := shares.next(worker))]
    while task := shares.next(0):
        tasks.append(task)
    assert sorted(w.index for task in tasks for w in task) == [w.index for w in windows]
    most = min(LARGEST_TASK, -(-len(windows) // 2))
    for task in tasks:
        assert [w.index for w in task] == [task[0].index + i for i in range(len(task))]
        assert len(task) <= most
        assert len(task) == 1 or all(w.near is not None for w in task)
    assert shares.next(1) == []


def test_each_worker_keeps_to_its_neighbourhood() -> None:
    shares = Shares(windows_of([(0, 0)] * 80), "ab")
    tasks = {name: [shares.next(name) for _ in range(3)] for name in "ab"}
    # Large ones first, for the sake of file blocks; then smaller ones, so that nobody waits long.
    assert [len(task) for task in tasks["a"]] == [20, 10, 10]
    got = {name: [w.index for task in mine for w in task] for name, mine in tasks.items()}
    assert got == {"a": list(range(40)), "b": list(range(40, 80))}
    shares = Shares(windows_of([(0, 0)] * 80), "ab")
    for _ in range(3):
        shares.next("a")
    # It is done, and b has not begun: it takes the second half of what b has before it.
    assert [w.index for w in shares.next("a")] == list(range(60, 70))
    assert [w.index for w in shares.next("new")] == list(range(50, 60))
    assert [w.index for w in shares.next("b")] == list(range(40, 50))
    assert len(Shares(windows_of([(0, 0)] * 1000), "a").next("a")) == LARGEST_TASK


def test_neighbours_follow_each_other() -> None:
    cells = sorted(((y, x) for y in range(-8, 8) for x in range(-8, 8)), key=lambda c: z_order(*c))
    for side in (2, 4, 8):
        blocks = [(y // side, x // side) for y, x in cells]
        runs = [block for i, block in enumerate(blocks) if i == 0 or blocks[i - 1] != block]
        assert len(runs) == len(set(runs)) == (16 // side) ** 2


@pytest.mark.parametrize("process", list(all_processes().values()), ids=lambda p: p.id)
def test_descriptions_are_complete(process: Any) -> None:
    """Every process says what it does, what it takes and what it gives."""
    document = process.describe()
    assert document["id"] == process.id
    assert document["summary"]
    assert document["returns"]["schema"]
    for parameter in document["parameters"]:
        assert parameter["schema"] or parameter["name"] in ("wavelengths", "properties")
        assert parameter["description"] != parameter["name"]
        assert not parameter["name"].endswith("_")
        if parameter.get("optional"):
            assert "default" in parameter


def parsed(graph: dict[str, Any]) -> ProcessGraph:
    wrapped = {"n": {"process_id": "array_apply", "arguments": {
        "data": [1], "process": {"process_graph": graph}}}}  # fmt: skip
    found, errors = parse(wrapped)
    assert found is not None, errors
    callback = found.nodes["n"].arguments["process"]
    assert isinstance(callback, ProcessGraph)
    return callback


ADD_MEAN = {
    "m": {"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}},
    "a": {
        "process_id": "add",
        "arguments": {"x": {"from_node": "m"}, "y": {"from_parameter": "context"}},
        "result": True,
    },
}


def test_callbacks_meet_arrays_and_scalars() -> None:
    values = np.arange(12.0).reshape(3, 2, 2)
    got = evaluate_callback(parsed(ADD_MEAN), {"data": Array(values), "context": 1})
    np.testing.assert_array_equal(got, values.mean(axis=0) + 1)


def test_elementwise_processes_keep_the_labels_of_an_array() -> None:
    graph = parsed(
        {"a": {"process_id": "absolute", "arguments": {"x": {"from_parameter": "data"}}}}
    )
    labels = np.asarray(["a", "b"])
    got = evaluate_callback(graph, {"data": Array(np.asarray([[-1.0], [2.0]]), labels)})
    assert isinstance(got, Array)
    assert got.labels is labels
    assert got.values.ravel().tolist() == [1.0, 2.0]


def test_an_unknown_parameter_is_told() -> None:
    with pytest.raises(OpenEOError, match="context") as caught:
        evaluate_callback(parsed(ADD_MEAN), {"data": Array(np.zeros(3))})
    assert caught.value.node == "a"


def test_predicates_travel_to_other_processes() -> None:
    graph = parsed({"l": {"process_id": "lte", "arguments": {
        "x": {"from_parameter": "value"}, "y": 20}}})  # fmt: skip
    predicate = pickle.loads(pickle.dumps(Predicate(graph)))
    assert predicate(20)
    assert not predicate(20.5)
    assert not predicate(None)


def test_values_become_json() -> None:
    day = np.datetime64("2022-01-01", "ns")
    value = {"a": Array(np.asarray([1.5, np.nan])), "t": day, "n": np.int64(3), "l": (True, None)}
    expected = {"a": [1.5, None], "t": "2022-01-01T00:00:00Z", "n": 3, "l": [True, None]}
    assert to_json(value) == expected
