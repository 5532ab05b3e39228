"""How many jobs may be active on a back-end: what the user says, and what the back-end takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from numbers import Integral
from typing import Any, TypeAlias

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import _log

__all__ = ["ParallelJobs", "Places", "check_parallel_jobs"]

ParallelJobs: TypeAlias = int | Callable[[datetime], int]

_ASKED_EVERY = 1.0  # seconds between two calls of the user's function
_STEPS = 10  # in which the number grows again


def local_time() -> datetime:
    """Return the time on the user's wall, with its zone."""
    return datetime.now(UTC).astimezone()


def check_parallel_jobs(name: str, parallel_jobs: object) -> None:
    """Check what a user says about a back-end.

    Raises
    ------
    InputError
        When it is neither a number from 1 nor a function that now gives one from 0.
    """
    if callable(parallel_jobs):
        _number_at(name, parallel_jobs, local_time())
        return
    number = _whole(parallel_jobs)
    if number is None or number < 1:
        raise InputError(
            lambda words: (
                f"parallel_jobs of {name!r} is {parallel_jobs!r}; it must be a whole number, 1 or "
                f"more{words.either(', or a function from a time to one', '')}."
            )
        )


def _number_at(name: str, function: Any, moment: datetime) -> int:
    """Return what the user's function gives for a time."""
    answer = function(moment)
    number = _whole(answer)
    if number is None or number < 0:
        raise InputError(
            f"the function for parallel_jobs of {name!r} gave {answer!r} for "
            f"{moment:%Y-%m-%d %H:%M}; it must give a whole number, 0 or more."
        )
    return number


class Places:
    """The number of jobs that may be active on a back-end now.

    Parameters
    ----------
    name : str
        The back-end.
    parallel_jobs : int or callable
        Most active jobs: a number, or a function that gives it for a local time.
    hold : float
        Seconds for which a number that the back-end did not take is kept lower; then it grows
        again, by a tenth of what the user says (one at least) after each such time.
    clock : callable, optional
        Gives the time that the user's function is asked about.

    Raises
    ------
    InputError
        When the number is less than 1, or the function gives something else than a number from 0.
    """

    def __init__(
        self,
        name: str,
        parallel_jobs: ParallelJobs,
        *,
        hold: float,
        clock: Callable[[], datetime] = local_time,
    ):
        self._name = name
        self._parallel_jobs = parallel_jobs
        self._hold = hold
        self._clock = clock
        self._asked_at: float | None = None
        self._complained = False
        self._ceiling: int | None = None  # below what the user says, while the back-end is full
        self._lowered_at = self._raise_at = 0.0
        check_parallel_jobs(name, parallel_jobs)
        self._wanted = self._ask() if callable(parallel_jobs) else parallel_jobs

    def _ask(self) -> int:
        return _number_at(self._name, self._parallel_jobs, self._clock())

    @property
    def throttled(self) -> bool:
        """Whether the back-end takes fewer jobs than the user says."""
        return self._ceiling is not None

    def limit(self, now: float) -> int:
        """Return the most jobs that may be active now."""
        self._refresh(now)
        if self._ceiling is not None:
            while now >= self._raise_at and self._ceiling < self._wanted:
                self._ceiling += max(1, self._wanted // _STEPS)
                self._raise_at += self._hold
            if now >= self._raise_at:
                _log.debug("%s is asked for %d jobs at once again.", self._name, self._wanted)
                self._ceiling = None
        return self._wanted if self._ceiling is None else min(self._wanted, self._ceiling)

    def _refresh(self, now: float) -> None:
        if not callable(self._parallel_jobs):
            return
        if self._asked_at is not None and now - self._asked_at < _ASKED_EVERY:
            return
        self._asked_at = now
        try:
            self._wanted = self._ask()
        except Exception as error:  # noqa: BLE001 - the user's function; a run of days goes on
            if not self._complained:
                self._complained = True
                _log.warning(
                    "parallel_jobs of %s stays %d: its function failed: %s",
                    self._name, self._wanted, error,
                )  # fmt: skip

    def refused(self, now: float, active: int, message: str, retry_after: float | None) -> None:
        """Note that the back-end has no room for more jobs than the `active` ones it runs."""
        limit = self.limit(now)
        first = self._ceiling is None
        self._raise_at = now + max(self._hold, retry_after or 0.0)
        # Twenty jobs that were asked for at once are refused at once: that lowers it once.
        if not first and now - self._lowered_at < self._hold:
            return
        self._lowered_at = now
        self._ceiling = max(1, active if 0 < active < limit else limit // 2)
        if first:
            _log.info(
                "%s takes no more jobs now (%s): at most %d at once for a while, then more again.",
                self._name, message, self._ceiling,
            )  # fmt: skip

    def taken(self, active: int) -> None:
        """Note that the back-end runs so many jobs: it has room for them."""
        if self._ceiling is not None:
            self._ceiling = max(self._ceiling, active)


def _whole(value: object) -> int | None:
    """Return a value as a number of jobs, when it is one."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return None
    return int(value)
