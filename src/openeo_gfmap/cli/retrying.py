"""What is done about failed jobs, as ``[retry]`` and its sections say it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from openeo_gfmap.cli.settings_file import Setting, Settings, nearest, shown
from openeo_gfmap.cli.values import build, located
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.policy import (
    REMEDIES,
    Again,
    ChangeOptions,
    GiveUp,
    Grow,
    Remedy,
    RetryPolicy,
)

__all__ = ["RETRY_SECTIONS", "RemedySection", "RetrySection", "read_retry"]

#: Sections of the kinds of errors.
RETRY_SECTIONS: Final = tuple(f"retry.{kind.value}" for kind in ErrorKind)


@dataclass(frozen=True)
class RemedySection:
    """What to do about jobs that failed with one kind of error.

    Attributes
    ----------
    remedy
        "again", "change-options" (again with larger job options) or "give-up".
    wait
        Seconds before the next attempt, doubled with each.
    options
        Of "change-options": by job option a table of ``factor``, ``ceiling`` and ``initial``.
    """

    remedy: str
    wait: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.remedy not in _REMEDIES:
            raise InputError(f"remedy is {self.remedy!r}; {nearest(self.remedy, _REMEDIES)}")
        if not 0 <= self.wait < math.inf:
            raise InputError(f"wait is {self.wait}; expected seconds, 0 or more.")
        if self.options and self.remedy != _CHANGE:
            raise InputError(
                f"options are for the remedy {_CHANGE!r}, and remedy is {self.remedy!r}; leave "
                "them out, or change it."
            )
        if self.remedy == _CHANGE and not self.options:
            raise InputError(
                f"remedy is {_CHANGE!r}, and there are no options to change; expected options such "
                'as { "executor-memory" = { factor = 1.5, ceiling = "12G" } }.'
            )


_CHANGE: Final = "change-options"
_REMEDIES: Final[Mapping[str, Callable[[RemedySection, Mapping[str, Grow]], Remedy]]] = {
    "again": lambda said, _: Again(said.wait),
    _CHANGE: lambda said, growth: ChangeOptions(growth, said.wait),
    "give-up": lambda *_: GiveUp(),
}


@dataclass(frozen=True)
class RetrySection:
    """How often a failed job is made again; 1 leaves it failed.

    Attributes
    ----------
    max_attempts
        Most jobs of a row, the first one counted.
    remedies
        By kind of error, where that is not left to the package.
    """

    max_attempts: int = 1
    remedies: Mapping[str, RemedySection] = field(default_factory=dict)

    def sections(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Iterate over the sections, as a file would hold them."""
        yield "retry", {"max_attempts": self.max_attempts}
        for kind, said in self.remedies.items():
            values = {"remedy": said.remedy, "wait": said.wait, "options": dict(said.options)}
            yield f"retry.{kind}", {key: value for key, value in values.items() if value}


def read_retry(settings: Settings) -> tuple[RetrySection, RetryPolicy]:
    """Return what the sections say, and the policy that they make.

    Kinds of errors without a section keep the package's own remedy.

    Raises
    ------
    InputError
        With the place of what is wrong.
    """
    given, where = settings.section("retry"), settings.where("retry")
    for key, setting in given.items():
        if isinstance(setting.value, Mapping):
            raise InputError(
                f"{setting.where}: {key!r} is no kind of error; {nearest(key, map(str, ErrorKind))}"
            )
    said: dict[str, RemedySection] = {}
    remedies: dict[ErrorKind, Remedy] = dict(REMEDIES)
    for kind in ErrorKind:
        name = f"retry.{kind.value}"
        if name in settings.names():
            found = settings.section(name)
            said[kind.value] = build(RemedySection, name, found, settings.where(name))
            place = found["options"].where if "options" in found else settings.where(name)
            growth = _growth(name, said[kind.value].options, place)
            remedies[kind] = _REMEDIES[said[kind.value].remedy](said[kind.value], growth)
    retry = build(RetrySection, "retry", given, where, remedies=said)
    if said and retry.max_attempts == 1:
        first = f"retry.{next(iter(said))}"
        raise InputError(
            f"{settings.where(first)}: [{first}] says what to do about failed jobs, but [retry] "
            "max_attempts is 1, so that none is made again; set it to 2 or more."
        )
    if retry.max_attempts == 1:
        return retry, RetryPolicy.never()
    with located("retry", given, where):
        return retry, RetryPolicy(retry.max_attempts, remedies)


def _growth(section: str, options: Mapping[str, Any], where: str) -> dict[str, Grow]:
    """Return how each job option grows."""
    found: dict[str, Grow] = {}
    for name, table in options.items():
        if not isinstance(table, Mapping):
            raise InputError(
                f"{where}: [{section}] options: {name} is {shown(table)}; expected a table such as "
                '{ factor = 1.5, ceiling = "12G" }.'
            )
        given = {key: Setting(value, where) for key, value in table.items()}
        grow = build(Grow, f"{section}.options.{name}", given, where)
        whole = {each: _whole(getattr(grow, each)) for each in ("ceiling", "initial")}
        found[name] = replace(grow, **whole)
    return found


def _whole(value: Any) -> Any:
    """Return a number without a fraction as an int: job options may be nothing else."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
