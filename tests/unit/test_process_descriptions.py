"""Every process's description, derived from its function, against openEO's own parameter lists.

Names, order, which are optional, defaults, types and subtypes, and what comes back.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.openapi_schemas import SCHEMAS

OFFICIAL: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "support" / "official_processes.json").read_text("utf-8")
)

# Processes that openEO does not list: those of back-ends that production graphs are written for.
NOT_OFFICIAL = {
    "chunk_polygon", "mask_scl_dilation", "predict_onnx", "to_scl_dilation_mask", "trunc",
    "vector_to_raster",
}  # fmt: skip

# Where a description says something else on purpose: (process, parameter), or the process and
# "returns", or "names" for the list of parameters.
GEOJSON_TOO = "GeoJSON is taken as well, as everywhere else"
DIFFERENT: dict[tuple[str, str], str] = {
    ("aggregate_temporal", "labels"): "left out means the intervals' starts, so it is null",
    ("apply_polygon", "names"): "the polygons are called geometries since",
    ("array_append", "label"): "numbers as well, as the test cases have them",
    ("array_modify", "length"): "one element to remove, none to insert, as the test cases want it",
    ("filter_vector", "data"): GEOJSON_TOO,
    ("filter_vector", "geometries"): GEOJSON_TOO,
    ("inspect", "data"): "says that data cubes are taken",
    ("run_udf", "data"): "UDFs get data cubes here",
    ("run_udf", "returns"): "UDFs give data cubes here",
    ("save_result", "returns"): "true, as in all released versions",
    ("vector_buffer", "geometries"): GEOJSON_TOO,
    ("vector_reproject", "data"): GEOJSON_TOO,
    ("vector_to_random_points", "geometry_count"): "null is the same as left out, which means 1",
}

PROCESSES = sorted(all_processes())


def kinds(schema: Any) -> list[str]:
    """Return types with subtypes, as the file has them."""
    found = set()
    for choice in schema if isinstance(schema, list) else [schema]:
        types = choice.get("type", "any")
        for name in [types] if isinstance(types, str) else types:
            subtype = choice.get("subtype") if name != "null" else None
            found.add(f"{name}:{subtype}" if subtype else name)
    return sorted(found)


def differences(id: str) -> dict[tuple[str, str], str]:
    described, official = all_processes()[id].describe(), OFFICIAL[id]
    found: dict[tuple[str, str], str] = {}
    ours = {p["name"]: p for p in described["parameters"]}
    theirs = {p["name"]: p for p in official["parameters"]}
    if list(ours) != list(theirs):
        found[id, "names"] = f"{list(ours)} instead of {list(theirs)}"
    for name in ours.keys() & theirs.keys():
        mine, wanted = ours[name], theirs[name]
        types = kinds(mine["schema"])
        left_out = wanted.get("optional") and wanted.get("default") is None
        if left_out and mine.get("default", "") is None and "null" not in wanted["types"]:
            types = [t for t in types if t != "null"]  # null is how Python leaves it out
        seen = (mine.get("optional", False), mine.get("default"), types)
        expected = (wanted.get("optional", False), wanted.get("default"), wanted["types"])
        if seen != expected:
            found[id, name] = f"{seen} instead of {expected}"
    returned = kinds(described["returns"]["schema"])
    if returned != official["returns"]:
        found[id, "returns"] = f"{returned} instead of {official['returns']}"
    return found


def test_all_but_a_few_processes_are_openeos() -> None:
    assert set(PROCESSES) - set(OFFICIAL) == NOT_OFFICIAL


@pytest.mark.parametrize("id", [p for p in PROCESSES if p in OFFICIAL])
def test_parameters_are_the_official_ones(id: str) -> None:
    found = differences(id)
    told = {key for key in DIFFERENT if key[0] == id}
    assert found.keys() == told, "\n".join(f"{k}: {v}" for k, v in found.items())


@pytest.mark.parametrize("id", PROCESSES)
def test_everything_is_described(id: str) -> None:
    process = all_processes()[id]
    described = process.describe()
    assert described["summary"].endswith(".") and "\n\n" not in described["summary"]
    for parameter in described["parameters"]:
        assert parameter["description"], parameter["name"]
        assert parameter["schema"], parameter["name"]
        for choice in _choices(parameter["schema"]):
            jsonschema.Draft202012Validator.check_schema(choice)
    assert described["returns"]["schema"], "what comes back has no type"
    names = [n.rstrip("_") for n in inspect.signature(process.function).parameters if n != "env"]
    assert [p["name"] for p in described["parameters"]] == names
    assert json.loads(json.dumps(described)) == described


def _choices(schema: Any) -> list[Any]:
    return schema if isinstance(schema, list) else [schema]


def test_descriptions_are_what_the_interface_promises() -> None:
    root = {"components": {"schemas": SCHEMAS}, "$ref": "#/components/schemas/PredefinedProcess"}
    validator = jsonschema.Draft202012Validator(root)
    for id in PROCESSES:
        validator.validate(all_processes()[id].describe())
