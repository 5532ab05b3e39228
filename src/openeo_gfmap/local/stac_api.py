"""A STAC API as a source: searches with paging, timeouts, and retries that back off."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from .errors import OpenEOError
from .stac_bands import self_href
from .stac_source import Area, absolute_item, as_utc, resolve_href, select_items, split_antimeridian

__all__ = ["ApiSource", "open_session"]

_TIMEOUT = (10, 60)  # seconds to connect, to the next byte
_PAGE = 200
_MAX_PAGES = 10_000
_CELL = 2.0  # degrees: areas in one such cell are asked for in one request


def open_session(*, retries: int = 5, backoff_seconds: float = 0.5) -> requests.Session:
    """Return a session that tries again, later each time, after 429, 5xx and broken connections.

    ``Retry-After`` is obeyed.
    """
    session = requests.Session()
    retry = Retry(
        total=retries,
        backoff_factor=backoff_seconds,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("GET", "POST"),  # a search changes nothing
        raise_on_status=False,
    )
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session


@dataclass
class ApiSource:
    """The item search of a STAC API.

    Attributes
    ----------
    url
        Landing page of the API.
    collection
        Id of the collection to search; None searches all.
    retries, backoff_seconds
        Attempts after a first failure, and the wait before the second of them, doubled each time.
    """

    url: str
    collection: str | None = None
    retries: int = 5
    backoff_seconds: float = 0.5
    _session: requests.Session | None = field(default=None, init=False, repr=False, compare=False)
    _use_get: bool = field(default=False, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        # Connections do not travel to other processes.
        return {**self.__dict__, "_session": None}

    def search(self, areas: Sequence[Area], start: date, end: date) -> list[dict[str, Any]]:
        """Return the items that touch an area within ``[start, end)``; see :class:`Source`."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        interval = "/".join(as_utc(t).isoformat().replace("+00:00", "Z") for t in (start, end))
        for box in _boxes(areas):
            query: dict[str, Any] = {"bbox": list(box), "datetime": interval, "limit": _PAGE}
            if self.collection is not None:
                query["collections"] = [self.collection]
            for item in self._pages(query):
                found.setdefault((str(item.get("collection")), str(item["id"])), item)
        # The API's interval includes its end, and its boxes are unions of areas: filter again.
        return select_items(found.values(), areas, start, end)

    def first_items(self, limit: int = 10) -> list[dict[str, Any]]:
        """Return a few items of the collection, to learn its bands from."""
        query: dict[str, Any] = {"limit": limit}
        if self.collection is not None:
            query["collections"] = [self.collection]
        return [item for item, _ in zip(self._pages(query), range(limit), strict=False)]

    def _pages(self, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        request: _Request | None = self._first(query)
        asked: set[str] = set()
        for _ in range(_MAX_PAGES):
            if request is None:
                return
            if repr(request) in asked:
                raise OpenEOError(
                    "SourceInvalid",
                    f"The STAC API at {self.url} links a page of its search answer to itself.",
                    status=502,
                )
            asked.add(repr(request))
            page = self._send(request)
            for item in page.get("features") or ():
                yield absolute_item(item, self_href(item) or request.address)
            request = _next(page, request)
        raise OpenEOError(
            "SourceInvalid",
            f"The STAC API at {self.url} answered with more than {_MAX_PAGES} pages; "
            "ask for a smaller area or a shorter time.",
            status=502,
        )

    def _first(self, query: dict[str, Any]) -> _Request:
        address = self.url.rstrip("/") + "/search"
        if self._use_get:
            return _Request("GET", address, params=_as_parameters(query))
        return _Request("POST", address, body=query)

    def _send(self, request: _Request) -> dict[str, Any]:
        if self._session is None:
            self._session = open_session(retries=self.retries, backoff_seconds=self.backoff_seconds)
        try:
            answer = self._session.request(
                request.method,
                request.address,
                params=request.params,
                json=request.body,
                headers=request.headers,
                timeout=_TIMEOUT,
            )
            if request.method == "POST" and answer.status_code in (404, 405, 501):
                # POST is optional for a STAC API.
                self._use_get = True
                return self._send(
                    _Request("GET", request.address, params=_as_parameters(request.body or {}))
                )
            if not answer.ok:
                raise requests.HTTPError(f"HTTP {answer.status_code}: {answer.text[:300]}")
            page = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise OpenEOError(
                "SourceUnavailable",
                f"The STAC API at {self.url} did not answer a search as expected: {error}. "
                "Check the address, or try again later.",
                status=502,
            ) from error
        if not isinstance(page, dict):
            raise OpenEOError(
                "SourceInvalid",
                f"The STAC API at {self.url} answered a search with {type(page).__name__}, "
                "not with an item collection.",
                status=502,
            )
        return page


@dataclass(frozen=True)
class _Request:
    method: str
    address: str
    body: dict[str, Any] | None = None
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _as_parameters(query: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in query.items()
    }


def _next(page: Mapping[str, Any], asked: _Request) -> _Request | None:
    """Return the request for the following page, None after the last."""
    for link in page.get("links") or ():
        if link.get("rel") != "next":
            continue
        address = resolve_href(asked.address, str(link["href"]))
        headers = link.get("headers") or {}
        if str(link.get("method") or "GET").upper() == "POST":
            body = link.get("body") or {}
            if link.get("merge"):
                body = {**(asked.body or {}), **body}
            return _Request("POST", address, body=body, headers=headers)
        return _Request("GET", address, headers=headers)
    return None


def _boxes(areas: Sequence[Area]) -> list[Area]:
    """Unite the areas of one grid cell, so that many small areas make few requests."""
    united: dict[tuple[int, int], Area] = {}
    for area in areas:
        for west, south, east, north in split_antimeridian(area):
            cell = (math.floor(west / _CELL), math.floor(south / _CELL))
            w, s, e, n = united.get(cell, (west, south, east, north))
            united[cell] = (min(w, west), min(s, south), max(e, east), max(n, north))
    return [united[cell] for cell in sorted(united)]
