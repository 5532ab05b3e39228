"""Pictures of a folder's patches: which are chosen, and that odd ones can be drawn."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pystac
import pytest
import xarray as xr
from PIL import Image

from openeo_gfmap.errors import InputError
from openeo_gfmap.report import contact_sheets, sample_page
from openeo_gfmap.report.patches import open_patch
from openeo_gfmap.utils.quicklook import write_quicklook

OPTICAL = ("S2-L2A-B02", "S2-L2A-B03", "S2-L2A-B04", "S2-L2A-B08")
SCL, MASK = "S2-L2A-SCL", "S2-L2A-SCL_DILATED_MASK"


def bands(names: tuple[str, ...] = (*OPTICAL, SCL), dates: int = 4) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in names:
        values = np.full((dates, 6, 6), 3000 if name == "S2-L2A-B08" else 500, np.uint16)
        if name == SCL:
            values = np.full((dates, 6, 6), 4, np.uint16)
            values[0] = 9
        if name == MASK:
            values = np.zeros((dates, 6, 6), np.uint16)
        made[name] = values
    return made


def write(path: Path, values: dict[str, Any], sample: str = "a") -> Path:
    dates = len(next(iter(values.values())))
    days = np.datetime64("2021-05-01", "ns") + np.arange(dates) * np.timedelta64(10, "D")
    variables = {name: (("t", "y", "x"), value) for name, value in values.items()}
    encoding = {name: {"_FillValue": None} for name in values}
    dataset = xr.Dataset(variables, {"t": days}, {"sample_id": sample})
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return path


def item(path: Path, label: Path | None = None, **properties: Any) -> pystac.Item:
    made = pystac.Item(path.stem, None, None, datetime(2021, 5, 1, tzinfo=UTC), properties)
    made.add_asset("sentinel2", pystac.Asset(str(path)))
    if label is not None:
        made.add_asset("auxiliary", pystac.Asset(str(label)))
    return made


def collection(folder: Path, items: list[pystac.Item]) -> Path:
    """Write a collection as small as can be read."""
    (folder / "stac").mkdir(parents=True)
    links = []
    for each in items:
        (folder / "stac" / f"{each.id}.json").write_text(json.dumps(each.to_dict()))
        links.append({"rel": "item", "href": f"./{each.id}.json"})
    document = {"type": "Collection", "id": "c", "links": links}
    (folder / "stac" / "collection.json").write_text(json.dumps(document))
    return folder


def label(path: Path) -> Path:
    codes = np.full((6, 6), 7, np.int32)
    codes[0] = 0
    about = {"flag_values": np.array([7], np.int32), "flag_meanings": "winter_wheat"}
    dataset = xr.Dataset({"LABEL": (("y", "x"), codes, about)})
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


def test_ndvi_is_of_the_clear_dates_and_the_labelled_field(tmp_path: Path) -> None:
    values = bands()
    values["S2-L2A-B08"][:, 0] = 500  # outside of the field: no vegetation
    patch = write(tmp_path / "a.nc", values)
    with open_patch(item(patch, label(tmp_path / "l.nc"))) as opened:
        found = opened.ndvi()
        assert found is not None
        low, middle, high = found
        assert np.isnan(middle[0])  # all cloud
        np.testing.assert_allclose(middle[1:], (3000 - 500) / 3500, rtol=1e-6)
        np.testing.assert_allclose(low[1:], high[1:])
        assert opened.clearest(2) == [1, 2]
    with open_patch(item(patch)) as opened:
        found = opened.ndvi()
        assert found is not None
        assert found[0][1] < 0.7  # the first row counts now


ODD: dict[str, dict[str, Any]] = {
    "usual": bands((*OPTICAL, SCL, MASK)),
    "one date": bands(dates=1),
    "no classes": bands(OPTICAL),
    "true colour only": bands(OPTICAL[:3]),
    "one band": bands(("S2-L2A-B08",)),
    "radar": {"S1-SIGMA0-VV": np.linspace(0, 1, 144, dtype=np.float32).reshape(4, 6, 6)},
    "nodata": {name: np.full((4, 6, 6), 65535, np.uint16) for name in (*OPTICAL, SCL)},
    "all cloud": {**bands(), SCL: np.full((4, 6, 6), 9, np.uint16)},
}


@pytest.mark.parametrize("kind", ODD)
def test_patches_of_all_kinds_can_be_drawn(kind: str, tmp_path: Path) -> None:
    patch = write(tmp_path / "a.nc", ODD[kind])
    folder = collection(tmp_path / "run", [item(patch, label(tmp_path / "l.nc"))])
    page = sample_page(folder, "a", tmp_path / "out")
    assert matplotlib.image.imread(page).shape[1] == 1320
    (sheet,) = contact_sheets(folder, tmp_path / "out")
    assert matplotlib.image.imread(sheet)[..., :3].std() > 0.01
    picture = np.asarray(Image.open(write_quicklook(patch, tmp_path / "q.png")))
    assert picture.shape == (6, 6, 4)
    assert (picture[..., 3] == (0 if kind == "nodata" else 255)).all()


def test_the_quicklook_is_of_the_clearest_date(tmp_path: Path) -> None:
    values = bands()
    values["S2-L2A-B04"][0] = 9000  # bright, on the cloudy date
    values["S2-L2A-B04"][1:, 0, 0] = 65535
    picture = np.asarray(
        Image.open(write_quicklook(write(tmp_path / "a.nc", values), tmp_path / "q.png"))
    )
    expected = round(255 * (500 / 3000) ** 0.5)
    assert set(picture[1:, :, 0].ravel()) == {expected}
    assert picture[0, 0, 3] == 0  # nodata is transparent
    assert not list(tmp_path.glob("*.part"))


def test_samples_are_chosen_evenly_at_random_or_by_class(tmp_path: Path) -> None:
    patch = write(tmp_path / "a.nc", bands())
    items = []
    for number in range(40):
        each = item(patch, crop="rare" if number == 17 else "common")
        each.id = f"patch_{number:02}"
        items.append(each)
    folder = collection(tmp_path / "run", items)
    assert len(contact_sheets(folder, tmp_path / "all", pages=9)) == 5
    assert len(contact_sheets(folder, tmp_path / "some", pages=2)) == 2
    from openeo_gfmap.report.preview import _in_turn

    values = [each.properties["crop"] for each in items]
    assert _in_turn(range(40), values, "crop")[:2] == [0, 17]
    first, again = (
        contact_sheets(folder, tmp_path / name, pages=1, choose="random", seed=4)[0].read_bytes()
        for name in "xy"
    )
    assert first == again
    with pytest.raises(InputError, match="no item has the property 'species'"):
        contact_sheets(folder, tmp_path, by="species")


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    folder = collection(
        tmp_path / "run", [item(write(tmp_path / "field_17.nc", bands()), sample_id="f-17")]
    )
    with pytest.raises(InputError, match=r"no sample 'f-71' with a patch. Did you mean f-17"):
        sample_page(folder, "f-71", tmp_path)
    with pytest.raises(InputError, match="pages=0"):
        contact_sheets(folder, tmp_path, pages=0)
    with pytest.raises(InputError, match="is no STAC collection and holds none"):
        contact_sheets(tmp_path / "nothing", tmp_path)
    (tmp_path / "field_17.nc").unlink()
    with pytest.raises(InputError, match="cannot be opened"):
        sample_page(folder, "f-17", tmp_path)
    empty = collection(tmp_path / "empty", [])
    with pytest.raises(InputError, match="holds no item to draw"):
        contact_sheets(empty, tmp_path)
