"""Graphs that openeo-gfmap makes, and the processes of others: what runs here, and what does not.

Each graph runs on a small part of its place and time, on the simulated archive, through the engine
alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from openeo_gfmap.local.catalog import Catalog
from openeo_gfmap.local.engine import execute, validate
from openeo_gfmap.local.engine.plan import Env
from openeo_gfmap.local.engine.registry import all_processes

PERIOD = ["2022-01-01", "2022-01-26"]
BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")


@dataclass(frozen=True)
class Outcome:
    """What becomes of a graph: the error that refuses it, or its files.

    Attributes
    ----------
    files
        Names of the files.
    bands
        Variables of the first file.
    dtype
        Of the variables.
    dates
        Dates in the first file; None: those with data.
    error
        Code of the error.
    why
        What the graph is, or why it is refused.
    """

    why: str
    files: tuple[str, ...] = ("openEO.nc",)
    bands: tuple[str, ...] = tuple(f"S2-L2A-{b}" for b in (*BANDS, "SCL"))
    dtype: str = "int16"  # unsigned, as NetCDF files store it
    dates: int | None = None
    error: str | None = None


PATCHES = tuple(f"openEO_{i}.nc" for i in range(6))

OUTCOMES: dict[str, Outcome] = {
    "s2_tile": Outcome("all pixels of a place"),
    "s2_tile_3035_20m": Outcome("on another grid"),
    "s2_tile_scl_dilation": Outcome("masked by dilated scene classes"),
    "s2_polygon_samplebyfeature": Outcome("one file per feature", PATCHES),
    "s2_polygon_cloudcover_property": Outcome("of scenes with few clouds", PATCHES),
    "s2_polygon_wc_extraction": Outcome(
        "with names of its own", tuple(f"S2-L2A-10m_{i}.nc" for i in range(6))
    ),
    "s2_point_aggregate_spatial": Outcome("values of points", ("openEO.parquet",)),
    "median_compositing_month": Outcome(
        "monthly medians of masked bands", dtype="float32", dates=1
    ),
    "mean_dekad_linear_interpolation_uint16": Outcome(
        "means of dekads, gaps filled, cast to integers", dates=3
    ),
    "bap_score": Outcome("scores by a UDF", bands=("S2-L2A-BAPSCORE",), dtype="float64"),
    "bap_masking_dekad": Outcome("best pixels of each dekad"),
    "bap_masking_quintad": Outcome("best pixels of each quintad"),
    "s1_grd_tile": Outcome(
        "there is no radar collection: SENTINEL1_GRD is not simulated",
        error="CollectionNotFound",
    ),
}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Env:
    archive = tmp_path_factory.mktemp("archive")
    return Env(Catalog.from_settings({}, archive), fetch=Path)


def small(graph: dict[str, Any]) -> dict[str, Any]:
    """Return the graph on some hundred metres and some weeks."""
    for node in graph.values():
        arguments = node["arguments"]
        if node["process_id"] == "load_collection":
            arguments["temporal_extent"] = PERIOD
            if arguments["spatial_extent"]:
                arguments["spatial_extent"].update(east=5.053, north=51.212)
    return graph


# The published UDFs call a function that scikit-image is about to drop.
@pytest.mark.filterwarnings("ignore:`binary_erosion`:FutureWarning")
@pytest.mark.parametrize("name", OUTCOMES)
def test_graph(name: str, env: Env, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "process_graphs" / "gfmap_generated" / f"{name}.json"
    graph, wanted = small(json.loads(path.read_text("utf-8"))["process_graph"]), OUTCOMES[name]
    problems = validate(graph, catalog=env.catalog)
    assert [e.code for e in problems] == ([wanted.error] if wanted.error else [])
    if wanted.error:
        assert "SENTINEL1_GRD" in problems[0].message
        return
    made = execute(graph, env=env, out_dir=tmp_path)
    assert tuple(a.name for a in made.assets) == wanted.files
    first = tmp_path / wanted.files[0]
    if first.suffix == ".parquet":
        assert len(pd.read_parquet(first)) == 6
        return
    with xr.open_dataset(first, mask_and_scale=False) as file:
        variables = [v for v in file.data_vars if v != "crs"]
        assert tuple(variables) == wanted.bands
        assert {file[v].dtype.name for v in variables} == {wanted.dtype}
        dates = len(set(file.t.values.tolist()))
        assert dates >= 1 if wanted.dates is None else dates == wanted.dates
        values = file[variables[0]].values
        assert np.isfinite(values.astype(float)).any()
        assert len(np.unique(values)) > 1


def test_every_graph_is_in_the_table(shared_data: Path) -> None:
    folder = shared_data / "process_graphs" / "gfmap_generated"
    assert {p.stem for p in folder.glob("*.json")} == set(OUTCOMES)


# Processes of at least two production graphs that are not here, and why.
MODEL = "one back-end's own model or service, not a process of openEO"
ABSENT = {
    "wind_turbine_detection": MODEL,
    "sen2like": MODEL,
    "run_cwl_to_stac": MODEL,
    "cropsar1d": MODEL,
    "cropsar2d": MODEL,
    "load_ml_model": "loads one back-end's own random forests; predict_onnx takes open models",
    "predict_random_forest": "predicts with one back-end's own random forests; see predict_onnx",
    "foo": "a test's name for a user-defined process",
    "load_collection_and_reduce": "a user-defined process: store it, and it is there",
}


def test_processes_of_production_graphs_are_here_or_have_a_reason(shared_data: Path) -> None:
    table = (shared_data / "process_graphs" / "FREQUENCY.md").read_text("utf-8")
    counts = {m[1]: int(m[2]) for m in re.finditer(r"^\|([\w-]+)\|(\d+)\|", table, re.MULTILINE)}
    assert len(counts) > 100
    common = {name for name, count in counts.items() if count >= 2}
    assert common - all_processes().keys() == ABSENT.keys()
