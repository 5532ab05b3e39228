"""The extraction engine: openEO process graphs over STAC and COG, window by window.

:func:`validate` says what is wrong with a graph, :func:`execute` runs it. In between, a graph is
parsed (``graph``), understood without reading pixels (``planner``, with the vocabulary of
``plan``), cut into independent windows (``outputs``), and each window is evaluated
(``evaluate``, ``loading``) wherever an executor puts it (``run``, ``executors``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Imported inside functions elsewhere: this package is imported for its small parts, too.
if TYPE_CHECKING:
    from ..catalog import Catalog
    from ..errors import OpenEOError
    from ..files import Workspace
    from .graph import ProcessGraph
    from .plan import Env
    from .result import JobResult

__all__ = ["execute", "validate"]


def validate(
    process_graph: Mapping[str, Any],
    *,
    catalog: Catalog,
    workspace: Workspace | None = None,
    parameters: Mapping[str, Any] | None = None,
    declared: Collection[str] = (),
    memory: int | None = None,
) -> list[OpenEOError]:
    """Return all that is wrong with a process graph; nothing is downloaded or read.

    Parameters
    ----------
    process_graph
        Nodes by id, or a process object around them. May be anything: a broken graph gives
        errors, it never raises.
    catalog
        The collections.
    workspace
        The user's file workspace: files that a graph loads from it must be there.
    parameters
        Values of process parameters.
    declared
        Names of parameters without a value, as those of a process that is still to be called. What
        hangs on them is not checked.
    memory
        Bytes that a job may have; a result whose windows cannot fit is refused.

    Returns
    -------
    list of OpenEOError
        Empty when the graph can be executed; ``node`` says where each belongs.
    """
    from ..errors import OpenEOError  # noqa: PLC0415
    from .budget import require_memory  # noqa: PLC0415
    from .graph import parse  # noqa: PLC0415
    from .outputs import make_output  # noqa: PLC0415
    from .plan import Env  # noqa: PLC0415
    from .planner import make_plan  # noqa: PLC0415

    try:
        graph, errors = parse(process_graph, parameters, declared)
        if graph is None or errors or declared:
            return errors
        plan = make_plan(graph, Env(catalog))
        problems = [*plan.problems, *_missing_files(graph, workspace)]
        if problems:
            return problems
        for part in plan.parts:
            make_output(part, Path(), 1 << 30)
            if memory is not None:
                require_memory(part, memory)
    except OpenEOError as error:
        return [error]
    except RecursionError:
        return [OpenEOError("ProcessGraphInvalid", "The process graph is nested too deeply.")]
    return []


def _missing_files(graph: ProcessGraph, workspace: Workspace | None) -> list[OpenEOError]:
    from ..errors import OpenEOError  # noqa: PLC0415

    found = []
    for node in graph.nodes.values():
        paths = node.arguments.get("paths") if node.process == "load_uploaded_files" else None
        if workspace is None or not isinstance(paths, list):
            continue
        for path in paths:
            try:
                workspace.find(str(path))
            except OpenEOError as error:
                found.append(
                    OpenEOError(error.code, error.message, status=error.status, node=node.id)
                )
    return found


def execute(
    process_graph: Mapping[str, Any],
    *,
    env: Env,
    out_dir: Path,
    parameters: Mapping[str, Any] | None = None,
) -> JobResult:
    """Execute a process graph and write its result into ``out_dir``; see :func:`run.run`."""
    from .run import run  # noqa: PLC0415

    return run(process_graph, env=env, out_dir=out_dir, parameters=parameters)
