"""However a process graph is broken, validation answers with openEO errors and nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.documents import check_process
from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.engine.inlining import Definition, inline
from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.errors import OpenEOError
from support.case_cubes import run_on_cubes
from support.fake_source import FakeCatalog
from support.graphs import MONTH, Graph, box_geojson, load, on_data, utm_box
from support.official_cases import Case, callbacks_of_today, read_cases
from support.reference_graph import reference_graph
from support.shared import SHARED_DATA

CATALOG = FakeCatalog()


def aggregate_graph() -> dict[str, Any]:
    g = Graph()
    cube = load(g, ["B04", "B08", "SCL"], utm_box(500000, 5600000, 640, 640))
    cube = g.filter_temporal(data=cube, extent=MONTH)
    cube = g.mask(data=cube, mask=g.filter_bands(data=cube, bands=["SCL"]))
    cube = g.ndvi(data=cube, target_band="NDVI")
    cube = g.resample_spatial(data=cube, resolution=20, projection=3035)
    cube = g.aggregate_temporal_period(data=cube, period="month", reducer=on_data("median"))
    cube = g.apply_dimension(data=cube, dimension="t", process=on_data("array_interpolate_linear"))
    table = g.aggregate_spatial(
        data=cube, geometries=box_geojson((5e5, 56e5, 500100, 5600100)), reducer=on_data("mean")
    )
    return g.result(g.save_result(data=table, format="Parquet"))


def published() -> list[dict[str, Any]]:
    """Graphs that openeo-gfmap 0.4.9 made for production, where they are on this machine."""
    folder = SHARED_DATA / "process_graphs" / "gfmap_generated"
    documents = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    return [document["process_graph"] for document in documents]


def official(cubes: bool) -> list[Case]:
    """Official cases, those with cubes or those without, where they are on this machine."""
    folder = SHARED_DATA / "openeo_processes"
    cases = read_cases(folder) if folder.is_dir() else []
    return [c for c in cases if ("'type': 'datacube'" in str(c.arguments)) == cubes]


GRAPHS = [reference_graph("http://127.0.0.1/x.parquet", MONTH), aggregate_graph()]
PRODUCTION = [*GRAPHS, *published()]
CASES = [
    {"n": {"process_id": c.process, "arguments": dict(c.arguments)}} for c in official(False)
] or GRAPHS
CUBE_CASES = official(True)

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(), st.text(max_size=8),
    st.just([]), st.just({}), st.just({"from_node": "load_collection0"}),
    st.just({"from_parameter": "x"}), st.just({"process_graph": {}}),
    st.sampled_from(["B02", "EPSG:4326", "t", "x", "bands", "NetCDF", "near", 1e300, [None, None]]),
    st.lists(st.integers(), max_size=3),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to all members of a JSON document."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, member in members:
        found.append((*path, key))
        if isinstance(member, dict | list):
            found += places(member, (*path, key))
    return found


def mutated(data: st.DataObject, graph: dict[str, Any], most: int = 3) -> dict[str, Any]:
    """Return a copy with members replaced, taken away, renamed, or put where others are."""
    graph = copy.deepcopy(graph)
    for _ in range(data.draw(st.integers(1, most))):
        known = places(graph)
        if not known:
            break
        owner, last = owner_of(graph, data.draw(st.sampled_from(known)))
        action = data.draw(st.sampled_from(["junk", "delete", "rename", "move"]))
        if action == "junk":
            owner[last] = copy.deepcopy(data.draw(JUNK))
        elif action == "delete":
            del owner[last]
        elif action == "move":
            source, name = owner_of(graph, data.draw(st.sampled_from(known)))
            owner[last] = copy.deepcopy(source[name])
        elif isinstance(owner, dict):
            owner["renamed"] = owner.pop(last)
    return graph


def owner_of(graph: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    *parents, last = path
    for key in parents:
        graph = graph[key]
    return graph, last


def is_cube(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "datacube"


def is_told(errors: list[OpenEOError]) -> bool:
    """Whether all errors are such as a client can read."""
    return all(
        isinstance(e, OpenEOError)
        and e.code not in ("", "Internal")
        and e.message
        and e.status < 500
        for e in errors
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_production_graphs_give_openeo_errors(data: st.DataObject) -> None:
    graph = mutated(data, data.draw(st.sampled_from(PRODUCTION)))
    assert is_told(validate(graph, catalog=CATALOG))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_official_cases_give_openeo_errors(data: st.DataObject) -> None:
    graph = mutated(data, data.draw(st.sampled_from(CASES)), most=2)
    assert is_told(validate(graph, catalog=CATALOG))


@pytest.mark.skipif(not CUBE_CASES, reason="the official cases are not on this machine")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_cube_cases_are_refused_or_run(data: st.DataObject) -> None:
    """What validation lets pass is evaluated, too, and fails with nothing but openEO errors."""
    case = data.draw(st.sampled_from(CUBE_CASES))
    plain = {k: v for k, v in case.arguments.items() if not is_cube(v)}
    changed = mutated(data, callbacks_of_today(plain), most=2)
    cubes = {k: v for k, v in case.arguments.items() if k not in plain and k not in changed}
    try:
        run_on_cubes(case.process, {**cubes, **changed})
    except OpenEOError as error:
        assert is_told([error])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_user_processes_give_openeo_errors(data: st.DataObject) -> None:
    """A graph called as a user-defined process of another one, both broken."""
    graph = data.draw(st.sampled_from([*PRODUCTION, *CASES[::10]]))
    parameters = [{"name": "x", "schema": {"type": "number"}}, {"name": "y", "default": 1}]
    process = mutated(data, {"process_graph": graph, "parameters": parameters}, most=2)
    call = {"n": {"process_id": "mine", "arguments": {"x": 5}, "result": True}}
    calling = mutated(data, {"process_graph": call}, most=1)
    stored = {"mine": process}

    def lookup(id: str, namespace: str | None) -> Definition | None:
        document = stored.get(id)
        if document is None:
            return None
        check_process(document)
        return Definition(id, "user", document["process_graph"], document.get("parameters") or [])

    try:
        check_process(calling)
        errors = validate(inline(calling, lookup), catalog=CATALOG)
    except OpenEOError as error:
        errors = [error]
    assert is_told(errors)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_arguments_give_openeo_errors(data: st.DataObject) -> None:
    """Every cube process with junk in its arguments."""
    cube_processes = [p for p in all_processes().values() if p.plan is not None]
    process = data.draw(st.sampled_from(cube_processes))
    g = Graph()
    cube = load(g, ["B04", "B08"], utm_box(500000, 5600000, 640, 640))
    arguments = {}
    for parameter in process.parameters:
        if parameter["name"] in ("data", "cube1", "cube2", "target", "mask") and data.draw(
            st.integers(0, 9)
        ):
            arguments[parameter["name"]] = cube
        elif not parameter.get("optional") or data.draw(st.booleans()):
            arguments[parameter["name"]] = data.draw(JUNK)
    graph = g.result(getattr(g, process.id)(**arguments))
    assert is_told(validate(graph, catalog=CATALOG))
