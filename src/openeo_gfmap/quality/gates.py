"""The thresholds, as one frozen value."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from openeo_gfmap.errors import InputError

__all__ = ["QualityGates", "ValueRange"]

#: Lowest and highest value that a band may have; None for no bound.
ValueRange: TypeAlias = tuple[float | None, float | None]

_CRS = re.compile(r"EPSG:\d+|utm")


@dataclass(frozen=True)
class QualityGates:
    """What a file must be; a gate that is None, or empty, is off.

    Parameters
    ----------
    shape : (int, int), optional
        Rows and columns.
    crs : str, optional
        "EPSG:32631", or "utm" for any zone of WGS 84 / UTM.
    resolution : float, optional
        Size of a pixel, in units of the CRS.
    bands : sequence of str, optional
        Variables that must be there (columns of a table); others may be, too.
    dtype : str, optional
        Data type of these bands, or of all where none are named, such as "uint16".
    within_period : bool
        All dates lie in the period that the job asked for, whose end is exclusive. Only where the
        period is known.
    min_dates : int, optional
        Fewest dates.
    max_nodata : float, optional
        Largest share of nodata, 0 to 1, among all values of all bands and dates.
    max_nodata_by_band : mapping of str to float
        The same for single bands.
    min_clear_dates : int, optional
        Fewest clear dates. A date is clear when at least `clear_share` of its valid pixels are;
        a pixel is by the classes of Sentinel-2's scene classification (2, 4, 5, 6, 7 are clear:
        dark areas, vegetation, bare ground, water, unclassified), or by the dilated cloud mask
        (0 is clear) where a file has no classes.
    clear_share : float
        See `min_clear_dates`; 0 to 1.
    max_gap_days : float, optional
        Longest time without a clear date, from the first day of the period to its last. Without
        information on clouds all dates count; without a known period, from the first date to the
        last.
    values : mapping of str to (float or None, float or None)
        Lowest and highest value by band, as stored; ``"*"`` for all others. Nodata is not a value.

    Raises
    ------
    InputError
        When a threshold makes no sense.
    """

    shape: tuple[int, int] | None = None
    crs: str | None = None
    resolution: float | None = None
    bands: tuple[str, ...] = ()
    dtype: str | None = None
    within_period: bool = True
    min_dates: int | None = None
    max_nodata: float | None = None
    max_nodata_by_band: Mapping[str, float] = field(default_factory=dict, hash=False)
    min_clear_dates: int | None = None
    clear_share: float = 0.5
    max_gap_days: float | None = None
    values: Mapping[str, ValueRange] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "bands", _names(self.bands))
        set_(self, "dtype", _dtype(self.dtype))
        if not isinstance(self.within_period, bool):
            raise InputError(f"within_period is {self.within_period!r}; expected true or false.")
        if self.shape is not None:
            set_(self, "shape", _shape(self.shape))
        if self.crs is not None and not _CRS.fullmatch(str(self.crs)):
            raise InputError(f"crs is {self.crs!r}; expected 'EPSG:' and a number, or 'utm'.")
        if self.resolution is not None and not (_number(self.resolution) and self.resolution > 0):
            raise InputError(f"resolution is {self.resolution!r}; it must be a number above 0.")
        for name in ("min_dates", "min_clear_dates"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 0):
                raise InputError(f"{name} is {value!r}; it must be a whole number, 0 or more.")
        if self.max_gap_days is not None and not (
            _number(self.max_gap_days) and self.max_gap_days >= 0
        ):
            raise InputError(f"max_gap_days is {self.max_gap_days!r}; expected days, 0 or more.")
        if self.max_nodata is not None:
            _share("max_nodata", self.max_nodata)
        _share("clear_share", self.clear_share)
        for name in ("max_nodata_by_band", "values"):
            if not isinstance(value := getattr(self, name), Mapping):
                raise InputError(f"{name} is {value!r}; expected one entry for each band.")
        for band, share in self.max_nodata_by_band.items():
            _share(f"max_nodata_by_band of {band}", share)
        set_(self, "max_nodata_by_band", MappingProxyType(dict(self.max_nodata_by_band)))
        ranges = {band: _range(band, bounds) for band, bounds in self.values.items()}
        set_(self, "values", MappingProxyType(ranges))

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> QualityGates:
        """Return the gates for settings as a TOML file holds them.

        Raises
        ------
        InputError
            For a key that is none, with the nearest one that is, and as the constructor.
        """
        known = [each.name for each in fields(cls)]
        for key in given:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
                raise InputError(f"{key!r} is no quality gate; {hint}")
        return cls(**given)

    def __reduce__(self) -> tuple[Any, ...]:
        return QualityGates.from_mapping, (self.to_dict(),)  # views of dicts cannot be pickled

    def to_dict(self) -> dict[str, Any]:
        """Return the gates that are not as by default, as plain values."""
        found = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value != getattr(_DEFAULTS, each.name):
                found[each.name] = _plain(value)
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return ["none" if each is None else _plain(each) for each in value]
    return value


def _number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _names(bands: Sequence[str]) -> tuple[str, ...]:
    given = not isinstance(bands, str) and isinstance(bands, Iterable)
    if not given or not all(isinstance(band, str) for band in bands):
        raise InputError(f"bands is {bands!r}; expected a list of names.")
    return tuple(bands)


def _dtype(name: Any) -> str | None:
    if name is None:
        return None
    try:
        return str(np.dtype(name))
    except (TypeError, ValueError):
        raise InputError(
            f"dtype is {name!r}; expected the name of a data type, such as 'uint16'."
        ) from None


def _shape(shape: Any) -> tuple[int, int]:
    whole = isinstance(shape, list | tuple) and all(type(side) is int for side in shape)
    if not whole or len(shape) != 2 or min(shape) < 1:
        raise InputError(f"shape is {shape!r}; expected rows and columns, such as (64, 64).")
    return (shape[0], shape[1])


def _share(name: str, value: Any) -> None:
    if not (_number(value) and 0 <= value <= 1):
        raise InputError(f"{name} is {value!r}; expected a share from 0 to 1.")


def _range(band: str, bounds: Any) -> ValueRange:
    """Return two bounds; text stands for none, since TOML has no null."""
    pair = list(bounds) if isinstance(bounds, list | tuple) else []
    pair = [None if bound in ("", "none") else bound for bound in pair]
    if len(pair) != 2 or not all(bound is None or _number(bound) for bound in pair):
        raise InputError(
            f"values of {band} are {bounds!r}; expected the lowest and the highest, such as "
            "(0, 10000), with None for no bound."
        )
    low, high = pair
    if low is not None and high is not None and low > high:
        raise InputError(f"values of {band} are {bounds!r}; the lowest comes first.")
    return (low, high)


_DEFAULTS = QualityGates()
