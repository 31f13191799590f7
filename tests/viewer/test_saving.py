"""Files saved from the page: all in one folder, with names chosen by the server."""

from functools import partial

import torch
from tiny_answers import NUM_CHAIR
from tiny_run import open_field
from tiny_viewer import look_at

from gsdff import Delete, Recolor
from gsdff.editing.toml_file import read_edits
from gsdff.field.query import Query
from gsdff.field.search import search
from gsdff.io.pictures import save_png
from gsdff.io.ply import read_ply
from gsdff.selection import Selection
from gsdff.viewer.rendering import render_mode
from gsdff.viewer.saving import free_path, save_edits, save_scene, save_screenshot


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_names_are_numbered_and_never_given_twice(tiny):
    folder = tiny.shared.folder
    assert free_path(tiny.shared, "video", ".mp4") == folder / "video_001.mp4"
    assert free_path(tiny.shared, "video", ".mp4") == folder / "video_002.mp4"  # the first is being written
    (folder / "video_003.mp4").touch()
    assert free_path(tiny.shared, "video", ".mp4") == folder / "video_004.mp4"
    assert free_path(tiny.shared, "scene", ".ply") == folder / "scene_001.ply"


def test_all_that_is_saved_is_in_the_viewers_folder(tiny, tmp_path):
    before = files_below(tmp_path)
    session = tiny.session()
    picture = render_mode(tiny.shared, session.visible, "colour", look_at(tiny.shared), highlight=False)
    for _ in range(2):
        session.select(torch.arange(60) == 3)
        session.edit(partial(Recolor, color=(1.0, 0.0, 0.0)))
        session.search(Query(positives=("lamp",)))
        session.edit(partial(Recolor, color=(0.0, 1.0, 0.0)))
        save_edits(tiny.shared, session)
        save_scene(tiny.shared, session, only_selected=False)
        save_scene(tiny.shared, session, only_selected=True)
        save_screenshot(tiny.shared, picture)
    after = files_below(tmp_path)
    assert {path: after.get(path) for path in before} == before
    new = after.keys() - before.keys()
    folder = tiny.shared.folder.relative_to(tmp_path)
    assert all(path.parent == folder for path in new)
    names = {path.name for path in new}
    kinds = ("edits_{}.toml", "edits_{}_1.safetensors", "scene_{}.ply", "selection_{}.ply", "screenshot_{}.png")
    assert {kind.format(number) for kind in kinds for number in ("001", "002")} <= names
    save_png(tmp_path / "same.png", picture)
    assert after[folder / "screenshot_001.png"] == (tmp_path / "same.png").read_bytes()


def test_edits_say_what_was_asked_and_keep_what_no_text_says(tiny):
    session = tiny.session()
    session.select(torch.arange(60) < 2)
    session.edit(Delete)
    session.search(Query(positives=("lamp",), negatives=("wall",)))
    session.edit(partial(Recolor, color=(0.0, 1.0, 0.0)))
    path = save_edits(tiny.shared, session)
    first, second = read_edits(path).edits
    assert Selection.load(first.selection, expected=60).mask.nonzero()[:, 0].tolist() == [0, 1]
    limits = {"negatives": ["wall"], "threshold": session.threshold, "temperature": 0.1}
    assert (first, second) == (Delete(first.selection), Recolor("lamp", (0.0, 1.0, 0.0), **limits))


def test_a_saved_scene_can_be_queried(tiny):
    session = tiny.session()
    session.search(Query(positives=("chair",)))
    part = save_scene(tiny.shared, session, only_selected=True)
    session.edit(Delete)
    rest = save_scene(tiny.shared, session, only_selected=False)
    assert torch.equal(read_ply(part).means, tiny.shared.gaussians.means[:NUM_CHAIR])
    assert len(search(open_field(rest), Query(positives=("lamp",), threshold=0.5)).selection) == 30
