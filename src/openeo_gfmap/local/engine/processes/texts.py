"""Texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import OpenEOError
from ..complexity import require_small
from ..cube import Array
from ..registry import ArrayOf, Boolean, Integer, Scalar, Text, process
from ..values import items

__all__: list[str] = []  # everything here is reached through the registry


def _fold(text: str, case_sensitive: bool) -> str:
    # lower() keeps the number of characters for all but a few letters; casefold() does not.
    return text if case_sensitive else text.lower()


@process()
def text_begins(data: Text | None, pattern: Text, case_sensitive: Boolean = True) -> Boolean | None:
    """Whether a text begins with another.

    Parameters
    ----------
    data
        The text; null gives null.
    pattern
        What it may begin with.
    case_sensitive
        Whether upper and lower case differ.
    """
    if data is None:
        return None
    return _fold(data, case_sensitive).startswith(_fold(pattern, case_sensitive))


@process()
def text_ends(data: Text | None, pattern: Text, case_sensitive: Boolean = True) -> Boolean | None:
    """Whether a text ends with another.

    Parameters
    ----------
    data
        The text; null gives null.
    pattern
        What it may end with.
    case_sensitive
        Whether upper and lower case differ.
    """
    if data is None:
        return None
    return _fold(data, case_sensitive).endswith(_fold(pattern, case_sensitive))


@process()
def text_contains(
    data: Text | None, pattern: Text, case_sensitive: Boolean = True
) -> Boolean | None:
    """Whether a text contains another.

    Parameters
    ----------
    data
        The text; null gives null.
    pattern
        What it may contain.
    case_sensitive
        Whether upper and lower case differ.
    """
    if data is None:
        return None
    return _fold(pattern, case_sensitive) in _fold(data, case_sensitive)


@process()
def text_find(data: Text | None, pattern: Text, case_sensitive: Boolean = True) -> Integer | None:
    """Return where a text contains another; null if it does not.

    Parameters
    ----------
    data
        The text; null gives null.
    pattern
        What to find.
    case_sensitive
        Whether upper and lower case differ.
    """
    if data is None:
        return None
    index = _fold(data, case_sensitive).find(_fold(pattern, case_sensitive))
    return None if index < 0 else index


@process()
def text_concat(data: ArrayOf, separator: Scalar = "") -> Text:
    """Put texts and other scalars together.

    Parameters
    ----------
    data
        The parts; null, true and false are written in words.
    separator
        What to put between them.
    """
    parts, between = [_text(part) for part in items(data)], _text(separator)
    require_small("text_concat", count=sum(map(len, parts)) + len(between) * len(parts))
    return between.join(parts)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple | Mapping | Array):
        raise OpenEOError(
            "ProcessParameterInvalid",
            "text_concat: the parts must be texts, numbers, true, false or null, not arrays or "
            "objects.",
        )
    if isinstance(value, bool | int | float) or value is None:
        return json.dumps(value)
    return str(value)
