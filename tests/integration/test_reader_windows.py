"""The reader against rasterio's own reading, on small random files."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pytest_httpserver import HTTPServer
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from werkzeug import Request, Response

from openeo_gfmap.local.engine.block_cache import BlockCache, FileCache
from openeo_gfmap.local.engine.reader import Reader
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.rasters import GdalRaster, gdal_options, open_raster
from openeo_gfmap.local.stac_source import BandAsset, BandInfo
from support.scenes import scene, write_tiff

LEFT, TOP = 600_000.0, 5_700_000.0
SIZE = 90
U16 = {"dtype": "uint16", "nodata": 65535}


def grid(
    column: float = 0, row: float = 0, shape: tuple[int, int] = (20, 30), resolution: float = 10
) -> GeoBox:
    """Return a grid whose corner lies some 10 m pixels from the files' corner."""
    corner = Affine(resolution, 0, LEFT + 10 * column, 0, -resolution, TOP - 10 * row)
    return GeoBox(shape, corner, "EPSG:32631")


def sampled(path: Path, geobox: GeoBox, epsg: int) -> np.ndarray:
    """Return the value of the source pixel that holds each target centre, by rasterio."""
    rows, columns = np.mgrid[: geobox.shape[0], : geobox.shape[1]] + 0.5
    a = geobox.affine
    xs, ys = a.c + a.a * columns, a.f + a.e * rows
    if geobox.crs.epsg != epsg:
        transformer = Transformer.from_crs(geobox.crs.epsg, epsg, always_xy=True)
        xs, ys = transformer.transform(xs, ys)
    with rasterio.open(path) as file:
        points = zip(xs.ravel(), ys.ravel(), strict=True)
        return np.array([v[0] for v in file.sample(points)]).reshape(geobox.shape)


def expected(stored: np.ndarray, offset: float) -> np.ndarray:
    """Return what the cube holds for stored values: 0 is missing."""
    values = np.maximum(stored.astype(np.int64) + int(offset), 0)
    return np.where(stored == 0, 65535, values).astype("uint16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 10, 20, 60 and 30 m, each 900 m wide, a fifth of the pixels missing."""
    folder = tmp_path_factory.mktemp("tiffs")
    random = np.random.default_rng(1)
    for resolution in (10, 20, 60, 30):
        side = SIZE * 10 // resolution
        pixels = random.integers(1, 12_000, (side, side)).astype("uint16")
        pixels[random.random(pixels.shape) < 0.2] = 0
        write_tiff(folder / f"{resolution}.tif", pixels, resolution=resolution)
    return folder


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    column=st.integers(-40, 110),
    row=st.integers(-40, 110),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    target=st.sampled_from([10, 20, 60]),
    source=st.sampled_from([10, 20, 60, 30]),
    offset=st.sampled_from([0, -1000, 500]),
)
def test_any_window_of_any_resolution(
    folder: Path, column: int, row: int, height: int, width: int,
    target: int, source: int, offset: int,
) -> None:  # fmt: skip
    path = folder / f"{source}.tif"
    geobox = grid(column, row, (height, width), target)
    cube = Reader().read([scene("2023-06-01", {"b": path}, offset=offset)], ["b"], geobox, **U16)
    np.testing.assert_array_equal(cube.data[0, 0], expected(sampled(path, geobox, 32631), offset))


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(-400, 900),
    y=st.floats(-400, 900),
    epsg=st.sampled_from([32630, 32632, 3035, 3857]),
    resolution=st.sampled_from([7.5, 10, 25]),
)
def test_any_other_crs(folder: Path, x: float, y: float, epsg: int, resolution: float) -> None:
    path = folder / "10.tif"
    to_target = Transformer.from_crs(32631, epsg, always_xy=True)
    left, top = to_target.transform(LEFT + x, TOP - y)
    geobox = GeoBox((24, 31), Affine(resolution, 0, left, 0, -resolution, top), f"EPSG:{epsg}")
    cube = Reader().read([scene("2023-06-01", {"b": path})], ["b"], geobox, **U16)
    np.testing.assert_array_equal(cube.data[0, 0], expected(sampled(path, geobox, 32631), 0))


def test_nested_grids_are_block_replication(folder: Path) -> None:
    with rasterio.open(folder / "60.tif") as file:
        pixels = expected(file.read(1), 0)
    cube = Reader().read(
        [scene("2023-06-01", {"b": folder / "60.tif"})], ["b"], grid(shape=(SIZE, SIZE)), **U16
    )
    np.testing.assert_array_equal(cube.data[0, 0], np.kron(pixels, np.ones((6, 6), "uint16")))


def test_one_window_equals_its_parts(folder: Path) -> None:
    scenes = [scene("2023-06-01", {"a": folder / "10.tif", "b": folder / "20.tif"})]
    reader = Reader()
    whole = reader.read(scenes, ["a", "b"], grid(-5, -5, (100, 100)), **U16).data
    for row in range(0, 100, 25):
        for column in range(0, 100, 50):
            part = reader.read(scenes, ["a", "b"], grid(column - 5, row - 5, (25, 50)), **U16).data
            np.testing.assert_array_equal(part, whole[:, :, row : row + 25, column : column + 50])


def test_float_noise_in_the_grid_changes_nothing(folder: Path) -> None:
    scenes = [scene("2023-06-01", {"b": folder / "20.tif"})]
    exact = Reader().read(scenes, ["b"], grid(3, 4), **U16)
    for noise in (-1e-7, 1e-7):
        noisy = grid(3 + noise, 4 + noise)
        np.testing.assert_array_equal(Reader().read(scenes, ["b"], noisy, **U16).data, exact.data)


def test_south_up_file(tmp_path: Path) -> None:
    pixels = np.arange(1, 101, dtype="uint16").reshape(10, 10)
    path = tmp_path / "south-up.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=10, width=10, dtype="uint16", nodata=0,
        crs="EPSG:32631", transform=Affine(10, 0, LEFT, 0, 10, TOP - 100),
    ) as file:  # fmt: skip
        file.write(pixels, 1)
    cube = Reader().read([scene("2023-06-01", {"b": path})], ["b"], grid(shape=(10, 10)), **U16)
    np.testing.assert_array_equal(cube.data[0, 0], pixels[::-1])


@pytest.mark.parametrize("method", ["bilinear", "cubic", "average", "max"])
def test_other_methods_agree_with_gdal(tmp_path: Path, method: str) -> None:
    y, x = np.mgrid[:90, :90]
    smooth = (3000 + 20 * x + 10 * y + 300 * np.sin(x / 7)).astype("uint16")
    path = write_tiff(tmp_path / "smooth.tif", smooth)
    to_target = Transformer.from_crs(32631, 3035, always_xy=True)
    left, top = to_target.transform(LEFT + 300, TOP - 300)
    geobox = GeoBox((15, 15), Affine(20, 0, left, 0, -20, top), "EPSG:3035")
    cube = Reader().read(
        [scene("2023-06-01", {"b": path})], ["b"], geobox, resampling=method, **U16
    )
    with (
        rasterio.open(path) as file,
        WarpedVRT(
            file, crs="EPSG:3035", transform=geobox.affine, height=15, width=15,
            resampling=Resampling[method], tolerance=0.001, XSCALE=0.5, YSCALE=0.5,
        ) as warped,
    ):  # fmt: skip
        reference = warped.read(1)
    assert (cube.data[0, 0] != 65535).all()
    # GDAL chooses its own way to walk the pixels: the last digit may differ.
    assert np.abs(cube.data[0, 0].astype(int) - reference.astype(int)).max() <= 1


@pytest.mark.parametrize("method", ["bilinear", "cubic", "lanczos", "average", "q3"])
@pytest.mark.parametrize(("epsg", "resolution"), [(32631, 25), (32631, 5), (3035, 20)])
def test_windows_of_other_methods_meet_without_a_seam(
    folder: Path, method: str, epsg: int, resolution: float
) -> None:
    to_target = Transformer.from_crs(32631, epsg, always_xy=True)
    left, top = to_target.transform(LEFT - 35, TOP + 35)
    reader = Reader()
    scenes = [scene("2023-06-01", {"b": folder / "10.tif"})]

    def read(row: int, column: int, height: int, width: int) -> np.ndarray:
        corner = Affine(
            resolution, 0, left + column * resolution, 0, -resolution, top - row * resolution
        )
        window = GeoBox((height, width), corner, f"EPSG:{epsg}")
        return reader.read(scenes, ["b"], window, resampling=method, **U16).data[0, 0]

    whole = read(0, 0, 40, 40)
    parts = np.block([[read(0, 0, 13, 17), read(0, 17, 13, 23)],
                      [read(13, 0, 27, 17), read(13, 17, 27, 23)]])  # fmt: skip
    np.testing.assert_array_equal(parts == 65535, whole == 65535)
    # In 32 bits inside GDAL: the origin of a window may change the rounding.
    assert np.abs(parts.astype(int) - whole.astype(int)).max() <= 1


def test_other_methods_leave_missing_pixels_out(tmp_path: Path) -> None:
    pixels = np.full((40, 40), 2000, "uint16")
    pixels[:20] = 0
    path = write_tiff(tmp_path / "half.tif", pixels)
    geobox = grid(0.5, 0.5, (39, 39))
    scenes = [scene("2023-06-01", {"b": path}, offset=-1000)]
    values = Reader().read(scenes, ["b"], geobox, resampling="bilinear", **U16).data[0, 0]
    assert set(np.unique(values)) == {1000, 65535}
    assert (values[20:] == 1000).all()


def test_unknown_method(folder: Path) -> None:
    with pytest.raises(OpenEOError, match="'geode' is not available; use one of near, bilinear"):
        Reader().read([], ["b"], grid(), resampling="geode", **U16)


def test_same_day_scenes_are_one_time_step(tmp_path: Path) -> None:
    first, second = np.full((10, 10), 1500, "uint16"), np.full((10, 10), 2500, "uint16")
    first[:, 5:] = 0
    second[5:] = 0
    a, b = write_tiff(tmp_path / "a.tif", first), write_tiff(tmp_path / "b.tif", second)
    scenes = [
        scene("2023-06-03", {"v": b}, id="later"),
        scene("2023-06-01", {"v": b}, id="2", offset=-1000),
        scene("2023-06-01", {"v": a}, id="1"),
    ]
    for order in (scenes, scenes[::-1]):
        cube = Reader().read(order, ["v"], grid(shape=(10, 10)), **U16)
        assert cube.labels["t"].astype("datetime64[D]").astype(str).tolist() == [
            "2023-06-01",
            "2023-06-03",
        ]
        day = cube.data[0, 0]
        assert (day[:, :5] == 1500).all()  # the first scene, though the second has these as well
        assert (day[:5, 5:] == 1500).all()  # the second, its own offset taken off
        assert (day[5:, 5:] == 65535).all()


def test_scenes_in_the_windows_crs_go_first(tmp_path: Path) -> None:
    near = write_tiff(tmp_path / "near.tif", np.full((10, 10), 1, "uint16"))
    x, y = Transformer.from_crs(32631, 32632, always_xy=True).transform(LEFT, TOP)
    far = write_tiff(
        tmp_path / "far.tif", np.full((400, 400), 2, "uint16"), left=x - 2000, top=y + 2000,
        epsg=32632,
    )  # fmt: skip
    scenes = [
        scene("2023-06-01", {"v": far}, id="a", epsg=32632),
        scene("2023-06-01", {"v": near}, id="b"),
    ]
    cube = Reader().read(scenes, ["v"], grid(-5, 0, (10, 10)), **U16)
    assert (cube.data[0, 0, :, 5:] == 1).all()
    assert (cube.data[0, 0, :, :5] == 2).all()


def test_offset_clips_at_zero_and_zero_stays_valid(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 999, 1000, 1001, 65535]], "uint16")
    path = write_tiff(tmp_path / "dn.tif", stored)
    scenes = [scene("2023-06-01", {"b": path}, offset=-1000)]
    cube = Reader().read(scenes, ["b"], grid(shape=(1, 6)), **U16)
    assert cube.data[0, 0, 0].tolist() == [65535, 0, 0, 0, 1, 64535]


def test_nodata_comes_from_the_item_the_file_or_the_collection(tmp_path: Path) -> None:
    pixels = np.array([[1, 2, 3]], "int16")
    with_header = write_tiff(tmp_path / "with.tif", pixels, nodata=2)
    without = write_tiff(tmp_path / "without.tif", pixels, nodata=None)

    def read(path: Path, nodata: float | None) -> list[int]:
        return Reader().read(
            [scene("2023-06-01", {"b": path}, nodata=nodata)], ["b"], grid(shape=(1, 4)),
            dtype="int16", nodata=-1, lookup=lambda name: BandInfo(name, nodata=3),
        ).data[0, 0, 0].tolist()  # fmt: skip

    assert read(with_header, 1) == [-1, 2, 3, -1]
    assert read(with_header, None) == [1, -1, 3, -1]
    assert read(without, None) == [1, 2, -1, -1]


def test_floats_have_nan_for_missing(tmp_path: Path) -> None:
    pixels = np.array([[1.5, -9999, np.nan, 0]], "float32")
    path = write_tiff(tmp_path / "f.tif", pixels, nodata=-9999)
    cube = Reader().read(
        [scene("2023-06-01", {"b": path}, nodata=None)], ["b"], grid(shape=(1, 5)),
        dtype="float32", nodata=None,
    )  # fmt: skip
    np.testing.assert_array_equal(cube.data[0, 0, 0], [1.5, np.nan, np.nan, 0, np.nan])
    assert cube.nodata is None
    assert cube.data.dtype == np.float32


def test_a_scene_without_the_band_and_no_scenes_at_all(folder: Path) -> None:
    scenes = [scene("2023-06-01", {"a": folder / "10.tif"}), scene("2023-06-02", {})]
    cube = Reader().read(scenes, ["a", "b"], grid(), **U16)
    assert cube.data.shape == (2, 2, 20, 30)
    assert (cube.data[:, 1] == 65535).all()
    assert Reader().read([], ["a"], grid(), **U16).data.shape == (0, 1, 20, 30)


def test_bands_of_one_file(tmp_path: Path) -> None:
    stack = np.arange(1, 25, dtype="uint16").reshape(3, 2, 4)
    path = str(write_tiff(tmp_path / "stack.tif", stack))
    bands = {f"b{i}": BandAsset(path, band_index=i) for i in (3, 1, 2)}
    cube = Reader().read(
        [scene("2023-06-01", bands)], ["b1", "b2", "b3"], grid(shape=(2, 4)), **U16
    )
    np.testing.assert_array_equal(cube.data[0], stack)


class Counting:
    """Open files as the reader does, and count what is opened, decoded and closed."""

    def __init__(self) -> None:
        self.opened, self.blocks, self.closed = Counter(), Counter(), 0

    def __call__(self, asset: BandAsset) -> GdalRaster:
        self.opened[asset.href] += 1
        raster = open_raster(asset)
        read_block, close = raster.read_block, raster.close

        def counted(band: int, row: int, column: int) -> np.ndarray:
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
        scene(f"2023-06-{i + 1:02d}", {"b": write_tiff(folder / f"{i}.tif", pixels.astype("u2"))})
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
    scenes, counting = series(tmp_path, 6), Counting()
    reader = Reader(opener=counting, max_open=2, cache_bytes=3 * 256 * 256 * 2)
    first = reader.read(scenes, ["b"], grid(shape=(64, 64)), **U16)
    assert counting.closed == 4
    again = reader.read(scenes, ["b"], grid(shape=(64, 64)), **U16)
    np.testing.assert_array_equal(first.data, again.data)
    assert sum(counting.blocks.values()) == 12  # six blocks do not fit: all are read again


def test_cached_blocks_need_no_open_file(tmp_path: Path) -> None:
    scenes, counting = series(tmp_path, 6), Counting()
    reader = Reader(opener=counting, max_open=1)
    for _ in range(3):
        reader.read(scenes, ["b"], grid(shape=(64, 64)), **U16)
    assert set(counting.opened.values()) == {1}


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
    scenes, counting = series(tmp_path, 4), Counting()
    files = FileCache(1, counting)
    problems: list[Exception] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for index in random.integers(0, len(scenes), 40):
                with files.use(scenes[index].bands["b"]) as source:
                    assert source.read_block(1, 0, 0)[0, 0] == 1
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

    server.expect_request("/").respond_with_data("")
    server.expect_request(_Anything()).respond_with_handler(answer)
    return requests


class _Anything(str):
    """Matches every path: pytest-httpserver compares paths by equality."""

    __slots__ = ()

    def __new__(cls) -> _Anything:
        return super().__new__(cls, "/anything")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    __hash__ = str.__hash__


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


def test_copernicus_bucket_has_its_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_S3_ENDPOINT", raising=False)
    options = gdal_options("s3://eodata/Sentinel-2/x.jp2")
    assert options["AWS_S3_ENDPOINT"] == "eodata.dataspace.copernicus.eu"
    assert options["AWS_VIRTUAL_HOSTING"] is False
    assert "AWS_S3_ENDPOINT" not in gdal_options("s3://sentinel-cogs/x.tif")
    monkeypatch.setenv("AWS_S3_ENDPOINT", "localhost:9000")
    assert "AWS_S3_ENDPOINT" not in gdal_options("s3://eodata/x.jp2")
