"""Takes the documentation's pictures of the viewer, with a run of the room (`bash scripts/room.sh`).

    python scripts/viewer_pictures.py runs/room_a

Writes docs/pictures/viewer_{query,split,edit}.jpg. A browser (Chromium by Playwright) is driven as in the tests.
"""

import gsdff  # isort: skip  # before torch: it sets how torch's threads wait

import sys
from pathlib import Path

import tyro

from gsdff.viewer.server import Address, Server
from gsdff.viewer.shared_scene import open_shared_scene

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "viewer"))

from browser import Page, open_browser  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 800
CLASSES = "wall, floor, sofa, rug, table, cabinet, plant, book, pillow"


def take(page: Page, name: str) -> None:
    """Saves the page, with its controls, once nothing moves."""
    page.settled()
    path = PICTURES / f"viewer_{name}.jpg"
    page.page.screenshot(path=path, type="jpeg", quality=80)
    print(path)


def main(run: tyro.conf.Positional[Path], /) -> None:
    """Takes three pictures: a query, classes beside colours, an edit."""
    with open_browser() as browser, Server(open_shared_scene(gsdff.load(run)), Address("127.0.0.1", 0)) as server:
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


if __name__ == "__main__":
    tyro.cli(main)
