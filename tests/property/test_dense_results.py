"""Results larger than memory: their tiles leave no trace in the files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.engine import execute
from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.graph import parse
from openeo_gfmap.local.engine.meta import CubeMeta
from openeo_gfmap.local.engine.outputs_dense import DenseFile
from openeo_gfmap.local.engine.plan import Env
from openeo_gfmap.local.engine.planner import make_plan
from support.fake_source import FakeCatalog, FakeCollection, FakeReader
from support.graphs import Graph, load, on_data, utm_box

WEST, NORTH = 500000, 5600800
WIDTH, HEIGHT = 150, 80
PLACE = utm_box(WEST, NORTH - 10 * HEIGHT, 10 * WIDTH, 10 * HEIGHT)
NO_MEMORY = 1  # byte: the smallest tiles, of 64 px, and the result in a file


def composite(g: Graph) -> Any:
    cube = load(g, ["B02", "B11", "SCL"], PLACE)
    masked = g.mask_scl_dilation(data=cube, kernel1_size=5, kernel2_size=33, erosion_kernel_size=3)
    return g.aggregate_temporal_period(data=masked, period="month", reducer=on_data("median"))


def files(graph: dict[str, Any], folder: Path, memory: int) -> dict[str, bytes]:
    collection = FakeCollection(count=5)
    env = Env(FakeCatalog(collection), memory=memory, open_reader=partial(FakeReader, collection))
    result = execute(graph, env=env, out_dir=folder)
    assert [p.name for p in sorted(folder.iterdir())] == sorted(a.name for a in result.assets)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("format", ["GTiff", "NetCDF"])
@pytest.mark.parametrize("made", [composite, lambda g: load(g, ["B02", "SCL"], PLACE)])
def test_tiles_give_the_file_of_one_window(tmp_path: Path, format: str, made: Any) -> None:
    g = Graph()
    graph = g.result(g.save_result(data=made(g), format=format))
    whole = files(graph, tmp_path / "whole", 1 << 30)
    tiled = files(graph, tmp_path / "tiled", NO_MEMORY)
    assert whole.keys() == tiled.keys()
    assert all(whole[name] == tiled[name] for name in whole)


def test_flattened_composites_are_bands_of_one_file(tmp_path: Path) -> None:
    g = Graph()
    flat = g.flatten_dimensions(
        data=composite(g), dimensions=["t", "bands"], target_dimension="composites"
    )
    (name,) = files(g.result(g.save_result(data=flat, format="GTiff")), tmp_path, NO_MEMORY)
    with rasterio.open(tmp_path / name) as file:
        assert file.count == len(file.descriptions) >= 3
        assert all("~" in band for band in file.descriptions)


def output(folder: Path) -> DenseFile:
    g = Graph()
    parsed, errors = parse(g.result(load(g, ["B02"], PLACE)))
    assert parsed is not None, errors
    plan = make_plan(parsed, Env(FakeCatalog(FakeCollection(count=2)), fetch=Path))
    meta = plan.calls[plan.result].meta
    assert isinstance(meta, CubeMeta)
    return DenseFile(plan, meta, folder, "netcdf", "made", NO_MEMORY)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(
        st.sampled_from([("uint8", None), ("uint8", 255), ("uint8", 0), ("uint16", 65535),
                         ("int16", -1), ("float32", None)]),
        min_size=6, max_size=6,
    ),
)  # fmt: skip
def test_tiles_of_different_types_become_one(tmp_path: Path, seed: int, kinds: Any) -> None:
    """Values stay values, also where they are another tile's nodata, and missing stays missing."""
    rng = np.random.default_rng(seed)
    dense = output(tmp_path)
    windows = dense.windows()
    days = np.array(["2023-01-01", "2023-01-05", "2023-01-09"], dtype="datetime64[ns]")
    expected = np.full((3, HEIGHT, WIDTH), np.nan)
    column, row = dense.meta.grid.position(dense.box)
    for window, (dtype, nodata) in zip(windows, kinds, strict=True):
        data = rng.choice([0, 1, 7, 254, 255], (3, *window.box.shape)).astype(dtype)
        if dtype == "float32":
            data[rng.random(data.shape) < 0.2] = np.nan
        data[1] = np.nan if dtype == "float32" else nodata if nodata is not None else data[1]
        tile = Cube(data, ("t", "y", "x"), {"t": days}, window.box, nodata)
        left, top = dense.meta.grid.position(window.box)
        place = (slice(None), slice(top - row, top - row + data.shape[1]),
                 slice(left - column, left - column + data.shape[2]))  # fmt: skip
        expected[place] = tile.as_float().data
        assert dense.collect(window, tile) == []
    (asset,) = dense.finish()
    with xr.open_dataset(tmp_path / "made.nc") as dataset:
        found = dataset["var"].values.astype("float64")
        kept = dataset["t"].values
    if asset.nodata is not None and not np.isnan(asset.nodata):
        found[found == asset.nodata] = np.nan
    empty = np.isnan(expected).all(axis=(1, 2))
    np.testing.assert_array_equal(kept, days[~empty])
    np.testing.assert_array_equal(found, expected[~empty])


def test_tiles_are_neighbours_in_turn_and_cover_the_result_once(tmp_path: Path) -> None:
    dense = output(tmp_path)
    seen = np.zeros((HEIGHT, WIDTH), dtype=int)
    column, row = dense.meta.grid.position(dense.box)
    for window in dense.windows():
        left, top = dense.meta.grid.position(window.box)
        rows, columns = window.box.shape
        seen[top - row : top - row + rows, left - column : left - column + columns] += 1
        assert max(rows, columns) <= 64
    assert (seen == 1).all()
