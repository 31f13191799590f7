"""Tools, hover, measuring, cameras and saved files of the exported page, in Chromium."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from page_hand import (
    AFTER_FRAMES,
    BOX,
    CLEAR,
    HEIGHT,
    WIDTH,
    download,
    drag,
    in_box,
    places,
    selected,
)
from page_window import open_page, settled, wait_until
from PIL import Image

from gsdff.editing.toml_file import read_edits

# --- selecting


def test_a_box_selects_the_middles_in_it_and_no_others(page, field):
    at = places(page, field)
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    # positions are float16 in the page
    assert in_box(at, *BOX, margin=-0.5) <= selected(page) <= in_box(at, *BOX, margin=0.5)
    assert 0 < len(selected(page)) < len(field)
    assert page.inner_text("#delete") == f"delete {len(selected(page))}"


def test_a_lasso_about_the_same_corners_selects_the_same(page):
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    by_box = selected(page)
    page.keyboard.press("l")
    left, top, right, bottom = BOX
    drag(page, (left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    assert selected(page) == by_box


def test_a_brush_selects_along_its_line_by_its_size(page, field):
    at = places(page, field)
    page.keyboard.press("b")
    page.locator("#brush-size").evaluate("(e) => { e.value = 40; e.dispatchEvent(new Event('input')); }")
    drag(page, (500, 240), (750, 240))
    x, y, depth = at.T
    distance = np.hypot(np.maximum(np.maximum(500 - x, x - 750), 0), y - 240)
    near = [set(np.flatnonzero((distance < radius) & (depth > 0)).tolist()) for radius in (39.5, 40.5)]
    assert near[0] <= selected(page) <= near[1] and near[0]
    page.keyboard.press("[")
    assert page.locator("#brush-size").input_value() == "32"


def test_a_sphere_selects_by_distance_in_the_scene(page, field):
    page.keyboard.press("o")
    middle = page.evaluate(f"window.gsdff.picture.pick({610 / WIDTH}, {240 / HEIGHT})")
    drag(page, (610, 240), (690, 240))
    assert middle is not None and 0 < len(selected(page)) < len(field)
    distances = (field.working.means - torch.tensor(middle["point"])).norm(dim=1)
    chosen = torch.tensor(sorted(selected(page)))
    others = torch.ones(len(field), dtype=torch.bool)
    others[chosen] = False
    assert distances[chosen].max() <= distances[others].min() + 1e-3


def test_regions_join_what_is_selected_by_buttons_and_by_held_keys(page):
    page.keyboard.press("r")
    left, top, right, bottom = BOX
    half = (left + right) / 2
    drag(page, BOX[:2], BOX[2:])
    whole = selected(page)
    drag(page, (left, top), (half, bottom))
    part = selected(page)
    assert part < whole
    page.click("#tab-select .how button[value=add]")
    drag(page, (half, top), (right, bottom))
    assert selected(page) == whole
    page.click("#tab-select .how button[value=subtract]")
    drag(page, (left, top), (half, bottom))
    assert selected(page) == whole - part
    page.click("#tab-select .how button[value=new]")
    page.keyboard.down("Shift")
    drag(page, (left, top), (half, bottom))
    page.keyboard.up("Shift")
    assert selected(page) == whole
    page.keyboard.press("Control+z")
    assert selected(page) == whole - part


def test_an_answer_is_intersected_with_a_box(page):
    page.click("#tabs button[value=search]")
    page.fill("#search", "lamp")
    page.keyboard.press("Enter")
    page.get_by_text("lamp: ").wait_for()
    answer = set(page.evaluate("window.gsdff.selected()"))
    page.click("#tabs button[value=select]")
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    box = selected(page)
    page.click("#tabs button[value=search]")
    page.click("#tab-search .how button[value=intersect]")
    assert page.inner_text("#take-answer") == "keep what is both here and selected"
    page.uncheck("#rim")
    page.click("#take-answer")
    assert selected(page) == answer & box and answer & box


def test_visible_only_leaves_out_what_is_behind(page):
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    all_depths = selected(page)
    page.keyboard.press("v")
    drag(page, BOX[:2], BOX[2:])
    visible = selected(page)
    assert visible < all_depths
    steps = range(1, 10)
    met = page.evaluate(
        "(places) => places.map(([x, y]) => window.gsdff.pick(x, y))",
        [[(BOX[0] + 27 * i) / WIDTH, (BOX[1] + 27 * j) / HEIGHT] for i in steps for j in steps],
    )
    # whatever a click meets, and whose middle is in the box, is visible
    assert set(filter(None, met)) & all_depths <= visible


def test_size_and_opacity_select_what_is_between_their_limits(page, field):
    page.click("#filter summary")
    page.locator("#opacity-from").evaluate("(e) => { e.value = 0.9; e.dispatchEvent(new Event('input')); }")
    expected = set((field.working.opacities >= 0.9).nonzero().flatten().tolist())
    near = set(((field.working.opacities - 0.9).abs() < 1 / 255).nonzero().flatten().tolist())
    page.click("#take-filter")
    assert selected(page) ^ expected <= near and expected - near
    page.locator("#opacity-from").evaluate("(e) => { e.value = 0; e.dispatchEvent(new Event('input')); }")
    page.click("#filter summary")


def test_escape_leaves_the_tool_and_a_drag_turns_the_scene_again(page):
    page.keyboard.press("l")
    start = page.evaluate("window.gsdff.pose()")
    drag(page, (600, 200), (640, 220))
    assert page.evaluate("window.gsdff.pose()") == start
    page.keyboard.press("Escape")
    drag(page, (600, 200), (640, 220))
    assert page.evaluate("window.gsdff.pose()") != start


# --- looking


def test_what_a_click_said_of_a_question_goes_with_the_question(page):
    page.click("#tabs button[value=search]")
    page.fill("#search", "lamp")
    page.keyboard.press("Enter")
    page.get_by_text("lamp: ").wait_for()
    page.mouse.click(600, 240)
    page.locator("#picked", has_text="lamp 0.").wait_for()
    page.fill("#search", "unicorn")
    page.keyboard.press("Enter")
    page.locator("#picked").wait_for(state="hidden")


def test_the_pointer_at_rest_names_class_thing_and_score(page, field):
    x, y = 600, 240
    page.mouse.move(x - 40, y)
    assert page.locator("#tip").is_hidden()
    page.mouse.move(x, y)
    page.locator("#tip").wait_for()
    row = page.evaluate(f"window.gsdff.pick({x / WIDTH}, {y / HEIGHT})")
    names = list(field.vocabulary.vectors)
    label = int(field.segment(names).labels[row])
    thing = page.evaluate(f"window.gsdff.shown.things[{row}]")
    first, second = page.inner_text("#tip").split("\n")
    assert first.startswith(f"{names[label]} (cosine ")
    assert second == ("in no thing" if not thing else f"in thing {field.objects()[thing - 1].name}")
    page.mouse.move(x, y + 30)
    assert page.locator("#tip").is_hidden()


def test_a_distance_is_measured_and_scaled_to_a_known_one(page, field):
    page.click("#tabs button[value=view]")
    page.click("#measure")
    ends = [page.evaluate(f"window.gsdff.picture.pick({x / WIDTH}, {y / HEIGHT})") for x, y in ((560, 240), (660, 260))]
    for x, y in ((560, 240), (660, 260)):
        page.mouse.click(x, y)
    a, b = (np.array(end["point"]) for end in ends)
    length = float(np.linalg.norm(a - b)) * field.frame.scale
    assert float(page.inner_text("#measured")) == pytest.approx(length, rel=0.01)
    page.fill("#known-distance", "2.5")
    page.keyboard.press("Enter")
    page.locator("#known-distance").blur()
    assert page.inner_text("#measured") == "2.5 m"
    page.click("#tabs button[value=select]")
    page.click("#all")
    assert page.inner_text("#selection-facts").endswith(" m")
    page.evaluate(f"window.gsdff.setUnits({field.frame.scale}, '')")
    page.click("#tabs button[value=view]")
    page.click("#measure")
    page.click("#measure-clear")


def test_cameras_are_those_of_the_photos_and_can_be_looked_from(page, field):
    page.click("#tabs button[value=view]")
    before = settled(page)
    page.click("#cameras-shown")
    assert settled(page) != before
    page.click("#camera-after")
    assert page.inner_text("#camera-name") == "camera 1 of 10"
    expected = field.scene.views[0].camera.position.tolist()
    assert page.evaluate("window.gsdff.pose()")[:3] == pytest.approx(expected, abs=1e-4)
    page.click("#camera-before")
    assert page.inner_text("#camera-name") == "camera 10 of 10"
    page.click("#cameras-shown")


def test_the_up_axis_and_the_colours_of_heat_are_chosen(page):
    page.click("#tabs button[value=view]")
    turn = "window.gsdff.picture.camera.quaternion.toArray()"
    before = page.evaluate(turn)
    page.select_option("#up-axis", "+x")
    assert page.evaluate("window.gsdff.picture.camera.up.toArray()") == [1, 0, 0]
    assert page.evaluate(turn) != pytest.approx(before, abs=0.1)
    drag(page, (600, 200), (640, 220))
    page.select_option("#up-axis", "as the photos")
    page.click("#start")
    assert page.evaluate(turn) == pytest.approx(before)
    page.select_option("#color-map", "turbo")
    assert page.evaluate("window.gsdff.shown.colorMap") == "turbo"
    page.select_option("#color-map", "viridis")


# --- saving


def test_the_picture_is_saved_as_it_is_drawn_without_the_panel(page):
    settled(page)
    with Image.open(io.BytesIO(download(page, "#save-picture"))) as png:
        saved = np.array(png.convert("RGB")).astype(int)
    with Image.open(io.BytesIO(page.screenshot())) as png:
        seen = np.array(png.convert("RGB")).astype(int)
    assert saved.shape == (HEIGHT, WIDTH, 3)
    clear = np.s_[60:400, CLEAR:]
    assert np.abs(saved[clear] - seen[clear]).mean() < 1 and saved[clear].std() > 5
    assert np.abs(saved[:100, :300] - seen[:100, :300]).mean() > 1


def test_the_selection_is_saved_as_indices(page, field):
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    saved = json.loads(download(page, "#save-selection"))
    assert set(saved["indices"]) == selected(page) and saved["count"] == len(field)


def test_saved_edits_replay_to_the_gaussians_that_the_page_shows(page, field, tmp_path):
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    deleted = selected(page)
    page.keyboard.press("Delete")
    page.click("#tabs button[value=things]")
    row = page.locator('#tab-things .thing[data-id="1"]')
    row.locator(".name").click()
    row.locator(".actions .swatch").evaluate("(e) => { e.value = '#30d040'; e.dispatchEvent(new Event('change')); }")
    row.locator(".name").click()
    with zipfile.ZipFile(io.BytesIO(download(page, "#save-edits"))) as archive:
        archive.extractall(tmp_path)
    edited = field.edit(*read_edits(tmp_path / "edits.toml").edits)
    left = [number for number in range(len(field)) if number not in deleted]
    torch.testing.assert_close(edited.gaussians.means, field.gaussians.means[left], rtol=0, atol=0)
    assert len(edited) == len(field) - len(deleted) < len(field)
    drawn = np.array(page.evaluate("[...window.gsdff.picture.shapes(1).splats.subarray(0, 16 * 60)]")).reshape(60, 16)
    assert np.flatnonzero(drawn[:, 3] > 0).tolist() == left
    low, high = page.evaluate("window.gsdff.data.header.colorRange")
    colors = edited.gaussians.base_colors.numpy().clip(low, high)
    step = (high - low) / 255
    # one step for packing, and one for the luminance of packed colours
    assert np.abs(low + drawn[left, :3] * step - colors).max() <= 3 * step
    step = page.evaluate("window.gsdff.data.header.bandSteps[0]")
    words = np.array(page.evaluate("[...window.gsdff.picture.harmonics.sh1.subarray(0, 120)]")).astype("<u4")
    codes = np.unpackbits(words.reshape(60, 2).view(np.uint8), axis=1, bitorder="little")[:, :63].reshape(60, 9, 7)
    harmonics = (codes * [1, 2, 4, 8, 16, 32, -64]).sum(2)[left].reshape(-1, 3, 3) * step
    # a step for rounding, and one for the luminance of rounded numbers
    assert np.abs(harmonics - edited.gaussians.shN.numpy()).max() <= 2 * step
    recolored = (edited.gaussians.base_colors - field.gaussians.base_colors[left]).abs().amax(1) > 1e-4
    assert 0 < int(recolored.sum()) <= 20


def test_without_edits_and_selection_there_is_nothing_to_save(page):
    page.click("#tabs button[value=save]")
    assert page.locator("#save-edits").is_disabled() and page.locator("#save-selection").is_disabled()


# --- sizes


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080), (390, 844)])
def test_no_panels_action_is_below_the_fold_and_the_subject_is_in_view(page, width, height):
    page.set_viewport_size({"width": width, "height": height})
    page.keyboard.press("Control+a")
    for tab in ("select", "things", "view", "save"):
        page.click(f"#tabs button[value={tab}]")
        page.evaluate(AFTER_FRAMES)  # the caption stands on the panel
        panel = page.locator("#panel").bounding_box()
        assert panel["x"] >= 0 and panel["y"] >= 0
        assert panel["x"] + panel["width"] <= width and panel["y"] + panel["height"] <= height
        # at the foot of a phone it leaves the upper half, beside the picture of a desk the middle
        assert panel["y"] >= height / 2 or panel["x"] + panel["width"] < width / 2
        for action in page.locator(f"#tab-{tab} .primary:visible").all():  # a film needs a server
            box = action.bounding_box()
            assert box["y"] + box["height"] <= height, tab
        caption = page.locator("#caption").bounding_box()
        assert caption["x"] >= panel["x"] + panel["width"] or caption["y"] + caption["height"] <= panel["y"]
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


# --- fingers


def test_a_finger_selects_and_two_move_the_scene_without_keys(browser, field):
    phone, _ = open_page(browser, field, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone.tap("#tabs button[value=select]")
    phone.tap("#tools button[value=box]")
    session = phone.context.new_cdp_session(phone)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    start = phone.evaluate("window.gsdff.pose()")
    send("touchStart", (100, 120))
    send("touchMove", (200, 250))
    send("touchMove", (300, 350))
    send("touchEnd")
    wait_until(phone, "window.gsdff.editor.numSelected > 0")
    assert phone.evaluate("window.gsdff.pose()") == start
    number = phone.evaluate("window.gsdff.editor.numSelected")
    send("touchStart", (100, 200))
    send("touchStart", (100, 200), (250, 200))
    send("touchMove", (60, 200), (300, 200))
    send("touchMove", (40, 200), (340, 200))
    send("touchEnd")
    wait_until(phone, f"JSON.stringify(window.gsdff.pose()) !== '{json.dumps(start, separators=(',', ':'))}'")
    assert phone.evaluate("window.gsdff.editor.numSelected") == number
    phone.tap("#delete")
    assert phone.evaluate("window.gsdff.editor.numDeleted") == number
    panel = phone.locator("#panel").bounding_box()
    assert panel["y"] >= 0.5 * 844
    phone.context.close()
