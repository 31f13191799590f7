"""What leaves the page: into one folder, under names of ours."""

from functools import partial

import torch
from tiny_answers import NUM_CHAIR
from tiny_run import open_field
from tiny_world import look_at

from gsdff import Delete, Recolor
from gsdff.editing.toml_file import read_edits
from gsdff.field.query import Query
from gsdff.field.search import search
from gsdff.io.pictures import save_png
from gsdff.io.ply import read_ply
from gsdff.selection import Selection
from gsdff.viewer.painting import paint
from gsdff.viewer.saving import free_path, save_edits, save_scene, save_screenshot


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_names_are_numbered_and_never_given_twice(tiny):
    folder = tiny.world.folder
    assert free_path(tiny.world, "film", ".mp4") == folder / "film_001.mp4"
    assert free_path(tiny.world, "film", ".mp4") == folder / "film_002.mp4"  # the first is being written
    (folder / "film_003.mp4").touch()
    assert free_path(tiny.world, "film", ".mp4") == folder / "film_004.mp4"
    assert free_path(tiny.world, "scene", ".ply") == folder / "scene_001.ply"


def test_all_that_is_saved_is_in_the_viewers_folder(tiny, tmp_path):
    before = files_below(tmp_path)
    document = tiny.document()
    picture = paint(tiny.world, document.shown, "colour", look_at(tiny.world), marks=False)
    for _ in range(2):
        document.select(torch.arange(60) == 3)
        document.edit(partial(Recolor, color=(1.0, 0.0, 0.0)))
        document.ask(Query(positives=("lamp",)))
        document.edit(partial(Recolor, color=(0.0, 1.0, 0.0)))
        save_edits(tiny.world, document)
        save_scene(tiny.world, document, only_selected=False)
        save_scene(tiny.world, document, only_selected=True)
        save_screenshot(tiny.world, picture)
    after = files_below(tmp_path)
    assert {path: after.get(path) for path in before} == before
    new = after.keys() - before.keys()
    folder = tiny.world.folder.relative_to(tmp_path)
    assert all(path.parent == folder for path in new)
    names = {path.name for path in new}
    kinds = ("edits_{}.toml", "edits_{}_1.safetensors", "scene_{}.ply", "selection_{}.ply", "screenshot_{}.png")
    assert {kind.format(number) for kind in kinds for number in ("001", "002")} <= names
    save_png(tmp_path / "same.png", picture)
    assert after[folder / "screenshot_001.png"] == (tmp_path / "same.png").read_bytes()


def test_edits_say_what_was_asked_and_keep_what_no_text_says(tiny):
    document = tiny.document()
    document.select(torch.arange(60) < 2)
    document.edit(Delete)
    document.ask(Query(positives=("lamp",), negatives=("wall",)))
    document.edit(partial(Recolor, color=(0.0, 1.0, 0.0)))
    path = save_edits(tiny.world, document)
    first, second = read_edits(path).edits
    assert Selection.load(first.selection, expected=60).mask.nonzero()[:, 0].tolist() == [0, 1]
    limits = {"negatives": ["wall"], "threshold": document.threshold, "temperature": 0.1}
    assert (first, second) == (Delete(first.selection), Recolor("lamp", (0.0, 1.0, 0.0), **limits))


def test_a_saved_scene_can_be_asked(tiny):
    document = tiny.document()
    document.ask(Query(positives=("chair",)))
    part = save_scene(tiny.world, document, only_selected=True)
    document.edit(Delete)
    rest = save_scene(tiny.world, document, only_selected=False)
    assert torch.equal(read_ply(part).means, tiny.world.gaussians.means[:NUM_CHAIR])
    assert len(search(open_field(rest), Query(positives=("lamp",), threshold=0.5)).selection) == 30
