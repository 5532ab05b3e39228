"""User-defined processes written out into the graph, and what the result is worth."""

from __future__ import annotations

from typing import Any

import pytest
from openeo.internal.graph_building import PGNode

from openeo_gfmap.local.engine.graph import parse
from openeo_gfmap.local.engine.inlining import Definition, inline, outer_node
from openeo_gfmap.local.engine.plan import Env
from openeo_gfmap.local.engine.planner import make_plan
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog
from support.graphs import callback

Graph = dict[str, Any]


def node(id: str, /, namespace: str | None = None, **arguments: Any) -> Graph:
    extra = {} if namespace is None else {"namespace": namespace}
    return {"process_id": id, "arguments": arguments, "result": True, **extra}


def parameter(name: str) -> dict[str, str]:
    return {"from_parameter": name}


def of(name: str) -> dict[str, str]:
    return {"from_node": name}


def number(name: str, **more: Any) -> Graph:
    return {"name": name, "schema": {"type": "number"}, **more}


FAHRENHEIT = Definition(
    "fahrenheit",
    "user",
    {
        "scaled": {"process_id": "multiply", "arguments": {"x": parameter("celsius"), "y": 1.8}},
        "moved": node("add", x=of("scaled"), y=parameter("zero")),
    },
    [number("celsius"), number("zero", optional=True, default=32)],
)
WARM_DAYS = Definition(
    "warm_days",
    "user",
    {
        "all": {
            "process_id": "array_apply",
            "arguments": {
                "data": parameter("days"),
                "process": callback("fahrenheit", celsius=parameter("x")),
            },
        },
        "counted": node(
            "count", data=of("all"), condition=callback("gt", x=parameter("x"),
                                                         y=parameter("limit"))
        ),
    },
    [{"name": "days", "schema": {"type": "array"}}, number("limit", default=70)],
)  # fmt: skip
# Calls the predefined process of its own name, once in each way.
ADD = Definition(
    "add",
    "user",
    {
        "one": {"process_id": "add", "arguments": {"x": parameter("x"), "y": 1}},
        "two": node("add", "backend", x=of("one"), y=1),
    },
    [number("x")],
)


def written_out(graph: Graph, *known: Definition, **process: Any) -> Graph:
    stored = {definition.id: definition for definition in known}

    def lookup(id: str, namespace: str | None) -> Definition | None:
        return None if namespace == "backend" else stored.get(id)

    return inline({"process_graph": graph, **process}, lookup)


def value(graph: Graph, *known: Definition, **process: Any) -> Any:
    """Return what a graph without cubes is worth."""
    parsed, errors = parse(written_out(graph, *known, **process))
    assert parsed is not None, errors
    plan = make_plan(parsed, Env(FakeCatalog()))
    assert not plan.problems
    return plan.constants[plan.result]


def test_parameters_and_their_defaults() -> None:
    assert value({"n": node("fahrenheit", celsius=100)}, FAHRENHEIT) == 212
    assert value({"n": node("fahrenheit", celsius=100, zero=0)}, FAHRENHEIT) == 180


def test_among_other_nodes_and_in_callbacks() -> None:
    graph = {
        "cold": {"process_id": "multiply", "arguments": {"x": -4, "y": 10}},
        "f": {"process_id": "fahrenheit", "arguments": {"celsius": of("cold")}},
        "array": {"process_id": "array_create", "arguments": {"data": [of("f"), of("cold")]}},
        "all": node(
            "array_apply", data=of("array"), process=callback("fahrenheit", celsius=parameter("x"))
        ),
    }
    assert value(graph, FAHRENHEIT) == [-40, -40]


def test_processes_inside_processes_with_callbacks() -> None:
    days = [10, 20, 22, 30]
    assert value({"n": node("warm_days", days=days)}, FAHRENHEIT, WARM_DAYS) == 2
    assert value({"n": node("warm_days", days=days, limit=40)}, FAHRENHEIT, WARM_DAYS) == 4


def test_a_callback_as_argument() -> None:
    each = Definition(
        "each",
        "user",
        {"n": node("array_apply", data=parameter("data"), process=parameter("what"))},
        [{"name": "data", "schema": {"type": "array"}},
         {"name": "what", "schema": {"type": "object", "subtype": "process-graph"}}],
    )  # fmt: skip
    double = callback("multiply", x=parameter("x"), y=2)
    assert value({"n": node("each", data=[1, 2], what=double)}, each) == [2, 4]
    with pytest.raises(OpenEOError, match="callback"):
        value({"n": node("each", data=[1, 2], what={"multiply": 2})}, each)


def test_a_process_around_the_predefined_one_of_its_name() -> None:
    assert value({"n": node("add", x=5)}, ADD) == 7
    assert value({"n": node("add", "backend", x=5, y=5)}, ADD) == 10


def test_the_clients_graphs() -> None:
    """The client's own way to build nested calls."""
    inner = PGNode("fahrenheit", arguments={"celsius": PGNode("pi")})
    graph = PGNode("fahrenheit", arguments={"celsius": inner, "zero": 0}).flat_graph()
    assert value(graph, FAHRENHEIT) == pytest.approx((3.14159265359 * 1.8 + 32) * 1.8)


def test_parameters_of_the_graph_itself() -> None:
    parameters = [number("v", default=-3)]
    assert value({"n": node("absolute", x=parameter("v"))}, parameters=parameters) == 3


def test_nodes_are_named_after_the_one_that_calls() -> None:
    graph = {"n": node("warm_days", days=[1])}
    names = written_out(graph, FAHRENHEIT, WARM_DAYS)
    assert list(names) == ["n/all", "n/counted"]
    assert outer_node("n/counted", graph) == "n"
    assert outer_node("n", graph) == "n" and outer_node(None, graph) is None


@pytest.mark.parametrize(
    ("graph", "code"),
    [
        (node("fahrenheit"), "ProcessParameterMissing"),
        (node("fahrenheit", kelvin=1), "ProcessParameterUnsupported"),
        (node("fahrenheit", celsius="hot"), "ProcessParameterInvalid"),
        (node("fahrenheit", celsius=True), "ProcessParameterInvalid"),
        (node("fahrenheit", 5, celsius=1), "ProcessGraphInvalid"),
    ],
)
def test_wrong_calls(graph: Graph, code: str) -> None:
    with pytest.raises(OpenEOError) as caught:
        written_out({"n": graph}, FAHRENHEIT)
    assert (caught.value.code, caught.value.node) == (code, "n")


def test_a_nodes_result_cannot_reach_into_a_callback() -> None:
    graph = {
        "limit": {"process_id": "add", "arguments": {"x": 1, "y": 2}},
        "n": node("warm_days", days=[1], limit=of("limit")),
    }
    with pytest.raises(OpenEOError, match="goes into a callback"):
        written_out(graph, FAHRENHEIT, WARM_DAYS)


def calls(id: str, *others: str) -> Definition:
    nodes = {name: {"process_id": name, "arguments": {}} for name in others}
    return Definition(id, "user", {**nodes, "e": node("e")})


def test_cycles() -> None:
    with pytest.raises(OpenEOError, match="one → two → one"):
        written_out({"n": node("one")}, calls("one", "two"), calls("two", "one"))
    with pytest.raises(OpenEOError, match="self → self"):
        written_out({"n": node("self")}, calls("self", "self"))


def test_growth_beyond_measure() -> None:
    twice = [Definition("p0", "user", {"n": node("e")})]
    for i in range(1, 20):
        inner = {name: {"process_id": f"p{i - 1}", "arguments": {}} for name in "ab"}
        twice.append(Definition(f"p{i}", "user", {**inner, "n": node("add", x=of("a"), y=of("b"))}))
    assert len(written_out({"n": node("p8")}, *twice)) < 1000
    with pytest.raises(OpenEOError) as caught:
        written_out({"n": node("p19")}, *twice)
    assert caught.value.code == "ProcessGraphComplexity"


@pytest.mark.parametrize("nodes", [{}, {"a": {"process_id": "e"}, "b": {"process_id": "e"}}])
def test_a_process_without_one_result(nodes: Graph) -> None:
    with pytest.raises(OpenEOError, match="exactly one node"):
        written_out({"n": node("broken")}, Definition("broken", "user", nodes))
