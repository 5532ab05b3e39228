"""What a run knows of one of its back-ends."""

from __future__ import annotations

from dataclasses import dataclass

from openeo_gfmap.manager.health import Health
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.pacing import Backoff, Rhythm
from openeo_gfmap.manager.places import ParallelJobs, Places

__all__ = ["Site", "make_site"]

_FIRST_PROBE = 1.0  # seconds, at most
_HOLD = 6  # looks during which a back-end that was full is asked for fewer jobs
_FORGETTING = 0.1  # weight of the last look


@dataclass
class Site:
    """A back-end, as the loop sees it.

    Attributes
    ----------
    name
        Name of the back-end.
    health
        Whether it answers.
    places
        How many jobs may be active on it.
    rhythm
        How often its jobs are looked at.
    backoff
        How long a job rests after something failed.
    pages
        Requests that it takes to look at its list of jobs, as last seen.
    told
        Share of the looks that the list of jobs can save: those at jobs that go on, and at those
        that are done where the list says what they took.
    """

    name: str
    health: Health
    places: Places
    rhythm: Rhythm
    backoff: Backoff
    pages: int = 1
    told: float = 1.0

    def trouble(self, now: float) -> str:
        """Return what keeps jobs waiting, in a sentence; empty for nothing."""
        if self.health.reason:
            return f"{self.name} does not answer; its jobs wait. {self.health.reason}"
        limit = self.places.limit(now)
        if self.places.throttled:
            return f"{self.name} takes fewer jobs now: at most {limit}."
        return "" if limit else f"{self.name} is to run no jobs now: parallel_jobs gives 0."

    def list_pays(self, looks: int) -> bool:
        """Tell whether a look at the list of jobs saves requests when so many are due."""
        return looks * self.told > self.pages

    def learn(self, looks: int, told: int) -> None:
        """Learn how many looks the list of jobs could save, or saved."""
        weight = 1 - (1 - _FORGETTING) ** looks
        self.told += weight * (told / looks - self.told)


def make_site(
    name: str, parallel_jobs: ParallelJobs, options: ManagerOptions, poll_sleep: float
) -> Site:
    """Return a back-end of which nothing is known yet.

    Raises
    ------
    InputError
        When `parallel_jobs` is no number of jobs.
    """
    first = max(poll_sleep, 0.01)
    return Site(
        name,
        Health(name, Backoff(min(first, _FIRST_PROBE), options.longest_wait)),
        Places(name, parallel_jobs, hold=min(_HOLD * first, options.longest_wait)),
        Rhythm(poll_sleep, options.longest_poll),
        Backoff(first, options.longest_wait),
    )
