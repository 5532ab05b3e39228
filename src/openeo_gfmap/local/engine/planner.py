"""The forward pass of the dry run: binds arguments, evaluates constants, finds metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import OpenEOError
from .callbacks import BoundCallback, call_process
from .cube import Cube
from .features import Features
from .graph import Node, NodeRef, ProcessGraph, references
from .grid import Extent, Grid
from .meta import SOMEWHERE, CubeMeta, Meta, Unknown
from .plan import Call, Env, LoadSpec, Plan, PlanContext, Rule, Scope, rule_of
from .registry import get_process

__all__ = ["make_plan"]


def make_plan(graph: ProcessGraph, env: Env) -> Plan:
    """Run the forward pass.

    Parameters
    ----------
    graph
        A checked graph.
    env
        With ``fetch=None`` nothing outside the catalog is touched, and values that need it
        are :class:`meta.Unknown`.

    Returns
    -------
    Plan
        ``problems`` holds what is wrong; a plan with problems cannot be executed.
    """
    return _Planner(graph, env).run()


class _Planner:
    def __init__(self, graph: ProcessGraph, env: Env):
        self.graph = graph
        self.env = env
        self.constants: dict[str, Any] = {}
        self.metas: dict[str, Meta] = {}
        self.calls: dict[str, Call] = {}
        self.saves: dict[str, Call] = {}
        self.loads: dict[str, LoadSpec] = {}
        self.problems: list[OpenEOError] = []
        self.failed: set[str] = set()
        self.pixels: set[str] = set()

    def run(self) -> Plan:
        for node in self.graph.nodes.values():
            if self._is_pixel(node):
                self.pixels.add(node.id)
            else:
                self._guarded(node, self._constant)
        context = PlanContext(self.env, self._extents())
        for node in self.graph.nodes.values():
            if node.id in self.pixels:
                self._guarded(node, lambda n: self._forward(n, context))
        last = self.graph.nodes[self.graph.result]
        plan = self._plan(last, "openEO", problems=tuple(self.problems))
        if plan.problems:
            return plan
        taken = {_prefix(plan)}
        others = []
        for node in self.graph.nodes.values():
            if node.process == "save_result" and node.id != last.id:
                part = self._plan(node, f"openEO_{node.id}")
                if _prefix(part) in taken:  # two results must not write the same files
                    part = replace(part, suffix=f"_{node.id}")
                taken.add(_prefix(part))
                others.append(part)
        return replace(plan, others=tuple(others))

    def _plan(self, node: Node, prefix: str, **more: Any) -> Plan:
        """Return the plan of what a node gives, or of what it saves."""
        save = self.saves.get(node.id)
        data = node.arguments.get("data") if save else None
        return Plan(
            calls=self.calls,
            constants=self.constants,
            loads=self.loads,
            result=data.id if isinstance(data, NodeRef) else node.id,
            save=save,
            prefix=prefix,
            **more,
        )

    def _is_pixel(self, node: Node) -> bool:
        if get_process(node.process).plan is not None:
            return True
        return any(r.id in self.pixels for r in _node_refs(node))

    def _guarded(self, node: Node, step: Any) -> None:
        """Run one step for a node; its failure is noted, and those that follow are skipped."""
        if any(r.id in self.failed for r in _node_refs(node)):
            self.failed.add(node.id)
            return
        try:
            step(node)
        except OpenEOError as error:
            self.failed.add(node.id)
            self.problems.append(
                OpenEOError(error.code, error.message, status=error.status, node=node.id)
            )

    def _constant(self, node: Node) -> None:
        process = get_process(node.process)
        scope = Scope(self.env)
        args = {k: _bound(self._resolve(v, node), scope) for k, v in node.arguments.items()}
        unknown = any(isinstance(v, Unknown) for v in args.values())
        if unknown or (process.wants_env and self.env.fetch is None):
            self.constants[node.id] = Unknown()
            return
        try:
            self.constants[node.id] = call_process(process, args, scope)
        except MemoryError:
            raise OpenEOError(
                "ProcessGraphComplexity",
                f"Node {node.id!r}: the value of {node.process!r} does not fit into memory.",
            ) from None

    def _extents(self) -> dict[str, tuple[Extent, ...]]:
        """Find for each node on pixels where its consumers look, walking from the result back."""
        reach: dict[str, tuple[Extent, ...]] = {}
        for node in reversed(list(self.graph.nodes.values())):
            if node.id not in self.pixels or node.id in self.failed:
                continue
            try:
                own = rule_of(call := self._bind(node)).extent(call)
            except OpenEOError:
                continue  # the forward pass will meet the same error and report it
            mine = (own,) if own is not None else reach.get(node.id, ())
            for ref in _node_refs(node):
                known = reach.get(ref.id, ())
                reach[ref.id] = known + tuple(e for e in mine if e not in known)
        return reach

    def _forward(self, node: Node, context: PlanContext) -> None:
        call = self._bind(node)
        rule = rule_of(call)
        if not isinstance(call.process.plan, Rule) and not call.refs:
            self._constant(node)  # what looked like a cube turned out to be labels
            return
        if not isinstance(call.process.plan, Rule) and len(call.refs) != 1:
            raise call.invalid(
                next(iter(call.refs)), "is a data cube; use merge_cubes to combine cubes"
            )
        if node.process != "save_result" and any(isinstance(v, Cube) for v in call.args.values()):
            self._without_pixels(call, rule, context)
            return
        if not isinstance(call.process.plan, Rule):
            (name,) = call.refs
            if call.process.vectors:
                raise call.invalid(name, "must be features; values of pixels cannot go there")
            meta: Any = call.cube(name)
        else:
            meta = rule.meta(call, context)
        call = replace(call, meta=meta)
        if node.process == "save_result":
            self.saves[node.id] = call
        if not isinstance(meta, CubeMeta):
            self.constants[node.id] = meta
            return
        self.metas[node.id] = meta
        self.calls[node.id] = call
        spec = rule.load(call, context) if rule.load is not None else None
        if spec is not None:
            self.loads[node.id] = spec

    def _without_pixels(self, call: Call, rule: Rule, context: PlanContext) -> None:
        """Evaluate a process on a cube that ``create_data_cube`` made, after the usual checks."""
        names = [k for k, v in call.args.items() if isinstance(v, Cube)]
        if call.refs or call.process.wants_env:
            raise call.invalid(names[0], "must be a data cube with pixels; this one has none")
        metas = {k: _meta_of(v) if isinstance(v, Cube) else v for k, v in call.args.items()}
        found = rule.meta(replace(call, args=metas), context)
        if isinstance(found, CubeMeta):
            self._constant(call.node)
        else:
            self.constants[call.node.id] = found

    def _bind(self, node: Node) -> Call:
        """Bind arguments: defaults, constants, and metadata of cubes as far as they are known."""
        process = get_process(node.process)
        args: dict[str, Any] = {}
        refs: dict[str, str] = {}
        for parameter in process.parameters:
            name = parameter["name"]
            value = node.arguments.get(name)
            if value is None:
                value = parameter.get("default")
            if isinstance(value, NodeRef):
                cubes = process.plan is None or "datacube" in str(parameter["schema"])
                made = value.id in self.metas or isinstance(self.constants.get(value.id), Cube)
                if made and not cubes:
                    raise OpenEOError(
                        "ProcessParameterInvalid",
                        f"Node {node.id!r}: argument {name!r} of {node.process!r} cannot be a "
                        f"data cube, that of node {value.id!r}.",
                        node=node.id,
                    )
                if value.id in self.metas:
                    refs[name] = value.id
                    args[name] = self.metas[value.id]
                    continue
                if value.id not in self.constants:
                    args[name] = Unknown()  # the extents are looked for before metadata are known
                    continue
            if isinstance(value, ProcessGraph):
                _require_values(node, name, value)
            args[name] = self._resolve(value, node)
            self._require_cube(node, parameter, args[name])
        return Call(node, process, args, refs)

    def _require_cube(self, node: Node, parameter: Mapping[str, Any], value: Any) -> None:
        schema = parameter["schema"]
        if isinstance(schema, list) or schema.get("subtype") != "datacube":
            return
        if value is None or isinstance(value, Unknown | CubeMeta | Features | Cube):
            return
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"Node {node.id!r}: argument {parameter['name']!r} of {node.process!r} must be a data "
            f"cube, got {type(value).__name__}.",
            node=node.id,
        )

    def _resolve(self, value: Any, node: Node) -> Any:
        if isinstance(value, NodeRef):
            if value.id in self.constants:
                return self.constants[value.id]
            if value.id in self.pixels:
                raise OpenEOError(
                    "ProcessParameterInvalid",
                    f"Node {node.id!r}: the data cube of node {value.id!r} cannot stand here; "
                    "cubes are arguments of their own, not parts of lists or objects.",
                    node=node.id,
                )
            return Unknown()
        if isinstance(value, Mapping):
            return {k: self._resolve(v, node) for k, v in value.items()}
        if isinstance(value, list):
            return [self._resolve(v, node) for v in value]
        return value


def _meta_of(cube: Cube) -> CubeMeta:
    """Return what is known of a cube without pixels; its place stands for none."""
    labels = {dim: tuple(values) for dim, values in cube.labels.items()}
    bands = labels.pop("bands", None)
    grid = Grid(SOMEWHERE.crs, 0.01, SOMEWHERE.bounds[:2])
    return CubeMeta(cube.dims, bands, grid, SOMEWHERE, kinds=cube.kinds, labels=labels)


# Processes on cubes that callbacks may call: they get the values, or the cube itself.
_IN_CALLBACKS = frozenset({"run_udf", "predict_onnx", "inspect"})


def _require_values(node: Node, name: str, callback: ProcessGraph) -> None:
    """Refuse callbacks with processes on cubes: a callback works on values."""
    for process in callback.processes():
        if get_process(process).plan is not None and process not in _IN_CALLBACKS:
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"Node {node.id!r}: the callback {name!r} of {node.process!r} calls {process!r}, "
                "which works on data cubes; callbacks work on their values. Make it a node of the "
                "graph.",
                node=node.id,
            )


def _node_refs(node: Node) -> list[NodeRef]:
    return [r for r in references(node.arguments) if isinstance(r, NodeRef)]


def _bound(value: Any, scope: Scope) -> Any:
    return BoundCallback(value, {}, scope) if isinstance(value, ProcessGraph) else value


def _prefix(plan: Plan) -> str:
    return plan.file_prefix.lower()  # some file systems ignore case
