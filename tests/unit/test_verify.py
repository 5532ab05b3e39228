"""Files of a run, or of any collection, that are lost, changed, not good enough or unknown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pyproj import CRS

from openeo_gfmap.account.verify import Verification, verify
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.quarantine import Quarantine
from openeo_gfmap.manager.results import multihash_of
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.quality import Finding, QualityGates

BAND = "S2-L2A-B04"


def write_patch(path: Path, value: int = 800, side: int = 4) -> Path:
    dataset = xr.Dataset(
        {BAND: (("t", "y", "x"), np.full((2, side, side), value, np.uint16))},
        {
            "t": pd.to_datetime(["2021-05-01", "2021-05-11"]),
            "y": 5_600_000 - 10.0 * np.arange(side),
            "x": 500_000 + 10.0 * np.arange(side),
        },
    )
    dataset["crs"] = ((), 0, {"crs_wkt": CRS.from_epsg(32631).to_wkt()})
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.to_netcdf(path, engine="h5netcdf", encoding={BAND: {"_FillValue": None}})
    return path


def item_of(folder: Path, *names: str, checksum: bool = True) -> dict[str, Any]:
    """Return an item of some files, the patch first; its addresses go from the folder."""
    assets = {}
    for name in names:
        path = folder / name
        assets[name] = {"href": name, "file:size": path.stat().st_size}
        if checksum:
            assets[name]["file:checksum"] = multihash_of(path)
    return {"type": "Feature", "id": Path(names[0]).stem, "assets": assets, "links": []}


def a_run(folder: Path) -> Path:
    """Write a run of two rows, each with a patch and a file that an action has added."""
    table = pd.DataFrame(
        {"name": ["a", "b"], "start_date": ["2021-05-01", "2021-05-05"], "end_date": "2021-06-01"}
    )
    with Tracker(folder / "job_tracker.csv", table) as tracker:
        for row, name in enumerate("ab"):
            write_patch(folder / "patches" / f"{name}.nc")
            (folder / "patches" / f"{name}.txt").write_text(f"of {name}")
            item = item_of(folder, f"patches/{name}.nc", f"patches/{name}.txt")
            tracker.store.set_items(row, [item])
    return folder


def a_collection(folder: Path, *, checksum: bool = True) -> Path:
    """Write a collection as another tool would: items beside the files, no trace of a run."""
    links = []
    for name in "ab":
        write_patch(folder / name / f"{name}.nc")
        (folder / name / f"{name}.txt").write_text(f"of {name}")
        item = item_of(folder / name, f"{name}.nc", f"{name}.txt", checksum=checksum)
        (folder / name / f"{name}.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{name}/{name}.json"})
    collection = {"type": "Collection", "id": "c", "links": links}
    (folder / "collection.json").write_text(json.dumps(collection))
    return folder


KINDS = pytest.mark.parametrize(
    ("make", "base"), [(a_run, "patches/a"), (a_collection, "a/a")], ids=["run", "collection"]
)
Make = Callable[[Path], Path]


@KINDS
def test_what_is_as_it_was_is_good(make: Make, base: str, tmp_path: Path) -> None:
    found = verify(make(tmp_path))
    assert found == Verification(tmp_path, make is a_run, 4)
    assert found.ok
    assert str(found) == f"{tmp_path}: 4 files as expected."
    assert verify(tmp_path, checksums=False) == found


@KINDS
def test_each_defect_is_found_alone(make: Make, base: str, tmp_path: Path) -> None:
    patch = make(tmp_path) / f"{base}.nc"
    text = patch.with_suffix(".txt")
    kept = patch.read_bytes()

    def ok_but(**what: Any) -> Verification:
        return Verification(tmp_path, make is a_run, **what)

    patch.unlink()
    assert verify(tmp_path) == ok_but(good=3, lost=(f"{base}.nc",))

    patch.write_bytes(kept[:-1])
    why = f"has {len(kept) - 1:,} bytes, had {len(kept):,}"
    assert verify(tmp_path) == ok_but(good=3, changed={f"{base}.nc": why})

    changed = bytearray(kept)
    changed[-1] ^= 1  # the same size
    patch.write_bytes(changed)
    assert verify(tmp_path, checksums=False).ok
    assert verify(tmp_path) == ok_but(good=3, changed={f"{base}.nc": "has another checksum"})

    patch.write_bytes(kept)
    text.write_text("of b")  # of the other's size
    assert verify(tmp_path) == ok_but(good=3, changed={f"{base}.txt": "has another checksum"})

    text.write_text("of a")
    (patch.parent / "notes.txt").write_text("mine")
    name = f"{Path(base).parent.as_posix()}/notes.txt"
    assert verify(tmp_path) == ok_but(good=4, unknown=(name,))


@KINDS
def test_gates_are_for_the_patches(make: Make, base: str, tmp_path: Path) -> None:
    make(tmp_path)
    assert verify(tmp_path, QualityGates(shape=(4, 4))).ok == (make is a_collection)
    found = verify(tmp_path, QualityGates(shape=(8, 8), within_period=False))
    assert set(found.failing.values()) == {"has 4 x 4 pixels, expected 8 x 8"}
    assert len(found.failing) == 2 and found.good == 2 and not found.ok


def test_the_period_is_that_of_the_row(tmp_path: Path) -> None:
    found = verify(a_run(tmp_path), QualityGates())
    why = "has dates outside of 2021-05-05 to 2021-05-31: 2021-05-01"
    assert found.failing == {"patches/b.nc": why}


def test_a_file_that_no_longer_opens_is_told_by_gates_and_without_a_checksum(
    tmp_path: Path,
) -> None:
    folder = a_collection(tmp_path, checksum=False)
    path = folder / "a" / "a.nc"
    size = path.stat().st_size
    path.write_bytes(b"<html>" + bytes(size - 6))
    found = verify(folder)
    assert "a.nc does not open as .nc" in found.changed["a/a.nc"]
    found = verify(folder, QualityGates(), checksums=False)
    assert "a.nc is no netCDF-4 cube" in found.failing["a/a.nc"]
    shutil.copy(folder / "b" / "b.nc", path)
    content = bytearray(path.read_bytes())
    content[96:2000] = bytes(1904)  # the header of HDF5 is whole, what follows is not
    path.write_bytes(content)
    found = verify(folder, QualityGates(), checksums=False)
    assert "does not open" in found.failing["a/a.nc"]


def test_quarantine_is_listed_with_reasons(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    quarantine = Quarantine(folder, QualityGates())
    bad = write_patch(tmp_path / "bad.nc")
    quarantine.put(bad, "patches/c.nc", [Finding("shape", "has 4 x 4 pixels, expected 8 x 8")])
    (folder / "quarantine" / "alone.nc").write_bytes(b"")
    found = verify(folder)
    assert found.ok and not found.unknown
    assert found.quarantined == {
        "quarantine/alone.nc": "",
        "quarantine/patches/c.nc": "has 4 x 4 pixels, expected 8 x 8",
    }


def test_items_that_share_a_file_count_it_once(tmp_path: Path) -> None:
    folder = a_collection(tmp_path)
    for name in "ab":
        path = folder / name / f"{name}.json"
        item = json.loads(path.read_text())
        item["assets"]["label"] = {"href": "../label.txt"}
        item["assets"]["web"] = {"href": "https://example.org/x.nc", "file:size": 1}
        path.write_text(json.dumps(item))
    (folder / "label.txt").write_text("one for both")
    assert verify(folder).good == 5
    (folder / "label.txt").unlink()
    assert verify(folder).lost == ("label.txt",)


def test_the_text_fits_a_terminal_and_says_the_next_step(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    (folder / "patches" / "a.nc").unlink()
    for number in range(12):
        (folder / "patches" / f"x{number:02}.nc").write_bytes(b"")
    found = verify(folder, QualityGates(shape=(8, 8), dtype="int16", max_nodata=0, min_dates=9))
    text = str(found)
    assert "1 file lost:\n  patches/a.nc\n" in text
    assert "1 file not good enough:\n  patches/b.nc\n    has 4 x 4 pixels, expected" in text
    assert "12 files of which nobody knows:" in text and "  … and 2 more\n" in text
    assert "gfmap retry --refetch" in text
    assert max(map(len, text.splitlines()[1:])) <= 80
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["lost"] == ["patches/a.nc"] and plain["ok"] is False
    assert "gfmap" not in str(Verification(folder, False, 0, lost=("a.nc",)))


def test_the_next_step_goes_by_what_shows_the_change(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    patch = folder / "patches" / "a.nc"
    kept = patch.read_bytes()
    patch.write_bytes(kept[:-1])
    assert "`gfmap retry --refetch`" in str(verify(folder))
    patch.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert verify(folder, checksums=False).ok
    assert "`gfmap retry --checksums`" in str(verify(folder))


def test_progress_counts_files_and_patches(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    folder = a_run(tmp_path)
    verify(folder, progress=lambda *step: steps.append(step))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    steps.clear()
    verify(folder, QualityGates(), progress=lambda *step: steps.append(step))
    assert steps == [(n, 6) for n in range(1, 7)]


def test_a_folder_with_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        verify(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds neither a run nor a STAC collection; name the output folder of a run, "
        "or a folder with a collection.json."
    )
    with pytest.raises(InputError, match=r"nowhere is not there; name the output folder"):
        verify(tmp_path / "nowhere")
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv.sqlite").touch()
    with pytest.raises(InputError, match=r"holds several trackers \(one\.csv, two\.csv\)"):
        verify(tmp_path)
    assert verify(a_collection(tmp_path) / "collection.json").good == 4
