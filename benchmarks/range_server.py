"""A web server of one folder that answers byte ranges, late, as object stores do.

    python benchmarks/range_server.py FOLDER --latency 0.02

It prints its port, and at the end of its input how many requests and bytes it answered. It does
as little as can be, since it shares the machine with the readers that are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import socket
import sys
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

_BUFFER = 4 * 2**20


class Counts:
    """What was asked and answered."""

    def __init__(self) -> None:
        self.requests = self.bytes = self.open = self.most_open = 0


class RangeProtocol(asyncio.Protocol):
    """HTTP/1.1, requests one after the other on each connection."""

    files: ClassVar[dict[str, mmap.mmap]] = {}

    def __init__(self, folder: Path, latency: float, counts: Counts):
        self.folder, self.latency, self.counts = folder, latency, counts
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        link: socket.socket = transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self.counts.open += 1
        self.counts.most_open = max(self.counts.most_open, self.counts.open)

    def connection_lost(self, exc: Exception | None) -> None:
        self.counts.open -= 1

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while b"\r\n\r\n" in self.rest:
            head, _, self.rest = self.rest.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self.latency, self.answer, head.decode())

    def answer(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        try:
            content = self.content(unquote(target.lstrip("/").split("?")[0]))
        except (OSError, ValueError):
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        size = len(content)
        start, stop, status = 0, size, "200 OK"
        if wanted := headers.get("range", "").removeprefix("bytes="):
            low, _, high = wanted.partition("-")
            start, stop = int(low), min(int(high or size - 1) + 1, size)
            status = "206 Partial Content"
        if start >= size:
            answer = f"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\n"
            self.transport.write(f"{answer}Content-Length: 0\r\n\r\n".encode())
            return
        self.counts.requests += 1
        answer = (
            f"HTTP/1.1 {status}\r\nContent-Length: {stop - start}\r\nAccept-Ranges: bytes\r\n"
            f"Content-Range: bytes {start}-{stop - 1}/{size}\r\nContent-Type: image/tiff\r\n\r\n"
        )
        if method == "HEAD":
            self.transport.write(answer.encode())
            return
        self.counts.bytes += stop - start
        self.transport.writelines([answer.encode(), memoryview(content)[start:stop]])

    def content(self, name: str) -> mmap.mmap:
        if name not in self.files:
            if ".." in name:
                raise ValueError(name)
            with (self.folder / name).open("rb") as file:
                self.files[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self.files[name]


async def serve(folder: Path, latency: float) -> None:
    loop, counts = asyncio.get_running_loop(), Counts()
    server = await loop.create_server(
        lambda: RangeProtocol(folder, latency, counts), "127.0.0.1", 0, backlog=256
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps(vars(counts)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.02)
    args = parser.parse_args()
    asyncio.run(serve(args.folder, args.latency))
