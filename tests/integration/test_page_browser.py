"""The page at ``/`` in a real Chromium, on a real server with real jobs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openeo
import pytest

from support.browser import browser, complaints, prefer, resize  # noqa: F401
from support.service import ADD, ServerProcess, ended, wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

HERE = {"west": 5.0, "south": 51.2, "east": 5.004, "north": 51.203}
TITLE = "Small <img src=x onerror=alert(1)>"
WAIT = openeo.UDF(
    "import time\n"
    "def apply_datacube(cube, context):\n"
    "    time.sleep(60)\n"
    "    return cube\n"
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("home") / "state"
    server = ServerProcess(home, "--parallel-jobs", "2").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def connection(server: ServerProcess) -> openeo.Connection:
    return server.connect()


@pytest.fixture(scope="module")
def job(connection: openeo.Connection) -> openeo.BatchJob:
    """A job with a picture for a result, and a title that is no text but to this page."""
    job = load(connection).create_job(out_format="NetCDF", title=TITLE)
    job.start()
    assert ended(job) == "finished", job.logs()
    return job


@pytest.fixture
def page(browser: Chrome, server: ServerProcess) -> Page:  # noqa: F811
    resize(browser, 1280, 900)
    return Page(browser, server)


def load(connection: openeo.Connection) -> openeo.DataCube:
    return connection.load_collection(
        "SENTINEL2_L2A", spatial_extent=HERE, temporal_extent=["2021-05-01", "2021-05-10"],
        bands=["B02", "B03", "B04"],
    )  # fmt: skip


class Page:
    """What a person does on the page."""

    def __init__(self, chrome: Chrome, server: ServerProcess):
        self.chrome = chrome
        self.server = server

    def open(self, view: str = "", *, signed_in: bool = True) -> Page:
        # From another page of the origin, which runs no script.
        self.chrome.get(f"{self.server.known['url']}/page/icon.svg")
        complaints(self.chrome)
        self.run("sessionStorage.clear()")
        if signed_in:
            token = self.server.connect().auth.bearer.removeprefix("basic//")
            self.run("sessionStorage.setItem('openeo-gfmap-token', arguments[0])", token)
        self.chrome.get(f"{self.server.known['url']}/{view}")
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        return self.chrome.execute_script(script, *arguments)

    @property
    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def shows(self, *texts: str) -> None:
        wait_for(lambda: all(t in self.text for t in texts), 20, lambda: f"{texts} in: {self.text}")

    def until(self, script: str, *arguments: Any) -> Any:
        found: list[Any] = []

        def look() -> bool:
            found[:] = [self.run(script, *arguments)]
            return bool(found[0])

        wait_for(look, 20, lambda: f"{script} on: {self.text}")
        return found[0]

    def click(self, label: str, within: str = "body") -> None:
        self.until(
            "const [label, within] = arguments;"
            "const all = document.querySelectorAll(`${within} :is(a, button, summary)`);"
            "const found = [...all].find((each) => each.checkVisibility()"
            " && each.innerText.trim().startsWith(label));"
            "found?.click(); return Boolean(found)",
            label, within,
        )  # fmt: skip

    def keys(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.chrome).send_keys(*keys).perform()

    @property
    def focus(self) -> str:
        return str(self.run("return document.activeElement.innerText || document.activeElement.id"))


class TestSigningIn:
    def test_with_user_and_password_by_keyboard(self, page: Page) -> None:
        from selenium.webdriver.common.keys import Keys

        page.open(signed_in=False).shows("Sign in", "server.json")
        assert page.focus == "password"
        page.keys("wrong", Keys.ENTER)
        page.shows("User or password is wrong")
        page.keys(page.server.known["password"], Keys.ENTER)  # what was there is selected
        page.shows("Jobs", "at work")
        kept = page.run("return [localStorage.length, document.cookie, location.href]")
        assert kept == [0, "", f"{page.server.known['url']}/"]
        page.chrome.refresh()
        page.shows("Jobs", "at work")
        page.click("Sign out")
        page.shows("Sign in")
        assert page.run("return sessionStorage.length") == 0
        # The browser itself notes the answer 403 to the wrong password.
        messages = [each["message"] for each in complaints(page.chrome)]
        assert all("credentials/basic" in each for each in messages), messages

    def test_with_a_link_that_is_used_up(
        self, page: Page, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """As ``gfmap serve`` prints it."""
        with _serving(tmp_path_factory.mktemp("served") / "state") as link:
            page.chrome.get(link)
            page.shows("Jobs", "No jobs yet")
            assert "login" not in page.run("return location.href")
            page.run("sessionStorage.clear()")
            page.chrome.get("about:blank")
            page.chrome.get(link)
            page.shows("Sign in", "has been used or is over")
        complaints(page.chrome)


class TestJobs:
    def test_the_list(self, page: Page, job: openeo.BatchJob) -> None:
        page.open().shows(TITLE, job.job_id, "finished", "just now")
        assert page.run("return document.images.length") == 0
        page.click("error")
        page.shows("No job here is like that")
        page.click("all")
        page.run(
            "const field = document.querySelector('[type=search]'); field.value = 'sMALl';"
            "field.dispatchEvent(new Event('input'))"
        )
        page.shows(TITLE)
        assert complaints(page.chrome) == []

    def test_a_job(self, page: Page, job: openeo.BatchJob) -> None:
        page.open().click("Small")
        page.shows(TITLE, "load_collection", "SENTINEL2_L2A", "← loadcollection1", "openEO.nc")
        page.shows(*(entry["message"] for entry in job.logs()))
        drawn = page.until(
            "const image = document.querySelector('.picture img');"
            "return image?.complete && image.naturalWidth > 0 && image.alt"
        )
        assert drawn == "Preview of openEO.nc"
        href = page.run("return document.querySelector('.results a').href")
        status, _, body = page.server.request("GET", href.removeprefix(page.server.known["url"]))
        assert status == 200 and body[1:4] == b"HDF"
        page.click("As JSON")
        assert json.loads(
            page.run("return document.querySelector('details[open] pre').textContent")
        )
        assert complaints(page.chrome) == []

    def test_from_creation_to_the_result_without_a_reload(
        self, page: Page, connection: openeo.Connection
    ) -> None:
        page.open().shows("Jobs", "at work")
        sum_job = connection.create_job(ADD, title="Three and five")
        page.shows("Three and five", "created")
        page.click("Three and five")
        page.click("Start", ".actions")
        page.shows("finished", "The job finished")
        page.click("Show", ".results")
        page.until("return document.querySelector('.file pre').textContent.trim() === '8'")
        page.click("Delete", ".actions")
        page.shows("Delete this job?")
        page.click("Keep it", "dialog")
        page.click("Delete", ".actions")
        page.click("Delete", "dialog")
        page.until("return location.hash === '#/jobs'")
        wait_for(lambda: sum_job.job_id not in page.text, 20)
        assert complaints(page.chrome) == []

    def test_progress_workers_queue_and_cancelling(
        self, page: Page, connection: openeo.Connection
    ) -> None:
        jobs = [
            load(connection).apply(WAIT).create_job(
                out_format="NetCDF", title=f"Slow {n}", job_options={"queue": "nightly"}
            )
            for n in range(3)
        ]  # fmt: skip
        for job in jobs:
            job.start()
        try:
            page.open().shows("2 of at most 2 jobs at work", "1 queued", "next in the queue")
            page.shows("queue nightly", "0 %", "processes", "GiB")
            page.until("return document.querySelectorAll('progress').length >= 2")
            page.click("Slow 0")
            page.shows("at work for", "of CPU", "The job starts.")
            page.click("Cancel", ".actions")
            page.click("Cancel the job", "dialog")
            page.shows("canceled", "Start again")
            assert jobs[0].status() == "canceled"
        finally:
            for job in jobs:
                job.delete()
        assert complaints(page.chrome) == []

    def test_why_a_job_failed(self, page: Page, connection: openeo.Connection) -> None:
        cube = connection.load_collection(
            "SENTINEL2_L2A", spatial_extent=HERE, temporal_extent=["2013-05-01", "2013-06-01"],
            bands=["B02"],
        )  # fmt: skip
        job = cube.create_job(out_format="NetCDF", title="Too early")
        job.start()
        assert ended(job) == "error"
        page.open(f"#/jobs/{job.job_id}").shows("Too early")
        page.until(
            "const told = document.querySelector('.problem');"
            "return !told.hidden && told.textContent.includes('has no scenes')"
        )
        page.run(
            "const level = document.querySelector('select'); level.value = 'error';"
            "level.dispatchEvent(new Event('change'))"
        )
        page.shows("1 entry of")
        assert "The job starts." not in page.text
        assert complaints(page.chrome) == []

    def test_a_job_that_is_not_there(self, page: Page) -> None:
        page.open("#/jobs/j-none").shows("There is no batch job 'j-none'")
        complaints(page.chrome)


def test_collections(page: Page) -> None:
    page.open("#/collections").click("SENTINEL2_L2A")
    page.shows("B8A", "uint16", "connection.load_collection(", "No satellite has seen these pixels")
    assert complaints(page.chrome) == []


def test_the_server_may_go_and_come_back(page: Page) -> None:
    page.open().shows("Jobs", "at work")
    page.server.stop()
    try:
        page.shows("The server does not answer")
    finally:
        page.server.start()
    page.until("return document.getElementById('trouble').hidden")
    page.shows("at work")
    complaints(page.chrome)


@pytest.mark.parametrize("view", ["", "#/jobs/{}", "#/collections/SENTINEL2_L2A"])
def test_phone_and_dark(page: Page, job: openeo.BatchJob, view: str) -> None:
    resize(page.chrome, 360, 740, phone=True)
    page.open(view.format(job.job_id)).shows("at work")
    time.sleep(0.3)
    wide, deep = page.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= deep == 360
    light = page.run("return getComputedStyle(document.body).backgroundColor")
    prefer(page.chrome, color_scheme="dark")
    try:
        dark = page.run("return getComputedStyle(document.body).backgroundColor")
        assert _brightness(dark) < 60 < 200 < _brightness(light)
    finally:
        prefer(page.chrome, color_scheme="light")


def test_all_can_be_reached_by_keyboard(page: Page, job: openeo.BatchJob) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open().shows(TITLE)
    reached = []
    for _ in range(16):
        page.keys(Keys.TAB)
        reached.append(page.focus.strip())
    assert reached[0] == "Skip to the content"
    assert {"Jobs", "Collections", "Sign out", TITLE} <= set(reached)
    assert any(text.startswith("finished") for text in reached)
    page.run("document.querySelector('.jobs a').focus()")
    page.keys(Keys.ENTER)
    page.shows("All jobs")


def _brightness(colour: str) -> float:
    numbers = [float(n) for n in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(numbers) / 3


@contextmanager
def _serving(home: Path) -> Iterator[str]:
    """Run ``gfmap serve`` on a terminal of its own, 80 columns wide; the link that it prints."""
    leader, follower = pty.openpty()
    program = "from openeo_gfmap.cli import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", "--home", home],
        stdin=follower, stdout=follower, stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(follower)
    seen = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while chunk := os.read(leader, 4096):
                seen.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    pattern = re.compile(rb"(http://\S+#login=[\w-]+)\s")
    try:
        wait_for(lambda: pattern.search(seen), 30, lambda: bytes(seen).decode())
        found = pattern.search(seen)
        assert found is not None
        yield found.group(1).decode()
    finally:
        process.terminate()
        process.wait(30)
        reader.join()
        os.close(leader)
