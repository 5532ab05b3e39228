"""A run in a background thread, for notebooks and for programs that have other things to do."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from openeo_gfmap.manager import _log
from openeo_gfmap.manager.answers import one_line
from openeo_gfmap.manager.notebook import show_live
from openeo_gfmap.manager.progress import Progress
from openeo_gfmap.manager.session import Session

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run"]


class Run:
    """Jobs that run in a background thread; `GFMAPJobManager.start` makes it.

    In a ``with`` statement the end of the block waits for the end of the run; an exception in the
    block, such as Ctrl-C, stops it first.

    In a notebook, a cell that ends in the run shows how it stands, up to date until it is over.

    When the program ends before the run does, the run ends with it, as after a kill: nothing is
    lost, and the same again takes it up.

    Parameters
    ----------
    session : Session
        What to run.
    """

    def __init__(self, session: Session):
        self._session = session
        self._counts: dict[str, int] = {}
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="gfmap-run", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._counts = self._session.run()
        except BaseException as error:  # noqa: BLE001 - raised by `join`, in the thread that asks
            self._error = error
            _log.error("The run has ended: %s", one_line(error))

    @property
    def running(self) -> bool:
        """Whether it is not over."""
        return self._thread.is_alive()

    def status(self) -> Progress:
        """Return how the run stands; it costs nothing to ask."""
        progress = self._session.loop.progress
        if self._error is not None:
            return replace(progress, message=f"The run has ended: {one_line(self._error)}")
        return progress

    def stop(self) -> None:
        """Begin nothing new; what is in hand is finished. `join` waits for that."""
        self._session.loop.stop()

    def join(self, timeout: float | None = None) -> dict[str, int]:
        """Wait for the end of the run; return how many jobs are in each status.

        An interrupt ends the waiting, not the run.

        Parameters
        ----------
        timeout : float, optional
            Most seconds to wait.

        Raises
        ------
        TimeoutError
            When the run is not over by then; it goes on.
        Exception
            What ended the run, if it did not end by itself.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"not done after {timeout} s; the run goes on: {self.status()}")
        if self._error is not None:
            raise self._error
        return dict(self._counts)

    def add(self, df: pd.DataFrame) -> int:
        """Add rows to the run; return how many of them were not there yet.

        Parameters
        ----------
        df : pandas.DataFrame
            Rows, as for `GFMAPJobManager.run_jobs`. Those that the tracker has stay as they are,
            so the whole table with the new rows will do.

        Raises
        ------
        InputError
            When a row has the label of another one that is there, or the run is over: then start
            it again, with these rows, on the same tracker.
        """
        return self._session.loop.add(df)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.join()
            return
        self.stop()
        self._thread.join()

    @property
    def _state(self) -> str:
        return "running" if self.running else "failed" if self._error is not None else "ended"

    def __repr__(self) -> str:
        return f"<Run {self._state}: {self.status().line}>"

    def _repr_html_(self) -> str:
        return self.status().html(f"Run {self._state}")

    def _ipython_display_(self) -> None:
        """Show how the run stands, and go on showing it until it is over."""
        show_live(self._repr_html_, self.__repr__, self._over_within)

    def _over_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self.running
