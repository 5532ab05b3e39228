"""A world to fail in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.proxy import fault_proxy
from faults.world import World
from support.fake_backend import fake_backend
from support.patches import patch_bytes


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Result files of a job."""
    folder = tmp_path_factory.mktemp("patches")
    return {f"openEO_{n}.nc": patch_bytes(folder, seed=n) for n in range(2)}


@pytest.fixture
def world(
    tmp_path: Path, patches: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> Iterator[World]:
    caplog.set_level(logging.WARNING)
    with fake_backend() as backend, fault_proxy(backend.url) as proxy:
        yield World(tmp_path, backend, proxy, patches, caplog)
