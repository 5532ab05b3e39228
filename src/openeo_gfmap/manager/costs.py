"""What a run has cost, and what the rest of it may cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from openeo_gfmap.manager.lifecycle import ACTIVE, FINAL, Job, JobStatus

__all__ = ["CostBook", "Costs"]


@dataclass(frozen=True)
class Costs:
    """Costs in the units that the back-ends bill: credits, as a rule.

    Attributes
    ----------
    spent
        What all jobs so far have cost, failed and remade ones included.
    by_backend, by_recipe
        The same by back-end, and by the value of the rows' column ``recipe`` where they have one.
    left
        Estimate for what is not done yet: jobs left, times what a finished row has cost on average.
        None before the first row is finished.
    limit
        ``max_costs`` of the run.
    """

    spent: float = 0.0
    by_backend: Mapping[str, float] = field(default_factory=dict)
    by_recipe: Mapping[str, float] = field(default_factory=dict)
    left: float | None = None
    limit: float | None = None


class CostBook:
    """Keeps the running sums; each change costs the same, however many jobs there are.

    Parameters
    ----------
    recipes : mapping of int to str
        Recipe of each row that names one.
    limit : float, optional
        What may be spent.
    """

    def __init__(self, recipes: Mapping[int, str] | None = None, limit: float | None = None):
        self._recipes = dict(recipes or {})
        #: What may be spent; None for no limit.
        self.limit = limit
        self._spent = 0.0
        self._by_backend: defaultdict[str, float] = defaultdict(float)
        self._by_recipe: defaultdict[str, float] = defaultdict(float)
        self._of_row: defaultdict[int, float] = defaultdict(float)
        self._finished = 0
        self._finished_costs = 0.0
        self._open = 0
        self._active = 0

    def name(self, row: int, recipe: str) -> None:
        """Take note of the recipe of a row."""
        self._recipes[row] = recipe

    def add(self, job: Job) -> None:
        """Count a job in: of a row that is new here, or a past attempt of one."""
        self.change(None, job)

    def add_past(self, job: Job) -> None:
        """Count in what an earlier job of a row has cost; before the row's present job."""
        self._spend(job, job.costs or 0.0)

    def change(self, old: Job | None, new: Job) -> None:
        """Count a job as it is now instead of as it was."""
        if old is not None:
            self._count(old, -1)
        # A job that is made anew begins at nothing; what its predecessor has cost stays spent.
        same = old is not None and old.attempt == new.attempt
        before = old.costs or 0.0 if old is not None and same else 0.0
        self._spend(new, (new.costs or 0.0) - before)
        self._count(new, 1)

    def _count(self, job: Job, sign: int) -> None:
        self._open += sign * (job.status not in FINAL)
        self._active += sign * (job.status in ACTIVE)
        if job.status is JobStatus.FINISHED:
            self._finished += sign
            self._finished_costs += sign * self._of_row[job.row]

    def _spend(self, job: Job, amount: float) -> None:
        if not amount:
            return
        self._spent += amount
        self._of_row[job.row] += amount
        self._by_backend[str(job.backend)] += amount
        if job.row in self._recipes:
            self._by_recipe[self._recipes[job.row]] += amount

    @property
    def affordable(self) -> int | None:
        """How many more jobs there is money for, once those that run are paid for; None: no end.

        A job is taken to cost what a finished row has cost on average. Before there is one, as many
        are made as may be active.
        """
        if self.limit is None:
            return None
        each = self._finished_costs / self._finished if self._finished else 0.0
        left = self.limit - self._spent - self._active * each
        if each > 0:
            return max(0, math.floor(left / each + 1e-9))
        return None if left > 0 else 0

    def summary(self) -> Costs:
        """Return the costs as they stand."""
        each = self._finished_costs / self._finished if self._finished else None
        return Costs(
            spent=self._spent,
            by_backend=dict(self._by_backend),
            by_recipe=dict(self._by_recipe),
            left=None if each is None else each * self._open,
            limit=self.limit,
        )
