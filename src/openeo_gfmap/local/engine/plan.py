"""The vocabulary of the dry run: what is known of a cube before any pixel is read.

Metadata move forward through the graph (:class:`CubeMeta` per node), demands move backward from
a window of the result to the sources (:class:`Demand` per input). How a process does either is its
:class:`Rule`, which stands beside the process itself (``@process(plan=Rule(…))``). The planner and
the executor know no process by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OpenEOError
from .demands import Demand, Interval, Window
from .graph import Node
from .grid import Extent
from .meta import CubeMeta, Meta, TableMeta
from .registry import Process
from .udf_limits import UdfLimits

if TYPE_CHECKING:
    from ..catalog import Catalog

__all__ = [
    "Call",
    "Env",
    "LoadSpec",
    "PlanContext",
    "Rule",
    "Scope",
    "same_demand",
    "same_meta",
]


def _default_reader() -> Any:
    from .reader import Reader  # noqa: PLC0415  (imports rasterio, which validation can do without)

    return Reader()


def _silent(level: str, message: str) -> None:
    """Log nothing."""


def _unseen(percent: float) -> None:
    """Show nobody how far the run is."""


def _nobody(news: Mapping[str, Any]) -> None:
    """Tell nobody of the cluster."""


@dataclass(frozen=True)
class Env:
    """What a run needs from outside; picklable, since windows may run in other processes.

    Attributes
    ----------
    catalog
        The collections.
    fetch
        Gives a local file for an address or a path in the user's file workspace.
    workers
        Processes that evaluate windows; 1 stays in this process.
    log
        Takes a level (``"info"``, ``"warning"``, …) and a message.
    progress
        Takes the share of the windows that is done, in per cent.
    memory
        Bytes one process may use for the arrays of a window.
    open_reader
        Makes the reader of a process.
    scheduler
        Address of a Dask scheduler whose workers evaluate the windows; empty for none.
    news
        Takes what is worth knowing of the cluster: address, workers, threads.
    store
        Address in an object store, such as ``s3://bucket/path``, that takes the result files
        instead of the folder; empty for none.
    udf
        What a user-defined function may use.
    """

    catalog: Catalog
    fetch: Callable[[str], Path] | None = None
    workers: int = 1
    log: Callable[[str, str], None] = _silent
    progress: Callable[[float], None] = _unseen
    memory: int = 1 << 30
    open_reader: Callable[[], Any] = _default_reader
    scheduler: str = ""
    news: Callable[[Mapping[str, Any]], None] = _nobody
    store: str = ""
    udf: UdfLimits = field(default_factory=UdfLimits)


@dataclass(frozen=True)
class Call:
    """A node with its arguments bound: metadata in place of cubes, values elsewhere.

    Attributes
    ----------
    node
        The node.
    process
        What it calls.
    args
        By parameter name, defaults filled in; callbacks are :class:`graph.ProcessGraph`.
    refs
        Node ids of the arguments that are cubes.
    meta
        What the forward pass found for the node's own result.
    """

    node: Node
    process: Process
    args: Mapping[str, Any]
    refs: Mapping[str, str]
    meta: Meta | None = None

    def ref(self, key: str) -> str:
        """Return the node that a key of the rule's ``inputs`` asks for."""
        return self.refs[key.partition(":")[0]]

    def cube(self, name: str = "data") -> CubeMeta:
        """Return the metadata of a cube argument: of a raster cube, or of values per feature."""
        value = self.args[name]
        if not isinstance(value, CubeMeta):
            raise self.invalid(name, "must be a data cube")
        return value

    def raster(self, name: str = "data") -> CubeMeta:
        """Return the metadata of a cube argument that must have pixels."""
        meta = self.cube(name)
        if "x" not in meta.dims or "y" not in meta.dims:
            raise OpenEOError(
                "DimensionMissing",
                f"Node {self.node.id!r}: argument {name!r} of {self.process.id!r} must be a raster "
                f"data cube; this one has no pixels, only {', '.join(meta.dims) or 'one value'}"
                f"{' per feature' if isinstance(meta, TableMeta) else ''}.",
                node=self.node.id,
            )
        return meta

    def invalid(self, name: str, problem: str) -> OpenEOError:
        """Return the error that an argument cannot be used."""
        return OpenEOError(
            "ProcessParameterInvalid",
            f"Node {self.node.id!r}: argument {name!r} of {self.process.id!r} {problem}.",
            node=self.node.id,
        )


@dataclass(frozen=True)
class PlanContext:
    """What rules may ask during the forward pass.

    Attributes
    ----------
    env
        Catalog and fetch; ``fetch`` is None when a graph is only validated.
    extents
        Per loading node, the extent that its consumers filter to; None when there is none.
    """

    env: Env
    extents: Mapping[str, tuple[Extent, ...]]


@dataclass(frozen=True)
class LoadSpec:
    """What a loading node will read.

    Attributes
    ----------
    node
        Id of the node.
    source
        A :class:`catalog.Collection`.
    bands
        Bands in the cube's order.
    interval
        Dates asked for.
    properties
        Predicates on scene properties.
    dtype, nodata
        Of the cube.
    """

    node: str
    source: Any
    bands: tuple[str, ...]
    interval: Interval
    properties: Mapping[str, Callable[[Any], bool]]
    dtype: np.dtype[Any]
    nodata: float | None


@dataclass(frozen=True)
class Scope:
    """Where a process is evaluated; functions get it as the keyword ``env``.

    Attributes
    ----------
    env
        Settings of the run.
    call
        The node with metadata of its arguments; None inside callbacks and for plain values.
    window
        The window; None for values that do not depend on one.
    demand
        What is wanted of the result.
    aside
        Further cuts of cube arguments, by the keys that the rule's ``inputs`` gave them.
    """

    env: Env
    call: Call | None = None
    window: Window | None = None
    demand: Demand | None = None
    aside: Mapping[str, Any] = field(default_factory=dict)


def same_meta(call: Call, context: PlanContext) -> Meta:
    """Rule for processes that leave all metadata as they are."""
    return call.cube()


def same_demand(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    """Rule for processes that need of each cube just what is asked of them."""
    return dict.fromkeys(call.refs, demand)


def no_extent(call: Call) -> Extent | None:
    """Rule for processes that do not narrow the place."""
    return None


@dataclass(frozen=True)
class Rule:
    """How a process takes part in the dry run.

    Attributes
    ----------
    meta
        Forward: metadata of the result from those of the arguments; raises OpenEOError for
        arguments that can never work.
    inputs
        Backward: the demand on each cube argument, by parameter name; an argument left out is
        not evaluated and comes as None. A key ``"name:aside"`` asks for a second cut of the
        argument ``name``, which comes in :attr:`Scope.aside`.
    extent
        The place a process narrows its data to, which decides what its sources must hold.
    load
        For processes that read pixels: what they will read.
    """

    meta: Callable[[Call, PlanContext], Any] = same_meta
    inputs: Callable[[Call, Demand, Window], Mapping[str, Demand]] = same_demand
    extent: Callable[[Call], Extent | None] = no_extent
    load: Callable[[Call, PlanContext], LoadSpec | None] | None = None


@dataclass(frozen=True)
class Plan:
    """A graph after the forward pass.

    Attributes
    ----------
    calls
        Bound nodes by id, in evaluation order, with ``meta`` set.
    constants
        Values of the nodes that do not depend on pixels.
    loads
        What each loading node reads.
    result
        Id of the node whose value is the result (that of ``save_result`` is its ``data``).
    save
        The ``save_result`` call, None for a graph without.
    prefix
        What the names of the files begin with, unless ``save`` says otherwise.
    suffix
        Added to what ``save`` says, where two results would have the same names.
    others
        Plans of the further ``save_result`` nodes of the graph; they share all but the result.
    """

    calls: Mapping[str, Call]
    constants: Mapping[str, Any]
    loads: Mapping[str, LoadSpec]
    result: str
    save: Call | None = None
    problems: tuple[OpenEOError, ...] = ()
    prefix: str = "openEO"
    suffix: str = ""
    others: tuple[Plan, ...] = ()

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the file format."""
        return {} if self.save is None else self.save.args.get("options") or {}

    @property
    def file_prefix(self) -> str:
        """What the names of this result's files begin with."""
        return f"{self.options.get('filename_prefix') or self.prefix}{self.suffix}"

    @property
    def parts(self) -> tuple[Plan, ...]:
        """One plan per result: this one first, then those of the other ``save_result`` nodes."""
        return (replace(self, others=()), *self.others)

    def demands(self, demand: Demand, window: Window) -> dict[str, list[Demand]]:
        """Return all distinct demands on each node that a demand on the result leads to."""
        found: dict[str, list[Demand]] = {}
        todo = [(self.result, demand)]
        while todo:
            id, wanted = todo.pop()
            known = found.setdefault(id, [])
            if wanted in known:
                continue
            known.append(wanted)
            call = self.calls[id]
            for name, need in rule_of(call).inputs(call, wanted, window).items():
                todo.append((call.ref(name), need))
        return found


def rule_of(call: Call) -> Rule:
    """Return the rule of a node; a value process on a cube works pixel by pixel."""
    return call.process.plan if isinstance(call.process.plan, Rule) else Rule()
