"""User-defined functions on cubes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from ...errors import OpenEOError
from ..callbacks import BoundCallback
from ..cube import Cube
from ..demands import Demand, Window
from ..graph import ProcessGraph
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule, Scope
from ..registry import (
    NOTHING,
    AnyValue,
    CubeData,
    Schema,
    process,
)
from ..udf import run_udf as run_code

UdfCode = Annotated[
    Any,
    Schema(
        [{"type": "string", "subtype": kind} for kind in ("udf-code", "uri", "file-path")],
    ),
]
UdfRuntime = Annotated[Any, Schema({"type": "string", "subtype": "udf-runtime"})]
UdfVersion = Annotated[Any, Schema({"type": "string", "subtype": "udf-runtime-version"})]

RUNTIMES = ("Python", "Python-Jep")


def _udf_meta(call: Call, context: PlanContext) -> CubeMeta:
    check_runtime(call.args.get("runtime"))
    return after_udf(call.cube())


def after_udf(meta: CubeMeta) -> CubeMeta:
    """Return what is known of a cube after a UDF: the pixels, but no band names."""
    return meta.patch(bands=None, itemsize=max(4, meta.itemsize))


def check_runtime(runtime: Any) -> None:
    """Refuse runtimes that are not here."""
    if str(runtime).lower() not in {r.lower() for r in RUNTIMES}:
        raise OpenEOError(
            "InvalidRuntime", f"UDF runtime {runtime!r} is not available; use 'Python'."
        )


def whole(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    """Demand all bands and dates, since a UDF may look at any of them."""
    return {"data": demand.patch(bands=None, interval=(None, None))}


@process(plan=Rule(meta=_udf_meta, inputs=whole))
def run_udf(
    data: CubeData,
    udf: UdfCode,
    runtime: UdfRuntime,
    version: UdfVersion = None,
    context: AnyValue = NOTHING,
    *,
    env: Any = None,
) -> CubeData:
    """Run a user-defined function.

    The function is ``apply_datacube(cube: openeo.udf.XarrayDataCube, context: dict)`` or
    ``apply_udf_data(udf_data)``. It sees the dimensions t, bands, y, x with their coordinates; a
    cube with missing pixels comes as float32 with NaN.

    Parameters
    ----------
    data
        A raster data cube.
    udf
        Source code, or the address or workspace path of a file with it.
    runtime
        ``Python``.
    version
        The Python version is that of the back-end.
    context
        Handed to the function.

    Returns
    -------
    CubeData
        What the function returns.
    """
    check_runtime(runtime)
    if not isinstance(data, Cube):
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"run_udf works on raster data cubes here, got {type(data).__name__}.",
        )
    made = run_code(_code(udf, env), runtime, data, context or {})
    return replace(made, kinds={d: v for d, v in data.kinds.items() if d in made.dims})


def _code(udf: str, env: Scope | None) -> str:
    text = udf.strip()
    if "\n" in text or not text.endswith(".py"):
        return udf
    if env is None or env.env.fetch is None:
        raise OpenEOError("InvalidUdf", f"The UDF {udf!r} cannot be fetched here; pass its code.")
    return str(env.env.fetch(text).read_text(encoding="utf-8"))


def has_udf(callback: Any) -> bool:
    """Whether a callback runs a UDF, which wants the cube itself instead of arrays."""
    return "run_udf" in _processes(callback)


def takes_cubes(callback: Any) -> bool:
    """Whether a callback on a chunk wants it as a cube: it runs a UDF or a model."""
    return not {"run_udf", "predict_onnx"}.isdisjoint(_processes(callback))


def _processes(callback: Any) -> set[str]:
    graph = callback.graph if isinstance(callback, BoundCallback) else callback
    return set(graph.processes()) if isinstance(graph, ProcessGraph) else set()
