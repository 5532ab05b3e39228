"""An openEO back-end on loopback that does what a test tells it, and keeps a ledger.

It is honest: what it answers is whole and true. A bad network is put before it by
`faults.proxy.fault_proxy`.

It speaks HTTP to the real client. What happens to a job is scripted by the job's title; the ledger
says what the server really did, whatever its clients believe.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import openeo


@dataclass
class Script:
    """What happens to a job.

    Attributes
    ----------
    states
        What each look at the job finds, once it is started; the last one stays.
    assets
        Result files by name.
    creation_status
        HTTP status that refuses the creation.
    start_failures
        So many starts are answered with `start_status`.
    absent_downloads
        So many downloads of each file are answered with 503.
    with_checksums
        Results say size and checksum.
    key_of
        Names of the assets in the results, where they are not those of the files.
    overrides
        Fields of the job's description; None values are sent as null.
    logs
        Log entries.
    """

    states: tuple[str, ...] = ("queued", "running", "finished")
    assets: Mapping[str, bytes] = field(default_factory=dict)
    creation_status: int = 0
    start_failures: int = 0
    start_status: int = 500
    absent_downloads: int = 0
    with_checksums: bool = True
    key_of: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    logs: tuple[Mapping[str, Any], ...] = ()


@dataclass
class FakeJob:
    id: str
    document: dict[str, Any]
    script: Script
    created: str
    started: int = 0
    stopped: bool = False
    looks: int = 0
    downloads: Counter[str] = field(default_factory=Counter)

    @property
    def status(self) -> str:
        if self.stopped:
            return "canceled"
        if not self.started:
            return "created"
        return self.script.states[min(self.looks, len(self.script.states)) - 1 if self.looks else 0]

    @property
    def active(self) -> bool:
        return bool(self.started) and self.status in ("queued", "running")


class FakeBackend:
    """The state of the server: scripts in, ledger out.

    Attributes
    ----------
    jobs
        Jobs by id, in the order of creation.
    requests
        How often each method and path was asked for; job ids are written as ``{id}``.
    most_active
        Most jobs that were queued or running at once.
    assets_in_items
        Results name their files in items only.
    outage
        While true, every request is answered with 503.
    public_url
        Address that answers name, when there is something before the server.
    signature
        What addresses of files end in.
    guarded
        Requests need a token that was given out and not taken back.
    tokens_given
        How many tokens were given out.
    resumed
        How many downloads were asked for from somewhere in the middle.
    """

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.default = Script()
        self.jobs: dict[str, FakeJob] = {}
        self.requests: Counter[str] = Counter()
        self.most_active = 0
        self.outage = False
        self.describe_in_list = True
        self.usage_in_list = False  # openEO asks to keep lists short
        self.assets_in_items = False
        self.page = 2  # small, so that every list is paged
        self.url = ""
        self.public_url = ""
        self.signature = ""
        self.guarded = False
        self.tokens_given = 0
        self.resumed = 0
        self._tokens: set[str] = set()
        self.port = 0  # who still talks to a server on another one is cut off
        self.lock = threading.Lock()

    def script(self, title: str | None) -> Script:
        return self.scripts.get(str(title), self.default)

    @property
    def base(self) -> str:
        """The address that answers name."""
        return self.public_url or self.url

    def created(self) -> dict[str, int]:
        """Return how many jobs of each title exist."""
        return dict(Counter(str(job.document.get("title")) for job in self.jobs.values()))

    def graphs(self) -> Counter[str]:
        """Return how many jobs of each process graph exist, by its digest."""
        return Counter(graph_digest(job.document) for job in self.jobs.values())

    def started(self) -> dict[str, int]:
        """Return how often jobs of each title were started."""
        counts: dict[str, int] = defaultdict(int)
        for job in self.jobs.values():
            counts[str(job.document.get("title"))] += job.started
        return dict(counts)

    def connection(self) -> openeo.Connection:
        connection = openeo.connect(self.base)
        connection.authenticate_basic("user", "secret")
        return connection

    def new_token(self) -> str:
        with self.lock:
            self.tokens_given += 1
            token = f"s3cr3t-token-{self.tokens_given}"
            self._tokens.add(token)
        return token

    def expire_tokens(self) -> None:
        """Take back all tokens that were given out."""
        with self.lock:
            self._tokens.clear()

    def admits(self, authorization: str) -> bool:
        return not self.guarded or authorization.rpartition("/")[2] in self._tokens


def graph_digest(document: Mapping[str, Any]) -> str:
    """Return a digest of the process graph of a job's description."""
    graph = document.get("process", {}).get("process_graph")
    return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def fake_backend(state: FakeBackend | None = None) -> Iterator[FakeBackend]:
    """Serve on a free port of the loopback interface; with a state, in place of its old server."""
    backend = state or FakeBackend()

    class Handler(_Handler):
        state = backend

    server = _Server(("127.0.0.1", 0), Handler)
    backend.port = server.server_port
    backend.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield backend
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients are killed here
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    state: FakeBackend
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _json(self, document: Any, status: int = 200, **headers: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, code: str, message: str = "so the test says") -> None:
        self._json({"code": code, "message": message}, status)

    def _break(self) -> None:
        """Break the connection without an answer."""
        self.close_connection = True
        self.connection.close()

    def _dispatch(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = [part for part in urlsplit(self.path).path.split("/") if part]
        state = self.state
        if self.server.server_port != state.port:
            return self._break()
        shape = "/".join("{id}" if part.startswith("j-") else part for part in parts[:3])
        with state.lock:
            state.requests[f"{self.command} /{shape}"] += 1
        if state.outage:
            return self._error(503, "Maintenance")
        if parts[:1] in (["jobs"], ["files"]) and not state.admits(
            self.headers.get("Authorization", "")
        ):
            return self._error(403, "TokenInvalid", "Authorization token has expired.")
        match (self.command, *parts):
            case ("GET",):
                self._json(_capabilities())
            case ("GET", ".well-known", "openeo"):
                self._json({"versions": [{"url": state.base, "api_version": "1.2.0"}]})
            case ("GET", "credentials", "basic"):
                self._json({"access_token": state.new_token()})
            case ("GET", "credentials", "oidc"):
                self._json({"providers": [_provider(state.base)]})
            case ("GET", ".well-known", "openid-configuration"):
                self._json({"issuer": state.base, "token_endpoint": f"{state.base}/token"})
            case ("POST", "token"):
                answer = {"token_type": "Bearer", "access_token": state.new_token()}
                self._json({**answer, "refresh_token": "s3cr3t-refresh"})
            case ("GET", "jobs"):
                self._list()
            case ("POST", "jobs"):
                self._create(json.loads(body))
            case (_, "jobs", identifier, *rest) if identifier in state.jobs:
                self._job(state.jobs[identifier], rest)
            case ("GET", "files", identifier, name):
                self._file(state.jobs[identifier], unquote(name))
            case _:
                self._error(404, "NotFound")
        return None

    do_GET = do_POST = do_DELETE = _dispatch

    def _list(self) -> None:
        state = self.state
        query = parse_qs(urlsplit(self.path).query)
        offset = int(query.get("offset", ["0"])[0])
        size = min(state.page, int(query.get("limit", [str(state.page)])[0]))
        with state.lock:
            jobs = list(state.jobs.values())[::-1][offset:]
            for job in jobs[:size]:
                job.looks += bool(job.started)
        page = [_brief(job, state.describe_in_list, state.usage_in_list) for job in jobs[:size]]
        links = []
        if size < len(jobs):
            address = f"{state.base}/jobs?offset={offset + size}&limit={size}"
            links = [{"rel": "next", "href": address}]
        self._json({"jobs": page, "links": links})

    def _create(self, document: dict[str, Any]) -> None:
        state = self.state
        script = state.script(document.get("title"))
        if script.creation_status:
            return self._error(script.creation_status, "Refused")
        with state.lock:
            identifier = f"j-{len(state.jobs):04d}"
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            state.jobs[identifier] = FakeJob(identifier, document, script, now)
        return self._json(
            {},
            201,
            OpenEO_Identifier=identifier,
            Location=f"{state.base}/jobs/{identifier}",
        )

    def _job(self, job: FakeJob, rest: list[str]) -> None:
        match (self.command, *rest):
            case ("GET",):
                with self.state.lock:
                    job.looks += bool(job.started)
                self._json({**_brief(job, True, True), **job.script.overrides})
            case ("POST", "results") if job.script.start_failures:
                job.script.start_failures -= 1
                self._error(job.script.start_status, "Internal")
            case ("POST", "results"):
                with self.state.lock:
                    job.started += 1
                    active = sum(each.active for each in self.state.jobs.values())
                    self.state.most_active = max(self.state.most_active, active)
                self._json({}, 202)
            case ("DELETE", "results"):
                job.stopped = True
                self.send_response(204)
                self.end_headers()
            case ("GET", "results"):
                self._json(self._results(job))
            case ("GET", "results", "items", quoted):
                name = unquote(quoted)
                document = self._results(job, in_items=False)
                self._json({"type": "Feature", "id": name, "assets": {
                    name: document["assets"][name]}})  # fmt: skip
            case ("GET", "logs"):
                self._logs(job)
            case _:
                self._error(404, "NotFound")

    def _logs(self, job: FakeJob) -> None:
        """Answer with a page of two entries."""
        offset = int(parse_qs(urlsplit(self.path).query).get("offset", ["0"])[0])
        entries = list(job.script.logs)[offset:]
        links = []
        if len(entries) > 2:
            # Relative, as the standard allows.
            links = [{"rel": "next", "href": f"logs?offset={offset + 2}"}]
        self._json({"level": "debug", "logs": entries[:2], "links": links})

    def _results(self, job: FakeJob, in_items: bool | None = None) -> dict[str, Any]:
        assets: dict[str, Any] = {}
        in_items = self.state.assets_in_items if in_items is None else in_items
        items = f"{self.state.base}/jobs/{job.id}/results/items"
        for name, body in job.script.assets.items():
            key = job.script.key_of.get(name, name)
            assets[key] = {
                "href": f"{self.state.base}/files/{job.id}/{quote(name, safe='')}"
                f"{self.state.signature}",
                "type": "application/x-netcdf",
                "roles": ["data"],
                "title": name,
            }
            if job.script.with_checksums:
                digest = hashlib.sha256(body).hexdigest()
                assets[key] |= {"file:size": len(body), "file:checksum": f"1220{digest}"}
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": job.id,
            "license": "proprietary",
            "description": "",
            "extent": {
                "spatial": {"bbox": [[5.0, 51.0, 5.1, 51.1]]},
                "temporal": {"interval": [["2023-01-01T00:00:00Z", "2023-02-01T00:00:00Z"]]},
            },
            "assets": {} if in_items else assets,
            "links": [
                {"rel": "item", "href": f"{items}/{quote(name, safe='')}"} for name in assets
            ],
        }

    def _file(self, job: FakeJob, name: str) -> None:
        body = job.script.assets[name]
        job.downloads[name] += 1
        nth = job.downloads[name]
        if nth <= job.script.absent_downloads:
            return self._error(503, "StorageIsAway")
        start = 0
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return self._error(416, "RangeNotSatisfiable")
            with self.state.lock:
                self.state.resumed += 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        part = body[start:]
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)
        return None


def _brief(job: FakeJob, described: bool, with_usage: bool) -> dict[str, Any]:
    document = {
        "id": job.id,
        "status": job.status,
        "created": job.created,
        "title": job.document.get("title"),
    }
    if described:
        document["description"] = job.document.get("description")
        document["costs"] = 3
    if with_usage:
        document["usage"] = {"cpu": {"value": 12, "unit": "cpu-seconds"}, "memory": None}
    return document


def _provider(url: str) -> dict[str, Any]:
    return {
        "id": "fake",
        "issuer": url,
        "title": "fake",
        "scopes": ["openid"],
        "default_clients": [{"id": "client", "grant_types": ["refresh_token"]}],
    }


def _capabilities() -> dict[str, Any]:
    paths = {
        "/credentials/basic": ["GET"],
        "/credentials/oidc": ["GET"],
        "/jobs": ["GET", "POST"],
        "/jobs/{job_id}": ["GET", "DELETE"],
        "/jobs/{job_id}/results": ["GET", "POST", "DELETE"],
        "/jobs/{job_id}/logs": ["GET"],
    }
    return {
        "api_version": "1.2.0",
        "backend_version": "0",
        "stac_version": "1.0.0",
        "type": "Catalog",
        "id": "fake",
        "title": "fake",
        "description": "",
        "endpoints": [{"path": path, "methods": methods} for path, methods in paths.items()],
        "links": [],
    }
