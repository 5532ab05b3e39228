"""The server's own OpenAPI description: its routes, and a table of what they take and give.

A route that is missing in the table, or the other way round, is an error when the server starts; a
test sends requests made from the description and compares the answers with it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from starlette.routing import Route

from .joblog import LEVELS
from .openapi_schemas import SCHEMAS, ref

__all__ = ["MEDIA_TYPE", "describe"]

MEDIA_TYPE = "application/vnd.oai.openapi+json;version=3.1"

_JSON = "application/json"
_BINARY = "application/octet-stream"
_BYTES: dict[str, Any] = {}  # any media type: nothing can be said about the content


@dataclass(frozen=True)
class _Operation:
    """What an endpoint takes and gives.

    Attributes
    ----------
    answer
        Schema of the answer's JSON; None for an answer without content.
    status
        Of success.
    body
        Schema of the JSON it takes.
    errors
        HTTP statuses of its errors, beside those that all have.
    access
        ``none``, ``bearer``, ``basic`` or ``both``.
    query
        Query parameters: name and schema.
    media
        Media types of the answer; ``*/*`` for files.
    headers
        Response headers that always come.
    examples
        Values for path parameters and bodies.
    """

    answer: str | None
    status: int = 200
    body: str | None = None
    errors: tuple[int, ...] = ()
    access: str = "bearer"
    query: tuple[tuple[str, dict[str, Any]], ...] = ()
    media: str = _JSON
    headers: tuple[str, ...] = ()
    example: Any = None
    accepts: str = _JSON


_SUM = {
    "sum": {"process_id": "add", "arguments": {"x": 3, "y": 5}, "result": True},
}
_PROCESS = {"process_graph": _SUM}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 10**12}
_OFFSET = {"type": "integer", "minimum": 0, "maximum": 10**12}

_OPERATIONS: dict[tuple[str, str], _Operation] = {
    ("GET", "/"): _Operation("Capabilities", access="none"),
    ("GET", "/openapi.json"): _Operation("OpenApi", access="none", media=MEDIA_TYPE),
    ("GET", "/conformance"): _Operation("Conformance", access="none"),
    ("GET", "/collections"): _Operation("Collections", access="none"),
    ("GET", "/collections/{collection_id}"): _Operation(
        "Collection", access="none", errors=(404,)
    ),
    ("GET", "/processes"): _Operation("Processes", access="none"),
    ("GET", "/file_formats"): _Operation("FileFormats", access="none"),
    ("GET", "/udf_runtimes"): _Operation("Runtimes", access="none"),
    ("GET", "/credentials/basic"): _Operation("Token", access="basic"),
    ("GET", "/me"): _Operation("User"),
    ("POST", "/validation"): _Operation(
        "ValidationErrors", body="Process", errors=(400, 413), example=_PROCESS
    ),
    ("POST", "/result"): _Operation(
        None, body="SyncRequest", media="*/*", errors=(400, 404, 413),
        headers=("OpenEO-Identifier",), example={"process": _PROCESS},
    ),
    ("GET", "/process_graphs"): _Operation("StoredProcesses"),
    ("GET", "/process_graphs/{process_graph_id}"): _Operation("Process", errors=(404,)),
    ("PUT", "/process_graphs/{process_graph_id}"): _Operation(
        None, body="Process", errors=(400, 413), example=_PROCESS
    ),
    ("DELETE", "/process_graphs/{process_graph_id}"): _Operation(None, 204, errors=(404,)),
    ("GET", "/jobs"): _Operation(
        "Jobs", query=(("limit", _COUNT), ("before", _OFFSET)), errors=(400,)
    ),
    ("POST", "/jobs"): _Operation(
        None, 201, body="NewJob", errors=(400, 404, 413), headers=("Location", "OpenEO-Identifier"),
        example={"process": _PROCESS, "title": "Three and five"},
    ),
    ("GET", "/jobs/{job_id}"): _Operation("JobWithProcess", errors=(404,)),
    ("PATCH", "/jobs/{job_id}"): _Operation(
        None, 204, body="JobChanges", errors=(400, 404, 413), example={"title": "Eight"}
    ),
    ("DELETE", "/jobs/{job_id}"): _Operation(None, 204, errors=(404,)),
    ("GET", "/jobs/{job_id}/logs"): _Operation(
        "Logs",
        query=(("limit", _COUNT), ("offset", _OFFSET),
               ("level", {"type": "string", "enum": list(LEVELS)})),
        errors=(400, 404),
    ),
    ("GET", "/jobs/{job_id}/results"): _Operation("Results", errors=(400, 404, 410, 424)),
    ("POST", "/jobs/{job_id}/results"): _Operation(None, 202, errors=(400, 404)),
    ("DELETE", "/jobs/{job_id}/results"): _Operation(None, 204, errors=(400, 404)),
    ("GET", "/jobs/{job_id}/results/items/{name}"): _Operation(
        "ResultItem", errors=(400, 404, 410, 424), media="application/geo+json"
    ),
    ("GET", "/jobs/{job_id}/results/assets/{name}"): _Operation(
        None, media="*/*", errors=(304, 400, 404, 410, 416, 424), headers=("ETag",)
    ),
    ("GET", "/files"): _Operation("Files", access="both"),
    ("GET", "/files/{path}"): _Operation(
        None, media="*/*", access="both", errors=(304, 400, 404, 416), headers=("ETag",)
    ),
    ("PUT", "/files/{path}"): _Operation(
        "File", access="both", body="", accepts=_BINARY, errors=(400, 413)
    ),
    ("DELETE", "/files/{path}"): _Operation(None, 204, access="both", errors=(400, 404)),
}  # fmt: skip

_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "none": [],
    "bearer": [{"bearer": []}],
    "basic": [{"basic": []}],
    "both": [{"bearer": []}, {"basic": []}],
}


def describe(routes: Sequence[Route], url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document.

    Parameters
    ----------
    routes
        The routes below the API root.
    url
        The API root.

    Raises
    ------
    RuntimeError
        The table in this module does not name just the routes there are.
    """
    found = {
        (method, re.sub(r":\w+}", "}", route.path)): route
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }
    if found.keys() != _OPERATIONS.keys():
        raise RuntimeError(
            "openapi.py and the routes differ: "
            f"{sorted(map(' '.join, found.keys() ^ _OPERATIONS.keys()))}"
        )
    paths: dict[str, Any] = {}
    for (method, path), operation in _OPERATIONS.items():
        entry = _described(found[method, path], path, operation)
        paths.setdefault(path, {})[method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "openeo-gfmap, embedded back-end",
            "version": version("openeo-gfmap"),
            "description": "The openEO API 1.2 as far as it is served here. `GET /` lists the same "
            "endpoints; errors are openEO error documents.",
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "basic//<access_token of GET /credentials/basic>",
                },
                "basic": {"type": "http", "scheme": "basic"},
            },
            "responses": {
                "Error": {
                    "description": "An openEO error.",
                    "content": {_JSON: {"schema": ref("Error")}},
                }
            },
        },
    }


def _described(route: Route, path: str, operation: _Operation) -> dict[str, Any]:
    text = inspect.getdoc(route.endpoint) or ""
    summary, _, description = text.partition("\n\n")
    success: dict[str, Any] = {"description": "Done."}
    if operation.answer:
        success = {
            "description": f"{operation.answer}.",
            "content": {operation.media: {"schema": ref(operation.answer)}},
        }
    elif operation.media == "*/*":
        success = {"description": "A file.", "content": {"*/*": {"schema": _BYTES}}}
    if operation.headers:
        success["headers"] = {
            name: {"required": True, "schema": {"type": "string"}} for name in operation.headers
        }
    refused = (401, 403) if operation.access != "none" else ()
    responses: dict[str, Any] = {str(operation.status): success}
    if route.path == "/files/{path:path}" and operation.body is not None:
        responses["201"] = {**success, "description": "The same, for clients of basic access."}
    if operation.media == "*/*" and operation.headers == ("ETag",):
        responses["206"] = {**success, "description": "A part of the file."}
    for status in sorted({*operation.errors, *refused}):
        responses[str(status)] = (
            {"description": "Unchanged."}
            if status == 304
            else {"$ref": "#/components/responses/Error"}
        )
    entry: dict[str, Any] = {
        "operationId": route.endpoint.__name__,
        "summary": " ".join(summary.split()),
        "description": description,
        "parameters": _parameters(path, operation),
        "responses": responses,
        "security": _SECURITY[operation.access],
    }
    if operation.body is not None:
        schema = ref(operation.body) if operation.body else _BYTES
        media: dict[str, Any] = {"schema": schema}
        if operation.example is not None:
            media["example"] = operation.example
        entry["requestBody"] = {"required": True, "content": {operation.accepts: media}}
    return entry


def _parameters(path: str, operation: _Operation) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", path)
    own = [
        {"name": n, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for n in names
    ]
    query = [{"name": n, "in": "query", "schema": schema} for n, schema in operation.query]
    return [*own, *query]
