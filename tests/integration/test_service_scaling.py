"""The server for several users and machines: turns, status, a cluster, results kept elsewhere."""

from __future__ import annotations

import http.client
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openeo
import pytest
import requests
from distributed import LocalCluster

from openeo_gfmap.local.object_store import ObjectStore
from support.graphs import Graph, box_geojson
from support.service import ADD, ServerProcess, children_of, ended, wait_for
from support.slow_source import SlowSource


@pytest.fixture
def slow() -> Iterator[SlowSource]:
    with SlowSource() as source:
        yield source


def hanging(connection: openeo.Connection, slow: SlowSource, **more: Any) -> openeo.BatchJob:
    before = slow.requests
    job = connection.create_job(slow.graph, validate=False, **more)
    job.start()
    wait_for(lambda: slow.requests > before, explain=lambda: str(job.logs()))
    return job


def patches(count: int) -> dict[str, Any]:
    g = Graph()
    cube = g.load_collection(
        id="SENTINEL2_L2A", bands=["B04", "B08"], spatial_extent=None,
        temporal_extent=["2021-05-01", "2021-05-12"],
    )  # fmt: skip
    boxes = ((550000 + 200 * i, 5640000, 550160 + 200 * i, 5640160) for i in range(count))
    cube = g.filter_spatial(data=cube, geometries=box_geojson(*boxes))
    options = {"sample_by_feature": True, "feature_id_property": "id"}
    return g.result(g.save_result(data=cube, format="NetCDF", options=options))


class ReverseProxy:
    """Passes requests on as the configurations in docs/scaling.md do, without their TLS."""

    def __init__(self, user: str):
        self.server = ""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                hop = ("host", "connection", "content-length")
                headers = {k: v for k, v in self.headers.items() if k.lower() not in hop}
                headers |= {"Host": proxy.server, "X-Remote-User": user}
                connection = http.client.HTTPConnection(proxy.server, timeout=30)
                connection.request(self.command, self.path, self.rfile.read(size), headers)
                found = connection.getresponse()
                body = found.read()
                self.send_response(found.status)
                for name, value in found.getheaders():
                    if name.lower() not in ("content-length", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                connection.close()

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._httpd.server_port}"
        self._thread = threading.Thread(target=self._httpd.serve_forever, daemon=True)

    def __enter__(self) -> ReverseProxy:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()


def status_of(server: ServerProcess) -> dict[str, Any]:
    known = server.known
    answer = requests.get(f"{known['url']}/status", auth=(known["user"], known["password"]))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class TestStatus:
    def test_queue_running_jobs_and_machine(self, tmp_path: Path, slow: SlowSource) -> None:
        with ServerProcess(
            tmp_path / "home", "--parallel-jobs", "1", "--memory", "2G"
        ).start() as s:
            connection = s.connect()
            job = hanging(connection, slow, title="at work")
            waiting = connection.create_job(ADD, title="next").start()
            wait_for(lambda: status_of(s)["running"][0]["memory"])
            found = status_of(s)
            (running,) = found["running"]
            assert (running["id"], running["title"], running["progress"]) == (
                job.job_id,
                "at work",
                0,
            )
            assert [running["pid"]] == children_of(s.state / "jobs" / job.job_id)
            assert running["processes"] == 1 and running["cluster"] is None
            assert [entry["id"] for entry in found["queued"]] == [waiting.job_id]
            assert found["jobs"] == {"running": 1, "queued": 1}
            assert found["machine"]["memory"] == 2 << 30
            assert 0 < found["machine"]["memory_used"] < 1 << 30
            assert found["limits"]["parallel_jobs"] == 1
            assert requests.get(f"{s.known['url']}/status").status_code == 401
            slow.release()
            assert ended(job) == ended(waiting) == "finished"
            assert status_of(s)["jobs"] == {"finished": 2} and not status_of(s)["running"]


class TestTurns:
    def test_users_behind_a_proxy(self, tmp_path: Path, slow: SlowSource) -> None:
        with ServerProcess(
            tmp_path / "home", "--parallel-jobs", "1", "--user-header", "X-Remote-User"
        ).start() as server:
            first = hanging(server.connect(), slow)
            started = []
            for user in ("ann", "ann", "ann", "ben"):
                connection = server.connect()
                connection.default_headers["X-Remote-User"] = user
                started.append((user, connection.create_job(ADD).start()))
            assert status_of(server)["queued"][-1]["user"] == "ben"
            slow.release()
            assert [ended(job) for _, job in started] == ["finished"] * 4 and ended(first)
            order = [line.split()[-2] for line in server.log.read_text().splitlines()
                     if line.endswith(" runs")]  # fmt: skip
            users = {job.job_id: user for user, job in started}
            assert [users[i] for i in order[1:]] == ["ann", "ben", "ann", "ann"]

    def test_through_a_reverse_proxy(self, tmp_path: Path) -> None:
        """The client knows the proxy alone, the server sees a Host of its own and the user."""
        with ReverseProxy("ann") as proxy:
            options = ("--public-url", proxy.url, "--user-header", "X-Remote-User")
            with ServerProcess(tmp_path / "home", *options).start() as server:
                proxy.server = urlsplit(server.known["url"]).netloc
                connection = openeo.connect(proxy.url)
                connection.authenticate_basic(server.known["user"], server.known["password"])
                job = connection.create_job(ADD).start()
                assert ended(job) == "finished"
                (link,) = [a["href"] for a in job.get_results().get_metadata()["assets"].values()]
                assert link.startswith(f"{proxy.url}/openeo/1.2/jobs/{job.job_id}/")
                assert requests.get(link).json() == 8, "signed, and through the proxy"
                with sqlite3.connect(server.state / "jobs.sqlite") as database:
                    assert database.execute("SELECT owner FROM jobs").fetchall() == [("ann",)]
                database.close()

    def test_no_more_jobs_than_memory_is_for(self, tmp_path: Path, slow: SlowSource) -> None:
        """With a share of 25 MB each, one job (some 60 MB) leaves no room for a second."""
        with ServerProcess(
            tmp_path / "home", "--parallel-jobs", "2", "--memory", "50M", "--job-memory", "1G"
        ).start() as server:
            connection = server.connect()
            job = hanging(connection, slow)
            wait_for(lambda: status_of(server)["machine"]["memory_used"] > 25 << 20)
            second = connection.create_job(ADD).start()
            assert second.status() == "queued"
            slow.release()
            assert ended(job) == ended(second) == "finished"


def nursery_of(server: ServerProcess) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue
        if b"openeo_gfmap.local.nursery" in command and parent == server.known["pid"]:
            return int(entry.name)
    raise LookupError("no nursery")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="jobs are forked on Linux only")
class TestNursery:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[ServerProcess]:
        with ServerProcess(tmp_path / "home", "--parallel-jobs", "2").start() as server:
            yield server

    def forked(self, server: ServerProcess, slow: SlowSource) -> tuple[openeo.BatchJob, int]:
        """A hanging job that comes from the nursery: the first one may be too early for that."""
        while True:
            job = hanging(server.connect(), slow)
            (pid,) = children_of(server.state / "jobs" / job.job_id)
            if parent_of(pid) == nursery_of(server):
                return job, pid
            job.stop()

    def test_jobs_come_from_it_and_stand_alone(
        self, server: ServerProcess, slow: SlowSource
    ) -> None:
        job, pid = self.forked(server, slow)
        assert os.getpgid(pid) == os.getsid(pid) == pid
        job.stop()
        assert job.status() == "canceled" and not Path(f"/proc/{pid}/cwd").exists()

    def test_without_it_jobs_run_all_the_same(
        self, server: ServerProcess, slow: SlowSource
    ) -> None:
        job, _ = self.forked(server, slow)
        nursery = nursery_of(server)
        os.kill(nursery, signal.SIGKILL)
        other = hanging(server.connect(), slow)
        slow.release()
        assert ended(job) == ended(other) == "finished"
        assert nursery_of(server) != nursery

    def test_it_notes_how_jobs_end_when_the_server_is_gone(
        self, server: ServerProcess, slow: SlowSource
    ) -> None:
        job, pid = self.forked(server, slow)
        nursery = nursery_of(server)
        server.signal(signal.SIGKILL)
        server.start()
        assert job.status() == "running"
        os.kill(pid, signal.SIGSEGV)
        assert ended(job) == "error"
        (entry,) = job.logs(level="error")
        assert entry["code"] == "JobCrashed" and "SIGSEGV" in entry["message"]
        wait_for(lambda: not Path(f"/proc/{nursery}/cwd").exists(), 10)


class TestElsewhere:
    def test_windows_on_a_cluster_results_in_an_object_store(
        self, tmp_path: Path, cluster: LocalCluster, s3: str
    ) -> None:
        cluster.wait_for_workers(2, timeout=30)  # another test may have killed one
        store = ObjectStore(f"{s3}/team")
        with ServerProcess(
            tmp_path / "home",
            "--scheduler", cluster.scheduler_address, "--result-store", store.url + "/",
        ).start() as server:  # fmt: skip
            connection = server.connect()
            job = connection.create_job(patches(3), validate=False).start()
            assert ended(job) == "finished", [e["message"] for e in job.logs()]
            said = "\n".join(entry["message"] for entry in job.logs())
            assert cluster.scheduler_address in said and "2 threads" in said
            assert not list((server.state / "jobs" / job.job_id / "results").iterdir())
            assert sorted(Path(n).name for n in store.names()) == [
                f"openEO_f{i}.nc" for i in range(3)
            ]
            assert all(name.startswith(f"{job.job_id}/") for name in store.names())

            files = job.get_results().download_files(tmp_path / "got", include_stac_metadata=False)
            assert len(files) == 3 and all(f.read_bytes()[:4] == b"\x89HDF" for f in files)
            self.check_requests(job, files[0])

            before = set(store.names())
            job.start()  # anew: into another place, the old files go
            assert ended(job) == "finished"
            assert len(store.names()) == 3 and not before & set(store.names())
            job.delete()
            assert store.names() == []

    def check_requests(self, job: openeo.BatchJob, file: Path) -> None:
        (asset,) = [a for a in job.get_results().get_assets() if a.key == file.name]
        whole, get = file.read_bytes(), requests.get
        head = requests.head(asset.href)
        assert int(head.headers["content-length"]) == len(whole) == asset.metadata["file:size"]
        tag = head.headers["etag"]
        part = get(asset.href, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
        for wanted, content in (("-5", whole[-5:]), ("100-", whole[100:]), ("0-1,5-6", whole)):
            assert get(asset.href, headers={"Range": f"bytes={wanted}"}).content == content
        assert get(asset.href, headers={"If-None-Match": tag}).status_code == 304
        changed = {"Range": "bytes=1-2", "If-Range": '"another"'}
        assert get(asset.href, headers=changed).content == whole
        for wrong in ("bytes=5-2", "bytes=x", f"bytes={len(whole)}-", "bytes=-0"):
            assert get(asset.href, headers={"Range": wrong}).status_code == 416

    def test_results_in_a_shared_folder(self, tmp_path: Path) -> None:
        shared = tmp_path / "shared"
        with ServerProcess(tmp_path / "home", "--result-store", str(shared)).start() as server:
            job = server.connect().create_job(ADD).start()
            assert ended(job) == "finished"
            (path,) = shared.rglob("*.json")
            assert path.parts[-3] == job.job_id
            assert job.get_results().get_asset().load_json() == 8
            job.delete()
            assert not list(shared.rglob("*.json"))
