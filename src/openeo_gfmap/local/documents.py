"""Read the documents that clients send: jobs and processes, as far as the API defines them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import OpenEOError
from .joblog import LEVELS

__all__ = ["NAME", "check_depth", "check_graph", "check_process", "job_changes", "process_of"]

_LONGEST_TEXT = 100_000
_LARGEST_BUDGET = 1e15
# Deeper than any process graph in use, and far from Python's recursion limit.
_DEEPEST = 200
_MOST_PARAMETERS = 200

NAME = re.compile(r"\w{1,200}", re.ASCII)
"""What user-defined processes and their parameters may be called."""

# Members of a process beside its graph: their type, and what to call it.
_MEMBERS: dict[str, tuple[type, str]] = {
    "parameters": (list, "a list"),
    "returns": (dict, "an object"),
    "summary": (str, "text"),
    "description": (str, "text"),
    "categories": (list, "a list"),
    "examples": (list, "a list"),
    "links": (list, "a list"),
    "exceptions": (dict, "an object"),
    "deprecated": (bool, "true or false"),
    "experimental": (bool, "true or false"),
}


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
    check_process(process)
    return process


def check_process(process: Mapping[str, Any]) -> None:
    """Check the form of a process: its graph, its parameters, and what else describes it.

    Raises
    ------
    OpenEOError
        ``ProcessInvalid``, ``ProcessGraphMissing`` or ``ProcessGraphInvalid``, naming what is
        wrong.
    """
    check_graph(process.get("process_graph"))
    for name, (kind, expected) in _MEMBERS.items():
        value = process.get(name)
        if value is not None and not isinstance(value, kind):
            raise OpenEOError("ProcessInvalid", f"{name} is {value!r:.80}; expected {expected}.")
    _check_parameters(process.get("parameters") or [])


def _check_parameters(parameters: list[Any]) -> None:
    """Check that parameters are described, each under a name of its own.

    Raises
    ------
    OpenEOError
        ``ProcessInvalid``.
    """
    if len(parameters) > _MOST_PARAMETERS:
        raise OpenEOError("ProcessInvalid", f"There are more than {_MOST_PARAMETERS} parameters.")
    seen = set()
    for number, parameter in enumerate(parameters):
        name = parameter.get("name") if isinstance(parameter, dict) else None
        if not isinstance(name, str) or not NAME.fullmatch(name) or name in seen:
            raise OpenEOError(
                "ProcessInvalid",
                f"Parameter {number} is {parameter!r:.80}; expected an object with a name of its "
                "own (letters, digits and _), a description and a schema.",
            )
        schema = parameter.get("schema", {})
        entries = schema if isinstance(schema, list) else [schema]
        if not all(isinstance(entry, dict) and _has_types(entry) for entry in entries):
            raise OpenEOError(
                "ProcessInvalid", f"The schema of parameter {name!r} is {schema!r:.80}; expected a "
                "JSON schema.",
            )  # fmt: skip
        seen.add(name)


def _has_types(schema: Mapping[str, Any]) -> bool:
    types = schema.get("type", [])
    return isinstance(types, str) or (
        isinstance(types, list) and all(isinstance(t, str) for t in types)
    )


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


def check_depth(document: object) -> None:
    """Refuse what is nested so deep that walking it, here or later, would end the recursion.

    Raises
    ------
    OpenEOError
        ``ProcessInvalid``.
    """
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        level = [
            value
            for container in level
            for value in (container.values() if isinstance(container, dict) else container)
            if isinstance(value, dict | list)
        ]
        if not level:
            return
    raise OpenEOError("ProcessInvalid", f"The document nests deeper than {_DEEPEST} levels.")


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
