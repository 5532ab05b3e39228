"""JSON types of arguments, as far as openEO's schemas tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["matches", "problem_with", "short"]

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (Mapping,),
    "null": (type(None),),
}


# What no JSON object is: callbacks are told apart before, cubes come from nodes.
_NO_LITERALS = ("datacube", "raster-cube", "vector-cube", "process-graph")


def problem_with(value: Any, schema: Any, *, callback: bool = False) -> str | None:
    """Tell what is wrong with a literal argument, None when it may be right.

    Only its JSON type is looked at, and not into lists and objects. A literal is never a data cube.

    Parameters
    ----------
    value
        JSON, or anything that stands for a callback.
    schema
        A schema, or a list of alternatives as openEO writes them.
    callback
        Whether the value is a callback.
    """
    choices = schema if isinstance(schema, list) else [schema]
    choices = [choice for choice in choices if isinstance(choice, Mapping)]
    wanted = any(c.get("subtype") == "process-graph" for c in choices)
    if callback:
        return None if wanted or not any(choices) else "takes no callback"
    names: list[str] = []
    for choice in choices:
        types = choice.get("type")
        if types is None:
            return None
        names += [types] if isinstance(types, str) else types
        if choice.get("subtype") in _NO_LITERALS:
            names.remove("object")
    if not choices or any(matches(value, name) for name in names):
        return None
    expected = list(dict.fromkeys(names))
    if wanted:
        expected.insert(0, "a callback {'process_graph': …}")
    return f"must be {' or '.join(expected) or 'a data cube'}, got {short(value)}"


def matches(value: Any, name: str) -> bool:
    """Whether a value is of a JSON type; true is no number, and 2.0 is an integer."""
    if isinstance(value, bool) and name != "boolean":
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _JSON_TYPES.get(name, (object,)))


def short(value: Any) -> str:
    """Return a value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
