"""A child that takes more and more memory, in a process of its own, until it is ended."""

from __future__ import annotations

import subprocess
import sys
import time

if len(sys.argv) > 1:
    # Not the first process: the limit is for all of them together.
    subprocess.run([sys.executable, __file__], check=False)
else:
    hoard = []
    for _ in range(200):
        hoard.append(b"x" * 20_000_000)
        time.sleep(0.05)
