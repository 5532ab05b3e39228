"""Pictures of a folder's patches: which are chosen, and that odd ones can be drawn."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pystac
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from openeo_gfmap.account import Sample, SampleState
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.report import contact_sheets, preview, sample_page
from openeo_gfmap.report.contact_sheet import SheetRow, draw_sheet
from openeo_gfmap.report.drawing import label_colour, scale_bar
from openeo_gfmap.report.patch_sources import patches_of
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


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[SheetRow]:
    """The rows of all sheets, which are not drawn: that takes a while."""
    drawn: list[SheetRow] = []

    def draw(rows: list[SheetRow], heading: str, path: Path) -> Path:
        drawn.extend(rows)
        return path

    monkeypatch.setattr(preview, "draw_sheet", draw)
    return drawn


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


def test_samples_are_chosen_evenly_at_random_or_by_class(
    tmp_path: Path, rows: list[SheetRow]
) -> None:
    items = []
    for number in range(20):
        patch = write(tmp_path / f"{number:02}.nc", bands(dates=1), sample=f"{number:02}")
        items.append(item(patch, crop="rare" if number == 17 else "common"))
    folder = collection(tmp_path / "run", items)

    def chosen(**choice: Any) -> list[str]:
        rows.clear()
        contact_sheets(folder, tmp_path, **choice)
        return [row.name for row in rows]

    assert len(contact_sheets(folder, tmp_path, pages=9)) == 3
    assert len(contact_sheets(folder, tmp_path, pages=2)) == 2
    assert chosen(pages=1) == ["00", "02", "05", "07", "10", "12", "15", "17"]
    assert chosen(pages=1, choose="first") == [f"0{number}" for number in range(8)]
    assert chosen(pages=1, by="crop")[:3] == ["00", "17", "01"]
    mixed = chosen(pages=1, choose="random", seed=4)
    assert mixed == chosen(pages=1, choose="random", seed=4)
    assert mixed != chosen(pages=1, choose="random", seed=5) and len(set(mixed)) == 8
    with pytest.raises(InputError, match="no item has the property 'species'"):
        contact_sheets(folder, tmp_path, by="species")


def test_ids_choose_samples_in_their_order(tmp_path: Path, rows: list[SheetRow]) -> None:
    items = []
    for name in "abc":
        patch = write(tmp_path / f"{name}.nc", bands(), sample=name)
        items.append(item(patch, sample_id=f"sample-{name}"))
    folder = collection(tmp_path / "run", items)
    contact_sheets(folder, tmp_path, samples=["sample-c", "a"])
    assert [row.name for row in rows] == ["sample-c", "sample-a"]
    with pytest.raises(InputError, match=r"no sample 'sample-d'.*Did you mean sample-"):
        contact_sheets(folder, tmp_path, samples=["a", "sample-d"])
    rows.clear()
    contact_sheets(folder, tmp_path, choose="first")
    assert [row.name for row in rows] == ["sample-a", "sample-b", "sample-c"]
    with pytest.raises(InputError, match="choose='last'"):
        contact_sheets(folder, tmp_path, choose="last")  # type: ignore[arg-type]


def test_a_plain_folder_of_files_will_do(tmp_path: Path, rows: list[SheetRow]) -> None:
    for name in ("x/p", "x/p2", "x/p_2021", "y/p"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / f"{name}.nc", bands(), sample=name)
    label(tmp_path / "x" / "p_LABEL.nc")
    (tmp_path / "quarantine").mkdir()
    write(tmp_path / "quarantine" / "bad.nc", bands(), sample="bad")
    contact_sheets(tmp_path, tmp_path / "out")
    assert [row.name for row in rows] == ["x/p", "x/p2", "x/p_2021", "y/p"]
    assert [row.note for row in rows] == [
        "winter wheat · 3 of 4 dates clear",
        *["3 of 4 dates clear"] * 3,
    ]


def test_a_patch_that_cannot_be_drawn_has_its_row(tmp_path: Path, rows: list[SheetRow]) -> None:
    good, bad, worse = write(tmp_path / "a.nc", bands()), tmp_path / "b.nc", tmp_path / "c.nc"
    bad.write_bytes(b"no netCDF")
    packed = {name: {"zlib": True} for name in bands()}
    xr.open_dataset(good, engine="h5netcdf").to_netcdf(worse, engine="h5netcdf", encoding=packed)
    content = worse.read_bytes()
    stream = content.index(b"\x78\x5e") if b"\x78\x5e" in content else content.index(b"\x78\x01")
    worse.write_bytes(content.replace(content[stream : stream + 2], b"no"))
    items = [item(good), item(bad), item(worse)]
    contact_sheets(collection(tmp_path / "run", items), tmp_path)
    assert [len(row.colours) for row in rows] == [3, 0, 0]
    assert "b.nc cannot be opened" in rows[1].note
    assert "c.nc cannot be read" in rows[2].note
    draw_sheet(rows, "one is broken", tmp_path / "sheet.png")
    draw_sheet(rows[1:], "all are broken", tmp_path / "sheet.png")


def test_ndvi_is_of_the_field_at_the_centre_alone(tmp_path: Path) -> None:
    codes = np.zeros((6, 6), np.int32)
    codes[2:5, 2:5] = codes[0, 0] = 7  # another field of the same crop in the corner
    about = {"flag_values": np.array([7], np.int32), "flag_meanings": "maize"}
    raster = xr.Dataset({"LABEL": (("y", "x"), codes, about)})
    raster.to_netcdf(tmp_path / "l.nc", engine="h5netcdf")
    values = bands()
    values["S2-L2A-B08"][:, 0, 0] = 500
    with open_patch(item(write(tmp_path / "a.nc", values), tmp_path / "l.nc")) as opened:
        found = opened.ndvi()
        assert found is not None
        np.testing.assert_allclose(found[0][1:], (3000 - 500) / 3500, rtol=1e-6)
        assert opened.label_name == "maize"


def test_dates_that_show_nothing_are_left_out(tmp_path: Path) -> None:
    values = bands(dates=8)
    values[SCL][:2] = 9
    with open_patch(item(write(tmp_path / "a.nc", values))) as opened:
        assert opened.clearest(4) == [2, 4, 6]
        assert opened.seen == "6 of 8 dates clear"


@pytest.mark.parametrize(
    ("metres", "pixels", "text"),
    [(10, 64, "200 m"), (20, 64, "500 m"), (100, 100, "2 km"), (1, 6, "2 m")],
)
def test_the_scale_bar_has_a_round_length(metres: float, pixels: int, text: str) -> None:
    axis = Figure().subplots()
    axis.imshow(np.zeros((pixels, pixels)))
    scale_bar(axis, metres)
    assert [each.get_text() for each in axis.texts] == [text]
    (line,) = axis.lines
    left, right = line.get_xdata()
    number, unit = text.split()
    assert (right - left) * metres == pytest.approx(float(number) * {"m": 1, "km": 1000}[unit])


def test_labels_have_colours_of_their_own() -> None:
    codes = list(range(19))
    assert len({label_colour(code, codes) for code in codes}) == 19
    assert label_colour(19, list(range(20))) == label_colour(1, codes)


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    folder = collection(
        tmp_path / "run", [item(write(tmp_path / "field_17.nc", bands()), sample_id="f-17")]
    )
    with pytest.raises(InputError, match=r"no sample 'f-71' with a patch. Did you mean f-17"):
        sample_page(folder, "f-71", tmp_path)
    with pytest.raises(InputError, match="pages=0"):
        contact_sheets(folder, tmp_path, pages=0)
    with pytest.raises(InputError, match="nothing has nothing to draw: no run"):
        contact_sheets(tmp_path / "nothing", tmp_path)
    (tmp_path / "field_17.nc").unlink()
    with pytest.raises(InputError, match="cannot be opened"):
        sample_page(folder, "f-17", tmp_path)
    empty = collection(tmp_path / "empty", [])
    with pytest.raises(InputError, match="holds no item to draw"):
        contact_sheets(empty, tmp_path)


def test_rejected_patches_of_a_run_are_drawn_with_the_reason(
    tmp_path: Path, rows: list[SheetRow]
) -> None:
    (tmp_path / "quarantine").mkdir()
    # As they come from the back-end: they do not say whose they are.
    write(tmp_path / "quarantine" / "openEO_0.nc", bands(), sample="")
    (tmp_path / "quarantine" / "openEO_1.nc").write_bytes(b"no netCDF")
    ids = pd.DataFrame({"sample_id": ["b", "c"]})
    with Tracker(tmp_path / "job_tracker.csv", ids) as tracker:
        for row, (sample, reason) in enumerate((("b", "all cloud"), ("c", "does not open"))):
            path = f"quarantine/openEO_{row}.nc"
            tracker.store.set_samples(
                row, [Sample(row, 0, sample, "", SampleState.REJECTED, reason, path)]
            )
    contact_sheets(tmp_path, tmp_path / "out")
    assert [row.name for row in rows] == ["b", "c"]
    assert [row.note for row in rows] == [
        "3 of 4 dates clear · rejected: all cloud",
        "rejected: does not open",
    ]
    assert sample_page(tmp_path, "b", tmp_path / "out").name == "sample_b.png"


def test_real_patches_are_drawn(tmp_path: Path, shared_data: Path) -> None:
    """Files of CDSE, which have no quicklook, label or catalogue."""
    folder = shared_data / "cdse_job"
    patch = sorted(folder.glob("openEO_*.nc"))[0]
    page = sample_page(folder, patch.stem, tmp_path)
    assert matplotlib.image.imread(page)[..., :3].std() > 0.05
    picture = np.asarray(Image.open(write_quicklook(patch, tmp_path / "q.png")))
    inside = picture[..., 3] > 0
    assert 0.3 < inside.mean() < 0.4  # it is cut along a narrow field
    assert 90 < picture[inside][:, :3].mean() < 220  # and of a date without clouds
    (sheet,) = contact_sheets(folder, tmp_path)
    assert matplotlib.image.imread(sheet)[..., :3].std() > 0.05
    with open_patch(next(map(pystac.Item.from_dict, patches_of(folder)))) as opened:
        assert opened.seen == "19 dates, clouds not known"
        assert opened.hidden_share.max() == 0
        assert opened.pixel_metres == 10
        dates = [opened.day(index) for index in opened.clearest(8)]
    assert "06 Sep 2023" not in dates  # white all over
