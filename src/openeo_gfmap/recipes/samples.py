"""The samples of an extraction: read, checked, and brought to common column names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openeo_gfmap.errors import InputError, InvalidGeometry, MissingCrs, Words

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["SampleColumns", "prepare_samples", "read_samples", "some"]

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
                raise InputError(partial(_no_column, role, named, columns), about=f"columns.{role}")
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
    if not path.exists():
        raise InputError(
            f"there is no file {path}; expected one that GDAL opens, such as GeoPackage or "
            "GeoJSON, or GeoParquet.",
            about="samples",
        )
    read = gpd.read_parquet if path.suffix in {".parquet", ".geoparquet"} else gpd.read_file
    try:
        table = read(path)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: what pyogrio raises
        raise InputError(
            f"{path} cannot be read as vector data ({error}); expected a file that GDAL opens, "
            "such as GeoPackage or GeoJSON, or GeoParquet.",
            about="samples",
        ) from error
    if not isinstance(table, gpd.GeoDataFrame):
        names = ", ".join(map(str, table.columns))
        raise InputError(
            lambda words: (
                f"{path} has no geometries, only the columns {names}; expected a polygon or point "
                "in each row. A table of coordinates becomes one with "
                + words.either(
                    "geopandas.points_from_xy().",
                    "`ogr2ogr -oo X_POSSIBLE_NAMES=lon -oo Y_POSSIBLE_NAMES=lat -a_srs EPSG:4326 "
                    f"{path.stem}.gpkg {path}`.",
                )
            ),
            about="samples",
        )
    return table, path.stem


def prepare_samples(
    samples: gpd.GeoDataFrame,
    columns: SampleColumns,
    *,
    name: str = "samples",
    min_extract: int = 1,
    source: str = "the samples",
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
    source : str
        What messages call the samples, such as the name of their file.

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
            lambda words: (
                f"{source}: there is no CRS, so it is not known where the samples are; set it with "
                + words.either("set_crs().", f"`ogr2ogr -a_srs EPSG:4326 with_crs.gpkg {source}`.")
            ),
            about="samples",
        )
    if not len(samples):
        raise InputError(
            f"{source}: there are no samples; expected one row or more.", about="samples"
        )
    bad = samples.geometry.isna() | samples.geometry.is_empty
    if bad.any():
        raise InvalidGeometry(
            f"{source}: {int(bad.sum())} samples have no geometry, at index "
            f"{some(samples.index[bad])}; drop them or mend them.",
            about="samples",
        )
    roles = columns.find([str(column) for column in samples.columns])
    prepared = samples.to_crs(4326).reset_index(drop=True)
    values: dict[str, Any] = {
        "sample_id": _ids(prepared, roles.get("sample_id"), source),
        "extract": _extracted(prepared, roles.get("extract"), min_extract, source),
        "ref_id": (
            prepared[roles["ref_id"]].astype(str)
            if "ref_id" in roles
            else pd.Series(name, index=prepared.index)
        ),
        "valid_date": (
            _dates(prepared, roles["valid_date"], source)
            if "valid_date" in roles
            else pd.Series(pd.NaT, index=prepared.index)
        ),
    }
    replaced = [column for role, column in roles.items() if column != role]
    return prepared.drop(columns=replaced).assign(**values)


# What pandas gives for a column has no type that could be told: these return a Series each.


def _ids(samples: gpd.GeoDataFrame, column: str | None, source: str) -> Any:
    if column is None:
        return samples.index.astype(str).to_series(index=samples.index)
    ids = samples[column]
    if ids.isna().any():
        rows = samples.index[ids.isna()]
        raise InputError(
            lambda words: (
                f"{source}: {len(rows)} samples have no {column}, in rows {some(rows)}; each needs "
                f"one, since files are named by it. Fill them in, or {_other(words, 'sample_id')}."
            ),
            about="columns.sample_id",
        )
    texts = ids.astype(str)
    twice = texts[texts.duplicated(keep=False)]
    if len(twice):
        raise InputError(
            lambda words: (
                f"{source}: {twice.nunique()} values of {column} occur more than once, such as "
                f"{some(twice.unique())}; each sample needs its own, since files are named by it. "
                f"Drop the duplicates, or {_other(words, 'sample_id')}."
            ),
            about="columns.sample_id",
        )
    return texts


def _extracted(samples: gpd.GeoDataFrame, column: str | None, least: int, source: str) -> Any:
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
                lambda words: (
                    f"{source}: column {column} holds {some(values[wrong].unique())}; expected "
                    f"true and false, or a level as a number. Mend it, or "
                    f"{_other(words, 'extract')}."
                ),
                about="columns.extract",
            )
        # True and False among missing values come as objects, and count as 1 and 0.
        chosen = levels >= least
    if not chosen.any():
        raise InputError(
            lambda words: (
                f"{source}: no sample is to be extracted: {column} is nowhere true, or {least} or "
                f"more. Set it, or lower {words.name('min_extract', 'min_extract')}."
            ),
            about="min_extract",
        )
    return chosen.astype(bool)


def _dates(samples: gpd.GeoDataFrame, column: str, source: str) -> Any:
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
            lambda words: (
                f"{source}: column {column} holds {some(samples[column][wrong].unique())}; "
                "expected dates such as 2021-06-01, the year first. Mend it, or "
                f"{_other(words, 'valid_date')}."
            ),
            about="columns.valid_date",
        )
    return dates


def _no_column(role: str, named: str, columns: list[str], words: Words) -> str:
    told = words.name(f"SampleColumns({role}=…)", f"columns.{role}")
    return f"the samples have no column {named!r} for {told}; they have {', '.join(columns)}."


def _other(words: Words, role: str) -> str:
    return f"name another column as {words.name(f'SampleColumns({role}=…)', f'columns.{role}')}"


def some(values: Any) -> str:
    """Return the first few of values, as messages show them."""
    shown = ", ".join(
        repr(getattr(value, "item", lambda v=value: v)()) for value in values[:_SHOWN]
    )
    return f"{shown}, …" if len(values) > _SHOWN else shown
