"""Reading for many windows at once gives what reading them one by one gives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.cog.fetching import Fetcher
from openeo_gfmap.local.engine.demands import Request
from openeo_gfmap.local.engine.reader import Reader, days_of
from openeo_gfmap.local.rasters import BlockSource, open_raster
from openeo_gfmap.local.stac_source import BandAsset, Scene
from support.scenes import LEFT, grid, scene, write_tiff

U16 = {"dtype": "uint16", "nodata": 65535}
BANDS = ["red", "nir", "coarse"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Three days; two bands side by side in one file, one coarser; the last day is a mosaic."""
    folder = tmp_path_factory.mktemp("tiffs")
    random = np.random.default_rng(3)

    def one(name: str, day: str, left: float = LEFT) -> Scene:
        fine = random.integers(0, 12_000, (2, 200, 200)).astype("u2")
        coarse = random.integers(0, 12_000, (100, 100)).astype("u2")
        both = write_tiff(folder / f"{name}.tif", fine, left=left, block=64)
        with rasterio.open(both) as file:
            assert file.interleaving.name == "pixel"
        other = write_tiff(folder / f"{name}-20.tif", coarse, left=left, resolution=20, block=32)
        bands = {
            "red": BandAsset(str(both), 1, offset=-1000),
            "nir": BandAsset(str(both), 2, offset=-1000),
            "coarse": BandAsset(str(other)),
        }
        return scene(day, bands, id=name)

    return [
        one("a", "2023-06-01"), one("b", "2023-06-02"), one("c", "2023-06-03"),
        one("d", "2023-06-03", left=LEFT + 1000),
    ]  # fmt: skip


def request(scenes: list[Scene], column: int, row: int, size: int) -> Request:
    box = grid(column, row, (size, size))
    return Request(scenes, tuple(BANDS), tuple(BANDS), box, days_of(scenes))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    places=st.lists(
        st.tuples(st.integers(-30, 320), st.integers(-30, 210), st.integers(1, 60)),
        min_size=1, max_size=8,
    ),
    cache=st.sampled_from([1, 100_000, 2**26]),
)  # fmt: skip
def test_the_same_pixels(
    scenes: list[Scene], places: list[tuple[int, int, int]], cache: int
) -> None:
    wanted = [request(scenes, *place) for place in places]
    reader, alone = Reader(cache_bytes=cache), Reader()
    ready = 0
    for position, each in enumerate(wanted):
        if position == ready:
            ready += reader.prepare([one] for one in wanted[position:])
            assert position < ready <= len(wanted)
        found = reader.read(scenes, BANDS, each.geobox, each.times, **U16)
        expected = alone.read(scenes, BANDS, each.geobox, each.times, **U16)
        np.testing.assert_array_equal(found.data, expected.data)


def test_each_block_is_read_once_for_all(scenes: list[Scene]) -> None:
    blocks: Counter = Counter()

    def opener(asset: BandAsset, fetcher: Fetcher) -> BlockSource:
        raster = open_raster(asset, fetcher)
        read_block = raster.read_block

        def counted(band: int, row: int, column: int):
            blocks[asset.href, row, column] += 1
            return read_block(band, row, column)

        raster.read_block = counted
        return raster

    reader = Reader(opener=opener)
    wanted = [request(scenes[:2], c, r, 40) for r in range(0, 160, 20) for c in range(0, 160, 30)]
    assert reader.prepare([one] for one in wanted) == len(wanted)
    for each in wanted:
        reader.read(scenes[:2], BANDS, each.geobox, each.times, **U16)
    assert set(blocks.values()) == {1}


def test_what_is_wrong_shows_at_its_window(scenes: list[Scene], tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "cut.tif", np.random.default_rng(0).integers(
        1, 60_000, (200, 200)).astype("u2"), block=64)  # fmt: skip
    path.write_bytes(path.read_bytes()[:-5_000])
    broken = [scene("2023-06-01", {"red": path})]
    top, bottom = (
        Request(broken, ("red",), ("red",), grid(0, row, (20, 20)), days_of(broken))
        for row in (0, 170)
    )
    reader = Reader()
    assert reader.prepare([[top], [bottom]]) == 2
    assert (reader.read(broken, ["red"], top.geobox, **U16).data != 65535).all()
    with pytest.raises(Exception, match=r"cut\.tif cannot be read: it ends before"):
        reader.read(broken, ["red"], grid(150, 170, (20, 20)), **U16)


def test_memory_does_not_grow_with_the_number_of_windows(scenes: list[Scene]) -> None:
    """So much is read ahead as a share of the cache holds, however many windows follow."""
    size = 40 * 40 * 2 * 3 * 2 + 20 * 20 * 2 * 3  # bytes of a window, about
    reader = Reader(cache_bytes=10 * size)
    for count in (20, 200):
        wanted = [request(scenes[:3], i % 7, i % 11, 40) for i in range(count)]
        asked: list[Request] = []

        def ask(wanted: list[Request] = wanted, asked: list[Request] = asked):
            for one in wanted:
                asked.append(one)
                yield [one]

        assert 2 <= reader.prepare(ask()) <= 5
        assert len(asked) <= 6
