"""A web server of one folder that answers byte ranges, and misbehaves when told to."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Fault = str | int | None
"""A status, ``reset``, ``short``, ``less``, ``other``, ``whole``, ``changed``, or an address."""


@dataclass
class RangeServer:
    """What was asked, and how to answer.

    Attributes
    ----------
    fault
        Gives the fault for the n-th request (from 1) of a path.
    requests
        Paths with range, in the order of arrival.
    headers
        Headers of each request.
    """

    folder: Path
    fault: Callable[[str, int], Fault] = lambda path, number: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    hold: threading.Event | None = None
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{name}"

    @property
    def bytes_asked(self) -> int:
        ranges = (re.match(r"bytes=(\d+)-(\d+)", text) for _, text in self.requests)
        return sum(int(m[2]) - int(m[1]) + 1 for m in ranges if m)


@contextmanager
def serve(folder: Path, **options: Any) -> Iterator[RangeServer]:
    """Serve a folder on a free port of this machine."""
    state = RangeServer(folder, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

        def do_GET(self) -> None:
            path, wanted = self.path.lstrip("/"), self.headers.get("Range", "")
            with state.lock:
                state.counts[path] += 1
                number = state.counts[path]
                state.requests.append((path, wanted))
                state.headers.append({k.lower(): v for k, v in self.headers.items()})
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            if state.hold is not None:
                state.hold.wait(0.02)
            with state.lock:
                state.at_once -= 1
            self.give(path, wanted, state.fault(path, number))

        def give(self, path: str, wanted: str, fault: Fault) -> None:
            file = state.folder / path.split("?", maxsplit=1)[0]
            if fault == "reset":
                # Closing with this option set sends a reset instead of an end.
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.close_connection = True
                self.connection.close()
            elif isinstance(fault, str) and "://" in fault:
                self.answer(302, b"", Location=fault)
            elif isinstance(fault, int) or not file.is_file():
                self.answer(fault if isinstance(fault, int) else 404, b"slow down")
            else:
                self.content(file.read_bytes(), wanted, fault)

        def content(self, content: bytes, wanted: str, fault: Fault) -> None:
            match = re.match(r"bytes=(\d+)-(\d+)", wanted)
            if match is None or fault == "whole":
                self.answer(200, content)
                return
            start, stop = int(match[1]), min(int(match[2]) + 1, len(content))
            if fault == "less":  # an answer that is right in itself, for half of the range
                stop = start + max(1, (stop - start) // 2)
            if fault == "other":
                start, stop = start + 1, stop + 1
            if start >= len(content):
                self.answer(416, b"")
                return
            tag = '"new"' if fault == "changed" else '"old"'
            body = content[start:stop]
            self.answer(
                206, body[: len(body) // 2] if fault == "short" else body, length=len(body),
                ETag=tag, **{"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"},
            )  # fmt: skip

        def answer(
            self, status: int, body: bytes, length: int | None = None, **headers: str
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = length is not None and length != len(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
