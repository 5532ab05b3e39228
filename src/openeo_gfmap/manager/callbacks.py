"""The user's callbacks, in the forms that are in use, told apart by signature."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pystac

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.pool import Pool

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RAISED", "PathGenerator", "PostJobAction", "StartJob", "TookTooLong", "within"]

#: What a user's callback can raise: anything. A callback that wants to exit fails its own job; the
#: exit would end nothing but the thread it runs in. (Ctrl-C arrives in the main thread only.)
RAISED = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)

_Parameter = inspect.Parameter
_T = TypeVar("_T")


class TookTooLong(TimeoutError):
    """A callback did not return within its time limit."""


#: Threads that calls are made in; one that hangs is another's no more.
_others: Pool[Callable[[], None]] = Pool("callback", sys.maxsize, lambda call: call())


def within(seconds: float | None, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """Call a function and wait for it, but not for ever.

    A thread cannot be ended from outside, so the call is made in another one, which is left behind
    when its time is over; what it returns later is not used. The caller's locks are the
    caller's, so a call that hangs holds none of them.

    Parameters
    ----------
    seconds : float or None
        Most seconds to wait; None calls the function here.
    function : callable
        Called with the other arguments.

    Raises
    ------
    TookTooLong
        When the time is over.
    Exception
        What the function raises.
    """
    if seconds is None:
        return function(*args, **kwargs)
    call: Future[_T] = Future()

    def run() -> None:
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            call.set_exception(error)
        else:
            call.set_result(result)

    _others.submit(run)
    try:
        call.exception(timeout=seconds)
    except TimeoutError:
        raise TookTooLong(
            f"it did not return within {seconds:g} seconds; if it needs longer, raise "
            "ManagerOptions.action_seconds"
        ) from None
    return call.result()


def _parameters(function: Callable[..., Any], name: str) -> list[_Parameter]:
    if not callable(function):
        raise InputError(f"{name} is {function!r}; it must be a function.")
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise InputError(
            f"{name} {function!r} has no signature to read ({error}); wrap it in a function."
        ) from error


class StartJob:
    """``start_job``, called with those of four arguments that its signature takes.

    Raises
    ------
    InputError
        When it asks for anything else.
    """

    NAMES = ("row", "connection", "provider", "connection_provider")

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        parameters = _parameters(function, "start_job")
        if any(p.kind is _Parameter.VAR_KEYWORD for p in parameters):
            self._wanted = set(self.NAMES)
            return
        named = [p for p in parameters if p.kind is not _Parameter.VAR_POSITIONAL]
        unknown = [p.name for p in named if p.name not in self.NAMES and p.default is p.empty]
        if unknown:
            raise InputError(
                f"start_job takes {', '.join(unknown)}, which the manager does not have; it can "
                f"take any of {', '.join(self.NAMES)}."
            )
        self._wanted = {p.name for p in named} & set(self.NAMES)

    def __call__(self, **arguments: Any) -> Any:
        """Return what the user's function returns: a batch job, or None to skip the row."""
        return self._function(**{k: v for k, v in arguments.items() if k in self._wanted})


class PathGenerator:
    """``output_path_generator`` in either of its forms.

    ``(root_folder, tmp_path, geometry_index, row)`` can look into the file;
    ``(root_folder, geometry_index, row[, asset_id])`` does without.

    Raises
    ------
    InputError
        When the signature is neither.
    """

    _FORMS = (
        ("root_folder", "tmp_path", "geometry_index", "row"),
        ("root_folder", "geometry_index", "row", "asset_id"),
        ("root_folder", "geometry_index", "row"),
    )

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        parameters = _parameters(function, "output_path_generator")
        names = [p.name for p in parameters]
        required = [p.name for p in parameters if p.default is p.empty]
        self._form = next(
            (form for form in self._FORMS if set(required) <= set(form) <= set(names)), ()
        )
        self._by_name = bool(self._form)
        if self._form:
            return
        # Other names for the same things: the place of the row tells the forms apart.
        if len(names) == 3:
            self._form = self._FORMS[2]
        elif len(names) == 4 and ("row" in names[3] or "path" in names[1] or "tmp" in names[1]):
            self._form = self._FORMS[0]
        elif len(names) == 4 and "row" in names[2]:
            self._form = self._FORMS[1]
        else:
            raise InputError(
                f"output_path_generator takes ({', '.join(names)}); expected "
                "(root_folder, tmp_path, geometry_index, row) or "
                "(root_folder, geometry_index, row[, asset_id])."
            )

    def __call__(
        self, *, root_folder: Path, tmp_path: Path, geometry_index: int, row: Any, asset_id: str
    ) -> Path:
        """Return where the file is to go, as the user's function says."""
        values = {
            "root_folder": root_folder,
            "tmp_path": tmp_path,
            "geometry_index": geometry_index,
            "row": row,
            "asset_id": asset_id,
        }
        if self._by_name:
            return Path(self._function(**{name: values[name] for name in self._form}))
        return Path(self._function(*(values[name] for name in self._form)))


class PostJobAction:
    """``post_job_action``, with or without parameters.

    Raises
    ------
    InputError
        When the signature is neither ``(items, row)`` nor ``(items, row, parameters)``.
    """

    def __init__(self, function: Callable[..., Any], parameters: Mapping[str, Any]):
        self._function = function
        found = _parameters(function, "post_job_action")
        positional = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        open_ended = any(p.kind is p.VAR_POSITIONAL for p in found)
        required = [p for p in positional if p.default is p.empty]
        if (len(positional) < 2 and not open_ended) or len(required) > 3:
            names = ", ".join(p.name for p in found)
            raise InputError(
                f"post_job_action takes ({names}); expected (items, row) or "
                "(items, row, parameters)."
            )
        self._extra = (dict(parameters),) if len(positional) >= 3 or open_ended else ()

    def __call__(self, items: Sequence[pystac.Item], row: pd.Series[Any]) -> list[pystac.Item]:
        """Return the items as the user's function leaves them.

        Raises
        ------
        TypeError
            When it does not return a list of items.
        """
        returned = self._function(items, row, *self._extra)
        if not isinstance(returned, list | tuple) or not all(
            isinstance(item, pystac.Item) for item in returned
        ):
            raise TypeError(
                f"post_job_action returned {type(returned).__name__}, expected the list of items; "
                "end it with 'return items'"
            )
        return list(returned)
