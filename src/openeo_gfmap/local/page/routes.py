"""Routes of the page. None of them is a part of the openEO API.

The page itself is a few fixed files without any secret. It asks the same endpoints as every client,
with the same token in the same header: there are no cookies, so no other page can make a browser
send anything on the user's behalf.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .. import routes_discovery, routes_jobs
from ..errors import OpenEOError
from ..object_store import ObjectStore
from ..web import check_token, read_json, service_of
from .preview import NoPreviewError, draw

__all__ = ["prefers_html", "routes"]

_FILES = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}

# Everything comes from this server; nothing is evaluated, framed, or sent elsewhere.
_POLICY = "; ".join([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
])  # fmt: skip
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Another version of the package may answer at the same address next time.
    "Cache-Control": "no-cache",
}


def routes() -> list[Route]:
    """Return the routes, relative to the server's root."""
    return [
        Route("/", front),
        Route("/page/session", begin_session, methods=["POST"]),
        Route("/page/preview/{job_id}/{name:path}", preview),
        Route("/page/{name}", page_file),
        # Browsers ask for it where a document names none: JSON, a picture, a page of the user's.
        Route("/favicon.ico", icon),
    ]


async def front(request: Request) -> Response:
    """Give browsers the page, and openEO clients the capabilities."""
    if prefers_html(request.headers.get("accept", "")):
        response = _file("index.html")
    else:
        response = await routes_discovery.capabilities(request)
    response.headers["Vary"] = "Accept"
    return response


async def page_file(request: Request) -> Response:
    """Return a file of the page."""
    return _file(request.path_params["name"])


async def icon(request: Request) -> Response:
    """Return the icon of all documents of this server."""
    return _file("icon.svg")


async def begin_session(request: Request) -> Response:
    """Exchange a code that works once for an access token."""
    service = service_of(request)
    service.invitations.redeem((await read_json(request)).get("code"))
    return JSONResponse(
        {"access_token": service.access.token}, headers={"Cache-Control": "no-store"}
    )


async def preview(request: Request) -> Response:
    """Draw a result file small."""
    check_token(request)
    job, result = await routes_jobs.result_of(request)
    asset = routes_jobs.asset_of(request, result)
    place = routes_jobs.place_of(request, job)
    try:
        if isinstance(place, ObjectStore):
            raise NoPreviewError("The file is in an object store; download it to see it.")
        picture = await run_in_threadpool(draw, place / asset["name"])
    except NoPreviewError as error:
        raise OpenEOError("NoPreview", f"{asset['name']}: {error}", status=404) from error
    headers = {**_HEADERS, "Cache-Control": "private, no-cache"}
    return Response(picture, media_type="image/png", headers=headers)


def prefers_html(accept: str) -> bool:
    """Tell whether an ``Accept`` header asks for HTML by name, and for JSON less.

    Browsers name HTML. openEO clients name JSON or take anything (``*/*``).
    """
    weights: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = part.split(";")
        weight = 1.0
        for parameter in parameters:
            match = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", parameter)
            weight = float(match.group(1)) if match else weight
        weights[name.strip().lower()] = weight
    json = weights.get("application/json", 0.0)
    return weights.get("text/html", 0.0) > json


def _file(name: str) -> Response:
    # Only names of files that are there lead to one; the router lets no "/" into a name.
    for path in _FILES.iterdir():
        if path.name == name:
            return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=_HEADERS)
    raise OpenEOError("NotFound", f"The page has no file {name[:100]!r}.", status=404)
