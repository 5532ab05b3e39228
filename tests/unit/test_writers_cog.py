"""Cloud-optimised GeoTIFFs: what GDAL reads of them, and where things lie in them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.engine import writers_cog
from openeo_gfmap.local.engine.writers_cog import write_cog

TYPES = {
    "uint8": 255, "int8": -128, "uint16": 65535, "int16": -1, "uint32": None, "int32": 0,
    "int64": -5, "uint64": None, "float32": np.nan, "float64": np.nan,
}  # fmt: skip
SHAPES = [(3, 1300, 1100), (2, 512, 512), (1, 5, 7), (2, 513, 1)]


def grid(shape: tuple[int, ...], crs: str = "EPSG:32631") -> GeoBox:
    return GeoBox(shape[1:], Affine(10, 0, 643260, 0, -10, 5676480), crs)


def write(path: Path, pixels: np.ndarray, nodata: float | None = None, crs="EPSG:32631") -> None:
    names = [f"b{i}" for i in range(len(pixels))]
    tags = {"TIFFTAG_SOFTWARE": "test", "TIFFTAG_DATETIME": "2023:04:12 00:00:00"}
    write_cog(path, pixels, grid(pixels.shape, crs), nodata, tags=tags, bands=names)


@pytest.mark.parametrize("dtype", TYPES)
def test_gdal_reads_pixels_and_overviews(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(1)
    for number, shape in enumerate(SHAPES):
        pixels = (rng.random(shape) * 120).astype(dtype)
        path = tmp_path / f"{number}.tif"
        write(path, pixels, TYPES[dtype])
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(), pixels)
            assert file.dtypes == (dtype,) * len(pixels)
            assert file.crs.to_epsg() == 32631
            assert file.transform == grid(shape).affine
            assert file.descriptions == tuple(f"b{i}" for i in range(len(pixels)))
            assert np.array_equal([file.nodata], [TYPES[dtype]], equal_nan=dtype[0] == "f")
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.tags()["TIFFTAG_SOFTWARE"] == "test"
            levels = len(file.overviews(1))
        assert levels == (2 if shape[1] == 1300 else shape[1] == 513)
        for level in range(levels):
            factor = 2 ** (level + 1)
            with rasterio.open(path, overview_level=level) as file:
                found = file.read()
            rows, columns = (
                np.minimum(np.arange(-(-size // factor)) * factor + factor // 2, size - 1)
                for size in shape[1:]
            )
            np.testing.assert_array_equal(found, pixels[:, rows[:, None], columns])


def test_large_files_are_big_tiffs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers_cog, "_CLASSIC_BYTES", 1000)
    pixels = np.random.default_rng(2).integers(0, 9999, (2, 700, 1500)).astype("uint16")
    write(tmp_path / "a.tif", pixels, 65535)
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II\x2b\0"
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), pixels)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(2) == [2, 4]


def test_the_layout_is_that_of_cloud_optimised_files(tmp_path: Path) -> None:
    """Directories, the full one first; then tiles, those of the smallest overview first."""
    pixels = np.random.default_rng(3).integers(0, 9999, (2, 1500, 1100)).astype("int16")
    write(tmp_path / "a.tif", pixels)
    data = (tmp_path / "a.tif").read_bytes()
    (place,) = struct.unpack_from("<I", data, 4)
    starts, ends, widths, directories = [], [], [], []
    while place:
        directories.append(place)
        (number,) = struct.unpack_from("<H", data, place)
        tags = writers_cog._parse(data[:4] + struct.pack("<I", place) + data[8:], big=False)
        offsets, counts = (struct.unpack(f"<{tags[tag][1]}I", tags[tag][2]) for tag in (324, 325))
        for offset, count in zip(offsets, counts, strict=True):
            # What readers are promised: the size before each tile, its last bytes once more after.
            assert struct.unpack_from("<I", data, offset - 4) == (count,)
            assert data[offset + count - 4 : offset + count] == data[offset + count :][:4]
        assert list(offsets) == sorted(offsets)
        starts.append(offsets[0])
        ends.append(offsets[-1] + counts[-1])
        widths.append(struct.unpack("<I", tags[256][2])[0])
        (place,) = struct.unpack_from("<I", data, place + 2 + 12 * number)
    assert widths == [1100, 550, 275]
    assert directories == sorted(directories)
    assert directories[-1] < min(starts)
    assert starts == sorted(starts, reverse=True)
    assert max(ends) + 4 == len(data)
    assert all(end < start for end, start in zip(ends[1:], starts[:-1], strict=True))


def test_grids_in_degrees_and_without_a_crs(tmp_path: Path) -> None:
    pixels = np.zeros((1, 4, 5), dtype="uint8")
    write(tmp_path / "degrees.tif", pixels, crs="EPSG:4326")
    with rasterio.open(tmp_path / "degrees.tif") as file:
        assert file.crs.to_epsg() == 4326
    laea = "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84"
    write(tmp_path / "laea.tif", pixels, crs=laea)
    with rasterio.open(tmp_path / "laea.tif") as file:
        assert file.crs == rasterio.CRS.from_user_input(laea)
    box = GeoBox((4, 5), Affine(10, 0, 0, 0, -10, 0), None)
    write_cog(tmp_path / "nowhere.tif", pixels, box, None, tags={}, bands=())
    with rasterio.open(tmp_path / "nowhere.tif") as file:
        assert file.crs is None
        np.testing.assert_array_equal(file.read(), pixels)


def test_arrays_mapped_from_a_file_are_written_as_they_are(tmp_path: Path) -> None:
    pixels = np.memmap(tmp_path / "pixels", dtype="float32", mode="w+", shape=(3, 600, 700))
    pixels[...] = np.random.default_rng(4).random(pixels.shape)
    pixels[:, :100] = np.nan
    kept = np.array(pixels)
    write(tmp_path / "a.tif", pixels, np.nan)
    np.testing.assert_array_equal(pixels, kept)
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), kept)


def test_the_same_pixels_give_the_same_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 9999, (2, 600, 600)).astype("uint16")
    write(tmp_path / "a.tif", pixels)
    write(tmp_path / "b.tif", pixels)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
