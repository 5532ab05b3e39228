"""What all routes share: the service behind them, errors as JSON, limited bodies, the guard."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .access import Access, Invitations, is_local_host
from .catalog import Catalog
from .documents import check_depth
from .errors import OpenEOError
from .files import Workspace
from .settings import Settings
from .user_processes import Definitions, UserProcesses

if TYPE_CHECKING:
    from pathlib import Path

    from .batch import BatchQueue
    from .store import JobStore

__all__ = [
    "ROOT",
    "Activity",
    "Guard",
    "Service",
    "check_token",
    "error_response",
    "file_response",
    "on_error",
    "on_http_error",
    "on_unexpected",
    "query_int",
    "read_json",
    "root_url",
    "service_of",
]

_log = logging.getLogger(__name__)

#: Path of the versioned API.
ROOT = "/openeo/1.2"

# Endpoints that openEO knows and this server does not have; anything else unknown is a 404.
_UNSUPPORTED = re.compile(
    r"/(credentials/oidc|services|service_types|services/.*|jobs/[^/]+/estimate)/?$"
)


@dataclass
class Activity:
    """When the server was last of use, for its ending when idle.

    Attributes
    ----------
    requests
        Requests being answered.
    last
        ``time.monotonic()`` of the last request's start or end.
    closing
        Set when the server has decided to end: every later request gets a 503.
    """

    requests: int = 0
    last: float = field(default_factory=time.monotonic)
    closing: bool = False


@dataclass
class Service:
    """All that the routes work on."""

    settings: Settings
    access: Access
    store: JobStore
    queue: BatchQueue
    activity: Activity = field(default_factory=Activity)
    invitations: Invitations = field(default_factory=Invitations)
    _engine: asyncio.Future[None] | None = None

    async def load_engine(self) -> None:
        """Import the engine, once, and without stopping everything else for the second it takes.

        In one thread only: Python does not promise whole modules when several threads import
        modules that import each other.
        """
        if self._engine is None:
            self._engine = asyncio.ensure_future(asyncio.to_thread(_import_engine))
        await asyncio.shield(self._engine)

    @property
    def workspace(self) -> Workspace:
        """The user's files."""
        return Workspace(self.settings.folder.files)

    @property
    def user_processes(self) -> UserProcesses:
        """The processes that the user has stored."""
        return UserProcesses(self.settings.folder.root / "processes.sqlite")

    @property
    def definitions(self) -> Definitions:
        """What nodes may call beside predefined processes."""
        return Definitions(self.user_processes, self.settings.max_document)

    @cached_property
    def catalog(self) -> Catalog:
        """The collections; may ask remote catalogues when first used."""
        return Catalog.from_settings(self.settings.sources, self.settings.folder.archive)


def _import_engine() -> None:
    from .engine import outputs, planner, registry  # noqa: F401, PLC0415

    registry.all_processes()


def service_of(request: Request) -> Service:
    """Return the service behind a request."""
    service: Service = request.app.state.service
    return service


def root_url(request: Request) -> str:
    """Return the API's root as the client sees it: also through a port forwarding or a proxy."""
    public = service_of(request).settings.public_url
    return (public or f"http://{request.headers['host']}") + ROOT


def check_token(request: Request, *, basic: bool = False) -> None:
    """Let a request pass that carries the token (or, where allowed, user and password)."""
    service_of(request).access.check(request.headers.get("authorization"), basic=basic)


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body.

    Raises
    ------
    OpenEOError
        ``RequestTooLarge`` (413), or ``ProcessInvalid`` for anything but a JSON object: every
        document that this API takes is, or contains, a process.
    """
    limit = service_of(request).settings.max_document
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise OpenEOError(
                "RequestTooLarge",
                f"The document is larger than {limit} bytes. Upload large geometries with PUT "
                "/files and name their URL in the process graph.",
                status=413,
            )
    return await run_in_threadpool(_parse, bytes(body))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_number, parse_float=_finite)
        # Half of a surrogate pair is no character: it could be neither stored nor sent back.
        if re.search(rb"\\u[dD][89a-fA-F]", body):
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise OpenEOError("ProcessInvalid", f"The body is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise OpenEOError("ProcessInvalid", "The body is JSON, but not an object: expected {…}.")
    check_depth(document)
    return document


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number; use null")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def query_int(request: Request, name: str, *, least: int) -> int | None:
    """Return an integer query parameter, None when it is absent or empty."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    # isdecimal alone would take digits of other scripts, and numbers SQLite cannot hold.
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < least:
        raise OpenEOError(
            "QueryParameterInvalid",
            f"Query parameter {name} is {text[:50]!r}; expected a whole number of at least "
            f"{least}.",
        )
    return int(text)


def file_response(request: Request, path: Path, media_type: str | None) -> Response:
    """Answer GET or HEAD with a file: Range, ETag, Last-Modified and If-None-Match.

    Raises
    ------
    OpenEOError
        ``RangeInvalid`` (416) for a range that cannot be met.
    """
    stat = path.stat()
    response = FileResponse(path, media_type=media_type, stat_result=stat)
    # Results and uploads are bytes; no browser shall ever run them as a page of this server.
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["content-security-policy"] = "sandbox"
    response.headers["cache-control"] = "private, no-cache"
    if response.headers["etag"] in request.headers.get("if-none-match", ""):
        kept = ("etag", "last-modified", "cache-control")
        return Response(status_code=304, headers={name: response.headers[name] for name in kept})
    wanted = request.headers.get("range")
    # Starlette answers bad ranges in plain text: they are sorted out before it sees them.
    if wanted is not None and not _is_range(wanted, stat.st_size):
        raise OpenEOError(
            "RangeInvalid",
            f"Range {wanted[:50]!r} cannot be met: the file has {stat.st_size} bytes. Write "
            "bytes=FIRST-LAST.",
            status=416,
        )
    return response


def _is_range(header: str, size: int) -> bool:
    unit, equals, ranges = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return False
    for part in ranges.split(","):
        match = re.fullmatch(r"\s*([0-9]{0,15})-([0-9]{0,15})\s*", part)
        if match is None or match.groups() == ("", ""):
            return False
        first, last = match.groups()
        if first and (int(first) >= size or (last and int(last) < int(first))):
            return False
        if not first and (int(last) == 0 or size == 0):
            return False
    return True


def error_response(error: OpenEOError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the openEO error document of an error."""
    document = {"id": uuid.uuid4().hex, "code": error.code, "message": error.message, "links": []}
    headers = dict(headers or {})
    if error.status == 401:
        # No "Basic" challenge: browsers would pop up a password dialog.
        headers["WWW-Authenticate"] = 'Bearer realm="openeo-gfmap"'
    return JSONResponse(document, status_code=error.status, headers=headers)


async def on_error(request: Request, error: Exception) -> Response:
    """Answer an :class:`OpenEOError`."""
    if not isinstance(error, OpenEOError):
        raise error
    return error_response(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: no such route, or no such method on it."""
    if not isinstance(error, HTTPException):
        raise error
    path, method = request.url.path, request.method
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        found = OpenEOError(
            "FeatureUnsupported", f"{method} is not supported on {path}, only {allowed}.",
            status=405,
        )  # fmt: skip
    elif error.status_code != 404:
        found = OpenEOError("RequestInvalid", str(error.detail), status=error.status_code)
    elif _UNSUPPORTED.match(path.removeprefix(ROOT)):
        found = OpenEOError(
            "FeatureUnsupported", f"{path} is not supported by this back-end. GET {ROOT}/ lists "
            "what is.", status=501,
        )  # fmt: skip
    elif re.match(r"/openeo/(?!1\.2(/|$))\d", path):
        found = OpenEOError(
            "UnsupportedApiVersion", f"{path}: this back-end speaks openEO API 1.2 under {ROOT}/.",
            status=404,
        )  # fmt: skip
    else:
        found = OpenEOError(
            "NotFound", f"There is nothing at {path}. GET {ROOT}/ lists the endpoints.", status=404
        )
    return error_response(found, error.headers)


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Answer a bug: the client gets an id, the server's log the rest under the same id."""
    answer = OpenEOError("Internal", "", status=500)
    reference = uuid.uuid4().hex
    answer.message = (
        f"The server failed on {request.method} {request.url.path}. Its log has the details "
        f"under {reference}."
    )
    _log.error(
        "Internal error %s on %s %s", reference, request.method, request.url.path, exc_info=error
    )
    return error_response(answer)


class Guard:
    """Outermost layer: only this machine's own names, and a count of what is going on."""

    def __init__(self, app: ASGIApp, activity: Activity):
        self._app = app
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if not is_local_host(host):
            refusal = OpenEOError(
                "HostInvalid",
                f"Host {host[:100]!r} is not this machine. Connect to 127.0.0.1 or localhost.",
                status=421,
            )
            await error_response(refusal)(scope, receive, send)
            return
        if self._activity.closing:
            closing = OpenEOError(
                "InfrastructureMaintenance", "The server is ending. Start it again.", status=503
            )
            await error_response(closing, {"Connection": "close"})(scope, receive, send)
            return
        self._activity.requests += 1
        self._activity.last = time.monotonic()
        try:
            await self._app(scope, receive, send)
        finally:
            self._activity.requests -= 1
            self._activity.last = time.monotonic()
