"""The openEO project's own test cases, for all value processes of the embedded back-end.

A case may allow a result, an error, or either. Cases that cannot hold here are listed with the
reason; a listed case that passes is reported too, so the list stays true.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openeo_gfmap.local.engine.callbacks import BoundCallback, call_process
from openeo_gfmap.local.engine.cube import Array
from openeo_gfmap.local.engine.graph import parse
from openeo_gfmap.local.engine.instants import parse_instant
from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.errors import OpenEOError

# (process, number of the case, from 0): why it differs.
TYPO = "the case has a typo"
KNOWN = {
    ("array_append", 0): f"{TYPO}: [] and 0 are [0], not [1]",
    ("array_apply", 8): f"{TYPO}: 'mulitply'",
    ("array_element", 3): f"{TYPO}: the label 'BO2' with a letter O",
    ("array_filter", 0): f"{TYPO}: gt has x twice and no y",
    ("array_filter", 3): f"{TYPO}: a labeled array written as a list of objects",
    ("array_filter", 4): f"{TYPO}: a labeled array written as a list of objects",
    ("array_filter", 5): "-0.02 is no boolean; it counts as true here, as false there",
    ("array_find", 6): f"{TYPO}: 3 is at index 0, not 1",
    ("lte", 15): f"{TYPO}: infinity is less than or equal to infinity",
    ("product", 10): f"{TYPO}: the product of -inf and inf is -inf, not NaN",
}

# Parameters that the cases still call by the name of an earlier version.
OLD_NAMES = {("array_filter", "process"): "condition"}

_TOKEN = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


def read_json5(text: str) -> Any:
    """Read the subset of JSON5 that the cases use: comments, trailing commas, NaN, Infinity."""
    for pattern in (_TOKEN, _COMMA):
        text = pattern.sub(lambda m: m.group(1) or "", text)
    return json.loads(text)


def decode(value: Any) -> Any:
    """Turn the cases' encodings of null, dates and labeled arrays into values."""
    if isinstance(value, list):
        return [decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "nodata":
        return None
    if value.get("type") == "datetime":
        return value["value"]
    if value.get("type") == "labeled-array":
        values = np.empty(len(value["data"]), dtype=object)
        values[:] = [decode(entry["value"]) for entry in value["data"]]
        keys = [entry["key"] for entry in value["data"]]
        return Array(
            values, np.asarray(keys, dtype=None if len(set(map(type, keys))) == 1 else object)
        )
    return {k: decode(v) for k, v in value.items()}


def callback(process_id: str, name: str, raw: dict[str, Any]) -> BoundCallback | None:
    """Bind a callback of a case; None for one that is no valid process graph."""
    text = json.dumps(raw).replace("from_argument", "from_parameter")
    nodes = {"n": {"process_id": process_id, "arguments": {"data": [], name: json.loads(text)}}}
    graph, _ = parse(nodes)
    return graph and BoundCallback(graph.nodes["n"].arguments[name], {}, None)


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Array):
        return (
            isinstance(found, Array)
            and same(list(found.values), list(wanted.values))
            and (found.labels is None) == (wanted.labels is None)
            and (wanted.labels is None or list(found.labels) == list(wanted.labels))
        )
    if isinstance(found, Array):
        found = list(found.values)
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return False
        return all(same(f, w) for f, w in zip(found, wanted, strict=True))
    if isinstance(wanted, bool) or wanted is None or isinstance(found, bool):
        return found is wanted
    if isinstance(wanted, int | float):
        if not isinstance(found, int | float | np.number):
            return False
        if math.isnan(wanted):
            return math.isnan(found)
        return found == wanted or math.isclose(found, wanted, rel_tol=1e-10, abs_tol=1e-10)
    if isinstance(wanted, str) and isinstance(found, str) and found != wanted:
        one, two = parse_instant(found), parse_instant(wanted)
        return one is not None and two is not None and one.moment == two.moment
    return found == wanted


def holds(process_id: str, case: dict[str, Any]) -> bool:
    arguments = {}
    for name, raw in case["arguments"].items():
        if isinstance(raw, dict) and ("process_graph" in raw or _is_graph(raw)):
            wrapped = raw if "process_graph" in raw else {"process_graph": raw}
            bound = callback(process_id, OLD_NAMES.get((process_id, name), name), wrapped)
            if bound is None:
                return False
            arguments[OLD_NAMES.get((process_id, name), name)] = bound
        else:
            arguments[name] = decode(raw)
    try:
        found = call_process(all_processes()[process_id], arguments, None)
    except OpenEOError as error:
        return case.get("throws") in (True, error.code)
    return "returns" in case and same(found, decode(case["returns"]))


def _is_graph(raw: dict[str, Any]) -> bool:
    return any(isinstance(v, dict) and "process_id" in v for v in raw.values())


def value_cases(folder: Path) -> list[tuple[str, int, dict[str, Any]]]:
    """All cases of processes that work on values."""
    cases = []
    for path in sorted(folder.glob("*.json5")):
        process = all_processes().get(path.stem)
        if process is not None and process.plan is None and not process.wants_env:
            tests = read_json5(path.read_text(encoding="utf-8"))["tests"]
            cases += [(path.stem, index, case) for index, case in enumerate(tests)]
    return cases


def test_official_cases(shared_data: Path) -> None:
    cases = value_cases(shared_data / "openeo_processes")
    passed: Counter[str] = Counter()
    wrong = []
    for process_id, index, case in cases:
        good = holds(process_id, case)
        passed[process_id] += good
        if good == ((process_id, index) in KNOWN):
            wrong.append(f"{process_id} {index}: {json.dumps(case)}")
    print(f"{passed.total()} of {len(cases)} cases of {len(passed)} processes hold")
    assert not wrong, "\n".join(wrong)
    assert passed.total() >= 700


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2,], // note\n "b": "x // y, }",}', {"a": [1, 2], "b": "x // y, }"}),
        ("/* c */ [Infinity, -Infinity]", [math.inf, -math.inf]),
    ],
)
def test_the_reader_of_the_cases(text: str, value: Any) -> None:
    assert read_json5(text) == value
