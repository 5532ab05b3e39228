"""Runs the windows of a plan, here or in a pool of processes, and hands them to the output."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import OpenEOError
from ..stac_source import Scene
from .demands import Demand, Window, union_of
from .evaluate import Evaluation
from .graph import parse
from .loading import find_scenes, wider
from .outputs import Output, make_output
from .plan import Env, Plan, Unknown
from .planner import make_plan
from .result import JobResult

__all__ = ["Env", "run"]

# How often the log says how far the run is.
_SECONDS_BETWEEN_NEWS = 10.0
# Windows a task: enough to share decoded blocks, and a result that is not long in coming.
_LARGEST_BATCH = 8


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
        Folder for the files; made if it is not there.
    parameters
        Values of process parameters.

    Raises
    ------
    OpenEOError
        The first problem of the graph, or what went wrong while running; ``node`` says where.
    """
    graph, errors = parse(process_graph, parameters)
    if graph is None or errors:
        raise errors[0]
    plan = make_plan(graph, env)
    if plan.problems:
        raise plan.problems[0]
    if any(isinstance(value, Unknown) for value in plan.constants.values()):
        raise OpenEOError("Internal", "The run was given no way to fetch files.", status=500)
    out_dir.mkdir(parents=True, exist_ok=True)
    parts = plan.parts
    done = [_execute(part, _share(env, i, len(parts)), out_dir) for i, part in enumerate(parts)]
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


def _share(env: Env, index: int, count: int) -> Env:
    """Return settings whose progress is that of one of several results."""
    if count == 1:
        return env
    return replace(env, progress=partial(_part_of, env.progress, index, count))


def _part_of(progress: Callable[[float], None], index: int, count: int, percent: float) -> None:
    progress((100 * index + percent) / count)


def _execute(plan: Plan, env: Env, out_dir: Path) -> JobResult:
    """Evaluate the windows of one result and write its files."""
    output = make_output(plan, out_dir, env.memory)
    windows = output.windows()
    started = time.monotonic()
    scenes = _search(plan, windows, env)
    log = _Progress(env, len(windows))
    for window, payload in _payloads(plan, windows, scenes, env, output):
        for message in output.collect(window, payload):
            env.log("warning", message)
        log.done(window)
    assets = output.finish()
    if not assets:
        env.log("warning", f"Node {plan.result!r}: there is nothing to write.")
    env.log("info", f"Wrote {len(assets)} files in {time.monotonic() - started:.1f} s.")
    used = {s.href or s.id for found in scenes.values() for s in found}
    return JobResult(
        assets=tuple(assets),
        derived_from=tuple(sorted(used)),
        usage={"windows": float(len(windows)), "duration": time.monotonic() - started},
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


def _payloads(
    plan: Plan,
    windows: Sequence[Window],
    scenes: Mapping[str, list[Scene]],
    env: Env,
    output: Output,
) -> Iterator[tuple[Window, Any]]:
    """Evaluate windows; results come in the order of the windows."""
    workers = min(env.workers, len(windows))
    if workers <= 1:
        work = _Work(plan, env, scenes, output)
        for window in windows:
            yield window, work.run(window)
        return
    # Logs and fetching stay here: what a window needs is known by now.
    away = replace(env, log=_quiet)
    context = multiprocessing.get_context("forkserver")
    # Imported once and forked from there: a worker is ready in no time.
    context.set_forkserver_preload(
        [__name__, "openeo_gfmap.local.engine.reader", "openeo_gfmap.local.engine.processes"]
    )
    with ProcessPoolExecutor(
        workers, context, initializer=_prepare, initargs=(plan, away, scenes, output)
    ) as pool:
        waiting: deque[tuple[list[Window], Future[list[Any]]]] = deque()
        try:
            # Two tasks a worker keep all busy, and bound what waits for its turn in memory.
            for batch in _batches(windows, workers):
                waiting.append((batch, pool.submit(_evaluate, batch)))
                if len(waiting) >= 2 * workers:
                    first, future = waiting.popleft()
                    yield from zip(first, future.result(), strict=True)
            while waiting:
                first, future = waiting.popleft()
                yield from zip(first, future.result(), strict=True)
        except BrokenProcessPool as error:
            raise OpenEOError(
                "JobFailed",
                "A process that evaluated windows ended by itself, most often for want of memory. "
                "Ask for fewer bands or dates in a job, or more memory.",
                status=500,
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Work:
    """What a process needs to work on windows."""

    def __init__(self, plan: Plan, env: Env, scenes: Mapping[str, Sequence[Scene]], output: Output):
        self._evaluation = Evaluation(plan, env, scenes, env.open_reader())
        self._output = output

    def run(self, window: Window) -> Any:
        return self._output.keep(window, self._evaluation.window(window))


_work: _Work | None = None


def _quiet(level: str, message: str) -> None:
    """Log nothing: the leading process speaks."""


def _prepare(plan: Plan, env: Env, scenes: Mapping[str, Sequence[Scene]], output: Output) -> None:
    global _work  # noqa: PLW0603 - the pool's way to keep state in a worker process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work = _Work(plan, env, scenes, output)


def _end_with_parent() -> None:
    """End this process when the leading one is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _evaluate(batch: Sequence[Window]) -> list[Any]:
    if _work is None:
        raise RuntimeError("the worker process was not prepared")
    return [_work.run(window) for window in batch]


def _batches(windows: Sequence[Window], workers: int) -> Iterator[list[Window]]:
    """Put windows that share file blocks into one task, as long as there is work for all."""
    most = min(_LARGEST_BATCH, -(-len(windows) // (2 * workers)))
    for near, group in groupby(windows, key=lambda w: w.near):
        members = list(group)
        size = 1 if near is None else most
        for start in range(0, len(members), size):
            yield members[start : start + size]


class _Progress:
    """Tells the log now and then how far the run is."""

    def __init__(self, env: Env, total: int):
        self._env, self._total, self._done = env, total, 0
        self._last = time.monotonic()

    def done(self, window: Window) -> None:
        self._done += 1
        self._env.progress(100 * self._done / self._total)
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_NEWS or self._done == self._total:
            self._last = now
            self._env.log("info", f"Window {self._done} of {self._total} is done.")
