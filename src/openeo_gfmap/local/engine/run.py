"""Runs a process graph: plans it, searches its sources, has its windows evaluated, writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from pathlib import Path
from typing import Any

from ..errors import OpenEOError
from ..stac_source import Scene
from .demands import Demand, Window, union_of
from .executors import Job, executor_for
from .executors.places import FolderPlace, Place, StorePlace
from .graph import parse
from .loading import find_scenes, wider
from .meta import Unknown
from .outputs import make_output
from .plan import Env, Plan
from .planner import make_plan
from .result import JobResult
from .udf_source import with_udfs

__all__ = ["run"]

# How often the log says how far the run is.
_SECONDS_BETWEEN_NEWS = 10.0


def run(
    process_graph: Mapping[str, Any],
    *,
    env: Env,
    out_dir: Path,
    parameters: Mapping[str, Any] | None = None,
) -> JobResult:
    """Execute a process graph and write its result to a folder.

    Parameters
    ----------
    process_graph
        Nodes by id, or a process object around them.
    env
        Settings of the run.
    out_dir
        Folder for the files; made if it is not there. With ``env.store`` they are moved on.
    parameters
        Values of process parameters.

    Raises
    ------
    OpenEOError
        The first problem of the graph, or what went wrong while running; ``node`` says where.
    """
    graph, errors = parse(with_udfs(process_graph, env.fetch), parameters)
    if graph is None or errors:
        raise errors[0]
    plan = make_plan(graph, env)
    if plan.problems:
        raise plan.problems[0]
    if any(isinstance(value, Unknown) for value in plan.constants.values()):
        raise OpenEOError("Internal", "The run was given no way to fetch files.", status=500)
    out_dir.mkdir(parents=True, exist_ok=True)
    place: Place = StorePlace(env.store) if env.store else FolderPlace(out_dir)
    parts = plan.parts
    with _marked(place):
        done = [
            _execute(part, _share(env, i, len(parts)), out_dir, place)
            for i, part in enumerate(parts)
        ]
    assets = tuple(asset for result in done for asset in result.assets)
    if not assets:
        raise OpenEOError(
            "NoDataAvailable",
            "There is nothing to write: all pixels are missing on all dates. For results by "
            "feature the log says why, feature by feature.",
        )
    return JobResult(
        assets=assets,
        derived_from=tuple(sorted({href for result in done for href in result.derived_from})),
        usage={k: sum(result.usage[k] for result in done) for k in done[0].usage},
    )


@contextmanager
def _marked(place: Place) -> Iterator[None]:
    place.mark()
    try:
        yield
    finally:
        place.clear()


def _share(env: Env, index: int, count: int) -> Env:
    """Return settings whose progress is that of one of several results."""
    if count == 1:
        return env
    return replace(env, progress=partial(_part_of, env.progress, index, count))


def _part_of(progress: Callable[[float], None], index: int, count: int, percent: float) -> None:
    progress((100 * index + percent) / count)


def _execute(plan: Plan, env: Env, out_dir: Path, place: Place) -> JobResult:
    """Evaluate the windows of one result and write its files."""
    output = make_output(plan, out_dir, env.memory)
    windows = output.windows()
    started = time.monotonic()
    scenes = _search(plan, windows, env)
    log = _Progress(env, len(windows))
    job = Job(plan, env, scenes, output, place)
    for done in executor_for(env, len(windows)).run(job, windows):
        for level, message in done.records:
            env.log(level, message)
        if done.error is not None:
            raise _of_window(done.error, done.window, len(windows))
        for message in output.collect(done.window, done.payload):
            env.log("warning", message)
        log.done()
    assets = output.finish()
    if isinstance(place, StorePlace):
        place.take(out_dir)  # what is written only when all windows are there
    if not assets:
        env.log("warning", f"Node {plan.result!r}: there is nothing to write.")
    env.log("info", f"Wrote {len(assets)} files in {time.monotonic() - started:.1f} s.")
    used = {s.href or s.id for found in scenes.values() for s in found}
    return JobResult(
        assets=tuple(assets),
        derived_from=tuple(sorted(used)),
        usage={"windows": float(len(windows)), "duration": time.monotonic() - started},
    )


def _of_window(error: OpenEOError, window: Window, count: int) -> OpenEOError:
    """Say which of several windows failed."""
    if count == 1:
        return error
    if window.feature is not None:
        where = f"Feature {window.feature} (window {window.index} of {count})"
    else:
        where = f"Window {window.index} of {count}"
    return OpenEOError(
        error.code, f"{where}: {error.message}", status=error.status, node=error.node
    )


def _search(plan: Plan, windows: Sequence[Window], env: Env) -> dict[str, list[Scene]]:
    """Search every source once, for all windows together."""
    wanted: dict[str, list[Demand]] = {id: [] for id in plan.loads}
    for window in windows:
        if plan.result not in plan.calls:
            break
        demands = plan.demands(Demand(window.box), window)
        for id in plan.loads:
            mine = demands.get(id, [])
            boxes = [d.box for d in mine if d.box is not None]
            if boxes:
                interval = union_of([d.interval for d in mine])
                wanted[id].append(Demand(reduce(wider, boxes), interval=interval))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    found: dict[str, list[Scene]] = {}
    for id, spec in plan.loads.items():
        if not wanted[id]:
            found[id] = []
            continue
        interval = union_of([d.interval for d in wanted[id]])
        try:
            found[id] = find_scenes(
                spec, [d.box for d in wanted[id] if d.box is not None], interval, tomorrow
            )
        except OpenEOError as error:
            raise OpenEOError(error.code, error.message, status=error.status, node=id) from error
        if not found[id]:
            start, end = (v.date().isoformat() if v else "…" for v in spec.interval)
            raise OpenEOError(
                "NoDataAvailable",
                f"Node {id!r}: {spec.source.id} has no scenes for the asked place from {start} to "
                f"{end} that meet the property filters. Widen them.",
                node=id,
            )
        days = len({s.datetime.date() for s in found[id]})
        env.log(
            "info",
            f"{spec.source.id}: {len(found[id])} scenes on {days} days for {len(windows)} windows.",
        )
    return found


class _Progress:
    """Tells the log now and then how far the run is."""

    def __init__(self, env: Env, total: int):
        self._env, self._total, self._done = env, total, 0
        self._last = time.monotonic()

    def done(self) -> None:
        self._done += 1
        self._env.progress(100 * self._done / self._total)
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_NEWS or self._done == self._total:
            self._last = now
            self._env.log("info", f"Window {self._done} of {self._total} is done.")
