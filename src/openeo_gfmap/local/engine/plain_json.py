"""Plain values as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

from .cube import Array, Cube, kind_of

__all__ = ["to_json"]


def to_json(value: Any) -> Any:  # noqa: PLR0911 - one return per kind of value
    """Return plain JSON types: arrays become lists, NaN null, dates RFC 3339.

    Of a cube without pixels come its dimensions and its values.
    """
    if isinstance(value, Cube):
        labels = {name: value.names(name) for name in value.dims}
        return {
            "dimensions": {
                name: {"type": kind_of(name, value.kinds), "labels": to_json(labels[name])}
                for name in value.dims
            },
            "data": to_json(value.data if value.dims else value.data.item()),
        }
    if isinstance(value, Array):
        value = value.values
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else f"{np.datetime_as_string(value, unit='s')}Z"
    if isinstance(value, date):  # datetime, and pandas' timestamps, too
        return value.isoformat() if value == value else None  # noqa: PLR0124 - not so for NaT
    if isinstance(value, np.ndarray):
        return [to_json(v) for v in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value
