"""Controls and mouse of a page: effects on the tab, and texts in the page."""

import logging
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_client import FakeClient
from read_video import read_video
from tiny_answers import NUM_CHAIR
from tiny_run import make_gaussians, open_field

from gsdff import Delete, Move, Recolor
from gsdff.cameras import Camera
from gsdff.editing.toml_file import read_edits
from gsdff.field.query import Query
from gsdff.io.ply import write_ply
from gsdff.viewer.modes import MODES, Mode
from gsdff.viewer.panel import NO_QUERY, OFF, Panel
from gsdff.viewer.shared_scene import SharedScene, open_shared_scene
from gsdff.viewer.tab import Tab, split_texts


class Page:
    """A tab with its panel and its client."""

    def __init__(self, shared: SharedScene):
        self.client = FakeClient(48, 36)
        self.tab = Tab(shared, self.client)
        self.panel = Panel(self.client.gui, self.tab)

    def __getitem__(self, label: str):
        return self.client.gui[label]

    @property
    def notes(self) -> list[tuple[str, str, str | None]]:
        return self.client.notes

    @property
    def count(self) -> str:
        return re.sub("<.*?>", "", self.panel.count.content)

    def search(self, text: str, negatives: str = "") -> None:
        self["Prompts"].value, self["Negative prompts"].value = text, negatives
        self["Search"].press()

    def press(self, group: str, button: str) -> None:
        self[group].choose(button)

    def wait_for_picture(self) -> np.ndarray:
        """Full image of the server."""
        for _ in range(2000):
            render_loop = self.tab.render_loop
            if not (render_loop._changed.is_set() or render_loop._is_rendering):
                return self.client.scene.backgrounds[-1]
            time.sleep(0.01)
        raise AssertionError("no picture comes")


@pytest.fixture
def open_page():
    """Opens pages, and closes them."""
    pages = []

    def open_it(shared: SharedScene) -> Page:
        pages.append(Page(shared))
        return pages[-1]

    yield open_it
    for page in pages:
        page.tab.close()
        assert not page.tab.render_loop._thread.is_alive()


@pytest.fixture
def page(tiny, open_page) -> Page:
    return open_page(tiny.shared)


def selected_ids(page: Page) -> list[int]:
    return page.tab.session.selection.mask.nonzero()[:, 0].tolist()


CHAIRS, LAMPS = list(range(NUM_CHAIR)), list(range(NUM_CHAIR, 60))


# --- display


def test_a_new_page_shows_splats_in_their_colours_from_the_first_photo(page, tiny):
    splats = page.client.scene["/splats"]
    colors = page.tab.session.visible.gaussians.base_colors.clamp(0, 1)
    assert np.array_equal(splats.rgbs, colors.numpy()) and splats.visible is not False
    assert torch.allclose(page.tab.camera.viewmat, tiny.shared.initial_camera.viewmat, atol=1e-5)
    assert page.count == "0 of 60 Gaussians selected" and page.notes == []
    assert page["Mode"].options == page.tab.modes


def test_a_mode_that_a_browser_can_draw_sends_colours_alone(page):
    splats = page.client.scene["/splats"]
    page["Mode"].choose("features")
    assert page.tab.mode == "features" and splats.changes.count("rgbs") == 1 and "gaussians" not in splats.changes
    assert "same in all views" in page.panel.legend.content
    assert not page.client.scene.backgrounds[-1].any()


@pytest.mark.parametrize("mode", ["depth", "opacity", "photo", "teacher", "masks"])
def test_a_mode_that_it_cannot_is_drawn_here(page, mode):
    page["Mode"].choose(mode)
    picture = page.wait_for_picture()
    assert picture.shape == (36, 48, 3) and picture.any()
    assert not page.client.scene.of_kind("gaussian_splats")
    assert "rendered by the server, full resolution" in page.panel.speed.content
    page["Mode"].choose("colour")
    assert page.client.scene.of_kind("gaussian_splats") and not page.client.scene.backgrounds[-1].any()
    assert "browser" in page.panel.speed.content


def test_a_new_mode_needs_a_row_and_nothing_else(tiny, open_page, monkeypatch):
    def grey(inputs, camera):
        return torch.full((camera.height, camera.width, 3), 0.4)

    monkeypatch.setitem(MODES, "grey", Mode("grey", grey, tints_selection=False, legend=lambda *_: "all grey"))
    page = open_page(tiny.shared)
    page["Mode"].choose("grey")
    assert (page.wait_for_picture() == 102).all() and page.panel.legend.content == "all grey"
    assert "grey" in page["Split view"].options


def test_two_modes_of_a_photo_have_one_legend(page):
    page["Mode"].choose("photo")
    page["Split view"].choose("masks")
    assert page.panel.legend.content.count("nearest") == 1
    page["Split view"].choose("features")
    assert page.panel.legend.content.count("nearest") == page.panel.legend.content.count("principal") == 1


def test_who_draws_can_be_chosen(page):
    page["Rendering"].choose("server (exact)")
    exact = page.wait_for_picture()
    assert page.tab.renderer == "server" and exact.any()
    page["Rendering"].choose("browser (splats)")
    assert page.tab.renderer == "browser" and not page.tab.render_loop.is_enabled


def test_a_split_view_shows_another_mode(page):
    page["Split view"].choose("opacity")
    both = page.wait_for_picture().copy()
    assert (both[:, 24] == 255).all()
    page["Split view"].choose(OFF)
    page["Mode"].choose("opacity")
    opacity = page.wait_for_picture()
    assert page.tab.split_mode is None
    assert (abs(both[:, 26:].astype(int) - opacity[:, 26:].astype(int)) <= 1).all()
    assert (both[:, :22] != opacity[:, :22]).any()


def test_a_camera_that_moves_is_followed(page):
    page["Mode"].choose("opacity")
    before = page.wait_for_picture().copy()
    page.client.camera.position = page.client.camera.position + np.array([0.3, 0.0, 0.0])
    page.client.move()
    after = page.wait_for_picture()
    assert (before != after).any()
    page.client.resize(60, 20)
    assert page.wait_for_picture().shape == (20, 60, 3)


def test_the_photos_cameras_come_and_go_and_one_flies_there(page, tiny, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    page["Show cameras"].choose(True)
    frustums = page.client.scene.of_kind("camera_frustum")
    assert len(frustums) == 10 and all(max(frustum.image.shape) == 96 for frustum in frustums)
    assert [frustum.color for frustum in frustums].count((255, 158, 13)) == 2  # held out
    assert frustums[5].visible is False and frustums[0].visible is True  # one stands in the first camera
    frustums[9].press()
    assert torch.allclose(page.tab.camera.position, tiny.shared.views[9].camera.position, atol=1e-5)
    page.client.move()
    assert frustums[5].visible is True and frustums[9].visible is False
    page["Show cameras"].choose(False)
    assert page.client.scene.of_kind("camera_frustum") == []


def test_frustums_stand_where_the_cameras_do(page, tiny):
    page["Show cameras"].choose(True)
    for frustum, view in zip(page.client.scene.of_kind("camera_frustum"), tiny.shared.views, strict=True):
        assert np.allclose(frustum.position, view.camera.position.numpy())
        assert frustum.aspect == pytest.approx(30 / 22) and frustum.fov == pytest.approx(2 * np.arctan(11 / 28))
        w, x, y, z = frustum.wxyz
        forward = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]
        assert np.allclose(forward, view.camera.viewmat[2, :3].numpy(), atol=1e-6)


# --- queries


def test_a_text_selects_and_shows_its_relevancy(page):
    page.search("chair")
    assert selected_ids(page) == CHAIRS and page.tab.mode == page["Mode"].value == "relevancy"
    assert page.count == "30 of 60 Gaussians selected"
    threshold, session = page["Threshold"], page.tab.session
    assert threshold.disabled is False and threshold.value == session.threshold
    assert threshold.min <= session.threshold <= threshold.max and threshold.step > 0
    assert "linear-gradient" in page.panel.legend.content and "3D" in page.panel.legend.content


def test_a_form_is_submitted_as_well_as_its_button_is_pressed(page):
    page["Prompts"].value = "lamp"
    page.client.gui.of_kind("form")[0].press()
    assert selected_ids(page) == LAMPS


def test_several_texts_and_negatives_are_parted_by_commas(page):
    page.search(" chair , wall,", "lamp,")
    query = page.tab.session.prepared.query
    assert query.positives == ("chair", "wall") and query.negatives == ("lamp",)
    assert split_texts("a b, c ,, ") == ("a b", "c") and split_texts(" ") == ()


@pytest.mark.parametrize(
    ("text", "negatives", "words"),
    [
        ("", "", "text to search for"),
        (" , ", "", "text to search for"),
        ("sofa", "", "sofa"),
        ("chair", "chair", "chair"),
    ],
)
def test_a_users_mistake_is_shown_and_changes_nothing(page, text, negatives, words):
    page.search(text, negatives)
    ((_, body, color),) = page.notes
    assert words in body and color == "red"
    assert page.tab.session.prepared is None and page.tab.mode == "colour" and page.panel.history == []
    page["Classes"].value = "chair"
    page["Segment"].press()
    assert "two different names" in page.notes[1][1] and page.tab.session.prepared_classes is None


def test_the_threshold_is_followed_while_it_is_dragged(page):
    page.search("chair")
    low, high = page["Threshold"].min, page["Threshold"].max
    page["Threshold"].choose(high)
    assert set(selected_ids(page)) <= set(CHAIRS) and page.count.startswith(f"{len(selected_ids(page))} of")
    page["Threshold"].choose(low)
    assert len(selected_ids(page)) == 60 and page.tab.session.threshold == low
    assert page.tab.mode == "relevancy" and (page["Threshold"].min, page["Threshold"].max) == (low, high)


def test_the_slider_is_left_to_the_user_while_a_value_is_worked_on(page):
    """A slider that moves on to 0.7 while 0.2 is applied must not jump back, and 0.7 must be applied in the end."""
    page.search("chair")
    slider, session = page["Threshold"], page.tab.session
    shown = []
    refresh = page.tab.on_refresh

    def go_on(what) -> None:
        refresh(what)
        shown.append(session.threshold)
        if len(shown) == 1:
            assert slider.value == 0.2
            slider.choose(0.7)

    page.tab.on_refresh = go_on
    slider.choose(0.2)
    assert shown == [0.2, 0.7] and slider.value == session.threshold == 0.7


def test_values_that_were_passed_over_are_not_worked_on(page):
    page.search("chair")
    slider, shown = page["Threshold"], []
    page.tab.on_refresh = shown.append
    with page.tab.lock:  # while something else is worked on; the slider is at the last value when they get to it
        threads = [threading.Thread(target=slider.choose, args=(0.4,)) for _ in range(3)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert len(shown) == 1 and page.tab.session.threshold == 0.4


def test_the_threshold_before_any_query_does_nothing(page):
    page["Threshold"].choose(0.3)
    assert page.notes == [] and page.tab.session.prepared is None


def test_classes_are_told_apart_with_a_legend(page):
    assert page["Classes"].value == "chair, lamp, wall"
    page["Segment"].press()
    assert page.tab.mode == page["Mode"].value == "classes"
    assert page.tab.session.labels.tolist() == [0] * 30 + [1] * 30
    legend = page.panel.legend.content
    assert "chair" in legend and "lamp" in legend and "wall" not in legend  # of which nothing is there


def test_past_queries_can_be_repeated(page):
    page.search("chair")
    page.search("lamp", "wall")
    page.search("chair")
    assert page["History"].options == (NO_QUERY, "chair", "lamp (not wall)")
    page["History"].choose("lamp (not wall)")
    assert selected_ids(page) == LAMPS and (page["Prompts"].value, page["Negative prompts"].value) == ("lamp", "wall")
    page["History"].choose(NO_QUERY)
    assert selected_ids(page) == LAMPS


def test_what_a_user_types_is_never_markup(page, open_page, tiny, monkeypatch):
    field = tiny.shared.field
    monkeypatch.setattr(type(field), "encode_text", lambda self, names, prompts=(): torch.eye(5)[: len(names)])
    page["Classes"].value = "<img src=x>, b"
    page["Segment"].press()
    page.search("<script>")
    page["Delete"].press()
    assert page.tab.session.edits
    shown = [handle.content for handle in page.client.gui.of_kind("html")]
    assert any("&lt;" in content for content in shown)
    assert not any("<img" in content or "<script" in content for content in shown)


def test_values_set_by_the_program_start_nothing(page):
    done = []
    page.tab.perform = lambda action, **options: done.append(action)
    page["Mode"].value, page["Rendering"].value, page["Split view"].value = "depth", "server (exact)", "depth"
    page["Highlight selection"].value, page["Show cameras"].value, page["Threshold"].value = False, True, 0.9
    page["History"].options = (NO_QUERY, "chair")
    page["History"].value = "chair"
    page["Selection mode"].value = "add"
    assert done == [] and page.tab.mode == "colour"


# --- selecting


def at(page: Page, index: int) -> tuple[float, float]:
    """Point of the window that shows a Gaussian."""
    camera = page.tab.camera
    mean = page.tab.shared.gaussians.to_working_frame(page.tab.shared.frame).means[index]
    x, y, z = camera.K @ (camera.viewmat[:3, :3] @ mean + camera.viewmat[:3, 3])
    return float(x / z) / camera.width, float(y / z) / camera.height


def test_a_click_selects_what_is_alike_and_keys_combine(page):
    scene = page.client.scene
    scene.click(*at(page, 0))
    assert selected_ids(page) == CHAIRS and page.tab.mode == "colour"
    scene.click(*at(page, 40), "shift")
    assert selected_ids(page) == CHAIRS + LAMPS
    scene.click(*at(page, 0), "cmd/ctrl")
    assert selected_ids(page) == LAMPS
    scene.click(0.01, 0.01)
    assert "shows nothing there" in page.notes[-1][1] and selected_ids(page) == LAMPS


def test_a_box_adds_and_takes_away(page):
    scene = page.client.scene
    scene.box((0.0, 0.0), (1.0, 1.0), "shift")
    assert selected_ids(page) == CHAIRS + LAMPS
    middle = (at(page, 0)[0] + at(page, 40)[0]) / 2
    scene.box((middle, 0.0), (1.0, 1.0), "cmd/ctrl")
    assert set(selected_ids(page)) >= set(CHAIRS[:10]) and not set(selected_ids(page)) & {40}
    assert ("box", None) not in scene.listeners  # that is how the camera is turned


def test_a_new_selection_combines_as_is_chosen(page):
    page.search("chair")
    page["Selection mode"].choose("add")
    page.search("lamp")
    assert selected_ids(page) == CHAIRS + LAMPS
    page["Selection mode"].choose("subtract")
    page.search("chair")
    assert selected_ids(page) == LAMPS
    page["Selection mode"].choose("intersect")
    page.search("chair")
    assert selected_ids(page) == []


def test_buttons_change_the_selection(page):
    page.search("chair")
    page.press("Modify", "invert")
    assert selected_ids(page) == LAMPS
    page.press("Modify", "grow")
    page.press("Modify", "shrink")
    page.press("Clean up", "keep largest")
    page.press("Clean up", "drop floaters")
    assert page.notes == []
    page["Deselect"].press()
    assert selected_ids(page) == []
    for group, button in (("Modify", "shrink"), ("Clean up", "keep largest"), ("Clean up", "drop floaters")):
        page.press(group, button)
    assert page.notes == [] and selected_ids(page) == []


# --- editing


def test_edits_are_made_listed_and_taken_back(page):
    page.search("chair")
    page["Delete"].press()
    assert page.count == "0 of 30 Gaussians selected"
    assert page.panel.edits.content.count("delete") == 1 and "30 Gaussians" in page.panel.edits.content
    assert page.client.scene["/splats"].centers.shape == (30, 3)
    page.press("Edits", "undo")
    assert page.count == "30 of 60 Gaussians selected" and "no edits" in page.panel.edits.content
    page.press("Edits", "redo")
    page.press("Edits", "redo")
    assert "nothing to redo" in page.notes[-1][1]
    assert len(page.tab.session.edits) == 1


def test_hidden_gaussians_are_counted(page):
    page.search("chair")
    page.press("Visibility", "hide")
    assert page.count == "0 of 30 Gaussians selected, 30 hidden"
    page.press("Visibility", "show all")
    assert page.count == "0 of 60 Gaussians selected"
    page.press("Visibility", "hide")
    assert "nothing is selected" in page.notes[-1][1]


def test_a_colour_is_given_but_black(page):
    page.search("lamp")
    page["Colour"].value = (0, 0, 0)
    page["Recolour"].press()
    assert "black" in page.notes[-1][1] and page.tab.session.edits == []
    page["Colour"].value = (51, 102, 255)
    page["Recolour"].press()
    (made,) = page.tab.session.edits
    assert isinstance(made.edit, Recolor) and made.edit.color == (0.2, 0.4, 1.0)


def test_handles_move_the_selection_when_they_are_let_go(page, tiny):
    page["Move with handles"].press()
    assert "nothing is selected" in page.notes[-1][1]
    page.search("chair")
    page["Move with handles"].press()
    handles = page.client.scene["/gizmo"]
    start = np.array(handles.position)
    means = page.tab.session.visible.gaussians.means[:NUM_CHAIR]
    assert np.allclose(start, means.median(0).values)
    handles.drag(start + np.array([0.5, 0.0, 0.0]))
    handles.drag(start + np.array([0.5, 0.25, 0.0]))
    moved = [made.edit for made in page.tab.session.edits]
    scale = tiny.shared.frame.scale
    assert [type(operation) for operation in moved] == [Move, Move]
    assert np.allclose(moved[0].translation, [0.5 * scale, 0, 0], atol=1e-6)
    assert np.allclose(moved[1].translation, [0, 0.25 * scale, 0], atol=1e-6)
    now = page.tab.session.visible.gaussians.means[:NUM_CHAIR]
    assert torch.allclose(now - means, torch.tensor([0.5, 0.25, 0.0]), atol=1e-5)
    page["Move with handles"].press()
    assert page.client.scene.of_kind("transform_controls") == []


def test_handles_go_when_something_else_is_selected(page):
    page.search("chair")
    page["Move with handles"].press()
    page.search("lamp")
    assert page.client.scene.of_kind("transform_controls") == []
    page["Move with handles"].press()
    assert len(page.client.scene.of_kind("transform_controls")) == 1


# --- camera path and saving


def test_a_flight_looks_once_for_what_it_turns_about(page, tiny, monkeypatch):
    looks, ours = [], SharedScene.depth_at
    monkeypatch.setattr(SharedScene, "depth_at", lambda shared, camera: looks.append(camera) or ours(shared, camera))
    target = tiny.shared.views[0].camera
    page.tab.fly_to(target)
    assert len(looks) == 1 and np.allclose(page.client.camera.position, target.position, atol=1e-5)


def test_a_video_through_keyframes_is_written(page):
    page["Add keyframe"].press()
    page["Save video (.mp4)"].press()
    assert "two keyframes" in page.notes[-1][1]
    page.client.camera.position = page.client.camera.position + np.array([0.2, 0.0, 0.0])
    page["Add keyframe"].press()
    assert "2 keyframes" in page.panel.keyframes.content
    page["Seconds"].value = 1.0
    page["Save video (.mp4)"].press()
    title, body, _ = page.notes[-1]
    path = page.tab.shared.folder / "video_002.mp4"
    assert title == "Saved video_002.mp4" and body == str(path) and read_video(path)[1].shape == (24, 36, 48, 3)
    assert page.panel.video_progress.value == 100 and page.panel.video_progress.visible is False
    page.press("Keyframes", "remove last")
    page.press("Keyframes", "remove all")
    assert "0 keyframes" in page.panel.keyframes.content
    page.press("Playback", "play")
    assert "two keyframes" in page.notes[-1][1]


def test_flying_moves_the_camera_through_the_views(page, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    first = page.client.camera.position.copy()
    page["Add keyframe"].press()
    page.client.camera.position = first + np.array([0.4, 0.0, 0.0])
    page["Add keyframe"].press()
    page.client.camera.position = first + np.array([0.0, 5.0, 0.0])
    page["Seconds"].value = 1.0
    page.press("Playback", "play")
    assert np.allclose(page.client.camera.position, first + np.array([0.4, 0.0, 0.0]), atol=1e-4)


def test_saved_files_are_shown_with_the_command_that_replays_edits(page, tiny):
    page["Edits (.toml)"].press()
    page["Selection (.ply)"].press()
    assert [color for *_, color in page.notes] == ["red", "red"]
    page.search("chair")
    page["Selection (.ply)"].press()
    page["Delete"].press()
    for label in ("Edits (.toml)", "Scene (.ply)", "Screenshot (.png)"):
        page[label].press()
    folder = tiny.shared.folder
    assert f"gsdff edit {tiny.run.folder} --edits {folder / 'edits_001.toml'}" in page.notes[3][1]
    assert [type(edit) for edit in read_edits(folder / "edits_001.toml").edits] == [Delete]
    assert {path.name for path in folder.iterdir()} >= {
        "edits_001.toml", "scene_001.ply", "selection_001.ply", "screenshot_001.png",
    }  # fmt: skip


# --- other scenes, and the end


def test_a_ply_without_features_has_no_questions_and_can_be_edited(open_page, tmp_path, generator, caplog):
    with caplog.at_level(logging.INFO, "gsdff"):
        write_ply(tmp_path / "other.ply", make_gaussians(generator))
        page = open_page(open_shared_scene(open_field(tmp_path / "other.ply")))
    labels = {vars(handle).get("label") for handle in page.client.gui.added}
    assert not labels & {"Prompts", "Threshold", "Classes"} and page["Show cameras"].visible is False
    assert [key for key in page.client.scene.listeners] == [("box", "shift"), ("box", "cmd/ctrl")]
    page.client.scene.box((0.0, 0.0), (0.5, 1.0), "shift")
    assert 0 < len(selected_ids(page)) < 60
    page["Delete"].press()
    page["Scene (.ply)"].press()
    assert page.notes[-1][0] == "Saved scene_001.ply" and (tmp_path / "other_viewer" / "scene_001.ply").is_file()


def test_large_scenes_are_drawn_here(tiny, open_page, monkeypatch):
    monkeypatch.setattr("gsdff.viewer.shared_scene.BROWSER_LIMIT", 59)
    page = open_page(tiny.shared)
    assert page.tab.renderer == "server" and page["Rendering"].value == "server (exact)"
    assert page.wait_for_picture().any() and page.client.scene.of_kind("gaussian_splats") == []


def test_a_closed_tab_draws_and_sends_nothing(page):
    page["Mode"].choose("opacity")
    page.wait_for_picture()
    page.tab.close()
    count = len(page.client.scene.backgrounds)
    page.client.move()
    page.tab._send(torch.zeros(2, 2, 3, dtype=torch.uint8))
    assert len(page.client.scene.backgrounds) == count and not page.tab.render_loop._thread.is_alive()


def test_a_tab_closes_while_it_writes_a_video(page):
    first = page.tab.camera
    page.tab.camera_path.keyframes += [first, replace(first, viewmat=first.viewmat + 0.01 * torch.eye(4))]
    drawn = []

    def close_soon(look, camera: Camera, rows: slice) -> torch.Tensor:
        drawn.append(camera)
        if len(drawn) == 3:
            page.tab.close()
        return torch.zeros(camera.height, camera.width, 3, dtype=torch.uint8)

    page.tab.render = close_soon
    page.tab.save_video(5.0, lambda share: None)
    assert len(drawn) == 3 and list(page.tab.shared.folder.iterdir()) == []


def test_tabs_do_not_see_one_anothers_edits(tiny, open_page):
    first, second = open_page(tiny.shared), open_page(tiny.shared)
    first.search("chair")
    first["Delete"].press()
    assert first.count.endswith("of 30 Gaussians selected") and second.count.endswith("of 60 Gaussians selected")
    second.tab.session.search(Query(positives=("lamp",)))
    assert len(tiny.shared.gaussians) == 60
