"""Patches are read as xarray reads them, only faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from openeo_gfmap.errors import InputError
from openeo_gfmap.utils.patch_file import open_patch_file

NUMBERS = np.arange(24).reshape(2, 3, 4)


def write(path: Path, band: Any, attributes: dict[str, Any], times: Any, units: str) -> Path:
    """Write a file as back-ends do: what is in it is what is said here, nothing is encoded."""
    with h5py.File(path, "w") as file:
        file["t"], file["x"] = times, 5.0 + 10 * np.arange(4)
        file["t"].attrs["units"] = np.bytes_(units.encode())
        file.create_dataset("y", data=np.zeros(3, ">f4"))
        for name in ("t", "x"):
            file[name].make_scale(name)
        file["y"].make_scale(f"This is a netCDF dimension but not a netCDF variable. {3:10}")
        file["crs"] = np.bytes_(b"")
        file["band"] = band
        for key, value in attributes.items():
            file["band"].attrs[key] = value
        for axis, name in enumerate("tyx"):
            file["band"].dims[axis].attach_scale(file[name])
        file["band"].attrs["grid_mapping"] = np.bytes_(b"crs")
    return path


UNSIGNED = {"_Unsigned": np.bytes_(b"true")}
BANDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "uint16": (NUMBERS.astype("u2"), {}),
    "uint16 as short": ((NUMBERS + 40_000).astype("u2").view("i2"), UNSIGNED),
    "the other byte order": ((NUMBERS + 40_000).astype("u2").view("i2").astype(">i2"), UNSIGNED),
    "uint8 as byte, with nodata": (
        (NUMBERS + 232).astype("u1").view("i1"), {**UNSIGNED, "_FillValue": np.int8(-1)},
    ),
    "short, with nodata": (NUMBERS.astype("i2"), {"_FillValue": np.int16(7)}),
    "zero is nodata": (NUMBERS.astype("u2"), {"_FillValue": np.uint16(0)}),
    "int32, with nodata": (NUMBERS.astype("i4"), {"missing_value": np.int32(9)}),
    "float": (np.where(NUMBERS == 5, np.nan, NUMBERS).astype("f4"), {}),
    "float, with nodata": (NUMBERS.astype("f4"), {"_FillValue": np.float32(8)}),
    "scaled": (
        NUMBERS.astype("i2"),
        {"scale_factor": 0.5, "add_offset": -20.0, "_FillValue": np.int16(3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BANDS)
def test_values_are_what_xarray_reads(kind: str, tmp_path: Path) -> None:
    band, attributes = BANDS[kind]
    path = write(tmp_path / "a.nc", band, attributes, [3, 9], "days since 1990-01-01")
    with xr.open_dataset(path, engine="h5netcdf") as expected, open_patch_file(path) as file:
        assert file.rasters == {"band": ("t", "y", "x")}
        values = file.values("band")
        np.testing.assert_array_equal(values, expected.band.values)
        np.testing.assert_array_equal(file.values("band", 1), expected.band.values[1])
        if "scaled" not in kind:
            assert values.dtype == expected.band.dtype.newbyteorder("=")
        assert file.coordinate("x") is not None and file.coordinate("y") is None


def test_nodata_of_uint16_stays_a_number(tmp_path: Path) -> None:
    """It is what the bands of all back-ends have, and floats would take twice the memory."""
    band = np.where(NUMBERS == 4, 65535, NUMBERS).astype("u2").view("i2")
    attributes = {**UNSIGNED, "_FillValue": np.int16(-1)}
    path = write(tmp_path / "a.nc", band, attributes, [3, 9], "days since 1990-01-01")
    with open_patch_file(path) as file:
        assert file.values("band").dtype == np.uint16
        assert file.values("band").max() == 65535
        assert (
            file.attribute("nothing") is None
            and file.text(
                "units",
                "t",
            )
            is not None
        )


@pytest.mark.parametrize(
    ("times", "units"),
    [
        ([12114, 12119], "days since 1990-01-01"),
        (np.array([0.5, 31.25]), "days since 2021-05-01"),
        (np.array([0.1, 17.3]), "days since 2021-05-01 06:00:00"),
        ([0, 36], "hours since 2021-05-01T12:00:00"),
        ([1_620_000_000, 1_620_000_001], "seconds since 1970-01-01"),
        ([0, 5], "minutes since 2021-05-01 10:30:00.0"),
        ([0, 86_400_000_000], "microseconds since 2021-05-01"),
    ],
)
def test_dates_are_what_xarray_reads(times: Any, units: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", NUMBERS, {}, times, units)
    with xr.open_dataset(path, engine="h5netcdf") as expected, open_patch_file(path) as file:
        off = abs(file.dates() - expected.t.values.astype("datetime64[ns]"))
        assert off.max() <= np.timedelta64(1, "us")


@pytest.mark.parametrize("units", ["months since 2021-01-01", "", "days"])
def test_dates_that_cannot_be_told_are_refused(units: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", NUMBERS, {}, [0, 1], units)
    with open_patch_file(path) as file:
        with pytest.raises(InputError, match=f"dates in '{units}'; expected days, hours"):
            file.dates()
        with pytest.raises(InputError, match="nothing in it is called time"):
            file.dates("time")
