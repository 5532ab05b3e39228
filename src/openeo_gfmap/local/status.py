"""What the server is at, as plain JSON types: for ``GET /status`` and for the terminal."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .settings import cpus
from .store import Job

if TYPE_CHECKING:
    from .web import Service

__all__ = ["describe_status"]

_MOST_QUEUED = 100


def describe_status(service: Service) -> dict[str, Any]:
    """Return queue, running jobs, workers and the machine's use.

    Returns
    -------
    dict
        ``jobs``: count by state. ``running``: id, title, user, queue, ``progress`` (per cent),
        ``seconds``, ``pid``, ``processes``, ``memory`` (bytes), ``cpu_seconds``, and ``cluster``
        with ``scheduler``, ``workers`` and ``threads`` where it runs on one. ``queued``: the first
        hundred, in the order of their queues. ``machine``: ``cpus``, ``memory`` for jobs and
        ``memory_used`` by them. ``limits``: the settings that decide how many run.
    """
    settings, queue = service.settings, service.queue
    running = queue.running
    return {
        "version": version("openeo-gfmap"),
        "address": queue.server,
        "jobs": service.store.counts(),
        "running": [{**_named(at_work.job), **at_work.describe()} for at_work in running],
        "queued": [
            {**_named(job), "queued": job.updated} for job in service.store.waiting(_MOST_QUEUED)
        ],
        "machine": {
            "cpus": cpus(),
            "memory": settings.memory,
            "memory_used": sum(at_work.memory for at_work in running),
        },
        "limits": {
            "parallel_jobs": settings.parallel_jobs,
            "user_jobs": settings.user_jobs,
            "job_memory": settings.job_memory,
            "job_seconds": settings.job_seconds,
        },
        "scheduler": settings.scheduler or None,
        "result_store": settings.result_store or None,
    }


def _named(job: Job) -> dict[str, Any]:
    return {"id": job.id, "title": job.title, "user": job.owner or None, "queue": job.queue or None}
