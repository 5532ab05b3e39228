"""Errors of the embedded back-end: an openEO error code and the HTTP status it travels with.

The codes are those of the openEO API's own list, so a client can tell them apart.
"""

from __future__ import annotations

__all__ = ["OpenEOError"]


class OpenEOError(Exception):
    """An error that goes to the client as an openEO error document.

    Parameters
    ----------
    code
        openEO error code, for example ``"ProcessParameterMissing"``.
    message
        The value, what was expected, and the next step.
    status
        HTTP status of the answer.
    node
        Id of the process graph node the error belongs to, where there is one.
    """

    def __init__(self, code: str, message: str, *, status: int = 400, node: str | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.node = node

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments need help to cross a process boundary.
        return (_rebuild, (self.code, self.message, self.status, self.node))


def _rebuild(code: str, message: str, status: int, node: str | None) -> OpenEOError:
    return OpenEOError(code, message, status=status, node=node)
