"""What is common to all executors: the job that travels, and the work on one window."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ...errors import OpenEOError
from ...stac_source import Scene
from .. import udf
from ..demands import Window
from ..evaluate import Evaluation
from ..graph import ProcessGraph
from ..outputs import FeatureFiles, Output
from ..plan import Env, Plan
from .places import Place

__all__ = ["Done", "Executor", "Job", "Worker"]

_LONGEST_TRACEBACK = 8000
_MOST_RECORDS = 500


@dataclass(frozen=True)
class Job:
    """All that an evaluation of windows needs: graph and source descriptions, no pixels. Picklable.

    Attributes
    ----------
    plan
        The planned graph.
    env
        Settings of the run.
    scenes
        Scenes per loading node, for all windows.
    output
        What windows become.
    place
        Where files are put.
    """

    plan: Plan
    env: Env
    scenes: Mapping[str, Sequence[Scene]]
    output: Output
    place: Place

    def away(self) -> Job:
        """Return the job for another process: log and progress stay with the leading one."""
        plain = Env(self.env.catalog)
        return replace(
            self, env=replace(self.env, log=plain.log, progress=plain.progress, news=plain.news)
        )


@dataclass(frozen=True)
class Done:
    """What came of a window.

    Attributes
    ----------
    window
        The window.
    payload
        For the output's ``collect``.
    records
        Level and message of what was logged meanwhile in another process.
    error
        Why there is no payload.
    """

    window: Window
    payload: Any = None
    records: tuple[tuple[str, str], ...] = ()
    error: OpenEOError | None = None


class Executor(Protocol):
    """Evaluates windows somewhere."""

    def run(self, job: Job, windows: Sequence[Window]) -> Iterator[Done]:
        """Yield what becomes of each window, in any order.

        Whoever iterates may stop at any point; what still runs is then ended or let go.

        Raises
        ------
        OpenEOError
            The executor itself failed: a process ended by itself, a cluster cannot be reached.
        MemoryError
            In a window.
        """
        ...


class Worker:
    """Evaluates windows of one job in one process, or in one thread of a Dask worker.

    Parameters
    ----------
    job
        The job.
    away
        Whether this is not the process that leads: then what is logged travels with the windows.
    """

    def __init__(self, job: Job, *, away: bool):
        self._records: list[tuple[str, str]] = []
        env = replace(job.env, log=self._note) if away else job.env
        if away:
            _catch_records(self._note)
        self._udf = udf.use(env.udf, env.log)
        if _uses_udf(job.plan):
            self._udf.start()  # gets ready while the first window is read
        self._log = env.log
        self._evaluation = Evaluation(job.plan, env, job.scenes, env.open_reader())
        self._place = job.place.opened()
        output = job.output
        if isinstance(output, FeatureFiles):
            output = replace(output, out_dir=self._place.folder)
        self._output = output

    def run(self, windows: Sequence[Window]) -> Iterator[Done]:
        """Yield what becomes of each window, in order; neighbours are read together."""
        ready = 0
        for position, window in enumerate(windows):
            if position == ready:
                ready += self._evaluation.read_ahead(windows[position:])
            yield self._one(window)

    def _one(self, window: Window) -> Done:
        """Return what becomes of a window; errors of the graph and of UDFs stand in it."""
        self._records.clear()
        try:
            payload = self._output.keep(window, self._evaluation.window(window))
            self._place.deliver()
        except OpenEOError as error:
            cause = error.__cause__
            if cause is not None and not isinstance(cause, OpenEOError):
                # Not foreseen, so the way to it matters.
                trace = "".join(traceback.format_exception(cause))
                self._log("info", trace[-_LONGEST_TRACEBACK:])
            # Without its cause, which may be of a kind that cannot travel.
            plain = OpenEOError(error.code, error.message, status=error.status, node=error.node)
            return Done(window, records=tuple(self._records), error=plain)
        return Done(window, payload, tuple(self._records))

    def close(self) -> None:
        """Free what the job holds here."""
        self._udf.close()
        self._place.close()

    def _note(self, level: str, message: str) -> None:
        if len(self._records) < _MOST_RECORDS:
            self._records.append((level, message))


def _uses_udf(plan: Plan) -> bool:
    return any(
        call.process.id == "run_udf"
        or any(
            isinstance(value, ProcessGraph) and "run_udf" in value.processes()
            for value in call.args.values()
        )
        for call in plan.calls.values()
    )


_threads = threading.local()


class _Catcher(logging.Handler):
    """Gives the package's own log records to the worker of the thread they come from."""

    def emit(self, record: logging.LogRecord) -> None:
        note: Callable[[str, str], None] | None = getattr(_threads, "note", None)
        if note is not None:
            note(record.levelname.lower(), record.getMessage())


_catcher = _Catcher(logging.WARNING)


def _catch_records(note: Callable[[str, str], None]) -> None:
    _threads.note = note
    logging.getLogger("openeo_gfmap").addHandler(_catcher)  # no effect the second time
