"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from support.shared import SHARED_DATA

# How long an example takes says more of the machine than of the code.
settings.register_profile("gfmap", deadline=None)
settings.load_profile("gfmap")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real and reference data; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"reference data are not on this machine (looked in {SHARED_DATA})")
    return SHARED_DATA
