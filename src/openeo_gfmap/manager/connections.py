"""The connections of a manager: one a back-end, for all threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from openeo.rest.connection import Connection

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import _log, access
from openeo_gfmap.manager.answers import one_line
from openeo_gfmap.manager.callbacks import RAISED
from openeo_gfmap.manager.cpus import on_all_cpus
from openeo_gfmap.manager.intent import mark_creations
from openeo_gfmap.manager.options import ManagerOptions

__all__ = ["Connections", "Provider"]

Provider: TypeAlias = Connection | Callable[[], Connection]


@contextmanager
def _without_retries_told() -> Iterator[None]:
    """Keep the retries of a new connection of this thread out of the log.

    The manager has said that nobody answers, once; urllib3 would say it three times in each minute
    of an outage.
    """
    me, logger = threading.get_ident(), logging.getLogger("urllib3.connectionpool")

    def passes(record: logging.LogRecord) -> bool:
        return record.thread != me or record.levelno > logging.WARNING

    logger.addFilter(passes)
    try:
        yield
    finally:
        logger.removeFilter(passes)


class Connections:
    """Makes connections when they are needed, and anew when nobody answers on them.

    Parameters
    ----------
    options : ManagerOptions
        Time limits of the requests on them.
    """

    def __init__(self, options: ManagerOptions):
        self._options = options
        self._providers: dict[str, Provider] = {}
        self._made: dict[str, Connection] = {}
        self._making: dict[str, threading.Lock] = {}

    def add(self, name: str, provider: Provider) -> None:
        """Add a back-end, or change how it is connected to.

        Raises
        ------
        InputError
            When `provider` is neither a connection nor a function.
        """
        if not isinstance(provider, Connection) and not callable(provider):
            raise InputError(
                f"the connection of back-end {name!r} is a {type(provider).__name__}; pass an "
                "openeo.Connection or a function that returns one, such as cdse_connection."
            )
        self._providers[name] = provider
        self._making[name] = threading.Lock()  # of its own: one that hangs holds up no other
        self._made.pop(name, None)

    def get(self, name: str) -> Connection:
        """Return the connection of a back-end.

        Raises
        ------
        InputError
            When no such back-end was added.
        """
        if name not in self._providers:
            raise InputError(
                f"back-end {name!r} was not added; added are {', '.join(self._providers)}."
            )
        if name not in self._made:
            with self._making[name]:
                if name not in self._made:
                    self._made[name] = self._connect(name)
        return self._made[name]

    def _connect(self, name: str) -> Connection:
        provider = self._providers[name]
        if isinstance(provider, Connection):
            access.attend(provider, self._options, None)
            mark_creations(provider)
            return provider
        with on_all_cpus():  # it may start a server
            connection = provider()
        access.attend(connection, self._options, provider)
        mark_creations(connection)
        return connection

    def renew(self, name: str, broken: Connection) -> None:
        """Replace a connection that nobody answers on; keep it while there is no better one."""
        if self._made[name] is not broken or not self._making[name].acquire(blocking=False):
            return  # another thread has done it, or is at it
        try:
            with _without_retries_told():
                self._made[name] = self._connect(name)
        except RAISED as error:
            _log.debug("%s: no new connection either: %s", name, one_line(error))
        finally:
            self._making[name].release()
