"""Names of files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

__all__ = ["safe_name"]


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
