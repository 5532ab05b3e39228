"""A real Chromium without a window, for tests of pages; they skip where there is none.

Fixtures: import `browser` into the module (or conftest) of a test that wants it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    # Nothing of its own on the network.
    "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_DESKTOP = (1280, 900)


def chromium() -> tuple[str, str]:
    """Return the programs, Chromium and its driver; skips the test where one is absent."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if not all(found):
        pytest.skip("Chromium and chromedriver are not installed (apt-get install chromium-driver)")
    return str(found[0]), str(found[1])


@contextmanager
def open_browser(profile: Path) -> Iterator[Chrome]:
    """Start a Chromium with a new profile; its log keeps all that pages say."""
    program, driver = chromium()
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    try:
        resize(chrome, *_DESKTOP)
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One Chromium for the tests of a module."""
    with open_browser(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


def resize(chrome: Chrome, width: int, height: int, *, phone: bool = False) -> None:
    """Give the page that many CSS pixels: narrower than a window can be, too."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(chrome: Chrome, **features: str) -> None:
    """Say what the user prefers: ``prefer(chrome, color_scheme="dark")``; nothing undoes it."""
    wanted = [
        {"name": f"prefers-{name.replace('_', '-')}", "value": value}
        for name, value in features.items()
    ]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})


def put_media(chrome: Chrome, media: str) -> None:
    """Lay pages out for "print" or "screen"; "" undoes it."""
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})


def complaints(chrome: Chrome) -> list[dict[str, Any]]:
    """Return warnings and errors that pages wrote to the console since this was last asked."""
    return [entry for entry in chrome.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]


def screenshot(chrome: Chrome, path: Path, *, whole: bool = False) -> None:
    """Save what is seen, or the whole page, as PNG."""
    if whole:
        size = chrome.execute_script(
            "return [document.documentElement.clientWidth, document.documentElement.scrollHeight]"
        )
        resize(chrome, *size)
    chrome.save_screenshot(str(path))
