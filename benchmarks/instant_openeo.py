"""An openEO back-end whose jobs take no time, for `bench_manager.py`; it counts what it is asked.

One process, one thread: it answers a request in far less time than a client needs to send it, so
what is measured is the client. A job is running when it is looked at for the first time after its
start, and finished from then on; older managers never download what is finished earlier.

    python benchmarks/instant_openeo.py result.nc

It prints its address and then answers until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import resource
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ASSETS = 3
PAGE = 100  # jobs in a page of the list, unless it is asked for fewer
CREATED = "2024-03-07T12:00:00Z"
BOX = [3.70, 50.93, 3.71, 50.94]
RECTANGLE = {
    "type": "Polygon",
    "coordinates": [
        [[3.70, 50.93], [3.71, 50.93], [3.71, 50.94], [3.70, 50.94], [3.70, 50.93]],
    ],
}

# What a job says of itself once it is done.
FINISHED = {
    "status": "finished",
    "costs": 4,
    "usage": {
        "cpu": {"value": 120, "unit": "cpu-seconds"},
        "memory": {"value": 2048, "unit": "mb-seconds"},
        "duration": {"value": 60, "unit": "seconds"},
        "max_executor_memory": {"value": 1.5, "unit": "gb"},
    },
}

Answer = tuple[int, dict[str, str], bytes]


class Backend:
    """Jobs, and how often each endpoint was asked."""

    def __init__(self, content: bytes):
        self.content = content
        self.checksum = "1220" + hashlib.sha256(content).hexdigest()
        self.url = ""
        self.jobs: dict[str, dict] = {}
        self.running: set[str] = set()  # started, and nobody has looked since
        self.requests: Counter[str] = Counter()
        self.routes = {
            ("GET", "/"): self.capabilities,
            ("GET", "/.well-known/openeo"): self.versions,
            ("GET", "/jobs"): self.list_jobs,
            ("POST", "/jobs"): self.create,
            ("GET", "/jobs/{id}"): self.describe,
            ("POST", "/jobs/{id}/results"): self.start,
            ("GET", "/jobs/{id}/results"): self.results,
            ("GET", "/jobs/{id}/results/items/{n}"): self.item,
            ("GET", "/jobs/{id}/logs"): self.logs,
            ("GET", "/files/{id}/{n}"): self.file,
        }

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        parts = urlsplit(target)
        if parts.path == "/counts":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            counted = {"requests": self.requests, "cpu": usage.ru_utime + usage.ru_stime}
            return as_json(counted)
        identifier = next(iter(re.findall(r"j-\d+", parts.path)), "")
        endpoint = re.sub(r"j-\d+", "{id}", parts.path)
        endpoint = re.sub(r"openEO_\d\.(nc|json)$", "{n}", endpoint)
        self.requests[f"{method} {endpoint}"] += 1
        route = self.routes.get((method, endpoint))
        if route is None or (identifier and identifier not in self.jobs):
            return as_json({"code": "NotFound", "message": f"nothing at {target}"}, 404)
        return route(identifier, parts, body)

    def capabilities(self, *_: object) -> Answer:
        paths = {"/jobs": ["GET", "POST"], "/jobs/{job_id}": ["GET"]}
        document = {
            "api_version": "1.2.0",
            "backend_version": "1",
            "stac_version": "1.0.0",
            "id": "instant",
            "title": "Instant",
            "description": "Jobs that take no time.",
            "endpoints": [{"path": path, "methods": methods} for path, methods in paths.items()],
            "links": [],
        }
        return as_json(document)

    def versions(self, *_: object) -> Answer:
        return as_json({"versions": [{"api_version": "1.2.0", "url": self.url}]})

    def create(self, _: str, __: object, body: bytes) -> Answer:
        wish = json.loads(body)
        identifier = f"j-{len(self.jobs) + 1:06d}"
        self.jobs[identifier] = {
            "id": identifier,
            "status": "created",
            "created": CREATED,
            "title": wish.get("title"),
            "description": wish.get("description"),
        }
        headers = {"OpenEO-Identifier": identifier, "Location": f"{self.url}/jobs/{identifier}"}
        return 201, headers, b""

    def start(self, identifier: str, *_: object) -> Answer:
        self.running.add(identifier)
        self.jobs[identifier]["status"] = "running"
        return 202, {}, b""

    def describe(self, identifier: str, *_: object) -> Answer:
        answer = as_json(self.jobs[identifier])
        self._finish([identifier])
        return answer

    def _finish(self, seen: Iterable[str]) -> None:
        """End jobs that were seen to run: the next look finds them finished."""
        for identifier in self.running.intersection(seen):
            self.running.remove(identifier)
            self.jobs[identifier] |= FINISHED

    def list_jobs(self, _: str, parts: object, __: bytes) -> Answer:
        query = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
        limit, begin = query.get("limit", PAGE), query.get("begin", 0)
        page = list(self.jobs.values())[begin : begin + limit]
        links = []
        if begin + limit < len(self.jobs):
            href = f"{self.url}/jobs?limit={limit}&begin={begin + limit}"
            links = [{"rel": "next", "href": href}]
        answer = as_json({"jobs": page, "links": links})
        self._finish(job["id"] for job in page)
        return answer

    def results(self, identifier: str, *_: object) -> Answer:
        here = f"{self.url}/jobs/{identifier}/results"
        items = [
            {"rel": "item", "href": f"{here}/items/openEO_{n}.json", "type": "application/geo+json"}
            for n in range(ASSETS)
        ]
        document = {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": identifier,
            "description": "Results.",
            "license": "proprietary",
            "openeo:status": "finished",
            "extent": {
                "spatial": {"bbox": [BOX]},
                "temporal": {"interval": [["2021-05-01T00:00:00Z", "2021-05-15T00:00:00Z"]]},
            },
            "links": [{"rel": "self", "href": here, "type": "application/json"}, *items],
            "assets": {f"openEO_{n}.nc": self._asset(identifier, n) for n in range(ASSETS)},
        }
        return as_json(document)

    def item(self, identifier: str, parts: object, _: bytes) -> Answer:
        n = int(re.findall(r"openEO_(\d)", parts.path)[0])
        here = f"{self.url}/jobs/{identifier}/results"
        document = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"{identifier}_openEO_{n}",
            "geometry": RECTANGLE,
            "bbox": BOX,
            "properties": {"datetime": "2021-05-01T00:00:00Z"},
            "links": [{"rel": "self", "href": f"{here}/items/openEO_{n}.json"}],
            "assets": {f"openEO_{n}.nc": self._asset(identifier, n)},
        }
        return as_json(document)

    def _asset(self, identifier: str, n: int) -> dict:
        return {
            "href": f"{self.url}/files/{identifier}/openEO_{n}.nc",
            "title": f"openEO_{n}.nc",
            "type": "application/x-netcdf",
            "roles": ["data"],
            "file:size": len(self.content),
            "file:checksum": self.checksum,
        }

    def file(self, *_: object) -> Answer:
        return 200, {"Content-Type": "application/x-netcdf"}, self.content

    def logs(self, *_: object) -> Answer:
        return as_json({"logs": [], "links": []})


def as_json(document: object, status: int = 200) -> Answer:
    body = json.dumps(document).encode()
    return status, {"Content-Type": "application/json"}, body


class Exchange(asyncio.Protocol):
    """One connection, kept alive; requests come one after the other."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].decode("latin-1")
            length = re.search(r"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < size:
                return
            body = bytes(self.received[end + 4 : size])
            del self.received[:size]
            method, target, _ = head.split(" ", 2)
            status, headers, content = self.backend.answer(method, target, body)
            lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(content)}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + content)


async def serve(content: bytes) -> None:
    """Answer until standard input ends."""
    backend = Backend(content)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchange(backend), "127.0.0.1", 0, backlog=512)
    port = server.sockets[0].getsockname()[1]
    backend.url = f"http://127.0.0.1:{port}"
    print(backend.url, flush=True)
    ended = asyncio.Event()

    def watch() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes()))
