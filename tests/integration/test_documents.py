"""The code of the documents runs as it stands, as a newcomer would run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xarray as xr

from support.documents import DOCUMENTS, ROOT, blocks_of, named, program_of
from support.service import wait_for

CLOUDS = ("CDSE", "CDSE_STAGING", "VITO", "EODC", "FED")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of somebody who has set nothing, where every cloud is the embedded back-end.

    Servers that were started are ended.
    """
    home = tmp_path_factory.mktemp("newcomer")
    environment = {k: v for k, v in os.environ.items() if "GFMAP" not in k}
    yield {
        **environment,
        **{f"OPENEO_GFMAP_URL_{name}": "local" for name in CLOUDS},
        "OPENEO_GFMAP_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
    folders = [home, *home.parent.glob("test_*/second-home")]
    for known in (folder / "local" / "server.json" for folder in folders):
        if not known.exists():
            continue
        os.kill(json.loads(known.read_text())["pid"], signal.SIGTERM)
        wait_for(lambda known=known: not known.exists())


def run(document: Path, folder: Path, environment: dict[str, str]) -> str:
    """Run the blocks of a document as one program; returns what it prints."""
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
    program = folder / "program.py"
    program.write_text(program_of(document), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program.name],
        check=False,  # the message should be the program's own
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def check_readme(folder: Path, printed: str) -> None:
    with xr.open_dataset(folder / "field.nc") as field:
        assert {"S2-L2A-B04", "S2-L2A-B08", "S2-L2A-SCL"} <= set(field.data_vars)
        assert field.sizes["t"] > 5
        assert str(field.t.min().values) >= "2021-05-01"
        assert str(field.t.max().values) < "2021-07-01"
        assert (field["S2-L2A-B08"] != 65535).any()


def check_local_backend(folder: Path, printed: str) -> None:
    title, collections, running = printed.splitlines()
    assert (title, collections) == ("Sentinel-2 L2A, simulated", "['SENTINEL2_L2A']")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ gfmap", running)
    assert (folder / "second-home" / "local" / "server.json").exists()


def check_running_jobs(folder: Path, printed: str) -> None:
    assert "{'finished': 2}" in printed
    assert len(list(folder.glob("results/*/openEO.nc"))) == 2


#: What a document promises, beyond that its code runs.
CHECKS: dict[str, Callable[[Path, str], None]] = {
    "README.md": check_readme,
    "docs/local-backend.md": check_local_backend,
    "docs/running-jobs.md": check_running_jobs,
}

RUN = [document for document in DOCUMENTS if program_of(document)]


@pytest.mark.parametrize("document", RUN, ids=named)
def test_the_code_of_a_document_runs(
    document: Path, tmp_path: Path, newcomer: dict[str, str]
) -> None:
    printed = run(document, tmp_path, newcomer)
    if check := CHECKS.get(named(document)):
        check(tmp_path, printed)


def test_running_jobs_again_makes_no_job(tmp_path: Path, newcomer: dict[str, str]) -> None:
    document = ROOT / "docs" / "running-jobs.md"
    printed = run(document, tmp_path, newcomer)
    tracker = (tmp_path / "results" / "jobs.csv").read_text()
    assert run(document, tmp_path, newcomer) == printed
    assert (tmp_path / "results" / "jobs.csv").read_text() == tracker


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_what_does_not_run_has_a_reason(document: Path) -> None:
    """Code in a language that could run is marked, or runs; anything else is output or data."""
    known = {"python", "sh", "text", "toml", "json", "mermaid", "console"}
    for block in blocks_of(document):
        if not block.language.startswith("{"):  # directives of Sphinx
            assert block.language in known, block.code[:80]
