"""Evaluation of one window: nodes in order, each for every distinct demand on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from ..stac_source import Scene
from .callbacks import BoundCallback, call_process
from .cube import Cube, crop, holds, select
from .demands import Demand, Request, Window
from .graph import ProcessGraph
from .loading import Loaded, PixelReader, load_window, requests_of
from .meta import CubeMeta
from .plan import Call, Env, Plan, Scope, rule_of

__all__ = ["NO_DATA", "Evaluation"]


class _Empty(Enum):
    NO_DATA = "no data"


NO_DATA = _Empty.NO_DATA
"""Stands for the value of a feature that no source has a date for."""


@dataclass(frozen=True)
class Evaluation:
    """Evaluates windows of a plan; one per process.

    Attributes
    ----------
    plan
        A plan without problems.
    env
        Settings of the run.
    scenes
        Scenes per loading node, for all windows.
    reader
        Keeps files and decoded blocks between windows.
    """

    plan: Plan
    env: Env
    scenes: Mapping[str, Sequence[Scene]]
    reader: PixelReader

    def read_ahead(self, windows: Sequence[Window]) -> int:
        """Read for the next windows at once, as many as fit into the memory for that.

        Returns
        -------
        int
            How many of the windows are ready, at least one; then it is to be called again.
        """
        if self.plan.result not in self.plan.calls:
            return len(windows)
        try:
            return self.reader.prepare(self._requests(window) for window in windows)
        except Exception:  # noqa: BLE001 - shows again where the window is evaluated, and is named
            return 1

    def _requests(self, window: Window) -> list[Request]:
        demands = self.plan.demands(Demand(window.box), window)
        return [
            request
            for id, spec in self.plan.loads.items()
            if id in demands
            for request in requests_of(spec, self.scenes[id], demands[id], window)
        ]

    def window(self, window: Window) -> Any:
        """Return the value of the plan's result for a window; :data:`NO_DATA` for an empty one."""
        plan = self.plan
        if plan.result not in plan.calls:
            return plan.constants[plan.result]
        wanted = Demand(window.box)
        demands = plan.demands(wanted, window)
        loaded = {id: self._loaded(id, demands[id], window) for id in plan.loads if id in demands}
        by_feature = window.box is not None and window.shape is not None
        if by_feature and loaded and not any(len(cube.dates) for cube in loaded.values()):
            return NO_DATA  # no process, and no UDF, needs to cope with a cube without dates
        uses = self._uses(demands, window)
        values: dict[tuple[str, Demand], Any] = {}
        for id, call in plan.calls.items():
            for demand in demands.get(id, ()):
                values[id, demand] = self._value(call, demand, window, loaded, values)
                for name, need in rule_of(call).inputs(call, demand, window).items():
                    key = (call.ref(name), need)
                    uses[key] -= 1
                    if not uses[key]:
                        del values[key]  # so that a long chain holds two cubes, not all
        return values[plan.result, wanted]

    def _loaded(self, id: str, demands: Sequence[Demand], window: Window) -> Loaded:
        try:
            return load_window(self.plan.loads[id], self.scenes[id], demands, window, self.reader)
        except MemoryError:
            raise
        except Exception as error:
            raise _at_node(error, id) from error

    def _uses(
        self, demands: Mapping[str, Sequence[Demand]], window: Window
    ) -> Counter[tuple[str, Demand]]:
        uses: Counter[tuple[str, Demand]] = Counter()
        for id, wanted in demands.items():
            call = self.plan.calls[id]
            for demand in wanted:
                needs = rule_of(call).inputs(call, demand, window)
                uses.update((call.ref(name), need) for name, need in needs.items())
        return uses

    def _value(
        self,
        call: Call,
        demand: Demand,
        window: Window,
        loaded: Mapping[str, Loaded],
        values: Mapping[tuple[str, Demand], Any],
    ) -> Any:
        id = call.node.id
        if id in loaded and demand.box is not None:
            return loaded[id].serve(demand.bands or self.plan.loads[id].bands, demand.box)
        needs = rule_of(call).inputs(call, demand, window)
        aside = {key: values[call.ref(key), need] for key, need in needs.items() if ":" in key}
        scope = Scope(self.env, call, window, demand, aside)
        args = {
            name: BoundCallback(value, {}, scope) if isinstance(value, ProcessGraph) else value
            for name, value in call.args.items()
        }
        for name, ref in call.refs.items():
            args[name] = values[ref, needs[name]] if name in needs else None
        try:
            value = call_process(call.process, args, scope)
            return _fitted(value, demand) if isinstance(value, Cube) else value
        except MemoryError:
            raise  # the job's memory limit has a message of its own
        except Exception as error:
            surprise = _surprise(call, args) if isinstance(error, ValueError | LookupError) else ""
            if surprise:
                raise OpenEOError("DimensionMissing", surprise, node=id) from error
            raise _at_node(error, id) from error


def _at_node(error: Exception, id: str) -> OpenEOError:
    """Say of any error which node it belongs to; its cause goes along for the log.

    It is the node of the outer graph, which tells the user more than one inside a callback.
    """
    if isinstance(error, OpenEOError):
        return OpenEOError(error.code, error.message, status=error.status, node=id)
    return OpenEOError("JobFailed", f"{type(error).__name__}: {error}", status=500, node=id)


def _surprise(call: Call, args: Mapping[str, Any]) -> str | None:
    """Tell which cube has other dimensions than were planned, because a UDF changed them."""
    for name in call.refs:
        meta, value = call.args[name], args[name]
        if (
            isinstance(value, Cube)
            and isinstance(meta, CubeMeta)
            and set(value.dims) != {*meta.dims}
        ):
            return (
                f"Node {call.node.id!r}: {call.process.id!r} got a cube with the dimensions "
                f"{', '.join(value.dims) or 'none'} from a UDF instead of {', '.join(meta.dims)}; "
                "let the UDF keep them."
            )
    return None


def _fitted(cube: Cube, demand: Demand) -> Cube:
    """Cut a cube to what was asked for: context pixels and further bands fall away."""
    if demand.box is not None:
        if cube.geobox is None or not holds(cube.geobox, demand.box):
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The pixels {_pixels(demand.box)} are needed, but a process, most likely a UDF, "
                f"gave {_pixels(cube.geobox)}; it must keep the pixels. Use resample_spatial for "
                "another grid.",
            )
        cube = crop(cube, demand.box)
    if demand.bands is not None and "bands" in cube.dims:
        have = cube.labels["bands"]
        lacking = set(demand.bands) - set(have.tolist())
        if lacking:
            raise OpenEOError(
                "ProcessParameterInvalid",
                f"The bands {', '.join(sorted(lacking))} are needed, but a process gave only "
                f"{', '.join(have.tolist()) or 'none'}.",
            )
        cube = select(cube, "bands", np.asarray(demand.bands, dtype=str))
    return cube


def _pixels(box: GeoBox | None) -> str:
    if box is None:
        return "none (x or y is gone)"
    rows, columns = box.shape
    left, top, size = box.transform.c, box.transform.f, box.transform.a
    return f"{columns} x {rows} of {size:g} from x {left:.12g}, y {top:.12g}"
