"""Published process graphs as batch jobs of the real client, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openeo
import pandas as pd
import pytest
import xarray as xr

from support.service import ServerProcess


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openeo.Connection]:
    server = ServerProcess(tmp_path_factory.mktemp("published")).start()
    try:
        known = server.known
        yield openeo.connect(known["url"]).authenticate_basic(known["user"], known["password"])
    finally:
        server.stop()


def results(
    connection: openeo.Connection, shared_data: Path, name: str, folder: Path
) -> dict[str, Any]:
    """Run a graph on a small area for some days; returns the results document."""
    path = shared_data / "process_graphs" / "gfmap_generated" / f"{name}.json"
    graph = json.loads(path.read_text())["process_graph"]
    arguments = graph["loadcollection1"]["arguments"]
    arguments["temporal_extent"] = ["2022-01-01", "2022-01-20"]
    if arguments["spatial_extent"]:
        arguments["spatial_extent"].update(east=5.053, north=51.212)
    job = connection.create_job(graph, title=name)
    job.start_and_wait(print=lambda text: None, max_poll_interval=0.2, connection_retry_interval=1)
    found = job.get_results()
    found.download_files(folder, include_stac_metadata=False)
    document: dict[str, Any] = found.get_metadata()
    assert {p.name for p in folder.iterdir()} == set(document["assets"])
    return document


def test_float_composites(connection: openeo.Connection, shared_data: Path, tmp_path: Path) -> None:
    """Their missing pixels are NaN, in the files and in what is said of them."""
    document = results(connection, shared_data, "median_compositing_month", tmp_path)
    assert document["assets"]["openEO.nc"]["nodata"] == "nan"
    with xr.open_dataset(tmp_path / "openEO.nc") as file:
        assert file.t.values.astype("datetime64[D]").astype(str).tolist() == ["2022-01-01"]
        assert file["S2-L2A-B04"].dtype == np.float32
        assert float(file["S2-L2A-B04"].max()) > 0


def test_tables(connection: openeo.Connection, shared_data: Path, tmp_path: Path) -> None:
    results(connection, shared_data, "s2_point_aggregate_spatial", tmp_path)
    frame = pd.read_parquet(tmp_path / "openEO.parquet")
    assert len(frame) == 6
    assert "S2-L2A-SCL:2022-01-04" in frame.columns
    assert frame.notna().all(axis=None)


def test_files_by_feature(connection: openeo.Connection, shared_data: Path, tmp_path: Path) -> None:
    document = results(connection, shared_data, "s2_polygon_wc_extraction", tmp_path)
    assert sorted(document["assets"]) == [f"S2-L2A-10m_{i}.nc" for i in range(6)]
    assert {a["nodata"] for a in document["assets"].values()} == {65535}
    assert {a["proj:epsg"] for a in document["assets"].values()} == {32633}
