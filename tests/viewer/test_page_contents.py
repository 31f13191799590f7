"""Things, an edit's two sides and a tour in the page's file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from page_file import read_page, write_things
from tiny_run import camera_to_world, make_gaussians, open_field, write_run
from tiny_words import write_words

from gsdff.cameras import Camera
from gsdff.editing.edit import EditList
from gsdff.editing.operations.delete import Delete
from gsdff.editing.operations.recolor import Recolor
from gsdff.editing.operations.transform import Duplicate, Move
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.field import Field
from gsdff.field.hit import default_view
from gsdff.selection import Selection
from gsdff.viewer.page.comparison import AFTER, BEFORE, compare, match_rows
from gsdff.viewer.page.tour import make_tour, read_cameras


@pytest.fixture
def field(tmp_path: Path, generator: torch.Generator) -> Field:
    """A run of 60 Gaussians with words and two things: 1 has twenty of them, 2 has twelve."""
    run = write_run(tmp_path, make_gaussians(generator, num_features=8))
    write_words(tmp_path / "maps", generator)
    write_things(run.folder)
    return open_field(run.folder)


def first(count: int) -> Selection:
    return Selection(torch.arange(60) < count)


# --- before | after


def test_equal_rows_are_found_and_each_is_taken_once():
    others = np.array([[1], [2], [2], [3]], np.float32).view(np.uint8)
    rows = np.array([[2], [9], [2], [2], [1]], np.float32).view(np.uint8)
    assert match_rows(rows, others).tolist() == [1, -1, 2, -1, 0]
    assert match_rows(rows[:0], others).tolist() == [] and match_rows(rows, others[:0]).tolist() == [-1] * 5


EDITS = [
    (Delete(first(5), rim=False), 60, 55),
    (Recolor(first(5), color=(1.0, 0.0, 0.0)), 65, 60),
    (Move(first(5), translation=(0.0, 0.0, 1.0)), 65, 60),
    (Duplicate(first(5), translation=(0.0, 0.0, 1.0)), 65, 65),
]


@pytest.mark.parametrize(("edit", "num_joined", "num_after"), EDITS, ids=lambda value: str(value)[:9])
def test_either_side_holds_exactly_the_gaussians_of_its_scene(field, edit, num_joined, num_after):
    found = compare(field, EditList([edit]), field.working)
    assert len(found.gaussians) == num_joined and found.num_after == num_after
    edited = field.edit(edit).gaussians.to_working_frame(field.frame)
    for bit, scene in ((BEFORE, field.working), (AFTER, edited)):
        side = found.gaussians.map(lambda tensor, bit=bit: tensor[torch.from_numpy(found.sides & bit > 0)])
        for (name, ours), (_, theirs) in zip(side.items(), scene.items(), strict=True):
            ours, theirs = (np.sort(values.reshape(len(scene), -1).numpy(), axis=0) for values in (ours, theirs))
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize("edit", [edit for edit, *_ in EDITS[1:]], ids=lambda value: str(value)[:9])
def test_what_an_edit_makes_stays_in_the_thing_that_it_comes_from(field, edit):
    assert compare(field, EditList([edit]), field.working).sources.tolist() == [0, 1, 2, 3, 4]


def test_the_file_holds_both_sides_and_names_the_edits(field, tmp_path):
    edits = tmp_path / "edits.toml"
    edits.write_text('[[edit]]\noperation = "recolor"\npositives = ["thing:1"]\ncolor = "#ff0000"\n')
    header, columns = read_page(export_run(ExportArguments(field.source, format="html", edits=edits)))
    assert header["numGaussians"] == 80
    assert (header["comparison"]["numBefore"], header["comparison"]["numAfter"]) == (60, 60)
    assert "recolor" in header["comparison"]["edits"][0]
    assert columns["sides"].tolist() == [BEFORE] * 20 + [BEFORE | AFTER] * 40 + [AFTER] * 20
    assert columns["things"].tolist() == [1] * 20 + [2] * 12 + [0] * 28 + [1] * 20


def test_answers_are_measured_on_the_scene_before_its_edits(field, tmp_path):
    edits = tmp_path / "edits.toml"
    edits.write_text('[[edit]]\noperation = "delete"\npositives = ["thing:1"]\n')
    plain, _ = read_page(export_run(ExportArguments(field.source, format="html")))
    edited, _ = read_page(export_run(ExportArguments(field.source, format="html", edits=edits)))
    facts = [dict(header["facts"]) for header in (plain, edited)]
    assert facts[0]["selected Gaussians"] == facts[1]["selected Gaussians"]
    assert facts[1]["edits"].startswith("60 Gaussians before, ")


# --- things


def test_things_have_names_counts_boxes_and_colours_and_every_gaussian_a_number(field):
    header, columns = read_page(export_run(ExportArguments(field.source, format="html")))
    objects = field.objects()
    assert [thing["name"] for thing in header["things"]] == [thing.name for thing in objects]
    assert [(thing["id"], thing["count"]) for thing in header["things"]] == [(1, 20), (2, 12)]
    assert header["things"][0]["size"] == pytest.approx(objects[0].size, rel=1e-3)
    assert header["things"][0]["color"] != header["things"][1]["color"]
    assert columns["things"].tolist() == [1] * 20 + [2] * 12 + [0] * 28
    assert "bytes" in dict(header["facts"])["things"]


def test_classes_that_are_given_name_the_things(field):
    header, _ = read_page(export_run(ExportArguments(field.source, format="html", classes=("wall", "lamp"))))
    assert {thing["name"] for thing in header["things"]} <= {"wall", "lamp"}


def test_more_than_255_things_take_two_bytes_each(field):
    write_things(field.source, number=300)
    _, columns = read_page(export_run(ExportArguments(field.source, format="html")))
    assert columns["things"].tolist() == [1] * 20 + [300] * 12 + [0] * 28


def test_a_ply_and_a_run_without_things_have_none(field, tmp_path):
    ply = export_run(ExportArguments(field.source, out=tmp_path / "plain.ply"))
    header, columns = read_page(export_run(ExportArguments(ply, format="html")))
    assert header["things"] == [] and "things" not in columns


# --- tour


def start_of(field: Field) -> Camera:
    return default_view(field).camera


def write_cameras(path: Path, **changes: object) -> Path:
    matrices = [camera_to_world(i) @ np.diag([1.0, -1, -1, 1]) for i in (0, 4, 9)]
    path.write_text(json.dumps({"frames": [{"transform_matrix": matrix.tolist()} for matrix in matrices], **changes}))
    return path


def test_cameras_of_a_file_are_those_of_the_photos_in_the_same_world(field, tmp_path):
    cameras = read_cameras(write_cameras(tmp_path / "path.json"), field, start_of(field))
    assert len(cameras) == 3
    for camera, number in zip(cameras, (0, 4, 9), strict=True):
        torch.testing.assert_close(camera.viewmat, field.scene.views[number].camera.viewmat, rtol=0, atol=1e-5)
        assert camera.fov_y == pytest.approx(start_of(field).fov_y)


def test_nerfstudios_camera_path_is_read_with_its_field_of_view(field, tmp_path):
    path = tmp_path / "path.json"
    matrices = [(camera_to_world(i) @ np.diag([1.0, -1, -1, 1])).ravel().tolist() for i in (0, 9)]
    path.write_text(json.dumps({"camera_path": [{"camera_to_world": each, "fov": 60} for each in matrices]}))
    cameras = read_cameras(path, field, start_of(field))
    assert [camera.fov_y for camera in cameras] == pytest.approx([np.pi / 3] * 2)
    torch.testing.assert_close(cameras[1].viewmat, field.scene.views[9].camera.viewmat, rtol=0, atol=1e-5)


def test_a_tour_begins_and_ends_at_the_cameras_of_its_file(field, tmp_path):
    tour = make_tour(field, write_cameras(tmp_path / "path.json"), 2.0, start_of(field))
    assert tour["seconds"] == 2.0 and len(tour["frames"]) == 20
    for frame, number in ((tour["frames"][0], 0), (tour["frames"][-1], 9)):
        camera = field.scene.views[number].camera
        assert frame[:3] == pytest.approx(camera.position.tolist(), abs=1e-4)
        assert frame[3:6] == pytest.approx(camera.viewmat[2, :3].tolist(), abs=1e-4)
        assert frame[6:9] == pytest.approx((-camera.viewmat[1, :3]).tolist(), abs=1e-4)


def test_orbit_turns_about_the_photos(field):
    header, _ = read_page(export_run(ExportArguments(field.source, format="html", tour="orbit", tour_seconds=3)))
    assert header["tour"]["seconds"] == 3 and len(header["tour"]["frames"]) == 30


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a JSON object"),
        ('{"frames": [{}]}', "two cameras or more"),
        ('{"frames": [{"transform_matrix": 1}, {"transform_matrix": 2}]}', "transform_matrix"),
        ('{"frames": 3}', "two cameras or more"),
    ],
)
def test_a_wrong_file_of_cameras_is_refused(field, tmp_path, content, message):
    path = tmp_path / "path.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        make_tour(field, path, 2.0, start_of(field))


@pytest.mark.parametrize(("angle", "message"), [(200, "between 1 and 170"), ("wide", "expected a number as fov")])
def test_a_wrong_field_of_view_is_refused(field, tmp_path, angle, message):
    with pytest.raises(UserError, match=message):
        make_tour(field, write_cameras(tmp_path / "path.json", fov=angle), 2.0, start_of(field))


def test_tour_and_edits_are_refused_for_other_formats_and_a_tour_of_no_time(field):
    for options in ({"tour": "orbit"}, {"edits": Path("edits.toml")}):
        with pytest.raises(UserError, match="--format html"):
            export_run(ExportArguments(field.source, format="splat", **options))
    with pytest.raises(UserError, match="`tour_seconds`"):
        export_run(ExportArguments(field.source, format="html", tour="orbit", tour_seconds=0))
