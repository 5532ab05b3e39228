"""An extraction: a recipe, samples and a back-end, planned and run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openeo

from openeo_gfmap.backend import BACKEND_CONNECTIONS, Backend
from openeo_gfmap.errors import InputError, Words, concerning
from openeo_gfmap.manager.background import Run
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.manager.ledger import SampleState
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.progress import amount, duration
from openeo_gfmap.recipes.parts import Parts, Recipe, Upload
from openeo_gfmap.recipes.samples import prepare_samples, read_samples
from openeo_gfmap.utils.html import facts_table
from openeo_gfmap.utils.upload import check_store, upload_geoparquet

if TYPE_CHECKING:
    import geopandas as gpd

    from openeo_gfmap.account import RunFolder

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
    pixels, values, bytes
        Pixels of all patches, and estimates of the numbers in them and of what they take on disk.
    seconds, costs
        Estimates of how long it takes and what it costs, from what samples took in a run that was
        given as history, a longer period in proportion; None when nothing is known.
    """

    recipe: str
    backend: str
    jobs: int
    samples: int
    not_extracted: int
    start: str
    end: str
    pixels: int
    values: int
    bytes: int
    seconds: float | None = None
    costs: float | None = None

    def _lines(self) -> list[tuple[str, str]]:
        return [
            ("Recipe", self.recipe),
            ("Back-end", self.backend),
            ("Jobs", f"{self.jobs:,}"),
            ("Patches", f"{self.samples:,}"),
            ("Samples without a patch", f"{self.not_extracted:,}"),
            ("Dates", f"{self.start} to {self.end}"),
            ("Pixels", f"{self.pixels:,}"),
            ("Numbers, about", f"{self.values:,}"),
            ("On disk, about", _size(self.bytes)),
            ("Time, about", "not known yet" if self.seconds is None else duration(self.seconds)),
            ("Costs, about", "not known yet" if self.costs is None else amount(self.costs)),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name:<24} {value}" for name, value in self._lines())

    def _repr_html_(self) -> str:
        return facts_table(self._lines())


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
        needs none. The variables ``OPENEO_GFMAP_UPLOAD_USER`` and ``OPENEO_GFMAP_UPLOAD_PASSWORD``
        are for a store with an address that wants a log-in.
    jobs : DataFrame, optional
        Takes the place of the recipe's own table of jobs, see `Parts`: some of its rows, or what
        `openeo_gfmap.account.missing_jobs` returns.
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
        **parts: Any,
    ):
        names = {"jobs", "start_job", "output_path", "post_job_action"}
        if unknown := sorted(set(parts) - names):
            raise InputError(
                f"{unknown[0]!r} is no part of an extraction; there are {', '.join(sorted(names))}."
            )
        try:
            self._backend = Backend(backend)
        except ValueError:
            raise InputError(
                f"back-end {backend!r} is not known; use one of "
                f"{', '.join(known.value for known in Backend)}.",
                about="backend",
            ) from None
        if connection is None and self._backend not in BACKEND_CONNECTIONS:
            raise InputError(
                f"back-end {self._backend.value!r} needs a connection; pass one.", about="backend"
            )
        if self._backend is not Backend.LOCAL and upload is None and "start_job" not in parts:
            raise InputError(self._no_store, about="upload")
        self.recipe = recipe
        with concerning("upload"):
            store = _putting(upload) if isinstance(upload, str) else upload
        self._connection = connection or BACKEND_CONNECTIONS[self._backend]
        frame, name = read_samples(samples)
        self.samples = prepare_samples(
            frame,
            recipe.columns,
            name=name,
            min_extract=recipe.min_extract,
            source=str(samples) if isinstance(samples, str | Path) else "the samples",
        )
        made = recipe.parts(self.samples, self._backend.value, store)
        self.parts: Parts = replace(made, **parts)

    def _no_store(self, words: Words) -> str:
        return (
            f"back-end {self._backend.value!r} has to read the windows from an address; give "
            f"{words.value('upload', 'https://…')}, a store that takes HTTP PUT"
            f"{words.either(', or a function that stores them', '')}."
        )

    def plan(self, history: RunFolder | None = None) -> Plan:
        """Return what will be done; nothing is asked of the back-end.

        Parameters
        ----------
        history : RunFolder, optional
            A run whose samples say what one takes: this one, or one like it.
        """
        pace = Pace() if history is None else Pace.of(history)
        jobs = self.parts.jobs
        days = [
            (_days(start, end), count)
            for start, end, count in zip(
                jobs["start_date"], jobs["end_date"], jobs["samples"].tolist(), strict=True
            )
        ]
        values = sum(self.recipe.values_per_patch(each) * count for each, count in days)
        in_all = sum(each * count for each, count in days)
        extracted = int(jobs["samples"].sum())
        return Plan(
            recipe=self.recipe.name,
            backend=self._backend.value,
            jobs=len(jobs),
            samples=extracted,
            not_extracted=len(self.samples) - extracted,
            start=min(jobs["start_date"]),
            end=max(jobs["end_date"]),
            pixels=extracted * self.recipe.pixels_per_patch,
            values=values,
            bytes=round(values * _BYTES_A_VALUE),
            seconds=None if pace.seconds is None else pace.seconds * in_all,
            costs=None if pace.costs is None else pace.costs * in_all,
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
        settings: dict[str, Any] = asdict(self.recipe) if is_dataclass(self.recipe) else {}
        arguments.setdefault("about", {"recipe": {"name": self.recipe.name, **settings}})
        manager = GFMAPJobManager(
            output_dir,
            self.parts.output_path,
            post_job_action=self.parts.post_job_action,
            **arguments,
        )
        with concerning("parallel_jobs"):
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
        **arguments: Any,
    ) -> dict[str, int]:
        """Run all jobs to the end; return how many ended in each status.

        The same call takes up where an earlier one was interrupted. The folder then has the
        patches, ``job_tracker.csv``, the account ``samples.parquet`` and the STAC collection
        ``stac/collection.json``.

        Parameters
        ----------
        output_dir : path
            Folder for all results.
        parallel_jobs : int
            Most jobs that are active on the back-end at once.
        poll_sleep : float
            Fewest seconds between two looks at a job.
        options : ManagerOptions, optional
            Retry policy, limits, gates. Without gates, the recipe's own hold: size, CRS, bands.
        **arguments
            For `GFMAPJobManager`, such as ``restart_failed=True``.
        """
        manager = self._gated(output_dir, options, parallel_jobs, poll_sleep, arguments)
        return manager.run_jobs(self.parts.jobs, self.parts.start_job, _tracker(output_dir))

    def start(
        self,
        output_dir: str | Path,
        *,
        parallel_jobs: int = 2,
        poll_sleep: float = 5.0,
        options: ManagerOptions | None = None,
        **arguments: Any,
    ) -> Run:
        """Run all jobs in a background thread, as in a notebook; return at once.

        Parameters
        ----------
        output_dir, parallel_jobs, poll_sleep, options, **arguments
            As for `run`.

        Returns
        -------
        Run
            Has ``status()``, ``stop()`` and ``join()``; a notebook cell that ends in it shows how
            it stands, up to date until it is over.
        """
        manager = self._gated(output_dir, options, parallel_jobs, poll_sleep, arguments)
        return manager.start(self.parts.jobs, self.parts.start_job, _tracker(output_dir))

    def _gated(
        self,
        output_dir: str | Path,
        options: ManagerOptions | None,
        parallel_jobs: int,
        poll_sleep: float,
        arguments: dict[str, Any],
    ) -> GFMAPJobManager:
        """Return a manager with the recipe's gates, where there are no others."""
        options = options or ManagerOptions()
        if options.gates is None:
            options = replace(options, gates=self.recipe.gates())
        return self.manager(
            output_dir,
            parallel_jobs=parallel_jobs,
            poll_sleep=poll_sleep,
            options=options,
            **arguments,
        )


@dataclass(frozen=True)
class Pace:
    """What a day of a sample's period took in a run: seconds of the run, and costs.

    None stands for what is not known.
    """

    seconds: float | None = None
    costs: float | None = None

    @classmethod
    def of(cls, run: RunFolder) -> Pace:
        """Return the pace of a run, from all times that it was run."""
        days = [
            _days(record.values["start_date"], record.values["end_date"])
            if {"start_date", "end_date"} <= record.values.keys()
            else 0
            for record in run.records()
        ]
        done = sum(
            days[sample.row] for sample in run.samples() if sample.state is SampleState.RECEIVED
        )
        if not done:
            return cls()
        spans = [
            datetime.fromisoformat(each["ended"]) - datetime.fromisoformat(each["began"])
            for each in run.asked().get("runs", ())
            if each.get("ended")
        ]
        seconds = sum(span.total_seconds() for span in spans)
        spent = run.costs().spent
        return cls(seconds / done if seconds else None, spent / done if spent else None)


def _tracker(output_dir: str | Path) -> Path:
    return Path(output_dir) / "job_tracker.csv"


def _size(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e8 else f"{number / 1e6:,.1f} MB"


def _putting(address: str) -> Upload:
    """Return what stores windows below an address.

    Raises
    ------
    InputError
        When no file could be put there.
    """
    check_store(address)
    user = os.environ.get("OPENEO_GFMAP_UPLOAD_USER")
    auth = (user, os.environ.get("OPENEO_GFMAP_UPLOAD_PASSWORD", "")) if user else None

    def put(windows: gpd.GeoDataFrame, name: str) -> str:
        return upload_geoparquet(windows, name, address, auth=auth)

    return put


def _days(start: str, end: str) -> int:
    return (date.fromisoformat(end) - date.fromisoformat(start)).days
