"""What the documents say must hold: links, names of code, environment variables, Python blocks."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest
import typer

from openeo_gfmap.cli import app
from openeo_gfmap.cli.config import SECTIONS
from openeo_gfmap.cli.settings_file import variable
from openeo_gfmap.local.settings import PREFIX, Settings
from support.documents import DOCUMENTS, ROOT, blocks_of, named

# Where programs of this repository read their environment.
CODE = ("src/**/*.py", "examples/*.py", "tests/**/*.py", "tools/*.py", "Makefile")

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_NAME = re.compile(r"`(openeo_gfmap(?:\.\w+)+)(?:\(\))?`")
_VARIABLE = re.compile(r"\b(?:OPENEO_)?GFMAP_[A-Z_]+")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def prose(document: Path) -> str:
    """Return a document without its code blocks."""
    return _BLOCK.sub("", document.read_text(encoding="utf-8"))


def headings(document: Path) -> set[str]:
    """Return the anchors that a document's headings get where it is shown."""
    lines = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@cache
def code() -> str:
    files = [path for pattern in CODE for path in sorted(ROOT.glob(pattern))]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", link):
            continue  # on the web; tests use no network
        path, _, anchor = unquote(link).partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_names_of_code_exist(document: Path) -> None:
    for name in _NAME.findall(prose(document)):
        parts = name.split(".")
        found: object = importlib.import_module(parts[0])
        for depth, part in enumerate(parts[1:], start=2):
            if not hasattr(found, part):
                found = importlib.import_module(".".join(parts[:depth]))
            else:
                found = getattr(found, part)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_environment_variables_are_read_somewhere(document: Path) -> None:
    settings = {PREFIX + field.name.upper() for field in dataclasses.fields(Settings)}
    for name in _VARIABLE.findall(document.read_text(encoding="utf-8")):
        # The last part of some is the name of a back-end, put in by the code.
        stem = re.sub(r"_(CDSE|CDSE_STAGING|VITO|EODC|FED)$", "_", name)
        of_run = any(name.startswith(variable(s, "")) for s in SECTIONS)
        assert name in settings or of_run or stem in code(), name


def test_all_settings_are_documented() -> None:
    text = (ROOT / "docs" / "local-backend.md").read_text(encoding="utf-8")
    missing = [
        field.name
        for field in dataclasses.fields(Settings)
        if f"`{PREFIX}{field.name.upper()}`" not in text
    ]
    assert not missing


def test_all_statuses_are_documented() -> None:
    from openeo_gfmap.manager.model import JobStatus

    text = (ROOT / "docs" / "running-jobs.md").read_text(encoding="utf-8")
    assert [s.shown for s in JobStatus if f"`{s.shown}`" not in text] == []


@pytest.fixture
def draw_lifecycle(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("draw_lifecycle")


def test_the_life_of_a_job_is_drawn_from_the_code(draw_lifecycle: ModuleType) -> None:
    text = (ROOT / "docs" / "life-of-a-job.md").read_text(encoding="utf-8")
    command = "python tools/draw_lifecycle.py docs/life-of-a-job.md"
    assert draw_lifecycle.page_of(text) == text, f"run: {command}"


def test_every_change_of_state_is_in_the_drawing(draw_lifecycle: ModuleType) -> None:
    """Arrows of a box stand for those of its states: none is left out, and none is made up."""
    from openeo_gfmap.manager.lifecycle import TRANSITIONS

    boxes = {name: set(states) for name, (_, states) in draw_lifecycle.BOXES.items()}
    drawn = set()
    for (source, target), events in draw_lifecycle.edges().items():
        named = {draw_lifecycle.name(state) for state in boxes.get(source, ())} or {source}
        drawn |= {(state, event, target) for state in named for event in events}
    there = boxes["there"]
    changes = {
        (draw_lifecycle.name(state), event, draw_lifecycle.name(target))
        for state, event, target in draw_lifecycle.transitions()
        if state is not target and not {state, target} <= there
    }
    within = {change for change in drawn if change[1] == "Seen"}
    assert drawn - within == changes
    assert {state for change in within for state in change[::2]} == set(map(str, there))
    assert {state for state, *_ in draw_lifecycle.transitions()} | {
        state for state, events in TRANSITIONS.items() if not events
    } == set(TRANSITIONS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_code_blocks_can_be_read(document: Path) -> None:
    for block in blocks_of(document):
        if block.language == "python":
            ast.parse(block.code, document.name)
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "json":
            json.loads(block.code)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_commands_take_the_options_they_are_shown_with(document: Path) -> None:
    """Also those that no test runs, because they serve until Ctrl-C or need a cluster."""
    command = typer.main.get_command(app)
    for block in blocks_of(document):
        if block.language not in {"sh", "console"}:
            continue
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["gfmap"] and len(words) > 1:
                name, *arguments = words[1:]
                found = command.commands[name]  # type: ignore[attr-defined]
                found.make_context(name, arguments, resilient_parsing=False).close()


def test_documents_are_reachable_from_the_indexes() -> None:
    """A document that no other one links to is not found by anybody."""
    linked = {
        (document.parent / unquote(link).partition("#")[0]).resolve()
        for document in DOCUMENTS
        for link in _LINK.findall(document.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", link)
    }
    assert [named(d) for d in DOCUMENTS[1:] if d not in linked and d.name != "README.md"] == []
