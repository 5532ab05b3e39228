"""The parts of the embedded back-end's page that need no server."""

from __future__ import annotations

import io
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from openeo_gfmap.local import access, page
from openeo_gfmap.local.access import Invitations
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.page.preview import NoPreviewError, draw
from openeo_gfmap.local.page.routes import prefers_html

FILES = Path(page.__file__).parent / "static"
CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;"
    "q=0.8,application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (CHROMIUM, True),
        ("text/html", True),
        ("TEXT/HTML;q=0.5, */*;q=0.1", True),
        ("", False),
        ("*/*", False),  # requests, and so the openEO client
        ("application/json", False),
        ("application/json, text/plain, */*", False),  # axios, and so openEO's JavaScript client
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", True),
        (",;,=", False),
    ],
)
def test_who_gets_html(accept: str, html: bool) -> None:
    assert prefers_html(accept) is html


def test_an_invitation_works_once_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    invitations = Invitations()
    code = invitations.issue()
    assert code != invitations.issue()
    invitations.redeem(code)
    for bad in (code, "", None, ["x"], "A" * 32):
        with pytest.raises(OpenEOError, match="user and password") as error:
            invitations.redeem(bad)
        assert error.value.status == 403
    late = invitations.issue()
    monkeypatch.setattr(access.time, "monotonic", lambda: 1e12)
    with pytest.raises(OpenEOError, match="used or is over"):
        invitations.redeem(late)


def test_nothing_of_the_page_comes_from_elsewhere_or_is_parsed_as_html() -> None:
    names = {path.name for path in FILES.iterdir()}
    for path in FILES.iterdir():
        text = path.read_text()
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert not re.search(r"<script(?! type=\"module\" src)|\son\w+=\"|<style|\sstyle=", text)
        for used in re.findall(r"(?:from \"\./|\"page/)([\w.]+\.\w+)\"", text):
            assert used in names, f"{path.name} uses {used}"


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGBA"
        return np.asarray(image).transpose(2, 0, 1)


def test_preview_of_a_netcdf_takes_the_darkest_whole_date(tmp_path: Path) -> None:
    path = tmp_path / "patch.nc"
    ramp = np.arange(16, dtype=np.int16).reshape(4, 4)
    with h5py.File(path, "w") as file:
        scales = {}
        for name, size in (("t", 3), ("y", 4), ("x", 4)):
            scales[name] = file.create_dataset(name, data=np.arange(float(size)))
            scales[name].make_scale(name)
        for factor, name in enumerate(("B02", "B03", "B04", "SCL"), 1):
            cube = np.stack([ramp + 900, factor * 100 + ramp, ramp])
            cube[2, :3] = -1  # the third date has hardly any values
            cube[1, 0, 0] = -1
            band = file.create_dataset(name, data=cube)
            band.attrs["_FillValue"] = np.int16(-1)
            for axis, scale in enumerate(scales.values()):
                band.dims[axis].attach_scale(scale)
    red, green, blue, alpha = _pixels(draw(path))
    assert alpha[0, 0] == 0 and (alpha.ravel()[1:] == 255).all()
    inside = alpha > 0
    assert (red[inside] > green[inside]).all() and (green[inside] > blue[inside]).all()


def test_preview_of_a_geotiff_is_small(tmp_path: Path) -> None:
    path = tmp_path / "plane.tif"
    values = np.linspace(0, 1, 600 * 300, dtype=np.float32).reshape(300, 600)
    values[:, :300] = np.nan
    with rasterio.open(
        path, "w", driver="GTiff", width=600, height=300, count=1, dtype="float32", nodata=np.nan,
        crs="EPSG:32631", transform=Affine(10, 0, 0, 0, -10, 0),
    ) as file:  # fmt: skip
        file.write(values, 1)
    found = _pixels(draw(path))
    assert found.shape == (4, 100, 200)
    assert (found[3, :, :99] == 0).all() and (found[3, :, 101:] == 255).all()
    assert (found[0] == found[1]).all() and found[0].max() == 255


@pytest.mark.parametrize("name", ["table.csv", "broken.nc", "broken.tif"])
def test_no_preview_says_why(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("id,value\n1,2\n")
    with pytest.raises(NoPreviewError, match=r"NetCDF|\.nc, \.tif|cannot be read"):
        draw(tmp_path / name)


def test_no_preview_of_a_file_without_pixels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "series.nc", "w") as file:
        file.create_dataset("mean", data=np.zeros((3, 2)))
    with pytest.raises(NoPreviewError, match="no variable on y and x"):
        draw(tmp_path / "series.nc")
