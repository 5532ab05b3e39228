"""The pages build, and a warning fails them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.documents import ROOT


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    # As `make docs` does it.
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", tmp_path / "trees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ROOT / "docs", tmp_path / "html"],
        check=False,  # what it says should be in the message
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "html" / "reference" / "manager.html").read_text(encoding="utf-8")
    assert "GFMAPJobManager.run_jobs" in reference  # made from the code
    life = (tmp_path / "html" / "life-of-a-job.html").read_text(encoding="utf-8")
    assert "mermaid" in life
