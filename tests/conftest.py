"""Fixtures shared by all tests."""

from __future__ import annotations

import signal
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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real and reference data; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"reference data are not on this machine (looked in {SHARED_DATA})")
    return SHARED_DATA
