"""Messages that no page of ours sends: they are answered in the page, which goes on."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from wire import WirePage

from gsdff.viewer.messages import MAX_TEXT
from gsdff.viewer.modes import MODES
from gsdff.viewer.rendering import MAX_IMAGE_PIXELS, MAX_SIDE
from gsdff.viewer.server import Address, Server

NAN, INF = math.nan, math.inf


@pytest.fixture
def page(tiny, capfd):
    """A page of a real server; no traceback may come of the test."""
    with Server(tiny.shared, Address("127.0.0.1", 0)) as server, WirePage(server) as page:
        yield page
    assert "Traceback" not in "".join(capfd.readouterr())


def goes_on(page: WirePage) -> bool:
    """Whether the page still does what its controls say."""
    with page.tab.lock:  # the last action has ended, which would set the controls back
        chosen = "depth" if page.tab.mode != "depth" else "opacity"
    page.set("mode", chosen)
    page.wait_until(lambda: page.tab.mode == chosen)
    return True


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("mode", "no such mode", "Mode: expected one of colour, depth"),
        ("mode", 7, "Mode: expected one of"),
        ("split_mode", ["depth"], "Split view: expected one of off"),
        ("renderer", "gpu", "Rendering: expected one of browser (splats), server (exact)"),
        ("highlight", "yes", "Highlight selection: expected true or false"),
        ("threshold", NAN, "Threshold: expected a number from 0 to 1, got nan"),
        ("threshold", INF, "Threshold: expected a number"),
        ("threshold", 1e300, "Threshold: expected a number"),
        ("threshold", "0.5", "Threshold: expected a number"),
        ("threshold", True, "Threshold: expected a number"),
        ("seconds", 1e9, "Seconds: expected a number from 1 to 60"),
        ("seconds", -1.0, "Seconds: expected a number"),
        ("prompts", "x" * (MAX_TEXT + 1), "Prompts: expected a text of at most"),
        ("prompts", {"a": [1]}, "Prompts: expected a text"),
        ("selection_mode", "explode", "Selection mode: expected one of replace, add"),
        ("color", [1, 2], "Colour: expected 3 numbers"),
        ("color", [NAN, 0, 0], "Colour: expected 3 numbers"),
        ("color", [-1, 0, 0], "Colour: expected numbers from 0 to 255"),
        ("color", ["a", 0, 0], "Colour: expected 3 numbers"),
        ("color", 5, "Colour: expected 3 numbers"),
        ("video_progress", 5.0, "takes none"),
        ("past", None, "History: expected one of"),
    ],
)
def test_values_that_a_control_cannot_have_are_answered(page, name, value, answer):
    before = page.control(name).value
    page.set(name, value)
    page.wait_for_note(answer)
    assert page.control(name).value == before
    assert goes_on(page)


def test_a_value_just_outside_a_slider_is_its_end(page):
    page.set("seconds", 60.4)
    page.wait_until(lambda: page.control("seconds").value == 60.0)


@pytest.mark.parametrize(
    "updates", [{}, {"removed": True}, {"update_cb": []}, {"value": "depth", "removed": True}, [1]]
)
def test_a_control_takes_nothing_but_values(page, updates):
    page.send("GuiUpdateMessage", uuid=page.control("mode")._impl.uuid, updates=updates)
    page.wait_for_note("expected nothing but a new value")
    assert page.tab.mode == "colour" and goes_on(page)


def test_controls_and_nodes_that_do_not_exist_do_nothing(page):
    page.send("GuiUpdateMessage", uuid="none", updates={"value": 1})
    page.send("GuiFormSubmitMessage", uuid="none")
    page.send("TransformControlsDragStartMessage", name="/none", owner=str(page.client_id))
    assert goes_on(page) and page.notes == []


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"wxyz": (NAN, 0.0, 0.0, 0.0)}, "rotation of the camera"),
        ({"wxyz": (0.0, 0.0, 0.0, 0.0)}, "unit quaternion"),
        ({"wxyz": (1.0, 0.0)}, "rotation of the camera"),
        ({"position": (1e300, 0.0, 0.0)}, "position of the camera"),
        ({"position": (NAN, 0.0, 0.0)}, "position of the camera"),
        ({"look_at": (0.0, INF, 0.0)}, "look_at of the camera"),
        ({"up_direction": (0.0,)}, "up_direction of the camera"),
        ({"fov": 0.0}, "angle of view"),
        ({"fov": NAN}, "angle of view"),
        ({"fov": 4.0}, "angle of view"),
        ({"far": NAN}, "range of the camera"),
        ({"image_width": -5}, "size of the window"),
        ({"image_height": 2**63 - 1}, "size of the window"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*does not match annotation")
def test_cameras_that_are_none_are_answered(page, changes, answer):
    before = page.tab.camera
    page.move(**changes)
    page.wait_for_note(answer)
    assert torch.equal(page.tab.camera.viewmat, before.viewmat) and goes_on(page)


def test_the_same_answer_is_not_given_again_until_something_else_is_said(page):
    for _ in range(5):
        page.move(fov=0.0)
    page.move()
    page.move(fov=0.0)
    page.set("mode", "x")
    page.wait_for_note("Mode: expected")
    assert sum("angle of view" in note for note in page.notes) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"event_type": "explode"},
        {"screen_pos": ()},
        {"screen_pos": ((NAN, 0.5),)},
        {"screen_pos": ((1e30, 0.5),)},
        {"screen_pos": ((0.5,),)},
        {"ray_origin": None},
        {"event_type": "rect-select"},
        {"event_type": "rect-select", "screen_pos": ((0.0, 0.0), (NAN, 1.0))},
    ],
)
@pytest.mark.filterwarnings("ignore:.*does not match annotation")
def test_clicks_and_boxes_that_are_none_are_answered(page, fields):
    click = {"event_type": "click", "ray_origin": (0.0, 0.0, 0.0), "ray_direction": (0.0, 0.0, 1.0)}
    click |= {"screen_pos": ((0.5, 0.5),), "modifier": None}
    try:
        page.send("ScenePointerMessage", **(click | fields))
        page.wait_for_note("mouse")
    finally:
        assert not page.tab.session.selection


def test_handles_cannot_move_a_thing_out_of_the_world(page):
    page.send("ScenePointerMessage", event_type="rect-select", ray_origin=None, ray_direction=None,
              screen_pos=((-1.0, -1.0), (2.0, 2.0)), modifier="shift")  # fmt: skip
    page.wait_until(lambda: bool(page.tab.session.selection))
    page.tab.perform(page.tab.toggle_gizmo)
    handles = {"name": "/gizmo", "owner": page.tab.client.scene._owner_id}
    page.send("TransformControlsDragStartMessage", **handles)
    page.send("TransformControlsUpdateMessage", wxyz=(1.0, 0.0, 0.0, 0.0), position=(1e300, 0.0, 0.0), **handles)
    page.wait_for_note("position of the handles")
    page.send("TransformControlsUpdateMessage", wxyz=(1.0, 0.0, 0.0, 0.0), position=(0.5, 0.0, 0.0), **handles)
    page.send("TransformControlsDragEndMessage", **handles)
    page.wait_until(lambda: len(page.tab.session.edits) == 1)
    assert page.tab.session.visible.gaussians.means.isfinite().all()


def test_more_classes_than_there_are_colours_are_answered(page):
    page.set("classes", ", ".join(f"c{i}" for i in range(1000)))
    page.wait_until(lambda: page.control("classes").value.endswith("c999"))
    page.send("GuiFormSubmitMessage", uuid=page.control("classes")._impl.parent_container_id)
    page.wait_for_note("Error")
    assert goes_on(page)


# --- sizes


@pytest.mark.parametrize(
    "window", [(20_000, 20_000), (1_000_000, 1_000_000), (1_000_000_000, 1), (1, 1_000_000), (0, 0)]
)
def test_windows_of_any_size_are_drawn_within_the_limits(page, window, monkeypatch):
    monkeypatch.setattr("gsdff.viewer.render_loop.MAX_PIXELS", 10_000)  # for speed
    width, height = window
    page.move(image_width=width, image_height=height)
    page.wait_until(lambda: page.tab.client.camera.image_width == width)
    camera = page.tab.camera
    assert 1 <= camera.width * camera.height <= MAX_IMAGE_PIXELS and max(camera.width, camera.height) <= MAX_SIDE
    page.set("mode", "depth")
    page.wait_until(lambda: page.tab.render_loop.seconds > 0)
    page.set("mode", "no such mode")
    page.wait_for_note("Mode: expected")
    assert len(page.notes) == 1


def test_a_screenshot_of_an_enormous_window_is_of_bounded_size_and_says_so(page, monkeypatch):
    monkeypatch.setattr("gsdff.viewer.rendering.MAX_IMAGE_PIXELS", 64 * 48)
    monkeypatch.setattr("gsdff.viewer.render_loop.MAX_PIXELS", 1000)
    page.move(image_width=640_000, image_height=480_000)
    page.wait_until(lambda: page.tab.client.camera.image_width == 640_000)
    blocks = []
    render = page.tab.render
    monkeypatch.setattr(
        page.tab, "render", lambda request, camera, rows: blocks.append(rows) or render(request, camera, rows)
    )
    page.tab.perform(page.tab.save_screenshot)
    note = page.wait_for_note("Saved screenshot")
    assert "64x48 pixels, the largest" in note
    assert len(blocks) == 4  # of fifteen rows each, so that memory is bounded too
    with Image.open(next(page.tab.shared.folder.glob("screenshot_*.png"))) as png:
        assert png.size == (64, 48)


def test_keyframes_come_to_an_end(page, monkeypatch):
    monkeypatch.setattr("gsdff.viewer.camera_path.MAX_KEYFRAMES", 2)
    for _ in range(3):
        page.tab.perform(lambda: page.tab.camera_path.add(page.tab.camera))
    page.wait_for_note("at most 2 keyframes")
    assert len(page.tab.camera_path.keyframes) == 2


# --- painters


@pytest.mark.parametrize("error", [RuntimeError("no memory left"), ValueError("odd"), ZeroDivisionError("by zero")])
def test_the_error_of_a_painter_is_shown_and_the_tab_goes_on_drawing(page, monkeypatch, error):
    def fail(inputs, camera):
        raise error

    monkeypatch.setitem(MODES, "opacity", replace(MODES["opacity"], render=fail))
    page.set("mode", "opacity")
    page.wait_for_note(f"Cannot be drawn: {type(error).__name__}: {error}")
    page.move(position=(0.0, 0.0, -2.1))  # fails again, and is not said again
    page.wait_until(lambda: not page.tab.render_loop.is_busy)
    page.set("mode", "depth")
    page.wait_until(lambda: page.tab._failure is None)
    assert page.tab.render_loop._thread.is_alive()
    page.set("mode", "opacity")
    page.wait_until(lambda: page.tab._failure is not None)
    page.tab.notify("last", "")
    page.wait_for_note("last")
    assert sum("Cannot be drawn" in note for note in page.notes) == 2


def test_the_error_of_colours_for_the_browser_is_shown_too(page, monkeypatch):
    def fail(inputs):
        raise RuntimeError("no memory left")

    monkeypatch.setitem(MODES, "features", replace(MODES["features"], splat_colors=fail))
    page.set("mode", "features")
    page.wait_for_note("RuntimeError: no memory left")
    assert goes_on(page)


def test_a_panel_that_cannot_be_built_is_said_in_the_page(tiny, monkeypatch, capfd):
    def fail(gui, tab):
        raise RuntimeError("no panel")

    with Server(tiny.shared, Address("127.0.0.1", 0)) as server:
        monkeypatch.setattr("gsdff.viewer.server.Panel", fail)
        page = WirePage(server)
        page.move()
        page.wait_for_note("RuntimeError: no panel")
        page.socket.close()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_folder_whose_name_is_no_text_is_shown_in_the_page(tiny, tmp_path):
    tiny.shared.folder = tmp_path / "b\udcffd"
    with Server(tiny.shared, Address("127.0.0.1", 0)) as server, WirePage(server) as page:
        page.tab.perform(page.tab.save_screenshot)
        assert "b\\udcffd" in page.wait_for_note("Saved screenshot")
