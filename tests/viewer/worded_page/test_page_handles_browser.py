"""Handles that move, turn and scale what is selected in the exported page, and its near and far planes, in Chromium."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from page_hand import (
    AFTER_FRAMES,
    BOX,
    CLEAR,
    download,
    drag,
    in_box,
    places,
    selected,
)
from page_window import open_page, settled
from PIL import Image

from gsdff.editing.toml_file import read_edits
from gsdff.field.field import Field
from gsdff.rotation import quats_to_matrices
from gsdff.viewer.page.packing import _decode_rotations


def grip(page: Any, name: str) -> tuple[float, float]:
    """A point of a handle that a press takes hold of."""
    found = page.evaluate(
        """(name) => {
          const grip = document.querySelector(`.grip[data-handle=${name}]`);
          const length = grip.getTotalLength();
          for (let share = 0.02; share < 1; share += 0.03) {
            const { x, y } = grip.getPointAtLength(share * length);
            if (document.elementFromPoint(x, y) === grip) return [x, y];
          }
          return null;
        }""",
        name,
    )
    assert found is not None, f"{name} cannot be pressed"
    return tuple(found)


def hold_some(page: Any) -> set[int]:
    """Selects what a box holds, and shows its handles."""
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    page.click("#tools button[value=move]")
    if page.get_attribute("#gizmo", "aria-pressed") == "false":
        page.keyboard.press("g")
    page.evaluate(AFTER_FRAMES)
    return selected(page)


def pull(page: Any, handle: str, dx: float, dy: float) -> None:
    x, y = grip(page, handle)
    drag(page, (x, y), (x + dx, y + dy))
    page.evaluate(AFTER_FRAMES)


def positions(page: Any, field: Field) -> torch.Tensor:
    return torch.tensor(page.evaluate("[...window.gsdff.picture.positions]")).reshape(len(field), 3)


def test_an_arrow_moves_the_selection_along_its_axis_and_nothing_else(page, field):
    chosen = torch.tensor(sorted(hold_some(page)))
    before = positions(page, field)
    handles = [name for name in ("move-x", "move-y", "move-z") if page.get_attribute(f"[data-handle={name}]", "d")]
    axis = "xyz".index(handles[0][-1])
    pull(page, handles[0], 30, 20)
    change = positions(page, field) - before
    others = torch.ones(len(field), dtype=torch.bool)
    others[chosen] = False
    assert not change[others].any() and change[chosen][:, axis].abs().min() > 1e-3
    assert not change[chosen][:, [other for other in range(3) if other != axis]].any()
    assert change[chosen][:, axis].std() < 1e-6
    page.click("#undo")
    assert torch.equal(positions(page, field), before)
    page.keyboard.press("g")


def test_a_handle_that_is_let_go_where_it_was_or_left_by_escape_changes_nothing(page, field):
    hold_some(page)
    before, name = positions(page, field), page.get_attribute("#undo", "title")
    x, y = grip(page, "free")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=3)
    page.evaluate(AFTER_FRAMES)
    assert not torch.equal(positions(page, field), before)
    page.keyboard.press("Escape")
    page.mouse.up()
    page.mouse.click(x, y)
    assert torch.equal(positions(page, field), before) and page.get_attribute("#undo", "title") == name
    page.keyboard.press("g")


def unpacked_turns(page: Any, field: Field) -> torch.Tensor:
    """Rotation matrices of the packed Gaussians."""
    splats = page.evaluate("[...window.gsdff.picture.stored.original]")
    codes = np.array(splats, np.uint8).reshape(-1, 16)[: len(field), [10, 11, 15]]
    return quats_to_matrices(torch.from_numpy(_decode_rotations(codes)))


def test_moves_turns_and_scalings_are_replayed_by_gsdff_edit(page, field, tmp_path):
    hold_some(page)
    pull(page, "free", 25, -15)
    ring = next(
        name for name in ("rotate-x", "rotate-y", "rotate-z") if page.get_attribute(f"[data-handle={name}]", "d")
    )
    pull(page, ring, 30, 30)
    pull(page, "scale", 25, -25)
    names = page.evaluate("window.gsdff.editor.edits.map((edit) => edit.operation)")
    assert names == ["move", "rotate", "scale"]
    with zipfile.ZipFile(io.BytesIO(download(page, "#save-edits"))) as archive:
        archive.extractall(tmp_path)
    after = field.edit(*read_edits(tmp_path / "edits.toml").edits)
    # positions of the page are float16 at first, turns have a byte for each number
    torch.testing.assert_close(positions(page, field), after.working.means, rtol=0, atol=3e-3)
    assert (after.working.means - field.working.means).norm(dim=1).max() > 0.05
    expected = quats_to_matrices(after.working.quats.double())
    cosines = ((expected.transpose(1, 2) @ unpacked_turns(page, field)).diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    assert cosines.min() > np.cos(np.radians(3))
    turned = (
        (expected.transpose(1, 2) @ quats_to_matrices(field.working.quats.double())).diagonal(dim1=1, dim2=2).sum(1) - 1
    ) / 2
    assert turned.min() < np.cos(np.radians(10))
    largest = torch.tensor(page.evaluate("[...window.gsdff.picture.largest]"))
    low, high = page.evaluate("window.gsdff.data.header.logScaleRange")
    grown = after.working.log_scales.amax(1)
    fits = grown < high  # what is larger than all was at first is drawn as large as that
    torch.testing.assert_close(largest.log()[fits], grown[fits], rtol=0, atol=(high - low) / 254)
    assert fits.any()
    page.keyboard.press("g")


def test_a_finger_moves_a_handle(browser, field):
    page, errors = open_page(browser, field, viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    page.evaluate("window.gsdff.take(window.gsdff.selectable(), 'all')")
    page.click("#tabs button[value=select]")
    page.tap("#gizmo")
    page.evaluate(AFTER_FRAMES)
    before, pose = positions(page, field), page.evaluate("window.gsdff.pose()")
    x, y = grip(page, "free")
    session = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [(x, y)]),
        ("touchMove", [(x + 20, y)]),
        ("touchMove", [(x + 40, y)]),
        ("touchEnd", []),
    ):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})
    page.evaluate(AFTER_FRAMES)
    assert (positions(page, field) - before).norm(dim=1).min() > 1e-2
    assert page.evaluate("window.gsdff.pose()") == pose
    page.context.close()
    assert errors == []


# --- planes


def scenery(page: Any) -> np.ndarray:
    """The window without the panel, when it stands still."""
    with Image.open(io.BytesIO(settled(page))) as png:
        return np.array(png.convert("RGB"))[:, CLEAR:]


def test_the_near_plane_hides_what_is_before_it_from_drawing_picking_and_selecting(page, field):
    depths = places(page, field)[:, 2]
    page.click("#tabs button[value=view]")
    before = scenery(page)
    share = page.evaluate(f"Math.log({float(np.median(depths))} / 0.01) / Math.log(1000)")
    slide = "(e, share) => { e.value = share; e.dispatchEvent(new Event('input')); }"
    page.locator("#near-plane").evaluate(slide, share)
    near = page.evaluate("window.gsdff.picture.planes[0]")
    assert np.median(depths) == pytest.approx(near, rel=0.03)
    shown = float(page.inner_text("#near-value"))
    assert shown == pytest.approx(near * field.frame.scale, rel=0.01)
    assert not np.array_equal(scenery(page), before)
    page.click("#tabs button[value=select]")
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    assert selected(page) == in_box(places(page, field), *BOX) & set(np.flatnonzero(depths >= near).tolist())
    rows = page.evaluate(
        "[...Array(20).keys()].map((i) => window.gsdff.pick(0.45 + 0.02 * i, 0.5)).filter((row) => row !== null)"
    )
    assert all(depths[row] > near - 0.05 for row in rows) and rows
    page.locator("#near-plane").evaluate(slide, 0)
    page.locator("#far-plane").evaluate(slide, 0.3)
    assert page.evaluate("window.gsdff.picture.planes")[0] == 0 and page.inner_text("#near-value") == "none"
    page.locator("#far-plane").evaluate(slide, 1)
    page.click("#undo")
    page.click("#tabs button[value=view]")
    assert np.array_equal(scenery(page), before)


def test_gaussians_and_frames_per_second_are_shown(page, field):
    page.click("#tabs button[value=view]")
    drag(page, (600, 200), (640, 220))
    assert page.inner_text("#speed").startswith(f"{len(field)} Gaussians · ")
    assert page.inner_text("#speed").endswith(" frames per second")
