"""The web application: all routes under ``/openeo/1.2``; at ``/`` capabilities, or the page."""

from __future__ import annotations

import asyncio
import re

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount, Route, Router

from . import (
    openapi,
    page,
    routes_discovery,
    routes_files,
    routes_jobs,
    routes_processing,
    routes_user_processes,
    web,
)
from .errors import OpenEOError
from .web import ROOT, Guard, Service

__all__ = ["create_app"]


def create_app(service: Service) -> Starlette:
    """Return the ASGI application of a server."""
    api = [
        *routes_discovery.routes(),
        *routes_processing.routes(),
        *routes_user_processes.routes(),
        *routes_jobs.routes(),
        *routes_files.routes(),
    ]
    app = Starlette(
        routes=[
            *page.routes(),
            Route("/.well-known/openeo", routes_discovery.well_known),
            Route("/status", routes_jobs.status),
            Route(ROOT, routes_discovery.capabilities),
            # Clients that are given the versioned address look for it there.
            Route(f"{ROOT}/.well-known/openeo", routes_discovery.well_known),
            Mount(ROOT, app=Router(api, redirect_slashes=False)),
        ],
        middleware=[Middleware(Guard, activity=service.activity)],
        exception_handlers={
            OpenEOError: web.on_error,
            HTTPException: web.on_http_error,
            Exception: web.on_unexpected,
        },
    )
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.endpoints = _endpoints(api)
    app.state.openapi = openapi.describe(api, ROOT)
    service.queue.graph_of = service.definitions.inline
    app.state.sync_slots = asyncio.Semaphore(service.settings.parallel_jobs)
    return app


def _endpoints(routes: list[Route]) -> list[dict[str, object]]:
    """Derive the capabilities' list of endpoints from the routes themselves."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        path = re.sub(r":\w+}", "}", route.path)
        methods.setdefault(path, set()).update((route.methods or set()) - {"HEAD"})
    return [{"path": path, "methods": sorted(found)} for path, found in methods.items()]
