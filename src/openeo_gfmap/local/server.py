"""The server process: one per state folder, known by ``server.json``, gone when idle."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from .access import USER, Access
from .app import create_app
from .batch import BatchQueue
from .child import adopt
from .errors import OpenEOError
from .joblog import rfc3339
from .settings import Settings, StateFolder
from .status import describe_status
from .store import JobStore
from .web import ROOT, Service

__all__ = ["serve"]

_log = logging.getLogger(__name__)

# How long a server waits for the one before it to end.
_PATIENCE = 15.0

# How often the terminal shows how things stand.
_SECONDS_BETWEEN_LOOKS = 1.0


def serve(
    settings: Settings,
    on_ready: Callable[[str, Path, str], None] | None = None,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Serve until idle, or until SIGINT or SIGTERM.

    Parameters
    ----------
    settings
        Settings of the server.
    on_ready
        Called when the server is listening, with its address, ``server.json``, and a link that
        signs a browser in, once.
    watch
        Called each second with what the server is at (:func:`status.describe_status`).

    Raises
    ------
    OpenEOError
        ``ServerRunning`` when another server holds the state folder, ``PortInUse``.
    """
    settings.check_sources()
    state = settings.folder
    state.create()
    # Everything written from here on is for this user only.
    os.umask(0o077)
    with _lock(state):
        identity = _identity(state)
        sock = _listen(settings, identity.get("port", 0))
        port = sock.getsockname()[1]
        _write_private(state.identity_file, {**identity, "port": port})
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{port}"
        known = {
            "url": url,
            "user": USER,
            "password": identity["password"],
            "pid": os.getpid(),
            "started": rfc3339(),
            "version": version("openeo-gfmap"),
            "settings": settings.describe(),
            "environment": Settings.read_from(os.environ),
        }
        # uvicorn ends on these signals, and raises them again when it has: by then the children
        # are still to be ended, so the signals must have no other effect.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ignore)
        asyncio.run(_serve(settings, sock, known, on_ready, watch))


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing (unlike SIG_IGN, this is not inherited by children)."""


async def _serve(
    settings: Settings,
    sock: socket.socket,
    known: dict[str, Any],
    on_ready: Callable[[str, Path, str], None] | None,
    watch: Callable[[Mapping[str, Any]], None] | None,
) -> None:
    state = settings.folder
    store = JobStore(state.database)
    queue = BatchQueue(store, settings)
    queue.server = known["url"] + ROOT
    service = Service(settings, Access(known["password"]), store, queue)
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        # Longer than clients pause between two looks at a job: a connection that is closed at the
        # moment it is used again costs the client an error.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=3,
    )
    server = _Server(config, service)
    _clean_up(state)
    queue.nursery.open()
    queue.recover()
    tasks = [
        asyncio.create_task(_end_when_idle(service, server)),
        # The first client should not have to wait for all these imports.
        asyncio.create_task(service.load_engine()),
    ]
    if watch:
        tasks.append(asyncio.create_task(_show(service, watch)))
    # The socket is listening already: a client that reads the file can connect at once.
    _write_private(state.server_file, known)
    _log.info("Serving %s on %s", state.root, known["url"])
    if on_ready:
        link = f"{settings.public_url or known['url']}/#login={service.invitations.issue()}"
        on_ready(known["url"], state.server_file, link)
    try:
        await server.serve(sockets=[sock])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await queue.stop()
        store.close()
    _log.info("Ended")


class _Server(uvicorn.Server):
    """A server that from the moment it is to end takes no requests and cannot be found."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service

    def close(self) -> None:
        """End; what is being answered is still answered."""
        self.should_exit = True
        self._service.activity.closing = True
        self._service.settings.folder.server_file.unlink(missing_ok=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal."""
        self.close()
        super().handle_exit(sig, frame)


async def _show(service: Service, watch: Callable[[Mapping[str, Any]], None]) -> None:
    while True:
        watch(await asyncio.to_thread(describe_status, service))
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


async def _end_when_idle(service: Service, server: _Server) -> None:
    limit = service.settings.idle_seconds
    if not limit:
        return
    activity = service.activity
    while True:
        if service.queue.busy or activity.requests:
            activity.last = time.monotonic()
        left = activity.last + limit - time.monotonic()
        if left <= 0:
            # No await between this look and the refusal of further requests: a client that got
            # an answer has made the server wait for another idle period.
            server.close()
            _log.info("Idle for %g s", limit)
            return
        await asyncio.sleep(min(left + 0.01, 1.0))


@contextlib.contextmanager
def _lock(state: StateFolder) -> Iterator[None]:
    """Hold the state folder; wait for a server that is about to end, which nobody can find."""
    with state.lock_file.open("w") as file:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if state.server_file.exists() or time.monotonic() > deadline:
                    raise OpenEOError(
                        "ServerRunning",
                        f"Another server already uses {state.root}: its address stands in "
                        f"{state.server_file}. Use that one, stop it, or give another --home.",
                    ) from None
                time.sleep(0.05)
        # Left by a server that was killed.
        state.server_file.unlink(missing_ok=True)
        yield


def _identity(state: StateFolder) -> dict[str, Any]:
    """Return password and last port; they outlive the server, so that its clients can go on."""
    try:
        identity = json.loads(state.identity_file.read_bytes())
        if isinstance(identity["password"], str) and isinstance(identity.get("port", 0), int):
            return dict(identity)
    except (OSError, ValueError, KeyError, TypeError):
        _log.info("New password in %s", state.identity_file)
    return {"password": secrets.token_urlsafe(32)}


def _listen(settings: Settings, last_port: int) -> socket.socket:
    """Bind and listen: on the port asked for, else on the last one, else on any."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    ports = [settings.port] if settings.port else [last_port, 0]
    for port in ports:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, port))
            sock.listen(256)
        except OSError as error:
            sock.close()
            if port == ports[-1]:
                raise OpenEOError(
                    "PortInUse",
                    f"Cannot listen on {settings.host} port {port}: {error}. Use another --port, "
                    "or 0 for any.",
                ) from error
        else:
            return sock
    raise AssertionError("unreachable: the last port either binds or raises")


def _write_private(path: Path, document: dict[str, Any]) -> None:
    """Write a file that only this user can read, in one step."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(document, file, indent=1)
    part.replace(path)


def _clean_up(state: StateFolder) -> None:
    """Remove what requests of a killed server left: nobody waits for it any more."""
    for part in state.uploads.iterdir():
        part.unlink()
    for folder in state.sync.iterdir():
        child = adopt(folder)
        if child:
            child.kill()
        shutil.rmtree(folder, ignore_errors=True)
