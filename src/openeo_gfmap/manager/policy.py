"""What is done about a failed job, as data: a remedy for each kind of error.

::

    RetryPolicy(
        max_attempts=3,
        remedies={
            ErrorKind.TRANSIENT: Again(wait=60),
            ErrorKind.OUT_OF_MEMORY: ChangeOptions({"executor-memory": Grow(1.5, ceiling="12G")}),
            ErrorKind.BACKEND_BUG: OtherBackend(),
        },
    )

`decide` is pure: the same job, history and back-ends always give the same event.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.kinds import FILES_LACK, RULES, ErrorKind, Rule
from openeo_gfmap.manager.model import FetchAgain, Job, Retried

__all__ = [
    "Again",
    "ChangeOptions",
    "GiveUp",
    "Grow",
    "OtherBackend",
    "Remedy",
    "RetryPolicy",
    "decide",
]


_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)


def _amount(value: object) -> tuple[float, str] | None:
    """Return number and unit of an option's value; None when it is no amount."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return (float(value), "") if math.isfinite(value) and value > 0 else None
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    return (float(match[1]), match[2]) if match and float(match[1]) > 0 else None


def _memory(number: float, unit: str) -> str:
    """Write an amount in whole units; a small one that is none in the next smaller unit."""
    smaller = {"t": "g", "g": "m", "m": "k"}.get(unit.lower())
    if number.is_integer() or number >= 10 or smaller is None:
        return f"{math.ceil(number)}{unit}"
    step = _UNITS[unit.lower()] // _UNITS[smaller]
    return f"{math.ceil(number * step)}{smaller.upper() if unit.isupper() else smaller}"


@dataclass(frozen=True)
class Again:
    """Make the same job again.

    Attributes
    ----------
    wait
        Seconds before it; doubled with each attempt.
    """

    wait: float = 0.0


@dataclass(frozen=True)
class Grow:
    """How a job option grows from attempt to attempt.

    Attributes
    ----------
    factor
        By which it is multiplied.
    ceiling
        It never gets larger, and a job that had this much is given up: "16G", or a number.
    initial
        What is taken for the first attempt's value when that had none: the back-end's default.
    """

    factor: float
    ceiling: str | float
    initial: str | float | None = None

    def __post_init__(self) -> None:
        if not self.factor > 1:
            raise InputError(f"factor is {self.factor}; it must be more than 1.")
        for name in ("ceiling", "initial"):
            value = getattr(self, name)
            if value is not None and _amount(value) is None:
                raise InputError(
                    f"{name} is {value!r}; expected a number, or one with a unit of "
                    "memory such as '4G' or '512m'."
                )

    def apply(self, value: str | float) -> str | float:
        """Return a value multiplied, at most the ceiling; what is no amount stays.

        Memory is written in whole units, rounded up, since Spark takes no fractions: 3G times 1.5
        is 4608M.
        """
        amount, ceiling = _amount(value), _amount(self.ceiling)
        if amount is None or ceiling is None:
            return value
        number, unit = amount
        size, most = number * _UNITS[unit.lower()], ceiling[0] * _UNITS[ceiling[1].lower()]
        if size >= most:
            return value
        if size * self.factor >= most:
            return self.ceiling
        if isinstance(value, str):
            return _memory(number * self.factor, unit)
        larger = value * self.factor
        return math.ceil(larger) if isinstance(value, int) else larger


@dataclass(frozen=True)
class ChangeOptions:
    """Make the job again with larger job options.

    Attributes
    ----------
    options
        How each option grows. One that the job did not have, and that has no initial value, is left
        alone.
    wait
        Seconds before it; doubled with each attempt.
    """

    options: Mapping[str, Grow]
    wait: float = 0.0


@dataclass(frozen=True)
class OtherBackend:
    """Make the job on a back-end that has not had it yet; give up when all have.

    A row that names its back-end goes elsewhere, too: choose this only where that is wanted.

    Attributes
    ----------
    wait
        Seconds before it; doubled with each attempt.
    """

    wait: float = 0.0


@dataclass(frozen=True)
class GiveUp:
    """Leave it failed."""


Remedy: TypeAlias = Again | ChangeOptions | OtherBackend | GiveUp

#: What helps as a rule. Sizes are those that CDSE gives by default and at most.
REMEDIES: Mapping[ErrorKind, Remedy] = MappingProxyType(
    {
        ErrorKind.TRANSIENT: Again(wait=30.0),
        ErrorKind.CAPACITY: Again(wait=300.0),
        ErrorKind.OUT_OF_MEMORY: ChangeOptions(
            {
                "executor-memory": Grow(1.5, ceiling="12G", initial="2G"),
                "executor-memoryOverhead": Grow(1.5, ceiling="12G", initial="2G"),
                "driver-memory": Grow(1.5, ceiling="12G"),
                "python-memory": Grow(1.5, ceiling="12G"),
            }
        ),
        ErrorKind.TIME_LIMIT: Again(),
        ErrorKind.BACKEND_BUG: Again(wait=60.0),
        ErrorKind.VANISHED: Again(),
        ErrorKind.RESULTS: Again(wait=60.0),
    }
)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a failed job is made again, and how.

    Each attempt is a job of its own on the back-end, and may cost again.

    Parameters
    ----------
    max_attempts : int
        Most jobs that are made for a row, the first one counted.
    remedies : mapping of ErrorKind to Remedy
        What to do about each kind; what is not in it is given up.
    rules : sequence of Rule
        Asked before those of the package: what tells one kind from another.
    """

    max_attempts: int = 3
    remedies: Mapping[ErrorKind, Remedy] = field(default_factory=lambda: REMEDIES)
    rules: Sequence[Rule] = ()

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise InputError(f"max_attempts is {self.max_attempts}; it must be 1 or more.")
        for kind in self.remedies:
            if kind not in set(ErrorKind):
                raise InputError(
                    f"{kind!r} is no kind of error; use one of {', '.join(ErrorKind)}."
                )

    @classmethod
    def never(cls) -> RetryPolicy:
        """Return the policy that leaves every failed job failed."""
        return cls(max_attempts=1, remedies={})

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The user's rules, then those of the package."""
        return (*self.rules, *RULES)

    def remedy(self, job: Job) -> Remedy:
        """Return what the policy says of a failed job."""
        kind = ErrorKind(job.kind) if job.kind else ErrorKind.UNKNOWN
        if job.retries + 1 >= self.max_attempts:
            return GiveUp()
        return self.remedies.get(kind, GiveUp())

    def wait(self, job: Job) -> float:
        """Return the seconds between a job's failure and the next attempt."""
        remedy = self.remedy(job)
        return 0.0 if isinstance(remedy, GiveUp) else float(remedy.wait * 2.0**job.retries)


def decide(
    policy: RetryPolicy, job: Job, past: Sequence[Job], backends: Sequence[str]
) -> Retried | FetchAgain | None:
    """Return what to do about a failed job; None leaves it failed.

    Parameters
    ----------
    policy : RetryPolicy
        What to do about which kind.
    job : Job
        A job in a failed state.
    past : sequence of Job
        Earlier jobs of its row.
    backends : sequence of str
        Names of those that were added, in their order.
    """
    remedy = policy.remedy(job)
    match remedy:
        case Again():
            # The results are there and paid for: only the download is done again.
            if job.kind in FILES_LACK and job.id:
                return FetchAgain()
            return Retried(job.backend, job.overrides)
        case ChangeOptions():
            overrides = _changed(job, remedy.options)
            return None if overrides is None else Retried(job.backend, overrides)
        case OtherBackend():
            had = {job.backend, *(old.backend for old in past)}
            others = (name for name in backends if name not in had)
            other = next(others, None)
            return None if other is None else Retried(other, job.overrides)
        case _:
            return None


def _changed(job: Job, growth: Mapping[str, Grow]) -> str | None:
    """Return the options for the next attempt; None when nothing can grow."""
    overrides = json.loads(job.overrides or "{}")
    sent = {**json.loads(job.options or "{}"), **overrides}
    before = dict(overrides)
    for name, grow in growth.items():
        value = sent.get(name, grow.initial)
        if value is not None:
            overrides[name] = grow.apply(value)
    larger = any(overrides[name] != sent.get(name) for name in overrides)
    return json.dumps(overrides, sort_keys=True) if larger and overrides != before else None
