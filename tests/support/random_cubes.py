"""Small random cubes for property tests, and processes run on them in whole or by windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openeo_gfmap.local.engine import registry
from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.demands import Window
from openeo_gfmap.local.engine.evaluate import Evaluation
from openeo_gfmap.local.engine.graph import parse
from openeo_gfmap.local.engine.grid import Grid, extent_of
from openeo_gfmap.local.engine.meta import CubeMeta
from openeo_gfmap.local.engine.plan import Env
from openeo_gfmap.local.engine.planner import make_plan
from support.case_cubes import SOURCE, CaseCube, source_of
from support.fake_source import FakeCatalog
from support.graphs import Graph

GRID = Grid("EPSG:32631", 10.0)
LEFT, TOP = 50_000, -560_000
"""Column and row of the cubes' upper-left pixel on the grid."""

# Type and nodata value of cubes as sources have them; a cube of floats has NaN.
TYPES: tuple[tuple[str, float | None], ...] = (
    ("uint8", 255), ("uint16", 65535), ("int16", -32768), ("uint16", None), ("float32", None),
)  # fmt: skip

DATES = pd.to_datetime(
    ["2021-12-28", "2022-01-03", "2022-01-09", "2022-01-30", "2022-02-02", "2022-03-15"]
).to_numpy()


@st.composite
def cubes(
    draw: st.DrawFn,
    *,
    dates: tuple[int, int] = (1, 5),
    bands: tuple[int, int] = (1, 3),
    side: tuple[int, int] = (1, 7),
    types: tuple[tuple[str, float | None], ...] = TYPES,
    names: str = "abc",
    like: Cube | None = None,
) -> Cube:
    """Draw a cube with dims (t, bands, y, x), some of its pixels missing."""
    dtype, nodata = draw(st.sampled_from(types))
    if like is None:
        days = draw(st.lists(st.sampled_from(range(len(DATES))), min_size=dates[0],
                             max_size=dates[1], unique=True))  # fmt: skip
        rows, columns = (draw(st.integers(*side)) for _ in range(2))
    else:
        times = like.labels["t"].tolist()
        days = [i for i, d in enumerate(DATES.astype("datetime64[ns]").tolist()) if d in times]
        rows, columns = like.data.shape[-2:]
    count = draw(st.integers(*bands))
    shape = (len(days), count, rows, columns)
    values = draw(hnp.arrays(np.int16, shape, elements=st.integers(0, 200))).astype(dtype)
    if nodata is not None or dtype == "float32":
        gaps = draw(hnp.arrays(np.bool_, shape, elements=st.integers(0, 3).map(lambda v: v == 0)))
        values = np.where(gaps, values.dtype.type(np.nan if nodata is None else nodata), values)
    labels = {
        "t": DATES[sorted(days)].astype("datetime64[ns]"),
        "bands": np.asarray(list(names[:count])),
    }
    box = GRID.box(LEFT, TOP, columns, rows)
    return Cube(values, ("t", "bands", "y", "x"), labels, box, nodata)


def floats(cube: Cube) -> np.ndarray:
    """Return the values as float64 with NaN for missing."""
    return np.where(cube.missing(), np.nan, cube.data.astype(np.float64))


def meta_of(cube: Cube, name: str) -> CubeMeta:
    """Return what a source would tell of a cube."""
    assert cube.geobox is not None
    extent = extent_of(cube.geobox)
    return CubeMeta(
        dims=cube.dims,
        bands=tuple(cube.labels["bands"].tolist()) if "bands" in cube.dims else None,
        grid=GRID,
        extent=extent,
        limits=(extent,),
        time=name,
        itemsize=cube.data.dtype.itemsize,
    )


Build = Callable[..., Any]


@contextmanager
def _known(sources: Mapping[str, CaseCube]) -> Iterator[None]:
    known = registry._PROCESSES
    known[SOURCE] = source_of(sources)
    try:
        yield
    finally:
        del known[SOURCE]


def run(build: Build, *inputs: Cube, cut: tuple[int, int, int, int] | None = None) -> Any:
    """Run a graph on cubes through planner and evaluation.

    Parameters
    ----------
    build
        Gets a graph and a reference for each cube, gives the reference to the result.
    inputs
        The cubes.
    cut
        Columns and rows of the window to evaluate (left, top, right, bottom), counted in pixels
        of the result; by default all of them.
    """
    names = [f"cube{i}" for i in range(len(inputs))]
    sources = {n: CaseCube(c, meta_of(c, n)) for n, c in zip(names, inputs, strict=True)}
    g = Graph()
    with _known(sources):
        refs = [getattr(g, SOURCE)(name=name) for name in names]
        graph, errors = parse(g.result(build(g, *refs)))
        assert graph is not None, errors
        env = Env(FakeCatalog(), fetch=Path)  # type: ignore[arg-type]
        plan = make_plan(graph, env)
        if plan.problems:
            raise plan.problems[0]
        meta = plan.calls[plan.result].meta
        assert isinstance(meta, CubeMeta)
        whole = meta.grid.cover(meta.extent)
        column, row = meta.grid.position(whole)
        left, top, right, bottom = cut or (0, 0, whole.shape[1], whole.shape[0])
        box = meta.grid.box(column + left, row + top, right - left, bottom - top)
        work = Evaluation(plan, env, {}, None)  # type: ignore[arg-type]
        return work.window(Window(0, box, meta.extent))
