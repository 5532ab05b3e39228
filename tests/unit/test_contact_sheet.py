"""The contact sheet refuses what it cannot draw, and says what is missing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import matplotlib.image
import numpy as np
import pystac
import pytest
import xarray as xr

from openeo_gfmap.errors import InputError
from openeo_gfmap.report import contact_sheet

BANDS = ("S2-L2A-B02", "S2-L2A-B03", "S2-L2A-B04", "S2-L2A-SCL")


def item_of(folder: Path, name: str, bands: tuple[str, ...] = BANDS, dates: int = 5) -> pystac.Item:
    """Write a patch whose left half is cloud on the second date, and an item for it."""
    rng = np.random.default_rng(3)
    variables = {
        band: (("t", "y", "x"), rng.integers(300, 2500, (dates, 8, 8)).astype("uint16"))
        for band in bands
    }
    if "S2-L2A-SCL" in bands:
        scl = np.full((dates, 8, 8), 4, "uint16")
        scl[min(1, dates - 1), :, :4] = 9
        variables["S2-L2A-SCL"] = (("t", "y", "x"), scl)
    days = np.datetime64("2021-05-01", "ns") + np.arange(dates) * np.timedelta64(5, "D")
    xr.Dataset(variables, coords={"t": days}).to_netcdf(folder / f"{name}.nc", engine="h5netcdf")
    item = pystac.Item(name, None, None, datetime(2021, 5, 1, tzinfo=UTC), {})
    item.add_asset("sentinel2", pystac.Asset(href=str(folder / f"{name}.nc")))
    return item


@pytest.mark.parametrize("dates", [1, 3, 5])
def test_draws_patches_of_any_length(tmp_path: Path, dates: int) -> None:
    sheet = contact_sheet([item_of(tmp_path, "a", dates=dates)], tmp_path / "sub" / "sheet.png")
    assert matplotlib.image.imread(sheet)[..., :3].std() > 0.05


def test_more_samples_than_rows_are_thinned(tmp_path: Path) -> None:
    items = [item_of(tmp_path, f"patch{n}") for n in range(5)]
    short = matplotlib.image.imread(contact_sheet(items, tmp_path / "2.png", rows=2))
    long = matplotlib.image.imread(contact_sheet(items, tmp_path / "5.png", rows=5))
    assert short.shape[0] < long.shape[0]
    assert contact_sheet(items, tmp_path / "1.png", rows=1).exists()


def test_the_cloud_is_tinted(tmp_path: Path) -> None:
    from openeo_gfmap.report.contact_sheet import read_row

    patch = read_row(item_of(tmp_path, "a"))
    left, right = patch.cloud[:, :4], patch.cloud[:, 4:]
    assert patch.cloud_day == "06 May 2021"
    assert (left[..., 0] - left[..., 1]).mean() > (right[..., 0] - right[..., 1]).mean() + 0.2


def test_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no item to draw"):
        contact_sheet([], tmp_path / "sheet.png")
    with pytest.raises(InputError, match="no band with dates to draw"):
        contact_sheet([item_of(tmp_path, "a", ())], tmp_path / "sheet.png")
    with pytest.raises(InputError, match="rows=0"):
        contact_sheet([item_of(tmp_path, "a")], tmp_path / "sheet.png", rows=0)
