"""A source of STAC documents as files: a folder, a catalogue with links, an item collection."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import requests

from .errors import OpenEOError
from .stac_api import open_session
from .stac_source import Area, absolute_item, is_url, resolve_href, select_items

__all__ = ["StaticSource", "read_json"]

_TIMEOUT = (10, 60)  # seconds to connect, to the next byte


@dataclass
class _Document:
    """A document of the index: its items, its links, and what it looked like when read."""

    stamp: tuple[int, int] | None
    items: list[dict[str, Any]]
    links: list[str]
    description: dict[str, Any] | None  # the document itself, if it is a Collection


@dataclass
class StaticSource:
    """STAC items in files: a folder (searched to any depth), or one document and its links.

    The index is held in memory. Local files are looked at again when a search comes more than
    ``refresh_seconds`` after the last look, and read again where size or time has changed;
    documents on the web are read once.

    Attributes
    ----------
    place
        A folder, the path of a JSON document, or its address on the web. A document is an Item,
        an ItemCollection, or a Catalog or Collection whose ``item`` and ``child`` links are
        followed.
    """

    place: str
    refresh_seconds: float = 1.0
    _documents: dict[str, _Document] = field(default_factory=dict, init=False, repr=False)
    _looked: float | None = field(default=None, init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # The index stays behind: a worker process reads what it needs itself.
        return (type(self), (self.place, self.refresh_seconds))

    def search(self, areas: Sequence[Area], start: date, end: date) -> list[dict[str, Any]]:
        """Return the items that touch an area within ``[start, end)``; see :class:`Source`."""
        return select_items(self.items(), areas, start, end)

    def items(self) -> list[dict[str, Any]]:
        """Return all items, each once, with absolute hrefs."""
        self._refresh()
        unique: dict[tuple[str, str], dict[str, Any]] = {}
        for _, document in sorted(self._documents.items()):
            for item in document.items:
                unique.setdefault((str(item.get("collection")), str(item["id"])), item)
        return list(unique.values())

    def collection(self) -> dict[str, Any] | None:
        """Return the Collection document of the place, if there is exactly one."""
        self._refresh()
        found = [d.description for d in self._documents.values() if d.description is not None]
        return found[0] if len(found) == 1 else None

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._looked is not None and (
            is_url(self.place) or now - self._looked < self.refresh_seconds
        ):
            return
        seen: dict[str, _Document] = {}
        waiting = list(self._roots())
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            stamp = _stamp(place)
            known = self._documents.get(place)
            if known is None or known.stamp != stamp:
                known = _read(place, stamp)
            seen[place] = known
            waiting.extend(known.links)
        self._documents, self._looked = seen, now

    def _roots(self) -> Iterator[str]:
        if is_url(self.place):
            yield self.place
            return
        path = Path(self.place).expanduser()
        if path.is_file():
            yield str(path.resolve())
            return
        if not path.is_dir():
            raise OpenEOError(
                "SourceUnavailable",
                f"The STAC source {self.place!r} is no folder and no file; give the path of a "
                "folder of items, of a catalog.json or collection.json, or a STAC API's address.",
                status=500,
            )
        for folder, _, names in os.walk(path.resolve()):
            for name in names:
                if name.endswith((".json", ".geojson")):
                    yield str(Path(folder) / name)


def _stamp(place: str) -> tuple[int, int] | None:
    if is_url(place):
        return None
    try:
        status = Path(place).stat()
    except FileNotFoundError:
        return None  # reading it says which document links to nowhere
    return status.st_mtime_ns, status.st_size


def _read(place: str, stamp: tuple[int, int] | None) -> _Document:
    document = read_json(place)
    if not isinstance(document, dict):
        return _Document(stamp, [], [], None)
    kind = document.get("type")
    if kind == "Feature" and _is_item(document):
        return _Document(stamp, [absolute_item(document, place)], [], None)
    if kind == "FeatureCollection":
        items = [absolute_item(f, place) for f in document.get("features") or () if _is_item(f)]
        return _Document(stamp, items, [], None)
    if kind in ("Catalog", "Collection") or "stac_version" in document:
        links = [
            resolve_href(place, str(link["href"]))
            for link in document.get("links") or ()
            if link.get("rel") in ("item", "child", "items") and _is_document(link)
        ]
        return _Document(stamp, [], links, document if kind == "Collection" else None)
    return _Document(stamp, [], [], None)  # some other JSON file in the folder


def _is_item(document: Mapping[str, Any]) -> bool:
    return "stac_version" in document and "assets" in document and "id" in document


def _is_document(link: Mapping[str, Any]) -> bool:
    return str(link.get("type") or "application/json").split(";")[0] in (
        "application/json",
        "application/geo+json",
    )


def read_json(place: str) -> Any:
    """Return a JSON document from a path or an address.

    Raises
    ------
    OpenEOError
        SourceUnavailable if it cannot be read, SourceInvalid if it is no JSON.
    """
    try:
        if is_url(place):
            with open_session() as session:
                answer = session.get(place, timeout=_TIMEOUT)
                answer.raise_for_status()
                return answer.json()
        return json.loads(Path(place).read_bytes())
    except ValueError as error:  # requests' JSON error is one, too
        raise OpenEOError(
            "SourceInvalid",
            f"{place} is no valid JSON ({error}); mend it or take it out of the STAC source.",
            status=500,
        ) from error
    except (OSError, requests.RequestException) as error:
        raise OpenEOError(
            "SourceUnavailable",
            f"The STAC document {place} cannot be read: {error}. Check the path or address.",
            status=500,
        ) from error
