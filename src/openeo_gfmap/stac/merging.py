"""Several collections on disk made one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

from openeo_gfmap.errors import InputError
from openeo_gfmap.stac.items import foreign_extensions, modern_item
from openeo_gfmap.stac.reading import (
    OF_THE_TREE,
    collection_file,
    local_path,
    read_document,
    read_items,
)
from openeo_gfmap.stac.tree import write_collection

__all__ = ["OnClash", "merge"]

OnClash = Literal["error", "rename", "first", "last"]

#: Fields of a collection that come about anew, or are merged in a way of their own.
_OURS: Final = frozenset(
    {
        *("type", "stac_version", "stac_extensions", "id", "description", "license", "providers"),
        *("extent", "summaries", "item_assets", "links", "assets"),
    }
)
_OF_ITEMS: Final = frozenset({"item", "items", "child"})
_SHOWN: Final = 5  # ids named in a message


def merge(
    sources: Sequence[str | Path],
    target: str | Path,
    *,
    identifier: str | None = None,
    description: str | None = None,
    on_clash: OnClash = "error",
) -> Path:
    """Make one collection of several; return the path of its ``collection.json``.

    The result files stay where they are: the new collection leads to them by relative addresses, so
    that it moves together with all of them. Items are read one at a time. An item that is in two
    sources, with files of the same checksums, is taken once.

    Parameters
    ----------
    sources : sequence of path
        Collections: their ``collection.json``, or a folder with it.
    target : path
        Folder for the new one; it can be that of the first source, which then takes in the others.
    identifier, description : str, optional
        Of the new one; by default those of the first source.
    on_clash : {"error", "rename", "first", "last"}
        What becomes of items with the same id and different files: nothing is merged; those after
        the first get another id; or only the first, or the last, is taken.

    Raises
    ------
    InputError
        When there is nothing to merge, a source cannot be read, or ids clash. Nothing is written
        then.
    """
    if on_clash not in get_args(OnClash):
        raise InputError(
            f"on_clash is {on_clash!r}; expected one of {', '.join(get_args(OnClash))}."
        )
    if not sources:
        raise InputError("there is nothing to merge; name at least one collection.")
    files = [collection_file(source) for source in sources]
    documents = [read_document(file) for file in files]
    folder = Path(target)
    if folder.resolve() in {file.resolve().parent for file in files[1:]}:
        raise InputError(
            f"{folder} is both target and a source, but not the first; name it first, so that what "
            "is there is read before anything is written."
        )
    taken = _taken(files, on_clash)
    folder.mkdir(parents=True, exist_ok=True)
    return write_collection(
        folder,
        _merged(files, taken, folder.resolve()),
        count=len(taken),
        output_dir=folder,
        identifier=identifier or str(documents[0].get("id") or folder.name),
        description=description or str(documents[0].get("description") or ""),
        item_assets=_item_assets(documents),
        summaries=_summaries(documents),
        fields=_fields(files, documents, folder.resolve()),
    )


def _taken(files: Sequence[Path], on_clash: OnClash) -> set[tuple[int, str, bytes]]:
    """Return source, id and digest of the items that are taken."""
    found: dict[str, dict[bytes, int]] = {}  # by id: the source of each version
    for number, file in enumerate(files):
        for place, item in read_items(file):
            found.setdefault(str(item["id"]), {}).setdefault(_digest(place, item), number)
    clashes = [name for name, versions in found.items() if len(versions) > 1]
    if clashes and on_clash == "error":
        shown = ", ".join(sorted(clashes)[:_SHOWN]) + (", …" if len(clashes) > _SHOWN else "")
        raise InputError(
            lambda words: (
                f"{len(clashes)} ids stand for different files in the collections: {shown}. Say "
                + words.either(
                    "on_clash='rename' to keep all of them, or 'first' or 'last'",
                    "--on-clash rename to keep all of them, or first or last",
                )
                + " to keep one of each."
            )
        )
    taken = set()
    for name, versions in found.items():
        kept = list(versions.items())
        if on_clash in ("first", "last"):
            kept = [kept[0] if on_clash == "first" else kept[-1]]
        taken |= {(number, name, digest) for digest, number in kept}
    return taken


def _digest(place: Path, item: Mapping[str, Any]) -> bytes:
    """Return what tells an item's files: their checksums, or places where there is none."""
    files = []
    for key, asset in sorted((item.get("assets") or {}).items()):
        href = str(asset.get("href", ""))
        path = local_path(place, href)
        fallback = href if path is None else str(path.resolve())
        files.append((key, asset.get("file:checksum") or fallback))
    return hashlib.blake2b(json.dumps(files).encode(), digest_size=16).digest()


def _merged(
    files: Sequence[Path], taken: set[tuple[int, str, bytes]], folder: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the items that are taken, with addresses relative to the new folder."""
    for number, file in enumerate(files):
        for place, item in read_items(file):
            mark = number, str(item["id"]), _digest(place, item)
            if mark not in taken:
                continue
            taken.discard(mark)  # of twins in one source, too, one is taken
            assets = {
                key: {**asset, "href": _moved(place, str(asset["href"]), folder)}
                for key, asset in (item.get("assets") or {}).items()
            }
            links = [
                {**link, "href": _moved(place, str(link["href"]), folder)}
                for link in item.get("links") or ()
                if link.get("rel") not in OF_THE_TREE
            ]
            yield number + 1, modern_item({**item, "assets": assets, "links": links})


def _moved(place: Path, href: str, folder: Path) -> str:
    path = local_path(place, href)
    if path is None:
        return href  # on the web
    path = path.resolve()
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive, to which no relative path leads
        return path.as_posix()


# -------------------------------------------------------------------------------------- collections


def _item_assets(documents: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the definitions of all, of each asset the first; its bands follow the items."""
    found: dict[str, dict[str, Any]] = {}
    for document in documents:
        for key, definition in (document.get("item_assets") or {}).items():
            found.setdefault(key, dict(definition))
    return found


def _summaries(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the summaries of all: lists with the values of each, ranges around those of each."""
    found: dict[str, Any] = {}
    for document in documents:
        for name, value in (document.get("summaries") or {}).items():
            known = found.get(name)
            if isinstance(known, list) and isinstance(value, list):
                found[name] = _union([known, value])
            elif isinstance(known, dict) and {"minimum", "maximum"} <= known.keys() & value:
                low = min(known["minimum"], value["minimum"])
                high = max(known["maximum"], value["maximum"])
                found[name] = {"minimum": low, "maximum": high}
            else:
                found.setdefault(name, value)
    found.pop("proj:code", None)  # what the items say
    return found


def _fields(
    files: Sequence[Path], documents: Sequence[Mapping[str, Any]], folder: Path
) -> dict[str, Any]:
    """Return the fields of the first, and providers, links, assets and the like of all."""
    fields = {name: value for name, value in documents[0].items() if name not in _OURS}
    for name in ("providers", "keywords"):
        values = _union(document.get(name) for document in documents)
        if values:
            fields[name] = values
    licenses = _union([document.get("license", "other")] for document in documents)
    fields["license"] = licenses[0] if len(licenses) == 1 else "other"
    fields["stac_extensions"] = _union(map(foreign_extensions, documents))
    links: list[dict[str, Any]] = []
    assets: dict[str, dict[str, Any]] = {}
    for file, document in zip(files, documents, strict=True):
        for link in document.get("links") or ():
            if link.get("rel") not in OF_THE_TREE | _OF_ITEMS:
                links.append({**link, "href": _moved(file, str(link.get("href", "")), folder)})
        for key, asset in (document.get("assets") or {}).items():
            if "collection-mirror" not in (asset.get("roles") or ()):
                href = _moved(file, str(asset.get("href", "")), folder)
                assets.setdefault(key, {**asset, "href": href})
    return {**fields, "links": _union([links]), "assets": assets}


def _union(lists: Iterable[Iterable[Any] | None]) -> list[Any]:
    found: list[Any] = []
    for each in lists:
        found += [value for value in each or () if value not in found]
    return found
