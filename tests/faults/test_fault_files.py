"""Result files that do not arrive as they should: no bad one in place, others undisturbed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from faults.proxy import (
    BAD_GATEWAY,
    EMPTY,
    HTML_PAGE,
    UNAVAILABLE,
    Answer,
    Chunked,
    Cut,
    Fault,
    Half,
    Hang,
    Longer,
    NoLength,
    Reset,
    What,
    WrongBytes,
)
from faults.world import QUICK, World
from support.manager_run import output_path, start_job
from support.patches import patch_bytes

FILES = "GET /files/.*"
BROKEN = [
    Cut(), Cut(reset=False), Cut(0.0), NoLength(), NoLength(0.0), Chunked(), Chunked(hang=True),
    Half(), Longer(), EMPTY, HTML_PAGE, WrongBytes(), Reset(), Hang(), BAD_GATEWAY,
]  # fmt: skip


@pytest.mark.parametrize("checksums", [True, False], ids=["with checksums", "without"])
def test_files_that_come_broken_are_fetched_again(world: World, checksums: bool) -> None:
    """Each job's files come broken in another way, once; those of the last job are whole."""
    world.jobs = len(BROKEN) + 1
    world.backend.page = 50
    world.backend.default.with_checksums = checksums
    world.fail(
        *(Fault(f"GET /files/j-{n:04}/.*", what, 1, done=True) for n, what in enumerate(BROKEN))
    )
    assert world.run() == {"finished": world.jobs}
    for what in BROKEN:
        assert world.proxy.harmed(what) == 2, what
    world.check(warnings=1)


def test_a_download_that_breaks_off_goes_on_where_it_was(world: World) -> None:
    world.jobs = 1
    large = {f"openEO_{n}.nc": patch_bytes(world.folder, seed=n, size=200) for n in range(2)}
    world.backend.default.assets = world.files = large
    world.fail(Fault(FILES, Cut(0.9, reset=False), 2))
    assert world.run() == {"finished": 1}
    assert world.proxy.asked(FILES) == 6
    assert world.backend.resumed == 4  # each file twice
    world.check(warnings=0)


@pytest.mark.parametrize(
    "what", [WrongBytes(), HTML_PAGE, Answer(404, b'{"code": "NotFound", "message": "gone"}'),
             Answer(403, b"<Error>Expired</Error>"), Answer(400, b"no"), Cut(), EMPTY],
    ids=["bytes", "html", "404", "403", "400", "cut", "empty"],
)  # fmt: skip
def test_an_asset_that_never_comes_is_missing_and_all_else_goes_on(
    world: World, what: What
) -> None:
    world.settings["options"] = replace(QUICK, download_attempts=2)
    world.fail(Fault("GET /files/j-0001/openEO_1.nc", what, None))
    assert world.run() == {"error": 1, "finished": world.jobs - 1}
    row = int(world.rows().index[world.rows().status == "error"][0])
    world.check(
        {row: ("error", "1 of 2 files are missing: openEO_1.nc")},
        missing={row: ["patch_1.nc"]},
        warnings=1,
    )


def test_a_store_of_files_that_is_away_costs_no_job(world: World) -> None:
    """The job is done and paid for; what has arrived is not fetched twice."""
    world.jobs = 2
    world.settings["options"] = replace(QUICK, download_attempts=2)
    world.fail(Fault("GET /files/[^/]+/openEO_1.nc", UNAVAILABLE, 5))
    assert world.run() == {"finished": world.jobs}
    assert world.proxy.asked("GET /files/[^/]+/openEO_0.nc") == world.jobs
    world.check()


@pytest.mark.parametrize("status", [403, 410])
def test_an_expired_address_is_asked_for_again(world: World, status: int) -> None:
    """Every file's address has expired once when it is asked for."""
    world.fail(Fault(FILES, Answer(status, b"<Error>Request has expired</Error>"), 1))
    assert world.run() == {"finished": world.jobs}
    assert world.proxy.harmed() == 2 * world.jobs
    assert world.proxy.asked("GET /jobs/[^/]+/results") == 3 * world.jobs
    world.check(warnings=0)


# ------------------------------------------------------------------------- results that cannot be


def test_a_job_without_any_file_is_an_error(world: World) -> None:
    world.script(1, assets={})
    assert world.run() == {"error": 1, "finished": world.jobs - 1}
    world.check({1: ("error", "finished without any file")}, warnings=0)


def test_names_of_assets_lead_nowhere(world: World) -> None:
    """Whatever they are called, the files go where the user's function says."""
    named = [
        ["../../evil.nc"], ["/etc/evil.nc"], ["x" * 3000 + ".nc"], ["é" * 200 + "\n\t.nc"],
        ["a/b\\c:d*e?.nc", "a_b_c_d_e_.nc"], ["openEO_0.NC", "OPENEO_0.nc"], ["a?.nc", "a*.nc"],
    ]  # fmt: skip
    world.jobs = len(named)
    for row, names in enumerate(named):
        # The second of two whose safe names are the same does not overwrite the first.
        world.script(row, assets=dict(zip(names, world.files.values(), strict=False)))
    assert world.run() == {"finished": world.jobs}
    for row, names in enumerate(named):
        found = {path.name: path.read_bytes() for path in (world.out / f"job_{row}").iterdir()}
        assert sorted(found) == [f"patch_{n}.nc" for n in range(len(names))]
        assert set(found.values()) == set(list(world.files.values())[: len(names)])
    outside = [p for p in world.folder.iterdir() if not p.name.startswith(("tracker", "out"))]
    assert not outside and not Path("/etc/evil.nc").exists()
    assert not world.warnings()


@pytest.mark.parametrize("accepted", [False, True])
def test_fewer_files_than_features_is_told(world: World, accepted: bool) -> None:
    """Each file stays with its feature, which its name says, and who has none is named."""
    context = {"properties": {"extract": False}}  # for the post-job action only
    features = json.dumps({"type": "FeatureCollection", "features": [{}, {}, {}, context]})
    world.script(1, assets={"openEO_2.nc": world.files["openEO_0.nc"]})
    world.script(2, assets={"mosaic.nc": world.files["openEO_0.nc"]})  # one for all
    df = world.table()
    df.loc[[1, 2], "geometry"] = features
    options = replace(QUICK, features_without_file=accepted)
    counts = world.run(df=df, options=options)
    assert list((world.out / "job_1").iterdir()) == [world.out / "job_1" / "patch_2.nc"]
    assert len(world.items()) == 2 * (world.jobs - 2) + 2
    if accepted:
        assert counts == {"finished": world.jobs}
    else:
        assert counts == {"error": 1, "finished": world.jobs - 1}
        assert "2 of 3 features have no file: 0, 1" in world.messages()[1]
    assert len(world.backend.jobs) == world.jobs


def test_paths_that_cannot_be_are_an_error_of_their_job(world: World) -> None:
    wanted: list[tuple[Callable[[Path, pd.Series], Any], str]] = [
        (lambda root, row: root / "same.nc", "for two files"),
        (lambda root, row: "../out.nc", "outside the output folder"),
        (lambda root, row: "/etc/out.nc", "outside the output folder"),
        (lambda root, row: root, "outside the output folder"),
        (lambda root, row: None, "output_path_generator"),
        (lambda root, row: "a/" * 3000 + "b", "cannot be a path here"),
        (lambda root, row: "tracker\0.csv", "cannot be a path here"),
        (lambda root, row: row["no such"], "no such"),
    ]
    world.jobs = len(wanted) + 1

    def generate(root_folder: Path, tmp_path: Path, geometry_index: int, row: pd.Series) -> Any:
        if row.name < len(wanted):
            return wanted[row.name][0](root_folder, row)
        return output_path(root_folder, tmp_path, geometry_index, row)

    assert world.run(output_path_generator=generate) == {"error": len(wanted), "finished": 1}
    world.check({row: ("error", reason) for row, (_, reason) in enumerate(wanted)}, warnings=0)


@pytest.mark.parametrize(
    "name", ["tracker.csv", "tracker.csv.sqlite", "Tracker.CSV.sqlite-wal", "tracker.csv.lock"]
)
def test_no_file_lands_on_the_tracker(world: World, name: str) -> None:
    """It lies in the output folder, as a rule; the store that remembers all jobs is beside it."""

    def generate(root_folder: Path, geometry_index: int, row: pd.Series) -> Path:
        if row.name == 1 and geometry_index == 0:
            return root_folder / name
        return root_folder / f"job_{row.name}" / f"patch_{geometry_index}.nc"

    for _ in range(2):
        manager = world.manager(output_path_generator=generate)
        counts = manager.run_jobs(world.table(), start_job, world.out / "tracker.csv")
        assert counts == {"error": 1, "finished": world.jobs - 1}
    rows = pd.read_csv(world.out / "tracker.csv")
    assert "a file of the tracker" in rows.error_message[1]
    assert len(world.backend.jobs) == world.jobs and not world.warnings()[1:]


def test_names_that_differ_in_their_case_alone_are_an_error(world: World) -> None:
    """On the disks of most laptops the second would overwrite the first."""

    def generate(root_folder: Path, geometry_index: int, row: pd.Series) -> Path:
        if row.name == 1:
            return root_folder / ("a.nc", "A.nc")[geometry_index]
        return root_folder / f"job_{row.name}" / f"patch_{geometry_index}.nc"

    counts = world.run(output_path_generator=generate)
    assert counts == {"error": 1, "finished": world.jobs - 1}
    world.check({1: ("error", "for two files of one job")}, warnings=0)


@pytest.mark.parametrize("odd", [{"href": None}, {}, None, {"href": 7, "roles": None}], ids=str)
def test_a_file_without_an_address_is_missing(world: World, odd: Any) -> None:
    """Nobody else is: neither the job's other file nor, for an odd link, any at all."""
    href = f"{world.proxy.url}/files/j-0001/openEO_1.nc"
    links = [None, 3, {"rel": "item"}, {"rel": "derived_from", "href": None}]
    document = {"assets": {"openEO_0.nc": odd, "openEO_1.nc": {"href": href}}, "links": links}
    body = json.dumps(document).encode()
    world.fail(Fault("GET /jobs/j-0001/results", Answer(200, body), None))
    assert world.run() == {"error": 1, "finished": world.jobs - 1}
    (row,) = world.rows().index[world.rows().status == "error"]
    world.check(
        {int(row): ("error", "1 of 2 files are missing: openEO_0.nc cannot be had")},
        missing={int(row): ["patch_0.nc"]},
        warnings=0,
    )


def test_a_description_that_is_gone_loses_no_file(world: World) -> None:
    """Of files that do not describe themselves, the back-end's items are asked for."""
    world.script(1, assets={"openEO_0.txt": b"notes", "openEO_1.txt": b"more"})
    world.fail(
        Fault(
            "GET /jobs/[^/]+/results/items/.*",
            Answer(404, b'{"code": "NotFound", "message": "no"}'),
            None,
        )
    )
    assert world.run() == {"finished": world.jobs}
    assert world.proxy.harmed() == 2
    assert len(world.items()) == 2 * world.jobs and not world.warnings()


def test_two_jobs_that_want_one_path_do_not_get_it_both(world: World) -> None:
    def generate(root_folder: Path, geometry_index: int, row: pd.Series) -> Path:
        return (
            root_folder / f"job_{0 if row.name == 1 else row.name}" / f"patch_{geometry_index}.nc"
        )

    world.settings["output_path_generator"] = generate
    assert world.run() == {"error": 1, "finished": world.jobs - 1}
    failed = int(world.rows().index[world.rows().status == "error"][0])
    assert failed in (0, 1)
    assert "has its result" in world.messages()[failed]
    assert {path.name for path in world.out.glob("job_*")} == {"job_0", "job_2", "job_3", "job_4"}
    again = world.run()
    assert again == {"error": 1, "finished": world.jobs - 1}


def test_items_have_ids_of_their_own(world: World) -> None:
    """Files have the same names in each job, and the back-end the same item ids."""
    assert world.run() == {"finished": world.jobs}
    ids = [item["id"] for item in world.items()]
    assert len(set(ids)) == 2 * world.jobs
    world.run()
    assert [item["id"] for item in world.items()] == ids


def test_ids_that_an_action_makes_equal_are_told_apart(world: World) -> None:
    def act(items: list[Any], row: pd.Series) -> list[Any]:
        for item in items:
            item.id = "sample"
        return items

    assert world.run(post_job_action=act) == {"finished": world.jobs}
    ids = [item["id"] for item in world.items()]
    assert len(set(ids)) == 2 * world.jobs
    world.run(post_job_action=act)
    assert [item["id"] for item in world.items()] == ids


def test_a_file_that_comes_compressed_is_unpacked(world: World) -> None:
    """Some servers do that unasked; the length that they state is that of the compressed bytes."""
    body = gzip.compress(world.files["openEO_0.nc"])
    packed = Answer(200, body, {"Content-Encoding": "gzip"})
    world.fail(
        Fault("GET /files/j-0001/openEO_0.nc", packed, None),
        Fault("GET /files/j-0002/openEO_0.nc", replace(packed, body=body[:500]), 2),
    )
    assert world.run() == {"finished": world.jobs}
    world.check(warnings=0)


@pytest.mark.parametrize("href", ["s3://bucket/x.nc", "file:///etc/hostname", "redirected"])
def test_an_address_that_nobody_can_ask_is_told_at_once(world: World, href: str) -> None:
    document = {"assets": {"openEO_0.nc": {"href": href, "roles": ["data"]}}}
    world.fail(
        Fault("GET /jobs/j-0001/results", Answer(200, json.dumps(document).encode()), None),
        Fault("GET /redirected", Answer(302, b"", {"Location": "/redirected"}), None),
    )
    assert world.run() == {"error": 1, "finished": world.jobs - 1}
    (row,) = world.rows().index[world.rows().status == "error"]
    world.check({int(row): ("error", "cannot be had")})


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("stac/collection.json", "the manager's own"),
        ("Stac/items/a.json", "the manager's own"),
        (".downloads/a.nc", "the manager's own"),
        ("samples.parquet", "the manager's own"),
        ("folder", "a file where a folder is"),
        ("file/a.nc", "a file where a folder is"),
    ],
)
def test_a_path_that_is_taken_is_an_error_of_its_job(world: World, path: str, reason: str) -> None:
    (world.out / "folder").mkdir(parents=True)
    (world.out / "file").write_text("the user's")

    def generate(root_folder: Path, geometry_index: int, row: pd.Series) -> Path:
        if row.name == 1:
            return root_folder / (path if geometry_index == 0 else f"1_{geometry_index}.nc")
        return root_folder / f"{row.name}_{geometry_index}.nc"

    counts = world.run(output_path_generator=generate)
    assert counts == {"error": 1, "finished": world.jobs - 1}
    assert reason in world.messages()[1]
    assert (world.out / "file").read_text() == "the user's"
    assert not [found for found in world.out.rglob("*") if found.suffix == ".part"]
    assert not list((world.out / "folder").iterdir())
    assert len(world.items()) == 2 * (world.jobs - 1)
