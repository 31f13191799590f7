"""`gsdff segment`: what it prints, what it writes, that others read it, what it refuses."""

import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData
from pycocotools.coco import COCO
from tiny_answers import NUM_CHAIR, write_asked_run
from tiny_run import HEIGHT, WIDTH, make_gaussians, open_field, save_run, write_run

from gsdff import edit, query, segment
from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.evaluation.run import score
from gsdff.export import ExportArguments, export_run
from gsdff.field.query import Query, Space
from gsdff.field.search import search
from gsdff.field.segmentation import SegmentationFolder, export_segmentation
from gsdff.io.pictures import label_colors, label_palette
from gsdff.io.ply import read_ply
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.labels import find_label_images, read_classes
from gsdff.scene import VOID
from gsdff.segment import SegmentArguments
from gsdff.teachers import open_teacher

# pycocotools 2.0.11 decodes with an __array__ of before numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CLASSES = ("chair", "lamp", "wall")
ASKED = ("--classes", *CLASSES)


def give_own_stems(run):
    """Photos b/v0 ... become b/w0 ..., so that no two have one stem; their order stays."""
    for path in (run.data / "images" / "b").glob("v*.png"):
        path.rename(path.with_name(path.name.replace("v", "w")))
    transforms = run.data / "transforms.json"
    transforms.write_text(transforms.read_text().replace("b/v", "b/w"))
    return run


@pytest.fixture
def run(tmp_path, generator):
    return give_own_stems(write_asked_run(tmp_path, generator))


@pytest.fixture
def door(call):
    return lambda *arguments: call(segment, *arguments)


def read(path):
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture))


def vertices(path):
    return PlyData.read(str(path), mmap=False)["vertex"].data


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answers_of(run, name):
    """The field, a view, and its labels as `gsdff.field.query` gives them."""
    field = open_field(run.folder)
    view = field.find_view(name)
    return field, view, search(field, Query(classes=CLASSES), view).labels


def test_all_views_and_all_gaussians_are_written_and_told(door, run):
    header, chair, lamp, wall, nothing, summary, where = door(run.folder, *ASKED)
    out = run.folder / "segmentation"
    stems = sorted([f"v{i}" for i in range(5)] + [f"w{i}" for i in range(5)])
    assert [path.stem for path in sorted((out / "labels").glob("*.png"))] == stems
    assert [path.stem for path in sorted((out / "preview").glob("*.png"))] == stems
    names = {path.name for path in out.iterdir()}
    assert names == {"labels", "preview", "scene.ply", "scene.basis.safetensors", "points.ply", "coco.json"}
    labels = torch.stack([read(path) for path in (out / "labels").glob("*.png")])
    assert header.split() == ["class", "pixels", "Gaussians"]
    assert chair.split() == ["chair", f"{(labels == 0).float().mean():.1%}", "50.0%"]
    assert lamp.split() == ["lamp", f"{(labels == 1).float().mean():.1%}", "50.0%"]
    assert wall.split() == ["wall", "0.0%", "0.0%"]
    assert nothing.split() == ["(none)", f"{(labels == VOID).float().mean():.1%}", "0.0%"]
    num_points = int((run.gaussians.opacities >= 0.5).sum())
    assert summary.startswith("10 views with ") and summary.endswith(f" parts, {num_points} points of 60 Gaussians")
    assert where == f"segmentation: {out}"


def test_label_maps_are_the_answers_and_read_as_labels_are(door, run, tmp_path):
    door(run.folder, *ASKED, "--views", "v1", 6, "--out", tmp_path / "out")
    images = find_label_images(open_field(run.folder).scene, tmp_path / "out" / "labels")
    assert [(row.id, row.name, row.query) for row in images.classes] == [(i, n, n) for i, n in enumerate(CLASSES)]
    assert [row.color for row in images.classes] == list(map(tuple, label_palette(3).tolist()))
    for name in ("a/v1.png", "b/w1.png"):
        _, view, expected = answers_of(run, name)
        assert expected.shape == (HEIGHT, WIDTH) and set(expected.unique().tolist()) == {0, 1, VOID}
        assert torch.equal(images.load(view), expected)
    assert len(list((tmp_path / "out" / "labels").glob("*.png"))) == 2


def test_the_evaluation_takes_them_as_truth(door, run, tmp_path):
    for stem in ("v0", "w3"):
        torch.save(torch.ones(5, 4, 4), tmp_path / "maps" / f"{stem}_fmap_CxHxW.pt")
    door(run.folder, *ASKED, "--all-held-out", "--out", tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out" / "labels").glob("*.png")} == {"v0", "w3"}
    labels = score(open_field(run.folder), labels=tmp_path / "out" / "labels").features["labels"]
    assert labels["competing"] == list(CLASSES) and labels["field"]["accuracy"] == 1
    assert labels["field"]["iou"]["chair"] == labels["field"]["iou"]["lamp"] == 1


def test_the_labels_teacher_takes_them(door, run, tmp_path):
    door(run.folder, *ASKED, "--out", tmp_path / "out")
    scene = open_field(run.folder).scene
    teacher = open_teacher(TeacherConfig("labels", labels=tmp_path / "out" / "labels"), scene, torch.device("cpu"))
    assert torch.equal(teacher.text(CLASSES), torch.eye(3))
    for view, features in zip(scene.views, teacher.extract(scene.views), strict=True):
        teacher.check(view)
        labels = read(tmp_path / "out" / "labels" / f"{view.stem}.png")
        assert torch.equal(features.any(0), labels != VOID)
        assert torch.equal(features.argmax(0)[labels != VOID], labels[labels != VOID].long())


def test_the_scene_keeps_every_bit_and_gains_a_label(door, run, tmp_path):
    run.gaussians.features[5] = 0
    save_run(run.folder, 800, run.gaussians.to_working_frame(run.frame), run.frame)
    door(run.folder, *ASKED, "--views", 0, "--out", tmp_path / "out")
    exported = export_run(ExportArguments(run.folder, out=tmp_path / "plain.ply"))
    ours, plain = vertices(tmp_path / "out" / "scene.ply"), vertices(exported)
    assert ours.dtype.names == (*plain.dtype.names, "label") and plain.dtype.names[-1] == "semantic_2"
    assert all(np.array_equal(ours[name], plain[name]) for name in plain.dtype.names)
    expected = np.array([0] * NUM_CHAIR + [1] * (60 - NUM_CHAIR))
    expected[5] = VOID
    assert np.array_equal(ours["label"], expected)
    beside, theirs = Sidecar.load(sidecar_path(tmp_path / "out" / "scene.ply")), Sidecar.load(sidecar_path(exported))
    assert torch.equal(beside.basis.B, theirs.basis.B) and list(beside.texts) == list(theirs.texts) == list(CLASSES)


def test_the_scene_can_be_asked_edited_and_segmented_again(call, door, run, tmp_path):
    door(run.folder, *ASKED, "--out", tmp_path / "out")
    scene = tmp_path / "out" / "scene.ply"
    assert call(query, scene, "--text", "chair") == call(query, run.folder, "--text", "chair")
    assert "leaves 30" in call(edit, scene, "--delete", "lamp", "--out", tmp_path / "chair.ply")[0]
    assert door(scene, *ASKED, "--data", run.data)[-1] == f"segmentation: {tmp_path / 'out' / 'scene_segmentation'}"
    ours, again = files_below(tmp_path / "out"), files_below(tmp_path / "out" / "scene_segmentation")
    assert len(again) == 25
    # these two name their source
    assert {name.name for name in again if again[name] != ours[name]} == {"classes.json", "coco.json"}


def test_points_are_the_centres_of_what_is_not_faint(door, run, tmp_path):
    run.gaussians.logit_opacities[::3] = -1
    save_run(run.folder, 800, run.gaussians.to_working_frame(run.frame), run.frame)
    door(run.folder, *ASKED, "--views", 0, "--out", tmp_path / "out")
    points, scene = vertices(tmp_path / "out" / "points.ply"), read_ply(tmp_path / "out" / "scene.ply")
    shown = scene.opacities >= 0.5
    assert points.dtype.names == ("x", "y", "z", "red", "green", "blue", "label")
    assert len(points) == int(shown.sum()) == 40
    assert np.array_equal(np.stack([points[c] for c in "xyz"], 1), scene.means[shown].numpy())
    colors = (scene.base_colors[shown].clamp(0, 1) * 255).round().byte()
    assert np.array_equal(np.stack([points[c] for c in ("red", "green", "blue")], 1), colors.numpy())
    assert np.array_equal(points["label"], np.repeat([0, 1], 20))
    door(run.folder, *ASKED, "--views", 0, "--out", tmp_path / "out", "--min-opacity", 0)
    assert len(vertices(tmp_path / "out" / "points.ply")) == 60


@pytest.mark.parametrize("space", Space.__args__)
def test_pycocotools_gives_the_label_maps_back(door, run, tmp_path, space):
    door(run.folder, *ASKED, "--min-area", 1, "--space", space, "--out", tmp_path / "out")
    coco = COCO(tmp_path / "out" / "coco.json")
    scene = open_field(run.folder).scene
    assert [image["file_name"] for image in coco.dataset["images"]] == [view.name for view in scene.views]
    assert [(row["id"], row["name"]) for row in coco.dataset["categories"]] == list(enumerate(CLASSES, 1))
    for image in coco.dataset["images"]:
        seen = torch.full((image["height"], image["width"]), VOID, dtype=torch.uint8)
        for annotation in coco.imgToAnns[image["id"]]:
            mask = torch.from_numpy(coco.annToMask(annotation)) == 1
            assert int(mask.sum()) == annotation["area"]
            seen[mask] = annotation["category_id"] - 1
        stem = image["file_name"].split("/")[1]
        assert torch.equal(seen, read(tmp_path / "out" / "labels" / stem)), image["file_name"]


def test_small_parts_are_in_the_label_maps_only(door, run, tmp_path):
    door(run.folder, *ASKED, "--views", 0, "--out", tmp_path / "out", "--min-area", WIDTH * HEIGHT)
    assert json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"] == []
    assert (read(tmp_path / "out" / "labels" / "v0.png") == 0).any()


def test_the_3d_protocol_draws_the_gaussians_answers(door, run, tmp_path):
    # latents of unequal lengths: what is rendered first is not what most Gaussians say
    run.gaussians.features[:NUM_CHAIR] *= 6
    save_run(run.folder, 800, run.gaussians.to_working_frame(run.frame), run.frame)
    door(run.folder, *ASKED, "--views", 0, "--space", "3d", "--out", tmp_path / "out")
    field, view, pixels = answers_of(run, 0)
    expected = search(field, Query(classes=CLASSES)).in_view(view).labels
    assert torch.equal(read(tmp_path / "out" / "labels" / "v0.png"), expected)
    assert not torch.equal(expected, pixels)


def test_a_preview_is_the_photo_under_its_classes_above_a_legend(door, run, tmp_path):
    door(run.folder, *ASKED, "--views", 0, "--out", tmp_path / "out")
    picture = read(tmp_path / "out" / "preview" / "v0.png")
    photo, labels = read(run.data / "images/a/v0.png").float(), read(tmp_path / "out" / "labels" / "v0.png")
    colors = label_colors(labels, label_palette(3)).float()
    assert picture.shape[0] > HEIGHT and torch.equal(picture[:HEIGHT, :WIDTH].float(), ((photo + colors) / 2).round())


def test_another_export_into_the_same_folder_leaves_nothing_of_the_first(door, run, tmp_path):
    door(run.folder, *ASKED, "--views", 0, 1, 2, "--out", tmp_path / "out")
    door(run.folder, "--classes", "wall", "chair", "--views", 3, "--out", tmp_path / "out")
    door(run.folder, "--classes", "wall", "chair", "--views", 3, "--out", tmp_path / "fresh")
    assert files_below(tmp_path / "out") == files_below(tmp_path / "fresh")
    assert [row.name for row in read_classes(tmp_path / "out" / "labels" / "classes.json")] == ["wall", "chair"]


def test_files_of_others_are_not_replaced(door, run, tmp_path):
    export_run(ExportArguments(run.folder))
    (run.data / "labels").mkdir()
    (run.data / "labels" / "v0.png").write_bytes(b"truth")
    before = files_below(tmp_path)
    with pytest.raises(UserError, match=r"runs/tiny: holds scene\.ply, scene\.basis\.safetensors already, not of an"):
        door(run.folder, *ASKED, "--out", run.folder)
    with pytest.raises(UserError, match="data: holds labels already, not of an export; choose another folder"):
        door(run.folder, *ASKED, "--out", run.data)
    with pytest.raises(UserError, match=r"transforms\.json: expected the name of a folder, there is a file of that"):
        door(run.folder, *ASKED, "--out", run.data / "transforms.json")
    assert files_below(tmp_path) == before


def test_an_earlier_export_of_more_photos_is_removed_and_it_says_so(door, run, tmp_path, caplog):
    door(run.folder, *ASKED, "--out", tmp_path / "out")
    assert "earlier export" not in caplog.text
    door(run.folder, *ASKED, "--views", 0, 1, "--out", tmp_path / "out")
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert names == ["labels/v0.png", "labels/v1.png", "preview/v0.png", "preview/v1.png"]
    (said,) = [line for line in caplog.messages if "earlier export" in line]
    assert said.endswith(
        "out: removes an earlier export, 8 of its 10 label maps are of photos that are not labelled now"
    )
    caplog.clear()
    door(run.folder, *ASKED, "--views", 0, 1, 2, "--out", tmp_path / "out")
    assert "earlier export" not in caplog.text


@pytest.mark.parametrize(
    "content", ['{"made_by": "gsdff.segment"', "[" * 10**5, "\ud800".encode("utf-16", "surrogatepass")]
)
def test_a_class_list_that_cannot_be_read_is_not_of_an_export(door, run, tmp_path, content):
    (tmp_path / "out" / "labels").mkdir(parents=True)
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "out" / "labels" / "classes.json").write_bytes(data)
    with pytest.raises(UserError, match="out: holds labels already, not of an export"):
        door(run.folder, *ASKED, "--out", tmp_path / "out")


def test_a_scene_does_not_take_its_own_place(door, run, tmp_path):
    door(run.folder, *ASKED, "--views", 0, "--out", tmp_path / "out")
    before = files_below(tmp_path / "out")
    with pytest.raises(UserError, match=r"out: its scene\.ply is being segmented; choose another folder"):
        door(tmp_path / "out" / "scene.ply", *ASKED, "--data", run.data, "--out", tmp_path / "out")
    assert files_below(tmp_path / "out") == before


def test_photos_of_one_stem_have_label_maps_of_their_own_that_are_found_again(door, tmp_path, generator):
    run = write_asked_run(tmp_path, generator)
    door(run.folder, *ASKED)
    out, scene = run.folder / "segmentation", open_field(run.folder).scene
    twins = [view for view in scene.views if view.stem == "v0"]
    assert [view.key for view in twins] == ["a/v0", "b/v0"]
    for folder in ("labels", "preview"):
        assert all((out / folder / f"{view.key}.png").is_file() for view in twins)
        assert len([*(out / folder).rglob("*.png")]) == len(scene.views)
    images = find_label_images(scene, out / "labels")
    assert [images.find(view) for view in twins] == [out / "labels" / f"{view.key}.png" for view in twins]
    door(run.folder, *ASKED, "--views", 0)  # a new export leaves nothing of the old one
    assert len([*(out / "labels").rglob("*.png")]) == 1


def test_an_unknown_word_is_refused_and_nothing_written(door, run, tmp_path):
    with pytest.raises(UserError, match="unknown name 'sofa'"):
        door(run.folder, "--classes", "chair", "sofa", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_ply_needs_its_photos(door, run):
    ply = export_run(ExportArguments(run.folder))
    with pytest.raises(UserError, match="holds no photos to look from; give their folder as --data"):
        door(ply, *ASKED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--classes: expected two different names or more, got none"),
        (("--classes", "chair"), "--classes: expected two different names or more, got 'chair'"),
        (("--classes", "chair", "Chair"), "--classes: expected two different names or more"),
        ((*ASKED, "--prompt", "a photo"), "--prompt 'a photo': expected one {} for the name"),
        ((*ASKED, "--views", "0", "--all-held-out"), "--views and --all-held-out: expected one of them"),
        ((*ASKED, "--min-area", "0"), "--min-area 0: expected a whole number of pixels, at least 1"),
        ((*ASKED, "--min-opacity", "1.5"), r"--min-opacity 1\.5: expected a number from 0 to 1"),
        ((*ASKED, "--min-opacity", "nan"), "--min-opacity nan: expected a number from 0 to 1"),
    ],
)
def test_bad_options_are_refused_before_the_run_is_read(door, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        door(tmp_path, *options)


def test_a_run_without_features_is_refused_in_one_line(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    command = [sys.executable, "-m", "gsdff.segment", str(run.folder), *ASKED]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {run.folder}: has no features to query")
    assert done.stderr.strip().count("\n") == 0


def test_a_smaller_photo_is_said(door, run, tmp_path, caplog):
    with caplog.at_level("INFO", logger="gsdff"):
        door(run.folder, *ASKED, "--views", 0, "--out", tmp_path / "out")
        assert "label maps and coco.json have that size" not in caplog.text
        field = open_field(run.folder)
        halved = replace(field, dataset=replace(field.dataset, downscale=2))
        view = field.find_view(0)
        export_segmentation(halved, Query(classes=CLASSES), [view], SegmentationFolder(tmp_path / "out"))
    assert "photos are read at 1/2 of their size; label maps and coco.json have that size" in caplog.text


def test_the_door_offers_what_the_package_does():
    hints = {field.name: field.type for field in fields(SegmentArguments)}
    assert hints["space"].__args__ == Space.__args__
