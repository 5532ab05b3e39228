"""Each gate finds its own defect in a real file, and nothing else."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyproj import CRS

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.netcdf import describe
from openeo_gfmap.quality import Finding, QualityGates, inspect

RED, SCL, MASK = "S2-L2A-B04", "S2-L2A-SCL", "S2-L2A-SCL_DILATED_MASK"
START, END = "2021-05-01", "2021-06-01"
DATES = pd.to_datetime(["2021-05-01", "2021-05-11", "2021-05-21", "2021-05-31"])


def write(
    path: Path,
    bands: dict[str, np.ndarray[Any, Any]],
    dates: pd.DatetimeIndex = DATES,
    *,
    epsg: int = 32631,
    step: float = 10.0,
) -> Path:
    _, rows, columns = next(iter(bands.values())).shape
    dataset = xr.Dataset(
        {
            name: (("t", "y", "x"), values, {"grid_mapping": "crs"})
            for name, values in bands.items()
        },
        {
            "t": dates,
            "y": 5_600_000 - step * np.arange(rows),
            "x": 500_000 + step * np.arange(columns),
        },
    )
    dataset["crs"] = ((), 0, {"crs_wkt": CRS.from_epsg(epsg).to_wkt()})
    encoding = {name: {"_FillValue": None} for name in bands}
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return path


def findings(path: Path, gates: QualityGates, **period: str) -> tuple[Finding, ...]:
    return inspect(path, describe(path), gates, **({"start": START, "end": END} | period))


def good() -> dict[str, np.ndarray[Any, Any]]:
    return {
        RED: np.full((4, 3, 5), 800, np.uint16),
        SCL: np.full((4, 3, 5), 4, np.uint16),
    }


ALL = QualityGates(
    shape=(3, 5),
    crs="utm",
    resolution=10,
    bands=(RED, SCL),
    dtype="uint16",
    min_dates=4,
    max_nodata=0.2,
    max_nodata_by_band={RED: 0.1},
    min_clear_dates=4,
    max_gap_days=10,
    values={RED: (0, 10_000), "*": (0, 11)},
)


def test_a_good_file_passes_all_gates(tmp_path: Path) -> None:
    assert findings(write(tmp_path / "a.nc", good()), ALL) == ()


DEFECTS: dict[str, tuple[dict[str, Any], str]] = {
    "shape": ({"bands": {k: v[:, :2] for k, v in good().items()}}, "has 2 x 5 pixels"),
    "crs": ({"epsg": 3035}, "is in EPSG:3035, expected a zone of WGS 84 / UTM"),
    "resolution": ({"step": 20.0}, "has pixels of 20, expected 10"),
    "bands": ({"bands": {RED: good()[RED]}}, f"lacks {SCL}; it has {RED}"),
    "dtype": ({"bands": {k: v.astype("int32") for k, v in good().items()}}, "is int32"),
    "within_period": (
        {"dates": DATES.where(DATES < "2021-05-30", pd.Timestamp("2021-06-01"))},
        "has dates outside of 2021-05-01 to 2021-05-31: 2021-06-01",
    ),
    "min_dates": (
        {"bands": {k: v[:3] for k, v in good().items()}, "dates": DATES[:3]},
        "has 3 dates, expected 4 or more",
    ),
}


@pytest.mark.parametrize("gate", DEFECTS)
def test_a_defect_of_structure_is_found_alone(gate: str, tmp_path: Path) -> None:
    changes, message = DEFECTS[gate]
    path = write(tmp_path / "a.nc", **({"bands": good()} | changes))
    (found,) = findings(path, ALL)
    assert found.gate == gate
    assert message in str(found)


@pytest.mark.parametrize(
    ("band", "where", "value", "expected"),
    [
        (RED, np.s_[0, :2], 65535, {"max_nodata_by_band"}),
        (RED, np.s_[:3], 65535, {"max_nodata", "max_nodata_by_band"}),
        (RED, np.s_[1, 1, 1], 10_001, {"values"}),
        (SCL, np.s_[1, 1, 1], 12, {"values"}),
        (SCL, np.s_[1], 9, {"min_clear_dates", "max_gap_days"}),
        (SCL, np.s_[1, 0], 9, set()),  # a third of the pixels: still clear
        (SCL, np.s_[3], 65535, {"min_clear_dates"}),
    ],
)
def test_a_defect_of_pixels_is_found(
    band: str, where: Any, value: int, expected: set[str], tmp_path: Path
) -> None:
    bands = good()
    bands[band][where] = value
    found = {f.gate for f in findings(write(tmp_path / "a.nc", bands), ALL)}
    assert found == expected


SERIES = hnp.arrays(np.uint16, (4, 2, 3), elements=st.sampled_from([0, 4, 5, 8, 9, 65535]))
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@quick
@given(SERIES, SERIES, st.floats(0, 1), st.integers(0, 4), st.floats(0.05, 1))
def test_shares_are_those_that_numpy_says(
    tmp_path: Path, red: Any, scl: Any, most: float, dates: int, share: float
) -> None:
    path = write(tmp_path / "a.nc", {RED: red, SCL: scl})
    gates = QualityGates(max_nodata=most, min_clear_dates=dates, clear_share=share)
    found = {f.gate for f in findings(path, gates)}
    nodata = np.mean(np.stack([red, scl]) == 65535)
    clear = 0
    for frame in scl:
        valid = frame[frame != 65535]
        clear += bool(valid.size and np.isin(valid, [2, 4, 5, 6, 7]).sum() / valid.size >= share)
    assert ("max_nodata" in found) == (nodata > most)
    assert ("min_clear_dates" in found) == (clear < dates)


@quick
@given(st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 32), st.booleans())
def test_gaps_reach_to_the_ends_of_the_period(
    tmp_path: Path, clear: list[bool], most: int, known: bool
) -> None:
    scl = np.where(np.array(clear)[:, None, None], 4, 9).astype(np.uint16) * np.ones(
        (4, 2, 2), np.uint16
    )
    path = write(tmp_path / "a.nc", {SCL: scl})
    gates = QualityGates(max_gap_days=most)
    found = inspect(path, describe(path), gates, **({"start": START, "end": END} if known else {}))
    days = [day for day, is_clear in zip([0, 10, 20, 30], clear, strict=True) if is_clear]
    stops = sorted({0, 30, *days})  # the first and the last date are the ends of the period here
    assert bool(found) == (max(np.diff(stops)) > most)


def test_the_dilated_mask_tells_clouds_where_there_are_no_classes(tmp_path: Path) -> None:
    mask = np.zeros((4, 2, 2), np.uint16)
    mask[0] = 1
    path = write(tmp_path / "a.nc", {MASK: mask})
    (found,) = findings(path, QualityGates(min_clear_dates=4))
    assert str(found) == "has 3 clear dates, expected 4 or more"
    path = write(tmp_path / "b.nc", {RED: good()[RED]})
    (found,) = findings(path, QualityGates(min_clear_dates=4))
    assert "neither" in str(found)


def test_what_is_no_cube_cannot_pass(tmp_path: Path) -> None:
    for name, message in (("a.nc", "is no netCDF-4 cube"), ("a.zarr", "cannot be inspected")):
        (found,) = inspect(tmp_path / name, None, QualityGates())
        assert found.gate == "opens"
        assert f"{name} {message}" in str(found)


def test_floats_have_nan_for_nodata(tmp_path: Path) -> None:
    red = np.full((4, 2, 2), 0.5, np.float32)
    red[0] = np.nan
    path = write(tmp_path / "a.nc", {RED: red})
    gates = QualityGates(max_nodata=0.25, values={RED: (None, 0.5)})
    assert findings(path, gates) == ()
    (found,) = findings(path, QualityGates(max_nodata=0.24))
    assert str(found) == "is nodata in 25%, expected 24% at most"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (64,)}, r"shape is \(64,\); expected rows and columns"),
        ({"shape": (0, 64)}, "expected rows and columns"),
        ({"crs": "32631"}, "crs is '32631'; expected 'EPSG:' and a number, or 'utm'"),
        ({"resolution": 0}, "resolution is 0"),
        ({"bands": "S2-L2A-B04"}, "expected a list of names"),
        ({"min_dates": 2.5}, "min_dates is 2.5; it must be a whole number"),
        ({"max_nodata": 50}, "max_nodata is 50; expected a share from 0 to 1"),
        ({"max_nodata_by_band": {"x": -1}}, "max_nodata_by_band of x is -1"),
        ({"max_gap_days": -1}, "max_gap_days is -1"),
        ({"values": {"x": 5}}, "values of x are 5"),
        ({"values": {"x": (5, 1)}}, "the lowest comes first"),
        ({"dtype": "uint61"}, "dtype is 'uint61'; expected the name of a data type"),
        ({"within_period": "yes"}, "within_period is 'yes'; expected true or false"),
        ({"clear_share": None}, "clear_share is None"),
        ({"min_dates": True}, "min_dates is True"),
        ({"bands": 3}, "bands is 3; expected a list of names"),
        ({"max_nodata_by_band": 0.5}, "max_nodata_by_band is 0.5; expected one entry"),
        ({"values": [0, 5]}, r"values is \[0, 5\]; expected one entry"),
        ({"min_clear_date": 3}, "is no quality gate; did you mean 'min_clear_dates'"),
        ({"zzz": 3}, "is no quality gate; there are shape"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        QualityGates.from_mapping(wrong)


def test_gates_go_through_plain_values() -> None:
    assert QualityGates().to_dict() == {}
    assert QualityGates.from_mapping(ALL.to_dict()) == ALL
    assert QualityGates.from_mapping({"values": {"x": ["none", 5]}}).values == {"x": (None, 5)}
    assert pickle.loads(pickle.dumps(ALL)) == copy.deepcopy(ALL) == ALL
    assert len({ALL, QualityGates(), QualityGates()}) == 2


def test_a_share_that_is_the_limit_passes(tmp_path: Path) -> None:
    red = np.full((1, 2, 5), 800, np.uint16)
    red[0, 0, :3] = 65535  # 1 - 0.7 is above 0.3 in floating point
    path = write(tmp_path / "a.nc", {RED: red}, DATES[:1])
    assert findings(path, QualityGates(max_nodata=0.3)) == ()
    (found,) = findings(path, QualityGates(max_nodata=0.2999))
    assert str(found) == "is nodata in 30%, expected 29.99% at most"


def test_dates_in_a_unit_that_cannot_be_read_do_not_pass(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", good())
    with h5py.File(path, "r+") as file:
        file["t"].attrs["units"] = "months since 1990-01-01"
    for gates in (QualityGates(), QualityGates(min_dates=1), QualityGates(min_clear_dates=1)):
        (found,) = findings(path, gates)
        assert found.gate == "opens"
        assert "has 4 dates in 'months since 1990-01-01'" in str(found)
    assert inspect(path, describe(path), QualityGates(shape=(3, 5))) == ()


def test_a_period_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="start is '01/05/2021'; expected an ISO date"):
        findings(write(tmp_path / "a.nc", good()), ALL, start="01/05/2021")


@pytest.mark.parametrize("kind", [">i2", ">u2", "<u2"])
def test_bytes_of_any_order_are_the_same_values(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", {RED: good()[RED].astype(kind)})
    assert findings(path, QualityGates(values={RED: (800, 800)})) == ()


def write_tiff(path: Path, *, epsg: int | None = 32631) -> Path:
    profile = {"driver": "GTiff", "width": 5, "height": 3, "count": 2, "dtype": "uint16"}
    place = {"crs": epsg and f"EPSG:{epsg}", "transform": Affine(10, 0, 500_000, 0, -10, 5_600_000)}
    with rasterio.open(path, "w", **profile, **place, nodata=65535) as file:
        red = np.full((3, 5), 800, np.uint16)
        red[0] = 65535
        file.write(red, 1)
        file.write(np.full((3, 5), 4, np.uint16), 2)
        file.set_band_description(1, RED)
    return path


def test_a_geotiff_is_inspected_as_a_cube_without_dates(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif")
    gates = QualityGates(
        shape=(3, 5), crs="utm", resolution=10, bands=(RED, "B2"), dtype="uint16",
        max_nodata=0.2, values={RED: (800, 800), "B2": (4, 4)},
    )  # fmt: skip
    assert inspect(path, None, gates, start=START, end=END) == ()
    for wrong, message in (
        ({"shape": (3, 4)}, "has 3 x 5 pixels, expected 3 x 4"),
        ({"bands": (SCL,)}, f"lacks {SCL}; it has {RED}, B2"),
        ({"max_nodata_by_band": {RED: 0.3}}, f"{RED} is nodata in 33.33%, expected 30% at most"),
        ({"values": {"*": (None, 799)}}, f"{RED} is 800 to 800, expected … to 799"),
        ({"min_dates": 1}, "has 0 dates, expected 1 or more"),
    ):
        assert [str(f) for f in inspect(path, None, QualityGates(**wrong))] == [message]
    (found,) = inspect(write_tiff(tmp_path / "b.tif", epsg=None), None, QualityGates())
    assert "has no CRS" in str(found)


def test_without_rasterio_a_geotiff_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    (found,) = inspect(tmp_path / "a.tif", None, QualityGates())
    assert "pip install 'openeo-gfmap[local]'" in str(found)


def test_a_table_opens_and_has_rows_and_columns(tmp_path: Path) -> None:
    full = pd.DataFrame({"date": ["2021-05-01"], RED: [800]})
    for rows in (1, 0):
        frame = full.head(rows)
        paths = [tmp_path / f"a.{kind}" for kind in ("parquet", "csv", "json")]
        frame.to_parquet(paths[0])
        frame.to_csv(paths[1], index=False)
        frame.to_json(paths[2], orient="records")
        for path in paths:
            found = inspect(path, None, QualityGates(bands=(RED,)), start=START, end=END)
            assert [f.gate for f in found] == ([] if rows else ["opens"])
            if not rows:
                assert str(found[0]) == f"{path.name} opens, but is empty"
                continue
            found = inspect(path, None, QualityGates(bands=(SCL,), shape=(3, 5)))
            assert [str(f) for f in found] == [
                f"lacks {SCL}; it has date, {RED}",
                "is a table, without pixels; expected shape [3, 5]",
            ]
    features = tmp_path / "a.geojson"
    for properties, gates in (([{"id": 1}], []), ([], ["opens"])):
        members = [{"type": "Feature", "properties": each} for each in properties]
        features.write_text(json.dumps({"type": "FeatureCollection", "features": members}))
        assert [f.gate for f in inspect(features, None, QualityGates())] == gates
    for name in ("b.parquet", "b.json", "b.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe nothing")
        (found,) = inspect(tmp_path / name, None, QualityGates())
        assert f"{name} does not open as" in str(found)


def test_real_files_pass_what_they_are(shared_data: Path) -> None:
    paths = sorted((shared_data / "cdse_job").rglob("openEO_*.nc"))
    assert paths
    for path in paths:
        cube = describe(path)
        assert cube is not None
        bands = tuple(variable.name for variable in cube.variables)
        gates = QualityGates(shape=cube.shape, bands=bands, dtype="uint16", min_dates=1)
        assert inspect(path, cube, gates) == ()
        (found,) = inspect(path, cube, QualityGates(bands=("S2-L2A-B99",)))
        assert found.gate == "bands"
