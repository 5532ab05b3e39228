"""Running many openEO jobs: splitting, starting, following, downloading, cataloguing."""

from __future__ import annotations

import logging

__all__ = ["_log", "set_log_level"]

#: The logger of everything in this package. No handler is attached to it: where log lines go is for
#: the application to say.
_log = logging.getLogger("openeo_gfmap.manager")


def set_log_level(level: int | str) -> None:
    """Choose which log lines of the job manager are kept.

    Parameters
    ----------
    level : int or str
        A level of the standard library, such as ``logging.DEBUG`` or "INFO".
    """
    _log.setLevel(level.upper() if isinstance(level, str) else level)
