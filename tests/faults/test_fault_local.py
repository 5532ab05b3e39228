"""The manager against the embedded back-end, with a bad network between the two."""

from __future__ import annotations

import logging
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import openeo
import pandas as pd
import pytest

from faults.proxy import (
    BAD_GATEWAY,
    HTML_PAGE,
    INTERNAL,
    UNAVAILABLE,
    Answer,
    Chunked,
    Cut,
    Fault,
    FaultProxy,
    Half,
    NoLength,
    Reset,
    WrongBytes,
    fault_proxy,
    until,
)
from faults.world import QUICK
from openeo_gfmap import Backend, BoundingBoxExtent, FetchType, TemporalContext
from openeo_gfmap.fetching import build_sentinel2_l2a_extractor
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from support.service import ServerProcess

JOBS = 6
API, FILES = r"/[^ ]*/jobs", r"GET /[^ ]*/results/[^ ]+\.nc"
# A real server on a busy machine takes its time: a job that is asked for may come up late.
OPTIONS = replace(QUICK, settle=3.0, answer_seconds=10.0, work_seconds=10.0, connect_seconds=5.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server") / "home").start() as running:
        yield running


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[FaultProxy]:
    host, _, _ = server.known["url"].removeprefix("http://").partition("/")
    with fault_proxy(f"http://{host}") as running:
        yield running


def start_job(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
    place = BoundingBoxExtent(row.west, 50.93, row.west + 0.002, 50.932)
    extractor = build_sentinel2_l2a_extractor(Backend.LOCAL, ["S2-L2A-B04"], FetchType.TILE)
    cube = extractor.get_cube(connection, place, TemporalContext("2021-05-01", "2021-05-08"))
    return cube.create_job(title=row.title, out_format="NetCDF")


def run(
    folder: Path, server: ServerProcess, proxy: FaultProxy, name: str
) -> tuple[dict[str, int], pd.DataFrame]:
    def connect() -> openeo.Connection:
        path = "/" + server.known["url"].removeprefix("http://").partition("/")[2]
        connection = openeo.connect(proxy.url + path)
        return connection.authenticate_basic(server.known["user"], server.known["password"])

    def place(root_folder: Path, geometry_index: int, row: pd.Series, asset_id: str) -> str:
        return f"{row.title}/{asset_id}"

    table = pd.DataFrame(
        {
            "title": [f"{name} {n}" for n in range(JOBS)],
            "west": [3.7 + n / 100 for n in range(JOBS)],
        }
    )
    manager = GFMAPJobManager(folder / "out", place, poll_sleep=0.1, options=OPTIONS)
    manager.add_backend("local", connect, parallel_jobs=3)
    counts = manager.run_jobs(table, start_job, folder / "tracker.csv")
    return counts, pd.read_csv(folder / "tracker.csv")


def check(
    folder: Path, server: ServerProcess, name: str, rows: pd.DataFrame, log: list[Any]
) -> None:
    assert list(rows.status) == ["finished"] * JOBS and rows.id.is_unique
    titles = Counter(str(job.get("title")) for job in server.connect().list_jobs())
    assert {t: n for t, n in titles.items() if t.startswith(name)} == {
        f"{name} {n}": 1 for n in range(JOBS)
    }
    files = [p for p in (folder / "out").glob(f"{name} */*") if p.is_file()]
    assert len(files) == JOBS
    for path in files:
        with h5py.File(path) as file:
            assert file["S2-L2A-B04"][...].size
    # A server that is killed may leave one in its own state, where it harms nothing.
    out = folder / "out"
    assert not list(out.rglob("*.part")) and not (out / ".downloads").exists()
    with closing(sqlite3.connect(folder / "tracker.csv.sqlite")) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    warnings = [record for record in log if record.levelno >= logging.WARNING]
    assert len(warnings) <= 8, [record.getMessage() for record in warnings]


# The first request to a path meets the first fault, the second the second, and so on: job ids are
# the server's, so that what chance would choose by the path differs from run to run.
FAULTS = {
    "refusals": [
        Fault(rf"(GET|POST) {API}.*", what) for what in (INTERNAL, BAD_GATEWAY, UNAVAILABLE)
    ],
    "lost answers": [
        Fault(rf"POST {API}", Reset(), 2, each=False, done=True),
        Fault(rf"POST {API}", BAD_GATEWAY, 1, each=False, done=True),
        Fault(rf"POST {API}/[^/]+/results", Reset(), 1, done=True),
    ],
    "broken answers": [
        Fault(rf"GET {API}(/[^/]+(/results)?)?", what, done=True)
        for what in (Cut(), Half(), HTML_PAGE, Answer(200, b"null"))
    ],
    "broken files": [
        Fault(FILES, what, done=True)
        for what in (Cut(), NoLength(), Chunked(), WrongBytes(), HTML_PAGE)
    ],
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_network_loses_and_doubles_nothing(
    tmp_path: Path,
    server: ServerProcess,
    proxy: FaultProxy,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy.faults = FAULTS[kind]
    counts, rows = run(tmp_path, server, proxy, kind)
    assert counts == {"finished": JOBS}
    assert proxy.harmed() >= 3
    check(tmp_path, server, kind, rows, caplog.records)


def test_a_server_that_is_killed_and_comes_back_is_worked_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also a file that is replaced by a stranger's answer meanwhile is not taken."""
    server = ServerProcess(tmp_path / "home").start()
    host = server.known["url"].removeprefix("http://").partition("/")[0]
    with fault_proxy(f"http://{host}") as proxy:

        def interrupt() -> None:
            until(lambda: proxy.asked(rf"POST {API}/[^/]+/results") >= 2)
            server.signal(signal.SIGKILL)
            server.start()
            proxy.upstream = "http://" + server.known["url"].removeprefix("http://").split("/")[0]

        killer = threading.Thread(target=interrupt, daemon=True)
        killer.start()
        try:
            counts, rows = run(tmp_path, server, proxy, "killed")
            killer.join()
            assert counts == {"finished": JOBS}
            check(tmp_path, server, "killed", rows, caplog.records)
        finally:
            server.stop()
