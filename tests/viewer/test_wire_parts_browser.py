"""The app in Chromium: films, files for this computer, classes of one's own, halves, likeness, changed selections."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from app_window import ROWS, ask, difference, expected, open_app, shot, wait_for_answer, wait_for_drawn
from app_wire import serve_shared
from page_file import read_page, write_things
from page_window import wait_until
from read_video import read_video
from tiny_run import open_field
from tiny_viewer import TinyViewer, write_tiny_viewer

import gsdff
from gsdff.editing.toml_file import read_edits
from gsdff.selection import Selection
from gsdff.viewer.page import document
from gsdff.viewer.page.dictionary import make_dictionary
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.wire.server import AppServer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyViewer:
    return write_tiny_viewer(tmp_path_factory.mktemp("parts"), torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def server(tiny: TinyViewer) -> Iterator[AppServer]:
    with serve_shared(tiny.shared, page=True) as server:
        yield server


@pytest.fixture
def page(browser: Any, server: AppServer) -> Iterator[Any]:
    page, errors = open_app(browser, server)
    yield page
    page.context.close()
    assert errors == []


def fetch(page: Any, name: str) -> bytes:
    """A file that is fetched to this computer."""
    with page.expect_download() as download:
        page.get_by_text(f"fetch {name}", exact=True).click()
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_bytes()


def select_answer(page: Any, text: str) -> Any:
    """Selects what answers a question, by hand; the mask."""
    ask(page, text)
    wait_for_answer(page, f"{text}: ")
    page.uncheck("#rim")
    page.click("#take-answer")
    return mask_of(page)


def mask_of(page: Any) -> torch.Tensor:
    return torch.tensor(page.evaluate("[...window.gsdff.editor.selected]")).bool()


# --- films


def test_a_film_is_flown_made_and_fetched(tiny, page):
    wait_for_drawn(page, "drawn by server: colours")
    page.click("#tabs button[value=view]")
    page.click("#film summary")
    page.click("#film-add")
    assert page.inner_text("#film-count") == "1 view of 2" and page.locator("#film-save").is_disabled()
    page.evaluate("window.gsdff.orbit.place([0.6, 0.3, -2, 0, 0, 0])")
    page.click("#film-add")
    page.fill("#film-seconds", "0.5")
    page.evaluate("window.gsdff.orbit.place([2, 2, 2, 0, 0, 0])")
    page.click("#film-play")
    wait_until(page, "Math.hypot(window.gsdff.pose()[0] - 0.6, window.gsdff.pose()[2] + 2) < 1e-3")
    page.click("#film-save")
    page.locator("#film-said", has_text="video_").wait_for()
    path = max((tiny.run.folder / "viewer").glob("*.mp4"))
    assert fetch(page, path.name) == path.read_bytes()
    _, frames = read_video(path)
    assert frames.shape[0] == 12 and frames.shape[1:3] == (480, 900)


def test_a_film_is_stopped(page):
    page.click("#tabs button[value=view]")
    page.click("#film summary")
    page.click("#film-add")
    page.evaluate("window.gsdff.orbit.place([0.6, 0.3, -2, 0, 0, 0])")
    page.click("#film-add")
    page.fill("#film-seconds", "200")
    page.click("#film-save")
    wait_until(page, "document.getElementById('film-share').value > 0")
    page.click("#film-stop")
    page.locator("#film-said", has_text="no film: stopped").wait_for()
    assert page.locator("#film-save").is_enabled() and page.locator("#film-share").is_hidden()


# --- files


def test_the_edited_scene_its_selection_and_the_share_page_are_saved_and_fetched(tiny, page):
    mask = select_answer(page, "chair")
    page.click("#tabs button[value=save]")
    page.click("#saves button[value=selected-scene]")
    page.locator("#saved", has_text="selection_001.ply").wait_for()
    folder = tiny.run.folder / "viewer"
    assert fetch(page, "selection_001.ply") == (folder / "selection_001.ply").read_bytes()
    assert len(gsdff.load(folder / "selection_001.ply", device="cpu")) == int(mask.sum())
    page.keyboard.press("Delete")
    page.click("#saves button[value=scene]")
    page.locator("#saved", has_text="scene_001.ply").wait_for()
    left = gsdff.load(folder / "scene_001.ply", device="cpu")
    assert torch.allclose(left.gaussians.means, tiny.shared.gaussians.means[~mask])
    fetch(page, "scene_001.basis.safetensors")
    page.click("#saves button[value=page]")
    page.locator("#saved", has_text="page_001.html").wait_for()
    assert fetch(page, "page_001.html") == (folder / "page_001.html").read_bytes()
    header, columns = read_page(folder / "page_001.html")
    assert len(columns["splats"]) == int((~mask).sum()) and header["server"] is None


def test_a_session_of_hundreds_of_edits_is_drawn_and_saved(tiny, page):
    page.evaluate("""() => {
      const { editor } = window.gsdff;
      const rows = (i) => Uint8Array.from({ length: 60 }, (_, row) => (row % 30 === i % 30 ? 1 : 0));
      for (let i = 0; i < 300; i++) editor.recolor([i % 2, 1, 0], rows(i));
    }""")
    wait_for_drawn(page, "drawn by server: colours")
    page.click("#tabs button[value=save]")
    assert "into the run: " in page.inner_text("#saves-where")
    page.click("#saves button[value=edits]")
    page.locator("#saved", has_text="edits_").wait_for()
    path = page.inner_text("#saved").splitlines()[0].removeprefix("saved ")
    assert len(read_edits(Path(path)).edits) == 300


def test_while_the_words_of_a_share_page_are_encoded_a_bar_says_how_long_it_takes(page, monkeypatch):
    may_go_on = threading.Event()

    def encode_slowly(field: Any, words: Any, classes: Any, report: Any) -> Any:
        time.sleep(1.1)
        report(0.5)
        assert may_go_on.wait(60)
        return make_dictionary(field, words, classes, report)

    monkeypatch.setattr(document, "make_dictionary", encode_slowly)
    page.click("#tabs button[value=save]")
    page.click("#saves button[value=page]")
    page.locator("#save-left", has_text="about ").wait_for()
    assert page.evaluate("document.getElementById('save-share').value") == pytest.approx(0.45)
    assert page.locator("#busy").is_hidden()
    may_go_on.set()
    page.locator("#saved", has_text=".html").wait_for()
    assert page.locator("#save-share").is_hidden() and page.locator("#save-left").is_hidden()


# --- classes


def test_classes_of_ones_own_have_a_legend_and_an_exact_picture(tiny, server, page):
    page.fill("#class-names", "wall, Chair")
    page.click("#own-classes button")
    wait_for_drawn(page, "drawn by server: classes")
    assert page.locator("#legend .class .name").all_inner_texts() in (["wall", "chair"], ["chair", "wall"])
    hit = tiny.shared.field.segment(["wall", "chair"])
    assert page.evaluate("[...window.gsdff.shown.labels]") == hit.labels.tolist()
    page.click("#legend summary")  # it lies over the picture
    before = shot(page)
    page.evaluate("""() => {
        const { gsdff } = window;
        gsdff.shown.classColors = [[0, 1, 0], [1, 0, 1]];
        gsdff.changed();
    }""")
    wait_until(page, "document.getElementById('drawn-by').textContent === 'drawn by server: classes'")
    after = shot(page)
    assert difference(before, after) > 0.05 and difference(after, expected(server, "classes")) < 0.01


def test_a_class_that_the_teacher_does_not_know_is_refused_and_the_others_stay(page):
    page.fill("#class-names", "wall, unicorn")
    page.click("#own-classes button")
    page.locator("#class-problem", has_text="unknown name 'unicorn'").wait_for()
    assert page.evaluate("window.gsdff.data.header.classes.length") == 3
    page.fill("#class-names", "wall")
    page.click("#own-classes button")
    page.locator("#class-problem", has_text="expected 2 to 254 names").wait_for()


# --- halves and things


def test_halves_show_two_modes_and_are_named(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    whole = shot(page)
    page.select_option("#beside", "depth")
    page.get_by_text("drawn by server: colours | depth", exact=True).wait_for()
    assert page.inner_text("#half-right") == "depth"
    assert page.inner_text("#half-left") == "colours"
    halved = shot(page)
    middle = halved.shape[1] // 2
    assert (halved[ROWS, middle + 10 : -20] - whole[ROWS, middle + 10 : -20]).abs().mean() > 0.03
    page.select_option("#beside", "one picture")
    page.locator("#half-right").wait_for(state="hidden")


def test_the_scene_before_its_edits_is_beside_it_after_them(page):
    page.click("#tabs button[value=select]")
    page.click("#all")
    page.click("#delete")
    page.select_option("#beside", "before | after")
    page.locator("#half-left", has_text="before the edits").wait_for()
    both = shot(page)
    middle = both.shape[1] // 2
    assert both[ROWS, middle + 10 : -20].std() < 0.02 < both[ROWS, 380 : middle - 10].std()


def test_things_are_drawn_by_the_server_too(browser, tmp_path):
    tiny = write_tiny_viewer(tmp_path, torch.Generator().manual_seed(0))
    write_things(tiny.run.folder)
    with serve_shared(open_shared_scene(open_field(tiny.run.folder)), page=True) as server:
        page, errors = open_app(browser, server)
        page.click("#modes button[value=things]")
        wait_for_drawn(page, "drawn by server: things")
        assert difference(shot(page), expected(server, "things")) < 0.01
        assert page.locator("#server-modes button[value=things]").count() == 0
        ask(page, "thing:2")
        assert page.evaluate("window.gsdff.editor.numSelected") == 12
        page.context.close()
    assert errors == []


# --- places


def test_what_is_like_a_place_is_found(tiny, page):
    wait_for_drawn(page, "drawn by server: colours")
    place = page.evaluate("""() => {
        for (let x = 0.55; x < 0.9; x += 0.02) for (let y = 0.2; y < 0.8; y += 0.02) {
            if (window.gsdff.pick(x, y) !== null) return [x, y];
        }
    }""")
    page.mouse.click(900 * place[0], 480 * place[1])
    page.click("#similar")
    wait_for_answer(page, "like this place: ")
    scores = torch.tensor(page.evaluate("[...window.gsdff.shown.scores]"))
    assert scores.max() > 0.9 and 0 < page.evaluate("window.gsdff.selected().length") < 60
    wait_for_drawn(page, "drawn by server: heat")
    ask(page, "chair")
    wait_for_answer(page, "chair: ")
    wait_for_drawn(page, "drawn by server: heat")


def test_a_selection_grows_and_shrinks(tiny, page):
    page.evaluate("window.gsdff.editor.select(Uint8Array.from({ length: 60 }, (_, row) => row < 10), 'new', 'some')")
    mask = mask_of(page)
    means = tiny.shared.gaussians.to_working_frame(tiny.shared.frame).means
    page.click("#tabs button[value=select]")
    page.click("#modify button[value=grow]")
    grown = Selection(mask).grow(means).mask
    wait_until(page, f"window.gsdff.editor.numSelected === {int(grown.sum())}")
    assert torch.equal(mask_of(page), grown) and int(grown.sum()) > int(mask.sum())
    page.click("#undo")
    assert torch.equal(mask_of(page), mask)
    page.click("#none")
    page.click("#modify button[value=shrink]")
    page.locator("#modify-problem", has_text="nothing is selected").wait_for()
