"""What is wrong with a process, before anything is loaded: for /validation and for new jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .engine import validate
from .engine.inlining import outer_node
from .errors import OpenEOError

if TYPE_CHECKING:
    from .web import Service

__all__ = ["problems_of", "require_valid"]


def problems_of(
    process: Mapping[str, Any], service: Service, *, to_be_called: bool = False
) -> list[OpenEOError]:
    """Return all that is wrong with a process of the right form.

    Parameters
    ----------
    process
        ``process_graph`` and, where it has some, ``parameters``.
    service
        Knows the collections, files and user-defined processes.
    to_be_called
        Whether parameters may be without a value, as those of user-defined processes are; what
        hangs on them is not checked.
    """
    graph = process["process_graph"]
    parameters = process.get("parameters") or []
    declared = [p["name"] for p in parameters if to_be_called and "default" not in p]
    try:
        written_out = service.definitions.inline(process)
    except OpenEOError as error:
        return [error]
    errors = validate(
        written_out,
        catalog=service.catalog,
        workspace=service.workspace,
        declared=declared,
        memory=service.settings.job_memory,
    )
    return [
        OpenEOError(e.code, e.message, status=e.status, node=outer_node(e.node, graph))
        for e in errors
    ]


def require_valid(process: Mapping[str, Any], service: Service) -> None:
    """Refuse a process that cannot run, by the first thing that is wrong with it.

    Raises
    ------
    OpenEOError
        With the node's id in the message.
    """
    for error in problems_of(process, service):
        where = f"Node {error.node!r}: "
        message = error.message
        if error.node and repr(error.node) not in message:
            message = where + message
        raise OpenEOError(error.code, message, status=error.status, node=error.node)
