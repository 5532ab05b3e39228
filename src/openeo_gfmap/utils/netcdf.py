"""Editing NetCDF files in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_gfmap.errors import InputError
from openeo_gfmap.files import whole

__all__ = ["complete_cf", "update_nc_attributes"]

if TYPE_CHECKING:
    import h5py

# What the netCDF-4 format keeps for itself in HDF5 attributes.
_RESERVED = frozenset(
    {"CLASS", "DIMENSION_LIST", "NAME", "REFERENCE_LIST", "_NCProperties", "_Netcdf4Coordinates",
     "_Netcdf4Dimid", "_nc3_strict"}
)  # fmt: skip


def update_nc_attributes(
    path: str | Path, attributes: Mapping[str, Any], *, atomic: bool = False
) -> None:
    """Set global attributes of a netCDF-4 file, leaving all else as it is.

    The file is edited in place, which takes about a millisecond whatever its size. Every value is
    checked before the first is written, so a bad one changes nothing. Only a process killed in
    the very act of writing can leave a broken file; `atomic` excludes that too, at the cost of a
    copy.

    Parameters
    ----------
    path : str or Path
        The file.
    attributes : mapping of str to str, number, or sequence of either
        Names and values to add or replace.
    atomic : bool, default False
        Edit a copy beside the file and rename it over the file.

    Raises
    ------
    InputError
        When the file is no netCDF-4 file, a name is reserved by the format, or a value has a type
        that netCDF has not.
    """
    path = Path(path)
    values = {_checked_name(name): _checked_value(name, v) for name, v in attributes.items()}
    if not atomic:
        _write(path, values)
        return
    with whole(path) as copy:
        shutil.copy2(path, copy)
        _write(copy, values)
        with copy.open("rb+") as file:
            os.fsync(file.fileno())


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with _opened(path, "r+") as file:
        for name, value in values.items():
            file.attrs[name] = value


def _opened(path: Path, mode: str) -> h5py.File:
    import h5py  # noqa: PLC0415 - heavy, and most programs never edit a file

    try:
        return h5py.File(path, mode)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; check the path.") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be edited as a netCDF-4 file ({error}); check that it is one, that it "
            "is writable and that no other program holds it open."
        ) from error


def complete_cf(path: str | Path) -> list[str]:
    """Add what CF-1.9 wants and some back-ends leave unsaid, in place; return what was added.

    CDSE calls the standard name of time ``t``, and gives the CRS as WKT only. Nothing that is right
    is touched, and no pixel.

    Parameters
    ----------
    path : str or Path
        A netCDF-4 file of patches.

    Returns
    -------
    list of str
        ``<variable>:<attribute>`` of each attribute that was set; empty when all was there.

    Raises
    ------
    InputError
        When the file is no netCDF-4 file.
    """
    wanted: dict[tuple[str, str], Any] = {}
    with _opened(Path(path), "r") as file:
        if not _text(file.attrs.get("Conventions")).startswith("CF-"):
            wanted["/", "Conventions"] = "CF-1.9"
        for name, variable in file.items():
            if " since " in _text(variable.attrs.get("units")):
                if _text(variable.attrs.get("standard_name")) != "time":
                    wanted[name, "standard_name"] = "time"
            elif "crs_wkt" in variable.attrs and "grid_mapping_name" not in variable.attrs:
                for key, value in _grid_mapping(_text(variable.attrs["crs_wkt"])).items():
                    if key not in variable.attrs:
                        wanted[name, key] = value
    if wanted:
        with _opened(Path(path), "r+") as file:
            for (name, key), value in wanted.items():
                file[name].attrs[key] = value
    return [f"{name}:{key}" for name, key in wanted]


@lru_cache(maxsize=64)
def _grid_mapping(wkt: str) -> dict[str, Any]:
    from pyproj import CRS  # noqa: PLC0415
    from pyproj.exceptions import CRSError  # noqa: PLC0415

    try:
        attributes = CRS.from_wkt(wkt).to_cf()
    except CRSError:
        return {}
    return {key: _checked_value(key, value) for key, value in attributes.items()}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""


def _checked_name(name: str) -> str:
    if not name or "/" in name or name in _RESERVED:
        raise InputError(f"{name!r} cannot name a netCDF attribute; choose another name.")
    return name


def _checked_value(name: str, value: Any) -> Any:
    """Return the value in the form in which netCDF libraries store it."""
    if isinstance(value, str):
        return value
    array = np.atleast_1d(np.asarray(value))
    if array.dtype.kind in "iuf" and array.ndim == 1:
        return array
    if array.dtype.kind == "U" and array.ndim == 1:
        return array.astype(object)
    raise InputError(
        f"Attribute {name!r} is {value!r} of type {type(value).__name__}; netCDF stores text, "
        "numbers and lists of either, so convert it, for instance with str()."
    )
