"""The job manager: rows in, a STAC collection of result files out.

::

    table ─▶ jobs (merged with the store) ─▶ plan ─▶ actions ─▶ threads ─▶ events ─▶ apply ─▶ store
                        ▲                                                                       │
                        └───────────────────────────────────────────────────────────────────────┘

Only the loop's own thread touches jobs and the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac
import requests
from openeo.rest import OpenEoRestError
from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import _log, results
from openeo_gfmap.manager.answers import is_transient, one_line
from openeo_gfmap.manager.background import Run
from openeo_gfmap.manager.callbacks import PathGenerator, PostJobAction, StartJob
from openeo_gfmap.manager.closing import Closing
from openeo_gfmap.manager.connections import Connections, Provider
from openeo_gfmap.manager.costs import Costs
from openeo_gfmap.manager.disk import make_folder, usable
from openeo_gfmap.manager.display import Display, LogDisplay, make_display
from openeo_gfmap.manager.ledger import Sums
from openeo_gfmap.manager.loop import Loop
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.places import ParallelJobs, check_parallel_jobs
from openeo_gfmap.manager.session import Session
from openeo_gfmap.manager.tracker import Tracker
from openeo_gfmap.manager.worker import Worker
from openeo_gfmap.stac.constants import CONSTELLATION
from openeo_gfmap.utils.html import facts_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GFMAPJobManager"]


class GFMAPJobManager:
    """Runs one openEO job a row of a table, and collects the results.

    Parameters
    ----------
    output_dir : path
        Folder for all results; nothing is written outside it.
    output_path_generator : callable
        Says where a result file goes: ``(root_folder, tmp_path, geometry_index, row)``, called once
        the file lies at `tmp_path`, or ``(root_folder, geometry_index, row[, asset_id])``.
    collection_id, collection_description : str, optional
        Of the STAC collection; the id is by default the name of the output folder.
    stac : path or pystac.Collection, optional
        A collection whose items are carried over into the one of this run.
    post_job_action : callable, optional
        ``(items, row)`` or ``(items, row, parameters)``: called with the STAC items of a job, in
        the order of its features, once their files are in place; returns the items. It runs at
        least once a job: after a kill it starts anew, on files as they were downloaded.
    poll_sleep : float
        Fewest seconds between two looks at a job; `options` has the most.
    n_threads : int
        Jobs that are post-processed at once. The callbacks that open files still take turns,
        unless `options` says otherwise.
    resume_postproc : bool
        Take up the post-processing of jobs where it failed or was cut off.
    restart_failed : bool or container of int
        Make jobs anew that failed or were cancelled in an earlier run: all, or those of these rows,
        by their positions in the tracker.
    stac_enabled : bool
        Write the STAC collection at the end of the run.
    post_job_params : mapping, optional
        Third argument of `post_job_action`.
    options : ManagerOptions, optional
        Retry policy, limits of costs and time, numbers of attempts and threads, quality gates.
    about : mapping, optional
        What else the notes of the run, and reports on it, should say of what was asked for, such as
        the settings of a recipe.
    """

    def __init__(  # noqa: PLR0917 - the order is part of the public signature
        self,
        output_dir: str | Path,
        output_path_generator: Callable[..., Any],
        collection_id: str | None = None,
        collection_description: str | None = "",
        stac: str | Path | pystac.Collection | None = None,
        post_job_action: Callable[..., Any] | None = None,
        poll_sleep: float = 5,
        n_threads: int = 1,
        resume_postproc: bool = True,
        restart_failed: bool | Container[int] = False,
        stac_enabled: bool = True,
        post_job_params: Mapping[str, Any] | None = None,
        *,
        options: ManagerOptions | None = None,
        about: Mapping[str, Any] | None = None,
    ):
        if n_threads < 1:
            raise InputError(f"n_threads is {n_threads}; it must be 1 or more.")
        if not 0 <= poll_sleep < float("inf"):
            raise InputError(
                f"poll_sleep is {poll_sleep}; it must be a number of seconds.", about="poll_sleep"
            )
        self._output_dir = Path(output_dir).absolute()
        self._path_generator = PathGenerator(output_path_generator)
        self._post_job_action = (
            PostJobAction(post_job_action, post_job_params or {}) if post_job_action else None
        )
        self._closing = Closing(
            self._output_dir, collection_id, collection_description or "", stac, stac_enabled
        )
        self._poll_sleep = poll_sleep
        self._n_threads = n_threads
        self._resume_postproc = resume_postproc
        self._restart_failed = restart_failed
        self._options = options or ManagerOptions()
        self._about = dict(about or {})
        self._connections = Connections(self._options)
        self._backends: dict[str, ParallelJobs] = {}
        self._last: Session | None = None

    # ------------------------------------------------------------------------------------ set up

    def add_backend(self, name: str, connection: Provider, parallel_jobs: ParallelJobs = 2) -> None:
        """Add a back-end that jobs may run on.

        Parameters
        ----------
        name : str
            As in the rows' ``backend_name``. A row that names a back-end which was not added runs
            on one that was.
        connection : openeo.Connection or callable
            A connection, or a function without arguments that returns one.
        parallel_jobs : int or callable
            Most jobs that are active on it at once, or a function that gives this number for a
            local time (a ``datetime`` with its zone); 0 then makes and starts no job.

        Raises
        ------
        InputError
            When `connection` is neither, or `parallel_jobs` no such number.
        """
        check_parallel_jobs(name, parallel_jobs)
        self._connections.add(name, connection)
        self._backends[name] = parallel_jobs

    def setup_stac(
        self,
        constellation: str | None = None,
        output_path: str | Path | None = None,
        item_assets: Mapping[str, pystac.ItemAssetDefinition] | None = None,
    ) -> None:
        """Choose what the STAC collection says and where it goes.

        Parameters
        ----------
        constellation : str, optional
            Adds its platforms and instruments to the summaries, for example "sentinel2".
        output_path : path, optional
            Folder of the collection; by default ``stac`` in the output folder.
        item_assets : mapping of str to pystac.ItemAssetDefinition, optional
            Definitions of assets that the post-job action adds, by key.

        Raises
        ------
        InputError
            For a constellation that is not known.
        """
        if constellation is not None and constellation not in CONSTELLATION:
            raise InputError(
                f"constellation {constellation!r} is not known; use one of "
                f"{', '.join(CONSTELLATION)}, or leave it out."
            )
        self._closing.constellation = constellation
        if output_path is not None:
            self._closing.folder = Path(output_path)
        self._closing.item_assets = dict(item_assets or {})

    # -------------------------------------------------------------------------------------- hooks

    def on_job_done(self, job: BatchJob, row: pd.Series[Any]) -> None:
        """Override to be told of a job whose files are in place and post-processed.

        Called in a worker thread, at least once a job. When it raises, the job is
        ``postprocessing-error``.
        """

    def on_job_error(self, job: BatchJob, row: pd.Series[Any]) -> None:
        """Save the logs of a job that failed on its back-end; override to do something else.

        Called in a worker thread, at least once a job.
        """
        path = results.save_logs(job, self._output_dir / "failed_jobs")
        _log.info("The log of job %s, which failed, is in %s.", job.job_id, path)

    # ---------------------------------------------------------------------------------------- run

    def run_jobs(
        self,
        df: pd.DataFrame,
        start_job: Callable[..., Any],
        tracker: str | Path | None = None,
    ) -> dict[str, int]:
        """Run all jobs of a table to the end; return how many ended in each status.

        Interrupt it whenever you like, or let it crash: the same call takes up where it was.

        Parameters
        ----------
        df : pandas.DataFrame
            One row a job; any columns. ``backend_name`` chooses the back-end.
        start_job : callable
            Takes any of ``row``, ``connection``, ``provider`` and ``connection_provider``; returns
            an ``openeo.BatchJob``, started or not, or None to skip the row. It is called in
            threads, for several rows at once.
        tracker : path, optional
            CSV that shows how each job stands. Beside it lies the store that remembers everything;
            without a tracker, nothing is remembered.

        Raises
        ------
        InputError
            When there is no back-end, or table, callbacks or tracker cannot be used.
        TrackerLocked
            When another process runs jobs on the tracker.
        KeyboardInterrupt
            After Ctrl-C, once what was in hand is done.
        """
        display = make_display() if self._options.show_progress else LogDisplay()
        session = self._open(df, start_job, tracker, display)
        counts = session.run(interruptible=True)
        if session.loop.stopped:
            raise KeyboardInterrupt(session.loop.farewell)
        return counts

    def start(
        self,
        df: pd.DataFrame,
        start_job: Callable[..., Any],
        tracker: str | Path | None = None,
    ) -> Run:
        """Run all jobs of a table in a background thread, as in a notebook; return at once.

        Parameters
        ----------
        df, start_job, tracker
            As for `run_jobs`.

        Returns
        -------
        Run
            Has ``status()``, ``add(df)``, ``stop()`` and ``join()``.

        Raises
        ------
        InputError
            When there is no back-end, or table, callbacks or tracker cannot be used.
        TrackerLocked
            When another process runs jobs on the tracker, or another run of this one does.
        """
        # A live table would write over what the user types meanwhile.
        return Run(self._open(df, start_job, tracker, LogDisplay()))

    def cancel(
        self, df: pd.DataFrame, tracker: str | Path, reason: str = "cancelled by the user"
    ) -> list[str]:
        """Cancel the jobs that a stopped run has left queued or running; return their ids.

        Nothing else is begun or changed. The rows are ``canceled`` then; ``restart_failed`` makes
        them anew.

        Parameters
        ----------
        df, tracker
            As for `run_jobs`.
        reason : str
            What the log, and the account of the samples, say.

        Raises
        ------
        TrackerLocked
            When a process runs jobs on the tracker: it is to be stopped first.
        """
        session = self._open(df, _starts_nothing, tracker, LogDisplay())
        with session.tracker:
            return session.loop.cancel(reason)

    def _open(
        self,
        df: pd.DataFrame,
        start_job: Callable[..., Any],
        tracker: str | Path | None,
        display: Display,
    ) -> Session:
        """Return a run that is ready to go, with its tracker open."""
        if not self._backends:
            raise InputError("no back-end was added; call add_backend first.")
        start = StartJob(start_job)
        make_folder(self._output_dir)
        path = Path(tracker) if tracker is not None else None
        with usable("the tracker", path) if path is not None else nullcontext():
            open_tracker = Tracker(path, df, self._closing.constellation)
        try:
            away = self._connect_all()
            claims = results.Claims()
            hurry = threading.Event()
            worker = Worker(
                output_dir=self._output_dir,
                connect=self._connections.get,
                reconnect=self._connections.renew,
                start_job=start,
                path_generator=self._path_generator,
                post_job_action=self._post_job_action,
                on_job_done=self.on_job_done,
                on_job_error=self.on_job_error,
                claims=claims,
                options=self._options,
                wait=hurry.wait,
            )
            loop = Loop(
                open_tracker,
                worker,
                self._backends,
                options=self._options,
                poll_sleep=self._poll_sleep,
                processing_threads=self._n_threads,
                display=display,
            )
            loop.prepare(
                claims, restart_failed=self._restart_failed, resume_postproc=self._resume_postproc
            )
            for name, reason in away.items():
                loop.away(name, reason)
            settings = self._settings(away)
        except BaseException:
            open_tracker.close()
            raise
        self._last = Session(
            open_tracker, loop, self._output_dir, hurry, settings, self._closing.close
        )
        return self._last

    def _connect_all(self) -> dict[str, str]:
        """Connect to all back-ends; return those that do not answer, and why.

        They are waited for, unless none answers: then more likely something else is wrong.
        """
        away: dict[str, str] = {}
        for name in self._backends:
            try:
                self._connections.get(name)
            except (requests.RequestException, OpenEoRestError) as error:
                if not is_transient(error) or len(away) + 1 == len(self._backends):
                    raise
                away[name] = one_line(error)
        return away

    def connection(self, name: str) -> Connection:
        """Return the connection of a back-end that was added; made once, for all threads.

        Raises
        ------
        InputError
            When no such back-end was added.
        """
        return self._connections.get(name)

    def costs(self) -> Costs:
        """Return what the jobs have cost, and what the rest may cost; also while they run.

        Raises
        ------
        InputError
            When no jobs were run yet.
        """
        return self._last_run("costs").loop.progress.costs

    def sums(self) -> Sums:
        """Return how many samples are expected, received, missing, rejected, and open.

        Also while jobs run. ``sums().complete`` tells whether all were received.

        Raises
        ------
        InputError
            When no jobs were run yet.
        """
        return self._last_run("sums").loop.progress.samples

    def _last_run(self, caller: str) -> Session:
        if self._last is None:
            raise InputError(f"there is nothing to show yet; call run_jobs before {caller}.")
        return self._last

    # --------------------------------------------------------------------------------------- STAC

    def create_stac(self, output_path: str | Path | None = None) -> Path:
        """Write the STAC collection of all finished jobs; return the path of its JSON file.

        Parameters
        ----------
        output_path : path, optional
            Folder of the collection; by default what `setup_stac` said, else ``stac`` in the
            output folder.

        Raises
        ------
        InputError
            When no jobs were run yet.
        """
        store = self._last_run("create_stac").tracker.store.reopen()
        try:
            return self._closing.write_stac(store, Path(output_path) if output_path else None)
        finally:
            store.close()

    def _settings(self, away: Container[str]) -> dict[str, Any]:
        """Return what was asked for, as the notes of the run and its reports say it."""
        gates = self._options.gates
        backends = {
            name: {
                "url": None if name in away else self._connections.get(name).root_url,
                "parallel_jobs": number if isinstance(number, int) else "by time",
            }
            for name, number in self._backends.items()
        }
        return {
            **self._about,
            "collection": self._closing.name,
            "description": self._closing.description,
            "constellation": self._closing.constellation,
            "backends": backends,
            "gates": None if gates is None else gates.to_dict(),
            "max_costs": self._options.max_costs,
        }

    def _repr_html_(self) -> str:
        backends = (
            f"{name} ({_shown_number(number)} at once)" for name, number in self._backends.items()
        )
        facts = [
            ("Output folder", str(self._output_dir)),
            ("Back-ends", ", ".join(backends) or "none yet: add_backend"),
            ("Collection", self._closing.name),
        ]
        if self._last is not None:
            facts.append(("Last run", self._last.loop.progress.line))
        return facts_table(facts, "Job manager")


def _shown_number(number: ParallelJobs) -> str:
    return str(number) if isinstance(number, int) else "by time"


def _starts_nothing(row: pd.Series[Any]) -> None:
    """Stand in for the callback where no job is made."""
