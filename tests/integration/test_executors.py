"""One job in process, in a pool and on a cluster: the same result, also when workers are lost."""

from __future__ import annotations

import hashlib
import os
import signal
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import pytest
from distributed import Client, LocalCluster

from openeo_gfmap.local.engine.result import JobResult
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.object_store import ObjectStore
from support.fake_source import FakeCollection, FakeReader
from support.graphs import Graph, box_geojson, callback, load, on_data, run, utm_box
from support.slow_reader import SlowReader

UDF = """
import logging
import numpy as np
from openeo.udf import XarrayDataCube

def apply_datacube(cube, context):
    array = cube.get_array()
    logging.getLogger("mine").info("from %d", int(array.x[0]))
    return XarrayDataCube(array * 2)
"""
COUNT = 24
WEST = [500000 + 640 * i for i in range(COUNT)]


def patches(code: str = "", count: int = COUNT) -> dict[str, Any]:
    g = Graph()
    boxes = box_geojson(*((w, 5600000, w + 160, 5600160) for w in WEST[:count]))
    cube = g.filter_spatial(data=load(g, ["B02", "B04"]), geometries=boxes)
    if code:
        udf = callback("run_udf", data={"from_parameter": "data"}, udf=code, runtime="Python")
        size = [{"dimension": d, "unit": "px", "value": 16} for d in "xy"]
        cube = g.apply_neighborhood(data=cube, process=udf, size=size, overlap=[])
    options = {"sample_by_feature": True, "feature_id_property": "id"}
    return g.result(g.save_result(data=cube, format="NetCDF", options=options))


def mosaic() -> dict[str, Any]:
    g = Graph()
    cube = load(g, ["B02", "B04"], utm_box(500000, 5600000, 12000, 9000))
    cube = g.reduce_dimension(data=cube, dimension="t", reducer=on_data("max"))
    return g.result(g.save_result(data=cube, format="NetCDF"))


class Notes:
    """What a run logs and tells of its progress."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.percent: list[float] = []

    def __call__(self, level: str, message: str) -> None:
        self.log.append((level, message))

    def messages(self, level: str = "") -> list[str]:
        return [message for its, message in self.log if level in ("", its)]


def done(graph: dict[str, Any], folder: Path, notes: Notes | None = None, **more: Any) -> JobResult:
    notes = notes or Notes()
    settings = {
        "log": notes, "progress": notes.percent.append,
        "open_reader": partial(FakeReader, FakeCollection()), **more,
    }  # fmt: skip
    return run(graph, folder, **settings)


def names(result: JobResult) -> list[str]:
    return sorted(asset.name for asset in result.assets)


def contents(file: Path | BytesIO) -> dict[str, Any]:
    """Return all that a file holds. Where in the file HDF5 puts it differs now and then."""
    with h5py.File(file) as opened:
        found = {
            name: (member.dtype.str, member.shape, member[()].tobytes(), _texts(member))
            for name, member in opened.items()
        }
        return {**found, "/": _texts(opened)}


def _texts(target: Any) -> dict[str, str]:
    # References tell places in the file.
    return {
        name: str(value)
        for name, value in target.attrs.items()
        if name not in ("DIMENSION_LIST", "REFERENCE_LIST")
    }


def folder_of(folder: Path) -> dict[str, Any]:
    return {path.name: contents(path) for path in sorted(folder.iterdir())}


def workers_of(cluster: LocalCluster) -> list[int]:
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        return sorted(client.run(os.getpid).values())


class TestSameResult:
    @pytest.mark.parametrize("graph", [patches(), mosaic()], ids=["patches", "mosaic"])
    def test_everywhere(self, cluster: LocalCluster, tmp_path: Path, graph: Any) -> None:
        # A small share of memory makes several tiles of the mosaic.
        share = {"memory": 1 << 25}
        found = {
            "here": done(graph, tmp_path / "here", **share),
            "pool": done(graph, tmp_path / "pool", workers=2, **share),
            "cluster": done(graph, tmp_path / "c", scheduler=cluster.scheduler_address, **share),
        }
        assert found["here"].usage["windows"] > 1
        files = folder_of(tmp_path / "here")
        assert files == folder_of(tmp_path / "pool") == folder_of(tmp_path / "c")
        assert (
            list(files) == names(found["here"]) == names(found["pool"]) == names(found["cluster"])
        )

    def test_logs_of_udfs_and_progress(self, cluster: LocalCluster, tmp_path: Path) -> None:
        for settings in ({}, {"workers": 2}, {"scheduler": cluster.scheduler_address}):
            notes = Notes()
            done(patches(UDF, count=4), tmp_path / str(len(settings)), notes, **settings)
            said = [m for m in notes.messages("info") if m.startswith("from ")]
            assert sorted(said) == [f"from {w + 5}" for w in WEST[:4]]
            assert notes.percent == [25, 50, 75, 100]


class TestLostWorkers:
    def test_one_is_killed(self, cluster: LocalCluster, tmp_path: Path) -> None:
        expected = done(patches(UDF), tmp_path / "here")
        victim, _ = workers_of(cluster)
        note = tmp_path / "note"
        notes = Notes()

        def kill_one(percent: float) -> None:
            if len(notes.percent) == 3:
                os.kill(victim, signal.SIGKILL)
            notes.percent.append(percent)

        reader = partial(SlowReader, FakeCollection(), seconds=0.15, note=note)
        result = done(
            patches(UDF), tmp_path / "out", notes, scheduler=cluster.scheduler_address,
            open_reader=reader, progress=kill_one,
        )  # fmt: skip
        assert names(result) == names(expected)
        assert folder_of(tmp_path / "out") == folder_of(tmp_path / "here")
        read_by = [int(line) for line in note.read_text().splitlines()]
        assert victim in read_by, "the one that was killed had a part in the job"
        assert read_by.index(victim) < len(read_by) - 1 and len(set(read_by)) >= 2
        assert notes.percent == [100 * i / COUNT for i in range(1, COUNT + 1)]

    def test_a_window_that_kills_every_worker(
        self, cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workers_of(cluster)  # all there
        monkeypatch.setattr(cluster.scheduler, "allowed_failures", 1)  # not three, which take long
        reader = partial(SlowReader, FakeCollection(), poison=WEST[5])
        with pytest.raises(
            OpenEOError, match=r"given the windows \d.*: most often for want of memory"
        ):
            done(
                patches(), tmp_path, scheduler=cluster.scheduler_address, open_reader=reader,
            )  # fmt: skip

    def test_in_a_pool_it_is_told(self, tmp_path: Path) -> None:
        reader = partial(SlowReader, FakeCollection(), poison=WEST[5])
        with pytest.raises(OpenEOError, match="ended by itself, most often for want of memory"):
            done(patches(), tmp_path, workers=2, open_reader=reader)


class TestErrors:
    def test_window_and_node(self, cluster: LocalCluster, tmp_path: Path) -> None:
        code = UDF + f"    # unreached\n\nLIMIT = {WEST[3]}\n"
        code = code.replace(
            "    return X",
            "    if int(array.x[0]) == LIMIT + 5: raise RuntimeError('no')\n    return X",
        )
        for i, more in enumerate(({}, {"scheduler": cluster.scheduler_address})):
            notes = Notes()
            with pytest.raises(OpenEOError) as caught:
                done(patches(code, 6), tmp_path / str(i), notes, **more)
            assert caught.value.code == "UdfError"
            assert caught.value.message.startswith("Feature 3 (window 3 of 6): The UDF failed at")
            assert "RuntimeError: no" in caught.value.message
            assert caught.value.node == "apply_neighborhood2"
            # What it logged before it failed is there as well.
            assert f"from {WEST[3] + 5}" in notes.messages("info")

    def test_no_scheduler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("openeo_gfmap.local.engine.executors.cluster._CONNECT_SECONDS", 1)
        with pytest.raises(
            OpenEOError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9 "
        ):
            done(patches(), tmp_path, scheduler="tcp://127.0.0.1:9")

    def test_a_folder_that_is_not_shared(
        self, cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from openeo_gfmap.local.engine.executors.places import FolderPlace

        # Stands for another machine: there the path is another folder, without the mark.
        monkeypatch.setattr(FolderPlace, "mark", lambda self: None)
        with pytest.raises(OpenEOError, match="does not see the results folder") as caught:
            done(patches(), tmp_path, scheduler=cluster.scheduler_address)
        assert "result_store" in caught.value.message


class TestObjectStore:
    @pytest.mark.parametrize("where", ["here", "cluster"])
    def test_results_go_there(
        self, s3: str, cluster: LocalCluster, tmp_path: Path, where: str
    ) -> None:
        more = {"scheduler": cluster.scheduler_address} if where == "cluster" else {}
        url = f"{s3}/job/{where}"
        result = done(patches(count=6), tmp_path / "out", store=url, **more)
        expected = done(patches(count=6), tmp_path / "here")
        assert names(result) == names(expected)
        assert not list((tmp_path / "out").iterdir())
        store = ObjectStore(url)
        assert sorted(store.names()) == names(expected)
        for asset in result.assets:
            stored = b"".join(store.chunks(asset.name, 0, asset.size))
            assert asset.checksum == "1220" + hashlib.sha256(stored).hexdigest()
            assert contents(BytesIO(stored)) == contents(tmp_path / "here" / asset.name)
        store.clear()
        assert store.names() == []

    def test_one_file_for_all(self, s3: str, tmp_path: Path) -> None:
        result = done(mosaic(), tmp_path / "out", store=f"{s3}/mosaic", memory=1 << 25)
        assert ObjectStore(f"{s3}/mosaic").names() == [asset.name for asset in result.assets]

    def test_a_store_that_is_not_there(self, s3: str, tmp_path: Path) -> None:
        with pytest.raises(OpenEOError, match=r"s3://no-such-bucket/x: \.run cannot be stored"):
            done(patches(), tmp_path, store="s3://no-such-bucket/x")
