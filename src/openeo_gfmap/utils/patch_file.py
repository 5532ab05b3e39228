"""A NetCDF file of a patch, read with h5py: what pictures need of it, and nothing else.

xarray takes ten times as long to open a file as it takes to read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openeo_gfmap.errors import InputError

# h5py is imported where it is used: it is heavy.
if TYPE_CHECKING:
    import h5py

__all__ = ["NODATA", "PatchFile", "open_patch_file"]

Array = np.ndarray[Any, Any]

#: Nodata of uint16 bands, which not all back-ends write down.
NODATA: Final = 65535
#: In nanoseconds.
_UNITS: Final[Mapping[str, int]] = {
    "day": 86_400 * 10**9, "hour": 3_600 * 10**9, "minute": 60 * 10**9, "second": 10**9,
    "millisecond": 10**6, "microsecond": 10**3, "nanosecond": 1,
}  # fmt: skip
#: How a scale begins its NAME when it is a dimension without values of its own.
_NO_VALUES: Final = "This is a netCDF dimension but not a netCDF variable"


class PatchFile:
    """An open file; values are read when they are asked for.

    Parameters
    ----------
    file : h5py.File
        Open for reading.

    Attributes
    ----------
    path : Path
        Where it lies.
    variables : mapping of str to tuple of str
        The dimensions of each variable that is no coordinate. A dimension that the file does not
        name is "?".
    """

    def __init__(self, file: h5py.File):
        import h5py  # noqa: PLC0415

        self._file = file
        self.path = Path(file.filename)
        members = {name: file[name] for name in file}
        self._datasets = {n: each for n, each in members.items() if isinstance(each, h5py.Dataset)}
        self.variables: dict[str, tuple[str, ...]] = {
            name: self._dims(dataset)
            for name, dataset in self._datasets.items()
            if self.text("CLASS", name) != "DIMENSION_SCALE"
        }

    def _dims(self, dataset: h5py.Dataset) -> tuple[str, ...]:
        lists = dataset.attrs.get("DIMENSION_LIST")
        if lists is None:
            return ("?",) * int(dataset.ndim)
        return tuple(
            str(self._file[refs[0]].name).rpartition("/")[2] if len(refs) else "?" for refs in lists
        )

    @cached_property
    def rasters(self) -> dict[str, tuple[str, ...]]:
        """The variables with numbers of two or three dimensions."""
        return {
            name: dims
            for name, dims in self.variables.items()
            if len(dims) in (2, 3) and self._datasets[name].dtype.kind in "iuf"
        }

    def attribute(self, name: str, variable: str | None = None) -> Any:
        """Return an attribute of a variable, or of the file; None when there is none."""
        owner = self._file if variable is None else self._datasets[variable]
        return owner.attrs.get(name)

    def text(self, name: str, variable: str | None = None) -> str | None:
        """Return an attribute as text; None when there is none."""
        value = self.attribute(name, variable)
        if isinstance(value, np.ndarray):
            value = value.ravel()[0] if value.size else ""
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        return None if value is None else str(value)

    def stored(self, variable: str, where: Any = ...) -> Array:
        """Return values as they are stored; but unsigned ones, which are stored as signed."""
        values: Array = self._datasets[variable][where]
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if values.dtype.kind == "i" and (self.text("_Unsigned", variable) or "").lower() == "true":
            return values.view(f"u{values.dtype.itemsize}")
        return values

    def values(self, variable: str, where: Any = ...) -> Array:
        """Return values as they are meant.

        Parameters
        ----------
        variable : str
            One of `variables`.
        where
            The part to read; all of it by default.

        Returns
        -------
        array, dims as in the file
            In the type of the file where nothing says otherwise, also of uint16 whose nodata is
            65535. Else floats: nodata is NaN, and scale and offset are applied.
        """
        values = self.stored(variable, where)
        fills = [
            np.asarray(fill).ravel()[0].astype(values.dtype)
            for name in ("_FillValue", "missing_value")
            if (fill := self.attribute(name, variable)) is not None and np.size(fill)
        ]
        if values.dtype == np.uint16:
            fills = [fill for fill in fills if fill != NODATA]
        scale, offset = (self.attribute(n, variable) for n in ("scale_factor", "add_offset"))
        scaled = scale is not None or offset is not None
        if not fills and not scaled:
            return values
        missing = np.isin(values, fills)
        if scaled and values.dtype == np.uint16:
            missing |= values == NODATA
        if values.dtype.kind != "f":
            values = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
        if scaled:
            values = values * np.ravel(1 if scale is None else scale)[0]
            values = values + np.ravel(0 if offset is None else offset)[0]
        values[missing] = np.nan
        return values

    def coordinate(self, dimension: str) -> Array | None:
        """Return the values of a dimension as they are stored; None where it has none."""
        dataset = self._datasets.get(dimension)
        if dataset is None or dataset.ndim != 1:
            return None
        if (self.text("NAME", dimension) or "").startswith(_NO_VALUES):
            return None
        return np.asarray(dataset[...])

    def dates(self, dimension: str = "t") -> Array:
        """Return the moments of a dimension.

        Returns
        -------
        array of datetime64, dims (t,)
            In nanoseconds.

        Raises
        ------
        InputError
            When there are none, or in units that are no fixed time since a date.
        """
        numbers = self.coordinate(dimension)
        if numbers is None:
            raise InputError(f"{self.path} has no dates: nothing in it is called {dimension}.")
        units = self.text("units", dimension) or ""
        match = re.fullmatch(r"(\w+?)s? since ([0-9:.T -]+?)(?: ?UTC|Z)?", units)
        unit = _UNITS.get(match[1]) if match else None
        if match is None or unit is None or numbers.dtype.kind not in "iuf":
            raise InputError(
                f"{self.path} has dates in {units!r}; expected days, hours, minutes or seconds "
                "since a date."
            )
        origin = np.datetime64(match[2].strip().replace(" ", "T"), "ns")
        # A fraction of a day is never exact; whole numbers are.
        since = (
            np.round(numbers * (unit / 1000)).astype(np.int64) * 1000
            if numbers.dtype.kind == "f"
            else numbers.astype(np.int64) * unit
        )
        return np.asarray(origin + since.astype("timedelta64[ns]"))


@contextmanager
def open_patch_file(path: str | Path) -> Iterator[PatchFile]:
    """Open a file for reading.

    Raises
    ------
    OSError
        When it is not there, or is no netCDF-4 file.
    """
    import h5py  # noqa: PLC0415

    with h5py.File(path, "r") as file:
        yield PatchFile(file)
