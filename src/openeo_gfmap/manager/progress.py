"""How a run stands, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from openeo_gfmap.manager.costs import Costs
from openeo_gfmap.manager.ledger import Sums
from openeo_gfmap.manager.lifecycle import FINAL, JobStatus
from openeo_gfmap.utils.html import facts_table

__all__ = ["Progress", "amount", "duration", "spending"]


@dataclass(frozen=True, repr=False)
class Progress:
    """A moment of a run.

    Attributes
    ----------
    counts
        Number of jobs in each state that occurs.
    samples
        Samples in each state.
    new_samples, new_jobs
        What this run has brought: samples that were received, and jobs in a final state.
    seconds
        Since the run began.
    costs
        What the jobs have cost so far.
    message
        What the user should know now, one thing a line; empty for nothing.
    """

    counts: Mapping[JobStatus, int] = field(default_factory=dict)
    samples: Sums = field(default_factory=Sums)
    new_samples: int = 0
    new_jobs: int = 0
    seconds: float = 0.0
    costs: Costs = field(default_factory=Costs)
    message: str = ""

    @property
    def jobs(self) -> int:
        """All jobs."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Jobs in a final state."""
        return sum(count for status, count in self.counts.items() if status in FINAL)

    @property
    def samples_per_minute(self) -> float | None:
        """Samples of this run a minute; None before the first."""
        return 60 * self.new_samples / self.seconds if self.new_samples and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Time left at the pace of this run; None before the first job is done."""
        if not self.new_jobs:
            return None
        return self.seconds / self.new_jobs * (self.jobs - self.done)

    @property
    def states(self) -> str:
        """How many jobs are in each state."""
        return ", ".join(f"{self.counts[s]} {s.value}" for s in JobStatus if self.counts.get(s))

    def facts(self) -> list[tuple[str, str, str]]:
        """Return what a table of it says, without the jobs: name, value, and how it goes on."""
        rate, left, samples = self.samples_per_minute, self.seconds_left, self.samples
        received = f"{samples.received:,} of {samples.expected:,} received"
        facts = [("samples", received, f"{rate:.1f} a minute" if rate else "")]
        if samples.lacking:
            facts.append(("", samples.lacking, ""))
        rest = f"about {duration(left)} left" if left else ""
        facts.append(("time", duration(self.seconds), rest))
        if self.costs.spent or self.costs.limit is not None:
            more = f"about {amount(self.costs.left)} more" if self.costs.left else ""
            facts.append(("costs", spending(self.costs), more))
        return facts

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.jobs} jobs done ({self.states})", str(self.samples)]
        if self.samples_per_minute is not None:
            parts.append(f"{self.samples_per_minute:.1f} a minute")
        if self.seconds_left:
            parts.append(f"about {duration(self.seconds_left)} left")
        if self.costs.spent or self.costs.limit is not None:
            parts.append(f"costs {spending(self.costs)}")
        return ", ".join(parts)

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self}. {' '.join(self.message.splitlines())}" if self.message else str(self)

    def __repr__(self) -> str:
        return f"<{self.line}>"

    def _repr_html_(self) -> str:
        return self.html()

    def html(self, title: str = "") -> str:
        """Return a bar and a table of it, for a notebook."""
        most = max(self.jobs, 1)
        bar = f"<progress value='{self.done}' max='{most}' style='width:20em'></progress>"
        heading = f"<strong>{escape(title)}</strong> " if title else ""
        counts = (("jobs", self.states, ""),) if self.counts else ()
        lines = self.message.splitlines()
        messages = "".join(f"<div><em>{escape(line)}</em></div>" for line in lines)
        return (
            f"<div>{heading}{bar} {self.done:,} of {self.jobs:,} jobs done</div>"
            + facts_table([*counts, *self.facts()])
            + messages
        )


def duration(seconds: float) -> str:
    """Return a length of time in the two largest units that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((i for i, (value, _) in enumerate(units) if value), len(units) - 1)
    return " ".join(f"{value} {unit}" for value, unit in units[first : first + 2] if value) or "0 s"


def amount(number: float) -> str:
    """Return an amount of money or credits: whole, where the rest says nothing."""
    return f"{number:,.0f}" if number >= 1000 or number == int(number) else f"{number:.4g}"


def spending(costs: Costs) -> str:
    """Return what was spent, and what may be."""
    limit = f" of at most {amount(costs.limit)}" if costs.limit is not None else ""
    return f"{amount(costs.spent)}{limit}"
