"""What the reader does with files: open and decode once, stay in bounds, fetch, and complain."""

from __future__ import annotations

import re
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from openeo_gfmap.local.cog.fetching import Fetcher
from openeo_gfmap.local.engine.block_cache import BlockCache, FileCache
from openeo_gfmap.local.engine.reader import Reader
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.rasters import Block, BlockSource, GdalRaster, gdal_options, open_raster
from openeo_gfmap.local.stac_source import BandAsset
from support.scenes import LEFT, TOP, grid, scene, write_tiff

SIZE = 90
U16 = {"dtype": "uint16", "nodata": 65535}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 10 and 60 m, each 900 m wide."""
    folder = tmp_path_factory.mktemp("tiffs")
    for resolution in (10, 60):
        side = SIZE * 10 // resolution
        pixels = np.arange(1, side * side + 1, dtype="uint16").reshape(side, side)
        write_tiff(folder / f"{resolution}.tif", pixels, resolution=resolution)
    return folder


class Counting:
    """Open files as the reader does, and count what is opened, decoded and closed."""

    def __init__(self, *, gdal: bool = False) -> None:
        self.gdal = gdal
        self.opened, self.blocks, self.closed = Counter(), Counter(), 0

    def __call__(self, asset: BandAsset, fetcher: Fetcher | None = None) -> BlockSource:
        self.opened[asset.href] += 1
        raster = GdalRaster(asset.href) if self.gdal else open_raster(asset, fetcher)
        read_block, close = raster.read_block, raster.close

        def counted(band: int, row: int, column: int) -> Block:
            self.blocks[asset.href, band, row, column] += 1
            return read_block(band, row, column)

        def closed() -> None:
            self.closed += 1
            close()

        raster.read_block, raster.close = counted, closed
        return raster


def series(folder: Path, count: int) -> list:
    pixels = np.arange(1, 512 * 512 + 1).reshape(512, 512) % 60_000
    return [
        scene(
            f"2023-06-{i + 1:02d}",
            {"b": write_tiff(folder / f"{i}.tif", pixels.astype("u2"), block=256)},
        )
        for i in range(count)
    ]


def test_each_block_is_decoded_once(tmp_path: Path) -> None:
    scenes, counting = series(tmp_path, 3), Counting()
    reader = Reader(opener=counting)
    for column in range(0, 480, 32):
        reader.read(scenes, ["b"], grid(column, 100, (64, 32)), **U16)
    assert set(counting.opened.values()) == {1}
    assert set(counting.blocks.values()) == {1}
    assert len(counting.blocks) == 3 * 2  # 512 px across are two blocks of 256
    reader.close()
    assert counting.closed == 3


def test_bounds_on_blocks_and_open_files_hold(tmp_path: Path) -> None:
    scenes, counting = series(tmp_path, 6), Counting(gdal=True)
    reader = Reader(opener=counting, max_open=2, cache_bytes=3 * 256 * 256 * 2)
    first = reader.read(scenes, ["b"], grid(shape=(64, 64)), **U16)
    assert sum(counting.opened.values()) - counting.closed == 2
    again = reader.read(scenes, ["b"], grid(shape=(64, 64)), **U16)
    np.testing.assert_array_equal(first.data, again.data)
    assert sum(counting.blocks.values()) == 12  # six blocks do not fit: all are read again


def test_cached_blocks_need_no_open_file(tmp_path: Path) -> None:
    scenes, counting = series(tmp_path, 6), Counting(gdal=True)
    reader = Reader(opener=counting, max_open=1)
    reader.read(scenes, ["b"], grid(shape=(64, 64)), **U16)
    opened = counting.opened.copy()
    for _ in range(3):
        reader.read(scenes, ["b"], grid(shape=(64, 64)), **U16)
    assert counting.opened == opened


def test_files_beside_the_window_are_not_opened(folder: Path) -> None:
    counting = Counting()
    asset = BandAsset(
        str(folder / "10.tif"), transform=(10, 0, LEFT, 0, -10, TOP), shape=(SIZE, SIZE),
        epsg=32631,
    )  # fmt: skip
    cube = Reader(opener=counting).read(
        [scene("2023-06-01", {"b": asset})], ["b"], grid(column=500), **U16
    )
    assert (cube.data == 65535).all()
    assert not counting.opened


def test_block_cache_counts_its_bytes() -> None:
    cache = BlockCache(100)
    for key in range(5):
        cache.put(("f", 1, 0, key), np.zeros(40, "u1"))
        assert cache.nbytes <= 100
    cache.put(("f", 1, 0, 4), np.ones(20, "u1"))
    assert cache.nbytes == 60
    assert cache.get(("f", 1, 0, 0)) is None
    cache.put(("f", 1, 0, 9), np.zeros(101, "u1"))  # larger than the whole cache
    assert cache.get(("f", 1, 0, 9)) is None
    assert cache.nbytes == 60


def test_threads_share_open_files(tmp_path: Path) -> None:
    scenes, counting = series(tmp_path, 4), Counting(gdal=True)
    files = FileCache(1, counting)
    problems: list[Exception] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for index in random.integers(0, len(scenes), 40):
                with files.use(scenes[index].bands["b"]) as source:
                    pixel = np.zeros((1, 1), "u2")
                    source.read_block(1, 0, 0).read_into(pixel, 0, 0)
                    assert pixel == 1
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    files.clear()
    assert counting.closed == sum(counting.opened.values())


def test_native_grid(folder: Path) -> None:
    stated = BandAsset(
        "nowhere.tif", transform=(20, 0, LEFT, 0, -20, TOP), shape=(4, 5), epsg=32631
    )
    assert Reader().grid_of(stated) == GeoBox((4, 5), Affine(*stated.transform), "EPSG:32631")
    read = Reader().grid_of(BandAsset(str(folder / "60.tif")))
    assert read == GeoBox((15, 15), Affine(60, 0, LEFT, 0, -60, TOP), "EPSG:32631")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.tif"
    with pytest.raises(OpenEOError, match=r"missing\.tif cannot be read") as error:
        Reader().read([scene("2023-06-01", {"b": missing})], ["b"], grid(), **U16)
    assert error.value.code == "SourceUnavailable"
    path = write_tiff(tmp_path / "cut.tif", np.random.default_rng(0).integers(
        1, 60_000, (300, 300)).astype("u2"))  # fmt: skip
    path.write_bytes(path.read_bytes()[:90_000])
    with pytest.raises(OpenEOError, match=r"cut\.tif cannot be read"):
        Reader().read([scene("2023-06-01", {"b": path})], ["b"], grid(shape=(300, 300)), **U16)


def test_items_that_contradict_their_files(folder: Path, tmp_path: Path) -> None:
    asset = BandAsset(
        str(folder / "10.tif"), transform=(10, 0, LEFT, 0, -10, TOP), shape=(200, 200), epsg=32631
    )
    with pytest.raises(OpenEOError, match=r"has \(90, 90\) rows and columns.*says \(200, 200\)"):
        Reader().read([scene("2023-06-01", {"b": asset})], ["b"], grid(), **U16)
    path = write_tiff(tmp_path / "f.tif", np.zeros((9, 9), "float32"))
    with pytest.raises(OpenEOError, match="holds float32 values, its collection says uint16"):
        Reader().read([scene("2023-06-01", {"b": path})], ["b"], grid(), **U16)
    with pytest.raises(ValueError, match="needs a nodata value"):
        Reader().read([], ["b"], grid(), dtype="uint16", nodata=None)


def test_file_without_a_crs(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=2, width=2, dtype="uint8",
        transform=Affine(1, 0, 5, 0, -1, 5),
    ) as file:  # fmt: skip
        file.write(np.ones((1, 2, 2), "uint8"))
    with pytest.raises(OpenEOError, match="no coordinate reference system"):
        open_raster(BandAsset(str(path)))


def serve(server: HTTPServer, folder: Path) -> Counter:
    """Serve a folder with ranges, as object stores do; failing now and then."""
    requests: Counter = Counter()

    def answer(request: Request) -> Response:
        requests[request.path] += 1
        if requests[request.path] % 3 == 2:
            return Response("slow down", status=503)
        path = folder / request.path.lstrip("/")
        if not path.is_file():
            return Response("no such file", status=404)
        response = Response(path.read_bytes(), content_type="image/tiff")
        response.make_conditional(request, accept_ranges=True, complete_length=path.stat().st_size)
        return response

    server.expect_request(re.compile(".*")).respond_with_handler(answer)
    return requests


def test_remote_files_give_the_same(tmp_path: Path, httpserver: HTTPServer) -> None:
    local = series(tmp_path, 8)
    requests = serve(httpserver, tmp_path)
    remote = [
        scene(s.datetime.date().isoformat(), {"b": httpserver.url_for(f"/{i}.tif")})
        for i, s in enumerate(local)
    ]
    geobox = grid(200, 200, (100, 100))
    expected_cube = Reader().read(local, ["b"], geobox, **U16)
    reader = Reader(threads=4)
    for _ in range(2):
        cube = reader.read(remote, ["b"], geobox, **U16)
        np.testing.assert_array_equal(cube.data, expected_cube.data)
    assert len(requests) == 8
    reader.close()


def test_remote_file_that_is_not_there(tmp_path: Path, httpserver: HTTPServer) -> None:
    serve(httpserver, tmp_path)
    url = httpserver.url_for("/gone.tif")
    with pytest.raises(OpenEOError, match=r"gone\.tif cannot be read"):
        Reader().read([scene("2023-06-01", {"b": url})], ["b"], grid(), **U16)


def test_s3_without_credentials_takes_the_alternate(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_NO_SIGN_REQUEST"):
        monkeypatch.delenv(name, raising=False)
    asset = BandAsset("s3://eodata/x.tif", alternate=str(folder / "10.tif"))
    assert open_raster(asset).header.shape == (SIZE, SIZE)


def test_planetary_computer_files_are_signed() -> None:
    href = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/06/V/VN/B04.tif"
    assert gdal_options(href)["VSICURL_PC_URL_SIGNING"] is True
    for other in (f"{href}?sig=x", "https://example.org/B04.tif", "/data/B04.tif"):
        assert "VSICURL_PC_URL_SIGNING" not in gdal_options(other)


def test_copernicus_bucket_has_its_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_S3_ENDPOINT", raising=False)
    options = gdal_options("s3://eodata/Sentinel-2/x.jp2")
    assert options["AWS_S3_ENDPOINT"] == "eodata.dataspace.copernicus.eu"
    assert options["AWS_VIRTUAL_HOSTING"] is False
    assert "AWS_S3_ENDPOINT" not in gdal_options("s3://sentinel-cogs/x.tif")
    monkeypatch.setenv("AWS_S3_ENDPOINT", "localhost:9000")
    assert "AWS_S3_ENDPOINT" not in gdal_options("s3://eodata/x.jp2")
