"""User-defined processes: a node that calls one becomes the nodes of its process graph.

The engine then knows no difference: bands and dates that are wanted of the result reach the
loading processes inside a user-defined process as they do in a graph written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import OpenEOError
from .graph import CALLBACK_PARAMETERS
from .schemas import problem_with

__all__ = ["Definition", "Lookup", "inline", "outer_node"]

# Processes that call each other several times grow fast.
_MOST_NODES = 10_000


@dataclass(frozen=True)
class Definition:
    """A process that is defined by a process graph.

    Attributes
    ----------
    id
        Process id.
    namespace
        ``user``, or the address it came from.
    process_graph
        Its nodes by id.
    parameters
        openEO parameter descriptions.
    """

    id: str
    namespace: str
    process_graph: Mapping[str, Any]
    parameters: Sequence[Mapping[str, Any]] = ()


Lookup = Callable[[str, str | None], Definition | None]
"""Finds a definition by process id and namespace; None when the process is a predefined one."""


def inline(process: Mapping[str, Any], lookup: Lookup, *, id: str = "") -> dict[str, Any]:
    """Return a process graph in which only predefined processes are left.

    Parameters
    ----------
    process
        ``process_graph`` and, where it has some, ``parameters``; their defaults are filled in.
        Nodes that are formless stay as they are, for :func:`graph.parse` to report.
    lookup
        Finds definitions; may raise for namespaces that cannot be used.
    id
        The name under which the user can call this very process, if there is one.

    Raises
    ------
    OpenEOError
        ``node`` is the node of this graph that cannot be used: a process that calls itself, missing
        or unknown arguments, arguments of the wrong type.
    """
    worker = _Inliner(lookup)
    parameters = _parameters(process.get("parameters"))
    own = Definition(id, "user" if id else "", process["process_graph"], parameters)
    nodes = worker.graph(own.process_graph, (own,))
    values = {p["name"]: p["default"] for p in own.parameters if "default" in p}
    return {id: _substituted(node, values, {}, False) for id, node in nodes.items()}


def outer_node(node: str | None, graph: Mapping[str, Any]) -> str | None:
    """Return the node of the original graph from which a node was inlined."""
    while node is not None and node not in graph and "/" in node:
        node = node.rpartition("/")[0]
    return node


@dataclass
class _Inliner:
    lookup: Lookup
    count: int = field(default=0)

    def graph(self, nodes: Mapping[str, Any], stack: tuple[Definition, ...]) -> dict[str, Any]:
        """Inline one level and all callbacks in it; ``stack`` holds the processes around it."""
        out: dict[str, Any] = {}
        results: dict[str, str] = {}
        for id, node in nodes.items():
            self._count()
            if not isinstance(node, Mapping) or not isinstance(node.get("process_id"), str):
                out[id] = node
                continue
            given = node.get("arguments", {})
            if not isinstance(given, Mapping):
                out[id] = node
                continue
            try:
                arguments = {k: self._callbacks(v, stack) for k, v in given.items()}
                definition = self._definition(node, stack)
                if definition is None:
                    out[id] = {**node, "arguments": arguments}
                    continue
                inner, result = self._body(definition, arguments, id, stack)
            except OpenEOError as error:
                raise OpenEOError(
                    error.code, error.message, status=error.status, node=id
                ) from error
            if node.get("result") is True:
                inner[result] = {**inner[result], "result": True}
            out.update(inner)
            results[id] = result
        return {id: _renamed(node, results) for id, node in out.items()} if results else out

    def _count(self) -> None:
        self.count += 1
        if self.count > _MOST_NODES:
            raise OpenEOError(
                "ProcessGraphComplexity",
                f"With all user-defined processes put in, the graph has more than {_MOST_NODES:,} "
                "nodes.",
            )

    def _callbacks(self, value: Any, stack: tuple[Definition, ...]) -> Any:
        if isinstance(value, list):
            return [self._callbacks(v, stack) for v in value]
        if not isinstance(value, Mapping):
            return value
        if isinstance(value.get("process_graph"), Mapping):
            return {**value, "process_graph": self.graph(value["process_graph"], stack)}
        return {k: self._callbacks(v, stack) for k, v in value.items()}

    def _definition(
        self, node: Mapping[str, Any], stack: tuple[Definition, ...]
    ) -> Definition | None:
        namespace = node.get("namespace")
        if namespace is not None and not isinstance(namespace, str):
            raise OpenEOError(
                "ProcessGraphInvalid", f"The namespace {namespace!r:.80} is no text or null."
            )
        found = self.lookup(node["process_id"], namespace)
        chain = [(d.namespace, d.id) for d in stack]
        if found is not None and (found.namespace, found.id) in chain:
            if namespace is None and found.id == stack[-1].id and self._predefined(found.id):
                return None  # a user's process around the predefined one of the same name
            names = [d.id for d in stack[chain.index((found.namespace, found.id)) :]]
            raise OpenEOError(
                "ProcessGraphInvalid",
                f"The process {found.id!r} calls itself: {' → '.join([*names, found.id])}.",
            )
        return found

    def _predefined(self, id: str) -> bool:
        from .registry import all_processes  # noqa: PLC0415 - loads all processes

        return id in all_processes()

    def _body(
        self,
        definition: Definition,
        arguments: Mapping[str, Any],
        id: str,
        stack: tuple[Definition, ...],
    ) -> tuple[dict[str, Any], str]:
        """Return the nodes of a process, named after the node that calls it, and its result."""
        values = _bound(definition, arguments)
        nodes = self.graph(definition.process_graph, (*stack, definition))
        marked = [k for k, n in nodes.items() if isinstance(n, Mapping) and n.get("result") is True]
        results = marked or (list(nodes) if len(nodes) == 1 else [])
        if len(results) != 1:
            raise OpenEOError(
                "ProcessGraphInvalid",
                f'The process {definition.id!r} needs exactly one node with "result": true, it '
                f"has {len(results)}.",
            )
        names = {name: f"{id}/{name}" for name in nodes}
        inner = {}
        for name, node in nodes.items():
            inner[names[name]] = _substituted(node, values, names, False)
            if isinstance(inner[names[name]], dict):
                inner[names[name]].pop("result", None)
        return inner, names[results[0]]


def _parameters(raw: Any) -> tuple[Mapping[str, Any], ...]:
    entries = raw if isinstance(raw, list) else []
    return tuple(p for p in entries if isinstance(p, Mapping) and isinstance(p.get("name"), str))


def _bound(definition: Definition, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a process's parameters: what is given, else the defaults."""
    known = {p["name"]: p for p in _parameters(list(definition.parameters))}
    for name in arguments:
        if name not in known:
            raise OpenEOError(
                "ProcessParameterUnsupported",
                f"The process {definition.id!r} has no parameter {name!r}; it has "
                f"{', '.join(known) or 'none'}.",
            )
    values: dict[str, Any] = {}
    for name, parameter in known.items():
        optional = bool(parameter.get("optional")) or "default" in parameter
        if name not in arguments and not optional:
            raise OpenEOError(
                "ProcessParameterMissing",
                f"The process {definition.id!r} needs the argument {name!r}.",
            )
        value = arguments.get(name, parameter.get("default"))
        problem = None
        if name in arguments and not (value is None and optional) and not _reference(value):
            callback = isinstance(value, Mapping) and "process_graph" in value
            problem = problem_with(value, parameter.get("schema", {}), callback=callback)
        if problem:
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The argument {name!r} of the process {definition.id!r} {problem}.",
            )
        values[name] = value
    return values


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Let references to nodes of one level point to their new names; callbacks are levels apart."""
    return _substituted(value, {}, names, False)


def _substituted(
    value: Any, values: Mapping[str, Any], names: Mapping[str, str], callback: bool
) -> Any:
    """Put in the values of parameters and the new names of nodes.

    Inside callbacks the parameters that callbacks have of their own hide those of the process, and
    the names are those of other nodes.
    """
    if isinstance(value, list):
        return [_substituted(v, values, names, callback) for v in value]
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1:
        ((key, target),) = value.items()
        if key == "from_parameter" and isinstance(target, str) and target in values:
            if callback and _refers(values[target]):
                raise OpenEOError(
                    "ProcessParameterInvalid",
                    f"The argument {target!r} goes into a callback, and must be a value there, "
                    "not the result of a node.",
                )
            return values[target]
        if key == "from_node" and not callback:
            return {"from_node": names.get(str(target), target)}
    inner = value.get("process_graph")
    if isinstance(inner, Mapping) and "process_id" not in value:
        own = {k: v for k, v in values.items() if k not in CALLBACK_PARAMETERS}
        return {
            **value,
            "process_graph": {k: _substituted(v, own, {}, True) for k, v in inner.items()},
        }
    return {k: _substituted(v, values, names, callback) for k, v in value.items()}


def _refers(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_refers, value))
    if not isinstance(value, Mapping):
        return False
    if _reference(value):
        return True
    return "process_graph" not in value and any(map(_refers, value.values()))


def _reference(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() in ({"from_node"}, {"from_parameter"})
