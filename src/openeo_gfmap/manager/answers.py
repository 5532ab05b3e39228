"""Reading what a back-end says with care: fields may be absent or null, answers no JSON at all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from openeo.rest import OpenEoApiPlainError, OpenEoRestError

from openeo_gfmap.manager.kinds import RULES, ErrorKind, Rule, classify

__all__ = [
    "UNWELL",
    "amount_of",
    "facts_of",
    "is_fault",
    "is_gone",
    "is_outage",
    "is_senseless",
    "is_transient",
    "is_unpaid",
    "kind_of",
    "one_line",
    "plain",
    "without_mark",
]

#: What a back-end that is there, but not well, makes the client raise. A ValueError is an answer
#: that is no JSON; an AttributeError, KeyError or TypeError is one that is JSON of another kind.
UNWELL = (
    requests.RequestException,
    OpenEoRestError,
    ValueError,
    AttributeError,
    KeyError,
    TypeError,
)

#: What `intent.marked` adds to a description.
_MARK = re.compile(r"\s*\[gfmap:[0-9a-f]+\]")

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_POINTLESS = (  # requests for addresses that are none
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)
_AWAY = frozenset({502, 503, 504})


def is_transient(error: BaseException) -> bool:
    """Tell whether asking again may help."""
    status = getattr(error, "http_status_code", None)
    if isinstance(status, int):
        return status in _TRANSIENT
    return isinstance(error, requests.RequestException) and not isinstance(error, _POINTLESS)


def is_fault(error: BaseException) -> bool:
    """Tell whether the back-end says that it failed at what it was asked to do."""
    return getattr(error, "http_status_code", None) == 500


def is_unpaid(error: BaseException) -> bool:
    """Tell whether the back-end wants money first: to wait does not help."""
    return getattr(error, "http_status_code", None) == 402


def is_senseless(error: BaseException) -> bool:
    """Tell whether an answer came that is not what was asked for, such as a proxy's page."""
    if isinstance(error, requests.exceptions.InvalidJSONError):
        return True
    return not isinstance(error, requests.RequestException | OpenEoRestError)


def is_outage(error: BaseException, root_url: str) -> bool:
    """Tell whether a back-end does not answer properly; `root_url` is its address.

    A request of the user's callback to another host says nothing of the back-end.
    """
    status = getattr(error, "http_status_code", None)
    if isinstance(status, int):
        return status in _AWAY
    if not isinstance(error, requests.RequestException):
        return is_senseless(error)
    asked = urlsplit(getattr(error.request, "url", None) or root_url)
    return asked.netloc == urlsplit(root_url).netloc


def kind_of(error: BaseException, rules: Sequence[Rule] = RULES) -> ErrorKind:
    """Return the kind of an error that a request or a callback raised."""
    if isinstance(error, OpenEoApiPlainError):
        code = getattr(error, "code", None)
        return classify(error.message, status=error.http_status_code, code=code, rules=rules)
    if isinstance(error, requests.RequestException):
        return ErrorKind.TRANSIENT
    return ErrorKind.CALLBACK


def is_gone(error: BaseException) -> bool:
    """Tell whether the back-end says that there is no such thing."""
    return getattr(error, "http_status_code", None) in (404, 410)


def plain(text: str) -> str:
    """Return a text with halves of characters written out, which no file and no store can hold.

    JSON can: back-ends cut long texts off between the two halves of an emoji.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


#: What follows the path of an address: in signed ones, what lets anybody have the file.
_QUERY = re.compile(r"(?<=[\w/.-])\?[\w%.~-]+=[^\s'\"<>)]*")


def one_line(error: BaseException) -> str:
    """Return an error as a short line, without what nobody should read in a tracker or a log.

    Some errors hold a whole HTML page, others a signed address.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return plain(_QUERY.sub("?…", text)[:500])


def without_mark(description: str | None) -> str | None:
    """Return a job description as the user gave it, without the mark of the intent."""
    return _MARK.sub("", description) or None if isinstance(description, str) else None


def amount_of(value: Any) -> float | None:
    """Return what a back-end or a table says of costs; None when it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def facts_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Job` that its description fills; what is absent or null stays out."""
    facts: dict[str, Any] = {}
    title, description = document.get("title"), without_mark(document.get("description"))
    if isinstance(title, str):
        facts["title"] = plain(title)
    if description is not None:
        facts["description"] = plain(description)
    costs = document.get("costs")
    if not isinstance(costs, str) and (amount := amount_of(costs)) is not None:
        facts["costs"] = amount
    usage = document.get("usage")
    for name in ("cpu", "memory", "duration"):
        metric = usage.get(name) if isinstance(usage, Mapping) else None
        if isinstance(metric, Mapping) and metric.get("value") is not None:
            facts[name] = plain(f"{metric['value']} {metric.get('unit') or ''}".strip())
    return facts
