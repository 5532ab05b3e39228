"""The samples of an extraction: read, checked, and brought to common column names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openeo_gfmap.errors import InputError, InvalidGeometry, MissingCrs

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["SampleColumns", "prepare_samples", "read_samples"]

#: Names that datasets in use give to the columns a recipe reads, the likeliest first; written in
#: lower case, found in any.
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "sample_id": (
        "sample_id", "sampleid", "sample", "point_id", "pointid", "field_id", "fieldid", "id",
        "uid", "fid",
    ),
    "valid_date": (
        "valid_date", "valid_time", "validtime", "sampling_date", "survey_date", "obs_date",
        "date", "datetime",
    ),
    "extract": ("extract", "extraction", "to_extract"),
    "ref_id": ("ref_id", "refid", "dataset_id", "dataset", "source"),
}  # fmt: skip

_SHOWN = 5  # values named in a message

_YEAR_FIRST = re.compile(r"\d{4}([-/.]\d{1,2}[-/.]\d{1,2}(?!\d)|\d{4}(?!\d))")


@dataclass(frozen=True)
class SampleColumns:
    """Which columns of the samples say what; None looks for the usual names.

    Parameters
    ----------
    sample_id : str, optional
        Identifies a sample; unique, not null. Without such a column the row numbers do.
    valid_date : str, optional
        Date on which the label holds.
    extract : str, optional
        Whether the sample gets a patch: a bool, or a level. Without such a column all do.
    ref_id : str, optional
        Dataset that the sample comes from. Without such a column the name of the file.
    """

    sample_id: str | None = None
    valid_date: str | None = None
    extract: str | None = None
    ref_id: str | None = None

    def find(self, columns: list[str]) -> dict[str, str]:
        """Return the column for each role that there is one for.

        Raises
        ------
        InputError
            When a column that was named is not there.
        """
        found = {}
        for role in (field.name for field in fields(self)):
            named = getattr(self, role)
            if named is not None and named not in columns:
                raise InputError(
                    f"the samples have no column {named!r}, which SampleColumns names as {role}; "
                    f"they have {', '.join(columns)}."
                )
            known = {name.lower(): name for name in reversed(columns)}
            column = named or next((known[a] for a in ALIASES[role] if a in known), None)
            if column is not None:
                found[role] = column
        return found


def read_samples(samples: str | Path | gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, str]:
    """Return the samples, and a name for where they come from.

    Raises
    ------
    InputError
        When the file cannot be read as vector data, or has no geometries.
    """
    import geopandas as gpd  # noqa: PLC0415

    if isinstance(samples, gpd.GeoDataFrame):
        return samples, "samples"
    path = Path(samples)
    read = gpd.read_parquet if path.suffix in {".parquet", ".geoparquet"} else gpd.read_file
    try:
        table = read(path)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: what pyogrio raises
        raise InputError(
            f"{path} cannot be read as vector data ({error}); expected a file that GDAL opens, "
            "such as GeoPackage or GeoJSON, or GeoParquet."
        ) from error
    if not isinstance(table, gpd.GeoDataFrame):
        raise InputError(
            f"{path} has no geometries, only the columns {', '.join(map(str, table.columns))}; "
            "expected a polygon or point in each row. A table of coordinates becomes one with "
            "geopandas.points_from_xy()."
        )
    return table, path.stem


def prepare_samples(
    samples: gpd.GeoDataFrame,
    columns: SampleColumns,
    *,
    name: str = "samples",
    min_extract: int = 1,
) -> gpd.GeoDataFrame:
    """Return checked samples in EPSG:4326 under common column names.

    Parameters
    ----------
    samples : GeoDataFrame
        Any columns, any CRS.
    columns : SampleColumns
        Which of them say what.
    name : str
        Taken for ``ref_id`` where there is no such column.
    min_extract : int
        Where ``extract`` is a level: the lowest that is extracted.

    Returns
    -------
    GeoDataFrame
        ``sample_id`` (str), ``valid_date`` (datetime64), ``extract`` (bool), ``ref_id`` (str), and
        all other columns as they were; index 0, 1, …

    Raises
    ------
    MissingCrs, InvalidGeometry, InputError
        With the rows that are wrong.
    """
    import pandas as pd  # noqa: PLC0415

    if samples.crs is None:
        raise MissingCrs(
            "the samples have no CRS, so it is not known where they are; set it with set_crs()."
        )
    if not len(samples):
        raise InputError("there are no samples; expected one row or more.")
    bad = samples.geometry.isna() | samples.geometry.is_empty
    if bad.any():
        raise InvalidGeometry(
            f"{int(bad.sum())} samples have no geometry, at index {_some(samples.index[bad])}; "
            "drop them or mend them."
        )
    roles = columns.find([str(column) for column in samples.columns])
    prepared = samples.to_crs(4326).reset_index(drop=True)
    values: dict[str, Any] = {
        "sample_id": _ids(prepared, roles.get("sample_id")),
        "extract": _extracted(prepared, roles.get("extract"), min_extract),
        "ref_id": (
            prepared[roles["ref_id"]].astype(str)
            if "ref_id" in roles
            else pd.Series(name, index=prepared.index)
        ),
        "valid_date": (
            _dates(prepared, roles["valid_date"])
            if "valid_date" in roles
            else pd.Series(pd.NaT, index=prepared.index)
        ),
    }
    replaced = [column for role, column in roles.items() if column != role]
    return prepared.drop(columns=replaced).assign(**values)


# What pandas gives for a column has no type that could be told: these return a Series each.


def _ids(samples: gpd.GeoDataFrame, column: str | None) -> Any:
    if column is None:
        return samples.index.astype(str).to_series(index=samples.index)
    ids = samples[column]
    if ids.isna().any():
        rows = samples.index[ids.isna()]
        raise InputError(
            f"{len(rows)} samples have no {column}, in rows {_some(rows)}; each needs one."
        )
    texts = ids.astype(str)
    twice = texts[texts.duplicated(keep=False)]
    if len(twice):
        raise InputError(
            f"{twice.nunique()} values of {column} occur more than once, such as "
            f"{_some(twice.unique())}; each sample needs its own, since files are named by it. "
            "Drop the duplicates, or name another column in SampleColumns(sample_id=…)."
        )
    return texts


def _extracted(samples: gpd.GeoDataFrame, column: str | None, least: int) -> Any:
    import pandas as pd  # noqa: PLC0415

    if column is None:
        return pd.Series(True, index=samples.index)
    values = samples[column]
    if values.dtype == bool:
        chosen = values
    else:
        levels = pd.to_numeric(values, errors="coerce")
        wrong = levels.isna() & values.notna()
        if wrong.any():
            raise InputError(
                f"column {column} holds {_some(values[wrong].unique())}; expected True and False, "
                "or a level as a number."
            )
        # True and False among missing values come as objects, and count as 1 and 0.
        chosen = levels >= least
    if not chosen.any():
        raise InputError(
            f"no sample is to be extracted: {column} is nowhere True, or {least} or more. Set it, "
            "or lower min_extract."
        )
    return chosen.astype(bool)


def _dates(samples: gpd.GeoDataFrame, column: str) -> Any:
    import pandas as pd  # noqa: PLC0415

    values = samples[column]
    if pd.api.types.is_numeric_dtype(values):
        # Pandas takes a number for nanoseconds since 1970; here it is a day as in 20210601.
        values = values.map(lambda v: f"{v:.0f}" if float(v).is_integer() else str(v), "ignore")
    # Row by row: files mix forms of writing a date.
    dates = pd.to_datetime(values, errors="coerce", utc=True, format="mixed")
    # Which of 01/06/2021 is the month nobody can tell; with the year first there is no doubt.
    plain = values.map(lambda v: not isinstance(v, str) or bool(_YEAR_FIRST.match(v.strip())))
    dates = dates.where(plain.astype(bool))
    dates = dates.dt.tz_localize(None)
    wrong = dates.isna() & samples[column].notna()
    if wrong.any():
        raise InputError(
            f"column {column} holds {_some(samples[column][wrong].unique())}; expected dates such "
            "as 2021-06-01, the year first."
        )
    return dates


def _some(values: Any) -> str:
    shown = ", ".join(
        repr(getattr(value, "item", lambda v=value: v)()) for value in values[:_SHOWN]
    )
    return f"{shown}, …" if len(values) > _SHOWN else shown
