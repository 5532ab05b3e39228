"""What is done about failed jobs, as data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.kinds import ErrorKind, Rule
from openeo_gfmap.manager.lifecycle import FetchAgain, Job, JobStatus, Retried
from openeo_gfmap.manager.policy import (
    Again,
    ChangeOptions,
    GiveUp,
    Grow,
    OtherBackend,
    RetryPolicy,
    decide,
)

K = ErrorKind
POLICY = RetryPolicy(
    max_attempts=3,
    remedies={
        K.TRANSIENT: Again(wait=10),
        K.OUT_OF_MEMORY: ChangeOptions({"executor-memory": Grow(1.5, ceiling="4G", initial="2G")}),
        K.BACKEND_BUG: OtherBackend(),
        K.RESULTS: Again(),
    },
)


def failed(kind: ErrorKind | None, **fields: object) -> Job:
    return Job(0, JobStatus.ERROR, "a", id="j", kind=kind, **fields)  # type: ignore[arg-type]


def test_by_default_a_failed_job_stays_failed() -> None:
    for kind in ErrorKind:
        assert decide(RetryPolicy.never(), failed(kind), (), ["a", "b"]) is None


def test_the_same_again_until_the_attempts_are_used_up() -> None:
    job = failed(K.TRANSIENT, overrides='{"x": 1}')
    assert decide(POLICY, job, (), ["a"]) == Retried("a", '{"x": 1}')
    assert decide(POLICY, failed(K.TRANSIENT, retries=1), (), ["a"]) == Retried("a")
    assert decide(POLICY, failed(K.TRANSIENT, retries=2), (), ["a"]) is None
    assert POLICY.wait(failed(K.TRANSIENT)) == 10
    assert POLICY.wait(failed(K.TRANSIENT, retries=1)) == 20
    assert POLICY.wait(failed(K.BAD_INPUT)) == 0


@pytest.mark.parametrize("kind", [K.BAD_INPUT, K.BAD_GRAPH, K.UNKNOWN, None])
def test_what_has_no_remedy_is_given_up(kind: ErrorKind | None) -> None:
    assert decide(POLICY, failed(kind), (), ["a"]) is None
    assert isinstance(POLICY.remedy(failed(kind)), GiveUp)


def test_memory_grows_from_what_was_sent_up_to_the_ceiling() -> None:
    def next_memory(**fields: object) -> object:
        event = decide(POLICY, failed(K.OUT_OF_MEMORY, **fields), (), ["a"])
        if event is None:
            return None
        assert isinstance(event, Retried)
        return json.loads(event.overrides or "{}")

    assert next_memory() == {"executor-memory": "3G"}  # the back-end's default was 2G
    assert next_memory(options='{"executor-memory": "2500m", "x": 1}') == {
        "executor-memory": "3750m"
    }
    assert next_memory(options='{"executor-memory": "3G"}') == {"executor-memory": "4G"}
    assert next_memory(options='{"executor-memory": "4G"}') is None
    assert next_memory(options='{"executor-memory": "a lot"}') is None
    # What an earlier attempt changed stays changed.
    assert next_memory(overrides='{"executor-memory": "2G", "y": 2}') == {
        "executor-memory": "3G",
        "y": 2,
    }


def test_options_without_a_value_and_an_initial_one_are_left_alone() -> None:
    policy = RetryPolicy(
        remedies={K.OUT_OF_MEMORY: ChangeOptions({"driver-memory": Grow(2, "8G")})}
    )
    assert decide(policy, failed(K.OUT_OF_MEMORY), (), ["a"]) is None
    event = decide(policy, failed(K.OUT_OF_MEMORY, options='{"driver-memory": "1G"}'), (), ["a"])
    assert event == Retried("a", '{"driver-memory": "2G"}')


def test_another_back_end_that_has_not_had_it() -> None:
    job = failed(K.BACKEND_BUG)
    assert decide(POLICY, job, (), ["a", "b", "c"]) == Retried("b")
    assert decide(POLICY, job, (Job(0, backend="b"),), ["a", "b", "c"]) == Retried("c")
    assert decide(POLICY, job, (), ["a"]) is None


def test_results_that_are_there_are_only_fetched_again() -> None:
    assert decide(POLICY, failed(K.RESULTS), (), ["a"]) == FetchAgain()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: RetryPolicy(max_attempts=0), "max_attempts is 0"),
        (lambda: RetryPolicy(remedies={"oom": Again()}), "'oom' is no kind of error"),  # type: ignore[dict-item]
        (lambda: Grow(1, "4G"), "factor is 1"),
        (lambda: Grow(2, "lots"), "ceiling is 'lots'.*'4G'"),
        (lambda: Grow(2, "4G", initial="-1G"), "initial is '-1G'"),
    ],
)
def test_a_policy_that_cannot_be_meant(make: object, match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()  # type: ignore[operator]


_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def _bytes(text: str) -> float:
    digits = text.rstrip("kmgKMGbB")
    return float(digits) * _UNITS[text[len(digits) :].lower()]


@given(
    number=st.integers(1, 5_000),
    unit=st.sampled_from(["", "k", "m", "G", "g"]),
    factor=st.floats(1.01, 4),
    ceiling=st.integers(1, 64),
)
def test_an_amount_grows_by_the_factor_and_never_beyond_the_ceiling(
    number: int, unit: str, factor: float, ceiling: int
) -> None:
    value = f"{number}{unit}"
    after = Grow(factor, f"{ceiling}g").apply(value)
    assert isinstance(after, str)
    before, size, most = _bytes(value), _bytes(after), ceiling * 2**30
    if before >= most:
        assert after == value
    else:
        assert before < size <= max(most, before + 1)
        # Whole units: rounded up by less than one of those it is written in.
        step = _UNITS[after.lstrip("0123456789").lower()]
        assert (
            size == most or before * factor <= size + 1e-6 * size < before * factor + step * 1.001
        )
    assert "." not in after


def test_rules_of_the_user() -> None:
    rule = Rule(K.TRANSIENT, text="cosmic rays")
    assert RetryPolicy(rules=[rule]).all_rules[0] is rule
