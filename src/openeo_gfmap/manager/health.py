"""Whether a back-end answers: what keeps an outage from becoming the fault of jobs."""

from __future__ import annotations

from openeo_gfmap.manager import _log
from openeo_gfmap.manager.pacing import Backoff

__all__ = ["Health"]

_PAUSED_AFTER = 3  # failures in a row
_TOLD_AFTER = 7  # failures in a row: where 30 % of requests fail, that happens once in 5,000


class Health:
    """A circuit breaker: after failures in a row, nothing is asked until a probe is answered.

    Short glitches are nobody's concern: only what lasts is told, once, and so is its end.

    Parameters
    ----------
    name : str
        The back-end.
    backoff : Backoff
        Time between probes.

    Attributes
    ----------
    answers
        How often the back-end has answered properly.
    reason
        Why it is paused, once it has been for a while; empty for as long as nobody needs to know.
    """

    def __init__(self, name: str, backoff: Backoff):
        self.answers = 0
        self.reason = ""
        self._name = name
        self._backoff = backoff
        self._failures = 0
        self._paused_at: float | None = None
        self._probe_at = 0.0
        self._probing = False
        self._probes = 0  # that failed, in this pause

    @property
    def paused(self) -> bool:
        """Whether nothing is to be asked of it."""
        return self._paused_at is not None

    @property
    def next_probe(self) -> float | None:
        """When to ask it whether it answers; None while it does, or is just being asked."""
        return self._probe_at if self.paused and not self._probing else None

    def away(self, message: str, now: float) -> None:
        """Note that it did not answer from the start."""
        self._pause(now, None)
        self._tell(message)

    def failed(self, message: str, now: float, retry_after: float | None = None) -> None:
        """Note a request that was not answered properly."""
        self._failures += 1
        if self.reason:
            self.reason = message
        if self._paused_at is None and self._failures >= _PAUSED_AFTER:
            _log.debug("%s: %d failures in a row; probing.", self._name, self._failures)
            self._pause(now, retry_after)

    def _pause(self, now: float, retry_after: float | None) -> None:
        self._paused_at, self._probes = now, 0
        self._probe_at = now + self._backoff.wait(1, retry_after)

    def _tell(self, message: str) -> None:
        self.reason = message
        _log.warning(
            "%s does not answer: %s. Its jobs wait; trying again until it does.",
            self._name, message,
        )  # fmt: skip

    def probe(self) -> None:
        """Note that it is being asked whether it answers."""
        self._probing = True

    def probe_failed(self, message: str, now: float, retry_after: float | None = None) -> None:
        """Note that it does not."""
        self._failures += 1
        self._probes += 1
        self._probing = False
        self._probe_at = now + self._backoff.wait(self._probes + 1, retry_after)
        if self.reason:
            self.reason = message
        elif self._failures >= _TOLD_AFTER:
            self._tell(message)

    def answered(self, now: float, asked: float) -> bool:
        """Note a proper answer to what was asked at a moment; return whether the pause is over.

        What was asked before the pause says nothing about the time since.
        """
        self.answers += 1
        if self._paused_at is None:
            self._failures = 0
            return False
        if asked < self._paused_at:
            return False
        if self.reason:
            _log.info("%s answers again, after %.0f s.", self._name, now - self._paused_at)
        self._failures, self._paused_at, self._probing, self.reason = 0, None, False, ""
        return True
