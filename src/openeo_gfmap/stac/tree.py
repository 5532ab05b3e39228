"""A collection on disk: a JSON document for each item, and one table of all.

Up to 10,000 items lie in ``items/``, and the collection links to each. More are split into
catalogues, ``<key>/catalog.json`` with the items beside it, so that no document gets large: the key
is the item's dataset (``ref_id``), or its place where it has none. In either case ``items.parquet``
has all items, for those who want to search rather than to walk.
"""

from __future__ import annotations

import json
import math
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pystac

from openeo_gfmap.files import safe_name, whole
from openeo_gfmap.stac.collection import CollectionBuilder
from openeo_gfmap.stac.constants import ITEM_ASSETS, SUMMARIES
from openeo_gfmap.stac.items import STAC_VERSION
from openeo_gfmap.stac.parquet import ItemTable

__all__ = ["MOST_LINKS", "write_collection"]

#: Most items that one document links to.
MOST_LINKS: Final = 10_000

_COLLECTION: Final = "collection.json"
_TABLE: Final = "items.parquet"
#: Names what is to be removed, should the process end between the last document and that.
_OBSOLETE: Final = "obsolete.json"
_JSON: Final = "application/json"
_MOST_DATASETS: Final = 1_000  # that get catalogues of their own; others go by place
_CELL: Final = 5  # degrees
_HAS_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:").match
_LONGEST_NAME: Final = 200  # bytes


def write_collection(
    folder: Path,
    items: Iterable[tuple[int, Mapping[str, Any]]],
    *,
    count: int,
    output_dir: Path,
    identifier: str,
    description: str,
    constellation: str | None = None,
    item_assets: Mapping[str, pystac.ItemAssetDefinition | Mapping[str, Any]] | None = None,
    summaries: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Path:
    """Write a self-contained collection; return the path of ``collection.json``.

    The collection is replaced when all it leads to is there, so that whoever reads it meanwhile, or
    after a kill, finds all items of the old one or all of the new one. In a split tree an item that
    moves from one catalogue to another is found in both until the end: that is never lost. Files
    that would be the same are not written again; items of before that are no longer there go, and
    files of others stay. It moves together with the output folder: all addresses in it are
    relative. Items pass through one at a time; what is kept of each is its name.

    Parameters
    ----------
    folder : Path
        Where it goes.
    items : iterable of (int, mapping)
        Row and item; addresses in it are relative to `output_dir`.
    count : int
        How many items there are: of more than 10,000 the tree is split.
    output_dir : Path
        Folder of the result files.
    identifier, description : str
        Of the collection.
    constellation : str, optional
        Its summaries are added.
    item_assets : mapping, optional
        Definitions of assets by key, beside those of the package.
    summaries, fields : mapping, optional
        Further summaries and fields, see `CollectionBuilder`.
    """
    known = SUMMARIES[constellation].to_dict() if constellation else {}
    builder = CollectionBuilder(
        identifier,
        description,
        software={"openeo-gfmap": metadata.version("openeo-gfmap")},
        item_assets={**ITEM_ASSETS, **(item_assets or {})},
        summaries={**known, **(summaries or {})},
        fields=fields,
    )
    folder.mkdir(parents=True, exist_ok=True)
    to_output = Path(os.path.relpath(output_dir.resolve(), folder.resolve())).as_posix()
    tree = _Tree(folder, identifier, split=count > MOST_LINKS)
    table = ItemTable(folder / _TABLE)
    try:
        for row, item in items:
            document = _addressed({**item, "collection": identifier}, to_output)
            document["id"] = tree.unique_id(str(item["id"]), row)
            tree.write(document)
            table.add({**document, "links": [*document["links"], _link("collection", ".")]})
            builder.add(document)
        collection = builder.build([], {})
        assets = {"items": _TABLE_ASSET} if table.finish(collection) else {}
    finally:
        table.discard()
    obsolete = tree.obsolete()
    if obsolete:
        _replace(folder / _OBSOLETE, {"obsolete": obsolete})
    links = tree.write_catalogs()
    path = folder / _COLLECTION
    _replace(path, builder.build(links, assets))
    tree.tidy_catalogs()
    for href in obsolete:
        (folder / href).unlink(missing_ok=True)
    for emptied in sorted({(folder / href).parent for href in obsolete} - {folder}):
        with suppress(OSError):
            emptied.rmdir()
    (folder / _OBSOLETE).unlink(missing_ok=True)
    return path


_TABLE_ASSET: Final[Mapping[str, Any]] = {
    "href": f"./{_TABLE}",
    "type": "application/vnd.apache.parquet",
    "title": "All items as one table",
    "description": "stac-geoparquet; addresses are relative to the file.",
    "roles": ["collection-mirror"],
}


class _Tree:
    """Places items, and remembers where.

    Parameters
    ----------
    folder : Path
        Of the collection.
    collection : str
        Its id.
    split : bool
        Whether items go into catalogues.
    """

    def __init__(self, folder: Path, collection: str, *, split: bool):
        self._folder = folder
        self._collection = collection
        self._split = split
        # Some file systems do not tell upper from lower case, so names are told apart without.
        self._places: dict[str, str] = {"catalog": ""} if split else {}
        self._branches: dict[str, list[str]] = {}  # names of their items' files
        self._open: dict[str, str] = {}  # branch by key
        self._taken = {_COLLECTION, _TABLE, _OBSOLETE}
        self._datasets: set[str] = set()
        self._untidy: list[str] = []  # branches whose catalogue still links to what is to go

    def unique_id(self, wanted: str, row: int) -> str:
        """Return the id, or one with the row when another item has it, or its file name."""
        unique, count = wanted, 0
        while _stem(unique) in self._places:
            count += 1
            unique = f"{wanted}-{row}" if count == 1 else f"{wanted}-{row}-{count}"
        return unique

    def write(self, item: Mapping[str, Any]) -> None:
        """Write an item, whose addresses are relative to the collection's folder."""
        branch = self._branch(self._key(item)) if self._split else "items"
        name = f"{safe_name(str(item['id']), _LONGEST_NAME)}.json"
        names = self._branches.setdefault(branch, [])
        if not names:
            (self._folder / branch).mkdir(exist_ok=True)
        names.append(name)
        self._places[_stem(str(item["id"]))] = branch
        parent = "./catalog.json" if self._split else f"../{_COLLECTION}"
        document = _addressed(item, "..")
        document["links"] += [
            _link("root", ".."),
            {"rel": "parent", "href": parent, "type": _JSON},
            _link("collection", ".."),
        ]
        _replace(self._folder / branch / name, document)

    def _key(self, item: Mapping[str, Any]) -> str:
        dataset = item["properties"].get("ref_id")
        if isinstance(dataset, str | int) and str(dataset).strip():
            key = safe_name(str(dataset), 100)
            if key in self._datasets or len(self._datasets) < _MOST_DATASETS:
                self._datasets.add(key)
                return key
        return _cell(item.get("bbox"))

    def _branch(self, key: str) -> str:
        """Return the catalogue that takes an item with a key; after a full one comes another."""
        branch = self._open.get(key.casefold())
        if branch is None or len(self._branches[branch]) >= MOST_LINKS:
            branch, number = key, 1
            while branch.casefold() in self._taken:
                number += 1
                branch = f"{key}-{number}"
            self._taken.add(branch.casefold())
            self._open[key.casefold()] = branch
        return branch

    def write_catalogs(self) -> list[dict[str, Any]]:
        """Write the catalogues; return the links of the collection.

        What a catalogue had and is to lose stays in it for now: another one, which takes it, may
        not be written yet.
        """
        if not self._split:
            return [
                {"rel": "item", "href": f"./{branch}/{name}", "type": "application/geo+json"}
                for branch, names in self._branches.items()
                for name in names
            ]
        for branch, names in self._branches.items():
            leaving = self._leaving(branch)
            self._write_catalog(branch, [*names, *leaving])
            if leaving:
                self._untidy.append(branch)
        return [
            {"rel": "child", "href": f"./{branch}/catalog.json", "type": _JSON, "title": branch}
            for branch in sorted(self._branches)
        ]

    def tidy_catalogs(self) -> None:
        """Take out of the catalogues what they have lost."""
        for branch in self._untidy:
            self._write_catalog(branch, self._branches[branch])

    def _leaving(self, branch: str) -> list[str]:
        """Return names of items that the catalogue on disk has, and the one to come will not."""
        place = self._folder / branch
        hrefs = [
            f"{branch}/{href}" for rel, href in _links(place / "catalog.json") if rel == "item"
        ]
        names = [inside.partition("/")[2] for inside in _inside(hrefs)]
        staying = set(self._branches[branch])
        return [name for name in names if name not in staying and (place / name).is_file()]

    def _write_catalog(self, branch: str, names: Sequence[str]) -> None:
        items = (
            {"rel": "item", "href": f"./{name}", "type": "application/geo+json"} for name in names
        )
        catalog = {
            "type": "Catalog",
            "stac_version": STAC_VERSION,
            "id": branch,
            "title": branch,
            "description": f"{len(names):,} items of {self._collection}: {branch}.",
            "links": [_link("root", ".."), _link("parent", ".."), *items],
        }
        _replace(self._folder / branch / "catalog.json", catalog)

    def obsolete(self) -> list[str]:
        """Return the files that the collection on disk links to, and the one to come will not.

        Files that it does not know are somebody else's.
        """
        return sorted({href for href in self._linked() if not self._is_wanted(href)})

    def _is_wanted(self, href: str) -> bool:
        branch, _, name = href.partition("/")
        if name == "catalog.json" and self._split:
            return branch in self._branches
        return self._places.get(name.removesuffix(".json").casefold()) == branch

    def _linked(self) -> Iterator[str]:
        """Iterate over what lies as we write it: in `items`, or beside its catalogue."""
        noted = _read(self._folder / _OBSOLETE).get("obsolete")
        yield from _inside(noted if isinstance(noted, list) else ())
        for rel, href in _links(self._folder / _COLLECTION):
            for inside in _inside([href]):
                branch = inside.partition("/")[0]
                if rel == "item" and branch == "items":
                    yield inside
                elif rel == "child":
                    hrefs = (f"{branch}/{each}" for _, each in _links(self._folder / inside))
                    beside = list(_inside(hrefs))
                    yield from [*beside, inside] if beside else ()


def _inside(hrefs: Iterable[Any]) -> Iterator[str]:
    """Return the addresses of JSON documents that lie as ours do: one folder down."""
    for href in hrefs:
        path = posixpath.normpath(str(href))
        if path.count("/") == 1 and not path.startswith(("../", "/")) and path.endswith(".json"):
            yield path


def _links(path: Path) -> list[tuple[str, str]]:
    """Return kind and address of the items and children that a document links to."""
    links = _read(path).get("links")
    return [
        (link["rel"], str(link.get("href", "")))
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and link.get("rel") in ("item", "child")
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}  # there is none, or what is there is no document
    return document if isinstance(document, dict) else {}


def _stem(identifier: str) -> str:
    return safe_name(identifier, _LONGEST_NAME).casefold()


def _cell(box: Iterable[float] | None) -> str:
    """Return the name of the cell of 5 degrees, by its corner, that a box begins in."""
    sides = list(box or ())
    if not sides or not all(map(math.isfinite, sides)):
        return "elsewhere"
    west, south = (math.floor(side / _CELL) * _CELL for side in sides[:2])
    return f"{'N' if south >= 0 else 'S'}{abs(south):02}{'E' if west >= 0 else 'W'}{abs(west):03}"


def _link(rel: str, folder: str) -> dict[str, Any]:
    return {"rel": rel, "href": f"{folder}/{_COLLECTION}", "type": _JSON}


def _addressed(item: Mapping[str, Any], to: str) -> dict[str, Any]:
    """Return an item whose relative addresses go another way: `to` leads to where they began."""
    assets = {
        key: {**asset, "href": _relative(str(asset["href"]), to)}
        for key, asset in item["assets"].items()
    }
    links = [{**link, "href": _relative(str(link["href"]), to)} for link in item["links"]]
    return {**item, "links": links, "assets": assets}


def _relative(href: str, to: str) -> str:
    if _HAS_SCHEME(href) or os.path.isabs(href):  # noqa: PTH117 - ten times as fast, for millions
        return href
    return posixpath.normpath(f"{to}/{href}")


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document unless it is there: of a large run that is resumed, most are."""
    text = json.dumps(document, separators=(",", ":")).encode()
    with suppress(OSError):
        if path.read_bytes() == text:
            return
    with whole(path) as part:
        part.write_bytes(text)
