"""The app in Chromium with its server behind it: words that are not shipped, exact pictures, files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from app_window import (
    CLEAR,
    HEIGHT,
    ROWS,
    WIDTH,
    ask,
    difference,
    expected,
    open_app,
    shot,
    wait_for_answer,
    wait_for_drawn,
)  # fmt: skip
from app_wire import serve_shared, wait_until
from PIL import Image
from tiny_run import make_gaussians, open_field, write_run
from tiny_viewer import TinyViewer, write_tiny_viewer
from torch import Tensor

from gsdff.editing.toml_file import read_edits
from gsdff.export import ExportArguments, export_run
from gsdff.selection import Selection
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.wire.server import AppServer


class AnyWords:
    """A teacher that encodes any text but one."""

    name, vocabulary = "clip", None

    def __init__(self, directions: Tensor):
        self.directions = directions

    def text(self, names):
        if "gibberish" in names:
            raise RuntimeError("the network has no weights")
        lengths = [len(name) for name in names]
        return torch.stack([self.directions[:, n % 3] + 0.3 * self.directions[:, n // 3 % 3] for n in lengths])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyViewer:
    """A scene whose words are known: chair, lamp and wall."""
    return write_tiny_viewer(tmp_path_factory.mktemp("app"), torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def open_words(tmp_path_factory: pytest.TempPathFactory) -> TinyViewer:
    """The same, with a teacher that encodes any text."""
    tiny = write_tiny_viewer(tmp_path_factory.mktemp("words"), torch.Generator().manual_seed(0))
    field = tiny.shared.field
    field.read |= {"vocabulary": None, "teacher": AnyWords(field.B)}
    return tiny


@pytest.fixture(scope="module")
def server(tiny: TinyViewer) -> Iterator[AppServer]:
    with serve_shared(tiny.shared, page=True) as server:
        yield server


@pytest.fixture(scope="module")
def open_server(open_words: TinyViewer) -> Iterator[AppServer]:
    with serve_shared(open_words.shared, page=True) as server:
        yield server


@pytest.fixture
def page(browser: Any, server: AppServer) -> Iterator[Any]:
    page, errors = open_app(browser, server)
    yield page
    page.context.close()
    assert errors == []


@pytest.fixture
def open_page(browser: Any, open_server: AppServer) -> Iterator[Any]:
    page, errors = open_app(browser, open_server)
    yield page
    page.context.close()
    assert errors == []


def move(page: Any) -> None:
    """Drags the scene, and lets go."""
    page.mouse.move(600, 200)
    page.mouse.down()
    page.mouse.move(630, 240, steps=3)
    page.mouse.up()


def test_a_camera_at_rest_gets_the_exact_picture_and_a_moving_one_drops_it(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    first = shot(page)
    assert difference(first, expected(server, "colour")) < 0.005 < first[ROWS, CLEAR].std()
    page.mouse.move(600, 200)
    page.mouse.down()
    page.mouse.move(640, 240)
    page.get_by_text("drawn by browser").wait_for()
    page.mouse.up()
    wait_for_drawn(page, "drawn by server: colours")
    second = shot(page)
    assert difference(second, expected(server, "colour")) < 0.005 < difference(first, second)


def test_what_the_browser_draws_is_close_to_the_exact_picture(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    exact = shot(page)
    page.evaluate("document.getElementById('exact').hidden = true")
    drawn = shot(page)
    assert difference(exact, drawn) < 0.02 < exact[ROWS, CLEAR].std()


def test_a_word_that_is_not_shipped_is_answered_as_by_gsdff_query(open_words, open_server, open_page):
    page = open_page
    assert "any words" in page.get_attribute("#search", "placeholder")
    ask(page, "a tea pot")
    wait_for_answer(page, "a tea pot: ")
    hit = open_words.shared.field.query("a tea pot")
    scores = torch.tensor(page.evaluate("[...window.gsdff.shown.scores]"))
    torch.testing.assert_close(scores, hit.scores, rtol=0, atol=0.02)  # from latents in 8 bits
    assert page.evaluate("window.gsdff.selected().length") == len(hit.selection)
    wait_for_drawn(page, "drawn by server: heat")
    assert difference(shot(page), expected(open_server, "relevancy")) < 0.01
    move(page)
    wait_for_drawn(page, "drawn by server: heat")


def test_negatives_are_encoded_too(open_words, open_page):
    ask(open_page, "-a grey floor")
    ask(open_page, "kettle")
    wait_for_answer(open_page, "kettle: ")
    hit = open_words.shared.field.query("kettle", negatives="a grey floor")
    scores = torch.tensor(open_page.evaluate("[...window.gsdff.shown.scores]"))
    torch.testing.assert_close(scores, hit.scores, rtol=0, atol=0.02)
    assert (hit.scores - open_words.shared.field.query("kettle").scores).abs().max() > 0.05


def test_a_text_that_fails_gives_the_teachers_error_and_no_answer(open_page, page):
    ask(open_page, "kettle")
    wait_for_answer(open_page, "kettle: ")
    ask(open_page, "gibberish")
    wait_for_answer(open_page, "the network has no weights")
    assert open_page.evaluate("[window.gsdff.shown.scores, window.gsdff.shown.mode]") == [None, "colours"]
    ask(page, "unicorn")
    wait_for_answer(page, "unknown name 'unicorn'")
    assert page.evaluate("window.gsdff.shown.scores") is None


def test_modes_of_the_server_alone_are_drawn_over_the_splats(server, page):
    for mode in ("depth", "photo", "masks"):
        page.click(f"#server-modes button[value={mode}]")
        wait_for_drawn(page, f"drawn by server: {mode}")
        assert page.locator("#caption").is_hidden()
        assert difference(shot(page), expected(server, mode)) < 0.01
    page.click("#modes button[value=classes]")
    wait_for_drawn(page, "drawn by server: classes")
    assert page.locator("#caption").is_visible()
    assert page.locator('#server-modes [aria-pressed="true"]').count() == 0


def test_what_is_hidden_is_saved_as_an_edit_and_what_is_selected_as_a_selection(tiny, page):
    ask(page, "chair")
    page.click("#modes button[value=isolate]")
    selected = torch.zeros(60, dtype=torch.bool)
    selected[page.evaluate("window.gsdff.selected()")] = True
    wait_for_drawn(page, "drawn by server: isolate")
    page.click("#tabs button[value=save]")
    page.click("#saves button[value=hidden]")
    saved = page.locator("#saved", has_text="edits_").inner_text()
    assert "saved " in saved and "gsdff edit" in saved
    (edit,) = read_edits(Path(saved.splitlines()[0].removeprefix("saved "))).edits
    assert isinstance(edit.target, Path) and torch.equal(Selection.load(edit.target).mask, ~selected)
    page.click("#saves button[value=selection]")
    path = page.locator("#saved", has_text="selection_").inner_text().splitlines()[0].removeprefix("saved ")
    assert torch.equal(Selection.load(Path(path)).mask, selected) and 0 < int(selected.sum()) < 60
    page.click("#saves button[value=picture]")
    path = page.locator("#saved", has_text="screenshot_").inner_text().splitlines()[0].removeprefix("saved ")
    with Image.open(path) as picture:
        assert picture.size == (WIDTH, HEIGHT)


def test_what_is_moved_by_handles_is_moved_in_the_exact_picture_and_in_the_saved_edits(tiny, server, page):
    wait_for_drawn(page, "drawn by server: colours")
    first = shot(page)
    page.evaluate("""() => {
      const { gsdff } = window, centre = [0, 0, 0];
      gsdff.take(gsdff.selectable(), "all");
      gsdff.editor.transform({ operation: "rotate", axis: [0, 0, 1], degrees: 40, centre });
      gsdff.editor.transform({ operation: "scale", factor: 0.7, centre });
      gsdff.editor.select(new Uint8Array(60), "new", "none");
    }""")
    wait_for_drawn(page, "drawn by server: colours")
    exact = shot(page)
    page.evaluate("document.getElementById('exact').style.visibility = 'hidden'")
    assert difference(exact, first) > 0.03 > 0.02 > difference(exact, shot(page))
    page.click("#tabs button[value=save]")
    page.click("#saves button[value=edits]")
    path = page.locator("#saved", has_text="edits_").inner_text().splitlines()[0].removeprefix("saved ")
    after = tiny.shared.field.edit(*read_edits(Path(path)).edits)
    seen = torch.tensor(page.evaluate("[...window.gsdff.picture.positions]")).reshape(60, 3)
    torch.testing.assert_close(after.working.means, seen, rtol=0, atol=3e-3)


def test_no_exact_picture_is_asked_for_while_a_handle_is_held(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    page.evaluate("""() => {
      const { gsdff } = window;
      gsdff.take(gsdff.selectable(), "all");
      gsdff.editor.preview({ operation: "move", translation: [0.1, 0, 0] });
    }""")
    page.wait_for_timeout(500)
    assert page.inner_text("#drawn-by") == "drawn by browser"
    page.evaluate("window.gsdff.editor.preview(null)")
    wait_for_drawn(page, "drawn by server: colours")


def test_what_the_near_plane_cuts_off_is_not_in_the_exact_picture(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    first = shot(page)
    page.click("#tabs button[value=view]")
    page.locator("#near-plane").evaluate("(e) => { e.value = 0.8; e.dispatchEvent(new Event('input')); }")
    wait_for_drawn(page, "drawn by server: colours")
    exact = shot(page)
    page.evaluate("document.getElementById('exact').style.visibility = 'hidden'")
    assert difference(exact, first) > 0.03 > 0.02 > difference(exact, shot(page))


def test_nothing_selected_is_not_saved_and_said(page):
    page.click("#tabs button[value=save]")
    page.click("#saves button[value=selection]")
    page.get_by_text("not saved: nothing is selected").wait_for()


def test_waiting_for_the_server_is_said(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    assert page.locator("#busy").is_hidden()
    with server.answers.shared.render_lock:
        page.click("#server-modes button[value=depth]")
        page.locator("#busy").wait_for()
        assert page.inner_text("#drawn-by") == "drawn by browser"
    wait_for_drawn(page, "drawn by server: depth")
    assert page.locator("#busy").is_hidden()


def test_two_pages_show_what_each_was_asked(browser, server, page):
    other, errors = open_app(browser, server)
    other.click("#server-modes button[value=opacity]")
    ask(page, "lamp")
    wait_for_drawn(other, "drawn by server: opacity")
    wait_for_drawn(page, "drawn by server: heat")
    other.context.close()
    wait_until(lambda: len(server.tabs) == 1)
    assert errors == []


def test_a_page_whose_server_has_gone_goes_on_alone(browser, tiny):
    with serve_shared(tiny.shared, page=True) as server:
        page, _ = open_app(browser, server)  # the browser logs that it cannot connect
        wait_for_drawn(page, "drawn by server: colours")
    wait_for_drawn(page, "drawn by browser; the server is not there")
    ask(page, "chair")
    wait_for_answer(page, "chair: ")
    assert page.locator("#saves button").first.is_disabled()
    ask(page, "unicorn")
    assert '"unicorn" is none of the words' in page.inner_text("#answer")
    page.context.close()


def test_another_servers_scene_is_not_taken_for_its_own(browser, tiny):
    with serve_shared(tiny.shared, page=True) as server:
        page, _ = open_app(browser, server)
        wait_for_drawn(page, "drawn by server: colours")
        server.answers.scene = "another"
        for connection in list(server._connections):
            connection.close()
        page.get_by_text("another scene is at this address now").wait_for()
        assert page.locator("#exact").is_hidden()
        page.context.close()


def test_a_narrow_windows_picture_lies_where_its_splats_are(browser, server):
    page, errors = open_app(browser, server)
    page.set_viewport_size({"width": 390, "height": 700})
    wait_for_drawn(page, "drawn by server: colours")
    page.add_style_tag(content="#panel, #drawn, #caption, #top { visibility: hidden }")
    exact = shot(page)
    page.evaluate("document.getElementById('exact').style.visibility = 'hidden'")
    assert float((exact - shot(page)).abs().mean()) < 0.02 < exact.std()
    page.context.close()
    assert errors == []


def test_a_ply_without_features_is_a_plain_viewer(browser, tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    ply = export_run(ExportArguments(run.folder, out=tmp_path / "plain.ply"))
    with serve_shared(open_shared_scene(open_field(ply)), page=True) as server:
        page, errors = open_app(browser, server)
        wait_for_drawn(page, "drawn by server: colours")
        assert page.locator("#tabs button[value=search]").is_hidden() and shot(page)[ROWS, CLEAR].std() > 0.05
        page.click("#server-modes button[value=depth]")
        wait_for_drawn(page, "drawn by server: depth")
        assert page.locator("#server-modes button").all_inner_texts() == ["colours", "depth", "opacity"]
        page.click("#server-modes button:first-child")
        wait_for_drawn(page, "drawn by server: colours")
        page.click("#tabs button[value=save]")
        assert "beside plain.ply" in page.inner_text("#saves-where") and "plain_viewer" in page.inner_text(
            "#saves-where"
        )
        page.evaluate("window.gsdff.editor.delete(new Uint8Array(60).fill(1, 0, 5))")
        assert "gsdff edit plain.ply --edits edits.toml" in page.inner_text("#edits-note")
        page.keyboard.press("Control+z")
        page.click("#tabs button[value=view]")
        assert page.locator("#color-map").is_hidden() and page.locator("#cameras").is_hidden()
        assert page.input_value("#up-axis") == "as it came"
        page.select_option("#up-axis", "+z")  # along which it is looked at first
        for _ in range(2):
            looks = page.evaluate("-window.gsdff.picture.ray(0.5, 0.5).direction[2]")
            assert 0.1 < looks < 0.9, "seen from the side, a little from above"
            page.click("#start")
        page.context.close()
    assert errors == []
