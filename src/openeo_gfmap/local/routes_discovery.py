"""Routes that describe the back-end: capabilities, collections, processes, formats, runtimes."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .access import USER
from .engine import registry
from .formats import file_formats
from .openapi import MEDIA_TYPE
from .web import ROOT, check_token, root_url, service_of

__all__ = ["API_VERSION", "routes", "well_known"]

API_VERSION = "1.2.0"
TITLE = "openeo-gfmap, embedded"
DESCRIPTION = (
    "An openEO back-end on your own machine, for extracting machine-learning-ready patches. "
    "SENTINEL2_L2A reads the source this server was started with; without one, it is a "
    "**simulated** archive: made-up fields and clouds on the true Sentinel-2 grid."
)
CONFORMANCE = [
    "https://api.openeo.org/1.2.0",
    "https://api.openeo.org/extensions/remote-process-definition/0.1.0",
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
]
_UDF_LIBRARIES = ("numpy", "xarray", "openeo", "pandas", "scipy", "scikit-image", "shapely")


def routes() -> list[Route]:
    """Return the routes, relative to the API root."""
    return [
        Route("/", capabilities),
        Route("/openapi.json", openapi_document),
        Route("/conformance", conformance),
        Route("/collections", collections),
        Route("/collections/{collection_id}", collection),
        Route("/processes", processes),
        Route("/file_formats", formats),
        Route("/udf_runtimes", udf_runtimes),
        Route("/credentials/basic", credentials_basic),
        Route("/me", me),
    ]


async def well_known(request: Request) -> Response:
    """Name the one version of the API that is served."""
    entry = {"url": root_url(request), "api_version": API_VERSION, "production": True}
    return JSONResponse({"versions": [entry]})


async def capabilities(request: Request) -> Response:
    """Describe the back-end."""
    base = root_url(request)
    links = [
        ("self", f"{base}/", "This document"),
        ("version-history", base.removesuffix(ROOT) + "/.well-known/openeo", "API versions"),
        ("conformance", f"{base}/conformance", "Conformance classes"),
        ("data", f"{base}/collections", "Collections"),
        ("service-desc", f"{base}/openapi.json", "OpenAPI description"),
    ]
    types = {"service-desc": MEDIA_TYPE}
    return JSONResponse(
        {
            "type": "Catalog",
            "stac_version": "1.1.0",
            "id": "openeo-gfmap-local",
            "title": TITLE,
            "description": DESCRIPTION,
            "api_version": API_VERSION,
            "backend_version": version("openeo-gfmap"),
            "production": True,
            "conformsTo": CONFORMANCE,
            "endpoints": request.app.state.endpoints,
            "links": [
                {
                    "rel": rel,
                    "href": href,
                    "type": types.get(rel, "application/json"),
                    "title": title,
                }
                for rel, href, title in links
            ],
        }
    )


async def openapi_document(request: Request) -> Response:
    """Describe this interface, in OpenAPI."""
    document = {**request.app.state.openapi, "servers": [{"url": root_url(request)}]}
    return JSONResponse(document, media_type=MEDIA_TYPE)


async def conformance(request: Request) -> Response:
    """List the conformance classes."""
    return JSONResponse({"conformsTo": CONFORMANCE})


async def collections(request: Request) -> Response:
    """Describe all collections."""
    # In a thread: a catalogue may have to be asked over the network.
    found = await run_in_threadpool(_collections, request)
    links = [{"rel": "self", "href": f"{root_url(request)}/collections"}]
    return JSONResponse({"collections": found, "links": links})


def _collections(request: Request) -> list[dict[str, Any]]:
    catalog = service_of(request).catalog
    return [_collection(request, collection_id) for collection_id in catalog.ids()]


def _collection(request: Request, collection_id: str) -> dict[str, Any]:
    document = service_of(request).catalog.get(collection_id).describe()
    base = root_url(request)
    links = [
        {"rel": "self", "href": f"{base}/collections/{collection_id}", "type": "application/json"},
        {"rel": "root", "href": f"{base}/", "type": "application/json"},
        {"rel": "parent", "href": f"{base}/", "type": "application/json"},
    ]
    return {**document, "links": [*document.get("links", ()), *links]}


async def collection(request: Request) -> Response:
    """Describe one collection."""
    wanted = request.path_params["collection_id"]
    return JSONResponse(await run_in_threadpool(_collection, request, wanted))


async def processes(request: Request) -> Response:
    """Describe the processes, as derived from the functions that implement them."""
    await service_of(request).load_engine()
    described = [process.describe() for process in registry.all_processes().values()]
    return JSONResponse({"processes": described, "links": []})


async def formats(request: Request) -> Response:
    """List the formats that can be read and written."""
    return JSONResponse(file_formats())


async def udf_runtimes(request: Request) -> Response:
    """Describe where UDFs run: in this very Python."""
    python = ".".join(platform.python_version_tuple()[:2])
    libraries = {}
    for name in _UDF_LIBRARIES:
        try:
            libraries[name] = {"version": version(name)}
        except PackageNotFoundError:  # optional, and not installed here
            continue
    return JSONResponse(
        {
            "Python": {
                "title": "Python",
                "description": "The Python that runs the server, with all that is installed in it.",
                "type": "language",
                "default": python,
                "versions": {python: {"libraries": libraries}},
            }
        }
    )


async def credentials_basic(request: Request) -> Response:
    """Exchange user and password for an access token."""
    access = service_of(request).access
    access.check_basic(request.headers.get("authorization"))
    return JSONResponse({"access_token": access.token}, headers={"Cache-Control": "no-store"})


async def me(request: Request) -> Response:
    """Describe the one user."""
    check_token(request)
    return JSONResponse({"user_id": USER, "name": "You, on this machine", "links": []})
