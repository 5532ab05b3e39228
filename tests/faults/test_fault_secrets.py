"""What lets others in: tokens, passwords and signatures stand in no log and in no file."""

from __future__ import annotations

import json
import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import openeo
import pytest

from faults.proxy import Answer, Fault, Reset
from faults.test_fault_access import expire_when
from faults.world import QUICK, World

SECRET = "s3cr3t"
SIGNATURE = f"X-Amz-Signature={SECRET}-signature"


def basic(world: World) -> openeo.Connection:
    return openeo.connect(world.proxy.url).authenticate_basic("user", f"{SECRET}-password")


def refresh_token(world: World) -> openeo.Connection:
    return openeo.connect(world.proxy.url).authenticate_oidc_refresh_token(
        client_id="client", refresh_token=f"{SECRET}-refresh", provider_id="fake"
    )


def client_credentials(world: World) -> openeo.Connection:
    return openeo.connect(world.proxy.url).authenticate_oidc_client_credentials(
        client_id="client", client_secret=f"{SECRET}-client", provider_id="fake"
    )


def written(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Iterate over all that a run wrote, also what the store has compressed."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    for path in folder.rglob("*.sqlite"):
        with closing(sqlite3.connect(path)) as store:
            tables = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                for row in store.execute(f"SELECT * FROM {table}"):
                    for cell in row:
                        if isinstance(cell, bytes):
                            yield f"{path}: {table}", zlib.decompress(cell)


@pytest.mark.parametrize("log_in", [basic, refresh_token, client_credentials])
def test_no_secret_is_logged_or_written(
    world: World, log_in: Callable[[World], openeo.Connection]
) -> None:
    """With tokens that expire, jobs that fail, files that do not come, and everything logged."""
    world.jobs = 8
    world.backend.page = 50
    world.backend.guarded = True
    world.backend.signature = f"?X-Amz-Credential=me&{SIGNATURE}"
    world.script(1, states=("running", "error"), logs=({"level": "error", "message": "no"},))
    nobody = {"href": f"http://127.0.0.1:9/openEO_0.nc?{SIGNATURE}", "roles": ["data"]}
    elsewhere = {"assets": {"openEO_0.nc": nobody}}
    world.fail(
        Fault("GET /files/j-0002/openEO_1.nc.*", Reset(), None),
        Fault("GET /files/j-0003/openEO_1.nc.*", Answer(403, b"<html>expired"), None),
        Fault("GET /jobs/j-0004/results", Answer(200, json.dumps(elsewhere).encode()), None),
    )
    watch = expire_when(
        world,
        lambda: len(world.backend.jobs) >= 4,
        lambda: world.backend.requests["GET /files/{id}/openEO_0.nc"] >= 3,
    )
    world.caplog.set_level(logging.DEBUG, "")
    counts = world.run(
        connection=lambda: log_in(world),
        parallel_jobs=4,
        options=replace(QUICK, download_attempts=2),
    )
    watch.join()
    assert counts["error"] >= 3 and counts["finished"] >= 3
    assert world.backend.tokens_given >= 3
    for record in world.caplog.records:
        text = f"{record.getMessage()} {record.exc_text or ''}"
        if record.name.startswith("openeo_gfmap"):
            assert SECRET not in text
        else:  # the libraries under it log the addresses that they ask, also signed ones
            assert SECRET not in text.replace(SIGNATURE, "")
    names = [name for name, content in written(world.folder) if SECRET.encode() in content]
    assert not names
