"""What is said about a process graph before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.engine.graph import NodeRef, ParameterRef, ProcessGraph, parse
from support.fake_source import FakeCatalog
from support.graphs import MONTH, Graph, box_geojson, callback, load, on_data, on_x, utm_box

HERE = utm_box(500000, 5600000, 640, 640)


def problems(graph: Any) -> list[tuple[str, str | None]]:
    return [(e.code, e.node) for e in validate(graph, catalog=FakeCatalog())]


def test_nodes_come_after_what_they_refer_to() -> None:
    graph, errors = parse(
        {
            "c": {
                "process_id": "add",
                "arguments": {"x": {"from_node": "a"}, "y": {"from_node": "b"}},
                "result": True,
            },
            "b": {"process_id": "add", "arguments": {"x": {"from_node": "a"}, "y": 1}},
            "a": {"process_id": "add", "arguments": {"x": 1, "y": 2}},
        }
    )
    assert not errors
    assert graph is not None
    assert list(graph.nodes) == ["a", "b", "c"]
    assert graph.result == "c"
    assert graph.nodes["b"].arguments == {"x": NodeRef("a"), "y": 1}


def test_callbacks_are_graphs_with_parameters_of_their_own() -> None:
    graph, errors = parse({"e": {"process_id": "array_create", "arguments": {"data": [1, 2]}},
                           "a": {"process_id": "array_apply", "arguments": {
                               "data": {"from_node": "e"}, "process": on_x("add", y=1)},
                               "result": True}})  # fmt: skip
    assert not errors
    assert graph is not None
    inner = graph.nodes["a"].arguments["process"]
    assert isinstance(inner, ProcessGraph)
    assert inner.nodes["add"].arguments["x"] == ParameterRef("x")
    assert list(graph.processes()) == ["array_create", "array_apply", "add"]


def test_process_parameters_are_filled_in() -> None:
    process = {
        "process_graph": {
            "a": {
                "process_id": "add",
                "arguments": {"x": {"from_parameter": "n"}, "y": {"from_parameter": "m"}},
                "result": True,
            }
        },
        "parameters": [{"name": "n", "default": 5}],
    }
    graph, errors = parse(process, {"m": 2})
    assert not errors
    assert graph is not None
    assert graph.nodes["a"].arguments == {"x": 5, "y": 2}
    assert [e.code for e in parse(process)[1]] == ["ProcessParameterMissing"]


@pytest.mark.parametrize("broken", [None, [], {}, "graph", 5, {"a": None}, {"a": {}}, {"a": []}])
def test_what_is_no_graph_is_invalid(broken: Any) -> None:
    assert {code for code, _ in problems(broken)} == {"ProcessGraphInvalid"}


def one(id: str, /, **arguments: Any) -> dict[str, Any]:
    return {"n": {"process_id": id, "arguments": arguments, "result": True}}


@pytest.mark.parametrize(
    ("graph", "code"),
    [
        (one("ad", x=1, y=2), "ProcessUnsupported"),
        (one("add", x=1), "ProcessParameterMissing"),
        (one("add", x=1, y=2, z=3), "ProcessParameterUnsupported"),
        (one("add", x="1", y=2), "ProcessParameterInvalid"),
        (one("add", x=True, y=2), "ProcessParameterInvalid"),
        (one("add", x={"from_node": "m"}, y=2), "ProcessGraphInvalid"),
        (one("add", x={"from_node": "n"}, y=2), "ProcessGraphInvalid"),
        (one("add", x={"from_parameter": "q"}, y=2), "ProcessParameterMissing"),
        ({"n": {"process_id": "add", "arguments": []}}, "ProcessGraphInvalid"),
        ({"n": {"process_id": "add", "arguments": {"x": 1, "y": 1}, "namespace": "me"}},
         "ProcessUnsupported"),
        (one("array_apply", data=[1], process=5), "ProcessParameterInvalid"),
        (one("array_apply", data=[1], process=callback("nope")), "ProcessUnsupported"),
        (one("add", x=on_x("add", y=1), y=2), "ProcessParameterInvalid"),
        (one("filter_bands", data=5, bands=["B02"]), "ProcessParameterInvalid"),
        (one("filter_bands", data=None, bands=["B02"]), "ProcessParameterInvalid"),
    ],
)  # fmt: skip
def test_errors_name_the_node(graph: Any, code: str) -> None:
    assert (code, "n") in problems(graph) or (code, "nope") in problems(graph)


def test_a_graph_needs_one_result() -> None:
    none = {k: {"process_id": "add", "arguments": {"x": 1, "y": 2}} for k in "ab"}
    assert problems(none) == [("ProcessGraphInvalid", None)]
    both = {k: {**v, "result": True} for k, v in none.items()}
    assert problems(both) == [("ProcessGraphInvalid", None)]


def test_a_cycle_is_told_once() -> None:
    graph = {
        "a": {"process_id": "absolute", "arguments": {"x": {"from_node": "b"}}, "result": True},
        "b": {"process_id": "absolute", "arguments": {"x": {"from_node": "a"}}},
    }
    (error,) = validate(graph, catalog=FakeCatalog())
    assert error.code == "ProcessGraphInvalid"
    assert "cycle" in error.message


def test_all_errors_are_told_at_once() -> None:
    graph = {
        "a": {"process_id": "nope", "arguments": {}},
        "b": {"process_id": "absolute", "arguments": {}, "result": True},
    }
    assert problems(graph) == [("ProcessUnsupported", "a"), ("ProcessParameterMissing", "b")]


def test_deep_nesting_is_refused() -> None:
    inner: Any = on_x("add", y=1)
    for _ in range(2000):
        inner = on_data("array_apply", process=inner)
    assert problems(one("array_apply", data=[1], process=inner)) == [("ProcessGraphInvalid", None)]


def cube_graph(change: Any, extent: Any = HERE, dates: Any = MONTH) -> dict[str, Any]:
    g = Graph()
    return g.result(change(g, load(g, ["B02", "B03"], extent, dates)))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda g, c: g.filter_bands(data=c, bands=["B9"]), "ProcessParameterInvalid"),
        (lambda g, c: g.filter_bands(data=c, bands=[]), "BandFilterParameterMissing"),
        (lambda g, c: g.filter_bbox(data=c, extent={"west": 1}), "ProcessParameterInvalid"),
        (lambda g, c: g.filter_bbox(data=c, extent=utm_box(9e5, 5e6, 10, 10)),
         "ProcessParameterInvalid"),
        (lambda g, c: g.filter_spatial(data=c, geometries={"type": "FeatureCollection"}),
         "ProcessParameterInvalid"),
        (lambda g, c: g.filter_temporal(data=c, extent=["2023-01-01", "2023-02-01"]),
         "TemporalExtentEmpty"),
        (lambda g, c: g.filter_temporal(data=c, extent=["soon", None]), "ProcessParameterInvalid"),
        (lambda g, c: g.rename_labels(data=c, dimension="bands", target=["a"]),
         "LabelsNotEnumerated"),
        (lambda g, c: g.rename_labels(data=c, dimension="bands", target=["a", "a"]),
         "LabelExists"),
        (lambda g, c: g.rename_labels(data=c, dimension="bands", target=["a"], source=["B1"]),
         "LabelNotAvailable"),
        (lambda g, c: g.rename_labels(data=c, dimension="bands", target=["a", {"b": 1}]),
         "ProcessParameterInvalid"),
        (lambda g, c: g.rename_labels(data=g.run_udf(data=c, udf="x", runtime="Python"),
                                      dimension="bands", target=[{"b": 1}]),
         "ProcessParameterInvalid"),
        (lambda g, c: g.rename_labels(data=c, dimension="q", target=["a"]),
         "DimensionNotAvailable"),
        (lambda g, c: g.reduce_dimension(data=c, dimension="x", reducer=on_data("mean")),
         "ProcessParameterInvalid"),
        (lambda g, c: g.drop_dimension(data=c, name="bands"), "DimensionLabelCountMismatch"),
        (lambda g, c: g.add_dimension(data=c, name="t", label="2022-01-01"), "DimensionExists"),
        (lambda g, c: g.aggregate_temporal_period(data=c, period="moon", reducer=on_data("mean")),
         "ProcessParameterInvalid"),
        (lambda g, c: g.aggregate_temporal(data=c, intervals=[["2022-01-02", "2022-01-01"]],
                                           reducer=on_data("mean")), "TemporalExtentEmpty"),
        (lambda g, c: g.resample_spatial(data=c, resolution=10, projection=999999), "CRSInvalid"),
        (lambda g, c: g.resample_spatial(data=c, resolution=[10, 20]), "ProcessParameterInvalid"),
        (lambda g, c: g.resample_spatial(data=c, resolution=10, method="guess"),
         "ProcessParameterInvalid"),
        (lambda g, c: g.merge_cubes(cube1=c, cube2=g.resample_spatial(data=c, resolution=20)),
         "ProcessParameterInvalid"),
        (lambda g, c: g.merge_cubes(cube1=c, cube2=g.reduce_dimension(
            data=c, dimension="t", reducer=on_data("mean"))), "OverlapResolverMissing"),
        (lambda g, c: g.to_scl_dilation_mask(data=c), "ProcessParameterInvalid"),
        (lambda g, c: g.ndvi(data=c), "NirBandAmbiguous"),
        (lambda g, c: g.apply_neighborhood(data=c, size=[{"dimension": "x", "value": 0}],
                                           process=on_data("mean")), "ProcessParameterInvalid"),
        (lambda g, c: g.apply_neighborhood(data=c, size=[{"dimension": "z"}],
                                           process=on_data("mean")), "ProcessParameterInvalid"),
        (lambda g, c: g.run_udf(data=c, udf="x", runtime="R"), "InvalidRuntime"),
        (lambda g, c: g.save_result(data=c, format="Zarr"), "FormatUnsupported"),
        (lambda g, c: g.save_result(data=c, format="Parquet"), "FormatUnsuitable"),
        (lambda g, c: g.save_result(data=c, format="NetCDF", options={"sample_by_feature": True}),
         "FormatArgumentInvalid"),
        (lambda g, c: g.absolute(x=[c]), "ProcessParameterInvalid"),
    ],
)  # fmt: skip
def test_cube_processes_refuse_what_cannot_work(change: Any, code: str) -> None:
    found = problems(cube_graph(change))
    assert [c for c, _ in found] == [code]
    assert found[0][1] is not None


@pytest.mark.parametrize(
    ("extent", "dates", "code"),
    [
        (None, MONTH, "ProcessParameterMissing"),
        ({**HERE, "west": 600000}, MONTH, "ProcessParameterInvalid"),
        ({**HERE, "crs": "EPSG:4326"}, MONTH, "CoordinateOutOfBounds"),
        ({**HERE, "crs": "nonsense"}, MONTH, "CRSInvalid"),
        (HERE, ["2022-01-01", "2022-01-01"], "TemporalExtentEmpty"),
        (HERE, ["2022-01-01"], "ProcessParameterInvalid"),
        (HERE, ["2022-13-01", None], "ProcessParameterInvalid"),
    ],
)
def test_loading_needs_place_and_time(extent: Any, dates: Any, code: str) -> None:
    assert [c for c, _ in problems(cube_graph(lambda g, c: c, extent, dates))] == [code]


def test_unknown_collections_and_bands_are_told() -> None:
    g = Graph()
    wrong = g.load_collection(id="NOPE", spatial_extent=HERE, temporal_extent=MONTH)
    assert [c for c, _ in problems(g.result(wrong))] == ["CollectionNotFound"]
    g = Graph()
    assert [c for c, _ in problems(g.result(load(g, ["B99"], HERE)))] == ["ProcessParameterInvalid"]


def test_files_are_not_fetched_to_validate() -> None:
    g = Graph()
    cube = load(g, ["B02"])
    polygons = g.load_url(url="http://127.0.0.1:1/never.parquet", format="Parquet")
    cube = g.filter_spatial(data=cube, geometries=polygons)
    options = {"sample_by_feature": True, "feature_id_property": "sample_id"}
    saved = g.save_result(data=cube, format="NetCDF", options=options)
    assert problems(g.result(saved)) == []


def test_null_geometries_are_named() -> None:
    shapes = box_geojson((0, 0, 1, 1), (0, 0, 1, 1))
    shapes["features"][1]["geometry"] = None
    (error,) = validate(
        cube_graph(lambda g, c: g.filter_spatial(data=c, geometries=shapes)), catalog=FakeCatalog()
    )
    assert "rows 1" in error.message
