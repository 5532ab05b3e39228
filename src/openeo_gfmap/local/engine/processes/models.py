"""Machine-learning models in the ONNX format."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import OpenEOError
from ..cube import Array, Cube
from ..demands import Demand, Window
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule, Scope
from ..registry import CubeData, Text, process

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
}


def _meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    if "bands" not in meta.dims:
        raise OpenEOError(
            "DimensionMissing",
            f"Node {call.node.id!r}: predict_onnx takes the bands as features; the cube has none.",
            node=call.node.id,
        )
    if context.env.fetch is not None:
        _runtime()
    return meta.patch(bands=None, itemsize=max(4, meta.itemsize))


def _inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    return {"data": demand.patch(bands=None)}


@process(plan=Rule(meta=_meta, inputs=_inputs))
def predict_onnx(data: CubeData, model: Text, *, env: Any) -> CubeData:
    """Apply an ONNX model to each pixel, its features being the bands.

    A model with an input of shape (n, features) gets pixels, one with (n, features, rows, columns)
    whole dates of a window; give the latter the size it wants with apply_neighborhood. Each column
    of each output is a band, named by the output. A pixel with a missing feature stays missing.

    In callbacks of reduce_dimension and apply_dimension the features are the array's elements.

    Parameters
    ----------
    data
        A raster data cube with bands in the order of the model's features.
    model
        Address of a model, or its path in the file workspace.

    Returns
    -------
    CubeData
        The cube with the model's outputs as bands; float32, or float64 where the model says so.
    """
    session, given = _session(model, env), typing.cast(Any, data)
    if isinstance(given, Array):
        made, _ = _by_pixel(session, np.moveaxis(given.values, 0, -1))
        values: Any = np.moveaxis(made, -1, 0)
        return typing.cast(
            Cube, values[0] if len(values) == 1 else Array(values)
        )  # a reducer wants one value
    if not isinstance(given, Cube) or "bands" not in given.dims:
        raise OpenEOError("DimensionMissing", "predict_onnx wants a cube with bands.")
    wide = given.as_float()
    axis = wide.axis("bands")
    if len(session.get_inputs()[0].shape) == 4:
        made, names = _by_plane(session, wide)
    else:
        made, names = _by_pixel(session, np.moveaxis(wide.data, axis, -1))
        made = np.moveaxis(made, -1, axis)
    return wide.with_data(made).relabelled("bands", np.asarray(names, dtype=str))


def _runtime() -> Any:
    try:
        # An extra, slow to import; imported by name, as it may not be there to be checked.
        return importlib.import_module("onnxruntime")
    except ImportError:
        raise OpenEOError(
            "FeatureUnsupported",
            "predict_onnx needs onnxruntime, which is not installed on this back-end: "
            'pip install "openeo-gfmap[inference]".',
            status=501,
        ) from None


def _session(model: str, env: Scope | None) -> Any:
    if env is None or env.env.fetch is None:
        raise OpenEOError("Internal", "No model can be fetched here.", status=500)
    return _loaded(str(env.env.fetch(model)), model)


@lru_cache(maxsize=4)
def _loaded(path: str, name: str) -> Any:
    onnxruntime = _runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # windows run side by side
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise OpenEOError(
            "ProcessParameterInvalid", f"{name!r} cannot be loaded as an ONNX model: {error}"
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) not in (2, 4) or inputs[0].type not in _TYPES:
        shapes = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The model {name!r} has the inputs {shapes}; it needs one, of numbers with the shape "
            "(n, features) or (n, features, rows, columns).",
        )
    return session


def _run(session: Any, values: np.ndarray[Any, Any]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Run a model; what it gives by name, numbers only."""
    wanted = session.get_inputs()[0]
    features, have = wanted.shape[1], values.shape[1]
    if isinstance(features, int) and features != have:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"The model takes {features} features, the cube has {have} bands.",
        )
    ready = np.ascontiguousarray(values, dtype=_TYPES[wanted.type])
    try:
        outputs = session.run(None, {wanted.name: ready})
    except Exception as error:
        raise OpenEOError("ProcessParameterInvalid", f"The model failed: {error}") from error
    made = []
    for output, value in zip(session.get_outputs(), outputs, strict=True):
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The output {output.name!r} of the model is {output.type}, not numbers; export "
                "classifiers without ZipMap.",
            )
        made.append((output.name, _as_float(value)))
    return made


def _as_float(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    wide = values.dtype.kind in "iu" and values.dtype.itemsize > 2
    return values.astype(np.float64 if wide or values.dtype == np.float64 else np.float32)


def _by_pixel(session: Any, values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Run a model on values with the features along the last axis."""
    flat = values.reshape(-1, values.shape[-1])
    valid = np.isfinite(flat).all(axis=1)
    # A model is asked even where all is missing, as only its answer tells the bands.
    rows = flat[valid] if valid.any() else np.zeros((1, flat.shape[1]), dtype=flat.dtype)
    outputs = [(name, v.reshape(len(rows), -1)) for name, v in _run(session, rows)]
    columns = np.concatenate([v for _, v in outputs], axis=1)
    made = np.full((len(flat), columns.shape[1]), np.nan, dtype=columns.dtype)
    if valid.any():
        made[valid] = columns
    return made.reshape(*values.shape[:-1], columns.shape[1]), _named(outputs)


def _by_plane(session: Any, cube: Cube) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Run a model on whole planes with dims (t, bands, y, x)."""
    order = [d for d in cube.dims if d not in ("bands", "y", "x")]
    planes = cube.data.reshape(-1, *cube.data.shape[len(order) :])
    valid = np.isfinite(planes).all(axis=1, keepdims=True)
    outputs = _run(session, np.where(np.isfinite(planes), planes, 0))
    for name, value in outputs:
        if value.ndim != 4 or value.shape[-2:] != planes.shape[-2:]:
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The output {name!r} of the model has the shape {value.shape} for planes of "
                f"{planes.shape[-2:]}; it must keep rows and columns.",
            )
    made = np.concatenate([v for _, v in outputs], axis=1)
    made = np.where(valid, made, made.dtype.type(np.nan))
    return made.reshape(*cube.data.shape[: len(order)], *made.shape[1:]), _named(outputs)


def _named(outputs: list[tuple[str, np.ndarray[Any, Any]]]) -> list[str]:
    return [
        name if value.shape[1] == 1 else f"{name}_{i}"
        for name, value in outputs
        for i in range(value.shape[1])
    ]
