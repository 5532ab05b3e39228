"""Running sums of costs equal what the jobs say, whatever happens to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_gfmap.manager.costs import CostBook
from openeo_gfmap.manager.lifecycle import FINAL, Job, JobStatus

STATES = st.sampled_from(
    [JobStatus.NOT_STARTED, JobStatus.RUNNING, JobStatus.FINISHED, JobStatus.ERROR]
)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), STATES, st.one_of(st.none(), st.integers(0, 20)), st.booleans()
        ),
        max_size=30,
    )
)
def test_sums_equal_what_all_jobs_have_cost(
    steps: list[tuple[int, JobStatus, int | None, bool]],
) -> None:
    book = CostBook({0: "s2", 2: "s2", 3: "s1"}, limit=100)
    jobs = [Job(row, backend="ab"[row % 2]) for row in range(4)]
    past: list[Job] = []
    for job in jobs:
        book.add(job)
    for row, status, costs, remade in steps:
        old = jobs[row]
        new = replace(old, status=status, costs=None if costs is None else float(costs))
        if remade:
            past.append(old)
            new = Job(row, backend=old.backend, attempt=old.attempt + 1)
        book.change(old, new)
        jobs[row] = new
    everything = [*jobs, *past]
    summary = book.summary()
    assert summary.spent == pytest.approx(sum(job.costs or 0 for job in everything))
    for name in "ab":
        spent = sum(job.costs or 0 for job in everything if job.backend == name)
        assert summary.by_backend.get(name, 0) == pytest.approx(spent)
    for recipe, rows in (("s2", (0, 2)), ("s1", (3,))):
        spent = sum(job.costs or 0 for job in everything if job.row in rows)
        assert summary.by_recipe.get(recipe, 0) == pytest.approx(spent)
    finished = [job.row for job in jobs if job.status is JobStatus.FINISHED]
    if finished:
        each = sum(j.costs or 0 for j in everything if j.row in finished) / len(finished)
        left = sum(job.status not in FINAL for job in jobs)
        assert summary.left == pytest.approx(each * left)
    else:
        assert summary.left is None


def test_a_run_that_is_taken_up_knows_what_it_has_cost() -> None:
    book = CostBook(limit=10)
    book.add_past(Job(0, JobStatus.ERROR, "a", costs=3.0))
    book.add(Job(0, JobStatus.FINISHED, "a", attempt=2, costs=4.0))
    book.add(Job(1, backend="a"))
    assert book.summary().spent == 7
    assert book.summary().left == 7
    assert book.affordable == 0  # another one would cost 7 of the 3 that are left


def test_jobs_that_run_are_counted_in_before_the_next_is_made() -> None:
    book = CostBook(limit=15)
    assert book.affordable is None  # nobody knows yet
    book.add(Job(0, JobStatus.FINISHED, "a", costs=4.0))
    assert book.affordable == 2  # 11 are left
    book.add(Job(1, JobStatus.RUNNING, "a"))
    assert book.affordable == 1  # 4 spent, 4 expected
    book.add(Job(2, JobStatus.RUNNING, "a"))
    assert book.affordable == 0  # 4 spent, 8 expected


def test_money_that_is_spent_ends_it_also_without_a_finished_row() -> None:
    book = CostBook(limit=3)
    book.add(Job(0, JobStatus.ERROR, "a", costs=3.0))
    assert book.affordable == 0


def test_without_a_limit_there_is_always_money() -> None:
    book = CostBook()
    book.add(Job(0, JobStatus.FINISHED, "a", costs=1e9))
    assert book.affordable is None
    assert book.summary().limit is None
