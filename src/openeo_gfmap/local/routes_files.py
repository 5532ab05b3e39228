"""The file workspace: list, download, upload, delete."""

from __future__ import annotations

import tempfile
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import OpenEOError
from .web import check_token, file_response, root_url, service_of

__all__ = ["routes"]


def routes() -> list[Route]:
    """Return the routes, relative to the API root."""
    return [
        Route("/files", list_files),
        Route("/files/{path:path}", download),
        Route("/files/{path:path}", upload, methods=["PUT"]),
        Route("/files/{path:path}", delete, methods=["DELETE"]),
    ]


async def list_files(request: Request) -> Response:
    """List all files."""
    check_token(request, basic=True)
    files = await run_in_threadpool(service_of(request).workspace.list)
    return JSONResponse({"files": files, "links": []})


async def download(request: Request) -> Response:
    """Return a file."""
    check_token(request, basic=True)
    path = service_of(request).workspace.find(request.path_params["path"])
    return file_response(request, path, "application/octet-stream")


async def upload(request: Request) -> Response:
    """Store the body as a file, replacing what is there.

    The answer is 200, as the openEO API has it. A client that sends user and password with the
    request itself is no openEO client but one of artifact stores, which answer 201: so it gets
    that.
    """
    check_token(request, basic=True)
    service = service_of(request)
    path = request.path_params["path"]
    service.workspace.resolve(path)  # before a byte is taken
    arrived = await _receive(request, service.settings.folder.uploads, service.settings.max_file)
    try:
        await run_in_threadpool(service.workspace.place, arrived, path)
    finally:
        arrived.unlink(missing_ok=True)
    is_plain = request.headers["authorization"].lower().startswith("basic ")
    return JSONResponse(
        service.workspace.describe(path),
        status_code=201 if is_plain else 200,
        headers={"Location": f"{root_url(request)}/files/{path}"} if is_plain else None,
    )


async def _receive(request: Request, folder: Path, limit: int) -> Path:
    """Write the body to a new file; a broken or too large upload leaves nothing behind."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
        arrived = Path(file.name)
        try:
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                # Chunks are 64 kB: written into the page cache faster than a thread could be asked.
                file.write(chunk)
        except BaseException:
            # Also when the client goes away, which cancels this.
            arrived.unlink()
            raise
    return arrived


def _too_large(limit: int) -> OpenEOError:
    return OpenEOError(
        "FileSizeExceeded",
        f"The file is larger than {limit} bytes, the most that is taken (setting max_file).",
    )


async def delete(request: Request) -> Response:
    """Delete a file."""
    check_token(request, basic=True)
    workspace = service_of(request).workspace
    await run_in_threadpool(workspace.delete, request.path_params["path"])
    return Response(status_code=204)
