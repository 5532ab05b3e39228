"""The page of a run: one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from openeo_gfmap.account import RunFolder
from openeo_gfmap.errors import InputError
from openeo_gfmap.files import whole
from openeo_gfmap.report.facts import as_json, gather

__all__ = ["write_report"]

_PARTS: Final = files("openeo_gfmap.report") / "html"
_SCRIPTS: Final = ("dom.js", "tables.js", "map.js", "charts.js", "report.js")


def write_report(
    run: RunFolder | str | Path, path: str | Path | None = None, *, clouds: bool = True
) -> Path:
    """Write a page that shows a run: what was asked and what came, where, when, and why not.

    It stands by itself: no other file and no network is needed to open it in a browser. Texts from
    outside, such as titles of jobs, are shown as text whatever is in them.

    Parameters
    ----------
    run : RunFolder or path
        The run, or its output folder; also one that goes on.
    path : path, optional
        File to write; by default ``report.html`` in the output folder. It appears whole or not at
        all.
    clouds : bool
        Open up to 60 patches, evenly chosen, to see how much of each month clouds hide.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        When the folder holds no run, or the extra ``report`` is not installed.
    """
    if not isinstance(run, RunFolder):
        with RunFolder(run) as opened:
            return write_report(opened, path, clouds=clouds)
    target = Path(path) if path is not None else run.output_dir / "report.html"
    facts = gather(run, clouds=clouds)
    text = _page({**facts, "base": _base(target, run.output_dir)}, run.output_dir.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole(target) as part:
        part.write_text(text, encoding="utf-8")
    return target


def _page(facts: dict[str, Any], title: str) -> str:
    try:
        from jinja2 import Environment, StrictUndefined  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f'the report needs more packages ({error}): pip install "openeo-gfmap[report]"'
        ) from error
    style = _text("report.css")
    script = "(() => {\n" + "\n".join(_text(name) for name in _SCRIPTS) + "})();"
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        _text("page.html.j2")
    )
    return template.render(
        title=title,
        folder=facts["folder"],
        made=facts["made"].removesuffix("+00:00").replace("T", " "),
        version=metadata.version("openeo-gfmap"),
        # Should a text ever get past the escaping, the browser still runs and loads nothing.
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}",
        style=style,
        script=script,
        land=_text("land.json"),
        facts=as_json(facts),
    )


def _base(page: Path, folder: Path) -> str | None:
    """Return the address of the output folder as seen from the page; None on another drive."""
    try:
        way = os.path.relpath(folder, page.absolute().parent)
    except ValueError:
        return None
    # Begins with a dot, so that no name is taken for the scheme of an address.
    return "./" + "".join(f"{quote(part)}/" for part in Path(way).parts)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _text(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
