"""Things of a run as a list, as files, and as targets of edits."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData
from tiny_field import make_gaussians, make_scene

from gsdff.cameras import WorldFrame
from gsdff.config.options import TrainConfig
from gsdff.config.smoothing import BordersConfig, SmoothingConfig, ThingsConfig
from gsdff.editing.operations.delete import Delete
from gsdff.editing.operations.recolor import Recolor
from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.field.load import field_of_run
from gsdff.field.object_files import write_objects
from gsdff.field.objects import SceneObject
from gsdff.io.runs import LoadedRun, RunFolder
from gsdff.latents import Basis
from gsdff.teachers.texts import TextVectors
from gsdff.things import Things
from gsdff.things.store import load_things, save_things


@pytest.fixture
def field(tmp_path: Path, generator: torch.Generator) -> Field:
    """40 Gaussians: thing 1 is a long box of 20 that shows "stick", thing 2 a cube of 12, and 8 are in none."""
    gaussians = make_gaussians(40, generator, dim=3)
    gaussians.logit_opacities[:] = 3
    gaussians.log_scales[:] = -1.6
    gaussians.means[:20] = torch.rand(20, 3, generator=generator) * torch.tensor([2.0, 0.3, 0.1]) - 1
    gaussians.means[20:] = torch.rand(20, 3, generator=generator) * 0.4 + 0.3
    assert gaussians.features is not None
    gaussians.features[:20] = torch.tensor([1.0, 0.2, 0])
    gaussians.features[20:] = torch.tensor([0.0, 1.0, 0])
    ids = torch.tensor([1] * 20 + [2] * 12 + [0] * 8).int()
    shares = torch.where(ids > 0, 0.9, 0.0)
    members, shares = torch.stack([ids, ids * 0], 1), torch.stack([shares, shares * 0], 1)
    parts = (ids > 0).int()
    parts[:5] = 2
    Basis(torch.eye(3), 1.0, "precomputed", "").save(RunFolder(tmp_path).basis)
    save_things(RunFolder(tmp_path).things, Things(members, shares, parts, torch.tensor([90.0, 30.0]), []))
    run = LoadedRun(tmp_path, TrainConfig(), gaussians, WorldFrame(), 10)
    field = field_of_run(run, "cpu", scene=make_scene(tmp_path))
    vectors = {"stick": torch.tensor([1.0, 0, 0]), "sticks": torch.tensor([1.0, 0, 0]), "cube": torch.eye(3)[1]}
    field.read["vocabulary"] = TextVectors("test", vectors)
    return field


def test_every_thing_has_a_name_a_box_and_the_views_that_show_it(field: Field) -> None:
    stick, cube = field.objects()
    assert (stick.id, stick.name, stick.next_name, cube.name, cube.next_name) == (1, "stick", "cube", "cube", "stick")
    assert stick.score == pytest.approx(1 / math.hypot(1, 0.2), abs=1e-3)
    assert stick.next_score == pytest.approx(0.2 / math.hypot(1, 0.2), abs=1e-3)
    assert (stick.num_gaussians, stick.num_parts, stick.pixels, cube.num_gaussians) == (20, 2, 90, 12)
    assert stick.confidence == pytest.approx(0.9)
    torch.testing.assert_close(torch.tensor(stick.centroid), field.gaussians.means[:20].mean(0), atol=1e-3, rtol=0)
    axes = torch.tensor(stick.axes)
    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=0)
    assert torch.linalg.det(axes) > 0 and axes[0, 0].abs() > 0.95
    assert 1.2 < stick.size[0] < 2 and stick.size[0] > stick.size[1] > stick.size[2]
    apart = (field.gaussians.means[:20] - torch.tensor(stick.box_centre)) @ axes.T
    assert (apart.abs() <= torch.tensor(stick.size) / 2 + 1e-4).float().mean() > 0.8
    assert len(stick.views) == 3 and not {"v0.png", "v8.png"} & set(stick.views)


def test_given_names_compete_alone_and_an_unknown_one_is_refused(field: Field) -> None:
    stick, cube = field.objects(["cube"])
    assert (stick.name, cube.name, stick.next_name) == ("cube", "cube", None) and math.isnan(stick.next_score)
    with pytest.raises(UserError, match="ball"):
        field.objects(["ball"])


def test_a_thing_is_the_target_of_an_edit_and_of_a_selection(field: Field) -> None:
    assert field.select_thing(2).mask.nonzero()[:, 0].tolist() == [*range(20, 32)]
    assert len(field.edit(Delete("thing:2"))) == 28
    assert len(field.edit(Delete(("thing:1", "thing: 2")))) == 8
    assert field.select_thing(1, part=2).mask.nonzero()[:, 0].tolist() == [*range(5)]
    assert len(field.edit(Delete("thing:1.2"))) == 35
    with pytest.raises(UserError, match=r"thing:3: expected a thing from 1 to 2"):
        field.edit(Delete("thing:3"))
    with pytest.raises(UserError, match="got both"):
        field.edit(Delete(("thing:1", "stick")))
    with pytest.raises(UserError, match="has been edited"):
        field.edit(Delete("thing:2")).edit(Delete("thing:1"))


def test_the_rim_of_a_thing_goes_with_it_when_it_is_taken_away_but_is_not_painted(field: Field) -> None:
    assert field.run is not None
    path = RunFolder(field.run.folder).things
    things = load_things(path, 40)
    things.members[30, 1], things.shares[30, 1] = 1, 0.2
    things.members[31, 1], things.shares[31, 1] = 1, 0.1
    save_things(path, things)
    assert len(field.select_thing(1)) == 20 and len(field.select_thing(1, rim=True)) == 21
    assert len(field.edit(Delete("thing:1"))) == 19 and len(field.edit(Delete("thing:1", rim=False))) == 20
    painted = field.edit(Recolor("thing:1", "#ff0000")).gaussians.sh0 != field.gaussians.sh0
    assert painted.any(-1)[:, 0].nonzero()[:, 0].tolist() == list(range(20))


def test_the_files_hold_the_list_pictures_label_maps_and_numbered_gaussians(field: Field, tmp_path: Path) -> None:
    out = tmp_path / "things"
    objects = field.objects()
    write_objects(field, objects, out, [field.find_view("v0.png")])
    content = json.loads((out / "objects.json").read_text())
    assert content["classes"] == ["cube", "stick"] and [row["id"] for row in content["objects"]] == [1, 2]
    assert content["objects"][0]["name"] == "stick"
    vertices = PlyData.read(out / "scene.ply")["vertex"]
    assert vertices["instance_id"].tolist() == [1] * 20 + [2] * 12 + [0] * 8
    assert vertices["class_id"].tolist() == [1] * 20 + [0] * 12 + [-1] * 8
    with Image.open(out / "instances" / "v0.png") as image:
        ids = np.asarray(image)
    assert ids.shape == (9, 13) and set(np.unique(ids)) <= {0, 1, 2} and (ids == 1).any()
    page = (out / "index.html").read_text()
    assert "thing:1 stick" in page and 'src="thumbnails/1.png"' in page and (out / "thumbnails" / "1.png").is_file()
    unseen = [replace(entry, views=()) for entry in objects]
    write_objects(field, unseen, out, [])  # its own folder may be written again, and old thumbnails are not shown
    assert "<img" not in (out / "index.html").read_text()


def test_a_folder_with_other_files_is_left_alone(field: Field, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        write_objects(field, field.objects(), out, [])
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_run_without_things_says_how_to_get_some(field: Field, tmp_path: Path) -> None:
    RunFolder(tmp_path).things.unlink()
    with pytest.raises(
        UserError, match=r"no things; join masks into some with `gsdff train --stage1-from .*--config sam`"
    ):
        field.objects()
    with pytest.raises(UserError, match="a PLY has no things"):
        replace(field, run=None).objects()


def test_a_score_that_there_is_not_is_no_number_in_json(field: Field, tmp_path: Path) -> None:
    field.read["vocabulary"] = None
    objects: list[SceneObject] = field.objects()
    assert objects[0].name is None and math.isnan(objects[0].score)
    write_objects(field, objects, tmp_path / "things", [])
    row = json.loads((tmp_path / "things" / "objects.json").read_text())["objects"][0]
    assert row["score"] is None and row["name"] is None


@pytest.mark.parametrize(("rounds", "num_taken"), [(0, 20), (2, 21)])
def test_a_rim_reaches_farther_into_other_things_if_gaussians_across_borders_are_cut(
    field: Field, rounds: int, num_taken: int
) -> None:
    assert field.run is not None
    things = load_things(RunFolder(field.run.folder).things, 40)
    things.members[25, 1], things.shares[25, 1] = 1, 0.1
    save_things(RunFolder(field.run.folder).things, things)
    options = TrainConfig(smoothing=SmoothingConfig(things=ThingsConfig("lift", borders=BordersConfig(rounds))))
    run = replace(field.run, config=options)
    again = field_of_run(run, "cpu", scene=field.scene)
    assert len(again.select_thing(1, rim=True)) == num_taken
    assert len(again.select_thing(1)) == 20
