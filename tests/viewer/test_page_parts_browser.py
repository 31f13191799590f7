"""Things, both sides of an edit, a tour and fingers in the exported page, in Chromium."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from page_file import write_things
from page_window import find_gaussian, open_page, settled, wait_until
from tiny_run import make_gaussians, open_field, write_run
from tiny_words import write_words

from gsdff.export import ExportArguments, export_run
from gsdff.field.field import Field

EDITS = '[[edit]]\noperation = "delete"\npositives = ["thing:2"]\nrim = false\n'


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A run with words and two things, exported with a tour and the deletion of the second thing."""
    folder, generator = tmp_path_factory.mktemp("parts"), torch.Generator().manual_seed(0)
    run = write_run(folder, make_gaussians(generator, num_features=8))
    write_words(folder / "maps", generator)
    write_things(run.folder)
    (folder / "edits.toml").write_text(EDITS)
    export_run(ExportArguments(run.folder, format="html", edits=folder / "edits.toml", tour="orbit", tour_seconds=2))
    return open_field(run.folder)


@pytest.fixture(scope="module")
def page(browser: Any, field: Field) -> Iterator[Any]:
    """The page on a desk; fails if it has logged an error."""
    page, errors = open_page(browser, field, viewport={"width": 900, "height": 500})
    yield page
    assert errors == []


@pytest.fixture(autouse=True)
def _first_state(page: Any) -> None:
    """Undoes what a test before has pressed."""
    page.click("#start")
    while page.evaluate("window.gsdff.editor.undoable"):
        page.click("#undo")
    open_list(page)
    for kind in ("eye", "lock", "alone", "name"):
        for button in page.locator(f'.thing .{kind}[aria-pressed="true"]').all():
            button.click()
    page.click("#tabs button[value=search]")
    page.click("#sides button[value=both]")


# --- things


def open_list(page: Any) -> None:
    page.click("#tabs button[value=things]")


def test_the_list_has_every_thing_with_its_name_and_count(page, field):
    open_list(page)
    rows = page.locator("#tab-things .thing")
    # several things have one name
    names = [f"{thing.name} {thing.id}" for thing in field.objects()]
    assert [row.locator(".name").inner_text() for row in rows.all()] == names
    assert [row.locator(".count").inner_text() for row in rows.all()] == ["20", "12"]


def test_an_eye_hides_its_thing_and_only_shows_it_alone(page):
    open_list(page)
    row = page.locator('#tab-things .thing[data-id="1"]')
    row.locator(".eye").click()
    assert page.evaluate("[...window.gsdff.shown.hiddenThings]") == [1]
    row.locator(".eye").click()
    row.locator(".alone").click()
    assert page.evaluate("[[...window.gsdff.shown.hiddenThings], window.gsdff.shown.isolatedThing]") == [[], 1]
    assert row.locator(".alone").get_attribute("aria-pressed") == "true"


def test_a_click_on_a_thing_says_and_marks_it_and_a_hidden_one_is_not_met(page):
    open_list(page)
    x, y = find_gaussian(page, 2)
    page.mouse.click(900 * x, 500 * y)
    page.get_by_text("thing 2: ").wait_for()
    assert page.evaluate("window.gsdff.shown.selectedThing") == 2
    assert page.locator('#tab-things .thing[data-id="2"] .name').get_attribute("aria-pressed") == "true"
    page.locator('#tab-things .thing[data-id="2"] .eye').click()
    page.mouse.click(900 * x, 500 * y)
    wait_until(page, "window.gsdff.shown.selectedThing !== 2")


def test_a_locked_thing_is_not_selected_and_a_deleted_one_comes_back(page):
    open_list(page)
    row = page.locator('#tab-things .thing[data-id="2"]')
    row.locator(".lock").click()
    page.keyboard.press("Control+a")
    assert page.evaluate("window.gsdff.editor.numSelected") == 48
    row.locator(".lock").click()
    row.locator(".name").click()
    row.locator(".take").click()
    assert page.evaluate("window.gsdff.editor.numSelected") == 12
    row.locator(".delete").click()
    assert row.locator(".count").inner_text() == "0"
    assert page.evaluate("window.gsdff.editor.numDeleted") == 12
    page.click("#undo")
    assert row.locator(".count").inner_text() == "12"


def test_a_thing_is_recoloured_in_the_scene_or_among_the_things(page):
    open_list(page)
    row = page.locator('#tab-things .thing[data-id="2"]')
    before = settled(page)
    row.locator(".name").click()
    choose = "(e) => { e.value = '#00ff00'; e.dispatchEvent(new Event('change')); }"
    row.locator(".actions .swatch").evaluate(choose)
    assert page.evaluate("window.gsdff.editor.edits.map((edit) => [edit.operation, edit.count])") == [["recolor", 12]]
    row.locator(".name").click()
    assert settled(page) != before
    page.click("#undo")
    row.locator(".swatch").first.evaluate(choose)
    assert page.evaluate("window.gsdff.shown.thingColors[2]") == [0, 1, 0]


def test_the_mode_things_draws_another_picture(page):
    page.click("#modes button[value=colours]")
    before = settled(page)
    page.click("#mode-things")
    assert settled(page) != before
    page.click("#modes button[value=colours]")


# --- before | after


def test_the_deleted_thing_is_met_before_and_not_after(page):
    x, y = find_gaussian(page, 2)
    met = f"window.gsdff.shown.things[window.gsdff.pick({x}, {y})]"
    assert page.evaluate(met) == 2
    page.click("#sides button[value=after]")
    assert page.evaluate(f"window.gsdff.pick({x}, {y})") is None or page.evaluate(met) != 2


def test_the_line_is_dragged_and_each_side_of_it_is_labelled(page):
    line = page.locator("#divider").bounding_box()
    assert line["x"] + line["width"] / 2 == pytest.approx(450, abs=1)
    before = settled(page)
    page.mouse.move(450, 250)
    page.mouse.down()
    page.mouse.move(700, 250, steps=4)
    page.mouse.up()
    line = page.locator("#divider").bounding_box()
    assert line["x"] + line["width"] / 2 == pytest.approx(700, abs=2)
    assert page.locator("#label-before").bounding_box()["x"] < 700 < page.locator("#label-after").bounding_box()["x"]
    assert settled(page) != before
    page.locator("#divider").press("ArrowLeft")
    assert page.locator("#divider").get_attribute("aria-valuenow") == "73"


def test_counts_are_those_of_the_side_that_is_shown(page, field):
    page.click("#sides button[value=before]")
    page.fill("#search", "lamp")
    page.keyboard.press("Enter")
    page.get_by_text("lamp: ").wait_for()
    assert "of 60 Gaussians" in page.inner_text("#answer")
    page.click("#sides button[value=after]")
    assert "of 48 Gaussians" in page.inner_text("#answer")
    selected = page.evaluate("window.gsdff.selected()")
    assert not set(selected) & set(range(20, 32))
    page.locator(".chip").click()


def test_the_edits_are_named_in_the_information(page):
    page.click("#info-button")
    assert "delete" in page.inner_text("#edits")
    page.click("#info-button")


# --- tour


def test_a_tour_plays_to_its_end_and_a_drag_takes_over(page):
    first = settled(page)
    page.click("#tour-play")
    wait_until(page, "Number(document.getElementById('tour-time').value) > 0.2")
    wait_until(page, "document.getElementById('tour-play').textContent === 'play tour'")
    assert float(page.locator("#tour-time").input_value()) == 2.0
    page.locator("#tour-time").evaluate("(e) => { e.value = 1; e.dispatchEvent(new Event('input')); }")
    scrubbed = settled(page)
    assert scrubbed != first
    page.click("#tour-play")
    page.mouse.move(800, 150)
    page.mouse.down()
    page.mouse.move(830, 170, steps=3)
    page.mouse.up()
    assert page.inner_text("#tour-play") == "play tour"


# --- fingers

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def phone(browser: Any, field: Field) -> Any:
    return open_page(browser, field, **PHONE)[0]


def touch(phone: Any, *fingers: list[tuple[float, float]]) -> None:
    """Moves fingers along their points, all at once."""
    session = phone.context.new_cdp_session(phone)

    def send(kind: str, points: list[tuple[float, float]]) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    paths = list(zip(*fingers, strict=True))
    send("touchStart", list(paths[0]))
    for points in paths[1:]:
        send("touchMove", list(points))
        phone.wait_for_timeout(50)
    send("touchEnd", [])


def pose(phone: Any) -> list[float]:
    return phone.evaluate("window.gsdff.pose()")


def distance(pose: list[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(pose[:3], pose[3:], strict=True)) ** 0.5


def test_one_finger_turns_two_come_closer_and_move(phone):
    phone.tap("#start")
    start = pose(phone)
    touch(phone, [(60, 200), (90, 200), (130, 210)])
    turned = pose(phone)
    assert turned[3:] == pytest.approx(start[3:], abs=1e-6) and distance(turned) == pytest.approx(distance(start))
    assert turned[:3] != pytest.approx(start[:3], abs=1e-3)
    touch(phone, [(140, 200), (110, 200), (70, 200)], [(260, 200), (290, 200), (330, 200)])  # beside the divider
    closer = pose(phone)
    assert distance(closer) < 0.9 * distance(turned)
    touch(phone, [(150, 150), (170, 180), (190, 210)], [(250, 150), (270, 180), (290, 210)])
    assert pose(phone)[3:] != pytest.approx(closer[3:], abs=1e-3)
    phone.tap("#start")
    assert pose(phone) == pytest.approx(start, abs=1e-6)


def test_a_tap_says_what_is_there(phone):
    x, y = find_gaussian(phone, 1)
    phone.touchscreen.tap(390 * x, 844 * y)
    phone.get_by_text("thing 1: ").wait_for()


def test_nothing_lies_over_anything_else_or_outside_the_window_on_a_phone(phone):
    boxes = {name: phone.locator(name).bounding_box() for name in ("#tour", "#panel")}
    assert boxes["#tour"]["y"] + boxes["#tour"]["height"] < boxes["#panel"]["y"]
    for box in boxes.values():
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 844
    assert boxes["#panel"]["y"] > 0.5 * 844
    for name in ("#start", "#search", "#tour-play", "#modes button", "#sides button", "#tabs button"):
        for control in phone.locator(name).all():
            box = control.bounding_box()
            assert box["height"] >= 32 and box["x"] + box["width"] <= 390, name
