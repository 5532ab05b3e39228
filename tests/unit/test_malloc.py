"""Memory that a process keeps for its next arrays."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from openeo_gfmap.local.malloc import keep_memory

COUNT = """
import resource
import numpy as np
from openeo_gfmap.local.malloc import keep_memory

if {kept}:
    keep_memory(block=2**30, idle=256 * 2**20)
np.ones(2**26, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**26, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told so")
def test_large_arrays_are_not_asked_of_the_system_again_and_again() -> None:
    faults = [
        int(subprocess.check_output([sys.executable, "-c", COUNT.format(kept=kept)]))
        for kept in (False, True)
    ]
    assert faults[1] < faults[0] / 10, faults


def test_another_libc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_memory(block=2**30, idle=2**28)
