"""Tables from the results of POINT extractions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openeo_gfmap.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_json"]


def load_json(input_file: str | Path, bands: Sequence[str]) -> pd.DataFrame:
    """Read the JSON that a back-end writes for ``aggregate_spatial`` into a table.

    Parameters
    ----------
    input_file : str or Path
        The file: an object of date-times, each with one list of band values per geometry.
    bands : sequence of str
        Names of the bands, in the order of the cube.

    Returns
    -------
    pandas.DataFrame
        One row per geometry; columns "<band>:<YYYY-MM-DD>" by ascending date, then band; floats,
        NaN where there is no value.

    Raises
    ------
    InputError
        When the file is not of that form, or has another number of bands.
    """
    import pandas as pd  # noqa: PLC0415 - heavy, and most programs read no such file

    try:
        by_date = json.loads(Path(input_file).read_text(encoding="utf-8"))
        ordered = sorted((str(date)[:10], rows) for date, rows in by_date.items())
        frames = [
            pd.DataFrame(
                [row or [None] * len(bands) for row in rows],
                columns=[f"{band}:{date}" for band in bands],
                dtype=float,
            )
            for date, rows in ordered
        ]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{input_file} does not hold one list of {len(bands)} values ({', '.join(bands)}) per "
            f"date and geometry ({error}); check the file and the band names."
        ) from error
    return pd.concat(frames, axis=1) if frames else pd.DataFrame()
