"""The cubes of the official cases: given to the engine in place of collections, and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.engine import registry
from openeo_gfmap.local.engine.axes import label_array
from openeo_gfmap.local.engine.cube import Cube, crop
from openeo_gfmap.local.engine.evaluate import Evaluation
from openeo_gfmap.local.engine.graph import parse
from openeo_gfmap.local.engine.grid import Grid, crs_name, extent_of
from openeo_gfmap.local.engine.instants import parse_instant
from openeo_gfmap.local.engine.meta import CubeMeta
from openeo_gfmap.local.engine.outputs import make_output
from openeo_gfmap.local.engine.plan import Call, Env, PlanContext, Rule, Scope
from openeo_gfmap.local.engine.planner import make_plan
from support.fake_source import FakeCatalog

SOURCE = "cube_of_the_case"
_FIRST, _LAST = ("t", "bands"), ("y", "x")


@dataclass(frozen=True)
class CaseCube:
    """A cube of a case, and what is known of it before it is read."""

    cube: Cube
    meta: CubeMeta

    @classmethod
    def read(cls, document: Mapping[str, Any], name: str) -> CaseCube:
        """Build a cube from its JSON."""
        dims = dict(_dimensions(document))
        names = tuple(document["order"])
        order = tuple(
            [d for d in _FIRST if d in names]
            + [d for d in names if d not in _FIRST + _LAST]
            + [d for d in _LAST if d in names]
        )
        labels = {d: _labels(dims[d]) for d in order if dims[d]["type"] != "spatial"}
        shape = tuple(len(dims[d]["values"]) for d in names)
        raw = document.get("data")
        values = np.zeros(shape) if raw is None else np.asarray(raw)
        if values.dtype.kind == "i":
            values = values.astype(np.int64)  # so that arithmetic has the precision that is asked
        data = np.transpose(values, [names.index(d) for d in order])
        nodata = document.get("nodata")
        box = _box(dims)
        kinds = {d: dims[d]["type"] for d in order}
        cube = Cube(data, order, labels, box, None if data.dtype.kind == "f" else nodata, kinds)
        grid = Grid(crs_name(box.crs), box.transform.a, (box.transform.c, box.transform.f))
        bands = tuple(labels["bands"].tolist()) if "bands" in labels else None
        known = {d: tuple(v) for d, v in labels.items() if d != "bands"}
        meta = CubeMeta(
            order,
            bands,
            grid,
            extent_of(box),
            limits=(extent_of(box),),
            time=name,
            itemsize=8,
            kinds=kinds,
            labels=known,
        )
        return cls(cube, meta)

    def at(self, box: GeoBox) -> Cube:
        """Return the pixels of a box, those beyond the cube missing."""
        have = self.cube.geobox
        assert have is not None
        size = have.transform.a
        left = round((have.transform.c - box.transform.c) / size)
        top = round((box.transform.f - have.transform.f) / size)
        rows, columns = box.shape
        bottom, right = rows - top - have.shape[0], columns - left - have.shape[1]
        sides = (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))
        if not any(map(sum, sides)):
            return crop(self.cube, box)
        fill = np.nan if self.cube.nodata is None else self.cube.nodata
        width = [(0, 0)] * (self.cube.data.ndim - 2) + [*sides]
        data = np.pad(self.cube.data, width, constant_values=fill)
        padded = GeoBox(
            data.shape[-2:],
            have.transform @ have.transform.translation(-sides[1][0], -sides[0][0]),
            have.crs,
        )
        return crop(self.cube.with_data(data, geobox=padded), box)


def _dimensions(document: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = document["dimensions"]
    return [(d["name"], d) for d in found] if isinstance(found, list) else list(found.items())


def _labels(dimension: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    if dimension["type"] == "temporal":
        return label_array(dimension["values"], "temporal")
    return np.asarray(dimension["values"])


def _moment(text: Any) -> np.datetime64 | None:
    instant = parse_instant(text) if isinstance(text, str) else None
    return None if instant is None else np.datetime64(instant.moment.replace(tzinfo=None), "ns")


def _box(dims: Mapping[str, Mapping[str, Any]]) -> GeoBox:
    x, y = dims["x"]["values"], dims["y"]["values"]
    size = x[1] - x[0]
    grid = Grid(crs_name(dims["x"]["reference_system"]), size, (x[0] - size / 2, y[0] + size / 2))
    return grid.box(0, 0, len(x), len(y))


def run_on_cubes(process: str, arguments: Mapping[str, Any]) -> Any:
    """Run one process as a graph: planned, windowed, evaluated; the whole result as a cube.

    Raises
    ------
    OpenEOError
        The first that validation or evaluation gives.
    """
    cubes: dict[str, CaseCube] = {}
    nodes: dict[str, Any] = {}
    given = {}
    for name, value in arguments.items():
        given[name] = value
        if isinstance(value, dict) and value.get("type") == "datacube":
            cubes[name] = CaseCube.read(value, name)
            nodes[name] = {"process_id": SOURCE, "arguments": {"name": name}}
            given[name] = {"from_node": name}
    nodes["case"] = {"process_id": process, "arguments": given, "result": True}
    known = registry._PROCESSES
    known[SOURCE] = source_of(cubes)
    try:
        return _run(nodes)
    finally:
        del known[SOURCE]


def _run(nodes: Mapping[str, Any]) -> Any:
    graph, errors = parse(nodes)
    if graph is None:
        raise errors[0]
    env = Env(FakeCatalog())  # type: ignore[arg-type]
    plan = make_plan(graph, env)
    if plan.problems:
        raise plan.problems[0]
    if plan.result not in plan.calls or not isinstance(plan.calls[plan.result].meta, CubeMeta):
        return plan.constants[plan.result]
    output = make_output(plan, Path(), 1 << 30)
    window, *further = output.windows()
    assert not further, "the cubes of the cases are smaller than a window"
    value = Evaluation(plan, env, {}, None).window(window)  # type: ignore[arg-type]
    return output.keep(window, value)


def source_of(cubes: Mapping[str, CaseCube]) -> registry.Process:
    """Return a process that gives cubes by name, as much of them as is asked for."""

    def serve(name: str, env: Scope) -> Cube:
        return cubes[name].at(env.demand.box)  # type: ignore[union-attr,arg-type]

    def meta(call: Call, context: PlanContext) -> CubeMeta:
        return cubes[call.args["name"]].meta

    text = Annotated[str, registry.Schema({"type": "string"})]
    parameter = {"name": "name", "description": "", "schema": text.__metadata__[0].json}
    return registry.Process(
        SOURCE,
        serve,
        plan=Rule(meta=meta, inputs=lambda call, demand, window: {}),
        wants_env=True,
        parameters=(parameter,),
    )


def same_cube(found: Any, wanted: Mapping[str, Any], delta: float) -> str | None:
    """Compare a cube with that of a case; None when they agree, else what differs.

    The order of dimensions means nothing in openEO. Truth values in a cube are 1 and 0, as a cube
    has one type and must be able to miss some.
    """
    if not isinstance(found, Cube):
        return f"{found!r} is no cube"
    dims = dict(_dimensions(wanted))
    order = wanted.get("order", list(dims))
    if set(found.dims) != set(order):
        return f"the dimensions are {found.dims}"
    for name in order:
        labels, expected = _labels_of(found, name), dims[name]["values"]
        if len(labels) != len(expected) or not all(map(_same_label, labels, expected)):
            return f"the labels of {name} are {labels}"
    raw = wanted.get("data")
    if raw is None or not order:  # a cube without dimensions is compared by that alone
        return None
    gone = np.transpose(found.missing(), [found.dims.index(d) for d in order])
    values = np.transpose(found.data, [found.dims.index(d) for d in order]).astype(np.float64)
    data = np.asarray(raw, dtype=np.float64).reshape(values.shape)
    nodata = wanted.get("nodata")
    missing = np.isnan(data) | (data == nodata if nodata is not None else False)
    if not np.array_equal(gone, missing):
        return f"missing are {gone}"
    close = np.isclose(values, data, rtol=_RELATIVE, atol=delta) | missing
    return None if close.all() else f"the values are {values}"


_RELATIVE = 1e-10


def _labels_of(cube: Cube, name: str) -> list[Any]:
    if name in cube.periods:
        return cube.names(name)
    if name in cube.labels:
        return list(cube.labels[name])
    box = cube.geobox
    assert box is not None
    t, (rows, columns) = box.transform, box.shape
    if name == cube.dims[-1]:
        return [t.c + (i + 0.5) * t.a for i in range(columns)]
    return [t.f + (i + 0.5) * t.e for i in range(rows)]


def _same_label(found: Any, wanted: Any) -> bool:
    if isinstance(found, np.datetime64):
        return bool(found == _moment(wanted))
    return bool(found == wanted) or str(found) == str(wanted)
