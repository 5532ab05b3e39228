"""User-defined processes: store, list, describe, delete."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .user_processes import process_document
from .web import check_token, read_json, root_url, service_of

__all__ = ["routes"]


def routes() -> list[Route]:
    """Return the routes, relative to the API root."""
    return [
        Route("/process_graphs", list_processes),
        Route("/process_graphs/{process_graph_id}", describe_process),
        Route("/process_graphs/{process_graph_id}", store_process, methods=["PUT"]),
        Route("/process_graphs/{process_graph_id}", delete_process, methods=["DELETE"]),
    ]


async def list_processes(request: Request) -> Response:
    """List the user's processes, without their graphs."""
    check_token(request)
    found = await run_in_threadpool(service_of(request).user_processes.list)
    links = [{"rel": "self", "href": f"{root_url(request)}/process_graphs"}]
    return JSONResponse({"processes": found, "links": links})


async def describe_process(request: Request) -> Response:
    """Return one process as it was stored."""
    check_token(request)
    stored = service_of(request).user_processes
    document = await run_in_threadpool(stored.get, request.path_params["process_graph_id"])
    return JSONResponse(document)


async def store_process(request: Request) -> Response:
    """Store a process, in place of one of the same id. It may call processes still to come."""
    check_token(request)
    document = await read_json(request)
    process = process_document(request.path_params["process_graph_id"], document)
    service = service_of(request)
    await service.load_engine()
    await run_in_threadpool(service.definitions.require_no_cycle, process)
    await run_in_threadpool(service.user_processes.put, process)
    return Response(status_code=200)


async def delete_process(request: Request) -> Response:
    """Remove a process; jobs that call it can no longer start."""
    check_token(request)
    stored = service_of(request).user_processes
    await run_in_threadpool(stored.delete, request.path_params["process_graph_id"])
    return Response(status_code=204)
