"""The page of a run: one HTML file that needs no network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from openeo_gfmap.account import RunFolder
from openeo_gfmap.errors import InputError
from openeo_gfmap.report.facts import as_json, gather

__all__ = ["write_report"]

_PARTS: Final = files("openeo_gfmap.report") / "html"


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
    try:
        from jinja2 import Environment, StrictUndefined  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f'the report needs more packages ({error}): pip install "openeo-gfmap[report]"'
        ) from error
    facts = gather(run, clouds=clouds)
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_text("page.html"))
    text = page.render(
        title=facts["title"],
        style=_text("report.css"),
        scripts=[_text(name) for name in ("draw.js", "map.js", "tables.js", "report.js")],
        land=_text("land.json"),
        facts=as_json(facts),
    )
    target = Path(path) if path is not None else run.output_dir / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(target)
    return target


def _text(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
