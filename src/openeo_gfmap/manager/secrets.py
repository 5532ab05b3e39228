"""What lets others in, taken out of what is written for people to keep and to pass on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["may_hold_secrets", "without_secrets"]

_TAKEN_OUT: Final = "[taken out]"

_SECRET_NAME: Final = re.compile(
    r"(?:^|[_-])(?:token|password|passwd|secret|authorization|credentials?|api_?key|access_?key"
    r"|client_?secret)$",
    re.IGNORECASE,
)
_SECRET_PARAMETER: Final = re.compile(
    r"[?&;](?:x-amz-|x-goog-|amz-)?(?:signature|sig|credential|security-token|token|access_token"
    r"|awsaccesskeyid|googleaccessid|key-pair-id|policy|api_?key|password|secret)=",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<rest>[^\s\"'<>\\]+)", re.I)
_BEARER: Final = re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}", re.IGNORECASE)
_JWT: Final = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*")
#: Tell most texts, which hold no secret, at a glance: some are long.
_WORDS: Final = (
    "token", "passw", "secret", "authoriz", "credential", "signature", "sig=", "policy=", "key=",
    'key"', "keyid=", "key-pair-id", "accessid", "bearer ", "basic ", "eyj", "@",
)  # fmt: skip


def may_hold_secrets(text: str) -> bool:
    """Tell whether a text, or a document as JSON, is worth a closer look."""
    lower = text.lower()
    return any(word in lower for word in _WORDS)


def without_secrets(value: Any, taken: list[str], where: str = "") -> Any:
    """Return a document without tokens, passwords and signatures.

    Parameters
    ----------
    value
        JSON types.
    taken : list of str
        Gets the place of each that was taken out, such as ``process_graph/load1/arguments/url``.
    where : str
        Place of `value` itself.
    """
    if isinstance(value, str):
        clean = _clean(value)
        if clean != value:
            taken.append(where)
        return clean
    if isinstance(value, Mapping):
        found = {}
        for name, part in value.items():
            place = f"{where}/{name}" if where else str(name)
            if isinstance(part, str) and part and _SECRET_NAME.search(str(name)):
                taken.append(place)
                found[name] = _TAKEN_OUT
            else:
                found[name] = without_secrets(part, taken, place)
        return found
    if isinstance(value, list | tuple):
        return [
            part
            if part is None or isinstance(part, bool | int | float)
            else without_secrets(part, taken, f"{where}/{position}")
            for position, part in enumerate(value)
        ]
    return value


def _clean(text: str) -> str:
    if not may_hold_secrets(text):
        return text
    text = _ADDRESS.sub(_clean_address, text)
    text = _BEARER.sub(rf"\1 {_TAKEN_OUT}", text)
    return _JWT.sub(_TAKEN_OUT, text)


def _clean_address(match: re.Match[str]) -> str:
    """Return an address without user and password, and without a query that signs it."""
    rest = match["rest"]
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    rest = f"{authority}{slash}{path}"
    if _SECRET_PARAMETER.search(rest):
        rest = re.split("[?;]", rest, maxsplit=1)[0]
    return match["scheme"] + rest
