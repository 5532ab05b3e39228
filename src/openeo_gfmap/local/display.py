"""What ``gfmap serve`` shows on a terminal: jobs at work with their progress, and the queue."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .settings import GIB

__all__ = ["TerminalDisplay", "render"]

_MOST_ROWS = 12


class TerminalDisplay:
    """A table that is redrawn in place; what is logged meanwhile goes above it.

    Parameters
    ----------
    console
        The terminal.
    """

    def __init__(self, console: Console):
        self._live = Live(Text(""), console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> TerminalDisplay:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def update(self, status: Mapping[str, Any]) -> None:
        """Show a status of :func:`status.describe_status`."""
        self._live.update(render(status), refresh=True)


def render(status: Mapping[str, Any]) -> RenderableType:
    """Return the picture of a status."""
    running, jobs, machine = status["running"], status["jobs"], status["machine"]
    parts = [
        f"{len(running)} of at most {status['limits']['parallel_jobs']} jobs at work",
        f"{jobs.get('queued', 0)} queued",
        *(f"{jobs[name]} {name}" for name in ("finished", "error", "canceled") if jobs.get(name)),
        f"{machine['memory_used'] / GIB:.1f} of {machine['memory'] / GIB:.0f} GiB",
    ]
    lines: list[RenderableType] = [Text(" · ".join(parts), style="bold")]
    if running:
        lines.append(_table(running[:_MOST_ROWS]))
    if len(running) > _MOST_ROWS:
        lines.append(Text(f"… and {len(running) - _MOST_ROWS} more"))
    if status["queued"]:
        lines.append(Text(f"next: {', '.join(map(_name, status['queued'][:4]))}", style="dim"))
    return Group(*lines)


def _table(running: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    for title in ("job", "user"):
        table.add_column(title, overflow="ellipsis", no_wrap=True)
    table.add_column("progress", ratio=1)
    for title in ("%", "time", "memory", "at work"):
        table.add_column(title, justify="right", no_wrap=True)
    for job in running:
        minutes, seconds = divmod(int(job["seconds"]), 60)
        table.add_row(
            Text(_name(job)),
            Text(job["user"] or ""),
            ProgressBar(total=100, completed=job["progress"]),
            f"{job['progress']:.0f}",
            f"{minutes}:{seconds:02d}",
            f"{job['memory'] / GIB:.1f} GiB",
            _workers(job),
        )
    return table


def _workers(job: Mapping[str, Any]) -> str:
    cluster = job["cluster"]
    if cluster:
        return f"{len(cluster['workers'])} workers, {cluster['threads']} threads"
    count = job["processes"]
    return f"{count} process{'' if count == 1 else 'es'}"


def _name(job: Mapping[str, Any]) -> str:
    return str(job["title"] or job["id"])
