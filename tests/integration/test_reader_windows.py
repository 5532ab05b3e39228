"""The reader against rasterio's own reading, on small random files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from openeo_gfmap.local.engine.reader import Reader
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.stac_source import BandAsset, BandInfo
from support.scenes import LEFT, TOP, grid, scene, write_tiff

SIZE = 90
U16 = {"dtype": "uint16", "nodata": 65535}


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
