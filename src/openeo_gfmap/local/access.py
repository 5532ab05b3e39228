"""Who may talk to the server: the password, the bearer token, signed links, and the host check."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import unquote, urlencode, urlsplit

from .errors import OpenEOError

__all__ = ["LINK_SECONDS", "USER", "Access", "Invitations", "is_local_host"]

#: The one user of the server.
USER = "gfmap"

# How long the link that signs a browser in can wait for its one use.
_INVITATION_SECONDS = 600.0

#: How long a signed link works.
LINK_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Access:
    """Checks of credentials; all secrets are derived from the one password.

    Attributes
    ----------
    password
        Random, from the state folder, readable by this user only.
    """

    password: str

    @property
    def token(self) -> str:
        """Access token for ``Authorization: Bearer basic//<token>``."""
        return self._derive("bearer")

    def check_basic(self, header: str | None) -> None:
        """Check the header of ``GET /credentials/basic``.

        Raises
        ------
        OpenEOError
            ``AuthenticationRequired`` (401), ``AuthenticationSchemeInvalid`` or
            ``CredentialsInvalid`` (403).
        """
        scheme, _, encoded = (header or "").partition(" ")
        if not scheme:
            raise _required()
        if scheme.lower() != "basic":
            raise _scheme(scheme, "Basic")
        if not self._is_basic(encoded):
            raise OpenEOError(
                "CredentialsInvalid",
                f"User or password is wrong. The user is {USER!r}; the password stands in "
                "server.json in the server's state folder.",
                status=403,
            )

    def check(self, header: str | None, *, basic: bool = False) -> None:
        """Check the header of a request to anything private; ``basic`` also takes the password.

        Raises
        ------
        OpenEOError
            ``AuthenticationRequired`` (401), ``AuthenticationSchemeInvalid`` or
            ``TokenInvalid`` (403).
        """
        scheme, _, given = (header or "").partition(" ")
        if not scheme:
            raise _required()
        if basic and scheme.lower() == "basic":
            self.check_basic(header)
            return
        if scheme.lower() != "bearer":
            raise _scheme(scheme, "Bearer")
        if not _same(given.strip(), f"basic//{self.token}"):
            raise OpenEOError(
                "TokenInvalid",
                "The bearer token is not valid here. Authenticate again with GET "
                "/credentials/basic and send 'Bearer basic//<access_token>'.",
                status=403,
            )

    def sign(self, url: str, seconds: float = LINK_SECONDS) -> str:
        """Return a URL of this server that works for a while without credentials."""
        expires = str(int(time.time() + seconds))
        signature = self._seal(unquote(urlsplit(url).path), expires)
        query = urlencode({"expires": expires, "signature": signature})
        return f"{url}?{query}"

    def check_link(self, path: str, expires: str, signature: str) -> None:
        """Check the query of a signed link to ``path`` (percent-decoded).

        Raises
        ------
        OpenEOError
            ``TokenInvalid`` (403), ``ResultLinkExpired`` (410).
        """
        if not _same(signature, self._seal(path, expires)):
            raise OpenEOError(
                "TokenInvalid", "The signature of this link is wrong. Copy the link whole.",
                status=403,
            )  # fmt: skip
        if not time.time() <= int(expires):
            raise OpenEOError(
                "ResultLinkExpired",
                "The link has expired. Ask for the results again to get fresh ones.",
                status=410,
            )

    def _is_basic(self, encoded: str) -> bool:
        try:
            given = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        return _same(given, f"{USER}:{self.password}")

    def _seal(self, path: str, expires: str) -> str:
        return self._derive(f"link\n{path}\n{expires}")

    def _derive(self, purpose: str) -> str:
        return hmac.new(self.password.encode(), purpose.encode(), hashlib.sha256).hexdigest()


@dataclass
class Invitations:
    """Codes that sign a browser in without the password: each once, and for ten minutes only.

    Such a code stands in an address, behind ``#``: browsers send that part to nobody, but keep it
    in their history. There it is worth nothing any more.
    """

    _open: dict[str, float] = field(default_factory=dict)

    def issue(self) -> str:
        """Return a new code."""
        code = secrets.token_urlsafe(24)
        self._open[code] = time.monotonic() + _INVITATION_SECONDS
        return code

    def redeem(self, code: object) -> None:
        """Use a code up.

        Raises
        ------
        OpenEOError
            ``InvitationInvalid`` (403) where it was used, is over, or never was one.
        """
        deadline = self._open.pop(code, 0.0) if isinstance(code, str) else 0.0
        if time.monotonic() > deadline:
            raise OpenEOError(
                "InvitationInvalid",
                "This link has been used or is over: it works once, for ten minutes. Sign in with "
                "user and password.",
                status=403,
            )


def is_local_host(header: str) -> bool:
    """Tell whether a ``Host`` header names this machine by a loopback name or address.

    A page on the web can make its own host name point to 127.0.0.1 and so reach local servers
    (DNS rebinding); its requests then carry that name.
    """
    try:
        host = urlsplit(f"//{header}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _required() -> OpenEOError:
    return OpenEOError(
        "AuthenticationRequired",
        "This needs credentials. Authenticate with GET /credentials/basic first, for example "
        "connection.authenticate_basic(user, password).",
        status=401,
    )


def _scheme(given: str, expected: str) -> OpenEOError:
    return OpenEOError(
        "AuthenticationSchemeInvalid",
        f"Authentication scheme {given[:20]!r} is not taken here; expected {expected}.",
        status=403,
    )
