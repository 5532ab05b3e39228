"""Requests of the manager's own: with time limits, without naps, on a token that holds.

The openEO client waits up to 20 minutes for an answer, retries by itself while its thread sleeps,
and renews an expired token once in each thread that finds it expired. All that is right for a
person with one request, and wrong for threads that see a thousand jobs through. So `attend` mounts
an adapter on the connection's session, which is how requests is meant to be extended. It acts in
`managed` blocks only: what the user does with the connection elsewhere is as always.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from openeo.rest import OpenEoApiPlainError
from openeo.rest.connection import Connection
from requests.adapters import BaseAdapter, HTTPAdapter

from openeo_gfmap.manager.answers import one_line
from openeo_gfmap.manager.callbacks import RAISED
from openeo_gfmap.manager.options import ManagerOptions

__all__ = [
    "AccessRefused",
    "Heard",
    "asked_to_wait",
    "attend",
    "gist",
    "managed",
    "retry_after",
    "server_time",
]

_LONGEST_WAIT: Final = 3600.0  # s; a Retry-After of more is a mistake, or a matter of people
_RENEWAL_REST: Final = 30.0  # s after a renewal that failed, before the next; at most
_CONNECTIONS: Final = 64  # kept open to one host; more than there are threads
#: What openEO, and the back-ends in use, call a token that no longer holds.
_TOKEN_CODES: Final = frozenset({"TokenInvalid", "TokenExpired", "AuthenticationRequired"})


class AccessRefused(requests.RequestException):
    """The token has expired and there is no other; who may log in has to."""


@dataclass
class Heard:
    """What answers said beside their content.

    Attributes
    ----------
    retry_after
        Seconds that the last answer asked to wait; None when it did not.
    """

    retry_after: float | None = None


_here = threading.local()


@contextmanager
def managed() -> Iterator[Heard]:
    """Make the requests of this thread in the block the manager's own."""
    before: Heard | None = getattr(_here, "heard", None)
    _here.heard = heard = Heard()
    try:
        yield heard
    finally:
        _here.heard = before


def asked_to_wait() -> float:
    """Return the seconds that the last answer in this `managed` block asked to wait, else 0."""
    heard: Heard | None = getattr(_here, "heard", None)
    return (heard.retry_after or 0.0) if heard else 0.0


def attend(
    connection: Connection,
    options: ManagerOptions,
    renew: Callable[[], Connection] | None = None,
) -> None:
    """Let the connection keep to `managed`; calling it again changes nothing.

    Parameters
    ----------
    connection : openeo.Connection
        Its session gets adapters.
    options : ManagerOptions
        Says how long to wait for answers.
    renew : callable, optional
        Gives a new connection, whose token is taken over, when the client cannot renew the old one.
    """
    token = _Token(connection, renew, min(_RENEWAL_REST, options.longest_wait))
    session = connection.session
    for prefix in ("https://", "http://"):
        inner = session.get_adapter(prefix)
        if not isinstance(inner, _ManagedAdapter):
            session.mount(prefix, _ManagedAdapter(inner, token, options))
    if not isinstance(session.merge_environment_settings, _Environment):
        settings = _Environment(session.merge_environment_settings)
        session.merge_environment_settings = settings  # type: ignore[method-assign, assignment]


class _Token:
    """The connection's access token, renewed by one thread for all."""

    def __init__(self, connection: Connection, renew: Callable[[], Connection] | None, rest: float):
        self._connection = connection
        self._renew = renew
        self._rest = rest
        self._lock = threading.Lock()
        self._rests_until = 0.0
        self.failure = ""  # what the last renewal came to, for the message

    def renewed(self, request: requests.PreparedRequest) -> bool:
        """Give a request a token that is newer than the one it was refused with, if there is."""
        refused = request.headers.get("Authorization")
        with self._lock:
            if self._put(request) == refused and time.monotonic() >= self._rests_until:
                self._obtain()
                if self._put(request) == refused:
                    self._rests_until = time.monotonic() + self._rest
            return self._put(request) != refused

    def _put(self, request: requests.PreparedRequest) -> str | None:
        if self._connection.auth is not None:
            self._connection.auth(request)
        return request.headers.get("Authorization")

    def _obtain(self) -> None:
        if self._connection.try_access_token_refresh(reason="it was refused") or not self._renew:
            return
        try:
            self._connection.auth = self._renew().auth
        except RAISED as error:
            self.failure = f" Logging in anew failed: {one_line(error)}."


class _Environment:
    """What requests takes from the environment, proxies above all, read once for each host.

    It goes through all variables with each request, which takes a good part of its time.
    """

    def __init__(self, read: Callable[..., Any]):
        self._read = read
        self._known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def __call__(
        self, url: str, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> dict[str, Any]:
        if proxies or getattr(_here, "heard", None) is None:
            return dict(self._read(url, proxies, stream, verify, cert))
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc, stream, verify, cert)
        if key not in self._known:
            self._known[key] = self._read(url, {}, stream, verify, cert)
        found = self._known[key]
        return {**found, "proxies": dict(found["proxies"])}


class _ManagedAdapter(BaseAdapter):
    """Sends requests as the adapter it wraps does, and the manager's own ones as told above."""

    def __init__(self, inner: BaseAdapter, token: _Token, options: ManagerOptions):
        super().__init__()
        self._inner = inner
        self._token = token
        self._options = options
        # Other adapters are somebody's own, with reasons that are not ours to undo.
        self._plain = (
            HTTPAdapter(pool_maxsize=_CONNECTIONS) if type(inner) is HTTPAdapter else inner
        )

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        heard: Heard | None = getattr(_here, "heard", None)
        if heard is None:
            return self._inner.send(request, *args, **kwargs)
        kwargs["timeout"] = self._timeout(request)
        response = self._plain.send(request, *args, **kwargs)
        if _token_refused(response) and self._token.renewed(request):
            response.close()
            response = self._plain.send(request, *args, **kwargs)
        if _token_refused(response):
            raise AccessRefused(
                f"{request.url} refuses the access token, and there is none that it takes: "
                f"{gist(response)}.{self._token.failure} Log in anew.",
                request=request,
                response=response,
            )
        heard.retry_after = retry_after(response.headers)
        if response.status_code >= 500 and _error_of(response) is None:
            # The client would log all of the page, each time, as a warning.
            raise OpenEoApiPlainError(message=gist(response), http_status_code=response.status_code)
        return response

    def _timeout(self, request: requests.PreparedRequest) -> tuple[float, float]:
        works = request.method not in ("GET", "HEAD")
        seconds = self._options.work_seconds if works else self._options.answer_seconds
        return self._options.connect_seconds, seconds

    def close(self) -> None:
        self._inner.close()
        self._plain.close()


def _token_refused(response: requests.Response) -> bool:
    """Tell whether a back-end refuses the token; 403 can mean other things."""
    sent = response.request.headers.get("Authorization", "")
    if response.status_code not in (401, 403) or not str(sent).startswith("Bearer "):
        return False
    if response.status_code == 401:
        return True
    error = _error_of(response)
    return error is not None and error["code"] in _TOKEN_CODES


def _error_of(response: requests.Response) -> Mapping[str, Any] | None:
    """Return the error as openEO writes them; None when the answer is none."""
    try:
        error = response.json()
    except ValueError:
        return None
    return error if isinstance(error, dict) and isinstance(error.get("code"), str) else None


def gist(response: requests.Response) -> str:
    """Return what an error answer says, in few words: a page only has its title."""
    error = _error_of(response)
    if error is not None:
        return f"{error['code']}: {error.get('message')}"
    title = re.search(r"<title>(.*?)</title>", response.text, re.IGNORECASE | re.DOTALL)
    words = title[1] if title else re.sub(r"<[^>]*>", " ", response.text)
    return " ".join(words.split())[:200] or str(response.reason)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how long an answer asks to wait; None when it does not, or makes no sense.

    Parameters
    ----------
    headers : mapping of str to str
        ``Retry-After`` is in seconds or an HTTP date. A date is read by the clock of the server
        (``Date``): ours may differ, or have been set meanwhile.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return min(float(value), _LONGEST_WAIT)
    moment = _moment(value)
    if moment is None:
        return None
    now = server_time(headers) or datetime.now(UTC)
    return min(max((moment - now).total_seconds(), 0.0), _LONGEST_WAIT)


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """Return what the clock of a server said as it answered; None when it did not say."""
    return _moment(headers.get("Date", ""))


def _moment(text: str) -> datetime | None:
    """Return what an HTTP date means."""
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
