"""`gsdff segment --things`: instance images and COCO's panoptic format, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from panoptic_reader import read_segments
from PIL import Image
from plyfile import PlyData
from tiny_run import open_field
from tiny_things import INSTANCES, write_run_of_things

from gsdff import segment
from gsdff.errors import UserError
from gsdff.labels import read_instances

ASKED = ("--classes", "chair", "lamp", "wall")


@pytest.fixture
def run(tmp_path, generator):
    return write_run_of_things(tmp_path, generator)


@pytest.fixture
def written(call, run):
    lines = call(segment, run.folder, *ASKED, "--things")
    return run.folder / "segmentation", lines


def read(path):
    with Image.open(path) as picture:
        return np.array(picture)


def test_instance_images_are_the_things_of_the_pixels(run, written):
    out, lines = written
    field = open_field(run.folder)
    shown = set()
    for view in field.scene.views:
        ids = read_instances(out / "instances" / f"{view.key}.png", view)
        assert torch.equal(ids, field.instance_ids(view).long())
        shown |= set(ids.unique().tolist()) - {0}
    assert lines[-2].endswith(f"of 60 Gaussians, {len(shown)} things")


def test_the_panoptic_pictures_and_their_list_agree(run, written):
    out, _ = written
    content, field = json.loads((out / "panoptic.json").read_text()), open_field(run.folder)
    names = [row["name"] for row in content["categories"]]
    assert names == ["chair", "lamp", "wall"] and [row["isthing"] for row in content["categories"]] == [1, 1, 0]
    assert [image["file_name"] for image in content["images"]] == [view.name for view in field.scene.views]
    for view, image, annotation in zip(field.scene.views, content["images"], content["annotations"], strict=True):
        assert annotation["image_id"] == image["id"]
        picture = read(out / "panoptic" / annotation["file_name"])
        assert picture.shape == (image["height"], image["width"], 3)
        things, labels = field.instance_ids(view).numpy(), read(out / "labels" / f"{view.key}.png")
        covered = np.zeros(things.shape, bool)
        for row, mask in read_segments(picture, annotation, content["categories"]):
            covered |= mask
            if row["id"] <= 3:
                assert names[row["category_id"] - 1] == ("lamp" if row["id"] == 3 else "chair")
                assert row["iscrowd"] == 0 and np.array_equal(mask, things == row["id"])
            else:
                assert row["iscrowd"] == 1 and np.array_equal(mask, (things == 0) & (labels == row["category_id"] - 1))
        assert np.array_equal(covered, (things > 0) | (labels != 255))


def test_gaussians_of_the_scene_have_the_number_of_their_thing(written):
    vertices = PlyData.read(str(written[0] / "scene.ply"), mmap=False)["vertex"].data
    assert vertices["instance_id"].tolist() == INSTANCES
    assert vertices["label"].tolist() == [0] * 30 + [1] * 30


def test_an_export_without_things_leaves_none_of_an_earlier_one(call, run, written):
    out, _ = written
    call(segment, run.folder, *ASKED, "--views", 0)
    assert not (out / "panoptic.json").exists()
    assert not [*(out / "panoptic").rglob("*.png"), *(out / "instances").rglob("*.png")]
    assert (out / "coco.json").exists() and len([*(out / "labels").rglob("*.png")]) == 1


def test_without_things_nothing_of_them_is_written(call, run, tmp_path):
    assert "things" not in call(segment, run.folder, *ASKED, "--out", tmp_path / "out")[-2]
    assert {path.name for path in (tmp_path / "out").iterdir()}.isdisjoint({"instances", "panoptic", "panoptic.json"})


def test_a_run_without_things_says_what_to_do_and_writes_nothing(call, run, tmp_path):
    (run.folder / "things.safetensors").unlink()
    with pytest.raises(UserError, match="has no things; join masks into some with `gsdff train --stage1-from"):
        call(segment, run.folder, *ASKED, "--things", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_instances_and_panoptic_pictures_of_others_are_not_replaced(call, run, tmp_path):
    (tmp_path / "out" / "instances").mkdir(parents=True)
    (tmp_path / "out" / "instances" / "v0.png").write_bytes(b"truth")
    with pytest.raises(UserError, match="holds instances already, not of an export"):
        call(segment, run.folder, *ASKED, "--things", "--out", tmp_path / "out")
