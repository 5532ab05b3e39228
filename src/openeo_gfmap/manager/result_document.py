"""What a back-end says of a job's results: the document, its files, and what they were made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openeo.rest import OpenEoApiPlainError
from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

from openeo_gfmap.manager.answers import is_gone

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
    for href in _linked(document, "item"):
        item = job.connection.get(href, expected_status=200).json()
        for key, asset in (item.get("assets") or {}).items():
            assets[f"{item.get('id')}_{key}" if key in assets else key] = asset
    return {**document, "assets": assets}


def sources_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what results were made of, each source once."""
    return tuple(dict.fromkeys(_linked(document, "derived_from")))


def _linked(document: Mapping[str, Any], relation: str) -> Iterator[str]:
    """Iterate over the addresses that links of a kind lead to; what is no link is none."""
    for link in document.get("links") or ():
        if isinstance(link, Mapping) and link.get("rel") == relation and link.get("href"):
            yield str(link["href"])


def data_assets(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the assets that are results; those marked as metadata or thumbnails are not.

    Also those that have no address: a file is missing then.

    Raises
    ------
    ValueError
        When none has: that is no description of results.
    """
    found = {}
    for key, asset in (document.get("assets") or {}).items():
        fields = asset if isinstance(asset, Mapping) else {}
        roles = fields.get("roles") or ["data"]
        if "data" in ([roles] if isinstance(roles, str) else roles):
            found[str(key)] = fields
    if found and not any(isinstance(fields.get("href"), str) for fields in found.values()):
        raise ValueError(f"no file of the results has an address: {', '.join(found)[:100]}")
    return found


def item_of(
    connection: Connection, document: Mapping[str, Any], key: str
) -> Mapping[str, Any] | None:
    """Return the back-end's item that has an asset; None when there is none, or no longer."""
    for href in _linked(document, "item"):
        if key in href:
            try:
                item = connection.get(href, expected_status=200).json()
            except OpenEoApiPlainError as error:
                if is_gone(error):
                    continue  # the file itself is here
                raise
            if key in (item.get("assets") or {}):
                return dict(item)
    return None
