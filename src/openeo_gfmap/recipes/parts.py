"""What every recipe gives a run: four parts, each open to be replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from openeo_gfmap.recipes.samples import SampleColumns

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

    from openeo_gfmap.quality import QualityGates

__all__ = ["Parts", "Recipe", "Upload"]

#: ``(windows, name)``: stores windows under a name, and returns the address to read them from.
Upload: TypeAlias = Callable[["gpd.GeoDataFrame", str], str]


@dataclass(frozen=True)
class Parts:
    """The four parts that `openeo_gfmap.manager.job_manager.GFMAPJobManager` runs.

    Attributes
    ----------
    jobs
        One row a job.
    start_job
        ``(row, connection)``: returns the batch job of a row.
    output_path
        ``(root_folder, geometry_index, row)``: returns where a result file goes.
    post_job_action
        ``(items, row)``: returns the STAC items of a finished job; None leaves them as they are.
    """

    jobs: pd.DataFrame
    start_job: Callable[..., Any]
    output_path: Callable[..., Any]
    post_job_action: Callable[..., Any] | None


class Recipe(Protocol):
    """A description of an extraction; one class for each kind of product.

    To add a sensor, write a frozen dataclass with these members beside `Sentinel2Patches`, and name
    it in the package's docstring. Windows, periods, paths and labels are there to be used.
    """

    name: ClassVar[str]  # stands in the job table, and in what the run counts by recipe
    constellation: ClassVar[str]  # of the STAC collection's summaries

    @property
    def columns(self) -> SampleColumns:
        """Which columns of the samples say what."""
        ...

    @property
    def min_extract(self) -> int:
        """Where ``extract`` is a level: the lowest that is extracted."""
        ...

    def parts(self, samples: gpd.GeoDataFrame, backend: str, upload: Upload | None) -> Parts:
        """Return the parts for checked samples (see `prepare_samples`).

        Parameters
        ----------
        samples : GeoDataFrame
            As `openeo_gfmap.recipes.samples.prepare_samples` returns them.
        backend : str
            Name of the back-end.
        upload : callable, optional
            Stores windows where the back-end can read them; None stores them on the back-end
            itself, which the embedded one can.
        """
        ...

    @property
    def pixels_per_patch(self) -> int:
        """Pixels of a patch, of one band on one date."""
        ...

    def gates(self) -> QualityGates:
        """Return what a file must be to be one that the recipe asked for."""
        ...

    def values_per_patch(self, days: int) -> int:
        """Return about how many numbers a patch holds when the period has so many days."""
        ...
