"""The one place that packs Python source into an openEO user-defined function (UDF)."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openeo

from openeo_gfmap.errors import InputError

__all__ = ["pack_udf"]

_ENTRY_POINTS = ("apply_datacube", "apply_udf_data")


def pack_udf(path: str | Path, context: Mapping[str, Any] | None = None) -> openeo.UDF:
    """Read a standalone UDF file and wrap it for use in a process graph.

    Parameters
    ----------
    path : str or Path
        A Python file that defines ``apply_datacube(cube, context)`` or ``apply_udf_data(data)``
        and imports only what the back-end has installed.
    context : mapping, optional
        JSON-like values handed to the function.

    Returns
    -------
    openeo.UDF

    Raises
    ------
    InputError
        When the file cannot be read, is no valid Python or has no entry point.
    """
    path = Path(path)
    try:
        code = path.read_text(encoding="utf-8")
        functions = {
            node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)
        }
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"Cannot use {path} as a UDF: {error}. Give a readable file.") from error
    if functions.isdisjoint(_ENTRY_POINTS):
        raise InputError(
            f"{path} defines {sorted(functions)} but no UDF entry point; "
            f"define one of {', '.join(_ENTRY_POINTS)}."
        )
    # The runtime is named here because the client would otherwise guess it from the file suffix.
    return openeo.UDF(code, runtime="Python", context=None if context is None else dict(context))
