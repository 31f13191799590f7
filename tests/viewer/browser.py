"""A page of the viewer in a real browser, without a graphics card: presses its controls and reads its images."""

import io
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gsdff.viewer.server import Server
from gsdff.viewer.tab import Tab

WIDTH, HEIGHT = 1000, 440
CLEAR = 656
"""Number of columns from the left that the controls do not cover."""
SOFTWARE_WEBGL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SHARP = "/?fixedDpr=1"
"""Query string for full resolution: by default the page renders coarser in a slow browser."""
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


class Page:
    """One open page, and the tab of the server that it belongs to."""

    def __init__(self, browser: Any, server: Server, width: int = WIDTH, height: int = HEIGHT):
        before = set(server.panels)
        self.errors: list[str] = []
        """Exceptions of the page's own script."""
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.goto(server.url + SHARP)
        self.page.get_by_text("Gaussians selected").wait_for()
        self.page.locator("#webgl-software-rendering button").click()
        (self.client_id,) = set(server.panels) - before
        self.server = server

    @property
    def tab(self) -> Tab:
        """Tab of the page on the server."""
        return self.server.panels[self.client_id].tab

    def close(self) -> None:
        """Closes the page as a user does."""
        self.page.close()
        assert not self.errors

    # --- controls

    def rest(self) -> None:
        """Waits until pending messages are sent: for 50 ms after one the page keeps only the latest of all controls."""
        self.page.evaluate("new Promise(done => setTimeout(done, 150))")

    def row(self, label: str) -> Any:
        """Row of the control with this label."""
        has_label = self.page.locator(f"xpath=./div/p/label[text()='{label}']")
        return self.page.locator("div.mantine-Flex-root").filter(has=has_label).last

    def choose(self, label: str, value: str) -> None:
        """Chooses an entry of a drop-down list."""
        self.row(label).locator("input").first.click()
        self.page.get_by_role("option", name=value, exact=True).first.click()
        self.rest()

    def press(self, name: str) -> None:
        """Presses a button."""
        self.page.get_by_role("button", name=name, exact=True).click()
        self.rest()

    def turn_to(self, name: str) -> None:
        """Opens a tab: Select, Edit, Video or Save."""
        self.page.get_by_role("tab", name=name).click()

    def fill(self, label: str, value: str) -> None:
        """Types a value and Enter."""
        field = self.row(label).locator("input").last
        field.fill(value)
        self.rest()
        field.press("Enter")
        self.rest()

    def search(self, text: str, count: int) -> None:
        """Searches for a text and waits until a number of Gaussians is selected."""
        self.fill("Prompts", text)
        self.wait_for_count(count)

    def wait_for_text(self, text: str) -> str:
        """Waits until the page shows a text; returns its whole paragraph."""
        return self.page.get_by_text(text).first.inner_text()

    def wait_for_count(self, count: int, of: int = 60) -> None:
        """Waits until the page shows this number of selected Gaussians."""
        self.wait_for_text(f"{count} of {of} Gaussians selected")

    def close_note(self) -> None:
        """Closes a notification."""
        button = self.page.locator(".mantine-Notification-closeButton").first
        button.click()
        button.wait_for(state="detached")

    # --- the mouse

    def click(self, at: tuple[float, float], key: str | None = None) -> None:
        """Clicks at a pixel, with a key held."""
        with self._held(key):
            self.page.mouse.click(*at)

    def drag(self, start: tuple[float, float], end: tuple[float, float], key: str | None = None) -> None:
        """Drags between two pixels, with a key held."""
        with self._held(key):
            self.page.mouse.move(*start)
            self.page.mouse.down()
            self.page.mouse.move(*end, steps=6)
            self.page.mouse.up()

    @contextmanager
    def _held(self, key: str | None) -> Iterator[None]:
        if key is not None:
            self.page.keyboard.down(key)
        yield
        if key is not None:
            self.page.keyboard.up(key)

    # --- images

    def picture(self) -> Tensor:
        """Screenshot left of the controls, [H, W, 3] in [0, 1]."""
        clip = {"x": 0, "y": 0, "width": CLEAR, "height": self.page.viewport_size["height"]}
        with Image.open(io.BytesIO(self.page.screenshot(clip=clip))) as png:
            return torch.from_numpy(np.array(png.convert("RGB"))).float() / 255

    def settled(self) -> Tensor:
        """Screenshot when neither page nor server change it any more."""
        pictures = [self.picture()]

        def is_settled() -> bool:
            pictures.append(self.picture())
            return not self.tab.render_loop.is_busy and torch.equal(*pictures[-2:])

        self.wait_until(is_settled, "the picture stands still")
        return pictures[-1]

    def wait_for_picture(self, expected: Callable[[], Tensor], difference: float, rows: slice = slice(None)) -> Tensor:
        """Waits until the mean difference to an expected image is small enough; returns the screenshot."""
        seen: list[Tensor] = [torch.zeros(0)]

        def is_drawn() -> bool:
            seen[0] = self.picture()
            self.last_difference = float((seen[0] - expected()[:, :CLEAR])[rows].abs().mean())
            return self.last_difference < difference

        self.wait_until(is_drawn, lambda: f"the picture is drawn (it differs by {self.last_difference:.4f})")
        return seen[0]

    def wait_until(self, holds: Callable[[], Any], what: str | Callable[[], str]) -> None:
        """Waits until a condition holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            words = what if isinstance(what, str) else what()
            assert time.monotonic() < end, f"waited {PATIENCE:.0f} s in vain until {words}"
            self.page.wait_for_timeout(50)
