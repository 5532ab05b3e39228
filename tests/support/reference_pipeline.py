"""The user's own pipeline, read from its Markdown export, as a script on local addresses."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

# What a cell prints stands right below it in the export; this one happens to be valid Python.
PRINTED = "array([3])"


def code_cells(markdown: str) -> list[str]:
    """Return the code of each ``In [n]:`` cell, without magics and printed output."""
    chunks = re.split(r"^In \[\d+\]:\n", markdown, flags=re.MULTILINE)[1:]
    return [_longest_code(re.split(r"^### ", chunk, flags=re.MULTILINE)[0]) for chunk in chunks]


def _longest_code(chunk: str) -> str:
    lines = [line for line in chunk.splitlines() if line != PRINTED and line[:2] != "%%"]
    for end in range(len(lines), 0, -1):
        code = "\n".join(lines[:end])
        try:
            ast.parse(code)
        except SyntaxError:
            continue
        return code
    raise LookupError(f"no Python code in the cell that starts with {chunk[:60]!r}")


def local_script(markdown: str, replacements: Mapping[str, str]) -> str:
    """Return one script of all cells with each text replaced; every text must be there."""
    script = "\n\n".join(code_cells(markdown))
    for old, new in replacements.items():
        if old not in script:
            raise LookupError(f"the reference pipeline no longer holds {old!r}")
        script = script.replace(old, new)
    return script + "\n"
