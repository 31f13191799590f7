"""The viewer in a real browser: controls, mouse and images.

The scene is `tiny_answers`': thirty Gaussians to the left say chair, thirty to the right lamp.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from math import inf
from pathlib import Path

import pytest
import torch
import viser
from browser import CLEAR, HEIGHT, WIDTH, Page
from PIL import Image
from read_video import read_video
from tiny_viewer import TinyViewer, write_tiny_viewer
from torch import Tensor

from gsdff import edit
from gsdff.cameras import Camera
from gsdff.io.ply import read_ply
from gsdff.io.runs import load_run
from gsdff.render import render_features, render_rgb
from gsdff.viewer import render_loop
from gsdff.viewer.server import Address, Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Queued a .* on a closed connection"),  # the server's own filter is the test's
]
ROOT = Path(__file__).resolve().parents[2]
CHAIR, LAMP = (400, 220), (600, 220)
"""Pixels in the middle of both objects."""
RIM = (280, 220)
"""Pixel of the chair without the lamp behind it."""
EDGE = (60, 220)
"""Pixel of the background."""
ALIKE = 0.006
"""Largest mean difference between two renderings of the same image, due to JPEG and the browser's splats."""


@pytest.fixture(scope="module")
def tiny(browser, tmp_path_factory) -> TinyViewer:
    return write_tiny_viewer(tmp_path_factory.mktemp("browser"), torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def server(tiny):
    with Server(tiny.shared, Address("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def page(browser, server):
    page = Page(browser, server)
    yield page
    page.close()


def initial_camera(shared) -> Camera:
    """Camera of the middle photo, in the page's window."""
    photo = shared.views[len(shared.views) // 2].camera
    focal = float(photo.K[1, 1]) * HEIGHT / photo.height
    K = torch.tensor([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
    return Camera(photo.viewmat, K, WIDTH, HEIGHT)


def working(shared, gaussians=None):
    return (shared.gaussians if gaussians is None else gaussians).to_working_frame(shared.frame)


def rendered(shared, gaussians=None) -> Tensor:
    """Image of the rasteriser for the initial camera of a page."""
    with torch.no_grad():
        return render_rgb(working(shared, gaussians), initial_camera(shared)).image.clamp(0, 1)


def drawn_now(page) -> Tensor:
    """Image that the server would save as a screenshot."""
    return page.tab.render(page.tab.render_request, page.tab.camera).float() / 255


def around(picture: Tensor, at: tuple[int, int], size: int = 20) -> Tensor:
    """Mean colour around a pixel."""
    column, row = at
    return picture[row - size : row + size, column - size : column + size].mean((0, 1))


def brightness(picture: Tensor, at: tuple[int, int]) -> float:
    return float(around(picture, at).mean())


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().mean())


def newest(shared, pattern: str) -> Path:
    return max(shared.folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


def render_threads() -> int:
    return sum(thread.name == "gsdff-render" for thread in threading.enumerate())


def test_a_page_opens_at_the_middle_photo_with_splats_that_are_the_rasteriser_s_colours(page, tiny):
    gaussians, camera = working(tiny.shared), initial_camera(tiny.shared)
    one_sided = render_features(gaussians, camera, features=gaussians.base_colors.clamp(0, 1)).image.clamp(0, 1)
    picture = page.wait_for_picture(lambda: one_sided, ALIKE)
    assert brightness(picture, CHAIR) > 0.2 and brightness(picture, EDGE) < 0.02


def test_a_picture_of_the_server_is_the_rasteriser_s_and_follows_the_mouse(page, tiny):
    page.choose("Rendering", "server (exact)")
    before = page.wait_for_picture(lambda: rendered(tiny.shared), ALIKE)
    page.wait_for_text("rendered by the server, full resolution")
    eye = page.tab.client.camera.position
    page.drag((300, 200), (420, 240))
    page.wait_until(lambda: abs(page.tab.client.camera.position - eye).max() > 0.1, "the camera has moved")
    after = page.wait_for_picture(lambda: drawn_now(page), ALIKE)
    assert difference(before, after) > 5 * ALIKE
    page.choose("Rendering", "browser (splats)")
    splats = page.wait_for_picture(lambda: drawn_now(page), 5 * ALIKE)
    assert difference(splats, before) > 5 * ALIKE


def test_every_mode_can_be_chosen_and_shows_something_else(page, monkeypatch):
    # in one block, however busy the machine: several cut large Gaussians differently, which classes show most
    monkeypatch.setattr(render_loop, "MAX_UNDIVIDED", inf)
    page.search("chair", 30)
    page.press("Segment")
    page.wait_until(lambda: page.tab.mode == "classes", "classes are shown")
    page.choose("Rendering", "server (exact)")
    pictures: dict[str, Tensor] = {}
    for mode in page.tab.modes:
        page.choose("Mode", mode)
        page.wait_until(lambda mode=mode: page.tab.mode == mode, "the mode is chosen")
        pictures[mode] = page.wait_for_picture(lambda: drawn_now(page), ALIKE)
    assert set(pictures) == {
        "colour", "depth", "opacity", "features", "relevancy", "classes", "photo", "teacher", "masks",
    }  # fmt: skip
    for mode, picture in pictures.items():
        for other, theirs in pictures.items():
            assert mode == other or difference(picture, theirs) > 2 * ALIKE, (mode, other)


def test_the_halves_of_a_split_view_are_of_two_modes(page, tiny):
    page.choose("Split view", "opacity")
    picture = page.wait_for_picture(lambda: drawn_now(page), ALIKE)
    is_grey = (picture.amax(-1) - picture.amin(-1)) < 0.02
    middle = WIDTH // 2
    left = slice(0, middle - 2)
    assert is_grey[:, middle + 2 :].all() and not is_grey[:, left].all()
    assert difference(picture[:, left], rendered(tiny.shared)[:, left]) < 2 * ALIKE


@pytest.mark.parametrize("renderer", ["browser (splats)", "server (exact)"])
def test_a_text_lights_up_its_object_alone_and_the_threshold_moves_that(page, renderer):
    page.choose("Rendering", renderer)
    page.search("chair", 30)
    page.wait_until(lambda: brightness(page.picture(), CHAIR) > 0.8, "the chair is lit")
    assert brightness(page.settled(), LAMP) < 0.3
    page.search("lamp", 30)
    page.wait_until(lambda: brightness(page.picture(), LAMP) > 0.8, "the lamp is lit")
    assert brightness(page.settled(), CHAIR) < 0.3
    page.fill("Threshold", "0")
    page.wait_for_count(60)
    page.wait_until(lambda: brightness(page.picture(), RIM) < 0.004, "the chair has the colour of a low score")
    page.fill("Threshold", "0.9")
    page.wait_for_count(30)
    page.wait_until(lambda: brightness(page.picture(), RIM) > 0.008, "the chair is grey again")


def test_clicks_and_boxes_select_add_and_take_away(page):
    selected = page.tab.session
    page.settled()
    page.click(CHAIR)
    page.wait_for_count(30)
    assert selected.selected[:30].all()
    page.click(LAMP, "Shift")
    page.wait_for_count(60)
    page.click(CHAIR, "Control")
    page.wait_for_count(30)
    assert selected.selected[30:].all()
    page.drag((150, 20), (500, 420), "Control")
    page.drag((150, 20), (640, 420), "Shift")
    page.wait_until(lambda: selected.selected.sum() > 55, "the box has added the chair")
    page.drag((2, 2), (650, 438), "Control")
    page.wait_for_count(0)


def test_delete_undo_and_redo_take_the_object_out_and_bring_it_back(page):
    whole = page.settled()
    page.search("chair", 30)
    page.choose("Mode", "colour")
    page.turn_to("Edit")
    page.press("Delete")
    page.wait_for_count(0, of=30)
    page.wait_until(lambda: brightness(page.picture(), RIM) < 0.03, "the chair is gone")
    assert brightness(page.picture(), LAMP) > 0.15
    page.press("undo")
    page.wait_for_count(30)
    page.row("Highlight selection").locator("input").uncheck()
    page.wait_until(lambda: difference(page.picture(), whole) < 0.001, "all is as it was")
    page.press("redo")
    page.wait_for_count(0, of=30)


def test_edits_that_were_saved_replay_to_the_bytes_that_were_exported(page, tiny, tmp_path, monkeypatch):
    page.choose("Rendering", "server (exact)")
    before = page.wait_for_picture(lambda: rendered(tiny.shared), ALIKE)
    page.search("lamp", 30)
    page.turn_to("Edit")
    page.choose("Mode", "colour")
    page.press("Recolour")
    page.wait_for_text('recolor "lamp" (30 Gaussians)')
    page.row("Highlight selection").locator("input").uncheck()
    after = page.wait_for_picture(lambda: drawn_now(page), ALIKE)
    blue = around(after, LAMP) - around(before, LAMP)
    assert blue[2] > blue[0] + 0.05
    page.search("chair", 30)
    page.press("Delete")
    page.wait_for_count(0, of=30)
    page.turn_to("Save")
    for name in ("Edits (.toml)", "Scene (.ply)"):
        page.press(name)
        page.wait_for_text("Saved")
        page.close_note()
    edits, scene = newest(tiny.shared, "edits_*.toml"), newest(tiny.shared, "scene_*.ply")
    again = tmp_path / "again.ply"
    monkeypatch.setattr(sys, "argv", ["edit", str(tiny.run.folder), "--edits", str(edits), "--out", str(again)])
    edit.main()
    assert again.read_bytes() == scene.read_bytes()
    assert len(read_ply(scene)) == 30
    assert len(load_run(tiny.run.folder).gaussians) == 60


def test_errors_are_shown_in_the_page(page):
    page.fill("Prompts", "unicorn")
    page.wait_for_text("Error")
    page.close_note()
    page.turn_to("Edit")
    page.press("Delete")
    page.wait_for_text("nothing is selected")


def test_the_photos_cameras_are_shown_but_for_the_one_that_the_page_stands_in(page):
    without = page.settled()
    page.row("Show cameras").locator("input").check()
    page.wait_until(lambda: len(page.tab.frustums) == 10, "there are ten")
    page.page.mouse.move(328, 220)
    page.page.mouse.wheel(0, 1200)
    page.wait_until(lambda: page.tab.frustums[5][0].visible, "the one that the page stood in is seen from behind")
    page.row("Show cameras").locator("input").uncheck()
    page.wait_until(lambda: not page.tab.frustums, "they are gone")
    assert difference(page.settled(), without) > ALIKE  # from further away


def test_a_screenshot_is_the_image_and_a_video_goes_through_the_keyframes(page, tiny):
    page.choose("Rendering", "server (exact)")
    page.wait_for_picture(lambda: rendered(tiny.shared), ALIKE)
    page.turn_to("Save")
    page.press("Screenshot (.png)")
    page.wait_for_text("Saved")
    page.close_note()
    with Image.open(newest(tiny.shared, "screenshot_*.png")) as png:
        assert png.size == (WIDTH, HEIGHT)
        saved = torch.frombuffer(bytearray(png.convert("RGB").tobytes()), dtype=torch.uint8)
    saved = saved.view(HEIGHT, WIDTH, 3).float() / 255
    start = page.wait_for_picture(lambda: saved, ALIKE)
    page.turn_to("Video")
    page.press("Add keyframe")
    page.wait_for_text("1 keyframe")
    eye = page.tab.client.camera.position
    page.drag((300, 200), (420, 240))
    page.wait_until(lambda: abs(page.tab.client.camera.position - eye).max() > 0.1, "the camera has moved")
    end = page.wait_for_picture(lambda: drawn_now(page), ALIKE)
    page.press("Add keyframe")
    page.wait_for_text("2 keyframes")
    page.fill("Seconds", "1")
    page.press("Save video (.mp4)")
    page.wait_for_text("Saved")
    page.close_note()
    _, frames = read_video(newest(tiny.shared, "video_*.mp4"))
    first, last = (frames[i, :, :CLEAR].float() / 255 for i in (0, -1))
    size = slice(0, min(HEIGHT, frames.shape[1]))
    assert difference(first, start[size]) < 5 * ALIKE < difference(last, start[size])
    assert difference(last, end[size]) < 5 * ALIKE


def test_a_page_with_a_token_opens_reloads_and_takes_orders(browser, tiny):
    with Server(tiny.shared, Address("0.0.0.0", 0)) as server:
        page = Page(browser, server)
        page.search("chair", 30)
        page.page.reload()
        page.wait_for_count(0)
        page.close()
        stranger = browser.new_page()
        stranger.goto(server.address.url)
        assert "open the whole address" in stranger.content() and server.gate.token not in stranger.content()
        stranger.close()


def test_another_web_page_can_neither_order_nor_frame_this_one(browser, server):
    stranger = browser.new_page()
    stranger.route("http://evil.example/*", lambda route: route.fulfill(body="<p>", content_type="text/html"))
    stranger.goto("http://evil.example/")
    place = f"127.0.0.1:{server.address.port}"
    opened = stranger.evaluate(
        """([place, protocol]) => new Promise(done => {
            const socket = new WebSocket(`ws://${place}`, [protocol])
            socket.onopen = () => done(true)
            socket.onerror = () => done(false)
        })""",
        [place, f"viser-v{viser.__version__}"],
    )
    stranger.evaluate(
        """place => new Promise(done => {
            const frame = document.createElement("iframe")
            frame.onload = () => done()
            frame.src = `http://${place}/`
            document.body.append(frame)
        })""",
        place,
    )
    assert opened is False and stranger.frames[1].url.startswith("chrome-error:")
    stranger.close()


def test_pages_have_selections_of_their_own_and_leave_nothing_when_closed(browser, server):
    pages = [Page(browser, server, 500, 300) for _ in range(2)]
    pages[0].wait_until(lambda: len(server.open_panels) == render_threads() == 2, "each page has a thread")
    for page, text in zip(pages, ("chair", "lamp"), strict=True):
        page.search(text, 30)
    chair, lamp = (page.tab.session.selected for page in pages)
    assert chair[:30].all() and not chair[30:].any() and torch.equal(lamp, ~chair)
    pages[1].choose("Rendering", "server (exact)")
    pages[1].close()
    pages[0].wait_until(lambda: len(server.open_panels) == 1 and render_threads() == 1, "one page is left")
    pages[0].fill("Threshold", "0")
    pages[0].wait_for_count(60)
    pages[0].page.wait_for_timeout(10)
    pages[0].close()
    for thread in threading.enumerate():
        if thread.name == "gsdff-render":
            thread.join(30)
    assert render_threads() == 0 and not server.open_panels


def test_a_door_takes_the_next_port_and_ends_quietly_while_a_page_draws(browser, tiny):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "gsdff.view",
            str(tiny.run.folder),
            "--old-page",
            "--port",
            str(port),
            "--device",
            "cpu",
        ]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            said = process.stdout.readline()
            url = said.split("open ")[1].split(" ")[0]
            assert int(url.rsplit(":", 1)[1]) > port
            for ends_first in (True, False):
                page = browser.new_page(viewport={"width": 500, "height": 300})
                page.goto(url)
                page.get_by_text("Gaussians selected").wait_for()
                page.mouse.move(60, 200)
                page.mouse.down()
                page.mouse.move(100, 210, steps=5)
                if ends_first:
                    page.close()
            process.send_signal(signal.SIGINT)
            _, noise = process.communicate(timeout=60)
            page.close()
        finally:
            process.kill()
    assert process.returncode == 130
    assert f"port {port} is taken" in noise and noise.rstrip().endswith("interrupted")
    assert "Traceback" not in noise and "Warning" not in noise and "Queued" not in noise
