"""What the reader does over HTTP: many ranges at once, merged, tried again, and checked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.cog.fetching import Fetcher
from openeo_gfmap.local.cog.http import RangeClient, is_ours
from openeo_gfmap.local.engine.demands import Request
from openeo_gfmap.local.engine.reader import Reader
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.rasters import CogRaster, GdalRaster, open_raster
from openeo_gfmap.local.stac_source import BandAsset
from support.range_server import Fault, RangeServer, serve
from support.scenes import grid, scene, write_tiff

U16 = {"dtype": "uint16", "nodata": 65535}
SIDE = 400
DAYS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of some days, 50 blocks each, larger together than a first look."""
    folder = tmp_path_factory.mktemp("tiffs")
    random = np.random.default_rng(2)
    for day in range(DAYS):
        pixels = random.integers(1, 60_000, (SIDE, SIDE)).astype("u2")
        write_tiff(folder / f"{day}.tif", pixels, block=64)
    (folder / "plain.bin").write_bytes(random.bytes(100_000))
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    with serve(folder) as state:
        yield state


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)


def client() -> RangeClient:
    return RangeClient(pause=0.01)


def series(server: RangeServer) -> list:
    return [scene(f"2023-06-{day + 1:02d}", {"b": server.url(f"{day}.tif")}) for day in range(DAYS)]


def local(folder: Path) -> list:
    return [scene(f"2023-06-{day + 1:02d}", {"b": folder / f"{day}.tif"}) for day in range(DAYS)]


def windows() -> list[GeoBox]:
    return [grid(column, row, (50, 60)) for row in (10, 150, 300) for column in (0, 100, 330)]


def requests_for(scenes: list) -> list[list[Request]]:
    days = np.unique([np.datetime64(s.datetime.date(), "ns") for s in scenes])
    return [[Request(scenes, ("b",), ("b",), box, days)] for box in windows()]


@pytest.mark.parametrize("fault", [503, 429, 500, "reset", "short", "less"])
def test_what_passes_is_tried_again(folder: Path, server: RangeServer, fault: Fault) -> None:
    server.fault = lambda path, number: fault if number % 2 else None
    content = (folder / "plain.bin").read_bytes()
    ours = client()
    for offset, length in ((0, 10), (5_000, 70_000), (99_990, 50)):
        found = ours.get(server.url("plain.bin"), offset, length)
        assert found == content[offset : offset + length]
    assert server.counts["plain.bin"] == 6


@pytest.mark.parametrize(
    ("fault", "message", "tries"),
    [(503, "answered 503 .tried 3 times", 3), ("short", "of 1000 bytes|IncompleteRead", 3),
     (403, "answered 403", 1), (404, "answered 404", 1), ("other", "another range", 1),
     ("whole", "does not answer requests for byte ranges", 1)],
)  # fmt: skip
def test_what_stays_is_an_error(
    server: RangeServer, fault: Fault, message: str, tries: int
) -> None:
    server.fault = lambda path, number: fault
    ours = RangeClient(attempts=3, pause=0.01)
    with pytest.raises(OSError, match=message):
        ours.get(server.url("plain.bin"), 0, 1000)
    assert server.counts["plain.bin"] == tries


def test_nobody_there() -> None:
    with pytest.raises(OSError, match="tried 2 times"):
        RangeClient(attempts=2, pause=0.01).get("http://127.0.0.1:9/x.tif", 0, 10)


def test_beyond_the_end_there_is_nothing(server: RangeServer) -> None:
    assert client().get(server.url("plain.bin"), 200_000, 10) == b""


def test_a_small_file_may_come_whole(folder: Path, server: RangeServer) -> None:
    server.fault = lambda path, number: "whole"
    whole = client().get(server.url("plain.bin"), 0, 200_000)
    assert whole == (folder / "plain.bin").read_bytes()


def test_a_file_that_changes_is_noticed(server: RangeServer) -> None:
    server.fault = lambda path, number: "changed" if number > 1 else None
    ours = client()
    ours.get(server.url("plain.bin"), 0, 10)
    with pytest.raises(OSError, match="replaced while it was being read"):
        ours.get(server.url("plain.bin"), 10, 10)


def test_passwords_stay_with_their_host(
    folder: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.fault = lambda path, number: (
        server.url("plain.bin", host="localhost") if path == "moved.bin" else None
    )
    found = client().get(server.url("moved.bin"), 0, 10)
    assert found == (folder / "plain.bin").read_bytes()[:10]
    assert [h.get("authorization") for h in server.headers] == ["Basic bWU6c2VjcmV0", None]


def test_user_and_password_in_the_address(server: RangeServer) -> None:
    client().get(f"http://me:secret@127.0.0.1:{server.port}/plain.bin", 0, 10)
    assert server.headers[0]["authorization"] == "Basic bWU6c2VjcmV0"


def test_signed_addresses_are_sent_as_they_are(server: RangeServer) -> None:
    client().get(server.url("plain.bin?sig=a%2Fb%3D&se=2023-06-01T00%3A00%3A00Z"), 0, 10)
    assert server.requests[0][0] == "plain.bin?sig=a%2Fb%3D&se=2023-06-01T00%3A00%3A00Z"


def test_proxies_of_the_environment(
    folder: Path, server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy gets the whole address; ours answers it itself."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(OSError, match="answered 404"):
        client().get("http://data.example/plain.bin", 0, 10)
    assert server.requests[0][0] == "http://data.example/plain.bin"
    assert client().get(server.url("plain.bin"), 0, 10)  # this machine needs no proxy


def test_what_only_gdal_can_do_is_left_to_gdal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_ours("https://data.example/x.tif")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "30")
    assert is_ours("https://data.example/x.tif")
    monkeypatch.setenv("GDAL_HTTP_BEARER", "token")
    assert not is_ours("https://data.example/x.tif")
    monkeypatch.delenv("GDAL_HTTP_BEARER")
    monkeypatch.setenv("https_proxy", "socks5://data.example:1080")
    assert not is_ours("https://data.example/x.tif")


def test_a_server_without_ranges_is_left_to_gdal(
    folder: Path, tmp_path: Path, server: RangeServer
) -> None:
    server.fault = lambda path, number: "whole"
    url = server.url("0.tif")
    fetcher = Fetcher(client())
    assert isinstance(open_raster(BandAsset(url), fetcher), GdalRaster)
    server.fault = lambda path, number: None
    assert isinstance(open_raster(BandAsset(url), fetcher), CogRaster)


def test_windows_are_those_of_local_files(folder: Path, server: RangeServer) -> None:
    expected, reader = Reader(), Reader(threads=8)
    for box in windows():
        found = reader.read(series(server), ["b"], box, **U16)
        np.testing.assert_array_equal(
            found.data, expected.read(local(folder), ["b"], box, **U16).data
        )
    reader.close()


def test_prepared_windows_are_the_same_with_fewer_requests(
    folder: Path, server: RangeServer
) -> None:
    server.fault = lambda path, number: {"1.tif": 503, "2.tif": "reset", "4.tif": "short"}.get(
        path if number == 2 else ""
    )
    scenes = series(server)
    expected, reader = Reader(), Reader(threads=8)
    assert reader.prepare(requests_for(scenes)) == len(windows())
    asked = len(server.requests)
    for box in windows():
        found = reader.read(scenes, ["b"], box, **U16)
        np.testing.assert_array_equal(
            found.data, expected.read(local(folder), ["b"], box, **U16).data
        )
    assert len(server.requests) == asked  # nothing was left to be fetched
    reader.close()


def test_ranges_are_merged_and_no_more_is_read_than_needed(server: RangeServer) -> None:
    reader = Reader(threads=4)
    reader.prepare(requests_for(series(server)))
    files = [open_raster(BandAsset(server.url(f"{day}.tif")), Fetcher(client())) for day in (0,)]
    blocks = {
        (row // 64, column // 64)
        for box in ((10, 60, 0, 60), (10, 60, 100, 160), (10, 60, 330, 390),
                    (150, 200, 0, 60), (150, 200, 100, 160), (150, 200, 330, 390),
                    (300, 350, 0, 60), (300, 350, 100, 160), (300, 350, 330, 390))
        for row in range(box[0], box[1]) for column in range(box[2], box[3])
    }  # fmt: skip
    needed = sum(files[0].block_range(1, *block)[1] for block in blocks)
    per_file = [r for r in server.requests if r[0] == "1.tif"]
    asked = sum(int(t.split("-")[1]) - int(t[6:].split("-")[0]) + 1 for _, t in per_file)
    assert asked - 16_384 <= 1.2 * needed
    assert len(per_file) <= 1 + len(blocks) / 3
    reader.close()


def test_requests_at_once_are_bounded(server: RangeServer) -> None:
    server.hold = threading.Event()
    reader = Reader(threads=3)
    for box in windows()[:2]:
        reader.read(series(server), ["b"], box, **U16)
    assert 2 <= server.most_at_once <= 3
    reader.close()


def test_memory_for_what_waits_is_bounded(folder: Path, server: RangeServer) -> None:
    content = (folder / "plain.bin").read_bytes()
    fetcher = Fetcher(client(), threads=4, most_bytes=5_000)
    ranges = [(server.url("plain.bin"), offset, 1_000) for offset in range(0, 100_000, 12_000)]
    fetcher.want(ranges)
    fetcher.want(ranges)  # is on its way already
    # The last one first: it overtakes what nobody waits for.
    for url, offset, length in reversed(ranges):
        assert fetcher.read(url, offset, length) == content[offset : offset + length]
    assert server.counts["plain.bin"] == len(ranges)
    fetcher.close()


def test_threads_without_work_end(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openeo_gfmap.local.cog.fetching._IDLE_SECONDS", 0.05)
    fetcher = Fetcher(client(), threads=3)
    for _ in range(2):
        fetcher.want([(server.url("plain.bin"), 20_000 * i, 10) for i in range(4)])
        for i in range(4):
            fetcher.read(server.url("plain.bin"), 20_000 * i, 10)
        while any(thread.name == "gfmap-fetch" for thread in threading.enumerate()):
            time.sleep(0.02)


def test_a_range_that_fails_fails_where_it_is_wanted(server: RangeServer) -> None:
    server.fault = lambda path, number: 403
    fetcher = Fetcher(client(), threads=2)
    fetcher.want([(server.url("plain.bin"), 0, 10)])
    with pytest.raises(OSError, match="answered 403"):
        fetcher.read(server.url("plain.bin"), 0, 10)
    fetcher.close()


def test_files_that_fail_in_the_middle_are_named(server: RangeServer) -> None:
    server.fault = lambda path, number: 403 if path == "3.tif" and number > 1 else None
    scenes = series(server)
    reader = Reader(threads=4)
    reader.prepare(requests_for(scenes))
    with pytest.raises(OpenEOError, match=r"3\.tif cannot be read: the server answered 403"):
        reader.read(scenes, ["b"], windows()[0], **U16)
    reader.close()
