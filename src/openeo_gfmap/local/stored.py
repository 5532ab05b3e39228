"""Answers with files that lie in an object store: passed on as they come, whole or in part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .errors import OpenEOError
from .object_store import ObjectStore

__all__ = ["stored_response"]


async def stored_response(
    request: Request, store: ObjectStore, asset: Mapping[str, Any]
) -> Response:
    """Answer GET or HEAD with a result file: Range, ETag and If-None-Match.

    Parameters
    ----------
    request
        The request.
    store
        Where the job's files are.
    asset
        The file's :class:`ResultAsset` document.

    Raises
    ------
    OpenEOError
        ``RangeInvalid`` (416), ``ResultGone`` (410), ``StorageFailure`` (500).
    """
    size: int = asset["size"]
    headers = {
        "etag": f'"{asset["checksum"]}"',
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        # These are bytes; no browser shall ever run them as a page of this server.
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
    }
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, size, 200
    # Changed since: then the whole file, as without a range.
    wanted = request.headers.get("range", "")
    if wanted and request.headers.get("if-range", headers["etag"]) == headers["etag"]:
        start, end = _range(wanted, size)
        status = 206 if (start, end) != (0, size) else 200
    if status == 206:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    headers["content-length"] = str(end - start)
    if request.method == "HEAD" or start == end:
        return Response(status_code=status, headers=headers, media_type=asset["media_type"])
    chunks = store.chunks(asset["name"], start, end)
    return StreamingResponse(
        chunks, status_code=status, headers=headers, media_type=asset["media_type"]
    )


def _range(header: str, size: int) -> tuple[int, int]:
    """Return first byte and the one behind the last; the whole file for several ranges."""
    if "," in header:
        return 0, size
    match = re.fullmatch(r"\s*bytes\s*=\s*([0-9]{0,15})-([0-9]{0,15})\s*", header)
    if match is not None and match.groups() != ("", ""):
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last) + 1, size) if first and last else size
        if start < end:
            return start, end
    raise OpenEOError(
        "RangeInvalid",
        f"Range {header[:50]!r} cannot be met: the file has {size} bytes. Write bytes=FIRST-LAST.",
        status=416,
    )
