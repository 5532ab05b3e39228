"""However a process graph is broken, validation answers with openEO errors and nothing else."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog
from support.graphs import MONTH, Graph, box_geojson, load, on_data, utm_box
from support.reference_graph import reference_graph

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


GRAPHS = [reference_graph("http://127.0.0.1/x.parquet", MONTH), aggregate_graph()]

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


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_graphs_give_openeo_errors(data: st.DataObject) -> None:
    graph = copy.deepcopy(data.draw(st.sampled_from(GRAPHS)))
    for _ in range(data.draw(st.integers(1, 3))):
        known = places(graph)
        if not known:
            break
        *path, last = data.draw(st.sampled_from(known))
        owner: Any = graph
        for key in path:
            owner = owner[key]
        action = data.draw(st.sampled_from(["junk", "delete", "rename"]))
        if action == "junk":
            owner[last] = copy.deepcopy(data.draw(JUNK))
        elif action == "delete":
            del owner[last]
        elif isinstance(owner, dict):
            owner["renamed"] = owner.pop(last)
    errors = validate(graph, catalog=CATALOG)
    assert all(isinstance(e, OpenEOError) and e.code != "Internal" for e in errors)


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
    errors = validate(graph, catalog=CATALOG)
    assert all(isinstance(e, OpenEOError) for e in errors)
