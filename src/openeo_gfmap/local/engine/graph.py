"""Process graphs: from JSON to checked nodes in the order in which they can be evaluated.

Pure: nothing is loaded here. All that can be said about a graph without looking at data or
metadata is said here: unknown processes, missing and unknown arguments, wrong JSON types,
references to nothing, cycles, no result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import OpenEOError
from .registry import Process, get_process
from .schemas import problem_with, short

__all__ = [
    "CALLBACK_PARAMETERS",
    "Node",
    "NodeRef",
    "ParameterRef",
    "ProcessGraph",
    "check",
    "parse",
    "references",
]


@dataclass(frozen=True)
class NodeRef:
    """``{"from_node": id}``."""

    id: str


@dataclass(frozen=True)
class ParameterRef:
    """``{"from_parameter": name}``."""

    name: str


@dataclass(frozen=True)
class Node:
    """One process call.

    Attributes
    ----------
    id
        The node's key in the graph.
    process
        Process id.
    arguments
        Values with references and callbacks in place: :class:`NodeRef`, :class:`ParameterRef`,
        :class:`ProcessGraph`, anywhere inside lists and objects.
    """

    id: str
    process: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ProcessGraph:
    """Checked nodes, each after all that it refers to.

    Attributes
    ----------
    nodes
        By id, in an order in which they can be evaluated.
    result
        Id of the result node.
    """

    nodes: Mapping[str, Node]
    result: str

    def processes(self) -> Iterator[str]:
        """Process ids of all nodes, callbacks included."""
        for node in self.nodes.values():
            yield node.process
            for value in references(node.arguments):
                if isinstance(value, ProcessGraph):
                    yield from value.processes()


@dataclass
class _Parser:
    """Collects errors, so that validation can tell all of them at once."""

    errors: list[OpenEOError] = field(default_factory=list)

    def fail(self, code: str, message: str, node: str | None = None) -> None:
        self.errors.append(OpenEOError(code, message, node=node))

    def graph(self, raw: Any, where: str, parameters: frozenset[str] | None) -> ProcessGraph | None:
        """Parse one level; ``parameters`` are the names it may refer to, None if any."""
        if not isinstance(raw, Mapping) or not raw:
            self.fail(
                "ProcessGraphInvalid", f"{where} must be an object of nodes, got {short(raw)}."
            )
            return None
        nodes: dict[str, Node] = {}
        results: list[str] = []
        for id, entry in raw.items():
            node = self._node(str(id), entry, parameters)
            if node is not None:
                nodes[node.id] = node
                if entry.get("result") is True:
                    results.append(node.id)
        if len(nodes) == 1 and not results:
            results = list(nodes)
        if len(results) != 1 and len(nodes) == len(raw):
            self.fail(
                "ProcessGraphInvalid",
                f'{where} needs exactly one node with "result": true, it has {len(results)}'
                f"{': ' + ', '.join(results) if results else ''}.",
            )
        order = self._order(nodes, frozenset(map(str, raw)))
        if order is None or len(results) != 1 or len(nodes) != len(raw):
            return None
        return ProcessGraph({id: nodes[id] for id in order}, results[0])

    def _node(self, id: str, entry: Any, parameters: frozenset[str] | None) -> Node | None:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("process_id"), str):
            self.fail(
                "ProcessGraphInvalid",
                f"Node {id!r} must be an object with a process_id, got {short(entry)}.",
                id,
            )
            return None
        if not isinstance(entry.get("result", False), bool | None):
            self.fail(
                "ProcessGraphInvalid",
                f"'result' of node {id!r} must be true or false, got {short(entry['result'])}.",
                id,
            )
            return None
        name = entry["process_id"]
        raw = entry.get("arguments", {})
        if not isinstance(raw, Mapping):
            self.fail(
                "ProcessGraphInvalid",
                f"The arguments of node {id!r} must be an object, got {short(raw)}.",
                id,
            )
            return None
        if entry.get("namespace") not in (None, "backend"):
            self.fail(
                "ProcessUnsupported",
                f"Node {id!r} asks for {name!r} of namespace {entry['namespace']!r}; only "
                "predefined processes are available here.",
                id,
            )
            return None
        arguments = {str(k): self._value(v, id, parameters) for k, v in raw.items()}
        node = Node(id, name, arguments)
        try:
            process = get_process(name)
        except OpenEOError as error:
            self.errors.append(OpenEOError(error.code, error.message, node=id))
        else:
            self._arguments(node, process)
        return node

    def _arguments(self, node: Node, process: Process) -> None:
        known = {p["name"]: p for p in process.parameters}
        for name in process.required:
            if name not in node.arguments:
                self.fail(
                    "ProcessParameterMissing",
                    f"Node {node.id!r}: process {process.id!r} needs the argument {name!r}.",
                    node.id,
                )
        for name, value in node.arguments.items():
            if name not in known:
                self.fail(
                    "ProcessParameterUnsupported",
                    f"Node {node.id!r}: process {process.id!r} has no parameter {name!r}; it has "
                    f"{', '.join(known) or 'none'}.",
                    node.id,
                )
                continue
            parameter = known[name]
            nullable = parameter.get("optional") or name not in process.required
            problem = None if value is None and nullable else check(value, parameter["schema"])
            if problem:
                self.fail(
                    "ProcessParameterInvalid",
                    f"Node {node.id!r}: argument {name!r} of {process.id!r} {problem}.",
                    node.id,
                )

    def _value(self, value: Any, id: str, parameters: frozenset[str] | None) -> Any:
        if isinstance(value, list):
            return [self._value(v, id, parameters) for v in value]
        if not isinstance(value, Mapping):
            return value
        if "process_graph" in value and isinstance(value["process_graph"], Mapping):
            nested = self.graph(value["process_graph"], f"The callback in node {id!r}", None)
            # An object keeps a broken callback from being reported a second time.
            return nested if nested is not None else ProcessGraph({}, "")
        if len(value) == 1:
            ((key, target),) = value.items()
            if key == "from_node":
                return NodeRef(str(target))
            if key == "from_parameter":
                if not isinstance(target, str):
                    self.fail(
                        "ProcessGraphInvalid",
                        f"Node {id!r} refers to the parameter {short(target)}; names are texts.",
                        id,
                    )
                elif parameters is not None and target not in parameters:
                    self.fail(
                        "ProcessParameterMissing",
                        f"Node {id!r} refers to the parameter {target!r}, which is not defined.",
                        id,
                    )
                return ParameterRef(str(target))
        return {str(k): self._value(v, id, parameters) for k, v in value.items()}

    def _order(self, nodes: Mapping[str, Node], known: frozenset[str]) -> list[str] | None:
        """Sort topologically, in rounds: each takes all nodes whose inputs are there."""
        needs: dict[str, list[str]] = {}
        broken = False
        for node in nodes.values():
            needs[node.id] = []
            for ref in references(node.arguments):
                if not isinstance(ref, NodeRef):
                    continue
                if ref.id not in known:
                    self.fail(
                        "ProcessGraphInvalid",
                        f"Node {node.id!r} refers to node {ref.id!r}, which is not in the graph.",
                        node.id,
                    )
                    broken = True
                elif ref.id in nodes:
                    needs[node.id].append(ref.id)
        position = {id: index for index, id in enumerate(nodes)}
        waiting = {id: len(set(inputs)) for id, inputs in needs.items()}
        users: dict[str, list[str]] = {id: [] for id in nodes}
        for id, inputs in needs.items():
            for each in set(inputs):
                users[each].append(id)
        order: list[str] = []
        ready = [id for id, inputs in waiting.items() if not inputs]
        while ready:
            order.extend(ready)
            following = []
            for user in (u for id in ready for u in users[id]):
                waiting[user] -= 1
                if not waiting[user]:
                    following.append(user)
            ready = sorted(following, key=position.__getitem__)
        if len(order) < len(nodes):
            stuck = [id for id, inputs in waiting.items() if inputs]
            self.fail(
                "ProcessGraphInvalid",
                f"The nodes {', '.join(map(repr, stuck))} refer to each other in a cycle.",
                stuck[0],
            )
            return None
        return None if broken else order


def parse(
    process_graph: Any,
    parameters: Mapping[str, Any] | None = None,
    declared: Collection[str] = (),
) -> tuple[ProcessGraph | None, list[OpenEOError]]:
    """Check a process graph.

    Parameters
    ----------
    process_graph
        The nodes by id; or a process object with ``process_graph`` and ``parameters``.
    parameters
        Values of process parameters that the graph refers to.
    declared
        Names of parameters that have no value yet; references to them stay.

    Returns
    -------
    tuple
        The graph, None when it cannot be evaluated, and all errors found.
    """
    values = dict(parameters or {})
    if isinstance(process_graph, Mapping) and isinstance(
        process_graph.get("process_graph"), Mapping
    ):
        values = _defaults(process_graph.get("parameters")) | values
        process_graph = process_graph["process_graph"]
    parser = _Parser()
    names = frozenset(values).union(declared)
    graph = parser.graph(process_graph, "The process graph", names)
    if parser.errors or graph is None:
        return None, parser.errors
    nodes = {id: Node(id, n.process, _fill(n.arguments, values)) for id, n in graph.nodes.items()}
    return ProcessGraph(nodes, graph.result), []


def references(value: Any) -> Iterator[NodeRef | ParameterRef | ProcessGraph]:
    """All references and callbacks inside an argument, not those inside callbacks."""
    if isinstance(value, NodeRef | ParameterRef | ProcessGraph):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def check(value: Any, schema: Any) -> str | None:
    """Tell what is wrong with a literal argument, None when it may be right.

    Only JSON types are looked at; references are left to the planner.
    """
    if isinstance(value, NodeRef | ParameterRef):
        return None
    return problem_with(value, schema, callback=isinstance(value, ProcessGraph))


CALLBACK_PARAMETERS = frozenset({"x", "y", "data", "value", "index", "label", "context", "element"})
"""The names by which callbacks get their own values; they hide process parameters."""


def _defaults(parameters: Any) -> dict[str, Any]:
    entries = parameters if isinstance(parameters, list) else []
    return {p["name"]: p["default"] for p in entries if isinstance(p, Mapping) and "default" in p}


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Put process parameters in, also inside callbacks (whose own names are left alone)."""
    if isinstance(value, ParameterRef):
        return values.get(value.name, value)
    if isinstance(value, ProcessGraph):
        outer = {k: v for k, v in values.items() if k not in CALLBACK_PARAMETERS}
        nodes = {
            id: Node(id, n.process, _fill(n.arguments, outer)) for id, n in value.nodes.items()
        }
        return ProcessGraph(nodes, value.result)
    if isinstance(value, Mapping):
        return {k: _fill(v, values) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, values) for v in value]
    return value
