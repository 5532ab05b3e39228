"""What the loop hands to its workers, and gets back."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.job_store import Record
from openeo_gfmap.manager.rows import row_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Survey", "Task"]


@dataclass(frozen=True)
class Task:
    """An action with what the store has on its job.

    Attributes
    ----------
    action
        What to do.
    record
        The user's part of the row.
    files
        Files of the job that are in place.
    known_ids
        Ids of the jobs of all other rows.
    tries
        How often in a row the action did not come through before, while the back-end answered.
    waited
        Seconds since the intent to create the job.
    """

    action: life.Action
    record: Record = field(repr=False)
    files: tuple[life.SavedFile, ...] = ()
    known_ids: Container[str] = field(default=frozenset(), repr=False)
    tries: int = 0
    waited: float = 0.0

    @cached_property
    def row(self) -> pd.Series[Any]:
        """The tracker's row, as callbacks see it; most actions do without."""
        return row_of(self.action.job, self.record)


@dataclass(frozen=True)
class Survey:
    """What a look at the list of jobs says.

    Attributes
    ----------
    outcomes
        Tasks that it answers, with what happened to their jobs; the others need a closer look.
    pages
        Requests that the list took; 0 when there was no list.
    failure
        Why there was no list.
    """

    outcomes: tuple[tuple[Task, life.Event], ...]
    pages: int
    failure: life.Unreachable | None = None
