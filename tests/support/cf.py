"""The CF checker, run as its own program on a file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def cf_errors(path: Path) -> list[dict[str, Any]]:
    """Return what CF-1.9 requires and the file lacks."""
    command = Path(sys.executable).with_name("compliance-checker")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # Its exit code is not zero for mere warnings as well.
        subprocess.run(
            [command, "--test", "cf:1.9", "--format", "json", "--output", report, path],
            capture_output=True,
            check=False,
        )
        checks = json.loads(report.read_text())["cf:1.9"]["high_priorities"]
    return [check for check in checks if check["msgs"]]
