"""Takes the documentation's pictures of the viewer, with a run of the room (`bash scripts/room.sh`).

    python scripts/viewer_pictures.py runs/room_a

Writes docs/pictures/app_{desk,wide,phone}.jpg. A browser (Chromium by Playwright) is driven as in the tests.
"""

import gsdff  # isort: skip  # before torch: it sets how torch's threads wait

import sys
from pathlib import Path
from typing import Any

import tyro

from gsdff.viewer.shared_scene import SharedScene, open_shared_scene

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "viewer"))

from app_wire import serve_shared  # noqa: E402
from browser import open_browser  # noqa: E402
from page_window import load  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
SIZES = {"desk": (1280, 720), "wide": (1920, 1080), "phone": (390, 844)}
QUALITY = 72


def take(browser: Any, shared: SharedScene) -> None:
    """Takes three pictures of three sizes: classes, a selection with its handles, a query on a phone."""
    with serve_shared(shared, page=True) as server:
        for (name, (width, height)), act in zip(SIZES.items(), (show_classes, show_handles, ask), strict=True):
            is_phone = width < 600
            context = browser.new_context(
                viewport={"width": width, "height": height}, has_touch=is_phone, is_mobile=is_phone
            )
            page = context.new_page()
            errors = load(page, server.url)
            act(page)
            path = PICTURES / f"app_{name}.jpg"
            page.screenshot(path=path, type="jpeg", quality=QUALITY)
            print(path)
            context.close()
            assert not errors, errors


def wait_for_exact(page: Any, mode: str) -> None:
    """Waits for the server's whole picture."""
    page.get_by_text(f"drawn by server: {mode}", exact=True).wait_for()


def ask(page: Any) -> None:
    """Asks for a sofa."""
    page.fill("#search", "sofa")
    page.keyboard.press("Enter")
    wait_for_exact(page, "heat")
    page.locator("#search").blur()


def show_classes(page: Any) -> None:
    """Shows the classes with the areas that they fill."""
    page.click("#modes button[value=classes]")
    wait_for_exact(page, "classes")
    page.locator("#legend .count", has_text="%").first.wait_for()


def show_handles(page: Any) -> None:
    """Selects the sofa, with its handles."""
    ask(page)
    page.click("#take-answer")
    page.click("#modes button[value=colours]")
    page.click("#tabs button[value=select]")
    page.click("#gizmo")
    wait_for_exact(page, "colours")


def main(run: tyro.conf.Positional[Path], /) -> None:
    """Takes the pictures."""
    with open_browser() as browser:
        take(browser, open_shared_scene(gsdff.load(run)))


if __name__ == "__main__":
    tyro.cli(main)
