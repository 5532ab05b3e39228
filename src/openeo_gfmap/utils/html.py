"""Small HTML for notebooks: tables that take the colours of the page they stand on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from html import escape
from typing import Any

__all__ = ["facts_table", "settings_table", "told"]

_LEFT = "style='text-align:left;vertical-align:top'"
_LONG = 12  # values of a sequence that are written out


def facts_table(facts: Iterable[Sequence[str]], title: str = "") -> str:
    """Return a table with a row for each fact: its name, then its values.

    All texts are escaped. No colour is set, so dark pages stay readable.

    Parameters
    ----------
    facts : iterable of sequences of str
        Name and values.
    title : str
        Above the table.
    """
    rows = "".join(
        f"<tr><th {_LEFT}>{escape(name)}</th>"
        + "".join(f"<td {_LEFT}>{escape(value)}</td>" for value in values)
        + "</tr>"
        for name, *values in facts
    )
    heading = f"<div><strong>{escape(title)}</strong></div>" if title else ""
    return f"{heading}<table>{rows}</table>"


def settings_table(settings: Any, title: str) -> str:
    """Return a table of the fields of a dataclass; those that are not as usual are marked."""
    facts = [
        (field.name, told(value), "" if value == _usual(field) else "set")
        for field in fields(settings)
        if (value := getattr(settings, field.name)) is not None or _usual(field) is not None
    ]
    return facts_table(facts, title)


def _usual(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def told(value: Any) -> str:
    """Return a value as a reader would write it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {told(each)}" for key, each in value.items()) or "none"
    if isinstance(value, list | tuple | set | frozenset):
        items = [told(each) for each in value]
        if len(items) > _LONG + 1:
            items[_LONG:] = [f"and {len(items) - _LONG} more"]
        return ", ".join(items) or "none"
    if is_dataclass(value):
        inner = (
            f"{field.name} {told(getattr(value, field.name))}"
            for field in fields(value)
            if getattr(value, field.name) != _usual(field)
        )
        return f"{type(value).__name__}({', '.join(inner)})"
    return str(value)
