"""Takes the documentation's pictures of the viewer, with a run of the room (`bash scripts/room.sh`).

    python scripts/viewer_pictures.py runs/room_a

Writes docs/pictures/viewer_{query,split,edit}.jpg, and of the app (`gsdff view RUN --app`) app_{desk,wide,phone}.jpg. A
browser (Chromium by Playwright) is driven as in the tests.
"""

import gsdff  # isort: skip  # before torch: it sets how torch's threads wait

import sys
from pathlib import Path
from typing import Any

import tyro

from gsdff.viewer.server import Address, Server
from gsdff.viewer.shared_scene import SharedScene, open_shared_scene

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "viewer"))

from app_wire import serve_shared  # noqa: E402
from browser import Page, open_browser  # noqa: E402
from page_window import load  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 800
APP_SIZES = {"desk": (1280, 720), "wide": (1920, 1080), "phone": (390, 844)}
APP_QUALITY = 72
CLASSES = "wall, floor, sofa, rug, table, cabinet, plant, book, pillow"


def take(page: Page, name: str) -> None:
    """Saves the page, with its controls, once nothing moves."""
    page.settled()
    path = PICTURES / f"viewer_{name}.jpg"
    page.page.screenshot(path=path, type="jpeg", quality=80)
    print(path)


def take_viewer(browser: Any, shared: SharedScene) -> None:
    """Takes three pictures of the viewer: a query, an edit, classes beside colours."""
    with Server(shared, Address("127.0.0.1", 0)) as server:
        page = Page(browser, server, WIDTH, HEIGHT)
        page.fill("Prompts", "sofa")
        page.wait_until(lambda: page.tab.mode == "relevancy", "the query is answered")
        take(page, "query")
        page.turn_to("Edit")
        page.press("Recolour")
        page.wait_for_text('recolor "sofa"')
        page.choose("Rendering", "server (exact)")
        page.choose("Mode", "colour")
        page.wait_for_text("full resolution")
        take(page, "edit")
        page.close()

        page = Page(browser, server, WIDTH, HEIGHT)
        page.fill("Classes", CLASSES)
        page.press("Segment")
        page.wait_until(lambda: page.tab.mode == "classes", "the classes are known")
        page.choose("Mode", "colour")
        page.choose("Split view", "classes")
        page.choose("Rendering", "server (exact)")
        page.wait_for_text("full resolution")
        take(page, "split")
        page.close()


def take_app(browser: Any, shared: SharedScene) -> None:
    """Takes three pictures of the app, of three sizes: classes, a selection with its handles, a query on a phone."""
    with serve_shared(shared, page=True) as server:
        for (name, (width, height)), act in zip(APP_SIZES.items(), (show_classes, show_handles, ask), strict=True):
            is_phone = width < 600
            context = browser.new_context(
                viewport={"width": width, "height": height}, has_touch=is_phone, is_mobile=is_phone
            )
            page = context.new_page()
            errors = load(page, server.url)
            act(page)
            path = PICTURES / f"app_{name}.jpg"
            page.screenshot(path=path, type="jpeg", quality=APP_QUALITY)
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
    wait_for_exact(page, "relevancy")
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
    wait_for_exact(page, "colour")


def main(run: tyro.conf.Positional[Path], /, *, only_app: bool = False) -> None:
    """Takes all pictures, or those of the app alone."""
    shared = open_shared_scene(gsdff.load(run))
    with open_browser() as browser:
        if not only_app:
            take_viewer(browser, shared)
        take_app(browser, shared)


if __name__ == "__main__":
    tyro.cli(main)
