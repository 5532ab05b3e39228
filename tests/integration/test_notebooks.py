"""The notebook of recipes, executed in a kernel; and what its cells show while a run goes on."""

from __future__ import annotations

import importlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import nbclient
import nbformat
import pytest

from openeo_gfmap.launcher import running_server

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "recipes.ipynb"


@dataclass
class Executed:
    """A notebook that was executed, and the updates of what was shown: the cell that ran, text."""

    notebook: Any = None
    updates: list[tuple[int, str]] = field(default_factory=list)

    def cell(self, start: str) -> Any:
        return next(c for c in self.notebook.cells if c.source.splitlines()[-1].startswith(start))


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("notebook")
    home = tmp_path_factory.mktemp("home")
    fields = gpd.read_file(ROOT / "examples" / "data" / "demo_fields.gpkg")
    wanted = fields.index[fields.extract][:2]
    fields.assign(extract=fields.index.isin(wanted)).to_file(folder / "fields.gpkg")
    found = Executed(nbformat.read(NOTEBOOK, as_version=4))

    class Client(nbclient.NotebookClient):
        def process_message(self, message: Any, cell: Any, index: int) -> Any:
            if message["msg_type"] == "update_display_data":
                found.updates.append((index, message["content"]["data"]["text/plain"]))
            return super().process_message(message, cell, index)

    client = Client(found.notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(
        env={
            **os.environ,
            "OPENEO_GFMAP_HOME": str(home),
            "GFMAP_SAMPLES": str(folder / "fields.gpkg"),
        }
    )
    yield found
    if (server := running_server(home)) is not None:
        os.kill(server.pid, signal.SIGTERM)


def test_the_notebook_is_made_from_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    made = importlib.import_module("make_notebook").notebook_of(
        NOTEBOOK.with_suffix(".py").read_text()
    )
    kept = nbformat.read(NOTEBOOK, as_version=4)
    assert made == kept, "run: python tools/make_notebook.py examples/recipes.py"


def test_a_cell_that_ends_in_the_run_keeps_itself_up_to_date(executed: Executed) -> None:
    """The cell returns at once; what it shows is changed while later cells run, to the very end."""
    index = executed.notebook.cells.index(executed.cell("run"))
    texts = [text for _, text in executed.updates]
    assert len(set(texts)) >= 3
    assert any(text.startswith("<Run running") for text in texts)
    assert any(cell > index for cell, _ in executed.updates)
    (shown,) = executed.notebook.cells[index].outputs
    assert "Run ended" in shown.data["text/html"]
    assert "2 of 2 received" in shown.data["text/html"]
    assert shown.data["text/plain"] == texts[-1]


def test_each_step_shows_what_it_made(executed: Executed) -> None:
    assert "AroundDate(before 45, after 45)" in executed.cell("recipe").outputs[0].data["text/html"]
    assert "sentinel2-patches" in executed.cell("extraction.plan").outputs[0].data["text/html"]
    assert executed.cell("run.join").outputs[0].data["text/plain"] == "{'finished': 1}"
    account = executed.cell("account").outputs[0].data["text/html"]
    assert "2 of 2 samples received" in account
    pictures = [c for c in executed.notebook.cells if c.source.splitlines()[-1].startswith("Image")]
    assert [bool(c.outputs[0].data["image/png"]) for c in pictures] == [True, True]
    assert "2021-05" in executed.cell("ndvi").outputs[0].data["text/plain"]
