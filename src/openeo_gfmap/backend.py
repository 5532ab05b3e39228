"""The back-ends this package knows, and authenticated connections to them.

Addresses and credentials come from the environment, so that the same code runs against production,
a staging copy or the embedded back-end. ``<SUFFIX>`` is CDSE, CDSE_STAGING, VITO, EODC or FED:

========================================== =================================================
``OPENEO_GFMAP_URL_<SUFFIX>``              another address; ``local`` means the embedded
                                           back-end; ``https://user:password@host`` means
                                           basic authentication
``OPENEO_AUTH_METHOD=client_credentials``  log in without a person, with
``OPENEO_AUTH_CLIENT_ID_<SUFFIX>``,        these three (the provider is optional)
``OPENEO_AUTH_CLIENT_SECRET_<SUFFIX>``,
``OPENEO_AUTH_PROVIDER_ID_<SUFFIX>``
``OPENEO_OIDC_DEVICE_CODE_MAX_POLL_TIME``  seconds to wait for a person to log in, default 30
========================================== =================================================
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from urllib.parse import SplitResult, unquote, urlsplit

import openeo
import requests
from openeo import BaseOpenEoException
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from openeo_gfmap.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    InputError,
    UnsupportedBackend,
)

__all__ = [
    "BACKEND_CONNECTIONS",
    "Backend",
    "BackendContext",
    "cdse_connection",
    "cdse_staging_connection",
    "eodc_connection",
    "fed_connection",
    "local_connection",
    "vito_connection",
]

_log = logging.getLogger(__name__)

_DEFAULT_POLL_TIME = 30  # seconds; longer looks like a hang to whoever does not see the link

# Where nothing answers, one more try at once is enough: the client's own half minute of waiting
# hides a wrong address, and the job manager paces its retries itself. Errors of a back-end that
# does answer are retried as the client does by default.
_CONNECT_RETRIES = 1


class Backend(Enum):
    """A back-end by the name that job rows use."""

    TERRASCOPE = "terrascope"
    EODC = "eodc"
    CDSE = "cdse"
    CDSE_STAGING = "cdse-staging"
    LOCAL = "local"
    FED = "fed"


@dataclass(frozen=True)
class BackendContext:
    """The back-end a process graph is built for.

    Parameters
    ----------
    backend : Backend
        A member of `Backend`, or its value such as "cdse".

    Raises
    ------
    UnsupportedBackend
        When it is neither.
    """

    backend: Backend

    def __post_init__(self) -> None:
        try:
            backend = Backend(self.backend)
        except ValueError:
            known = ", ".join(f"Backend.{name}" for name in Backend.__members__)
            raise UnsupportedBackend(
                f"{self.backend!r} is not a back-end; use one of {known}."
            ) from None
        object.__setattr__(self, "backend", backend)


#: Where the back-ends are, by the suffix of their variables.
ADDRESSES: Mapping[str, str] = MappingProxyType(
    {
        "CDSE": "https://openeo.dataspace.copernicus.eu",
        "CDSE_STAGING": "https://openeo-staging.dataspace.copernicus.eu",
        "VITO": "https://openeo.vito.be",
        "EODC": "https://openeo.eodc.eu/openeo/1.1.0",
        "FED": "https://openeofed.dataspace.copernicus.eu",
    }
)


def cdse_connection() -> openeo.Connection:
    """Connect to the Copernicus Data Space Ecosystem."""
    return _connect("CDSE")


def cdse_staging_connection() -> openeo.Connection:
    """Connect to the staging copy of the Copernicus Data Space Ecosystem."""
    return _connect("CDSE_STAGING")


def vito_connection() -> openeo.Connection:
    """Connect to Terrascope, run by VITO."""
    return _connect("VITO")


def eodc_connection() -> openeo.Connection:
    """Connect to EODC."""
    return _connect("EODC")


def fed_connection() -> openeo.Connection:
    """Connect to the Copernicus Data Space federation."""
    return _connect("FED")


def local_connection() -> openeo.Connection:
    """Connect to the embedded back-end; start it when none serves this user yet.

    Raises
    ------
    BackendUnavailable
        When it does not come up; the message holds the end of its log.
    """
    # Only here, so that using a remote back-end never loads the code that starts processes.
    from openeo_gfmap.launcher import ensure_local_server  # noqa: PLC0415

    server = ensure_local_server()
    connection = _open(server.url, _direct_session())
    _log_in(server.url, lambda: connection.authenticate_basic(server.user, server.password))
    return connection


#: Connection function of each back-end.
BACKEND_CONNECTIONS: Mapping[Backend, Callable[[], openeo.Connection]] = MappingProxyType(
    {
        Backend.TERRASCOPE: vito_connection,
        Backend.EODC: eodc_connection,
        Backend.CDSE: cdse_connection,
        Backend.CDSE_STAGING: cdse_staging_connection,
        Backend.LOCAL: local_connection,
        Backend.FED: fed_connection,
    }
)


def _connect(suffix: str) -> openeo.Connection:
    """Open and authenticate a connection as the environment says."""
    address = os.environ.get(f"OPENEO_GFMAP_URL_{suffix}") or ADDRESSES[suffix]
    if address == "local":
        return local_connection()
    parts = urlsplit(address)
    url = _without_credentials(parts)
    connection = _open(url)
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        _log_in(url, lambda: connection.authenticate_basic(user, password))
    elif (
        os.environ.get("OPENEO_AUTH_METHOD") == "client_credentials"
        and f"OPENEO_AUTH_CLIENT_ID_{suffix}" in os.environ
    ):
        _client_credentials(connection, url, suffix)
    else:
        poll_time = _poll_time()
        _log_in(url, lambda: connection.authenticate_oidc(max_poll_time=poll_time))
    return connection


def _without_credentials(parts: SplitResult) -> str:
    """Return the address as it may be shown and logged."""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl()


def _direct_session() -> requests.Session:
    """Return a session that ignores proxies: they have no business on the way to this machine."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(max_retries=Retry(connect=_CONNECT_RETRIES)))
    return session


def _open(url: str, session: requests.Session | None = None) -> openeo.Connection:
    try:
        return openeo.connect(url, session=session, retry={"connect": _CONNECT_RETRIES})
    except (requests.RequestException, BaseOpenEoException) as error:
        raise BackendUnavailable(
            f"{url} does not answer as an openEO back-end ({error}); check the address and the "
            "network, or try again later."
        ) from error


def _client_credentials(connection: openeo.Connection, url: str, suffix: str) -> None:
    secret = os.environ.get(f"OPENEO_AUTH_CLIENT_SECRET_{suffix}")
    if not secret:
        raise AuthenticationFailed(
            f"OPENEO_AUTH_CLIENT_ID_{suffix} is set but OPENEO_AUTH_CLIENT_SECRET_{suffix} is not; "
            "set both."
        )
    client_id = os.environ[f"OPENEO_AUTH_CLIENT_ID_{suffix}"]
    provider_id = os.environ.get(f"OPENEO_AUTH_PROVIDER_ID_{suffix}") or None
    _log.info("Logging in at %s with the client credentials for %s.", url, suffix)
    _log_in(
        url,
        lambda: connection.authenticate_oidc_client_credentials(
            client_id=client_id, client_secret=secret, provider_id=provider_id
        ),
    )


def _poll_time() -> float:
    text = os.environ.get("OPENEO_OIDC_DEVICE_CODE_MAX_POLL_TIME") or str(_DEFAULT_POLL_TIME)
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"OPENEO_OIDC_DEVICE_CODE_MAX_POLL_TIME={text!r} is not a number of seconds; "
            "set it to one such as 30."
        ) from None


def _log_in(url: str, authenticate: Callable[[], object]) -> None:
    try:
        authenticate()
    except requests.RequestException as error:
        raise BackendUnavailable(
            f"{url} broke off while logging in ({error}); try again later."
        ) from error
    except BaseOpenEoException as error:
        raise AuthenticationFailed(
            f"{url} refused the log-in ({error}); check the credentials in the environment, or log "
            "in as a person with OPENEO_AUTH_METHOD unset."
        ) from error
