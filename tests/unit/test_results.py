"""Result files: safe names, places inside the folder, downloads that are what they should be."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import openeo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from faults.proxy import Answer, Cut, Fault, FaultProxy, What, WrongBytes, fault_proxy
from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.files import safe_name
from openeo_gfmap.manager import formats, results
from support.fake_backend import FakeBackend, Script, fake_backend
from support.patches import patch_bytes


@pytest.fixture(scope="module")
def backend() -> Iterator[FakeBackend]:
    with fake_backend() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(backend: FakeBackend) -> Iterator[FaultProxy]:
    with fault_proxy(backend.url) as running:
        backend.public_url = running.url
        yield running


@pytest.fixture(scope="module")
def connection(backend: FakeBackend, proxy: FaultProxy) -> openeo.Connection:
    return backend.connection()


# ------------------------------------------------------------------------------------------- names


@given(st.text(max_size=300))
def test_a_safe_name_is_one_short_file_name(text: str) -> None:
    name = safe_name(text)
    assert name and name not in {".", ".."}
    assert len(name.encode()) <= 120
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert safe_name(name) == name


def test_a_safe_name_is_recognisable() -> None:
    assert safe_name("GFMAP_Extraction_S2_841fb57_2021-05-01") == (
        "GFMAP_Extraction_S2_841fb57_2021-05-01"
    )
    assert safe_name("../../etc/passwd") == "etc_passwd"
    assert safe_name("Größe / Höhe: 3?") == "Größe _ Höhe_ 3"
    long = safe_name("x" * 500 + ".nc")
    assert long.endswith(".nc") and long != safe_name("x" * 501 + ".nc")


def place(root: Path, path: str | Path) -> Path:
    (target,) = results.places(root, [path])
    return target


@pytest.mark.parametrize("path", ["../elsewhere.nc", "/etc/x.nc", "a/../../x.nc", "", ".", "a/.."])
def test_nothing_leaves_the_output_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(ResultIncomplete, match="return a path inside it"):
        place(tmp_path, path)


def test_a_link_out_of_the_output_folder_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "out"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ResultIncomplete):
        place(root, "link/x.nc")
    (root / "x.nc").symlink_to(tmp_path / "x.nc")
    with pytest.raises(ResultIncomplete):
        place(root, "x.nc")


def test_a_place_may_be_given_relative_or_absolute(tmp_path: Path) -> None:
    assert place(tmp_path, "a/b.nc") == tmp_path / "a" / "b.nc"
    assert place(tmp_path, tmp_path / "a" / "b.nc") == tmp_path / "a" / "b.nc"


def test_files_of_one_folder_and_of_others_each_get_their_place(tmp_path: Path) -> None:
    paths = ["a/x.nc", "a/y.nc", "b/x.nc", "a/../z.nc", "y.nc"]
    found = list(results.places(tmp_path, paths))
    assert found == [tmp_path / path for path in ("a/x.nc", "a/y.nc", "b/x.nc", "z.nc", "y.nc")]


@pytest.mark.parametrize("path", ["x" * 300 + ".nc", "a\0b.nc", "y" * 300 + "/a.nc"])
def test_what_cannot_be_a_path_is_told(tmp_path: Path, path: str) -> None:
    with pytest.raises(ResultIncomplete, match="cannot be a path here"):
        place(tmp_path, path)


def test_a_path_belongs_to_one_row(tmp_path: Path) -> None:
    claims = results.Claims()
    claims.take(1, tmp_path / "a.nc")
    claims.take(1, tmp_path / "a.nc")  # again, after a resume
    with pytest.raises(ResultIncomplete, match="row 1 has its result"):
        claims.take(2, tmp_path / "A.nc")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["openEO_10.nc", "openEO_2.nc", "openEO_0.nc"], [0, 2, 10]),
        (["openEO_2021-03-01.tif", "openEO_2021-01-01.tif"], [0, 1]),
        (["a_1.nc", "b_1.nc"], [0, 1]),
        (["a_1.nc", "readme.nc"], [0, 1]),
        (["7.nc"], [7]),
    ],
)
def test_assets_are_in_the_order_of_their_features(names: list[str], expected: list[int]) -> None:
    assert [index for index, _ in results.asset_order(names)] == expected


# ------------------------------------------------------------------------------------------- files


def check_content(path: Path) -> None:
    with path.open("r+b" if os.access(path, os.W_OK) else "rb", buffering=0) as file:
        formats.check_content(file, path.name, path.suffix)


def test_a_real_file_opens(tmp_path: Path, shared_data: Path) -> None:
    for path in sorted((shared_data / "cdse_job").glob("openEO_*.nc")):
        check_content(path)
    check_content(shared_data / "cdse_job" / "points_cdse_sentinel2_l2a.parquet")
    check_content(shared_data / "cdse_job" / "points_cdse_sentinel2_l2a.json")


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_every_version_of_hdf5_is_read_and_seen_when_cut(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "a.nc"
    with h5py.File(path, "w", libver=libver) as file:
        file["x"] = np.arange(2000)
    check_content(path)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 60, 20):
        path.write_bytes(whole[:length])
        with pytest.raises(ResultIncomplete, match=r"does not open as \.nc"):
            check_content(path)


def test_a_netcdf3_file_opens(tmp_path: Path) -> None:
    netCDF4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_CLASSIC").close()
    check_content(tmp_path / "a.nc")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nc", b""),
        ("a.nc", b"<html>Service unavailable</html>"),
        ("a.tif", b"<html>Service unavailable</html>"),
        ("a.json", b'{"type": "Feat'),
        ("a.parquet", b"PAR1 and no end"),
    ],
)
def test_what_is_not_the_file_is_seen(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ResultIncomplete):
        check_content(tmp_path / name)


# --------------------------------------------------------------------------------------- downloads


def asset_of(backend: FakeBackend, connection: openeo.Connection, script: Script) -> dict[str, str]:
    """Make a finished job with the script and return its only asset."""
    backend.scripts["t"] = script
    graph = {"a": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
    job = connection.create_job(graph, title="t")
    (asset,) = job.get_results().get_metadata()["assets"].values()
    return dict(asset)


def no_wait(seconds: float) -> None:
    assert seconds > 0


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize(
    "harm", [(), (Cut(), Cut()), (WrongBytes(),), (Cut(), WrongBytes())], ids=str
)
def test_a_download_is_whole_in_the_end(
    tmp_path: Path,
    backend: FakeBackend,
    proxy: FaultProxy,
    connection: openeo.Connection,
    harm: tuple[What, ...],
    checksums: bool,
) -> None:
    proxy.faults = [Fault("GET /files/.*", what) for what in harm]
    content = patch_bytes(tmp_path, seed=1)
    asset = asset_of(
        backend, connection, Script(assets={"openEO_0.nc": content}, with_checksums=checksums)
    )
    target = tmp_path / "out.nc"
    size, checksum = results.download(connection, asset, target, wait=no_wait)
    assert target.read_bytes() == content
    assert (size, checksum) == (len(content), hashlib.sha256(content).hexdigest())
    assert not list(tmp_path.glob("*.part"))


def test_a_cut_download_goes_on_where_it_was(
    tmp_path: Path, httpserver: HTTPServer, connection: openeo.Connection
) -> None:
    content = patch_bytes(tmp_path, seed=2, size=200)
    starts: list[int] = []

    def answer(request: Request) -> Response:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        starts.append(start)
        body = content[start : start + 150_000] if len(starts) == 1 else content[start:]
        response = Response(body, status=206 if start else 200)
        response.headers["Content-Length"] = str(len(content) - start)
        response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response.automatically_set_content_length = False
        return response

    httpserver.expect_request("/a.nc").respond_with_handler(answer)
    target = tmp_path / "a.nc"
    results.download(connection, {"href": httpserver.url_for("/a.nc")}, target, wait=no_wait)
    assert target.read_bytes() == content
    assert len(starts) == 2 and starts[0] == 0 and 100_000 < starts[1] <= 150_000


def test_a_server_that_ignores_ranges_is_read_from_the_start(
    tmp_path: Path, httpserver: HTTPServer, connection: openeo.Connection
) -> None:
    content = patch_bytes(tmp_path, seed=2)
    asked = 0

    def answer(_: Request) -> Response:
        nonlocal asked
        asked += 1
        response = Response(content if asked > 1 else content[:1000])
        response.headers["Content-Length"] = str(len(content))
        response.automatically_set_content_length = False
        return response

    httpserver.expect_request("/a.nc").respond_with_handler(answer)
    target = tmp_path / "a.nc"
    results.download(connection, {"href": httpserver.url_for("/a.nc")}, target, wait=no_wait)
    assert target.read_bytes() == content


def test_credentials_do_not_leave_the_back_end(
    tmp_path: Path, httpserver: HTTPServer, connection: openeo.Connection
) -> None:
    seen: list[str | None] = []

    def answer(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response(json.dumps({}))

    httpserver.expect_request("/a.json").respond_with_handler(answer)
    asset = {"href": httpserver.url_for("/a.json")}
    results.download(connection, asset, tmp_path / "a.json", wait=no_wait)
    assert seen == [None]


@pytest.mark.parametrize(
    ("content", "what", "checksums", "reason"),
    [
        (None, Cut(), True, "Connection broken"),
        (None, WrongBytes(), True, "another checksum"),
        (None, WrongBytes(), False, "does not begin as HDF5"),
        (b"", None, False, "empty"),
        (b"<html>", None, False, "does not open"),
    ],
)
def test_a_file_that_never_comes_right_is_not_there(
    tmp_path: Path,
    backend: FakeBackend,
    proxy: FaultProxy,
    connection: openeo.Connection,
    content: bytes | None,
    what: What | None,
    checksums: bool,
    reason: str,
) -> None:
    proxy.faults = [Fault("GET /files/.*", what, None)] if what else []
    body = patch_bytes(tmp_path / "..", seed=3) if content is None else content
    script = Script(assets={"a.nc": body}, with_checksums=checksums)
    asset = asset_of(backend, connection, script)
    target = tmp_path / "a.nc"
    with pytest.raises(ResultIncomplete, match=f"3 attempts; last: .*{reason}"):
        results.download(connection, asset, target, attempts=3, wait=no_wait)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_not_tried_again(
    tmp_path: Path, httpserver: HTTPServer, connection: openeo.Connection
) -> None:
    httpserver.expect_ordered_request("/a.nc").respond_with_json(
        {"code": "TeaPot", "message": "I am one"}, status=418
    )
    asset = {"href": httpserver.url_for("/a.nc")}
    with pytest.raises(ResultIncomplete, match="I am one"):
        results.download(connection, asset, tmp_path / "a.nc", wait=no_wait)


def test_an_expired_address_is_told_apart(
    tmp_path: Path, proxy: FaultProxy, connection: openeo.Connection
) -> None:
    proxy.faults = [Fault("GET /files/.*", Answer(410, b"<Error>Expired</Error>"))]
    asset = {"href": f"{proxy.url}/files/x"}
    with pytest.raises(results.Expired):
        results.download(connection, asset, tmp_path / "a.nc", wait=no_wait)


# -------------------------------------------------------------------------------------------- logs


def test_logs_are_saved_under_a_safe_name(
    tmp_path: Path, backend: FakeBackend, connection: openeo.Connection
) -> None:
    title = "../../A title: with/everything?"
    backend.scripts[title] = Script(
        logs=(
            {
                "id": "1",
                "level": "error",
                "message": "Out of memory",
                "time": "2024-01-01T00:00:00Z",
            },
            {"id": "2", "level": None, "message": None},
        )
    )
    graph = {"a": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
    job = connection.create_job(graph, title=title)
    path = results.save_logs(job, tmp_path / "failed_jobs")
    assert path.parent == tmp_path / "failed_jobs"
    assert path.name == f"A title_ with_everything_{job.job_id}.log"
    assert path.read_text() == "2024-01-01T00:00:00Z ERROR: Out of memory\nINFO:\n"


def test_a_log_that_cannot_be_had_is_said_so(tmp_path: Path, connection: openeo.Connection) -> None:
    path = results.save_logs(connection.job("gone"), tmp_path)
    assert path.name == "job_gone.log"
    assert "cannot be had" in path.read_text()
