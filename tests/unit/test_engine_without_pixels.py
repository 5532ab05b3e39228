"""Cubes that ``create_data_cube`` makes: no pixels, only labels and values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openeo_gfmap.local.engine import execute
from openeo_gfmap.local.engine.plan import Env
from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog

MAXIMUM = {
    "process_graph": {
        "max": {
            "process_id": "max",
            "arguments": {"data": {"from_parameter": "data"}},
            "result": True,
        }
    }
}
DIMENSIONS = (("t", "2020-06-01", "temporal"), ("bands", "B1", "bands"), ("run", 7, "other"))


def cube_of(dimensions: int) -> tuple[dict[str, Any], str]:
    """Nodes that make a cube of some dimensions, and the last of them."""
    nodes: dict[str, Any] = {"made": {"process_id": "create_data_cube", "arguments": {}}}
    last = "made"
    for name, label, kind in DIMENSIONS[:dimensions]:
        arguments = {"data": {"from_node": last}, "name": name, "label": label, "type": kind}
        nodes[name] = {"process_id": "add_dimension", "arguments": arguments}
        last = name
    return nodes, last


def run(nodes: dict[str, Any], folder: Path) -> Any:
    (asset,) = execute(nodes, env=Env(FakeCatalog()), out_dir=folder).assets  # type: ignore[arg-type]
    return json.loads((folder / asset.name).read_text())


@pytest.mark.parametrize("save", [False, True])
def test_labels_and_values_are_written_as_json(tmp_path: Path, save: bool) -> None:
    nodes, last = cube_of(3)
    nodes["sum"] = {"process_id": "is_nodata", "arguments": {"x": {"from_node": last}}}
    if save:
        arguments = {"data": {"from_node": "sum"}, "format": "JSON"}
        nodes["save"] = {"process_id": "save_result", "arguments": arguments}
    list(nodes.values())[-1]["result"] = True
    assert run(nodes, tmp_path) == {
        "dimensions": {
            "t": {"type": "temporal", "labels": ["2020-06-01T00:00:00Z"]},
            "bands": {"type": "bands", "labels": ["B1"]},
            "run": {"type": "other", "labels": [7]},
        },
        "data": [[[True]]],
    }


def test_a_cube_without_dimensions_is_one_missing_value(tmp_path: Path) -> None:
    nodes, last = cube_of(0)
    nodes[last]["result"] = True
    assert run(nodes, tmp_path) == {"dimensions": {}, "data": None}


def test_processes_on_labels_work_on_it(tmp_path: Path) -> None:
    nodes, last = cube_of(3)
    arguments: dict[str, Any] = {"data": {"from_node": last}, "dimension": "bands"}
    nodes["labels"] = {"process_id": "dimension_labels", "arguments": arguments, "result": True}
    assert run(nodes, tmp_path) == ["B1"]


@pytest.mark.parametrize(
    ("process", "arguments", "code", "says"),
    [
        ("add_dimension", {"name": "t", "label": "x"}, "DimensionExists", "'t'"),
        ("drop_dimension", {"name": "lat"}, "DimensionNotAvailable", "lat"),
        ("reduce_dimension", {"dimension": "y", "reducer": MAXIMUM}, "DimensionNotAvailable", "y"),
        ("resample_spatial", {"resolution": 10}, "", "with pixels; this one has none"),
        ("to_scl_dilation_mask", {}, "DimensionMissing", "no pixels, only t, bands"),
        ("save_result", {"format": "NetCDF"}, "FormatUnsuitable", "a data cube without pixels"),
        ("load_stac", {"url": "https://e.org", "bands": {"from_node": "bands"}}, "", "data cube"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, process: str, arguments: dict[str, Any], code: str, says: str
) -> None:
    nodes, last = cube_of(2)
    given = arguments if process == "load_stac" else {"data": {"from_node": last}, **arguments}
    nodes["case"] = {"process_id": process, "arguments": given, "result": True}
    with pytest.raises(OpenEOError) as error:
        run(nodes, tmp_path)
    assert not code or error.value.code == code, error.value.code
    assert says in error.value.message, error.value.message


def test_no_process_fails_on_it_but_with_an_openeo_error(tmp_path: Path) -> None:
    """Each process, the cube in each of its arguments, with zero to two dimensions."""
    tried = 0
    for id, process in all_processes().items():
        for dimensions in range(3):
            for parameter in process.parameters:
                nodes, last = cube_of(dimensions)
                nodes["case"] = {
                    "process_id": id,
                    "arguments": _arguments(process.parameters, parameter["name"], last),
                    "result": True,
                }
                tried += 1
                try:
                    execute(
                        nodes,
                        env=Env(FakeCatalog()),  # type: ignore[arg-type]
                        out_dir=tmp_path / str(tried),
                    )
                except OpenEOError as error:
                    assert error.code != "Internal" or "fetch" in error.message, (id, parameter)
    assert tried > 500


def _arguments(parameters: Any, name: str, cube: str) -> dict[str, Any]:
    """Give the cube for one parameter, and something likely for others that are required."""
    found: dict[str, Any] = {name: {"from_node": cube}}
    for parameter in parameters:
        schema = str(parameter["schema"])
        if parameter["name"] in found or parameter.get("optional"):
            continue
        likely: Any = 1
        if "process-graph" in schema:
            likely = MAXIMUM
        elif "datacube" in schema:
            likely = {"from_node": cube}
        elif parameter["name"] == "dimension":
            likely = "bands"
        found[parameter["name"]] = likely
    return found
