"""What the user sees of a run."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from openeo_gfmap.manager.display import (
    LogDisplay,
    Progress,
    TerminalDisplay,
    duration,
    make_display,
)
from openeo_gfmap.manager.lifecycle import JobStatus

HALF_WAY = Progress(
    counts={JobStatus.FINISHED: 3, JobStatus.ERROR: 1, JobStatus.RUNNING: 2, JobStatus.QUEUED: 2},
    samples=180,
    new_samples=120,
    new_jobs=2,
    seconds=240,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_counts_rates_and_time_left() -> None:
    assert (HALF_WAY.jobs, HALF_WAY.done) == (8, 4)
    assert HALF_WAY.samples_per_minute == 30
    assert HALF_WAY.seconds_left == 480
    assert str(HALF_WAY) == (
        "4 of 8 jobs done (2 queued, 2 running, 3 finished, 1 error), 180 samples, "
        "30.0 a minute, about 8 min left"
    )


def test_nothing_is_said_of_a_rate_that_is_not_known() -> None:
    assert str(Progress({JobStatus.NOT_STARTED: 2})) == (
        "0 of 2 jobs done (2 not_started), 0 samples"
    )


def test_the_terminal_shows_a_table_in_place() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, color_system=None)
    with TerminalDisplay(console) as display:
        display.update(HALF_WAY)
    text = output.getvalue()
    for part in ("4 of 8 done", "2 running", "180 received", "30.0 a minute", "about 8 min left"):
        assert part in text


def test_elsewhere_there_are_few_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "openeo_gfmap.manager"), LogDisplay(3600) as display:
        for samples in range(100):
            display.update(Progress({JobStatus.RUNNING: 2}, samples=samples))
        display.update(Progress({JobStatus.FINISHED: 2}, samples=100))
        display.update(Progress({JobStatus.FINISHED: 2}, samples=100))
    assert [record.message for record in caplog.records] == [
        "0 of 2 jobs done (2 running), 0 samples",
        "2 of 2 jobs done (2 finished), 100 samples",
    ]


def test_without_a_terminal_there_is_no_table() -> None:
    assert isinstance(make_display(), LogDisplay)
