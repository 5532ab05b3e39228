"""An extraction: a recipe, samples and a back-end, planned and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openeo

from openeo_gfmap.backend import BACKEND_CONNECTIONS, Backend
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.recipes.parts import Parts, Recipe, Upload
from openeo_gfmap.recipes.samples import prepare_samples, read_samples
from openeo_gfmap.utils.upload import upload_geoparquet

if TYPE_CHECKING:
    import geopandas as gpd

    from openeo_gfmap.manager.options import ManagerOptions

__all__ = ["Extraction", "Plan"]

#: Bytes of a NetCDF file for each number in it: uint16, deflated; measured on patches of CDSE.
_BYTES_A_VALUE = 1.05


@dataclass(frozen=True)
class Plan:
    """What an extraction will do, known before anything is spent.

    Attributes
    ----------
    recipe, backend
        Names.
    jobs, samples, not_extracted
        Counts: jobs, samples that get a patch, and samples that are only context.
    start, end
        First and last date (exclusive) of all jobs, ISO.
    values, bytes
        Estimates of the numbers in all patches, and of what they take on disk.
    """

    recipe: str
    backend: str
    jobs: int
    samples: int
    not_extracted: int
    start: str
    end: str
    values: int
    bytes: int

    def _lines(self) -> list[tuple[str, str]]:
        return [
            ("Recipe", self.recipe),
            ("Back-end", self.backend),
            ("Jobs", f"{self.jobs:,}"),
            ("Patches", f"{self.samples:,}"),
            ("Samples without a patch", f"{self.not_extracted:,}"),
            ("Dates", f"{self.start} to {self.end}"),
            ("Numbers, about", f"{self.values:,}"),
            ("On disk, about", f"{self.bytes / 1e9:,.1f} GB"),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name:<24} {value}" for name, value in self._lines())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self._lines()
        )
        return f"<table>{rows}</table>"


class Extraction:
    """A recipe, samples and a back-end.

    Parameters
    ----------
    recipe : Recipe
        What is wanted.
    samples : path or GeoDataFrame
        Where. Any vector file, any CRS.
    backend : str or Backend
        Name of the back-end.
    connection : openeo.Connection or callable, optional
        By default that of the back-end.
    upload : str or callable, optional
        Where windows are stored for the back-end to read: an address below which they are put by
        HTTP, or a function ``(windows, name)`` that returns their address. The embedded back-end
        needs none.
    start_job, output_path, post_job_action : callable, optional
        Take the place of the recipe's own, see `Parts`.

    Raises
    ------
    InputError
        When samples or arguments cannot be used.
    """

    def __init__(
        self,
        recipe: Recipe,
        samples: str | Path | gpd.GeoDataFrame,
        backend: str | Backend = Backend.LOCAL,
        *,
        connection: openeo.Connection | Callable[[], openeo.Connection] | None = None,
        upload: str | Upload | None = None,
        **parts: Callable[..., Any] | None,
    ):
        names = {"start_job", "output_path", "post_job_action"}
        if unknown := sorted(set(parts) - names):
            raise InputError(
                f"{unknown[0]!r} is no part of an extraction; there are {', '.join(sorted(names))}."
            )
        try:
            self._backend = Backend(backend)
        except ValueError:
            raise InputError(
                f"back-end {backend!r} is not known; use one of "
                f"{', '.join(known.value for known in Backend)}."
            ) from None
        if connection is None and self._backend not in BACKEND_CONNECTIONS:
            raise InputError(f"back-end {self._backend.value!r} needs a connection; pass one.")
        if self._backend is not Backend.LOCAL and upload is None and "start_job" not in parts:
            raise InputError(
                f"back-end {self._backend.value!r} has to read the windows from an address; pass "
                "upload='https://…', a store that takes HTTP PUT, or a function that stores them."
            )
        self.recipe = recipe
        self._connection = connection or BACKEND_CONNECTIONS[self._backend]
        frame, name = read_samples(samples)
        self.samples = prepare_samples(
            frame, recipe.columns, name=name, min_extract=recipe.min_extract
        )
        store = _putting(upload) if isinstance(upload, str) else upload
        made = recipe.parts(self.samples, self._backend.value, store)
        self.parts: Parts = replace(made, **parts)  # type: ignore[arg-type]

    def plan(self) -> Plan:
        """Return what will be done; nothing is asked of the back-end."""
        jobs = self.parts.jobs
        values = sum(
            self.recipe.values_per_patch(_days(start, end)) * count
            for start, end, count in zip(
                jobs["start_date"], jobs["end_date"], jobs["samples"].tolist(), strict=True
            )
        )
        extracted = int(jobs["samples"].sum())
        return Plan(
            recipe=self.recipe.name,
            backend=self._backend.value,
            jobs=len(jobs),
            samples=extracted,
            not_extracted=len(self.samples) - extracted,
            start=min(jobs["start_date"]),
            end=max(jobs["end_date"]),
            values=values,
            bytes=round(values * _BYTES_A_VALUE),
        )

    def manager(
        self, output_dir: str | Path, *, parallel_jobs: int = 2, **arguments: Any
    ) -> GFMAPJobManager:
        """Return a job manager that is set up for the extraction.

        Parameters
        ----------
        output_dir : path
            Folder for all results.
        parallel_jobs : int
            Most jobs that are active on the back-end at once.
        **arguments
            For `GFMAPJobManager`.
        """
        manager = GFMAPJobManager(
            output_dir,
            self.parts.output_path,
            post_job_action=self.parts.post_job_action,
            **arguments,
        )
        manager.add_backend(self._backend.value, self._connection, parallel_jobs)
        manager.setup_stac(self.recipe.constellation)
        return manager

    def run(
        self,
        output_dir: str | Path,
        *,
        parallel_jobs: int = 2,
        poll_sleep: float = 5.0,
        options: ManagerOptions | None = None,
    ) -> dict[str, int]:
        """Run all jobs to the end; return how many ended in each status.

        The same call takes up where an earlier one was interrupted. The folder then has the
        patches, ``job_tracker.csv`` and the STAC collection ``stac/collection.json``.
        """
        manager = self.manager(
            output_dir, parallel_jobs=parallel_jobs, poll_sleep=poll_sleep, options=options
        )
        return manager.run_jobs(
            self.parts.jobs, self.parts.start_job, Path(output_dir) / "job_tracker.csv"
        )


def _putting(address: str) -> Upload:
    def put(windows: gpd.GeoDataFrame, name: str) -> str:
        return upload_geoparquet(windows, name, address)

    return put


def _days(start: str, end: str) -> int:
    return (date.fromisoformat(end) - date.fromisoformat(start)).days
