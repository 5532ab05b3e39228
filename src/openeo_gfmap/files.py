"""Files: their names, and that they appear whole or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["safe_name", "whole"]


def safe_name(text: str, limit: int = 120) -> str:
    """Return `text` as one file name that any file system takes, recognisable and not empty.

    Parameters
    ----------
    text : str
        Anything: job titles and asset names come from outside.
    limit : int
        Most bytes; a name that had to be cut ends in a digest of the whole.
    """
    name = re.sub(r"[^\w.+=@ -]+", "_", text).strip(" ._") or "unnamed"
    if len(name.encode()) > limit:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        suffix = Path(name).suffix if len(Path(name).suffix) <= 10 else ""
        room = limit - len(suffix.encode()) - 9
        name = f"{name.encode()[:room].decode(errors='ignore')}_{digest}{suffix}"
    return name


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a place to write a file to, which gets its name when the block has ended well.

    Nobody ever sees half of it, and what was there before stays until then. After an error nothing
    is left of it; after a kill a ``.part``, which the next attempt writes over.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
