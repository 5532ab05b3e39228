"""The STAC documents of a job's results (pure: job and result in, JSON out)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import quote

from .store import Job

__all__ = ["Links", "collection_document", "item_document"]

STAC_VERSION = "1.1.0"
STAC_EXTENSIONS = [
    # 1.2 is the version that knows both proj:code and the older proj:epsg, which clients read.
    "https://stac-extensions.github.io/projection/v1.2.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
]
_EVERYWHERE = [-180.0, -90.0, 180.0, 90.0]


class Links(Protocol):
    """How addresses are made; signed ones work without credentials."""

    def plain(self, path: str) -> str:
        """Return the URL of a path below the API root."""

    def signed(self, path: str) -> str:
        """Return the same URL with a signature that works for a while without credentials."""


def collection_document(
    job: Job, assets: Iterable[Mapping[str, Any]], derived_from: Iterable[str], links: Links
) -> dict[str, Any]:
    """Return ``GET /jobs/{id}/results``: a STAC Collection with all assets, and links to items.

    Parameters
    ----------
    job
        A finished job.
    assets
        :class:`ResultAsset` documents.
    derived_from
        Addresses of the scenes the results were made from.
    links
        Address maker.
    """
    assets = list(assets)
    base = f"/jobs/{job.id}/results"
    boxes = [asset["bbox"] for asset in assets if asset["bbox"]]
    starts = [asset["start"] for asset in assets if asset["start"]]
    ends = [asset["end"] for asset in assets if asset["end"]]
    bbox = _union(boxes) if boxes else _EVERYWHERE
    interval = [min(starts, default=None), max(ends, default=None)]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": STAC_EXTENSIONS,
        "id": job.id,
        "title": job.title or f"Results of batch job {job.id}",
        "description": job.description or f"Results of batch job {job.id}.",
        "license": "other",
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [interval]}},
        "links": [
            _link("self", links.plain(base), "application/json"),
            _link("canonical", links.signed(base), "application/json"),
            *(
                _link("item", links.signed(_item_path(job, asset)), "application/geo+json")
                for asset in assets
            ),
            *(_link("derived_from", address, "application/geo+json") for address in derived_from),
        ],
        "assets": {asset["name"]: _asset(job, asset, links) for asset in assets},
        "openeo:status": job.status,
    }


def item_document(job: Job, asset: Mapping[str, Any], links: Links) -> dict[str, Any]:
    """Return the STAC Item of one asset; its id is the asset's file name, as on CDSE."""
    bbox = asset["bbox"]
    times = {"start_datetime": asset["start"], "end_datetime": asset["end"]}
    dated = asset["start"] and asset["end"]
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": STAC_EXTENSIONS,
        "id": asset["name"],
        "collection": job.id,
        "geometry": asset["geometry"] or (bbox and _box(bbox)),
        **({"bbox": list(bbox)} if bbox else {}),
        # STAC wants a date even for data without any: then it is the date of the result.
        "properties": {"datetime": None, **times} if dated else {"datetime": job.updated},
        "links": [
            _link("self", links.signed(_item_path(job, asset)), "application/geo+json"),
            *(
                _link(rel, links.signed(f"/jobs/{job.id}/results"), "application/json")
                for rel in ("collection", "parent", "root")
            ),
        ],
        "assets": {asset["name"]: _asset(job, asset, links)},
    }


def _asset(job: Job, asset: Mapping[str, Any], links: Links) -> dict[str, Any]:
    name = asset["name"]
    document: dict[str, Any] = {
        "href": links.signed(f"/jobs/{job.id}/results/assets/{quote(name)}"),
        "type": asset["media_type"],
        "roles": list(asset["roles"]),
        "title": name,
        "file:size": asset["size"],
        "file:checksum": asset["checksum"],
    }
    if asset["bands"]:
        document["bands"] = [{"name": band} for band in asset["bands"]]
    if asset["nodata"] is not None:
        # JSON has no NaN; this is how STAC writes it.
        document["nodata"] = "nan" if math.isnan(asset["nodata"]) else asset["nodata"]
    if asset["proj_epsg"] is not None:
        document["proj:code"] = f"EPSG:{asset['proj_epsg']}"
        document["proj:epsg"] = asset["proj_epsg"]
    if asset["proj_bbox"]:
        document["proj:bbox"] = list(asset["proj_bbox"])
    if asset["proj_shape"]:
        document["proj:shape"] = list(asset["proj_shape"])
    return document


def _item_path(job: Job, asset: Mapping[str, Any]) -> str:
    return f"/jobs/{job.id}/results/items/{quote(asset['name'])}"


def _link(rel: str, href: str, media_type: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media_type}


def _union(boxes: list[list[float]]) -> list[float]:
    west, south, east, north = zip(*boxes, strict=True)
    return [min(west), min(south), max(east), max(north)]


def _box(bbox: list[float]) -> dict[str, Any]:
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
