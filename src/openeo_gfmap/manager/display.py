"""What the user sees of a run: a live table on a terminal, a calm log line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from openeo_gfmap.manager import _log
from openeo_gfmap.manager.lifecycle import JobStatus
from openeo_gfmap.manager.progress import Progress

__all__ = ["Display", "LogDisplay", "TerminalDisplay", "make_display"]

_STYLES: Mapping[JobStatus, str] = {
    JobStatus.FINISHED: "green",
    JobStatus.ERROR: "red",
    JobStatus.START_FAILED: "red",
    JobStatus.POSTPROCESSING_ERROR: "red",
    JobStatus.CANCELED: "yellow",
    JobStatus.RUNNING: "cyan",
}


class Display(Protocol):
    """Shows progress; a context manager."""

    def update(self, progress: Progress) -> None:
        """Show how the run stands."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class TerminalDisplay:
    """A table that is redrawn in place; what is printed and logged meanwhile goes above it.

    Parameters
    ----------
    console : rich.console.Console
        The terminal; of what this process writes elsewhere nothing is touched.
    """

    def __init__(self, console: Console):
        self._progress = Progress()
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=4,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._borrowed: list[tuple[logging.StreamHandler[Any], Any]] = []

    def update(self, progress: Progress) -> None:
        """Show how the run stands."""
        self._progress = progress

    def _render(self) -> RenderableType:
        return render(self._progress)

    def __enter__(self) -> TerminalDisplay:
        streams = {sys.stdout: "stdout", sys.stderr: "stderr"}
        self._live.start()
        # The user's handlers keep the streams that they were made with: left alone, they would
        # write into the table.
        for handler in _stream_handlers():
            if (name := streams.get(handler.stream)) is not None:
                self._borrowed.append((handler, handler.setStream(getattr(sys, name))))
        return self

    def __exit__(self, *_: object) -> None:
        for handler, stream in self._borrowed:
            handler.setStream(stream)
        self._borrowed.clear()
        self._live.stop()


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    """Iterate over the handlers of all loggers that write to a stream, such as the terminal."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):  # some are mere placeholders
            # Not the last resort of logging, which looks up the stream each time.
            if isinstance(handler, logging.StreamHandler) and "stream" in vars(handler):
                yield handler


def render(progress: Progress) -> RenderableType:
    """Return the table of a moment."""
    bar = ProgressBar(total=max(progress.jobs, 1), completed=progress.done, width=40)
    states = Text("  ").join(
        Text(f"{progress.counts[status]} {status.value}", style=_STYLES.get(status, ""))
        for status in JobStatus
        if progress.counts.get(status)
    )
    table = Table.grid(padding=(0, 2))
    table.add_row("jobs", bar, f"{progress.done} of {progress.jobs} done")
    for name, value, rest in progress.facts():
        # What has no name is what is lacking.
        table.add_row(name, Text(value, style="" if name else "yellow"), rest)
    messages = [
        Text(line, style="yellow", overflow="ellipsis", no_wrap=True)
        for line in progress.message.splitlines()
    ]
    return Group(states, table, *messages)


class LogDisplay:
    """A log line when something has changed, but not more often than a reader likes."""

    def __init__(self, interval: float = 30.0):
        self._interval = interval
        self._last = -interval
        self._shown = ""

    def update(self, progress: Progress) -> None:
        """Log how the run stands, if that is news."""
        news = f"{progress.counts}{progress.message}"
        now = time.monotonic()
        finished = progress.done == progress.jobs
        if news != self._shown and (finished or now - self._last >= self._interval):
            _log.info("%s", progress.line)
            self._shown, self._last = news, now

    def __enter__(self) -> LogDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def make_display() -> Display:
    """Return what fits the place: a table on a terminal, log lines in a file, pipe or notebook."""
    console = Console(stderr=True)
    # Asked for itself, too: FORCE_COLOR lets rich take any file for a terminal.
    is_terminal = console.is_terminal and console.file.isatty() and not console.is_dumb_terminal
    return TerminalDisplay(console) if is_terminal else LogDisplay()
