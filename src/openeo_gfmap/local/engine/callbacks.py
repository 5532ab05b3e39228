"""Callbacks: process graphs inside arguments, evaluated on numpy arrays.

Value processes know arrays and scalars only. Here they meet cubes: an elementwise process given
a :class:`cube.Array` or a :class:`cube.Cube` is applied to the values, and the result is wrapped
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import OpenEOError
from .complexity import require_small
from .cube import Array, Cube
from .graph import Node, NodeRef, ParameterRef, ProcessGraph, references
from .plan import Scope
from .registry import Process, get_process

__all__ = ["BoundCallback", "Predicate", "call_process", "evaluate_callback", "only_call"]


class BoundCallback:
    """A callback that can be called: ``callback(x=…)``.

    Parameters
    ----------
    graph
        The callback.
    outer
        Parameters of the callback around it, which its own hide.
    env
        Handed to processes that want it.
    """

    def __init__(self, graph: ProcessGraph, outer: Mapping[str, Any], env: Scope | None):
        self.graph = graph
        self._outer = dict(outer)
        self._env = env

    def __call__(self, **parameters: Any) -> Any:
        """Evaluate the callback with parameters by name."""
        return evaluate_callback(self.graph, {**self._outer, **parameters}, self._env)


class Predicate:
    """A callback on one value as a Python predicate; picklable.

    Parameters
    ----------
    graph
        A callback with the parameter ``value``.
    """

    def __init__(self, graph: ProcessGraph):
        self._graph = graph

    def __call__(self, value: Any) -> bool:
        """Whether the callback holds for a value; null counts as false."""
        result = evaluate_callback(self._graph, {"value": value, "x": value}, None)
        return result is not None and bool(np.all(result))


def evaluate_callback(
    callback: ProcessGraph | BoundCallback, args: Mapping[str, Any], env: Scope | None = None
) -> Any:
    """Evaluate a callback.

    Parameters
    ----------
    callback
        The graph.
    args
        Its parameters: scalars, float arrays (elementwise), :class:`cube.Array` (along a
        dimension) or :class:`cube.Cube` (for UDFs).
    env
        Handed to processes that want it.

    Returns
    -------
    Any
        What the result node gives.
    """
    if isinstance(callback, BoundCallback):
        return callback(**args)
    values: dict[str, Any] = {}
    for node in callback.nodes.values():
        process = get_process(node.process)
        arguments = {k: _resolve(v, node, values, args, env) for k, v in node.arguments.items()}
        try:
            values[node.id] = call_process(process, arguments, env)
        except OpenEOError as error:
            raise OpenEOError(
                error.code, error.message, status=error.status, node=error.node or node.id
            ) from error
    return values[callback.result]


def call_process(process: Process, arguments: Mapping[str, Any], env: Scope | None) -> Any:
    """Call a process, unwrapping and wrapping cubes and arrays for elementwise ones.

    Null for an optional parameter means its default.
    """
    defaults = {p["name"]: p.get("default") for p in process.parameters if p.get("optional")}
    wrapped: Cube | Array | None = None
    plain: dict[str, Any] = {}
    for name, value in arguments.items():
        given = defaults[name] if value is None and name in defaults else value
        if process.plan is None and name not in process.arrays:
            if isinstance(given, Cube):
                given = given.as_float()
                wrapped = wrapped or given
                given = given.data
            elif isinstance(given, Array):
                wrapped = wrapped or given
                given = given.values
        elif name in process.arrays and isinstance(given, Cube):
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"Process {process.id!r} works along one dimension; use it in reduce_dimension or "
                "apply_dimension, which say which.",
            )
        plain[name] = given
    result = _called(process, plain, env)
    if not isinstance(result, np.ndarray):
        return result
    if isinstance(wrapped, Array) and result.shape == wrapped.values.shape:
        return replace(wrapped, values=result)
    if isinstance(wrapped, Cube) and result.shape == wrapped.data.shape:
        return wrapped.with_data(result, nodata=None)
    return result


def _called(process: Process, arguments: Mapping[str, Any], env: Scope | None) -> Any:
    if process.plan is not None:
        return process.call(arguments, env)
    plain = (v for v in arguments.values() if isinstance(v, str | list | tuple | Mapping | Array))
    if not process.vectors:  # GeoJSON is as large as the request that held it
        require_small(process.id, plain)
    try:
        return process.call(arguments, env)
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        # A process on plain values fails like this for nothing but values it cannot take, such
        # as a text among numbers: the user's graph is to blame.
        raise OpenEOError(
            "ProcessParameterInvalid", f"Process {process.id!r} cannot take its arguments: {error}."
        ) from error


def only_call(callback: Any, process: str) -> Node | None:
    """Return the callback's node if it is a single call of a process without inner references."""
    graph = callback.graph if isinstance(callback, BoundCallback) else callback
    if not isinstance(graph, ProcessGraph) or len(graph.nodes) != 1:
        return None
    node = graph.nodes[graph.result]
    nested = any(not isinstance(r, ParameterRef) for r in references(node.arguments))
    return None if nested or node.process != process else node


def _resolve(
    value: Any,
    node: Node,
    values: Mapping[str, Any],
    parameters: Mapping[str, Any],
    env: Scope | None,
) -> Any:
    if isinstance(value, NodeRef):
        return values[value.id]
    if isinstance(value, ParameterRef):
        if value.name not in parameters:
            raise OpenEOError(
                "ProcessParameterMissing",
                f"Node {node.id!r} in a callback refers to the parameter {value.name!r}; the "
                f"callback gets {', '.join(parameters) or 'none'}.",
                node=node.id,
            )
        return parameters[value.name]
    if isinstance(value, ProcessGraph):
        return BoundCallback(value, parameters, env)
    if isinstance(value, Mapping):
        return {k: _resolve(v, node, values, parameters, env) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, node, values, parameters, env) for v in value]
    return value
