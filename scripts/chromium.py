"""Chromium or Chrome for scripts that use a page: found on this machine, and started without a window."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gsdff.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SOFTWARE_GL = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def find_browser() -> str | None:
    """The path of a browser, or None if this machine has none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def open_browser(*flags: str) -> Iterator["Browser"]:
    """Starts the browser, which draws WebGL in software; raises `UserError` if it or playwright is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise UserError("needs playwright: pip install playwright") from None
    path = find_browser()
    if path is None:
        raise UserError(f"needs a browser: one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*SOFTWARE_GL, *flags])
        yield browser
        browser.close()
