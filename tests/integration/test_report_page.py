"""The report as people see it: in a real Chromium."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import geopandas as gpd
import pytest

from openeo_gfmap.launcher import running_server
from openeo_gfmap.recipes import AroundDate, Extraction, Sentinel2Patches
from openeo_gfmap.report import write_report
from support import browser as chromium
from support.browser import browser
from support.made_run import CLASSES, NASTY, make_run

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["browser"]  # the fixture

FIELDS = Path(__file__).parents[2] / "examples" / "data" / "demo_fields.gpkg"
LARGE = 500 * 20


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 10,000 samples."""
    folder = tmp_path_factory.mktemp("run <b>&amp; 'more'")
    return write_report(make_run(folder))


@pytest.fixture
def real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two patches, made on the embedded back-end."""
    monkeypatch.setenv("OPENEO_GFMAP_HOME", str(tmp_path / "home"))
    fields = gpd.read_file(FIELDS)
    wanted = fields.sample_id.isin(["flanders_013", "po_023"])
    recipe = Sentinel2Patches(period=AroundDate(before=6, after=6))
    Extraction(recipe, fields.assign(extract=wanted)).run(tmp_path / "out", poll_sleep=0.2)
    yield tmp_path / "out"
    server = running_server(tmp_path / "home")
    assert server is not None
    os.kill(server.pid, signal.SIGTERM)


@pytest.fixture
def shown(browser: Chrome, page: Path) -> Iterator[Chrome]:
    """The page, newly opened; whatever a test does, nothing is complained of."""
    chromium.resize(browser, 1280, 900)
    chromium.prefer(browser, color_scheme="light", reduced_motion="reduce")
    chromium.complaints(browser)
    browser.get(page.as_uri())
    yield browser
    assert chromium.complaints(browser) == []


def text(chrome: Chrome, identifier: str) -> str:
    return chrome.find_element("id", identifier).text


def until(look: Callable[[], Any]) -> Any:
    """Wait for something to be true; it is drawn within a frame or two."""
    end = time.monotonic() + 20
    while not (found := look()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return found


def numbers_of(page: Path) -> dict[str, Any]:
    _, _, rest = page.read_text(encoding="utf-8").partition('id="facts">')
    return json.loads(rest.partition("</script>")[0])


def type_into(chrome: Chrome, identifier: str, words: str) -> None:
    field = chrome.find_element("id", identifier)
    field.clear()
    field.send_keys(words)


class TestAtADesk:
    def test_the_account_is_the_first_thing_and_its_sums_close(
        self, shown: Chrome, page: Path
    ) -> None:
        sums = numbers_of(page)["sums"]
        assert f"{sums['received']:,} of {LARGE:,} samples received" in text(shown, "verdict")
        tiles = text(shown, "account-tiles")
        for state in ("expected", "received", "missing", "rejected"):
            assert f"{state}\n{sums[state]:,}" in tiles
        place = shown.find_element("id", "verdict").rect
        assert place["y"] + place["height"] < 400

    def test_errors_come_with_advice_and_lead_to_their_jobs(
        self, shown: Chrome, page: Path
    ) -> None:
        for error in numbers_of(page)["errors"]:
            assert error["advice"] in text(shown, "errors")
        first = numbers_of(page)["errors"][0]
        shown.find_element("css selector", "#errors button.plain").click()
        assert text(shown, "job-count") == f"{first['jobs']} of 500 jobs shown"
        assert "gfmap retry '" in text(shown, "next-steps")  # the folder's name is quoted

    def test_filters_change_what_is_counted_and_listed(self, shown: Chrome, page: Path) -> None:
        sums = numbers_of(page)["sums"]
        assert text(shown, "filter-count") == "10,000 of 10,000 samples shown"
        shown.find_element("css selector", "#filter-states label.received").click()
        lacking = LARGE - sums["received"]
        assert text(shown, "filter-count") == f"{lacking:,} of 10,000 samples shown"
        assert "received" not in text(shown, "samples-table")
        shown.find_element("css selector", "#filter-states label.missing").click()
        assert text(shown, "filter-count") == f"{sums['rejected']:,} of 10,000 samples shown"
        type_into(shown, "filter-text", "no such sample")
        assert text(shown, "filter-count") == "0 of 10,000 samples shown"
        assert "Nothing to show." in text(shown, "samples-table")
        shown.find_element("css selector", "#filters button[type=reset]").click()
        until(lambda: text(shown, "filter-count") == "10,000 of 10,000 samples shown")

    def test_a_class_leads_to_its_samples(self, shown: Chrome, page: Path) -> None:
        classes = numbers_of(page)["classes"]
        assert {each["label"] for each in classes} == {*CLASSES, NASTY}
        assert sum(each["expected"] for each in classes) == LARGE
        shown.find_element("xpath", "//section[@id='classes']//button[.='hop']").click()
        hop = next(each for each in classes if each["label"] == "hop")
        assert text(shown, "filter-count") == f"{hop['expected']} of 10,000 samples shown"

    def test_a_click_on_the_map_shows_details(self, shown: Chrome) -> None:
        type_into(shown, "filter-text", "2021_0001_02")
        assert text(shown, "filter-count") == "1 of 10,000 samples shown"
        shown.find_element("id", "zoom-fit").click()  # it is in the middle now
        self.click_the_middle(shown)
        until(lambda: "2021_0001_02" in text(shown, "details"))
        details = text(shown, "details")
        assert "received" in details and "2021/1/2.nc" in details and "job 1" in details
        link = shown.find_element("css selector", "#details a")
        assert link.get_attribute("href").endswith("/2021/1/2.nc")
        shown.find_element("css selector", "#details button.plain").click()
        assert text(shown, "details").startswith("Job 1\n")

    def click_the_middle(self, chrome: Chrome) -> None:
        canvas = chrome.find_element("id", "canvas")
        # Else the driver clicks in the middle of the part that is in the window.
        chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        self.settle(chrome)
        canvas.click()

    @staticmethod
    def settle(chrome: Chrome) -> None:
        """Wait until what was asked for is drawn."""
        chrome.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));"
        )

    def test_a_group_on_the_map_tells_what_is_in_it(self, shown: Chrome) -> None:
        type_into(shown, "filter-text", "2021_0012_")  # a job
        shown.find_element("id", "zoom-fit").click()
        for _ in range(12):
            shown.find_element("id", "zoom-out").click()
        self.click_the_middle(shown)
        until(lambda: text(shown, "details").startswith("20 samples"))
        shown.find_element("xpath", "//aside[@id='details']//button[.='Zoom to them']").click()

    def test_the_map_is_used_with_keys_alone(self, shown: Chrome) -> None:
        from selenium.webdriver import ActionChains, Keys

        shown.execute_script("document.getElementById('canvas').focus()")
        before = self.picture(shown)
        for key in ("+", Keys.ARROW_LEFT, "-"):
            ActionChains(shown).send_keys(key).perform()
            self.settle(shown)
            after = self.picture(shown)
            assert after != before, key
            before = after
        ActionChains(shown).send_keys("n").perform()
        first = until(lambda: shown.find_element("css selector", "#details h3").text)
        ActionChains(shown).send_keys("n").perform()
        until(lambda: shown.find_element("css selector", "#details h3").text != first)
        ActionChains(shown).send_keys("p").perform()
        until(lambda: shown.find_element("css selector", "#details h3").text == first)
        ActionChains(shown).send_keys("0").send_keys(Keys.ENTER).perform()
        until(lambda: shown.find_element("css selector", "#details h3").text != first)

    @staticmethod
    def picture(chrome: Chrome) -> str:
        return str(chrome.execute_script("return document.getElementById('canvas').toDataURL()"))

    def test_all_controls_are_reached_by_tab_and_named(self, shown: Chrome) -> None:
        from selenium.webdriver import ActionChains, Keys

        reached = []
        for _ in range(30):
            ActionChains(shown).send_keys(Keys.TAB).perform()
            element = shown.switch_to.active_element
            assert element.accessible_name, element.get_attribute("outerHTML")
            reached.append(element.get_attribute("href") or element.get_attribute("id"))
        assert reached[0].endswith("#main")  # the way past the navigation
        assert "theme" in reached
        unnamed = [
            each.get_attribute("outerHTML")
            for each in shown.find_elements("css selector", "button, select, input, canvas")
            if each.is_displayed() and not each.accessible_name
        ]
        assert unnamed == []

    def test_a_table_is_sorted_and_turned_over(self, shown: Chrome, page: Path) -> None:
        dearest = max(cost for cost in numbers_of(page)["jobs"]["costs"] if cost)
        header = shown.find_element("xpath", "//div[@id='jobs-table']//th[button='Costs']")
        header.find_element("css selector", "button").click()
        assert header.get_attribute("aria-sort") == "descending"
        first = shown.find_element("css selector", "#jobs-table tbody tr").text
        row = numbers_of(page)["jobs"]["costs"].index(dearest)
        assert first.startswith(f"job {row} ")
        shown.find_element("xpath", "//div[@id='jobs-table']//button[.='Next']").click()
        assert "Page 2 of 20" in text(shown, "jobs-table")

    @pytest.mark.parametrize(
        ("table", "column", "key", "heading"),
        [("slowest", "Time", "seconds", "Slowest jobs"), ("costliest", "Costs", "costs", "Costl")],
    )
    def test_the_jobs_that_took_most_come_first(
        self, shown: Chrome, page: Path, table: str, column: str, key: str, heading: str
    ) -> None:
        jobs = numbers_of(page)["jobs"]
        spent = {row: value for row, value in enumerate(jobs[key]) if value}
        most = sorted(spent, key=lambda row: -spent[row])[:8]
        box = shown.find_element("id", table)
        assert box.find_element("xpath", "..").text.startswith(heading)
        assert [each.text for each in box.find_elements("css selector", "thead th")] == [
            "Job", "Back-end", "Samples", column,
        ]  # fmt: skip
        rows = [each.text for each in box.find_elements("css selector", "tbody tr")]
        for text_of_row, row in zip(rows, most, strict=True):
            amount = spent[row] / 60 if key == "seconds" else spent[row]
            backend = "cdse" if row % 3 else "terrascope"
            told = re.fullmatch(rf"job {row} {backend} 20 ([\d.]+)( min)?", text_of_row)
            assert told is not None, text_of_row
            assert float(told[1]) == pytest.approx(amount, abs=0.51)
            assert bool(told[2]) == (key == "seconds")
        box.find_element("css selector", "tbody button").click()
        assert text(shown, "details").startswith(f"Job {most[0]}\n")

    def test_texts_from_outside_stay_texts(self, shown: Chrome, page: Path) -> None:
        assert shown.title == f"{page.parent.name}: report of a run"
        assert shown.find_elements("css selector", "body img") == []
        names = [each.text for each in shown.find_elements("css selector", "#samples-table button")]
        assert any("</script><img src=x onerror=" in name and "{{ 7*7 }}" in name for name in names)
        assert "onerror=" in text(shown, "asked-body")


def test_a_real_run_is_shown(browser: Chrome, real_run: Path) -> None:
    browser.get(write_report(real_run).as_uri())
    chromium.resize(browser, 1280, 900)
    assert text(browser, "verdict").startswith("All 2 samples received")
    assert "gfmap preview" in text(browser, "next-steps") and not text(browser, "errors")
    table = text(browser, "samples-table")
    assert "flanders_013" in table and "po_023" in table
    assert "Hidden by clouds" in text(browser, "dates-body")
    assert "Clouds: as the scene classification of 2 patches has them." in text(
        browser, "dates-body"
    )
    assert "python" in text(browser, "asked-body") and "parallel jobs" in text(
        browser, "asked-body"
    )
    browser.find_element("xpath", "//div[@id='samples-table']//button[.='po_023']").click()
    link = browser.find_element("css selector", "#details a").get_attribute("href")
    assert Path(unquote(urlparse(link).path)).is_file()
    assert chromium.complaints(browser) == []


class TestElsewhere:
    def test_nothing_is_wider_than_a_phone(self, shown: Chrome) -> None:
        chromium.resize(shown, 360, 780, phone=True)
        shown.refresh()
        widths = shown.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert widths == [360, 360]
        size = shown.execute_script("return getComputedStyle(document.body).fontSize")
        assert float(size.removesuffix("px")) >= 14
        small = [
            each.accessible_name
            for each in shown.find_elements("css selector", "button:not(.plain), select")
            if each.is_displayed() and not each.find_elements("xpath", "ancestor::thead")
            and each.rect["height"] < 32
        ]  # fmt: skip
        assert small == []

    def test_dark_is_what_the_user_prefers_or_asks_for(self, shown: Chrome) -> None:
        def ground() -> str:
            return str(
                shown.execute_script("return getComputedStyle(document.body).backgroundColor")
            )

        light, picture = ground(), TestAtADesk.picture(shown)
        chromium.prefer(shown, color_scheme="dark")
        dark = until(lambda: ground() != light and ground())
        assert sum(json.loads(f"[{dark[4:-1]}]")) < 150 < sum(json.loads(f"[{light[4:-1]}]"))
        until(lambda: TestAtADesk.picture(shown) != picture)  # the map, too
        shown.find_element("id", "theme").click()
        assert ground() == light

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_texts_stand_out_from_their_ground(self, shown: Chrome, scheme: str) -> None:
        """WCAG AA: 4.5 to 1."""
        chromium.prefer(shown, color_scheme=scheme)
        shown.refresh()
        assert shown.execute_script(CONTRASTS) == []

    def test_paper_gets_what_can_be_read_on_it(self, shown: Chrome) -> None:
        chromium.resize(shown, 720, 1000)  # about what is left of A4
        shown.find_element("id", "theme").click()  # dark, on the screen
        chromium.put_media(shown, "print")
        try:
            shows = shown.execute_script(PRINTED)
        finally:
            chromium.put_media(shown, "")
        assert shows["hidden"] == []
        assert shows["visible"] == []
        assert shows["cut"] == []
        assert shows["ink"] < 60  # of 255: dark on white
        assert shows["ground"] == "rgba(0, 0, 0, 0)"

    def test_a_dark_page_is_printed_light(self, shown: Chrome) -> None:
        shown.find_element("id", "theme").click()
        dark = TestAtADesk.picture(shown)
        shown.execute_script(
            "addEventListener('beforeprint', () => { window.printed ="
            " [document.documentElement.dataset.theme,"
            "  document.getElementById('canvas').toDataURL()]; });"
        )
        pdf = base64.b64decode(shown.execute_cdp_cmd("Page.printToPDF", {})["data"])
        assert pdf.startswith(b"%PDF-")
        assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
        theme, picture = shown.execute_script("return window.printed")
        assert theme == "light"
        assert picture != dark
        assert shown.execute_script("return document.documentElement.dataset.theme") == "dark"
        assert TestAtADesk.picture(shown) == dark  # as it was
        shown.find_element("id", "theme").click()
        assert TestAtADesk.picture(shown) == picture

    def test_nothing_is_asked_of_the_network(self, shown: Chrome) -> None:
        loaded = shown.execute_script(
            "return performance.getEntriesByType('resource').map((each) => each.name)"
        )
        assert loaded == []


#: What a page that is laid out for paper shows and should not, does not and should, or cuts off.
PRINTED = """
const seen = (query) =>
  [...document.querySelectorAll(query)].filter((each) => each.checkVisibility());
const wide = document.documentElement.clientWidth;
return {
  hidden: ["#verdict", "#account-tiles", "#next-steps", "#errors", "#reasons", "#canvas",
    "#samples-table tbody", "#classes-body", ".months", "#slowest tbody", "#costliest tbody",
    "#jobs-table tbody", "#asked-body", "footer"].filter((query) => !seen(query).length),
  visible: ["nav", "#theme", ".filters", ".map-buttons", "#map-keys", ".pager button", ".skip",
    "#errors button", "#details"].filter((query) => seen(query).length),
  cut: seen(".scroll, .scrolling, .months, .card, .map, table").filter((each) =>
    each.getBoundingClientRect().right > wide + 1
    || getComputedStyle(each).overflowX === "auto").map((each) => each.outerHTML.slice(0, 80)),
  ink: Math.max(...getComputedStyle(document.body).color.match(/\\d+/g).map(Number)),
  ground: getComputedStyle(document.body).backgroundColor,
};
"""

#: Texts with less contrast than 4.5 to what they stand on.
CONTRASTS = """
const channel = (c) => (c /= 255, c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const parts = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (text) => {
  const [r, g, b] = parts(text);
  return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
};
const ground = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const colour = getComputedStyle(each).backgroundColor;
    if (parts(colour)[3] !== 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
return [...document.querySelectorAll("body *:not(script):not(option)")].filter((element) =>
  [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
  && element.checkVisibility() && !element.closest("svg, :disabled")
).map((element) => {
  const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return contrast < 4.5 ? `${element.outerHTML.slice(0, 90)}: ${contrast.toFixed(2)}` : null;
}).filter(Boolean);
"""
