"""A server of the embedded back-end as a process of its own, and what its tests ask of it."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openeo
from openeo.rest.job import BatchJob

ADD = {"add1": {"process_id": "add", "arguments": {"x": 3, "y": 5}, "result": True}}


class ServerProcess:
    """Start, kill and start again a server on one state folder.

    Attributes
    ----------
    home
        The state folder.
    """

    def __init__(self, home: Path, *options: str):
        self.home = home
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.known: dict[str, Any] = {}

    @property
    def state(self) -> Path:
        return self.home / "local"

    @property
    def log(self) -> Path:
        return self.home / "test.log"

    def start(self) -> ServerProcess:
        self.home.mkdir(exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "openeo_gfmap.local", "--home", self.home, *self._options],
                stdout=output,
                stderr=output,
            )
        pid = self._process.pid
        wait_for(lambda: self._known().get("pid") == pid, 60, self.log.read_text)
        self.known = self._known()
        return self

    def _known(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.state / "server.json").read_text()))
        except FileNotFoundError:
            return {}

    def connect(self) -> openeo.Connection:
        connection = openeo.connect(self.known["url"])
        return connection.authenticate_basic(self.known["user"], self.known["password"])

    def signal(self, number: int) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    def wait(self, seconds: float) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGTERM)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request as it is: no client that tidies up paths, headers or errors."""
        address = urlsplit(self.known["url"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()


def wait_for(
    condition: Callable[[], Any], seconds: float = 30, explain: Callable[[], str] = str
) -> None:
    """Look until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {explain()}")
        time.sleep(0.02)


def ended(job: BatchJob, seconds: float = 60) -> str:
    """Wait for a job's end; returns its state."""
    states: list[str] = []

    def is_over() -> bool:
        states.append(job.status())
        return states[-1] not in ("queued", "running")

    wait_for(is_over, seconds, lambda: f"{states[-1]}, {[e['message'] for e in job.logs()]}")
    return states[-1]


def children_of(folder: Path) -> list[int]:
    """Process ids of all processes that work in a job's folder: the job's own, pool, UDFs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            working = (entry / "cwd").readlink()
        except OSError:
            continue
        # Of one that works in a folder that was removed it says "… (deleted)".
        if working.is_relative_to(folder) and (entry / "statm").read_text().split()[0] != "0":
            found.append(int(entry.name))
    return found
