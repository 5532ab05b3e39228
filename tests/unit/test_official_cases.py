"""The openEO project's own test cases, each a test, for all processes of the embedded back-end."""

from __future__ import annotations

import math
from typing import Any

import pytest

from support.official_cases import Case, holds, read_cases, read_json5, same
from support.official_errata import DEVIATIONS, ERRATA
from support.shared import SHARED_DATA

FOLDER = SHARED_DATA / "openeo_processes"
CASES = read_cases(FOLDER) if FOLDER.is_dir() else []


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.process}-{c.index}")
def test_official_case(case: Case) -> None:
    problem = holds(case)
    erratum = ERRATA.get(case.key)
    if erratum is not None:
        assert problem is not None, f"holds as it stands; take it off ERRATA: {erratum.reason}"
        problem = holds(case.corrected(erratum, FOLDER))
    if case.key in DEVIATIONS:
        assert problem is not None, "holds; take it off the list"
    else:
        assert problem is None, f"{problem}\nis not what is wanted: {case}"


def test_the_lists_of_exceptions_are_short_and_true() -> None:
    if not CASES:
        pytest.skip(f"the cases are not on this machine (looked in {FOLDER})")
    keys = {case.key for case in CASES}
    assert keys.issuperset(ERRATA.keys() | DEVIATIONS.keys())
    assert not ERRATA.keys() & DEVIATIONS.keys()
    assert len(keys) - len(DEVIATIONS) >= 1000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2,], // note\n "b": "x // y, }",}', {"a": [1, 2], "b": "x // y, }"}),
        ("/* c */ [Infinity, -Infinity]", [math.inf, -math.inf]),
    ],
)
def test_the_reader_of_the_cases(text: str, value: Any) -> None:
    assert read_json5(text) == value


@pytest.mark.parametrize(
    ("found", "wanted"),
    [(1, True), (True, 1), (0, False), (None, math.nan), (math.nan, None), (1.0, "1"), ([1], 1)],
)
def test_comparison_is_strict(found: Any, wanted: Any) -> None:
    assert not same(found, wanted)
    assert same(wanted, wanted)
