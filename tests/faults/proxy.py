"""A proxy that harms what passes through it: the network, and the servers on it, on a bad day.

It stands before any openEO back-end, the fake one or ``gfmap serve``. Faults are data: which
requests, when, and what happens to them. What is chosen by chance is chosen by a seed and by the
request alone, so that it does not depend on the threads of the client.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, TypeAlias
from urllib.parse import urlsplit

# ------------------------------------------------------------------------------------------- faults


@dataclass(frozen=True)
class Answer:
    """What the client is to get; ``body`` None is the server's own."""

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reset:
    """The connection is reset, nothing of an answer is sent."""


@dataclass(frozen=True)
class Hang:
    """No answer ever; the connection stays open."""


@dataclass(frozen=True)
class Cut:
    """The answer states its length and breaks off before; `reset` or closed in an orderly way."""

    share: float = 0.5
    reset: bool = True


@dataclass(frozen=True)
class Half:
    """Half of the body, with a length that fits: nothing but the content tells."""


@dataclass(frozen=True)
class Longer:
    """All of the body, but a Content-Length that says more is to come; then closed."""


@dataclass(frozen=True)
class NoLength:
    """No Content-Length, closed after a part of the body: nothing says that it is not all."""

    share: float = 0.5


@dataclass(frozen=True)
class Chunked:
    """Chunks without the last one; then the connection is closed, or left open."""

    share: float = 0.5
    hang: bool = False


@dataclass(frozen=True)
class WrongBytes:
    """The right length, other bytes."""


@dataclass(frozen=True)
class Slow:
    """The right answer, late."""

    seconds: float


@dataclass(frozen=True)
class Then:
    """The right answer, and the connection is reset just after it."""


What: TypeAlias = (
    Answer | Reset | Hang | Cut | Half | Longer | NoLength | Chunked | WrongBytes | Slow | Then
)

HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body>Proxy Error</body></html>"
BAD_GATEWAY = Answer(502, HTML, {"Content-Type": "text/html"})
INTERNAL = Answer(500, b'{"code": "Internal", "message": "so the test says"}')
UNAVAILABLE = Answer(503, b'{"code": "Maintenance", "message": "so the test says"}')
TOO_MANY = Answer(
    429, b'{"code": "TooManyRequests", "message": "so the test says"}', {"Retry-After": "1"}
)
HTML_PAGE = Answer(200, HTML, {"Content-Type": "text/html"})
EMPTY = Answer(200, b"")


@dataclass(frozen=True)
class Fault:
    """What happens to which requests.

    Attributes
    ----------
    where
        Regular expression that method and path must match as a whole, for example
        ``GET /jobs/[^/]+``.
    what
        What happens.
    first
        Only to so many of the requests that match; None is all.
    skip
        Not to so many before.
    share
        Of those, to this share, chosen by the seed.
    each
        Count for each path of its own rather than for all that match.
    done
        The server gets the request and does its work; only the answer is harmed. What changes the
        server's answer needs it anyway.
    """

    where: str
    what: What
    first: int | None = 1
    skip: int = 0
    share: float = 1.0
    each: bool = True
    done: bool = False


def everywhere(share: float, *, done: float = 0.3) -> list[Fault]:
    """Return all kinds of faults at random on all endpoints, together on a share of the requests.

    Requests that change something get, in the share `done` of cases, harmed only after the work.
    """
    before: Sequence[What] = (INTERNAL, BAD_GATEWAY, UNAVAILABLE, TOO_MANY, Reset())
    after: Sequence[What] = (
        BAD_GATEWAY, Reset(), Cut(), Half(), HTML_PAGE, Answer(200, b"null"), Answer(200, b"[]"),
        Answer(200, b""), Chunked(), Then(),
    )  # fmt: skip
    files: Sequence[What] = (Cut(), NoLength(), Chunked(), WrongBytes(), HTML_PAGE, EMPTY, Longer())
    reads, posts = r"GET /jobs.*", r"POST /jobs.*"
    one_read = share / (len(before) + len(after))
    return [
        *(Fault(reads, what, None, share=one_read) for what in before),
        *(Fault(reads, what, None, share=one_read, done=True) for what in after),
        *(Fault(posts, what, None, share=share * (1 - done) / len(before)) for what in before),
        *(Fault(posts, what, None, share=share * done / 2, done=True) for what in after[:2]),
        *(Fault(r"GET /files/.*", what, None, share=share / len(files)) for what in files),
    ]


# -------------------------------------------------------------------------------------------- proxy


@dataclass(frozen=True)
class Passed:
    """A request that came through, in the proxy's ledger."""

    method: str
    path: str
    at: float
    what: What | None


class FaultProxy:
    """Passes requests on to a server, and does harm.

    Attributes
    ----------
    upstream
        Address of the server.
    faults
        Tried in turn; the first that applies is done. May be changed while it runs.
    ledger
        All requests in their order, with what was done to them.
    """

    def __init__(self, upstream: str, faults: Sequence[Fault] = (), seed: int = 0):
        self.upstream = upstream
        self.faults = list(faults)
        self.seed = seed
        self.ledger: list[Passed] = []
        self.closing = threading.Event()
        self._seen: Counter[tuple[int, str]] = Counter()
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._open = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, where: str) -> int:
        """Return how many requests matched."""
        return sum(bool(re.fullmatch(where, f"{p.method} {p.path}")) for p in self.ledger)

    def harmed(self, what: What | None = None) -> int:
        """Return how many requests were harmed, or harmed so."""
        return sum(p.what is not None and what in (None, p.what) for p in self.ledger)

    def open(self) -> None:
        """Listen; again on the same port when it did before."""
        proxy = self

        class Handler(_Handler):
            state = proxy

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        self._open.set()
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def close(self) -> None:
        """Listen no more: connections are refused, and those that are there are reset."""
        self._open.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Refuse connections in the block."""
        self.close()
        try:
            yield
        finally:
            self.open()

    @property
    def listening(self) -> bool:
        return self._open.is_set()

    def choose(self, method: str, path: str) -> Fault | None:
        """Return what is to happen to a request, and write it down."""
        line = f"{method} {path}"
        chosen: Fault | None = None
        with self._lock:
            for index, fault in enumerate(self.faults):
                if not re.fullmatch(fault.where, line):
                    continue
                key = (index, line if fault.each else "")
                nth = self._seen[key]
                self._seen[key] += 1
                if nth < fault.skip:
                    continue
                if fault.first is not None and nth >= fault.skip + fault.first:
                    continue
                if fault.share < 1 and _chance(self.seed, index, line, nth) >= fault.share:
                    continue
                chosen = fault
                break
            what = chosen.what if chosen else None
            self.ledger.append(Passed(method, path, time.monotonic(), what))
        return chosen


def _chance(seed: int, index: int, line: str, nth: int) -> float:
    digest = hashlib.sha256(f"{seed} {index} {line} {nth}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@contextmanager
def fault_proxy(upstream: str, faults: Sequence[Fault] = (), seed: int = 0) -> Iterator[FaultProxy]:
    """Run a proxy before a server, on a free port of the loopback interface."""
    proxy = FaultProxy(upstream, faults, seed)
    proxy.open()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        # Clients are killed, and connections broken, all the time here.
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    state: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _HOP: ClassVar = {"connection", "transfer-encoding", "keep-alive", "content-length", "date"}

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _dispatch(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.state.listening:
            return self._reset()
        fault = self.state.choose(self.command, urlsplit(self.path).path)
        if fault is None:
            return self._answer(*self._ask(body))
        if isinstance(fault.what, Reset | Hang | Answer) and not fault.done:
            return self._harm(fault.what, 200, {}, b"")
        return self._harm(fault.what, *self._ask(body))

    do_GET = do_POST = do_DELETE = do_PATCH = do_HEAD = _dispatch

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Let the server do its work; return its answer."""
        address = urlsplit(self.state.upstream)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.putheader("Connection", "close")
            connection.endheaders(body or None)
            response = connection.getresponse()
            headers = {k: v for k, v in response.getheaders() if k.lower() not in self._HOP}
            return response.status, headers, response.read()
        finally:
            connection.close()

    def _harm(self, what: What, status: int, headers: dict[str, str], body: bytes) -> None:
        part = body[: int(len(body) * getattr(what, "share", 0.5))]
        match what:
            case Reset():
                return self._reset()
            case Hang():
                self._hang()
            case Slow():
                self.state.closing.wait(what.seconds)
                self._answer(status, headers, body)
            case Then():
                self._answer(status, headers, body)
                return self._reset()
            case Answer():
                extra = {"Content-Type": "application/json", **what.headers}
                self._answer(what.status, extra, body if what.body is None else what.body)
            case Half():
                self._answer(status, headers, part)
            case WrongBytes():
                self._answer(status, headers, bytes(255 - byte for byte in body))
            case Cut():
                self._head(status, {**headers, "Content-Length": str(len(body))})
                self._write(part)
                if what.reset:
                    return self._reset()
            case Longer():
                self._head(status, {**headers, "Content-Length": str(len(body) + 1000)})
                self._write(body)
            case NoLength():
                self._head(status, {**headers, "Connection": "close"})
                self._write(part)
            case Chunked():
                self._head(status, {**headers, "Transfer-Encoding": "chunked"})
                self._write(b"%x\r\n%s\r\n" % (len(part), part) if part else b"")
                if what.hang:
                    self._hang()
        if not isinstance(what, Slow | Answer | Half | WrongBytes):
            self.close_connection = True
        return None

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._head(status, {**headers, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self._write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def _hang(self) -> None:
        """Hold the connection until the client gives up or the test is over."""
        self.connection.settimeout(0.1)
        while not self.state.closing.is_set():
            try:
                if not self.connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.close_connection = True

    def _reset(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The reader holds the socket open, too.
        self.rfile.close()
        self.connection.close()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.005)
