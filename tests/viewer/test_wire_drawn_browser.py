"""The app for a scene with too many Gaussians for a browser: its server draws while the camera moves, too."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from app_window import CLEAR, ROWS, ask, difference, expected, open_app, shot, wait_for_answer, wait_for_drawn
from app_wire import serve_shared, wait_until
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
