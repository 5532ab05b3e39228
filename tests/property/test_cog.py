"""Our own decoder of tiled TIFFs against GDAL's, on small random files of every kind."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.cog.blocks import DEFLATE, BlockLayout, BrokenBlock, CodedBlock
from openeo_gfmap.local.engine.raster_store import RasterStore
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.rasters import CogRaster, GdalRaster, open_raster
from openeo_gfmap.local.stac_source import BandAsset

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
OURS = {"deflate", "zstd", "none"}
TRANSFORM = Affine(10, 0, 600_000, 0, -10, 5_700_000)

fast = settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


def pixels_of(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Smooth in places, all extremes in others: every difference wraps around somewhere."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        values = random.normal(0, 1000, shape).astype(dtype)
        values[random.random(shape) < 0.1] = np.nan
        return values
    limits = np.iinfo(dtype)
    smooth = np.broadcast_to(np.arange(shape[-1]) % 100, shape)
    wild = random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return np.where(random.random(shape) < 0.5, smooth, wild).astype(dtype)


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Write pixels (bands, rows, columns) as GDAL does."""
    path.unlink(missing_ok=True)
    profile = {
        "driver": "GTiff", "count": len(pixels), "height": pixels.shape[1],
        "width": pixels.shape[2], "dtype": pixels.dtype.name, "crs": "EPSG:32631",
        "transform": TRANSFORM, "tiled": True, "blockxsize": 32, "blockysize": 16,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile | options) as file:
        file.write(pixels)
    return path


def store() -> RasterStore:
    return RasterStore(cache_bytes=2**20, max_open=10, threads=1, opener=open_raster)


def check(path: Path, windows: list[tuple[int, int, int, int]], *, ours: bool) -> None:
    """Compare header and windows, read one after the other from the same blocks."""
    raster = open_raster(BandAsset(str(path)))
    assert isinstance(raster, CogRaster if ours else GdalRaster)
    reference, header = GdalRaster(str(path)).header, raster.header
    assert (header.shape, header.transform, header.crs) == (
        reference.shape, reference.transform, reference.crs
    )  # fmt: skip
    assert header.dtypes == reference.dtypes
    np.testing.assert_array_equal(np.array(header.nodata, float), np.array(reference.nodata, float))
    files = store()
    with rasterio.open(path) as file:
        for top, bottom, left, right in windows:
            for band in range(1, file.count + 1):
                out = np.zeros((bottom - top, right - left), header.dtypes[band - 1])
                asset = BandAsset(str(path), band_index=band)
                files.read_into(out, asset, (top, bottom, left, right))
                expected = file.read(band, window=((top, bottom), (left, right)))
                np.testing.assert_array_equal(out, expected)


@st.composite
def windows_in(draw: st.DrawFn, rows: int, columns: int) -> tuple[int, int, int, int]:
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    bottom, right = draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, columns))
    return top, bottom, left, right


@settings(fast, max_examples=150)
@given(data=st.data())
def test_every_kind_of_file(tmp_path: Path, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    compress = data.draw(st.sampled_from(["deflate", "zstd", "none", "lzw", "packbits"]))
    predictors = [1, 2, 3] if dtype in ("float32", "float64") else [1, 2]
    rows, columns = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 80))
    options = {
        "compress": compress,
        "interleave": data.draw(st.sampled_from(["pixel", "band"])),
        "blockxsize": data.draw(st.sampled_from([16, 32, 64])),
        "blockysize": data.draw(st.sampled_from([16, 48])),
        "bigtiff": data.draw(st.sampled_from(["yes", "no"])),
        "endianness": data.draw(st.sampled_from(["little", "big"])),
        "nodata": data.draw(st.sampled_from([None, 0, 7])),
    }
    if compress in ("deflate", "zstd", "lzw"):
        options["predictor"] = data.draw(st.sampled_from(predictors))
    shape = (data.draw(st.integers(1, 3)), rows, columns)
    pixels = pixels_of(shape, dtype, data.draw(st.integers(0, 99)))
    path = write(tmp_path / "any.tif", pixels, **options)
    windows = data.draw(st.lists(windows_in(rows, columns), min_size=1, max_size=4))
    check(path, windows, ours=compress in OURS)


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_files_with_overviews_and_masks(tmp_path: Path, driver: str, dtype: str) -> None:
    pixels = pixels_of((1, 300, 400), dtype, 3)
    path = tmp_path / "cog.tif"
    profile = {"height": 300, "width": 400, "count": 1, "dtype": dtype, "crs": "EPSG:32631"}
    more = {"blocksize": 128, "predictor": "YES"} if driver == "COG" else {"tiled": True}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver=driver, transform=TRANSFORM, compress="deflate", **profile,
                      **more) as file,
    ):  # fmt: skip
        file.write(pixels)
        file.write_mask(pixels[0] != pixels[0, 0, 0])
    if driver == "GTiff":
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4])
    check(path, [(0, 300, 0, 400), (100, 164, 250, 314)], ours=True)


@pytest.mark.parametrize("nodata", [None, 9])
def test_blocks_that_were_never_written(tmp_path: Path, nodata: float | None) -> None:
    path = tmp_path / "sparse.tif"
    profile = {"height": 64, "width": 64, "count": 2, "dtype": "uint16", "crs": "EPSG:32631"}
    with rasterio.open(
        path, "w", driver="GTiff", transform=TRANSFORM, tiled=True, blockxsize=16, blockysize=16,
        sparse_ok=True, compress="deflate", nodata=nodata, interleave="band", **profile,
    ) as file:  # fmt: skip
        file.write(np.full((16, 16), 5, "uint16"), 1, window=((16, 32), (16, 32)))
    check(path, [(0, 64, 0, 64), (10, 40, 20, 30)], ours=True)


@pytest.mark.parametrize(
    ("crs", "ours"),
    [("EPSG:32631", True), ("EPSG:4326", True), ("EPSG:3035", True), ("EPSG:3857", True),
     ("EPSG:2263", False), ("+proj=laea +lat_0=10 +lon_0=20", False), ("EPSG:32631+5773", False)],
)  # fmt: skip
def test_reference_systems(tmp_path: Path, crs: str, ours: bool) -> None:
    path = write(tmp_path / "crs.tif", pixels_of((1, 20, 20), "uint8", 0), crs=crs)
    check(path, [(0, 20, 0, 20)], ours=ours)


@pytest.mark.parametrize(
    "transform",
    [Affine(10, 0, 5, 0, 10, 7), Affine(10, 2, 5, 3, -10, 7), Affine(0.1, 0, -5.05, 0, -0.2, 7.3)],
)
@pytest.mark.parametrize("point", ["AREA", "POINT"])
def test_georeferences(tmp_path: Path, transform: Affine, point: str) -> None:
    path = tmp_path / "geo.tif"
    pixels = pixels_of((1, 20, 20), "uint8", 0)
    write(path, pixels, transform=transform)
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT=point.capitalize())
    check(path, [(3, 20, 0, 17)], ours=True)


@pytest.mark.parametrize(
    ("dtype", "nodata", "ours"),
    [("uint8", 255, True), ("int16", -32768, True), ("float32", "nan", True),
     ("float32", -9999.5, True), ("float32", -3.4028234663852886e38, False), ("int8", -128, True)],
)  # fmt: skip
def test_nodata_values(tmp_path: Path, dtype: str, nodata: Any, ours: bool) -> None:
    value = float(nodata) if isinstance(nodata, str) else nodata
    path = write(tmp_path / "n.tif", pixels_of((2, 20, 20), dtype, 0), nodata=value)
    check(path, [(0, 20, 0, 20)], ours=ours)


@pytest.mark.parametrize(
    "options",
    [{"tiled": False}, {"compress": "lerc"}, {"compress": "jpeg"}, {"compress": "webp"},
     {"nbits": 4}, {"compress": "lzma"}, {"driver": "JP2OpenJPEG", "quality": 100}],
)  # fmt: skip
def test_what_is_left_to_gdal(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = pixels_of((3, 64, 64), "uint8", 1) % 16
    path = tmp_path / ("other.jp2" if "driver" in options else "other.tif")
    profile = {
        "driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint8",
        "crs": "EPSG:32631", "transform": TRANSFORM, "tiled": True, "blockxsize": 16,
        "blockysize": 16,
    }  # fmt: skip
    if options.get("driver"):
        profile = {
            k: v for k, v in profile.items() if k not in ("tiled", "blockxsize", "blockysize")
        }
    with rasterio.open(path, "w", **profile | options) as file:
        file.write(pixels)
    check(path, [(0, 64, 0, 64), (5, 30, 40, 50)], ours=False)


def test_blocks_that_are_longer_than_stated() -> None:
    data = zlib.compress(bytes(LAYOUT.nbytes + 10))
    with pytest.raises(BrokenBlock, match="does not end after 4096 bytes"):
        CodedBlock(LAYOUT, data).read_into(np.zeros((64, 32), "uint16"), 0, 0)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@settings(fast, max_examples=150)
@given(position=st.integers(0, 2000), byte=st.integers(0, 255), cut=st.booleans())
def test_broken_files_give_errors_or_what_gdal_reads(
    tmp_path: Path, position: int, byte: int, cut: bool
) -> None:
    """Whatever happens to the header or a checksummed block: never other pixels than GDAL's."""
    pixels = pixels_of((1, 40, 40), "uint16", 5)
    path = write(tmp_path / "b.tif", pixels, compress="deflate", predictor=2)
    content = bytearray(path.read_bytes())
    position %= len(content)
    if cut:
        content = content[:position]
    else:
        content[position] = byte
    path.write_bytes(content)
    asset, out = BandAsset(str(path)), np.zeros((40, 40), "uint16")
    try:
        header = open_raster(asset).header
        if header.shape != (40, 40) or header.dtypes != ("uint16",):
            return  # another file, for GDAL as well
        store().read_into(out, asset, (0, 40, 0, 40))
    except OpenEOError as error:
        assert str(path) in error.message
        return
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(out, file.read(1))


@pytest.mark.parametrize("options", [{"compress": "deflate"}, {"compress": "none"}])
def test_files_that_end_too_early(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write(tmp_path / "cut.tif", pixels_of((1, 400, 400), "uint16", 5), **options)
    path.write_bytes(path.read_bytes()[:-100])
    out, asset = np.zeros((10, 10), "uint16"), BandAsset(str(path))
    store().read_into(out, asset, (0, 10, 0, 10))
    with pytest.raises(OpenEOError, match=r"cut\.tif cannot be read: it ends before byte"):
        store().read_into(out, asset, (390, 400, 390, 400))


def test_a_file_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    pixels = pixels_of((1, 40, 40), "uint16", 5)
    path = write(tmp_path / "b.tif", pixels, compress="deflate")
    files, asset = store(), BandAsset(str(path))
    out = np.zeros((10, 10), "uint16")
    files.read_into(out, asset, (0, 10, 0, 10))
    write(path, pixels[:, ::-1].copy(), compress="zstd")
    with pytest.raises(OpenEOError, match="written anew"):
        files.read_into(out, asset, (30, 40, 0, 10))


LAYOUT = BlockLayout(64, 32, 1, np.dtype("<u2"), DEFLATE, 2)


def test_a_block_is_inflated_only_as_far_as_needed() -> None:
    values = pixels_of((64, 32), "uint16", 7)
    differences = np.diff(values, axis=1, prepend=np.uint16(0))
    data = zlib.compress(differences.tobytes())
    # What follows the rows that are wanted may be anything: it is not looked at.
    damaged = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    block, out = CodedBlock(LAYOUT, damaged), np.zeros((4, 10), "uint16")
    block.read_into(out, 8, 5)
    np.testing.assert_array_equal(out, values[8:12, 5:15])
    assert block.nbytes < LAYOUT.nbytes + len(data) + 150_000
    with pytest.raises(BrokenBlock):
        block.read_into(out, 60, 5)


def test_the_checksum_of_a_whole_block_is_checked() -> None:
    data = bytearray(zlib.compress(bytes(LAYOUT.nbytes)))
    data[-1] ^= 1
    with pytest.raises(BrokenBlock, match="cannot be inflated"):
        CodedBlock(LAYOUT, bytes(data)).read_into(np.zeros((64, 32), "uint16"), 0, 0)


def test_a_block_that_is_too_short() -> None:
    data = zlib.compress(bytes(LAYOUT.nbytes // 2))
    block = CodedBlock(LAYOUT, data)
    block.read_into(np.zeros((20, 32), "uint16"), 0, 0)
    with pytest.raises(BrokenBlock, match="ends after 2048 of 4096 bytes"):
        block.read_into(np.zeros((30, 32), "uint16"), 20, 0)
