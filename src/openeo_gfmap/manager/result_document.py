"""What a back-end says of a job's results: the document, its files, and what they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

__all__ = ["data_assets", "item_of", "results_of", "sources_of"]


def results_of(job: BatchJob) -> Mapping[str, Any]:
    """Return the job's results; files that only its items name are among the assets, too.

    Raises
    ------
    ValueError
        When the answer is no description of results, which is not the same as no results.
    """
    document = job.get_results().get_metadata()
    if not isinstance(document, Mapping) or not document.keys() & {"assets", "links"}:
        raise ValueError(f"the results of job {job.job_id} are {str(document)[:100]!r}")
    if document.get("assets"):
        return dict(document)
    assets: dict[str, Any] = {}
    for link in document.get("links") or ():
        if link.get("rel") == "item":
            item = job.connection.get(link["href"], expected_status=200).json()
            for key, asset in (item.get("assets") or {}).items():
                assets[f"{item.get('id')}_{key}" if key in assets else key] = asset
    return {**document, "assets": assets}


def sources_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what results were made of, each source once."""
    links = (link for link in document.get("links") or () if link.get("rel") == "derived_from")
    return tuple(dict.fromkeys(str(link["href"]) for link in links if link.get("href")))


def data_assets(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the assets that are results; those marked as metadata or thumbnails are not."""
    found = {}
    for key, asset in (document.get("assets") or {}).items():
        roles = asset.get("roles") or ["data"]
        if isinstance(asset.get("href"), str) and "data" in roles:
            found[str(key)] = asset
    return found


def item_of(
    connection: Connection, document: Mapping[str, Any], key: str
) -> Mapping[str, Any] | None:
    """Return the back-end's item that has an asset."""
    for link in document.get("links") or ():
        if link.get("rel") == "item" and key in str(link.get("href")):
            item = connection.get(link["href"], expected_status=200).json()
            if key in (item.get("assets") or {}):
                return dict(item)
    return None
