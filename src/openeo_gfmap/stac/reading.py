"""The items of a collection on disk, one at a time, straight from the files.

A collection can hold more items than fit in memory, and pystac takes milliseconds for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from openeo_gfmap.errors import InputError

__all__ = ["OF_THE_TREE", "collection_file", "local_path", "read_document", "read_items"]

#: Links that say where a document stands; a copy of it stands elsewhere.
OF_THE_TREE: Final = frozenset({"self", "root", "parent", "collection"})


def collection_file(path: str | Path) -> Path:
    """Return the JSON file of a collection: itself, or in the folder that was named.

    Raises
    ------
    InputError
        When there is none.
    """
    path = Path(path)
    places = [path, path / "collection.json", path / "stac" / "collection.json"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(
            f"{path} is no STAC collection and holds none; name a collection.json, or a folder "
            "with one."
        )
    return found


def read_document(path: Path) -> dict[str, Any]:
    """Return a STAC document.

    Raises
    ------
    InputError
        When it is not there, or no JSON object.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as STAC: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no STAC object, but {type(document).__name__}.")
    return document


def read_items(collection: str | Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Iterate over the items of a collection on disk, those of its catalogues included.

    Parameters
    ----------
    collection : path
        ``collection.json``, or a folder with it.

    Yields
    ------
    (Path, dict)
        The file of an item, from which its relative addresses go, and the item.

    Raises
    ------
    InputError
        When a document is missing or broken.
    """
    root = collection_file(collection)
    waiting, seen = [root], {root.resolve()}
    while waiting:
        path = waiting.pop()
        document = read_document(path)
        children = []
        for link in document.get("links") or ():
            target = local_path(path, str(link.get("href", "")))
            if target is None:
                continue
            if link.get("rel") == "item":
                yield target, read_document(target)
            elif link.get("rel") == "child" and target.resolve() not in seen:
                seen.add(target.resolve())
                children.append(target)
        waiting += reversed(children)  # in the order of the links


def local_path(document: Path, href: str) -> Path | None:
    """Return the file that an address in a document means; None for one on the web."""
    parts = urlsplit(href)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if len(parts.scheme) > 1 or not href:
        return None
    return document.parent / Path(unquote(href))


def with_absolute_assets(path: Path, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item whose assets on this disk have absolute paths."""
    assets = {}
    for key, asset in (item.get("assets") or {}).items():
        place = local_path(path, str(asset.get("href", "")))
        assets[key] = {**asset, "href": str(place.resolve())} if place is not None else dict(asset)
    return {**item, "assets": assets}
