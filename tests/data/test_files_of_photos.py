"""Label images, masks and teacher maps of photos that are undistorted or turned are so too, and fit their views."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.config.options import DataConfig, TeacherConfig
from gsdff.config.smoothing import MaskConfig
from gsdff.data import load_scene
from gsdff.labels import find_label_images, find_truth
from gsdff.masks.precomputed import PrecomputedSegmenter
from gsdff.stored_photo import turn
from gsdff.teachers.precomputed import PrecomputedTeacher

WIDTH, HEIGHT = 96, 64
LENS = (1, "OPENCV", WIDTH, HEIGHT, (70.0, 70.0, 45.0, 33.0, -0.25, 0.05, 0.0, 0.0))
PINHOLE = (1, "PINHOLE", WIDTH, HEIGHT, (70.0, 70.0, 45.0, 33.0))
CODES = np.add.outer(np.arange(HEIGHT) // 16 * 6, np.arange(WIDTH) // 16).astype(np.uint8)
"""Squares of 16 pixels, each with an id of its own."""
GREYS = CODES * 10


def make_scene(root, write_colmap, colmap_model, camera, orientation=1):
    """Photos whose grey values are ten times the ids of their label images."""
    write_colmap(root, colmap_model(cameras=(camera,)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for folder in ("labels", "masks_of_things", "maps"):
        (root / folder).mkdir()
    for i in range(3):
        Image.fromarray(GREYS).convert("RGB").save(root / f"images/{i}.png", exif=exif)
        Image.fromarray(CODES).save(root / f"labels/{i}.png")
        Image.fromarray(CODES).save(root / f"masks_of_things/{i}.png")
        angles = torch.from_numpy(CODES.astype(np.float32)) / 20
        np.save(root / f"maps/{i}.npy", torch.stack([angles.cos(), angles.sin()]).numpy())
    (root / "labels/classes.json").write_text(str([f"class {i}" for i in range(24)]).replace("'", '"'))
    return root


def grey_codes(view):
    """Ids that the view's own pixels show, and where they are not blends at an edge."""
    grey = view.image[..., 0].float()
    codes = (grey / 10).round()
    return codes.long(), (grey - codes * 10).abs() <= 1


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("camera", [LENS, PINHOLE], ids=["distorted", "pinhole"])
def test_files_made_from_stored_photos_show_what_the_views_show(
    tmp_path, write_colmap, colmap_model, camera, orientation
):
    root = make_scene(tmp_path, write_colmap, colmap_model, camera, orientation)
    scene = load_scene(root, DataConfig())
    view = scene.views[1]
    assert (view.stored is None) == (camera is PINHOLE and orientation == 1)
    codes, is_pure = grey_codes(view)
    assert is_pure.float().mean() > 0.7
    labels = find_label_images(scene, None).load(view)
    assert labels.shape == codes.shape and (labels == codes)[is_pure].float().mean() > 0.99
    segments = PrecomputedSegmenter(MaskConfig(folder=root / "masks_of_things")).segment(view, view.image)
    assert (segments == codes)[is_pure].float().mean() > 0.99
    (features,) = PrecomputedTeacher(TeacherConfig(maps=root / "maps")).extract([view])
    angles = torch.atan2(features[1], features[0]) * 20
    assert features.shape[1:] == ((96, 64) if orientation >= 5 else (64, 96))
    resized = torch.nn.functional.interpolate(angles[None, None], codes.shape, mode="nearest-exact")[0, 0]
    inner = is_pure & (torch.nn.functional.avg_pool2d(is_pure[None].float(), 5, 1, 2)[0] == 1)
    assert ((resized - codes).abs()[inner] < 0.3).float().mean() > 0.99


def test_files_of_the_views_shape_are_taken_as_they_are(tmp_path, write_colmap, colmap_model):
    root = make_scene(tmp_path, write_colmap, colmap_model, PINHOLE, 6)
    upright = turn(CODES, 6)
    for i in range(3):
        Image.fromarray(upright).save(root / f"labels/{i}.png")
    scene = load_scene(root, DataConfig())
    assert (find_label_images(scene, None).load(scene.views[0]).numpy() == upright).all()


def test_files_made_from_the_views_are_an_option(tmp_path, write_colmap, colmap_model):
    root = make_scene(tmp_path, write_colmap, colmap_model, PINHOLE, 3)
    scene = load_scene(root, DataConfig(made_from="views"))
    assert (find_label_images(scene, None).load(scene.views[0]).numpy() == CODES).all()
    scene = load_scene(root, DataConfig())
    assert (find_label_images(scene, None).load(scene.views[0]).numpy() == turn(CODES, 3)).all()


def test_a_square_map_of_a_turned_photo_is_turned_too(tmp_path, write_colmap, colmap_model):
    root = make_scene(tmp_path, write_colmap, colmap_model, PINHOLE, 6)
    square = np.random.default_rng(0).standard_normal((5, 16, 16)).astype(np.float32)
    square[:, :4] = 0
    np.save(root / "maps/0.npy", square)
    (features,) = PrecomputedTeacher(TeacherConfig(maps=root / "maps")).extract(
        load_scene(root, DataConfig()).views[:1]
    )
    expected = torch.nn.functional.normalize(torch.from_numpy(square), dim=0)
    assert torch.allclose(features.permute(1, 2, 0), turn(expected.permute(1, 2, 0), 6), atol=1e-5)
    assert not features[..., -4:].any()


def test_maps_of_another_undistortion_have_another_fingerprint(tmp_path, write_colmap, colmap_model):
    root = make_scene(tmp_path, write_colmap, colmap_model, LENS)
    teacher = PrecomputedTeacher(TeacherConfig(maps=root / "maps"))
    fingerprints = {
        teacher.fingerprint_of(load_scene(root, DataConfig(made_from=made_from)).views[0])
        for made_from in ("photos", "views")
    }
    assert len(fingerprints) == 2


def test_label_images_that_gsdff_has_made_show_views(tmp_path, write_colmap, colmap_model):
    root = make_scene(tmp_path, write_colmap, colmap_model, PINHOLE, 3)
    names = [f"class {i}" for i in range(24)]
    made = {"made_by": "gsdff.segment", "classes": [{"id": i, "name": name} for i, name in enumerate(names)]}
    (root / "labels/classes.json").write_text(json.dumps(made))
    scene = load_scene(root, DataConfig())
    assert (find_label_images(scene, None).load(scene.views[0]).numpy() == CODES).all()
    truth = find_truth(scene, None, lambda name: True)
    assert truth is not None and (truth.load(scene.views[0]).numpy() == CODES).all()


@pytest.mark.parametrize("are_upright", [False, True])
def test_label_images_that_tell_decide_for_those_of_photos_turned_by_half(
    tmp_path, write_colmap, colmap_model, caplog, are_upright
):
    root = make_scene(tmp_path, write_colmap, colmap_model, PINHOLE, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREYS).convert("RGB").save(root / "images/2.png", exif=exif)
    for i, orientation in enumerate((3, 3, 6)):
        Image.fromarray(turn(CODES, orientation) if are_upright else CODES).save(root / f"labels/{i}.png")
    scene = load_scene(root, DataConfig())
    images = find_label_images(scene, None)
    for view, orientation in zip(scene.views, (3, 3, 6), strict=True):
        assert (images.load(view).numpy() == turn(CODES, orientation)).all()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_segments_that_gsdff_has_made_show_views(tmp_path, write_colmap, colmap_model):
    """Label images of `gsdff segment` as a folder of masks; half a turn leaves the shape."""
    root = make_scene(tmp_path, write_colmap, colmap_model, PINHOLE, 3)
    view = load_scene(root, DataConfig()).views[0]
    segments = PrecomputedSegmenter(MaskConfig(folder=root / "labels"))
    assert (segments.segment(view, view.image).numpy() == turn(CODES, 3)).all()
    before = segments.fingerprint_of(view)
    (root / "labels/classes.json").write_text(json.dumps({"made_by": "gsdff.segment", "classes": []}))
    segments = PrecomputedSegmenter(MaskConfig(folder=root / "labels"))
    assert (segments.segment(view, view.image).numpy() == CODES).all()
    assert segments.fingerprint_of(view) != before


def write_maps(root, shapes):
    """A random map of each photo, of these shapes [h, w], as unit vectors."""
    maps = []
    for i, shape in enumerate(shapes):
        values = np.random.default_rng(i).standard_normal((5, *shape)).astype(np.float32)
        maps.append(values / np.linalg.norm(values, axis=0))
        np.save(root / f"maps/{i}.npy", maps[-1])
    return maps


@pytest.mark.parametrize(
    ("shapes", "expected", "level"),
    [
        (((16, 16), (16, 16), (16, 16)), "stored", "WARNING"),
        (((16, 16), (16, 24), (16, 16)), "stored", "INFO"),
        (((16, 16), (24, 16), (16, 16)), "views", "INFO"),
        (((16, 16), (24, 16), (16, 24)), "stored", "WARNING"),
    ],
)
def test_maps_of_the_folder_that_tell_decide_for_square_ones(
    tmp_path, write_colmap, colmap_model, caplog, shapes, expected, level
):
    root = make_scene(tmp_path, write_colmap, colmap_model, PINHOLE, 6)
    scene = load_scene(root, DataConfig())
    (square, *_) = write_maps(root, shapes)
    teacher = PrecomputedTeacher(TeacherConfig(maps=root / "maps"), scene)
    caplog.clear()
    with caplog.at_level("INFO"):
        for view in scene.views:
            teacher.check(view)
    (record,) = [record for record in caplog.records if "as stored" in record.message or "upright" in record.message]
    assert record.levelname == level and ("dataset.made_from" in record.message) == (level == "WARNING")
    (features,) = teacher.extract(scene.views[:1])
    shown = square if expected == "views" else turn(square.transpose(1, 2, 0), 6).transpose(2, 0, 1)
    assert np.allclose(features.numpy(), shown, atol=1e-5)


def test_the_other_maps_of_a_folder_shape_the_fingerprint_of_a_square_one(tmp_path, write_colmap, colmap_model):
    root = make_scene(tmp_path, write_colmap, colmap_model, PINHOLE, 6)
    scene, fingerprints = load_scene(root, DataConfig()), set()
    for shape in ((16, 24), (24, 16)):
        write_maps(root, ((16, 16), shape, (16, 16)))
        fingerprints.add(PrecomputedTeacher(TeacherConfig(maps=root / "maps"), scene).fingerprint_of(scene.views[0]))
    assert len(fingerprints) == 2


def test_nothing_is_said_of_square_maps_of_photos_that_are_not_turned(tmp_path, write_colmap, colmap_model, caplog):
    root = make_scene(tmp_path, write_colmap, colmap_model, LENS)
    scene = load_scene(root, DataConfig())
    write_maps(root, ((16, 16),) * 3)
    caplog.clear()
    teacher = PrecomputedTeacher(TeacherConfig(maps=root / "maps"), scene)
    for view in scene.views:
        teacher.check(view)
    assert not caplog.records
