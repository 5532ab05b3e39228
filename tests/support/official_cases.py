"""The openEO project's own test cases: reading them, and running one through the engine.

A process on values is called as a callback would call it. A process on cubes is run as a process
graph: planned, cut into windows and evaluated, with the cubes of the case in place of collections.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from openeo_gfmap.local.engine.callbacks import BoundCallback, call_process
from openeo_gfmap.local.engine.cube import Array
from openeo_gfmap.local.engine.graph import parse
from openeo_gfmap.local.engine.instants import parse_instant
from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.errors import OpenEOError
from support.case_cubes import run_on_cubes, same_cube
from support.official_errata import OLD_NAMES, Erratum

_TOKEN = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')

_DELTA = 1e-10


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes
    ----------
    process
        Process id.
    index
        Position in the process's file, from 0.
    arguments
        By parameter name; references to other files are resolved.
    outcome
        The rest of the case: ``returns``, ``throws``, ``delta``.
    """

    process: str
    index: int
    arguments: Mapping[str, Any]
    outcome: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, int]:
        """What the lists of exceptions call the case."""
        return (self.process, self.index)

    def corrected(self, erratum: Erratum, folder: Path) -> Case:
        """Return the case with an erratum's changes, which may refer to files in a folder."""
        document = copy.deepcopy({"arguments": self.arguments, **self.outcome})
        for path, value in erratum.changes.items():
            *parents, last = path.split("/")
            owner: Any = document
            for name in parents:
                owner = owner[int(name) if isinstance(owner, list) else name]
            owner[int(last) if isinstance(owner, list) else last] = resolved(value, folder)
        return Case(self.process, self.index, document.pop("arguments"), document)


def read_json5(text: str) -> Any:
    """Read the subset of JSON5 that the cases use: comments, trailing commas, NaN, Infinity."""
    for pattern in (_TOKEN, _COMMA):
        text = pattern.sub(lambda m: m.group(1) or "", text)
    return json.loads(text)


@cache
def _file(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return text if path.suffix == ".wkt2" else read_json5(text)


def resolved(value: Any, folder: Path) -> Any:
    """Put the files in that a case refers to; a reference to no file stays."""
    if isinstance(value, dict):
        name = value.get("$ref")
        if name is not None:
            return _file(folder / name) if (folder / name).is_file() else value
        return {k: resolved(v, folder) for k, v in value.items()}
    return [resolved(v, folder) for v in value] if isinstance(value, list) else value


def read_cases(folder: Path) -> list[Case]:
    """Return all cases of all processes."""
    found = []
    for path in sorted(folder.glob("*.json5")):
        for index, raw in enumerate(_file(path)["tests"]):
            case = resolved(raw, folder)
            arguments = case["arguments"]
            outcome = {k: case[k] for k in ("returns", "throws", "delta") if k in case}
            found.append(Case(path.stem, index, arguments, outcome))
    return found


def decode(value: Any) -> Any:
    """Turn the cases' encodings of null, dates and labeled arrays into values."""
    if isinstance(value, list):
        entries = [v for v in value if isinstance(v, dict) and v.keys() == {"key", "value"}]
        if value and len(entries) == len(value):
            return _labeled(value)  # two cases leave the wrapper of a labeled array away
        return [decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "nodata":
        return None
    if value.get("type") == "datetime":
        return value["value"]
    if value.get("type") == "labeled-array":
        return _labeled(value["data"])
    return {k: decode(v) for k, v in value.items()}


def _labeled(entries: Sequence[Mapping[str, Any]]) -> Array:
    values = np.empty(len(entries), dtype=object)
    values[:] = [decode(entry["value"]) for entry in entries]
    keys = [entry["key"] for entry in entries]
    return Array(values, np.asarray(keys, dtype=None if len(set(map(type, keys))) == 1 else object))


def holds(case: Case) -> str | None:
    """Run a case; None when its outcome is one that it allows, else what came instead."""
    process = all_processes().get(case.process)
    if process is None:
        return "there is no such process"
    cubes = process.plan is not None or process.wants_env
    try:
        found = (
            run_on_cubes(case.process, callbacks_of_today(case.arguments))
            if cubes
            else _value(case)
        )
    except OpenEOError as error:
        if case.outcome.get("throws") in (True, error.code):
            return None
        return f"{error.code}: {error.message}"
    if "returns" not in case.outcome:
        return f"no error, but {found!r}"
    wanted, delta = case.outcome["returns"], case.outcome.get("delta", _DELTA)
    if isinstance(wanted, dict) and wanted.get("type") == "datacube":
        return same_cube(found, wanted, delta)
    return None if same(found, decode(wanted), delta) else f"{found!r}"


def _value(case: Case) -> Any:
    arguments = {}
    for name, raw in case.arguments.items():
        name = OLD_NAMES.get((case.process, name), name)  # noqa: PLW2901 - the name of today
        arguments[name] = _bound(case.process, name, raw) if _is_callback(raw) else decode(raw)
    return call_process(all_processes()[case.process], arguments, None)


def _bound(process: str, name: str, raw: Any) -> BoundCallback:
    nodes = {"n": {"process_id": process, "arguments": {"data": [], name: callbacks_of_today(raw)}}}
    graph, errors = parse(nodes)
    if graph is None:
        raise errors[0]
    return BoundCallback(graph.nodes["n"].arguments[name], {}, None)


def _is_callback(raw: Any) -> bool:
    return isinstance(raw, dict) and any(
        key == "process_graph" or (isinstance(value, dict) and "process_id" in value)
        for key, value in raw.items()
    )


def callbacks_of_today(value: Any) -> Any:
    """Write callbacks the way of today: the oldest cases name neither of the two keys so."""
    if isinstance(value, list):
        return [callbacks_of_today(v) for v in value]
    if not isinstance(value, dict):
        return value
    if _is_callback(value):
        nodes = value.get("process_graph", value)
        return {"process_graph": {id: callbacks_of_today(node) for id, node in nodes.items()}}
    return {
        "from_parameter" if k == "from_argument" else k: callbacks_of_today(v)
        for k, v in value.items()
    }


def same(found: Any, wanted: Any, delta: float = _DELTA) -> bool:
    """Whether two values are the same: null is not NaN, and true is not 1."""
    if isinstance(wanted, Array):
        return (
            isinstance(found, Array)
            and same(list(found.values), list(wanted.values), delta)
            and (found.labels is None) == (wanted.labels is None)
            and (wanted.labels is None or list(found.labels) == list(wanted.labels))
        )
    if isinstance(found, Array):
        found = list(found.values)
    if isinstance(found, np.ndarray):
        found = found.tolist()
    if isinstance(wanted, list):
        if not isinstance(found, list | tuple) or len(found) != len(wanted):
            return False
        return all(same(f, w, delta) for f, w in zip(found, wanted, strict=True))
    if isinstance(wanted, bool) or wanted is None or isinstance(found, bool):
        return found is wanted
    if isinstance(wanted, int | float):
        if not isinstance(found, int | float | np.number):
            return False
        if math.isnan(wanted):
            return math.isnan(found)
        return bool(found == wanted or math.isclose(found, wanted, rel_tol=_DELTA, abs_tol=delta))
    if isinstance(wanted, str) and not isinstance(found, str):
        found = np.datetime_as_string(found) if isinstance(found, np.datetime64) else found
    if isinstance(wanted, str) and isinstance(found, str) and found != wanted:
        one, two = parse_instant(found), parse_instant(wanted)
        return one is not None and two is not None and one.moment == two.moment
    return bool(found == wanted)
