"""Each gate finds its own defect in a real file, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
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
        (SCL, np.s_[3], 65535, {"max_nodata", "min_clear_dates"}),
    ],
)
def test_a_defect_of_pixels_is_found(
    band: str, where: Any, value: int, expected: set[str], tmp_path: Path
) -> None:
    bands = good()
    bands[band][where] = value
    found = {f.gate for f in findings(write(tmp_path / "a.nc", bands), ALL)}
    if band == SCL and value == 65535:  # an eighth of all, which the whole file may have
        found |= {"max_nodata"}
        expected |= found & {"max_gap_days"}
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
    path = tmp_path / "a.json"
    path.write_text("{}")
    (found,) = inspect(path, None, QualityGates())
    assert found.gate == "opens"
    assert "a.json is no NetCDF cube" in str(found)


def test_floats_have_nan_for_nodata(tmp_path: Path) -> None:
    red = np.full((4, 2, 2), 0.5, np.float32)
    red[0] = np.nan
    path = write(tmp_path / "a.nc", {RED: red})
    gates = QualityGates(max_nodata=0.25, values={RED: (None, 0.5)})
    assert findings(path, gates) == ()
    (found,) = findings(path, QualityGates(max_nodata=0.24))
    assert str(found) == "is nodata in 25.0%, expected 24.0% at most"


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
