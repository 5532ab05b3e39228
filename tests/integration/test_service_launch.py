"""Starting the server: by the launcher, by the command line, once per state folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import openeo
import pytest
import requests
from typer.testing import CliRunner

from openeo_gfmap import launcher
from openeo_gfmap.cli import app
from openeo_gfmap.errors import BackendUnavailable
from openeo_gfmap.launcher import ensure_local_server, running_server, state_folder
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.settings import Settings, parse_size, parse_source
from support.service import ADD, ServerProcess, wait_for


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose server is ended after the test."""
    yield tmp_path / "home"
    info = running_server(tmp_path / "home")
    if info is not None:
        _end(info.pid)


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # A server that this very process started stays a zombie until it is waited for.
    return stat.rpartition(b")")[2].split()[0] != b"Z"


class TestLauncher:
    def test_start_reuse_and_idle_end(self, home: Path) -> None:
        first = ensure_local_server(home, idle_seconds=2)
        again = ensure_local_server(home)
        assert first == again
        connection = openeo.connect(first.url).authenticate_basic(first.user, first.password)
        assert connection.execute(ADD) == 8
        wait_for(lambda: not _runs(first.pid), 15)  # asking it would keep it from ending
        assert running_server(home) is None
        second = ensure_local_server(home)
        assert second.pid != first.pid
        # Same address and password: whoever still has the connection can go on with it.
        assert connection.describe_account()["user_id"] == "gfmap"

    def test_a_variable_that_says_something_else_is_noticed(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scenes = tmp_path / "scenes"
        scenes.mkdir()
        info = ensure_local_server(home, parallel_jobs=3)
        monkeypatch.setenv("OPENEO_GFMAP_PARALLEL_JOBS", "3")
        assert ensure_local_server(home).pid == info.pid
        monkeypatch.setenv("OPENEO_GFMAP_SOURCES", f"SENTINEL2_L2A={scenes}")
        with pytest.raises(BackendUnavailable, match=r"OPENEO_GFMAP_SOURCES .* Stop it") as caught:
            ensure_local_server(home)
        assert str(scenes) in str(caught.value) and str(info.pid) in str(caught.value)
        _end(info.pid)
        assert ensure_local_server(home).settings["sources"] == {"SENTINEL2_L2A": str(scenes)}
        # A size may be written in many ways; the same text means the same.
        _end(ensure_local_server(home).pid)
        monkeypatch.setenv("OPENEO_GFMAP_JOB_MEMORY", "2G")
        assert ensure_local_server(home).pid == ensure_local_server(home).pid

    def test_a_source_folder_that_is_not_there(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENEO_GFMAP_SOURCES", "SENTINEL2_L2A=/no/such/folder")
        with pytest.raises(BackendUnavailable, match="source of SENTINEL2_L2A is '/no/such/folder"):
            ensure_local_server(home)

    def test_the_password_is_not_shown(self, home: Path) -> None:
        info = ensure_local_server(home)
        assert info.password not in repr(info)
        assert info.password not in (home / "local" / "server.log").read_text()

    def test_processes_at_the_same_time_get_the_same_server(self, home: Path) -> None:
        code = (
            "import sys; from pathlib import Path; "
            "from openeo_gfmap.launcher import ensure_local_server; "
            "print(ensure_local_server(Path(sys.argv[1])).pid)"
        )
        started = [
            subprocess.Popen([sys.executable, "-c", code, home], stdout=subprocess.PIPE)
            for _ in range(4)
        ]
        pids = {process.communicate(timeout=60)[0] for process in started}
        assert len(pids) == 1 and int(pids.pop()) == ensure_local_server(home).pid

    def test_it_outlives_who_started_it(self, home: Path) -> None:
        code = (
            "import sys; from pathlib import Path; "
            "from openeo_gfmap.launcher import ensure_local_server; "
            "ensure_local_server(Path(sys.argv[1]))"
        )
        subprocess.run([sys.executable, "-c", code, home], check=True, timeout=60)
        assert running_server(home) is not None

    @pytest.mark.parametrize("left", ["killed", "garbage", "stranger"])
    def test_what_a_dead_server_left(self, home: Path, left: str) -> None:
        info = ensure_local_server(home)
        os.kill(info.pid, signal.SIGKILL)
        wait_for(lambda: not _runs(info.pid))
        file = home / "local" / "server.json"
        if left == "garbage":
            file.write_text('{"url": "http')
        if left == "stranger":
            # Another program now has the process id and the port.
            known = json.loads(file.read_text())
            with ServerProcess(home.parent / "other").start() as other:
                file.write_text(json.dumps({**known, "url": other.known["url"], "pid": 1}))
                assert running_server(home) is None
                assert ensure_local_server(home).url != other.known["url"]
        else:
            assert running_server(home) is None
            assert ensure_local_server(home).pid != info.pid

    def test_other_settings_than_those_it_runs_with(self, home: Path) -> None:
        info = ensure_local_server(home, parallel_jobs=3, sources={"SENTINEL2_L2A": "simulated"})
        same = ensure_local_server(home, parallel_jobs=3, sources={"SENTINEL2_L2A": "simulated"})
        assert same == info == ensure_local_server(home)
        with pytest.raises(BackendUnavailable, match=r"parallel_jobs = 3, and 4 was asked for"):
            ensure_local_server(home, parallel_jobs=4)
        with pytest.raises(BackendUnavailable, match="sources"):
            ensure_local_server(home, sources={"SENTINEL2_L2A": "/data"})

    def test_an_upgraded_package_replaces_the_server(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = ensure_local_server(home)
        connection = openeo.connect(info.url).authenticate_basic(info.user, info.password)
        job = connection.create_job(ADD)
        file = home / "local" / "server.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "version": "0.0.1"}))
        newer = ensure_local_server(home)
        assert newer.pid != info.pid and newer.version == version("openeo_gfmap")
        wait_for(lambda: not _runs(info.pid))
        assert job.status() == "created"

    def test_a_server_that_cannot_start(self, home: Path) -> None:
        with pytest.raises(BackendUnavailable, match=r"exit status 2.*(?s:.)*port is 99999"):
            ensure_local_server(home, port=99999)

    def test_a_server_that_does_not_answer(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launcher, "_START_SECONDS", 0.0)
        with pytest.raises(BackendUnavailable, match="did not answer within 0 s"):
            ensure_local_server(home)
        # It was only slow: the next one to ask finds it.
        wait_for(lambda: running_server(home) is not None)
        monkeypatch.undo()
        assert ensure_local_server(home) == running_server(home)

    def test_a_proxy_in_the_environment_does_not_matter(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert ensure_local_server(home)

    def test_state_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("OPENEO_GFMAP_HOME", str(tmp_path))
        assert state_folder() == tmp_path
        monkeypatch.delenv("OPENEO_GFMAP_HOME")
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        assert state_folder().name == "openeo-gfmap"


class TestServer:
    def test_one_per_state_folder(self, tmp_path: Path) -> None:
        with ServerProcess(tmp_path / "home").start() as server:
            second = subprocess.run(
                [sys.executable, "-m", "openeo_gfmap.local", "--home", server.home],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert second.returncode == 2 and "Another server already uses" in second.stderr
            assert requests.get(server.known["url"]).ok

    def test_a_port_that_is_taken(self, tmp_path: Path) -> None:
        with ServerProcess(tmp_path / "home").start() as server:
            port = server.known["url"].rpartition(":")[2]
            other = subprocess.run(
                [sys.executable, "-m", "openeo_gfmap.local", "--home", tmp_path / "b",
                 "--port", port],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert other.returncode == 2 and f"port {port}" in other.stderr
            # Where the port was not asked for, another one is taken.
            (tmp_path / "c" / "local").mkdir(parents=True)
            identity = {"password": "p", "port": int(port)}
            (tmp_path / "c" / "local" / "identity.json").write_text(json.dumps(identity))
            with ServerProcess(tmp_path / "c").start() as third:
                assert third.known["url"] != server.known["url"]
                assert third.known["password"] == "p"

    @pytest.mark.parametrize("host", ["0.0.0.0", "example.org", "10.0.0.1", "::"])
    def test_loopback_only(self, tmp_path: Path, host: str) -> None:
        answer = subprocess.run(
            [sys.executable, "-m", "openeo_gfmap.local", "--home", tmp_path, "--host", host],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert answer.returncode == 2 and "loopback" in answer.stderr
        assert not (tmp_path / "local").exists()

    def test_a_bad_option(self, tmp_path: Path) -> None:
        answer = subprocess.run(
            [sys.executable, "-m", "openeo_gfmap.local", "--home", tmp_path, "--source", "x"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert answer.returncode == 2 and "ID=URL_OR_FOLDER" in answer.stderr


class TestSettings:
    def test_options_over_environment_over_defaults(self, tmp_path: Path) -> None:
        environment = {
            "OPENEO_GFMAP_HOME": str(tmp_path),
            "OPENEO_GFMAP_PORT": "81",
            "OPENEO_GFMAP_PARALLEL_JOBS": "3",
            "OPENEO_GFMAP_JOB_MEMORY": "1.5G",
            "OPENEO_GFMAP_SOURCES": "A=/a\n\nB=https://b/?x=y",
        }
        settings = Settings.load(environment, port=82, host=None)
        assert (settings.port, settings.parallel_jobs, settings.home) == (82, 3, tmp_path)
        assert settings.job_memory == 3 << 29
        assert dict(settings.sources) == {"A": "/a", "B": "https://b/?x=y"}
        assert settings.host == "127.0.0.1" and settings.job_seconds == 86400

    @pytest.mark.parametrize(
        ("name", "value"),
        [("port", -1), ("port", 70000), ("parallel_jobs", 0), ("job_memory", 0),
         ("job_seconds", -1), ("idle_seconds", -1), ("idle_seconds", float("nan")),
         ("host", "192.168.0.1")],
    )  # fmt: skip
    def test_values_that_cannot_be(self, tmp_path: Path, name: str, value: object) -> None:
        with pytest.raises(OpenEOError, match=f"{name} is {re.escape(repr(value))}"):
            Settings.load({}, home=tmp_path, **{name: value})

    def test_a_bad_variable_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(OpenEOError, match="OPENEO_GFMAP_JOB_MEMORY is 'much'"):
            Settings.load({"OPENEO_GFMAP_JOB_MEMORY": "much"}, home=tmp_path)
        with pytest.raises(OpenEOError, match="--home"):
            Settings.load({})

    @pytest.mark.parametrize(
        ("text", "size"),
        [("5G", 5 << 30), ("512m", 512 << 20), ("1.5 GiB", 3 << 29), ("100", 100), ("2KB", 2048)],
    )
    def test_sizes(self, text: str, size: int) -> None:
        assert parse_size(text) == size

    @pytest.mark.parametrize("text", ["", "G", "5X", "-", "five", "1e999G"])
    def test_no_sizes(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no size"):
            parse_size(text)

    def test_sources(self) -> None:
        assert parse_source("S2=https://x/?a=b") == ("S2", "https://x/?a=b")
        for text in ("", "S2", "=x", "S2="):
            with pytest.raises(ValueError, match="is no source"):
                parse_source(text)


class TestCommandLine:
    def test_help_is_quick(self) -> None:
        before = time.monotonic()
        answer = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "openeo_gfmap.cli", "--help"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert time.monotonic() - before < 5
        assert "uvicorn" not in answer.stderr and "rasterio" not in answer.stderr

    def test_serve_tells_how_to_connect(self, tmp_path: Path) -> None:
        environment = {**os.environ, "OPENEO_GFMAP_HOME": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-c", "from openeo_gfmap.cli import app; app()", "serve"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        try:
            wait_for(lambda: running_server(tmp_path) is not None, 30)
            info = running_server(tmp_path)
            assert info is not None
        finally:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
        assert info.url in output and "local_connection()" in output
        assert info.password not in output
        assert running_server(tmp_path) is None

    def test_serve_refuses_bad_values(self, tmp_path: Path) -> None:
        for wrong in (["--port", "99999"], ["--job-memory", "much"], ["--source", "x"]):
            answer = CliRunner().invoke(app, ["serve", "--home", str(tmp_path), *wrong])
            assert answer.exit_code == 2, answer.output
