"""The archive's own GeoTIFF writer, read back with GDAL and with a plain TIFF reader."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio

from openeo_gfmap.local.archive.cog import encode_cog, write_atomically, write_once


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 24, 24), (8, 72, 72), (3, 100, 37)])
def test_gdal_reads_back_what_was_written(tmp_path: Path, shape: tuple[int, int, int]):
    pixels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    names = tuple(f"B{i:02d}" for i in range(shape[0]))
    path = tmp_path / "a.tif"
    path.write_bytes(
        encode_cog(
            pixels, names, epsg=32733, west=300_000, north=8_800_040, resolution=20,
            description="made up",
        )
    )  # fmt: skip
    with rasterio.open(path) as file:
        assert (file.read() == pixels).all()
        assert file.crs.to_epsg() == 32733
        assert file.transform == rasterio.Affine(20, 0, 300_000, 0, -20, 8_800_040)
        assert file.nodatavals == (0.0,) * shape[0]
        assert file.descriptions == names
        assert all(side % 16 == 0 for block in file.block_shapes for side in block)
        assert file.tags()["TIFFTAG_IMAGEDESCRIPTION"] == "made up"


def test_the_directory_comes_first_then_the_tiles_in_order():
    content = encode_cog(
        np.ones((3, 32, 32), np.uint16), ("a", "b", "c"), epsg=32631, west=0, north=0,
        resolution=10, description="x",
    )  # fmt: skip
    assert content[:4] == b"II*\0"
    assert struct.unpack_from("<I", content, 4) == (8,)
    count = struct.unpack_from("<H", content, 8)[0]
    entries = [struct.unpack_from("<HHII", content, 10 + 12 * i) for i in range(count)]
    tags = {tag: value for tag, _, _, value in entries}
    assert list(tags) == sorted(tags), "TIFF wants tags in ascending order"
    offsets = struct.unpack_from("<3I", content, tags[324])
    sizes = struct.unpack_from("<3I", content, tags[325])
    assert offsets[0] > tags[324]
    assert offsets[1] == offsets[0] + sizes[0]
    assert len(content) == offsets[2] + sizes[2]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path):
    target = tmp_path / "file.json"
    write_atomically(target, b"old")
    with pytest.raises(TypeError):
        write_atomically(target, "text is not bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_file_that_is_there_is_not_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when another process wrote it between the look and the writing."""
    target = tmp_path / "scene.tif"
    write_once(target, b"first")
    kept = target.stat().st_ino
    write_once(target, b"second")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda self: False)
        write_once(target, b"third")
    assert (target.read_bytes(), target.stat().st_ino) == (b"first", kept)
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    write_once(tmp_path / "scene.tif", b"pixels")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"pixels"]
