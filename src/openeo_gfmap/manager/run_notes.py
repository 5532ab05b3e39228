"""What the store remembers of a run as a whole: its settings, and when it was begun and ended."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any, Final

from openeo_gfmap.manager.job_store import JobStore
from openeo_gfmap.manager.secrets import without_secrets

__all__ = ["begin", "end", "noted", "software"]

_KEY: Final = "run"
_LIBRARIES: Final = ("openeo-gfmap", "openeo", "numpy", "pandas", "pystac", "xarray", "h5netcdf")


def begin(store: JobStore, settings: Mapping[str, Any]) -> None:
    """Note that a run begins.

    Parameters
    ----------
    store : JobStore
        Where.
    settings : mapping
        What was asked for; what is no JSON type is kept as text, and secrets are left out. They
        take the place of those of an earlier run.
    """
    runs = noted(store).get("runs", [])
    plain = json.loads(json.dumps(dict(settings), default=str))
    began = {"began": _now(), "software": software()}
    _write(store, {**without_secrets(plain, []), "runs": [*runs, began]})


def end(store: JobStore) -> None:
    """Note that the run ends."""
    found = noted(store)
    if found.get("runs"):
        found["runs"][-1]["ended"] = _now()
        _write(store, found)


def noted(store: JobStore) -> dict[str, Any]:
    """Return what was noted: the settings, and ``runs``, one entry for each time it was begun."""
    return dict(json.loads(store.noted(_KEY) or "{}"))


@cache
def software() -> dict[str, str]:
    """Return the versions of what makes the files."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        versions[name] = metadata.version(name)
    return versions


def _write(store: JobStore, document: Mapping[str, Any]) -> None:
    store.note(_KEY, json.dumps(document))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
