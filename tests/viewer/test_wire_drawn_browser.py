"""The app for a scene with too many Gaussians for a browser: its server draws while the camera moves, too."""

import json
from collections.abc import Iterator
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
from page_window import load
from tiny_viewer import TinyViewer, write_tiny_viewer

from gsdff.viewer import shared_scene
from gsdff.viewer.wire.server import AppServer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyViewer]:
    """A scene that counts as large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_scene, "MOST_IN_BROWSER", 10)
        yield write_tiny_viewer(tmp_path_factory.mktemp("large"), torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def server(tiny: TinyViewer) -> Iterator[AppServer]:
    with serve_shared(tiny.shared, page=True) as server:
        yield server


@pytest.fixture
def page(browser: Any, server: AppServer) -> Iterator[Any]:
    page, errors = open_app(browser, server)
    page.evaluate("""() => {
      window.sent = [];
      const send = WebSocket.prototype.send;
      WebSocket.prototype.send = function (data) { window.sent.push(data); send.call(this, data); };
    }""")
    yield page
    page.context.close()
    assert errors == []


def sent(page: Any) -> list[dict[str, Any]]:
    """Requests for pictures so far."""
    messages = [json.loads(data) for data in page.evaluate("window.sent")]
    return [message for message in messages if message["type"] == "draw"]


def test_the_picture_is_the_servers_from_the_first_to_the_last_step_of_a_move(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    page.evaluate("window.sent = []")
    first = shot(page)
    assert difference(first, expected(server, "colour")) < 0.005 < first[ROWS, CLEAR].std()
    page.mouse.move(600, 200)
    page.mouse.down()
    for step in range(6):
        page.mouse.move(605 + 5 * step, 205 + 5 * step)
        page.wait_for_timeout(30)
        assert page.locator("#exact").is_visible() and "server" in page.inner_text("#drawn-by")
    page.mouse.up()
    wait_until(lambda: "coarse" not in page.inner_text("#drawn-by"))
    page.wait_for_timeout(400)
    wait_for_drawn(page, "drawn by server: colours")
    second = shot(page)
    assert difference(second, expected(server, "colour")) < 0.005 < difference(first, second)
    requests = sent(page)
    # the camera alone has changed
    assert len(requests) > 1 and all("scenery" not in request for request in requests)


def test_answers_and_what_is_hidden_are_drawn_by_the_server(server, page):
    ask(page, "chair")
    wait_for_answer(page, "chair: ")
    wait_for_drawn(page, "drawn by server: heat")
    assert difference(shot(page), expected(server, "relevancy")) < 0.01
    page.click("#modes button[value=isolate]")
    wait_for_drawn(page, "drawn by server: isolate")
    assert difference(shot(page), expected(server, "colour")) < 0.005
    assert sent(page)[-1]["scenery"]["hidden"]


def test_no_splat_is_sorted_until_the_browser_is_told_to_draw_in_one_colour_from_all_sides(server, page):
    header = page.evaluate("window.gsdff.data.header")
    assert header["server"]["draws"] and not any(name.startswith("sh") for name in header["columns"])
    wait_for_drawn(page, "drawn by server: colours")
    page.evaluate("document.getElementById('exact').hidden = true")
    blank = shot(page)[ROWS, CLEAR]
    assert blank.std() < 1e-6
    page.click("#tabs button[value=view]")
    page.click("#server-draws")
    page.get_by_text("drawn by browser").wait_for()
    wait_for_drawn(page, "drawn by server: colours")
    exact = shot(page)
    page.evaluate("document.getElementById('exact').hidden = true")
    page.wait_for_timeout(500)
    assert difference(shot(page), exact) < 0.05 < shot(page)[ROWS, CLEAR].std()


def slide(page: Any, share: float) -> None:
    """Moves the slider of the near plane."""
    page.locator("#near-plane").evaluate(
        "(e, share) => { e.value = share; e.dispatchEvent(new Event('input')); }", share
    )


def test_what_a_plane_has_cut_off_is_drawn_again_when_it_is_taken_back(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    whole = shot(page)
    slide(page, 0.8)
    wait_until(lambda: sent(page) and sent(page)[-1].get("scenery", {}).get("hidden"))
    page.wait_for_timeout(400)
    wait_for_drawn(page, "drawn by server: colours")
    assert difference(shot(page), whole) > 0.01
    slide(page, 0)
    page.wait_for_timeout(400)
    wait_for_drawn(page, "drawn by server: colours")
    assert not sent(page)[-1]["scenery"]["hidden"] and difference(shot(page), whole) < 0.005


def test_a_camera_that_the_server_refuses_is_said_and_the_next_picture_comes(server, page):
    wait_for_drawn(page, "drawn by server: colours")
    pose = page.evaluate("window.gsdff.pose()")
    page.evaluate("window.gsdff.orbit.place([1e7, 0, 0, 0, 0, 0])")
    page.get_by_text("the server cannot: message: Expected").wait_for()
    page.evaluate("(pose) => window.gsdff.orbit.place(pose)", pose)
    wait_for_drawn(page, "drawn by server: colours")


def test_who_draws_may_change_while_a_picture_is_under_way(server, page):
    page.click("#tabs button[value=view]")
    for _ in range(4):
        page.evaluate("""() => {
          const box = document.getElementById("server-draws"), { gsdff } = window;
          box.click();
          gsdff.picture.ask();
        }""")
        page.wait_for_timeout(45)  # a picture has been asked for, at least by a browser that draws
    assert page.is_checked("#server-draws")
    move = "(x) => { const p = window.gsdff.pose(); p[0] += x; window.gsdff.orbit.place(p); }"
    page.evaluate(move, 0.2)
    page.wait_for_timeout(400)
    wait_for_drawn(page, "drawn by server: colours")
    assert difference(shot(page), expected(server, "colour")) < 0.005


def test_a_page_that_is_opened_behind_others_is_drawn_when_it_is_looked_at(browser, server):
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    context.add_init_script("Object.defineProperty(document, 'hidden', { get: () => !window.isSeen })")
    page = context.new_page()
    errors = load(page, server.url)
    page.wait_for_timeout(500)
    assert page.locator("#exact").is_hidden()
    page.evaluate("window.isSeen = true; document.dispatchEvent(new Event('visibilitychange'))")
    wait_for_drawn(page, "drawn by server: colours")
    context.close()
    assert errors == []
