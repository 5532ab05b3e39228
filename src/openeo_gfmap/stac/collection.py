"""One STAC collection from the items of all jobs: pure, and of constant memory an item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pystac

from openeo_gfmap.stac.constants import LICENSE, LICENSE_LINK, STAC_EXTENSIONS
from openeo_gfmap.stac.items import STAC_VERSION

__all__ = ["CollectionBuilder"]

# What an asset's definition repeats of the assets; the rest differs from item to item.
_SHARED_ASSET_FIELDS = ("type", "roles", "title", "description", "bands", "cube:variables")
_CLASSES = "classification:classes"


class CollectionBuilder:
    """Collects what a collection says of its items, one item at a time.

    Parameters
    ----------
    identifier, description : str
        Id and description of the collection.
    software : mapping
        Name and version of what made the items.
    item_assets : mapping, optional
        Definitions of the assets, by key; an asset without one is described by its first item.
    summaries : mapping, optional
        Summaries that hold for the product, such as the platforms.
    fields : mapping, optional
        Further fields of the collection, such as its title. A license given here comes with its
        links; providers, extensions and assets given here stand beside ours.
    """

    def __init__(
        self,
        identifier: str,
        description: str,
        *,
        software: Mapping[str, str],
        item_assets: Mapping[str, pystac.ItemAssetDefinition | Mapping[str, Any]] | None = None,
        summaries: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
    ):
        self._id = identifier
        self._description = description
        self._software = dict(software)
        self._definitions = {
            key: each.to_dict() if isinstance(each, pystac.ItemAssetDefinition) else dict(each)
            for key, each in (item_assets or {}).items()
        }
        self._summaries = dict(summaries or {})
        self._fields = dict(fields or {})
        self._assets: dict[str, dict[str, Any]] = {}
        self._known: set[tuple[str, ...]] = set()  # bands and classes of assets, by their names
        self._codes: set[str] = set()
        self._box: list[float] | None = None
        self._times: list[str] = []

    def add(self, item: Mapping[str, Any]) -> None:
        """Take an item into account."""
        if item.get("bbox"):
            self._box = _union(self._box, item["bbox"])
        properties = item["properties"]
        times = [properties.get(name) for name in ("start_datetime", "end_datetime", "datetime")]
        known = [time for time in [*self._times, *times] if time]
        self._times = [min(known), max(known)] if known else []
        if properties.get("proj:code"):
            self._codes.add(properties["proj:code"])
        for key, asset in item.get("assets", {}).items():
            if key not in self._assets:
                self._assets[key] = self._definition(key, asset)
            self._extend(key, asset, "bands", "name")
            self._extend(key, asset, _CLASSES, "value")

    def _extend(self, key: str, asset: Mapping[str, Any], field: str, name: str) -> None:
        """Add the bands, or classes, of an asset that none before it had."""
        parts = asset.get(field)
        if not parts:
            return
        signature = (key, field, *(str(part.get(name)) for part in parts))
        if signature in self._known:
            return
        self._known.add(signature)
        known = self._assets[key].get(field, [])
        names = {part.get(name) for part in known}
        found = [*known, *(part for part in parts if part.get(name) not in names)]
        if field == _CLASSES:
            found.sort(key=lambda each: each["value"])
        self._assets[key][field] = found

    def _definition(self, key: str, asset: Mapping[str, Any]) -> dict[str, Any]:
        definition = self._definitions.get(key)
        fields = {name: asset[name] for name in _SHARED_ASSET_FIELDS if asset.get(name)}
        if definition is not None:
            # The file knows its bands better than the product's definition, which lists all there
            # can be; names and descriptions are the definition's.
            own = {"bands": fields.get("bands") or definition.get("bands")}
            fields = {**fields, **definition, **{k: v for k, v in own.items() if v}}
        elif "title" in fields:
            fields["title"] = key  # the asset's is the name of one file
        # STAC wants at least two fields of a definition.
        return fields if len(fields) > 1 else {"title": key, **fields}

    def build(
        self, links: Sequence[Mapping[str, Any]], assets: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the collection.

        Parameters
        ----------
        links : sequence of mapping
            To its items or catalogues.
        assets : mapping
            Its own assets.
        """
        fields = dict(self._fields)
        provider = {
            "name": "openeo-gfmap",
            "description": "Extraction of training patches with openEO.",
            "roles": ["processor"],
            "url": "https://github.com/Open-EO/openeo-gfmap",
            "processing:software": self._software,
        }
        others = [each for each in fields.pop("providers", ()) if each != provider]
        summaries = dict(self._summaries)
        if self._codes:
            summaries["proj:code"] = sorted(self._codes)
        start, end = self._times or (None, None)
        box = self._box or [-180.0, -90.0, 180.0, 90.0]
        licenses = fields.pop("links", [LICENSE_LINK.to_dict()])
        foreign, own_assets = fields.pop("stac_extensions", []), fields.pop("assets", {})
        document = {
            "type": "Collection",
            "stac_version": STAC_VERSION,
            "stac_extensions": [*self._extensions(summaries), *foreign],
            "id": self._id,
            "description": self._description or f"Patches extracted for {self._id}.",
            "license": LICENSE,
            **fields,
            "providers": [*others, provider],
            "extent": {
                "spatial": {"bbox": [box]},
                "temporal": {"interval": [[start, end]]},
            },
            "summaries": summaries,
            "item_assets": dict(sorted(self._assets.items())),
            "links": [
                {"rel": "root", "href": "./collection.json", "type": "application/json"},
                *licenses,
                *links,
            ],
        }
        all_assets = {**own_assets, **assets}
        return {**document, "assets": all_assets} if all_assets else document

    def _extensions(self, summaries: Mapping[str, Any]) -> list[str]:
        """Leave out the extensions whose schemas ask for fields that an empty collection lacks."""
        fields = {name for asset in self._assets.values() for name in _field_names(asset)}
        used = {
            "eo": any(name.startswith("eo:") for name in fields),
            "raster": any(name.startswith("raster:") for name in fields),
            "datacube": any(name.startswith("cube:") for name in fields),
            "projection": "proj:code" in summaries,
            "classification": any(name.startswith("classification:") for name in fields),
        }
        unused = [f"/{name}/" for name, there in used.items() if not there]
        return [s for s in sorted(STAC_EXTENSIONS) if not any(name in s for name in unused)]


def _field_names(asset: Mapping[str, Any]) -> Iterable[str]:
    yield from asset
    for band in asset.get("bands", ()):
        yield from band


def _union(box: list[float] | None, other: Sequence[float]) -> list[float]:
    if len(other) == 6:  # with heights
        other = [other[0], other[1], other[3], other[4]]
    if box is None:
        return list(other)
    return [*map(min, box[:2], other[:2]), *map(max, box[2:], other[2:])]
