"""The exported page in Chromium, opened from the disk and without a network; its answers are those of Python."""

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from browser import open_browser
from page_window import open_page
from PIL import Image
from tiny_run import make_gaussians, open_field, write_run
from tiny_words import WORDS, write_words

from gsdff.export import ExportArguments, export_run
from gsdff.field.field import Field
from gsdff.field.hit import default_view
from gsdff.scene import VOID
from gsdff.viewer.page.packing import pack, unpack

CLOSE = 1e-5
"""Scores this near the threshold may be on either side of it: sums in another order differ by less."""


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Field:
    """A field whose words are known, exported as scene.html."""
    folder, generator = tmp_path_factory.mktemp("page"), torch.Generator().manual_seed(0)
    gaussians = make_gaussians(generator, num_features=8)
    assert gaussians.features is not None
    gaussians.features[5] = 0
    run = write_run(folder, gaussians)
    write_words(folder / "maps", generator)
    export_run(ExportArguments(run.folder, format="html"))
    return open_field(run.folder)


@pytest.fixture(scope="module")
def unpacked(field) -> Field:
    """The field with the latents that the page has."""
    features = unpack(pack(field.working), field.working).features
    return replace(field, gaussians=replace(field.gaussians, features=features))


@pytest.fixture(scope="module")
def page(field) -> Iterator[Any]:
    """The file in a browser that has no network."""
    with open_browser() as browser:
        page, errors = open_page(browser, field, viewport={"width": 480, "height": 400})
        yield page
        assert errors == []


def search(page: Any, *texts: str) -> None:
    """Clears the question and enters texts one after another; waits for the answer."""
    while page.locator(".chip").count():
        page.locator(".chip").first.click()
    for text in texts:
        page.fill("#search", text)
        page.keyboard.press("Enter")
    page.get_by_text(f"{texts[-1]}: ").wait_for()


def check_selected(page: Any, field: Field, text: str, threshold: float | None = None, **options: Any) -> None:
    """Compares what the page selects with what Python does, one by one."""
    hit = field.query(text, threshold=threshold, **options)
    chosen = page.evaluate("window.gsdff.shown.threshold")
    assert chosen == pytest.approx(hit.threshold, abs=CLOSE)
    scores = torch.tensor(page.evaluate("[...window.gsdff.shown.scores]"))
    torch.testing.assert_close(scores, hit.scores, rtol=0, atol=CLOSE)
    selected = torch.zeros(len(field), dtype=torch.bool)
    selected[torch.tensor(page.evaluate("window.gsdff.selected()"), dtype=torch.long)] = True
    differs = selected != hit.selected
    assert not (differs & ((hit.scores - hit.threshold).abs() > CLOSE)).any()
    assert 0 < int(selected.sum()) < len(field)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_selects_the_gaussians_that_python_selects(page, unpacked, word):
    search(page, word)
    check_selected(page, unpacked, word)


def test_the_threshold_selects_as_pythons_does(page, unpacked):
    search(page, "chair")
    page.locator("#threshold").evaluate("(e) => { e.value = 0.3; e.dispatchEvent(new Event('input')); }")
    value = float(page.locator("#threshold").input_value())
    check_selected(page, unpacked, "chair", threshold=value)
    assert page.evaluate("window.gsdff.selected().length") > 0


def test_answers_are_nearly_those_of_the_scene_before_packing(page, field):
    search(page, "lamp")
    scores = torch.tensor(page.evaluate("[...window.gsdff.shown.scores]"))
    assert (scores - field.query("lamp").scores).abs().max() < 0.05


def open_legend(page: Any) -> None:
    """Shows the classes and their legend, which a narrow window folds."""
    page.click("#mode-classes")
    page.locator("#legend").wait_for()
    if page.locator("#legend").get_attribute("open") is None:
        page.click("#legend summary")
    page.locator("#legend .class").first.wait_for()


def test_every_gaussian_has_the_class_that_python_gives_it(page, unpacked):
    open_legend(page)
    labels = page.evaluate("[...window.gsdff.shown.labels]")
    assert labels == unpacked.segment(WORDS).labels.tolist() and labels[5] == VOID
    assert page.locator("#legend .class").count() == len(WORDS)


def test_a_class_of_the_legend_is_isolated_by_a_click_and_all_are_back_by_another(page):
    open_legend(page)
    name = page.locator("#legend .class .name").first
    name.click()
    isolated = page.evaluate("window.gsdff.shown.isolated")
    assert WORDS[isolated] == name.inner_text() and name.get_attribute("aria-pressed") == "true"
    assert f"only {WORDS[isolated]}" in page.inner_text("#caption")
    name.click()
    assert page.evaluate("window.gsdff.shown.isolated") is None


def test_the_legend_has_areas_hides_recolours_and_folds(page):
    open_legend(page)
    page.locator("#legend .count", has_text="%").first.wait_for()
    shares = [float(text.removesuffix(" %")) for text in page.locator("#legend .count").all_inner_texts()]
    assert 0 < sum(shares) <= 100 + 0.05 * len(WORDS)
    row = page.locator("#legend .class", has_text="lamp")
    row.locator(".eye").click()
    assert page.evaluate("[...window.gsdff.shown.hiddenClasses]") == [WORDS.index("lamp")]
    row.locator(".eye").click()
    row.locator(".swatch").evaluate("(e) => { e.value = '#ff0000'; e.dispatchEvent(new Event('change')); }")
    assert page.evaluate(f"window.gsdff.shown.classColors[{WORDS.index('lamp')}]") == [1, 0, 0]
    page.click("#legend summary")
    assert row.is_hidden()
    page.click("#legend summary")


def test_completion_offers_known_words_and_a_click_searches(page):
    page.fill("#search", "cup")
    option = page.get_by_role("option", name="red cup")
    option.click()
    page.get_by_text("red cup: ").wait_for()
    assert page.locator("#completions").is_hidden()


def test_the_box_offers_what_was_asked_before_and_all_words_with_one_click_each(page):
    search(page, "lamp")
    page.click("#search")
    texts = page.locator("#completions li .name").all_inner_texts()
    assert texts[0] == "lamp" and sorted(texts) == sorted(WORDS)
    page.get_by_role("button", name="exclude floor").click()
    page.get_by_text("lamp: ").wait_for()
    assert page.locator(".chip").all_inner_texts() == ["lamp", "floor"]
    assert page.locator(".chip.negative").count() == 1
    page.click("#search")
    page.get_by_role("button", name="chair too").click()
    page.get_by_text("lamp or chair: ").wait_for()


def test_a_part_of_a_name_is_enough_and_a_wrong_letter_is_one_click(page):
    search(page, "chair")
    page.fill("#search", "cups")
    page.keyboard.press("Enter")
    page.get_by_text("red cup: ").wait_for()
    page.fill("#search", "chiar")
    page.keyboard.press("Enter")
    page.locator("#answer").get_by_role("button", name="chair").click()
    page.get_by_text("chair: ").wait_for()


def test_the_caption_names_what_is_on_screen(page):
    search(page, "chair")
    assert "heat: relevancy of “chair”" in page.inner_text("#caption")
    page.click("#mode-classes")
    assert page.inner_text("#caption") == "best of 5 classes"
    assert "not what is on screen now" in page.inner_text("#answer")
    page.fill("#search", "unicorn")
    page.keyboard.press("Enter")
    page.click("#modes button[value=colours]")
    assert page.inner_text("#caption") == "colours"


# --- keys


def count(page: Any, name: str) -> int:
    return page.evaluate(f"window.gsdff.editor.{name}")


def leave_the_box(page: Any) -> None:
    page.locator("#search").evaluate("(e) => e.blur()")


def test_keys_select_delete_undo_and_redo_exactly_what_was_counted(page):
    search(page, "lamp")
    number = len(page.evaluate("window.gsdff.selected()"))
    page.uncheck("#rim")
    page.click("#take-answer")
    leave_the_box(page)
    assert count(page, "numSelected") == number
    page.keyboard.press("Control+i")
    assert count(page, "numSelected") == 60 - number
    page.keyboard.press("Control+z")
    page.keyboard.press("Delete")
    assert (count(page, "numSelected"), count(page, "numDeleted")) == (0, number)
    assert f"{number} deleted" in page.inner_text("#caption")
    assert f"of {60 - number} Gaussians" in page.inner_text("#answer")
    page.keyboard.press("Control+z")
    assert (count(page, "numSelected"), count(page, "numDeleted")) == (number, 0)
    page.keyboard.press("Control+Shift+z")
    assert count(page, "numDeleted") == number
    page.keyboard.press("Control+z")
    page.keyboard.press("Escape")
    assert count(page, "numSelected") == 0


def test_numbers_choose_modes_and_the_sheet_lists_them(page):
    search(page, "lamp")
    leave_the_box(page)
    for key, mode in (("1", "colours"), ("3", "isolate"), ("5", "classes"), ("2", "heat")):
        page.keyboard.press(key)
        page.locator(f"#modes button[value={mode}][aria-pressed=true]").wait_for()
    page.keyboard.press("?")
    assert "isolate" in page.inner_text("#sheet") and "Ctrl+Shift+Z" in page.inner_text("#sheet")
    page.keyboard.press("?")
    assert page.locator("#sheet").is_hidden()


def test_letters_in_the_box_are_no_keys_and_f_looks_at_the_selection(page):
    page.click("#start")
    start = page.evaluate("window.gsdff.pose()")
    page.click("#search")
    page.keyboard.type("f")
    assert page.evaluate("window.gsdff.pose()") == start
    page.keyboard.press("Escape")
    search(page, "lamp")
    page.uncheck("#rim")
    page.click("#take-answer")
    leave_the_box(page)
    page.keyboard.press("f")
    assert page.evaluate("window.gsdff.pose()") != start
    page.keyboard.press("Home")
    assert page.evaluate("window.gsdff.pose()") == pytest.approx(start)
    page.keyboard.press("Escape")


def test_an_unknown_word_leaves_no_old_answer_on_screen(page):
    search(page, "chair")
    page.fill("#search", "unicorn")
    page.keyboard.press("Enter")
    assert '"unicorn" is none of the words' in page.inner_text("#answer")
    assert page.evaluate("[window.gsdff.shown.scores, window.gsdff.selected().length]") == [None, 0]
    assert page.locator(".chip").count() == 0 and page.locator("#threshold-row").is_hidden()


def shot(page: Any) -> bytes:
    """Picture of the canvas alone, when it stands still."""
    page.add_style_tag(content="#panel, #caption { visibility: hidden }")
    pictures = [b"", page.screenshot()]
    while pictures[-1] != pictures[-2]:
        page.wait_for_timeout(400)
        pictures.append(page.screenshot())
    page.add_style_tag(content="#panel, #caption { visibility: visible }")
    return pictures[-1]


def test_the_first_picture_is_gsdffs_own(page, field):
    page.click("#start")
    page.click("#modes button[value=colours]")
    width, height = 480, 360
    page.set_viewport_size({"width": width, "height": height})
    with Image.open(io.BytesIO(shot(page))) as png:
        seen = torch.from_numpy(np.array(png.convert("RGB"))).float() / 255
    camera = default_view(field).camera
    focal = height / 2 / math.tan(camera.fov_y / 2)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    drawn = field.draw(replace(camera, K=K, width=width, height=height)).image.clamp(0, 1)
    assert (seen - drawn).abs().mean() < 0.02 < drawn.std()


def test_each_mode_draws_another_picture_and_the_start_view_comes_back(page):
    search(page, "floor")
    pictures = {}
    for mode in ("colours", "heat", "isolate", "hide"):
        page.click(f"#modes button[value={mode}]")
        pictures[mode] = shot(page)
    assert len(set(pictures.values())) == 4
    page.click("#modes button[value=colours]")
    page.mouse.move(400, 120)
    page.mouse.down()
    page.mouse.move(440, 180, steps=4)
    page.mouse.up()
    assert shot(page) != pictures["colours"]
    page.click("#start")
    assert shot(page) == pictures["colours"]
