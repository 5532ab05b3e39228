"""What objects show of themselves in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from openeo_gfmap.manager.costs import Costs
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.manager.ledger import Sums
from openeo_gfmap.manager.model import Job, JobStatus
from openeo_gfmap.manager.notebook import show_live
from openeo_gfmap.manager.progress import Progress
from openeo_gfmap.recipes import Sentinel2Patches
from openeo_gfmap.utils.html import facts_table, settings_table, told

EVIL = "<script>alert('&\"')</script>"


class Page(HTMLParser):
    """Texts of a page; checks that its tags are closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_all_texts_are_escaped(tmp_path: Path) -> None:
    manager = GFMAPJobManager(tmp_path, lambda root_folder, geometry_index, row: "x", EVIL)
    manager.add_backend(EVIL, lambda: None, 3)  # type: ignore[arg-type,return-value]
    shown = [
        facts_table([(EVIL, EVIL)], EVIL),
        Progress(message=EVIL).html(EVIL),
        Job(0, message=EVIL, title=EVIL)._repr_html_(),
        Sentinel2Patches(path="{sample_id}<script>.nc")._repr_html_(),
        manager._repr_html_(),
    ]
    for html in shown:
        page = Page(html)
        assert "script" not in page.tags
        assert "<script>" in "".join(page.texts)
        assert "background" not in html and "color" not in html  # those of the notebook's theme


def test_progress_has_what_the_terminal_has() -> None:
    progress = Progress(
        counts={JobStatus.FINISHED: 3, JobStatus.ERROR: 1, JobStatus.RUNNING: 2},
        samples=Sums(received=1200, missing=40, open=760),
        new_samples=600,
        new_jobs=2,
        seconds=600,
        costs=Costs(spent=12.5, limit=100),
        message="The disk is nearly full.\nOne back-end is away.",
    )
    page = Page(progress._repr_html_())
    text = "|".join(page.texts)
    for part in (
        "4 of 6 jobs done", "3 finished", "1 error", "1,200 of 2,000 received", "40 missing",
        "60.0 a minute", "12.5 of at most 100", "The disk is nearly full.", "One back-end is away.",
    ):  # fmt: skip
        assert part in text
    assert "progress" in page.tags


def test_settings_that_are_not_as_usual_are_marked() -> None:
    texts = Page(settings_table(Sentinel2Patches(size=32, composite="month"), "r")).texts
    assert texts[texts.index("size") : texts.index("size") + 3] == ["size", "32", "set"]
    assert texts[texts.index("composite") : texts.index("composite") + 3][1:] == ["month", "set"]
    assert texts.count("set") == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "yes"),
        ((), "none"),
        (("a", 1), "a, 1"),
        (tuple(range(14)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, and 2 more"),
        ({"a": (1, 2)}, "a: 1, 2"),
    ],
)
def test_values_are_told_in_words(value: object, text: str) -> None:
    assert told(value) == text


def test_outside_of_a_notebook_there_is_nothing_live() -> None:
    with pytest.raises(NotImplementedError):
        show_live(lambda: "", lambda: "", lambda seconds: True)
