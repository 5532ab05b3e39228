"""Byte ranges over HTTP: pooled connections, attempts repeated, every answer checked."""

from __future__ import annotations

import os
import random
import re
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_auth_from_url,
    get_environ_proxies,
    get_netrc_auth,
    select_proxy,
)
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
from urllib3.util import Retry, Timeout, make_headers

__all__ = ["RangeClient", "is_ours"]

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
_LONGEST_WAIT = 60.0
_MOST_VERSIONS = 50_000
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")
_HERE = {"localhost", "127.0.0.1", "::1"}

# Options of GDAL that tune what we do ourselves; any other one is a wish only GDAL can fulfil.
_TUNING = {
    "GDAL_HTTP_MAX_RETRY", "GDAL_HTTP_RETRY_DELAY", "GDAL_HTTP_CONNECTTIMEOUT",
    "GDAL_HTTP_TIMEOUT", "GDAL_HTTP_MULTIPLEX", "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES",
    "GDAL_HTTP_VERSION", "GDAL_HTTP_TCP_KEEPALIVE", "GDAL_HTTP_LOW_SPEED_TIME",
    "GDAL_HTTP_LOW_SPEED_LIMIT", "CPL_VSIL_CURL_CHUNK_SIZE", "CPL_VSIL_CURL_CACHE_SIZE",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS", "CPL_VSIL_CURL_USE_HEAD",
}  # fmt: skip


def is_ours(url: str) -> bool:
    """Whether our client does for an address all that GDAL was told to do.

    Headers, credentials, certificates and proxies given in GDAL's own options are GDAL's affair,
    and so are proxies of other kinds than HTTP.
    """
    wishes = ("GDAL_HTTP_", "CPL_VSIL_CURL_", "VSICURL_", "CPL_CURL_")
    if any(name.startswith(wishes) and name not in _TUNING for name in os.environ):
        return False
    return (_proxy_of(url) or "http").startswith("http")


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address; none for this machine."""
    if urlsplit(url).hostname in _HERE:
        return None
    proxy = select_proxy(url, get_environ_proxies(url))
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


class _Passing(OSError):
    """Something that may go well when tried again."""

    def __init__(self, text: str, wait: float = 0):
        super().__init__(text)
        self.wait = wait


@dataclass(frozen=True)
class _Route:
    """How to get to a host."""

    manager: Any
    headers: dict[str, str]


class RangeClient:
    """Reads byte ranges of files on web servers; for many threads.

    Redirects are followed (credentials stay with the host they are for). User and password come
    from the address or ``.netrc``, proxies and certificates from the environment.

    Parameters
    ----------
    connections
        Most connections to one host.
    attempts
        How often to ask for a range in all.
    pause
        Seconds before the second attempt, doubled each time; ``Retry-After`` is obeyed.
    """

    def __init__(self, *, connections: int = 32, attempts: int = 6, pause: float = 0.25):
        self._connections = connections
        self._attempts = attempts
        self._pause = pause
        self._managers: dict[str | None, Any] = {}
        self._routes: dict[tuple[str, str], _Route] = {}
        self._versions: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def get(self, url: str, offset: int, length: int) -> bytes:
        """Return the bytes of a range, fewer where the file ends.

        Raises
        ------
        OSError
            All attempts failed, the server refuses, does not know ranges, or the file is not the
            one of the first range any more.
        """
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(url, offset, length)
            except _Passing as error:
                if attempt == self._attempts:
                    raise OSError(f"{error} (tried {attempt} times)") from error
                wait = self._pause * 2 ** (attempt - 1) * random.uniform(0.5, 1)  # noqa: S311
                time.sleep(min(max(wait, error.wait), _LONGEST_WAIT))
        raise ValueError("attempts must be at least 1")

    def close(self) -> None:
        """Close idle connections, and forget what is known of files."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()
            self._versions.clear()

    def _once(self, url: str, offset: int, length: int) -> bytes:
        route = self._route(url)
        headers = {**route.headers, "Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            response = route.manager.request(
                "GET", url, headers=headers, preload_content=False, decode_content=False
            )
        except MaxRetryError as error:
            if isinstance(error.reason, SSLError):
                raise OSError(str(error.reason)) from error
            raise _Passing(str(error.reason or error)) from error
        except (HTTPError, OSError) as error:
            raise _Passing(str(error)) from error
        try:
            expected = self._expected(url, response, offset, length)
            data: bytes = response.read() if expected else b""
        except (HTTPError, OSError) as error:
            response.close()  # the rest of the answer is of no use, nor is its connection
            if isinstance(error, HTTPError):  # broken off in the middle
                raise _Passing(str(error)) from error
            raise
        finally:
            response.release_conn()
        if len(data) != expected:
            raise _Passing(f"the server sent {len(data)} of {expected} bytes")
        return data

    def _expected(self, url: str, response: Any, offset: int, length: int) -> int:
        """Check status and headers of an answer; return how many bytes must follow."""
        status = response.status
        if status in _AGAIN:
            after = response.headers.get("Retry-After", "")
            raise _Passing(
                f"the server answered {status}", float(after) if after.isdecimal() else 0
            )
        if status == 416:  # begins beyond the end of the file
            return self._nothing(response)
        if status == 200:
            # Ranges are not known here. A file that is not larger than the range is welcome.
            size = response.headers.get("Content-Length", "")
            if offset == 0 and size.isdecimal() and int(size) <= length:
                return int(size)
            raise OSError("the server does not answer requests for byte ranges")
        if status != 206:
            raise OSError(f"the server answered {status}")
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != offset:
            raise OSError("the server sent another range than was asked for")
        self._check_version(url, match[3], response.headers.get("ETag", ""))
        last = int(match[2])
        whole = last == offset + length - 1 or (match[3] != "*" and last == int(match[3]) - 1)
        if not whole or last > offset + length - 1:
            raise _Passing(f"the server sent bytes {offset} to {last} of {length}")
        return last - offset + 1

    @staticmethod
    def _nothing(response: Any) -> int:
        response.drain_conn()
        return 0

    def _check_version(self, url: str, size: str, tag: str) -> None:
        version = (size, "" if tag.startswith("W/") else tag)
        if len(self._versions) >= _MOST_VERSIONS:
            self._versions.clear()
        if self._versions.setdefault(url, version) != version:
            raise OSError("the file was replaced while it was being read; run again")

    def _route(self, url: str) -> _Route:
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        route = self._routes.get(key)
        if route is None:
            with self._lock:
                proxy = _proxy_of(url)
                if proxy not in self._managers:
                    self._managers[proxy] = self._manager(proxy)
                route = self._routes[key] = _Route(self._managers[proxy], _headers(url))
        return route

    def _manager(self, proxy: str | None) -> Any:
        options: dict[str, Any] = {
            "num_pools": 50,
            "maxsize": self._connections,
            "block": True,
            "timeout": Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            "retries": Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
            "ssl_context": _ssl_context(),
        }
        if proxy is None:
            return urllib3.PoolManager(**options)
        user, password = get_auth_from_url(proxy)
        secret = make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
        return urllib3.ProxyManager(proxy, proxy_headers=secret, **options)


def _headers(url: str) -> dict[str, str]:
    """Return what is sent along to a host: user and password of the address or ``.netrc``."""
    headers = {"User-Agent": "openeo-gfmap", "Accept-Encoding": "identity"}
    user, password = get_auth_from_url(url)
    if not user:
        user, password = get_netrc_auth(url) or ("", "")
    return headers | (make_headers(basic_auth=f"{user}:{password}") if user else {})


def _ssl_context() -> ssl.SSLContext:
    names = ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    given = next(
        (os.environ[name] for name in names if os.environ.get(name)), DEFAULT_CA_BUNDLE_PATH
    )
    return ssl.create_default_context(cafile=given)
