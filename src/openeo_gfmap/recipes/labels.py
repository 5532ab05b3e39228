"""Labels burned on the grid of a patch."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openeo_gfmap.errors import InputError, Words
from openeo_gfmap.files import whole

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["LABEL_COLUMNS", "LABEL_NAME_COLUMNS", "Labels", "burn", "legend_of", "write_labels"]


#: Names that datasets in use give to the column of labels, and to that of their names.
LABEL_COLUMNS: Final = (
    "croptype_label", "crop_type", "croptype", "ewoc_code", "label", "class", "class_id",
    "landcover", "lc_label", "code",
)  # fmt: skip
LABEL_NAME_COLUMNS: Final = ("croptype_name", "label_name", "class_name", "crop_name")


@dataclass(frozen=True)
class Labels:
    """A raster of an attribute beside each patch.

    Parameters
    ----------
    attribute : str
        Column of the samples: whole numbers from 1, or texts, which get numbers from 1 in their
        alphabetical order. 0 is where there is no sample, or none with a value.
    names : str, optional
        Column with a name for each number.
    variable : str
        Name in the file.
    """

    attribute: str = "croptype_label"
    names: str | None = None
    variable: str = "LABEL"

    def __post_init__(self) -> None:
        for name, what in (("attribute", "a column of the samples"), ("variable", "a variable")):
            if not getattr(self, name):
                raise InputError(
                    f"{name} is empty; expected the name of {what}.", about=f"labels.{name}"
                )


def legend_of(samples: gpd.GeoDataFrame, labels: Labels) -> dict[str, int]:
    """Return the number for each name that occurs.

    Raises
    ------
    InputError
        When there is no such column, or it holds what cannot be a label.
    """
    for setting in ("attribute", "names"):
        column = getattr(labels, setting)
        if column is not None and column not in samples:
            raise InputError(
                partial(_no_column, setting, column, list(map(str, samples.columns))),
                about=f"labels.{setting}",
            )
    values = samples[labels.attribute].dropna()
    if values.dtype.kind in "iufb":
        numbers = values.to_numpy(dtype=float)
        wrong = numbers[(numbers != np.floor(numbers)) | (numbers < 0) | (numbers > 2**31 - 1)]
        if len(wrong):
            raise InputError(
                f"column {labels.attribute} holds {wrong[0]:g}; labels are whole numbers from 1 "
                f"to {2**31 - 1}, or texts.",
                about="labels.attribute",
            )
        names = samples.loc[values.index, labels.names] if labels.names else values.astype(int)
        pairs = {int(number): str(name) for number, name in zip(numbers, names, strict=True)}
        return {name: number for number, name in sorted(pairs.items()) if number}
    return {name: number for number, name in enumerate(sorted(set(map(str, values))), start=1)}


def _no_column(setting: str, column: str, columns: Sequence[str], words: Words) -> str:
    told = words.name(f"Labels({setting}=…)", f"labels.{setting}")
    return (
        f"the samples have no column {column!r} to make labels of; they have {', '.join(columns)}. "
        f"Name one of them as {told}, or make no labels: {words.value('labels', None)}."
    )


def word(name: str) -> str:
    """Return a name as CF's flag meanings and STAC's classes take it: ASCII, without blanks."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_") or "unnamed"


def burn(
    geometries: Sequence[Any],
    numbers: Sequence[int],
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """Return the number of the last geometry that holds each pixel's centre, else 0.

    Parameters
    ----------
    geometries : sequence of shapely geometries
        In the CRS of the grid. Of a line or a point, the pixel that holds it.
    numbers : sequence of int
        One for each.
    x, y : array
        Centres of the columns and rows.

    Returns
    -------
    array, dims (y, x), int32
        0 is nodata.
    """
    import shapely  # noqa: PLC0415

    raster = np.zeros((len(y), len(x)), dtype=np.int32)
    columns, rows = np.meshgrid(x, y)
    half = abs(x[1] - x[0]) / 2 if len(x) > 1 else 0.0
    for geometry, number in zip(geometries, numbers, strict=True):
        if geometry.area:
            shapely.prepare(geometry)
            raster[shapely.contains_xy(geometry, columns, rows)] = number
        else:
            cells = shapely.box(columns - half, rows - half, columns + half, rows + half)
            raster[shapely.intersects(cells, geometry)] = number
    return raster


def write_labels(
    patch: Path,
    path: Path,
    *,
    fields: gpd.GeoDataFrame,
    numbers: Sequence[int],
    labels: Labels,
    legend: Mapping[str, int],
    attributes: Mapping[str, Any],
) -> frozenset[int]:
    """Write labels on the grid of a patch to a NetCDF file; return those that occur.

    Parameters
    ----------
    patch : Path
        NetCDF file with ``x``, ``y`` and ``crs``.
    path : Path
        File to write; it gets its name when it is whole.
    fields : GeoDataFrame
        Geometries to burn, the last one on top.
    numbers : sequence of int
        Label of each.
    labels : Labels
        Says what the variable is called.
    legend : mapping of str to int
        All names and their numbers.
    attributes : mapping
        Global attributes.
    """
    import xarray as xr  # noqa: PLC0415
    from pyproj import CRS  # noqa: PLC0415

    with xr.open_dataset(patch, engine="h5netcdf") as opened:
        crs, x, y = opened["crs"].load(), opened["x"].load(), opened["y"].load()
    moved = fields.to_crs(CRS.from_wkt(crs.attrs["crs_wkt"]))
    raster = burn(list(moved.geometry), numbers, x.to_numpy(), y.to_numpy())
    about = {
        "long_name": labels.attribute,
        "units": "1",
        "grid_mapping": "crs",
        "flag_values": np.array(list(legend.values()), dtype=np.int32),
        "flag_meanings": " ".join(map(word, legend)),
    }
    dataset = xr.Dataset(
        {labels.variable: (("y", "x"), raster, about), "crs": crs},
        coords={"y": y, "x": x},
        attrs={"Conventions": "CF-1.9", **attributes},
    )
    encoding: dict[str, dict[str, Any]] = {
        labels.variable: {"_FillValue": np.int32(0), "zlib": True},
        "x": {"_FillValue": None},  # coordinates are nowhere missing
        "y": {"_FillValue": None},
    }
    with whole(path) as part:
        dataset.to_netcdf(part, format="NETCDF4", engine="h5netcdf", encoding=encoding)
    return frozenset(np.unique(raster).tolist()) - {0}
