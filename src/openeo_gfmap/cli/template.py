"""The commented file that `gfmap init` writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from openeo_gfmap.cli.settings_file import shown

__all__ = ["Guess", "guess", "write_template"]


@dataclass(frozen=True)
class Guess:
    """What a file of samples seems to hold.

    Attributes
    ----------
    samples, extracted
        Counts.
    columns
        Column for each role that there is one for.
    labels, names
        Columns of the labels, and of their names.
    first, last
        Earliest and latest date of the samples, ISO.
    """

    samples: int
    extracted: int
    columns: dict[str, str]
    labels: str | None
    names: str | None
    first: str | None
    last: str | None

    def lines(self) -> Iterator[str]:
        """Iterate over what to say of it."""
        yield f"{self.samples:,} samples, {self.extracted:,} of them to be extracted."
        for role, column in self.columns.items():
            yield f"  {role:<12} column {column}"
        yield f"  {'labels':<12} " + (f"column {self.labels}" if self.labels else "none found")
        if self.first:
            yield f"  {'dates':<12} {self.first} to {self.last}"
        elif "valid_date" not in self.columns:
            yield f"  {'dates':<12} none found: say the period in [recipe.period]"


def guess(path: Path, named: Mapping[str, str] | None = None) -> Guess:
    """Return what a file of samples seems to hold.

    Parameters
    ----------
    path : Path
        The file.
    named : mapping of str to str, optional
        Columns by role, where they are not to be guessed.

    Raises
    ------
    InputError
        When it cannot be read, or its samples cannot be used.
    """
    from openeo_gfmap.recipes.labels import LABEL_COLUMNS, LABEL_NAME_COLUMNS  # noqa: PLC0415
    from openeo_gfmap.recipes.samples import (  # noqa: PLC0415
        SampleColumns,
        prepare_samples,
        read_samples,
    )

    frame, name = read_samples(path)
    columns = SampleColumns(**(named or {}))
    found = columns.find([str(column) for column in frame.columns])
    prepared = prepare_samples(frame, columns, name=name, source=str(path))
    dates = prepared.valid_date.dropna()
    return Guess(
        len(prepared),
        int(prepared.extract.sum()),
        found,
        next((each for each in LABEL_COLUMNS if each in prepared), None),
        next((each for each in LABEL_NAME_COLUMNS if each in prepared), None),
        dates.min().strftime("%Y-%m-%d") if len(dates) else None,
        dates.max().strftime("%Y-%m-%d") if len(dates) else None,
    )


def write_template(guessed: Guess, samples: Path, folder: Path, backend: str) -> str:
    """Return the file's text.

    Parameters
    ----------
    guessed : Guess
        What the samples hold.
    samples : Path
        Their file.
    folder : Path
        Where the text will lie: relative paths begin there.
    backend : str
        Name of the back-end.
    """
    from openeo_gfmap.recipes import Sentinel2Patches  # noqa: PLC0415

    default = {each.name: each.default for each in fields(Sentinel2Patches)}
    path = os.path.relpath(samples.absolute(), folder.absolute())
    roles = ("sample_id", "valid_date", "extract", "ref_id")
    columns = "\n".join(
        f"{role} = {shown(guessed.columns[role])}"
        if role in guessed.columns
        else f'# {role} = "…"  # no column found'
        for role in roles
    )
    return f"""\
# What to extract, and how. Look it over, then:
#     gfmap plan     what it will do; nothing is spent
#     gfmap run      do it; the same again goes on where it stopped
# Any value can be set for once: gfmap run --set recipe.size=32, or GFMAP_RECIPE_SIZE=32.
# All keys: https://github.com/Open-EO/openeo-gfmap/blob/main/docs/configuration.md

[samples]
path = {shown(path)}
{columns}
# min_extract = 1          # where `extract` is a level: the lowest that gets a patch

[recipe]
name = {shown(Sentinel2Patches.name)}
size = {default["size"]}                  # pixels along a side
resolution = {default["resolution"]}          # metres a pixel
max_cloud_cover = {default["max_cloud_cover"]}     # percent; scenes with more are left out
distance_to_cloud = true
# bands = ["S2-L2A-B04", "S2-L2A-B08", "S2-L2A-SCL"]   # by default all 13
# composite = "month"      # one date a month: the median without clouds
# path = {shown(default["path"])}
{_no_labels(guessed)}{_period(guessed)}
{_labels_section(guessed)}
[recipe.cloud_mask]        # to have none: cloud_mask = false in [recipe]
kernel1_size = 17
kernel2_size = 77

[backend]
name = {shown(backend)}             # local, cdse, terrascope, fed, …
parallel_jobs = 2
# upload = "https://…"     # a store that takes HTTP PUT; back-ends other than local need one

[output]
folder = "patches"

[gates]                    # what a received file must be; the rest goes to quarantine/
# max_nodata = 0.9         # share of all values
# min_clear_dates = 5
# max_gap_days = 90

[retry]
max_attempts = 2           # 1 leaves failed jobs failed
# [retry.out-of-memory]    # what to do about a kind of error; by default what usually helps
# remedy = "change-options"
# options = {{ "executor-memory" = {{ factor = 1.5, ceiling = "12G" }} }}

[limits]
# max_costs = 1000         # no job is made that would cost more than this with all others
# job_seconds = 7200       # longer jobs are cancelled
"""


def _period(guessed: Guess) -> str:
    if "valid_date" in guessed.columns:
        return """
[recipe.period]            # days around the date of each sample
before = 275
after = 275
# whole_months = true
"""
    return """
[recipe.period]            # the same for all samples; the end is exclusive
start = "2021-01-01"
end = "2022-01-01"
"""


def _no_labels(guessed: Guess) -> str:
    if guessed.labels is not None:
        return ""
    return "labels = false             # no column of labels was found; see [recipe.labels]\n"


def _labels_section(guessed: Guess) -> str:
    if guessed.labels is None:
        return """\
# [recipe.labels]          # a raster of a column beside each patch
# attribute = "…"
"""
    names = f"names = {shown(guessed.names)}" if guessed.names else '# names = "…"'
    return f"""\
[recipe.labels]            # a raster of this column beside each patch
attribute = {shown(guessed.labels)}
{names}
"""
