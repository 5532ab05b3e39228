"""The collection of before that a run continues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pystac

from openeo_gfmap.stac.items import modern_item
from openeo_gfmap.stac.reading import (
    OF_THE_TREE,
    collection_file,
    local_path,
    read_document,
    read_items,
)

__all__ = ["Existing"]


class Existing:
    """A collection whose items are carried on, but for those that a run has itself.

    Parameters
    ----------
    stac : path, address or pystac.Collection
        The collection.
    output_dir : Path
        Output folder of the run, from which addresses in the store go.

    Attributes
    ----------
    identifier, description
        Of the collection.
    """

    def __init__(self, stac: str | Path | pystac.Collection, output_dir: Path):
        self._root = output_dir.resolve()
        if isinstance(stac, str) and "://" in stac:
            stac = pystac.Collection.from_file(stac)
        self._source = stac if isinstance(stac, pystac.Collection) else collection_file(stac)
        if isinstance(self._source, pystac.Collection):
            self.identifier, self.description = self._source.id, self._source.description
        else:
            document = read_document(self._source)
            self.identifier = str(document.get("id", ""))
            self.description = str(document.get("description", ""))

    def beside(self, ours: Iterable[Mapping[str, Any]]) -> Others:
        """Return its items that are not ours: of neither the same id nor the same file."""
        marks = set()
        for item in ours:
            marks.add(item["id"])
            marks.update(asset["href"] for asset in item["assets"].values())
        return Others(self, frozenset(marks))

    def items(self) -> Iterator[dict[str, Any]]:
        """Iterate over all of its items, as the store would keep them."""
        for document, place in self._documents():
            for asset in document["assets"].values():
                asset["href"] = self._stored(place, str(asset["href"]))
            document["links"] = [
                {**link, "href": self._stored(place, str(link["href"]))}
                for link in document.get("links") or ()
                if link.get("rel") not in OF_THE_TREE
            ]
            yield modern_item(document)

    def _documents(self) -> Iterator[tuple[dict[str, Any], Path | None]]:
        """Iterate over items and where their files are; None for one without."""
        if isinstance(self._source, Path):
            for place, document in read_items(self._source):
                yield document, place
        else:
            for item in self._source.get_items(recursive=True):
                own = item.get_self_href()
                document = item.to_dict(include_self_link=False, transform_hrefs=False)
                yield document, local_path(Path(), own) if own else None

    def _stored(self, place: Path | None, href: str) -> str:
        path = Path(href) if place is None else local_path(place, href)
        if path is None:
            return href  # on the web
        path = path.resolve()
        inside = path.is_relative_to(self._root)
        return (path.relative_to(self._root) if inside else path).as_posix()


class Others:
    """Items of an existing collection without those that bear a mark; read anew each time."""

    def __init__(self, existing: Existing, marks: frozenset[str]):
        self._existing = existing
        self._marks = marks

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for item in self._existing.items():
            hrefs = (asset["href"] for asset in item["assets"].values())
            if item["id"] not in self._marks and self._marks.isdisjoint(hrefs):
                yield item
