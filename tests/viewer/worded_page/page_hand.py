"""Drags, presses and places in the exported page, and the run that it is of."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from page_file import write_things
from tiny_run import make_gaussians, open_field, write_run
from tiny_words import write_words

from gsdff.export import ExportArguments, export_run
from gsdff.field.field import Field

WIDTH, HEIGHT = 900, 500
CLEAR = 380
"""Column right of the panel."""
BOX = (430.0, 90.0, 700.0, 360.0)
"""Part of the window that holds some Gaussians: left, top, right, bottom."""

AFTER_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Waits until what has changed is laid out and drawn."""


def export_worded_run(folder: Path) -> Field:
    """A run with words and two things, exported as scene.html."""
    generator = torch.Generator().manual_seed(0)
    run = write_run(folder, make_gaussians(generator, num_features=8))
    write_words(folder / "maps", generator)
    write_things(run.folder)
    export_run(ExportArguments(run.folder, format="html"))
    return open_field(run.folder)


def undo_all(page: Any) -> None:
    """Undoes what a test before has done."""
    page.click("#start")
    while page.evaluate("window.gsdff.editor.undoable"):
        page.click("#undo")
    while page.locator(".chip").count():
        page.click("#tabs button[value=search]")
        page.locator(".chip").first.click()
    page.click("#tabs button[value=select]")
    for button in ("#tools button[value=move]", "#tab-select .how button[value=new]", "#depths button:last-child"):
        page.click(button)


def drag(page: Any, *points: tuple[float, float]) -> None:
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def selected(page: Any) -> set[int]:
    mask = page.evaluate("[...window.gsdff.editor.selected]")
    return {row for row, is_selected in enumerate(mask) if is_selected}


def places(page: Any, field: Field) -> np.ndarray:
    """Column, row and depth of every Gaussian in the window, by the camera that the page has."""
    view = page.evaluate(
        "(() => { const v = window.gsdff.picture.view(); return [[...v.world], [...v.projection]]; })()"
    )
    world, projection = (np.array(matrix).reshape(4, 4).T for matrix in view)
    points = np.c_[field.working.means.numpy(), np.ones(len(field))] @ world.T
    clip = points @ projection.T
    ndc = clip[:, :2] / clip[:, 3:]
    return np.c_[(0.5 + ndc[:, 0] / 2) * WIDTH, (0.5 - ndc[:, 1] / 2) * HEIGHT, clip[:, 3]]


def in_box(at: np.ndarray, left: float, top: float, right: float, bottom: float, margin: float = 0.0) -> set[int]:
    x, y, depth = at.T
    low = (x > left - margin) & (y > top - margin)
    return set(np.flatnonzero(low & (x < right + margin) & (y < bottom + margin) & (depth > 0)).tolist())


def download(page: Any, button: str) -> bytes:
    page.click("#tabs button[value=save]")
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path()).read_bytes()
