"""The exported page in a window of Chromium that has no network."""

import time
from pathlib import Path
from typing import Any

from browser import PATIENCE

from gsdff.field.field import Field


def open_page(browser: Any, field: Field, **options: Any) -> Any:
    page = browser.new_context(offline=True, **options).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(Path(field.source / "scene.html").as_uri())
    page.locator("#loading").wait_for(state="hidden")
    return page


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
