"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.shared import SHARED_DATA

# What is started in the background, as a whole suite may be, ignores Ctrl-C, and so would all that
# it starts; some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of the machine than of the code.
settings.register_profile("gfmap", deadline=None)
settings.load_profile("gfmap")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command, called in this process, does to logging."""
    loggers = [logging.getLogger(name) for name in (None, "openeo_gfmap", "openeo_gfmap.manager")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real and reference data; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"reference data are not on this machine (looked in {SHARED_DATA})")
    return SHARED_DATA
