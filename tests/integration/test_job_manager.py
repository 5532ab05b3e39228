"""The job manager against a real HTTP back-end of our own, with the real client."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openeo
import pandas as pd
import pystac
import pytest

from openeo_gfmap.manager.job_manager import GFMAPJobManager
from support.fake_backend import FakeBackend, Script, fake_backend
from support.manager_run import GRAPH, label, manager, output_path, start_job, table
from support.patches import patch_bytes
from support.stac_schemas import SchemaFolder


@pytest.fixture
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeBackend]:
    folder = tmp_path_factory.mktemp("patches")
    with fake_backend() as running:
        running.default = Script(
            assets={f"openEO_{n}.nc": patch_bytes(folder, seed=n) for n in (2, 0, 1)}
        )
        yield running


def tracker_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "tracker.csv")


def items_of(folder: Path) -> list[pystac.Item]:
    collection = pystac.Collection.from_file(str(folder / "out" / "stac" / "collection.json"))
    return list(collection.get_items())


def test_a_run_from_rows_to_collection(
    tmp_path: Path, backend: FakeBackend, shared_data: Path
) -> None:
    run = manager(tmp_path, backend.url, post_job_action=label)
    run.setup_stac("sentinel2", item_assets={})
    counts = run.run_jobs(table(5), start_job, tmp_path / "tracker.csv")
    assert counts == {"finished": 5}
    assert set(backend.created().values()) == set(backend.started().values()) == {1}
    assert 2 <= backend.most_active <= 3
    tracker = tracker_of(tmp_path)
    assert set(tracker.status) == {"finished"} and set(tracker.backend_name) == {"fake"}
    assert set(tracker.costs) == {3.0} and set(tracker.cpu) == {"12 cpu-seconds"}
    assert set(tracker.description) == {"as the user says"}
    assert tracker.memory.isna().all() and tracker.start_time.notna().all()
    assert list(tracker.title) == list(table(5).title)
    assert list(tracker.geometry) == list(table(5).geometry)
    items = items_of(tmp_path)
    assert len({item.id for item in items}) == len(items) == 15
    schemas = SchemaFolder(shared_data / "stac_schemas")
    schemas.check(json.loads((tmp_path / "out/stac/collection.json").read_text()))
    for item in items:
        document = json.loads(Path(str(item.self_href)).read_text())
        schemas.check(document)
        for key, asset in item.assets.items():
            file = Path(str(asset.get_absolute_href()))
            # Sizes are those after the action, which rewrote the files.
            assert document["assets"][key]["file:size"] == file.stat().st_size
        assert set(item.assets) == {"sentinel2", "auxiliary"}
    assert not (tmp_path / "out" / ".downloads").exists()
    assert not list((tmp_path / "out").rglob("*.part"))


def test_the_same_again_does_nothing(tmp_path: Path, backend: FakeBackend) -> None:
    for _ in range(2):
        run = manager(tmp_path, backend.url)
        run.run_jobs(table(2), start_job, tmp_path / "tracker.csv")
        assert len(items_of(tmp_path)) == 6
    assert len(backend.jobs) == 2
    assert backend.requests["GET /jobs/{id}/results"] == 2


def test_the_action_sees_items_in_the_order_of_the_features(
    tmp_path: Path, backend: FakeBackend
) -> None:
    seen: list[tuple[list[str], Any]] = []

    def action(items: list[pystac.Item], row: pd.Series, parameters: dict[str, int]) -> Any:
        paths = [Path(next(iter(item.assets.values())).href) for item in items]
        assert all(path.is_absolute() and path.is_file() for path in paths)
        assert row.status == "postprocessing" and row.backend_name == "fake"
        seen.append(([path.name for path in paths], (row.name, parameters)))
        return items[:2]  # the user may leave items out

    df = table(1).set_index(pd.Index(["my label"]))
    run = manager(tmp_path, backend.url, post_job_action=action, post_job_params={"n": 1})
    run.run_jobs(df, start_job, tmp_path / "tracker.csv")
    names = ["patch_0.nc", "patch_1.nc", "patch_2.nc"]
    assert seen == [(names, ("my label", {"n": 1}))]
    assert len(items_of(tmp_path)) == 2


def test_the_other_form_of_the_path_generator(tmp_path: Path, backend: FakeBackend) -> None:
    def path(root_folder: Path, geometry_index: int, row: pd.Series, asset_id: str) -> str:
        return f"{row.title}/{geometry_index}_{asset_id}"

    run = manager(tmp_path, backend.url, output_path_generator=path)
    run.run_jobs(table(1), start_job)
    assert sorted(p.name for p in (tmp_path / "out" / "job 0").iterdir()) == [
        "0_openEO_0.nc", "1_openEO_1.nc", "2_openEO_2.nc",
    ]  # fmt: skip


def test_start_job_may_start_or_skip_and_gets_all_it_asks_for(
    tmp_path: Path, backend: FakeBackend
) -> None:
    def start(
        row: pd.Series, connection: Any, provider: str, connection_provider: Any
    ) -> openeo.BatchJob | None:
        assert (row.backend_name, provider) == ("fake", "fake")
        assert connection_provider(provider) is connection
        if row.name == 0:
            return None
        return connection.create_job(GRAPH, title=row.title).start()

    run = manager(tmp_path, backend.url)
    counts = run.run_jobs(table(3), start, tmp_path / "tracker.csv")
    assert counts == {"skipped": 1, "finished": 2}
    assert backend.started() == {"job 1": 1, "job 2": 1}
    assert tracker_of(tmp_path).start_time.notna().sum() == 2


def test_rows_go_to_the_back_end_they_name(tmp_path: Path, backend: FakeBackend) -> None:
    with fake_backend() as other:
        other.default = backend.default
        run = manager(tmp_path, backend.url)
        run.add_backend("other", other.connection, parallel_jobs=1)
        df = table(6).assign(backend_name=["other", "other", "fake", "fake", "cdse", None])
        run.run_jobs(df, start_job, tmp_path / "tracker.csv")
        assert {"job 0", "job 1"} <= set(other.created())
        assert {"job 2", "job 3"} <= set(backend.created())
        assert len(other.jobs) + len(backend.jobs) == 6
        assert other.most_active == 1
        ran = tracker_of(tmp_path).backend_name
        assert list(ran[:4]) == ["other", "other", "fake", "fake"]
        assert set(ran[4:]) <= {"other", "fake"}


def test_files_that_only_the_items_name_are_found(tmp_path: Path, backend: FakeBackend) -> None:
    backend.assets_in_items = True
    run = manager(tmp_path, backend.url)
    assert run.run_jobs(table(1), start_job) == {"finished": 1}
    assert len(list((tmp_path / "out").rglob("patch_*.nc"))) == 3


# ------------------------------------------------------------------------------- hooks and restart


class Hooked(GFMAPJobManager):
    """A manager whose user wants to be told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.told: list[tuple[str, str, str]] = []

    def on_job_done(self, job: openeo.BatchJob, row: pd.Series) -> None:
        self.told.append(("done", job.job_id, row.title))

    def on_job_error(self, job: openeo.BatchJob, row: pd.Series) -> None:
        self.told.append(("error", job.describe()["status"], row.title))
        raise RuntimeError("a hook can fail, too")


def test_the_hooks_are_called(tmp_path: Path, backend: FakeBackend) -> None:
    backend.scripts["job 1"] = Script(states=("error",))
    run = Hooked(tmp_path / "out", output_path, poll_sleep=0.05)
    run.add_backend("fake", backend.connection(), parallel_jobs=1)
    assert run.run_jobs(table(2), start_job) == {"finished": 1, "error": 1}
    assert sorted(run.told) == [("done", "j-0000", "job 0"), ("error", "error", "job 1")]
    assert not (tmp_path / "out" / "failed_jobs").exists()


def test_failed_jobs_are_made_anew_when_asked_for(tmp_path: Path, backend: FakeBackend) -> None:
    backend.scripts["job 1"] = Script(states=("error",))
    backend.scripts["job 2"] = Script(creation_status=400)
    tracker = tmp_path / "tracker.csv"
    run = manager(tmp_path, backend.url)
    assert run.run_jobs(table(3), start_job, tracker) == {
        "finished": 1, "error": 1, "start_failed": 1,
    }  # fmt: skip
    backend.scripts.clear()
    again = manager(tmp_path, backend.url)
    again.run_jobs(table(3), start_job, tracker)
    assert list(tracker_of(tmp_path).status) == ["finished", "error", "start_failed"]
    anew = manager(tmp_path, backend.url, restart_failed=True)
    assert anew.run_jobs(table(3), start_job, tracker) == {"finished": 3}
    assert backend.created() == {"job 0": 1, "job 1": 2, "job 2": 1}
    assert len(items_of(tmp_path)) == 9


def test_failed_post_processing_is_taken_up_or_not(tmp_path: Path, backend: FakeBackend) -> None:
    tracker = tmp_path / "tracker.csv"

    def fail(items: list[pystac.Item], row: pd.Series) -> Any:
        label(items, row)  # it has rewritten the files when it fails
        raise ValueError("not today")

    first = manager(tmp_path, backend.url, post_job_action=fail)
    assert first.run_jobs(table(2), start_job, tracker) == {"postprocessing-error": 2}
    assert items_of(tmp_path) == []
    left = manager(tmp_path, backend.url, post_job_action=label, resume_postproc=False)
    assert left.run_jobs(table(2), start_job, tracker) == {"postprocessing-error": 2}
    resumed = manager(tmp_path, backend.url, post_job_action=label)
    assert resumed.run_jobs(table(2), start_job, tracker) == {"finished": 2}
    assert len(backend.jobs) == 2
    # The action got the files as they were downloaded, not as its first try had left them.
    for path in (tmp_path / "out").rglob("patch_*.nc"):
        assert path.read_bytes().count(b"rewritten") == 1


# --------------------------------------------------------------------------- other tools' trackers


def test_a_job_that_is_gone_is_an_error(tmp_path: Path, backend: FakeBackend) -> None:
    table(1).assign(status="running", id="j-gone", backend_name="fake").to_csv(
        tmp_path / "tracker.csv", index=False
    )
    run = manager(tmp_path, backend.url)
    assert run.run_jobs(table(1), start_job, tmp_path / "tracker.csv") == {"error": 1}


# ---------------------------------------------------------------------------------------- stopping


def test_ctrl_c_finishes_what_is_in_hand(
    tmp_path: Path, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    in_action = threading.Event()

    def slow(items: list[pystac.Item], row: pd.Series) -> list[pystac.Item]:
        in_action.set()
        time.sleep(0.5)
        return items

    def interrupt() -> None:
        in_action.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    run = manager(tmp_path, backend.url, post_job_action=slow, n_threads=1)
    with pytest.raises(KeyboardInterrupt, match="Run the same again to resume"):
        run.run_jobs(table(12), start_job, tmp_path / "tracker.csv")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    statuses = tracker_of(tmp_path).status.value_counts()
    assert statuses["finished"] >= 1 and statuses["not_started"] >= 1
    assert len(items_of(tmp_path)) == 3 * statuses["finished"]
    again = manager(tmp_path, backend.url)
    assert again.run_jobs(table(12), start_job, tmp_path / "tracker.csv") == {"finished": 12}
    assert set(backend.created().values()) == set(backend.started().values()) == {1}


def test_an_existing_collection_is_continued(tmp_path: Path, backend: FakeBackend) -> None:
    first = manager(tmp_path, backend.url)
    first.run_jobs(table(1), start_job, tmp_path / "one.csv")
    more = table(2).iloc[1:]
    second = manager(
        tmp_path, backend.url, collection_id=None, stac=tmp_path / "out/stac/collection.json"
    )
    second.run_jobs(more, start_job, tmp_path / "two.csv")
    assert len(items_of(tmp_path)) == 6
    path = second.create_stac(tmp_path / "elsewhere")
    collection = pystac.Collection.from_file(str(path))
    assert collection.id == "TEST"
    for item in collection.get_items():
        assert Path(str(item.assets["sentinel2"].get_absolute_href())).is_file()
