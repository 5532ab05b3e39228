"""The code in the documents, as programs that run as a reader would run it.

Blocks of ``python`` and ``sh`` run in their order, in one program for each document. What a block
takes for granted stands before it, in a comment that readers do not see::

    <!-- before:
    manager = ...
    -->

A block after ``<!-- not run: reason -->`` is read but not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_PIECE = re.compile(
    r"^<!-- not run: (?P<reason>[^\n]+?) -->\n+(?=```)"
    r"|^<!-- before:\n(?P<before>.*?)^-->$"
    r"|^```(?P<language>[\w{}-]*)[^\n]*\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_SHELL = """\
import subprocess as _subprocess
_subprocess.run(["bash", "-euo", "pipefail", "-c", {code!r}], check=True)
"""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes
    ----------
    language
        As the document says it.
    code
        Its text.
    hidden
        Whether it stands in a comment.
    not_run
        Why it cannot run in a test; None when it can.
    """

    language: str
    code: str
    hidden: bool = False
    not_run: str | None = None


def named(document: Path) -> str:
    """Return how the tests call a document."""
    return document.relative_to(ROOT).as_posix()


def blocks_of(document: Path) -> Iterator[Block]:
    """Iterate over the blocks of a document."""
    reason = None
    for piece in _PIECE.finditer(document.read_text(encoding="utf-8")):
        if piece["reason"]:
            reason = piece["reason"]
        elif piece["before"]:
            yield Block("python", piece["before"], hidden=True)
        else:
            yield Block(piece["language"], piece["code"], not_run=reason)
            reason = None


def program_of(document: Path) -> str:
    """Return all that runs of a document as one Python program; empty when nothing does."""
    parts = []
    for block in blocks_of(document):
        if block.not_run is None and block.language == "python":
            parts.append(block.code)
        elif block.not_run is None and block.language == "sh":
            parts.append(_SHELL.format(code=block.code))
    return "\n".join(parts)
