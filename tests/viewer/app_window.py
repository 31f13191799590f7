"""The app in a window of Chromium with its server behind it."""

import io
from typing import Any

import numpy as np
import torch
from page_window import load
from PIL import Image
from torch import Tensor

from gsdff.viewer.rendering import render_mode
from gsdff.viewer.wire.server import AppServer

WIDTH, HEIGHT = 900, 480
ROWS, CLEAR = slice(70, -70), slice(430, -20)
"""Part of the window that nothing lies over but the exact picture."""


def open_app(browser: Any, server: AppServer, **options: Any) -> tuple[Any, list[str]]:
    page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, **options).new_page()
    return page, load(page, server.url)


def wait_for_drawn(page: Any, by: str) -> None:
    """Waits until the page says who has drawn what, and the exact picture is on screen if it was the server."""
    page.get_by_text(by, exact=True).wait_for()
    assert page.locator("#exact").is_visible() == by.startswith("drawn by server")


def ask(page: Any, text: str) -> None:
    page.fill("#search", text)
    page.keyboard.press("Enter")


def wait_for_answer(page: Any, text: str) -> None:
    page.locator("#answer", has_text=text).wait_for()


def shot(page: Any) -> Tensor:
    """Screenshot [H, W, 3] in [0, 1]."""
    with Image.open(io.BytesIO(page.screenshot())) as png:
        return torch.from_numpy(np.array(png.convert("RGB"))).float() / 255


def expected(server: AppServer, mode: str) -> Tensor:
    """Picture that gsdff draws, in a mode, of the only page's scene."""
    (tab,) = server.tabs
    request, (visible,) = tab._drawn
    camera = request.window.camera()
    return render_mode(server.answers.shared, visible, mode, camera).float() / 255


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other)[ROWS, CLEAR].abs().mean())
