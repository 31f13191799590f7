"""A real browser, without a graphics card."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SOFTWARE_WEBGL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 60.0
"""Timeout in seconds of every wait, which takes a second or two on an idle machine."""


@contextmanager
def open_browser() -> Iterator[Any]:
    """Playwright's handle of a browser; skips the test without Playwright or a browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    with playwright.sync_playwright() as driver:
        names = ("chromium", "chromium-browser", "google-chrome")
        found = [path for path in map(shutil.which, names) if path] or [driver.chromium.executable_path]
        try:
            browser = driver.chromium.launch(executable_path=found[0], args=SOFTWARE_WEBGL)
        except playwright.Error:
            pytest.skip("needs a browser: chromium of the system, or `playwright install chromium`")
        yield browser
        browser.close()
