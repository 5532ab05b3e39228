"""Batch jobs: create, list, describe, change, delete, start, cancel, log, results."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import results
from .access import Access
from .checking import require_valid
from .documents import job_changes, process_of
from .errors import OpenEOError
from .joblog import LEVELS, rfc3339
from .object_store import ObjectStore, is_address
from .run import stored_place
from .status import describe_status
from .store import Job, UnknownJobError
from .stored import stored_response
from .web import check_token, file_response, query_int, read_json, root_url, service_of

__all__ = ["asset_of", "place_of", "result_of", "routes", "status"]

_MOST_JOBS = 1000
_MOST_LOGS = 10_000


def routes() -> list[Route]:
    """Return the routes, relative to the API root."""
    return [
        Route("/jobs", list_jobs),
        Route("/jobs", create_job, methods=["POST"]),
        Route("/jobs/{job_id}", describe_job),
        Route("/jobs/{job_id}", update_job, methods=["PATCH"]),
        Route("/jobs/{job_id}", delete_job, methods=["DELETE"]),
        Route("/jobs/{job_id}/logs", job_logs),
        Route("/jobs/{job_id}/results", job_results),
        Route("/jobs/{job_id}/results", start_job, methods=["POST"]),
        Route("/jobs/{job_id}/results", cancel_job, methods=["DELETE"]),
        Route("/jobs/{job_id}/results/items/{name:path}", result_item),
        Route("/jobs/{job_id}/results/assets/{name:path}", result_asset),
    ]


def job_of(request: Request) -> Job:
    """Return the job that the path names; JobNotFound (404) when there is none."""
    job_id = request.path_params["job_id"]
    try:
        return service_of(request).store.get(job_id)
    except UnknownJobError:
        raise OpenEOError(
            "JobNotFound", f"There is no batch job {job_id!r}. GET /jobs lists those there are.",
            status=404,
        ) from None  # fmt: skip


async def list_jobs(request: Request) -> Response:
    """List jobs, the newest first, in pages when the client asks for a limit."""
    check_token(request)
    limit = query_int(request, "limit", least=1)
    before = query_int(request, "before", least=0)
    size = None if limit is None else min(limit, _MOST_JOBS)
    store = service_of(request).store
    found = await run_in_threadpool(store.page, None if size is None else size + 1, before)
    url = f"{root_url(request)}/jobs"
    links = []
    if size is not None and len(found) > size:
        found = found[:size]
        query = urlencode({"limit": size, "before": found[-1].number})
        links.append({"rel": "next", "href": f"{url}?{query}", "type": "application/json"})
    return JSONResponse({"jobs": [_summary(job) for job in found], "links": links})


async def create_job(request: Request) -> Response:
    """Store a new job; a process that cannot run is refused."""
    check_token(request)
    service = service_of(request)
    document = await read_json(request)
    process = process_of(document)
    await service.load_engine()
    await run_in_threadpool(require_valid, process, service)
    now = rfc3339()
    root = root_url(request)
    job = Job(
        id=f"j-{uuid.uuid4().hex}",
        created=now,
        updated=now,
        server=root,
        owner=_user(request),
        **job_changes(document),
    )
    service.queue.folder(job.id).mkdir()
    service.store.add(job, process)
    return Response(
        status_code=201,
        headers={"Location": f"{root}/jobs/{job.id}", "OpenEO-Identifier": job.id},
    )


async def describe_job(request: Request) -> Response:
    """Describe a job, process included."""
    check_token(request)
    job = job_of(request)
    process = service_of(request).store.process(job.id)
    document = {**_summary(job), "process": process, "log_level": job.log_level}
    if job.options:
        document["job_options"] = dict(job.options)
    if job.usage:
        document["usage"] = dict(job.usage)
    return JSONResponse(document)


async def update_job(request: Request) -> Response:
    """Change what a client may say about a job that is neither queued nor running."""
    check_token(request)
    document = await read_json(request)
    job = job_of(request)
    if job.status in ("queued", "running"):
        raise OpenEOError(
            "JobLocked", f"Job {job.id} is {job.status}. Cancel it before changing it."
        )
    read_only = {"id", "status", "created", "updated", "progress", "costs", "usage"} & set(document)
    if read_only:
        raise OpenEOError("PropertyNotEditable", f"{', '.join(sorted(read_only))}: read-only.")
    changes = job_changes(document)
    process = process_of(document) if "process" in document else None
    if process is not None:
        await service_of(request).load_engine()
        await run_in_threadpool(require_valid, process, service_of(request))
    if not changes and process is None:
        raise OpenEOError("NoDataForUpdate", "Nothing in the request can be changed in a job.")
    store = service_of(request).store
    if process is not None:
        store.replace_process(job.id, process)
    store.update(job.id, updated=rfc3339(), **changes)
    return Response(status_code=204)


async def delete_job(request: Request) -> Response:
    """Delete a job with all it left, ending it first if it runs."""
    check_token(request)
    # Shielded, here and below: a client that goes away must not leave the work half done.
    await asyncio.shield(service_of(request).queue.delete(job_of(request)))
    return Response(status_code=204)


async def start_job(request: Request) -> Response:
    """Queue a job; one that has run before runs anew."""
    check_token(request)
    service_of(request).queue.submit(job_of(request))
    return Response(status_code=202)


async def cancel_job(request: Request) -> Response:
    """End a queued or running job. It is "canceled" from then on, and can be started again."""
    check_token(request)
    await asyncio.shield(service_of(request).queue.cancel(job_of(request)))
    return Response(status_code=204)


async def job_logs(request: Request) -> Response:
    """Return log entries, behind the entry ``offset``, at least as severe as ``level``."""
    check_token(request)
    job = job_of(request)
    limit = min(query_int(request, "limit", least=1) or _MOST_LOGS, _MOST_LOGS)
    offset = query_int(request, "offset", least=0) or 0
    level = request.query_params.get("level") or "debug"
    if level not in LEVELS:
        raise OpenEOError(
            "QueryParameterInvalid",
            f"Query parameter level is {level[:50]!r}; expected one of {', '.join(LEVELS)}.",
        )
    log = service_of(request).queue.log(job)
    entries = await run_in_threadpool(
        lambda: list(islice(log.entries(offset, level), limit + 1))
    )  # fmt: skip
    links = []
    if len(entries) > limit:
        entries = entries[:limit]
        query = urlencode({"offset": entries[-1]["id"], "limit": limit, "level": level})
        url = f"{root_url(request)}/jobs/{job.id}/logs?{query}"
        links.append({"rel": "next", "href": url, "type": "application/json"})
    effective = max(level, job.log_level, key=LEVELS.index)
    return JSONResponse({"level": effective, "logs": entries, "links": links})


async def job_results(request: Request) -> Response:
    """Return the results as a STAC Collection."""
    job, result = await result_of(request)
    links = _Links(root_url(request), service_of(request).access)
    document = results.collection_document(job, result["assets"], result["derived_from"], links)
    return JSONResponse(document)


async def result_item(request: Request) -> Response:
    """Return the STAC Item of one asset."""
    job, result = await result_of(request)
    asset = asset_of(request, result)
    links = _Links(root_url(request), service_of(request).access)
    document = results.item_document(job, asset, links)
    return JSONResponse(document, media_type="application/geo+json")


async def result_asset(request: Request) -> Response:
    """Return one result file."""
    job, result = await result_of(request)
    asset = asset_of(request, result)
    place = place_of(request, job)
    if isinstance(place, ObjectStore):
        return await stored_response(request, place, asset)
    return file_response(request, place / asset["name"], asset["media_type"])


def place_of(request: Request, job: Job) -> Path | ObjectStore:
    """Return where a job's result files are."""
    folder = service_of(request).queue.folder(job.id)
    place = stored_place(folder)
    if place is not None and is_address(place):
        return ObjectStore(place)
    return Path(place) if place else folder / "results"


async def result_of(request: Request) -> tuple[Job, dict[str, Any]]:
    """Return a finished job and what its child left; else the error that openEO wants."""
    _check_token_or_link(request)
    job = job_of(request)
    if job.status in ("created", "canceled"):
        raise OpenEOError("JobNotStarted", f"Job {job.id} is {job.status}. Start it first.")
    if job.status in ("queued", "running"):
        raise OpenEOError("JobNotFinished", f"Job {job.id} is {job.status}. Ask again later.")
    queue = service_of(request).queue
    if job.status == "error":
        errors = list(queue.log(job).entries(level="error"))
        found = errors[-1] if errors else {"message": "The job failed."}
        raise OpenEOError(found.get("code", "JobFailed"), found["message"], status=424)
    text = await run_in_threadpool((queue.folder(job.id) / "result.json").read_bytes)
    result: dict[str, Any] = json.loads(text)
    return job, result


async def status(request: Request) -> Response:
    """Say what the server is at: queue, running jobs, workers. No part of the openEO API."""
    check_token(request, basic=True)
    return JSONResponse(await run_in_threadpool(describe_status, service_of(request)))


def _user(request: Request) -> str:
    """Return who a reverse proxy says it is; nobody in particular where there is none."""
    header = service_of(request).settings.user_header
    return request.headers.get(header, "")[:200] if header else ""


def _check_token_or_link(request: Request) -> None:
    query = request.query_params
    if "signature" in query:
        service_of(request).access.check_link(
            request.scope["path"], query.get("expires", ""), query["signature"]
        )
    else:
        check_token(request)


def asset_of(request: Request, result: dict[str, Any]) -> dict[str, Any]:
    """Return the document of the result file that the path names; NotFound (404)."""
    name = request.path_params["name"]
    # Only names that the job itself listed lead to a file.
    for asset in result["assets"]:
        if asset["name"] == name:
            return dict(asset)
    raise OpenEOError(
        "NotFound", f"The job has no result {name[:200]!r}. Its results list those it has.",
        status=404,
    )  # fmt: skip


@dataclass(frozen=True)
class _Links:
    root: str
    access: Access

    def plain(self, path: str) -> str:
        return self.root + path

    def signed(self, path: str) -> str:
        return self.access.sign(self.root + path)


def _summary(job: Job) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "progress": job.progress,
        "created": job.created,
        "updated": job.updated,
        "costs": None,
    }
    told = {name: getattr(job, name) for name in ("title", "description", "plan", "budget")}
    return document | {name: value for name, value in told.items() if value is not None}
