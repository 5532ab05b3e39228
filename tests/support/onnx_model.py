"""Small ONNX models, written byte by byte: no library is needed to make them.

ONNX files are protocol buffers; the numbers of the fields are those of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

_FLOAT, _INT64 = 1, 7


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _tensor(name: str, array: np.ndarray) -> bytes:
    kind = _FLOAT if array.dtype == np.float32 else _INT64
    dims = b"".join(_number(1, n) for n in array.shape)
    return dims + _number(2, kind) + _bytes(8, name) + _bytes(9, array.tobytes())


def _value(name: str, shape: Sequence[int | str], kind: int = _FLOAT) -> bytes:
    dims = b"".join(_bytes(1, _number(1, n) if isinstance(n, int) else _bytes(2, n)) for n in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, dims)))


def _node(op: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    parts = [_bytes(1, i) for i in inputs] + [_bytes(2, o) for o in outputs]
    return b"".join([*parts, _bytes(4, op), *(_bytes(5, a) for a in attributes)])


def _integer(name: str, value: int) -> bytes:
    return _bytes(1, name) + _number(3, value) + _number(20, 2)


def _save(
    path: Path,
    nodes: Sequence[bytes],
    constants: Sequence[bytes],
    source: bytes,
    outputs: Sequence[bytes],
) -> Path:
    graph = b"".join(
        [
            *(_bytes(1, n) for n in nodes),
            _bytes(2, "graph"),
            *(_bytes(5, c) for c in constants),
            _bytes(11, source),
            *(_bytes(12, o) for o in outputs),
        ]
    )
    path.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 17)))
    return path


def linear(path: Path, weights: np.ndarray, bias: np.ndarray) -> Path:
    """Write ``scores = features @ weights + bias`` and ``best``, the index of the largest."""
    features, classes = weights.shape
    return _save(
        path,
        [
            _node("MatMul", ["features", "weights"], ["product"]),
            _node("Add", ["product", "bias"], ["scores"]),
            _node("ArgMax", ["scores"], ["best"], _integer("axis", 1), _integer("keepdims", 0)),
        ],
        [_tensor("weights", weights.astype("f4")), _tensor("bias", bias.astype("f4"))],
        _value("features", ["n", features]),
        [_value("best", ["n"], _INT64), _value("scores", ["n", classes])],
    )


def blur(path: Path, bands: int) -> Path:
    """Write a convolution of planes, (n, bands, rows, columns) to one band, by 3 x 3 ones."""
    pads = _bytes(1, "pads") + b"".join(_number(8, 1) for _ in range(4)) + _number(20, 7)
    return _save(
        path,
        [_node("Conv", ["planes", "kernel"], ["sum"], pads)],
        [_tensor("kernel", np.ones((1, bands, 3, 3), dtype="f4"))],
        _value("planes", ["n", bands, "rows", "columns"]),
        [_value("sum", ["n", 1, "rows", "columns"])],
    )
