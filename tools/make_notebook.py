"""Turn an example script with ``# %%`` cells into a notebook.

The script is the source; the notebook beside it is made from it::

    python tools/make_notebook.py examples/full_extraction_pipeline.py

A test checks that the two agree.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat

MARKER = "# %%"


def notebook_of(script: str) -> dict[str, Any]:
    """Return the notebook (nbformat 4) that a script's cells make."""
    cells = []
    for number, chunk in enumerate(("\n" + script).split(f"\n{MARKER}")[1:]):
        kind, _, body = chunk.partition("\n")
        if kind.strip() == "[markdown]":
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.splitlines())
            cell = nbformat.v4.new_markdown_cell(text.strip())
        else:
            cell = nbformat.v4.new_code_cell(body.strip())
        # nbformat draws random ids; the place in the script is stable and makes readable diffs.
        cell["id"] = f"cell-{number:02d}"
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def main(scripts: list[str]) -> None:
    """Write the notebook beside each script."""
    for script in map(Path, scripts):
        target = script.with_suffix(".ipynb")
        target.write_text(nbformat.writes(notebook_of(script.read_text())) + "\n")
        print(f"{script} -> {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
