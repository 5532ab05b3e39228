"""What does not work with single jobs: how often in a row, and whether that is their own fault."""

from __future__ import annotations

from dataclasses import dataclass

from openeo_gfmap.manager import _log
from openeo_gfmap.manager import lifecycle as life

__all__ = ["Trouble", "Troubles"]

_TOLD_AFTER = 3  # times in a row that the same did not work, while the back-end answered others
_TOLD_EVERY = 60.0  # seconds, about one back-end: where much goes wrong, one example is enough


@dataclass
class Trouble:
    """How often in a row something did not work with a job.

    Attributes
    ----------
    failures
        All of them.
    tries
        Those between which the back-end answered something else properly: the job's own.
    waits
        Looks for a job that may still come up.
    """

    failures: int = 0
    tries: int = 0
    waits: int = 0
    _answers: int = -1

    def failed(self, answers: int) -> bool:
        """Note a failure; return whether it is the job's own.

        Parameters
        ----------
        answers : int
            How often the back-end has answered properly by now.
        """
        self.failures += 1
        self.waits = 0
        own = self._answers < answers
        if own:
            self._answers = answers
            self.tries += 1
        return own


class Troubles:
    """The jobs that something does not work with, by row."""

    def __init__(self) -> None:
        self._of: dict[int, Trouble] = {}
        self._told: dict[str, float] = {}

    def of(self, row: int) -> Trouble:
        """Return a job's trouble."""
        return self._of.setdefault(row, Trouble())

    def over(self, row: int) -> None:
        """Note that all is well with a job."""
        self._of.pop(row, None)

    def tries(self, row: int) -> int:
        """Return how often in a row something did not work with a job, for its own sake."""
        return self._of[row].tries if row in self._of else 0

    def tell(self, backend: str, action: life.Action, message: str, now: float) -> None:
        """Say why jobs do not get on: of one for all, and not of every glitch."""
        tries, last = self.tries(action.job.row), self._told.get(backend)
        if tries < _TOLD_AFTER or (last is not None and now - last < _TOLD_EVERY):
            return
        self._told[backend] = now
        _log.warning(
            "Row %d: %s on %s did not work %d times: %s. Trying again.",
            action.job.row, type(action).__name__.lower(), backend, tries, message,
        )  # fmt: skip
