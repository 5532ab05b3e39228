"""The STAC collection on disk, written from the store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import pystac

from openeo_gfmap.names import safe_name
from openeo_gfmap.stac.collection import CollectionBuilder
from openeo_gfmap.stac.constants import ITEM_ASSETS, SUMMARIES
from openeo_gfmap.stac.items import modern_item

__all__ = ["existing_items", "write_collection"]


def write_collection(
    folder: Path,
    items: Iterable[tuple[int, Mapping[str, Any]]],
    *,
    output_dir: Path,
    identifier: str,
    description: str,
    constellation: str | None = None,
    item_assets: Mapping[str, pystac.ItemAssetDefinition] | None = None,
) -> Path:
    """Write a self-contained collection; return the path of ``collection.json``.

    The collection is replaced last, so that whoever reads it meanwhile finds all its items. It
    moves together with the output folder: all addresses in it are relative.

    Parameters
    ----------
    folder : Path
        Where it goes: ``collection.json`` and ``items/<id>.json``.
    items : iterable of (int, mapping)
        Row and item; asset addresses are relative to `output_dir`.
    output_dir : Path
        Folder of the result files.
    identifier, description : str
        Of the collection.
    constellation : str, optional
        Its summaries are added.
    item_assets : mapping, optional
        Definitions of assets by key, beside those of the package.
    """
    builder = CollectionBuilder(
        identifier,
        description,
        software={"openeo-gfmap": metadata.version("openeo-gfmap")},
        item_assets={**ITEM_ASSETS, **(item_assets or {})},
        summaries=SUMMARIES[constellation].to_dict() if constellation else None,
    )
    item_folder = folder / "items"
    item_folder.mkdir(parents=True, exist_ok=True)
    to_output = Path(os.path.relpath(output_dir.resolve(), item_folder.resolve())).as_posix()
    written: set[str] = set()
    for row, item in items:
        unique = _unique_id(str(item["id"]), row, written)
        name = f"{safe_name(unique, 200)}.json"
        document = _self_contained({**item, "id": unique}, identifier, to_output)
        _replace(item_folder / name, document)
        builder.add(document, f"./items/{name}")
    path = folder / "collection.json"
    before = _linked(path, item_folder)
    _replace(path, builder.build())
    for item_path in before:
        if item_path.stem.casefold() not in written:
            item_path.unlink(missing_ok=True)
    return path


def _linked(path: Path, item_folder: Path) -> list[Path]:
    """Return the items in a folder that the collection as it stands links to.

    Files that it does not know are somebody else's.
    """
    try:
        links = json.loads(path.read_bytes())["links"]
        hrefs = [str(link["href"]) for link in links if link.get("rel") == "item"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # there is none, or what is there is no collection
    linked = [item_folder / Path(href).name for href in hrefs]
    return [item_path for item_path in linked if item_path.is_file()]


def _unique_id(wanted: str, row: int, written: set[str]) -> str:
    """Return the id, or one with the row when another item has it (or its file name) already."""
    unique, count = wanted, 0
    while safe_name(unique, 200).casefold() in written:
        count += 1
        unique = f"{wanted}-{row}" if count == 1 else f"{wanted}-{row}-{count}"
    written.add(safe_name(unique, 200).casefold())
    return unique


def _self_contained(item: Mapping[str, Any], collection: str, to_output: str) -> dict[str, Any]:
    links = [
        {"rel": "root", "href": "../collection.json", "type": "application/json"},
        {"rel": "parent", "href": "../collection.json", "type": "application/json"},
        {"rel": "collection", "href": "../collection.json", "type": "application/json"},
    ]
    assets = {
        key: {**asset, "href": _relative(str(asset["href"]), to_output)}
        for key, asset in item["assets"].items()
    }
    kept = [{**link, "href": _relative(str(link["href"]), to_output)} for link in item["links"]]
    return {**item, "collection": collection, "links": [*kept, *links], "assets": assets}


def _relative(href: str, to_output: str) -> str:
    if "://" in href or Path(href).is_absolute():
        return href
    return f"{to_output}/{href}"


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document unless it is there: of a large run that is resumed, most are."""
    text = json.dumps(document, separators=(",", ":")).encode()
    with suppress(OSError):
        if path.read_bytes() == text:
            return
    part = path.with_name(path.name + ".part")
    part.write_bytes(text)
    part.replace(path)


def existing_items(
    stac: str | Path | pystac.Collection, output_dir: Path
) -> tuple[pystac.Collection, list[dict[str, Any]]]:
    """Return a collection that is to be continued, and its items as the store would keep them."""
    collection = stac if isinstance(stac, pystac.Collection) else _open(stac)
    root = output_dir.resolve()
    found = []
    for item in collection.get_items(recursive=True):
        document = item.to_dict(include_self_link=False, transform_hrefs=False)
        document["links"] = []
        for key, asset in item.assets.items():
            href = asset.get_absolute_href() or asset.href
            if "://" not in href and Path(href).resolve().is_relative_to(root):
                href = Path(href).resolve().relative_to(root).as_posix()
            document["assets"][key]["href"] = href
        found.append(modern_item(document))
    return collection, found


def _open(stac: str | Path) -> pystac.Collection:
    path = Path(stac)
    return pystac.Collection.from_file(str(path / "collection.json" if path.is_dir() else path))
