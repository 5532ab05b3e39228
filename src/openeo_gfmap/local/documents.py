"""Read the documents that clients send: jobs and processes, as far as the API defines them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .engine.registry import all_processes
from .errors import OpenEOError
from .joblog import LEVELS

__all__ = ["check_graph", "job_changes", "process_of", "unknown_processes"]

_LONGEST_TEXT = 100_000
_LARGEST_BUDGET = 1e15
# Nested deeper, a process graph is a mistake or an attack on the recursion limit.
_DEEPEST = 60


def process_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``process`` of a request, with a process graph of the right form.

    Raises
    ------
    OpenEOError
        ``ProcessInvalid``, ``ProcessGraphMissing`` or ``ProcessGraphInvalid``.
    """
    process = document.get("process")
    if not isinstance(process, dict):
        raise OpenEOError(
            "ProcessGraphMissing",
            'The request has no process: expected {"process": {"process_graph": {…}}}.',
        )
    check_graph(process.get("process_graph"))
    return process


def check_graph(graph: object) -> None:
    """Check that a process graph is an object of nodes that name their process.

    What the nodes mean is not looked at: that is validation.

    Raises
    ------
    OpenEOError
        ``ProcessGraphMissing`` or ``ProcessGraphInvalid``.
    """
    if not graph:
        raise OpenEOError(
            "ProcessGraphMissing", "The process has no process_graph, or an empty one."
        )
    if not isinstance(graph, dict):
        raise OpenEOError(
            "ProcessGraphInvalid",
            f"The process graph is a JSON {type(graph).__name__}; expected an object of nodes.",
        )
    for node_id, node in graph.items():
        if not isinstance(node, dict) or not isinstance(node.get("process_id"), str):
            raise OpenEOError(
                "ProcessGraphInvalid",
                f"Node {node_id!r} is no process node; expected an object with process_id and "
                "arguments.",
                node=node_id,
            )
        if not isinstance(node.get("arguments", {}), dict):
            raise OpenEOError(
                "ProcessGraphInvalid", f"Arguments of node {node_id!r} are no object.", node=node_id
            )


def unknown_processes(graph: Mapping[str, Any]) -> list[str]:
    """Return the ids of processes in a graph, callbacks included, that do not exist here."""
    known = all_processes()
    return sorted(set(_process_ids(graph)) - set(known))


def _process_ids(value: object, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        raise OpenEOError("ProcessGraphInvalid", f"The process graph nests deeper than {_DEEPEST}.")
    if isinstance(value, dict):
        graph = value.get("process_graph", value) if depth else value
        if isinstance(graph, dict) and all(_is_node(node) for node in graph.values()):
            for node in graph.values():
                yield node["process_id"]
                for argument in node.get("arguments", {}).values():
                    yield from _process_ids(argument, depth + 1)


def _is_node(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("process_id"), str)
        and isinstance(value.get("arguments", {}), dict)
    )


def job_changes(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a job that a request sets: what it leaves out is not changed.

    Raises
    ------
    OpenEOError
        ``JobInvalid`` for a member of the wrong type, naming it.
    """
    changes: dict[str, Any] = {}
    for name in ("title", "description", "plan"):
        if name in document:
            changes[name] = _checked(document, name, (str, type(None)), "text or null")
            if len(changes[name] or "") > _LONGEST_TEXT:
                raise OpenEOError(
                    "JobInvalid", f"{name} is longer than {_LONGEST_TEXT} characters."
                )
    if "budget" in document:
        budget = _checked(document, "budget", (int, float, type(None)), "a number or null")
        if budget is not None and not 0 < budget <= _LARGEST_BUDGET:
            raise OpenEOError(
                "BudgetInvalid",
                f"The budget is {budget!r:.40}; expected more than 0, up to {_LARGEST_BUDGET:.0e}.",
            )
        changes["budget"] = budget
    if "log_level" in document:
        level = document["log_level"]
        if level not in LEVELS:
            raise OpenEOError("JobInvalid", f"log_level is {level!r}; expected one of {LEVELS}.")
        changes["log_level"] = level
    if "job_options" in document:
        options = _checked(document, "job_options", (dict, type(None)), "an object or null")
        changes["options"] = options or {}
    return changes


def _checked(document: Mapping[str, Any], name: str, kinds: tuple[type, ...], expected: str) -> Any:
    value = document[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise OpenEOError("JobInvalid", f"{name} is {value!r:.100}; expected {expected}.")
    return value
