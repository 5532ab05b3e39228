"""What the user sees of a run."""

from __future__ import annotations

import io
import logging
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from openeo_gfmap.manager.costs import Costs
from openeo_gfmap.manager.display import (
    LogDisplay,
    TerminalDisplay,
    make_display,
    render,
)
from openeo_gfmap.manager.ledger import Sums
from openeo_gfmap.manager.lifecycle import JobStatus
from openeo_gfmap.manager.progress import Progress, amount, duration

HALF_WAY = Progress(
    counts={JobStatus.FINISHED: 3, JobStatus.ERROR: 1, JobStatus.RUNNING: 2, JobStatus.QUEUED: 2},
    samples=Sums(received=180, missing=7, rejected=3, open=50),
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
        "4 of 8 jobs done (2 queued, 2 running, 3 finished, 1 error), "
        "180 of 240 samples received, 7 missing, 3 rejected, 30.0 a minute, about 8 min left"
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (3, "3"), (3.25, "3.25"), (12.3456, "12.35"), (1234.56, "1,235"), (0.001, "0.001")],
)
def test_an_amount_is_short(number: float, text: str) -> None:
    assert amount(number) == text


def test_progress_tells_what_was_spent() -> None:
    assert str(replace(HALF_WAY, costs=Costs(12.5))).endswith(", costs 12.5")
    spent = replace(HALF_WAY, costs=Costs(12.5, limit=100.0))
    assert str(spent).endswith(", costs 12.5 of at most 100")
    assert repr(spent) == f"<{spent}>"
    assert repr(replace(spent, message="cdse does not answer.")).endswith("cdse does not answer.>")


def test_nothing_is_said_of_a_rate_that_is_not_known() -> None:
    assert str(Progress({JobStatus.NOT_STARTED: 2})) == (
        "0 of 2 jobs done (2 not_started), 0 of 0 samples received"
    )


def test_the_terminal_shows_a_table_in_place() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, color_system=None)
    with TerminalDisplay(console) as display:
        display.update(HALF_WAY)
    text = output.getvalue()
    for part in (
        "4 of 8 done",
        "2 running",
        "180 of 240 received",
        "30.0 a minute",
        "about 8 min left",
    ):
        assert part in text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown_on(terminal: Terminal) -> TerminalDisplay:
    console = Console(file=terminal, force_terminal=True, width=80, color_system=None)
    return TerminalDisplay(console)


def test_the_users_log_lines_go_above_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that was made before the table writes to the stream it was made with."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logger, handler = logging.getLogger("openeo_gfmap.manager"), logging.StreamHandler()
    logger.addHandler(handler)
    try:
        with shown_on(terminal):
            assert handler.stream is sys.stderr is not terminal
            logger.error("row 3 failed")
        assert handler.stream is sys.stderr is terminal
    finally:
        logger.removeHandler(handler)
    # On a line of its own: the cursor is moved to the table's beginning first.
    assert "row 3 failed\n" in terminal.getvalue()


def test_what_goes_to_a_file_still_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", file)
    with shown_on(terminal):
        print("a callback says")
    assert file.getvalue() == "a callback says\n"
    assert "callback" not in terminal.getvalue()


def test_the_table_is_readable_in_eighty_columns() -> None:
    output = io.StringIO()
    counts = dict.fromkeys(JobStatus, 1000)
    message = "cdse does not answer; its jobs wait. OpenEoApiError: [503] " + "too long " * 20
    message += "\nterrascope takes fewer jobs now: at most 3."
    message += "\nNo more jobs are made: 123,456 of at most 200,000 spent; rows left: 4321."
    costs = Costs(spent=123_456.7, limit=200_000.0, left=99_999.9)
    progress = replace(
        HALF_WAY,
        counts=counts,
        samples=Sums(100_000, 20_000, 3_000, 7),
        message=message,
        costs=costs,
    )
    Console(file=output, width=80).print(render(progress))
    lines = output.getvalue().splitlines()
    assert len(lines) <= 13
    assert [line.split()[0] for line in lines[-4:]] == ["costs", "cdse", "terrascope", "No"]
    assert "123,457 of at most 200,000" in output.getvalue()
    assert "100,000 of 123,007 received" in output.getvalue()
    assert "20,000 missing, 3,000 rejected" in output.getvalue()
    assert "about 100,000 more" in output.getvalue() and "at most 3." in output.getvalue()
    assert all(len(line) <= 80 for line in lines)
    words = " ".join(output.getvalue().split())
    assert all(f"1000 {status.value}" in words for status in JobStatus)


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_log_file_of_a_build_is_no_terminal(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert isinstance(make_display(), LogDisplay)


def test_elsewhere_there_are_few_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "openeo_gfmap.manager"), LogDisplay(3600) as display:
        for samples in range(100):
            display.update(Progress({JobStatus.RUNNING: 2}, Sums(samples)))
        display.update(Progress({JobStatus.FINISHED: 2}, Sums(100)))
        display.update(Progress({JobStatus.FINISHED: 2}, Sums(100)))
    assert [record.message for record in caplog.records] == [
        "0 of 2 jobs done (2 running), 0 of 0 samples received",
        "2 of 2 jobs done (2 finished), 100 of 100 samples received",
    ]


def test_without_a_terminal_there_is_no_table() -> None:
    assert isinstance(make_display(), LogDisplay)
