"""The exported page in a window of Chromium that has no network."""

import time
from pathlib import Path
from typing import Any

from browser import PATIENCE

from gsdff.field.field import Field


def load(page: Any, url: str) -> list[str]:
    """Opens the app in a window; returns the list of the errors that it logs, from its first line on."""
    page.set_default_timeout(1000 * PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(url)
    page.locator("#loading").wait_for(state="hidden")
    return errors


def open_page(browser: Any, field: Field, **options: Any) -> tuple[Any, list[str]]:
    """A window without a network with the exported page, and the errors that it logs."""
    page = browser.new_context(offline=True, **options).new_page()
    return page, load(page, Path(field.source / "scene.html").as_uri())


def settled(page: Any) -> bytes:
    """Picture of the window, when it stands still."""
    pictures = [b"", page.screenshot()]
    while pictures[-1] != pictures[-2]:
        page.wait_for_timeout(400)
        pictures.append(page.screenshot())
    return pictures[-1]


def wait_until(page: Any, condition: str) -> None:
    """Waits until an expression of the page is true; the page's own policy forbids Playwright's way to do so."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s in vain until {condition}"
        page.wait_for_timeout(50)


def find_gaussian(page: Any, thing: int, side: str = "before") -> tuple[float, float]:
    """A place of the window, from 0 to 1, where a Gaussian of a thing is picked."""
    page.click(f"#sides button[value={side}]")
    found = page.evaluate(
        """(thing) => {
          const { gsdff } = window;
          for (let x = 0.5; x < 0.95; x += 0.02) for (let y = 0.2; y < 0.8; y += 0.02) {
            const row = gsdff.pick(x, y);
            if (row !== null && gsdff.shown.things[row] === thing) return [x, y];
          }
          return null;
        }""",
        thing,
    )
    assert found is not None
    return tuple(found)
