"""The Python of the documents runs as it stands, as a newcomer would run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import xarray as xr

from support.service import wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of somebody who has set nothing; servers that were started are ended."""
    environment = {k: v for k, v in os.environ.items() if "GFMAP" not in k}
    yield {**environment, "OPENEO_GFMAP_HOME": str(tmp_path / "home")}
    for known in tmp_path.glob("*/local/server.json"):
        os.kill(json.loads(known.read_text())["pid"], signal.SIGTERM)
        wait_for(lambda known=known: not known.exists())


def run_blocks(document: str, folder: Path, environment: dict[str, str]) -> str:
    """Run the Python blocks of a document as one program; returns what it prints."""
    text = (ROOT / document).read_text(encoding="utf-8")
    program = folder / "program.py"
    program.write_text("\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)))
    done = subprocess.run(
        [sys.executable, program.name],
        check=False,  # the message should be the program's own
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_ten_lines_of_the_readme(tmp_path: Path, newcomer: dict[str, str]) -> None:
    run_blocks("README.md", tmp_path, newcomer)
    with xr.open_dataset(tmp_path / "field.nc") as field:
        assert {"S2-L2A-B04", "S2-L2A-B08", "S2-L2A-SCL"} <= set(field.data_vars)
        assert field.sizes["t"] > 5
        assert str(field.t.min().values) >= "2021-05-01"
        assert str(field.t.max().values) < "2021-07-01"
        assert (field["S2-L2A-B08"] != 65535).any()
    run_blocks("docs/engine.md", tmp_path, newcomer)  # opens that file


def test_starting_the_back_end_as_documented(tmp_path: Path, newcomer: dict[str, str]) -> None:
    printed = run_blocks("docs/local-backend.md", tmp_path, newcomer)
    assert printed.splitlines() == ["Sentinel-2 L2A, simulated", "['SENTINEL2_L2A']"]
    assert (tmp_path / "second-home" / "local" / "server.json").exists()


def test_running_jobs_as_documented(tmp_path: Path, newcomer: dict[str, str]) -> None:
    printed = run_blocks("docs/running-jobs.md", tmp_path, newcomer)
    assert printed == "{'finished': 2}\n"
    assert len(list(tmp_path.glob("results/*/openEO.nc"))) == 2
    # The same again makes no job: the tracker, ids included, stays as it is.
    tracker = (tmp_path / "results" / "jobs.csv").read_text()
    assert run_blocks("docs/running-jobs.md", tmp_path, newcomer) == printed
    assert (tmp_path / "results" / "jobs.csv").read_text() == tracker
