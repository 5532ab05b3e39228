"""Validation and synchronous processing."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tarfile
import uuid
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .checking import problems_of, require_valid
from .child import Child, Limits, Stopped, start, supervise
from .documents import check_process, job_changes, process_of
from .errors import OpenEOError
from .run import WORKER, Ending, memory_limit, prepare, read_ending
from .web import check_token, read_json, root_url, service_of

__all__ = ["routes"]

_CLIENT_GONE = Stopped("RequestCanceled", "The client went away.")


def routes() -> list[Route]:
    """Return the routes, relative to the API root."""
    return [
        Route("/validation", validation, methods=["POST"]),
        Route("/result", result, methods=["POST"]),
    ]


async def validation(request: Request) -> Response:
    """Say what is wrong with a process, without running it."""
    check_token(request)
    process = await read_json(request)
    service = service_of(request)
    try:
        check_process(process)
        await service.load_engine()
        errors = await run_in_threadpool(problems_of, process, service, to_be_called=True)
    except OpenEOError as error:
        errors = [error]
    found = [
        {"id": uuid.uuid4().hex, "code": e.code, "message": e.message, "node": e.node}
        for e in errors
    ]
    return JSONResponse({"errors": found})


async def result(request: Request) -> Response:
    """Run a process at once, in a child, and return its one file (several come as a TAR)."""
    check_token(request)
    document = await read_json(request)
    process = process_of(document)
    options = job_changes(document).get("options", {})
    service = service_of(request)
    settings = service.settings
    identifier = f"r-{uuid.uuid4().hex}"
    folder = settings.folder.sync / identifier
    memory = memory_limit(options, settings)
    await service.load_engine()
    await run_in_threadpool(require_valid, process, service)
    try:
        async with request.app.state.sync_slots:
            graph = await run_in_threadpool(service.definitions.inline, process)
            await run_in_threadpool(
                prepare, folder, graph, settings,
                servers=(root_url(request),), memory=memory,
            )  # fmt: skip
            ending = await _run(request, folder, Limits(memory, settings.sync_seconds))
        if ending.error is not None:
            raise ending.error
        path, media_type = await run_in_threadpool(_one_file, folder, ending)
    except BaseException:
        # Also when the server ends, which cancels this.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    clean_up = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(
        path, media_type=media_type, background=clean_up, headers={"OpenEO-Identifier": identifier}
    )


async def _run(request: Request, folder: Path, limits: Limits) -> Ending:
    child: Child | None = None
    stop: asyncio.Future[Stopped] = asyncio.get_running_loop().create_future()
    watch = asyncio.create_task(_watch_client(request, stop))
    try:
        child = start(folder, WORKER, service_of(request).queue.nursery)
        stopped = await supervise(child, limits, stop)
        return await run_in_threadpool(read_ending, folder, child, stopped)
    finally:
        watch.cancel()
        if child is not None:
            child.kill()


async def _watch_client(request: Request, stop: asyncio.Future[Stopped]) -> None:
    """Stop the work when nobody waits for it any more."""
    with contextlib.suppress(asyncio.CancelledError):
        while not await request.is_disconnected():
            await asyncio.sleep(0.5)
        if not stop.done():
            stop.set_result(_CLIENT_GONE)


def _one_file(folder: Path, ending: Ending) -> tuple[Path, str]:
    assets = (ending.result or {}).get("assets", [])
    if len(assets) == 1:
        return folder / "results" / assets[0]["name"], assets[0]["media_type"]
    if not assets:
        raise OpenEOError(
            "NoResult", "The process gave no file: there is nothing in the extent asked for.",
            status=400,
        )  # fmt: skip
    bundle = folder / "results.tar"
    with tarfile.open(bundle, "w") as archive:
        for asset in assets:
            archive.add(folder / "results" / asset["name"], arcname=asset["name"])
    return bundle, "application/x-tar"
