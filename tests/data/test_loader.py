"""A path becomes a scene: the right format, sizes, split, frame and backgrounds, and mistakes are named."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.errors import UserError

POSE = [[1.0, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]


def write_transforms(root, names, shared, name="transforms.json"):
    frames = []
    for i, file_path in enumerate(names):
        pose = [row.copy() for row in POSE]
        pose[0][3] = float(i)
        frames.append({"file_path": file_path, "transform_matrix": pose})
    (root / name).write_text(json.dumps({**shared, "frames": frames}))
    return root


def test_views_are_in_name_order_with_their_own_pixels(tmp_path, write_colmap, colmap_model):
    images = tuple((name, 1, (1.0, 0, 0, 0), (float(i), 0, 0)) for i, name in enumerate(("c.png", "a.png", "b.png")))
    scene = load_scene(write_colmap(tmp_path / "s", colmap_model(images=images)), DataConfig())
    assert [view.name for view in scene.views] == ["a.png", "b.png", "c.png"]
    for view in scene.views:
        assert (view.image.numpy() == np.array(Image.open(tmp_path / "s/images" / view.name))).all()
        assert (view.camera.width, view.camera.height) == (16, 12) and view.alpha is None
    assert scene.test_ids == [0] and scene.train_ids == [1, 2] and scene.root == tmp_path / "s"


def test_points_and_cameras_keep_their_relation_in_the_working_frame(tmp_path, write_colmap):
    scene = load_scene(write_colmap(tmp_path / "s"), DataConfig())
    positions = torch.stack([view.camera.position for view in scene.views])
    assert torch.allclose(positions.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.isclose(positions.norm(dim=1).max(), torch.tensor(1.0))
    assert torch.allclose(
        scene.frame.points_to_input(scene.points), torch.tensor([[0.5, 1, 2], [-1, 0, 3]]).double(), atol=1e-5
    )
    # The second image sees the first point at (0.5 - 1, 1, 2): projected by hand with fx 20, fy 21, centre (8, 6).
    camera = scene.views[1].camera
    seen = camera.viewmat[:3, :3] @ scene.points[0] + camera.viewmat[:3, 3]
    pixel = camera.K @ seen / seen[2]
    assert torch.allclose(pixel[:2], torch.tensor([20 * -0.25 + 8, 21 * 0.5 + 6]), atol=1e-4)
    assert scene.point_colors.tolist() == [[255, 128, 0], [1, 2, 3]]


def test_the_fox_has_the_same_cameras_from_either_format(shared):
    fox = shared / "assets/scenes/fox"
    one = load_scene(fox, DataConfig(downscale=8))
    other = load_scene(fox / "transforms.json", DataConfig(downscale=8))
    assert [view.name for view in one.views] == [view.name for view in other.views]
    assert len(one.views) == 50 and one.test_ids == other.test_ids == [0, 8, 16, 24, 32, 40, 48]
    for a, b in zip(one.views, other.views, strict=True):
        assert torch.allclose(a.camera.viewmat, b.camera.viewmat, atol=1e-5)
        assert torch.allclose(a.camera.K, b.camera.K, atol=1e-5)
        assert torch.equal(a.image, b.image)
    assert one.points.shape == (11873, 3) and other.points.shape == (20_000, 3)
    camera = one.views[0].camera
    assert (camera.width, camera.height) == (68, 120)  # 540 / 8 is 67.5
    assert torch.allclose(camera.K[0], torch.tensor([716.62 * 68 / 540, 0, 34]), atol=1e-4)
    inside = (other.points - one.points.median(0).values).norm(dim=1) < (one.points - one.points.median(0).values).norm(
        dim=1
    ).quantile(0.95)
    assert inside.float().mean() > 0.3  # random points fall where the real ones are


@pytest.mark.parametrize(("name", "num_views", "num_points"), [("camvid", 100, 4281), ("room_a", 72, 13000)])
def test_real_scenes_load(shared, name, num_views, num_points):
    scene = load_scene(shared / "assets/scenes" / name, DataConfig(downscale=4))
    assert (len(scene.views), len(scene.points)) == (num_views, num_points)
    camera = scene.views[3].camera
    in_camera = scene.points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = in_camera @ camera.K.T
    pixels = (pixels[:, :2] / pixels[:, 2:])[in_camera[:, 2] > 0]
    size = torch.tensor([camera.width, camera.height])
    seen = ((pixels > 0) & (pixels < size)).all(1)
    assert seen.float().mean() > 0.1 and (camera.width, camera.height) == (120, 90)


def test_a_photos_colours_agree_with_the_points_it_sees(shared):
    """Frame, axes, pixel centres and K together: a point's colour is that of the pixel it falls on."""
    scene = load_scene(shared / "assets/scenes/fox", DataConfig(downscale=2))
    camera, image = scene.views[20].camera, scene.views[20].target
    in_camera = scene.points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = in_camera @ camera.K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    size = torch.tensor([camera.width, camera.height])
    seen = (in_camera[:, 2] > 0) & ((pixels > 0) & (pixels < size)).all(1)
    x, y = pixels[seen].long().T
    error = (image[y, x] - scene.point_colors[seen].float() / 255).abs().mean(1).median()
    shuffled = (image[y, x] - scene.point_colors[seen].roll(1, 0).float() / 255).abs().mean(1).median()
    assert error < 0.06 and error < shuffled / 3


def test_downscaling_reads_smaller_copies_or_makes_them(tmp_path, write_colmap, write_photos):
    root = write_colmap(tmp_path / "s")
    write_photos(root / "images_4", ["0.png"], (4, 3))
    scene = load_scene(root, DataConfig(downscale=4))
    assert (scene.views[0].image.numpy() == np.array(Image.open(root / "images_4/0.png"))).all()
    full = np.array(Image.open(root / "images/1.png")).reshape(3, 4, 4, 4, 3).mean((1, 3))
    assert np.abs(scene.views[1].image.numpy() - full).max() <= 1
    for view in scene.views[:2]:
        assert torch.allclose(view.camera.K, torch.tensor([[5.0, 0, 2], [0, 5.25, 1.5], [0, 0, 1]]))
    odd = load_scene(root, DataConfig(downscale=5)).views[2]  # 16 x 12 becomes 3 x 2
    assert odd.image.shape == (2, 3, 3)
    assert torch.allclose(odd.camera.K, torch.tensor([[20 * 3 / 16, 0, 1.5], [0, 21 * 2 / 12, 1], [0, 0, 1]]))


def test_photos_smaller_than_their_camera_scale_it_and_turned_ones_are_refused(tmp_path, write_colmap, write_photos):
    root = write_colmap(tmp_path / "s")
    write_photos(root / "images", ["1.png"], (8, 6))
    small = load_scene(root, DataConfig()).views[1].camera
    assert torch.allclose(small.K, torch.tensor([[10.0, 0, 4], [0, 10.5, 3], [0, 0, 1]]))
    write_photos(root / "images", ["1.png"], (12, 16))
    with pytest.raises(UserError, match=r"1\.png: is 12x16, its camera's photos are 16x12"):
        load_scene(root, DataConfig())


def rgba_scene(root):
    """Three photos whose left half is transparent red."""
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, :2], pixels[:, 2:] = [255, 0, 0, 0], [0, 0, 200, 255]
    (root / "train").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(pixels).save(root / f"train/r_{i}.png")
    names = [f"./train/r_{i}" for i in range(3)]
    return write_transforms(root, names, {"camera_angle_x": 0.7}, "transforms_train.json")


@pytest.mark.parametrize(("background", "left"), [("black", [0, 0, 0]), ("white", [255, 255, 255])])
def test_transparent_pixels_show_the_background(tmp_path, background, left):
    view = load_scene(rgba_scene(tmp_path / "s"), DataConfig(background=background)).views[0]
    assert view.image[0, 0].tolist() == left and view.image[0, 3].tolist() == [0, 0, 200]
    assert view.alpha is None and torch.equal(view.over(torch.ones(3)), view.target)


def test_a_random_background_can_be_put_in_later(tmp_path):
    view = load_scene(rgba_scene(tmp_path / "s"), DataConfig(background="random")).views[0]
    assert view.alpha[0].tolist() == [0, 0, 255, 255]
    background = torch.tensor([0.1, 0.5, 0.9])
    assert torch.allclose(view.over(background)[0, 0], background)
    assert torch.allclose(view.over(background)[0, 3], torch.tensor([0, 0, 200 / 255]))


def test_blender_scenes_keep_their_split_and_start_from_what_is_not_transparent(tmp_path):
    root = rgba_scene(tmp_path / "s")
    write_transforms(root, ["./train/r_1"], {"camera_angle_x": 0.7}, "transforms_test.json")
    (root / "test").mkdir()
    (root / "train/r_2.png").rename(root / "test/r_2.png")
    write_transforms(root, ["./train/r_0", "./train/r_1"], {"camera_angle_x": 0.7}, "transforms_train.json")
    write_transforms(root, ["./test/r_2"], {"camera_angle_x": 0.7}, "transforms_test.json")
    scene = load_scene(root, DataConfig(random_points=3000))
    assert [view.name for view in scene.views] == ["test/r_2.png", "train/r_0.png", "train/r_1.png"]
    assert (scene.test_ids, scene.train_ids) == ([0], [1, 2])
    assert scene.points.shape == (3000, 3) and (scene.point_colors[:, 2] > 60).all()  # what is opaque is blue


def test_random_points_repeat(tmp_path, write_photos):
    write_photos(tmp_path, ["images/0.png", "images/1.png"])
    write_transforms(tmp_path, ["images/0.png", "images/1.png"], {"fl_x": 20.0})
    one, other = (load_scene(tmp_path, DataConfig(random_points=100)) for _ in range(2))
    assert one.points.shape == (100, 3) and torch.equal(one.points, other.points)
    with pytest.raises(UserError, match=r"`DataConfig\.random_points`: expected at least 1, got 0"):
        DataConfig(random_points=0)


def test_the_format_in_use_is_said_and_the_other_named(tmp_path, write_colmap, caplog):
    root = write_colmap(tmp_path / "s")
    write_transforms(root, ["images/0.png", "images/1.png"], {"fl_x": 20.0})
    with caplog.at_level(logging.INFO, "gsdff"):
        assert len(load_scene(root, DataConfig()).points) == 2
    assert "reading the COLMAP model" in caplog.text and "transforms.json is there as well" in caplog.text


def test_points_that_are_not_finite_are_left_out(tmp_path, write_colmap, colmap_model, caplog):
    points = (((float("nan"), 0.0, 0.0), (1, 1, 1)), ((1.0, 2.0, 3.0), (4, 5, 6)))
    scene = load_scene(write_colmap(tmp_path / "s", colmap_model(points=points)), DataConfig())
    assert scene.point_colors.tolist() == [[4, 5, 6]] and "1 of 2 points are left out" in caplog.text


def test_a_stray_point_is_left_out_and_said_and_a_far_one_stays(tmp_path, write_colmap, colmap_model, caplog):
    near = [((i / 10, 0.0, 3.0), (i, 1, 1)) for i in range(9)]
    points = (*near, ((1e9, 0.0, 5.0), (9, 9, 9)), ((0.0, 900.0, 5.0), (8, 8, 8)))
    scene = load_scene(write_colmap(tmp_path / "s", colmap_model(points=points)), DataConfig())
    assert len(scene.points) == 10 and scene.point_colors[-1].tolist() == [8, 8, 8]
    assert "1 of 11 points are left out, they are up to 1e+09 away" in caplog.text


def test_a_damaged_photo_stops_the_load_with_its_name(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s")
    content = (root / "images/1.png").read_bytes()
    (root / "images/1.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"1\.png: cannot be read as a photo"):
        load_scene(root, DataConfig())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: None, "no such file or folder"),
        (lambda s: s.mkdir(), "neither a COLMAP model"),
        (lambda s: s.write_text("text"), "neither a COLMAP model"),
    ],
)
def test_what_is_no_dataset_is_named(tmp_path, make, message):
    make(tmp_path / "s")
    with pytest.raises(UserError, match=f"s: {message}"):
        load_scene(tmp_path / "s", DataConfig())


@pytest.mark.parametrize("below", ["", "images"])
def test_photos_without_poses_lead_to_prepare(tmp_path, write_photos, below):
    write_photos(tmp_path / "s" / below, ["a.jpg", "b.jpg"])
    with pytest.raises(UserError, match=rf"photos without poses; .*gsdff.prepare --images \S*{below or 's'}`"):
        load_scene(tmp_path / "s", DataConfig())


def test_one_photo_is_not_enough(tmp_path, write_colmap, colmap_model):
    root = write_colmap(tmp_path / "s", colmap_model(images=colmap_model().images[:1]))
    with pytest.raises(UserError, match="no photo is left to train on"):
        load_scene(root, DataConfig())


def test_a_downscale_below_one_is_refused():
    with pytest.raises(UserError, match=r"`DataConfig\.downscale`: expected at least 1, got 0"):
        DataConfig(downscale=0)


def test_distorted_photos_keep_alpha_and_are_said_once(tmp_path, caplog):
    pixels = np.full((24, 32, 4), 255, np.uint8)
    pixels[:, :16, 3] = 0
    (tmp_path / "images").mkdir()
    for name in ("0.png", "1.png", "2.png"):
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    names = [f"images/{i}.png" for i in range(3)]
    write_transforms(tmp_path, names, {"fl_x": 30.0, "k1": -0.1, "camera_model": "OPENCV"})
    scene = load_scene(tmp_path, DataConfig(background="random", random_points=10))
    for view in scene.views:
        assert view.alpha.shape == view.image.shape[:2] == (view.camera.height, view.camera.width)
        assert (view.alpha[:, :14] == 0).all() and (view.alpha[:, -14:] == 255).all()
    assert caplog.text.count("undistorting 3 OPENCV photos (32x24 becomes") == 1


@pytest.mark.parametrize("at", ["distorted/sparse/0", "dense/0/sparse", "a/b/c", "sfm/models/1", "sparse/0/0"])
def test_a_model_anywhere_below_is_found(tmp_path, write_colmap, caplog, at):
    root = write_colmap(tmp_path / "s", at=at)
    (root / ".hidden").mkdir()
    (root / ".hidden/transforms.json").write_text("{}")
    (root / "loop").symlink_to(root)
    (root / "itself").symlink_to(root / "itself")
    with caplog.at_level(logging.INFO, "gsdff"):
        assert len(load_scene(root, DataConfig()).views) == 3
    assert f"reading the COLMAP model {root / at}" in caplog.text


def test_photos_lie_beside_an_undistorted_model(tmp_path, write_colmap, write_photos):
    root = write_colmap(tmp_path / "s/dense", at="sparse")
    write_photos(tmp_path / "s/images", ["0.png"], (20, 15))
    scene = load_scene(tmp_path / "s", DataConfig())
    assert scene.root == root and [view.camera.width for view in scene.views] == [16] * 3


def test_several_datasets_below_are_named(tmp_path, write_colmap):
    for name in ("garden", "bicycle"):
        write_colmap(tmp_path / "s" / name)
    with pytest.raises(UserError, match=r"s: 2 datasets lie below \(bicycle, garden\); give one of them"):
        load_scene(tmp_path / "s", DataConfig())


def test_transforms_come_before_a_model_far_below(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s", at="backup/sparse/0")
    write_transforms(root, ["images/0.png", "images/1.png"], {"fl_x": 20.0})
    assert len(load_scene(root, DataConfig()).views) == 2


@pytest.mark.parametrize("name", ["clip.mp4", "CLIP.MOV"])
def test_a_video_leads_to_prepare(tmp_path, name):
    for path in (tmp_path / name, tmp_path / "missing" / name, tmp_path):
        with pytest.raises(UserError, match=rf"gsdff prepare --images \S*{name}`"):
            load_scene(path, DataConfig())
        (tmp_path / name).write_bytes(b"film")


def test_a_path_that_is_no_name_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected a path in UTF-8"):
        load_scene(tmp_path / "caf\ud800", DataConfig())


def changed(colmap_model, *, params=None, size=(16, 12), position=None, model="PINHOLE"):
    """The default model with another camera, or with its first photo at another place."""
    camera = (1, model, *size, params or (20.0, 21.0, 8.0, 6.0))
    images = colmap_model().images
    if position:
        images = (("0.png", 1, (1.0, 0.0, 0.0, 0.0), position), *images[1:])
    return colmap_model(cameras=(camera,), images=images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": (-69.0, 21.0, 8.0, 6.0)}, "expected a focal length of 0.16 to 16000 pixels, got -69 and 21"),
        ({"params": (20.0, 0.0, 8.0, 6.0)}, "expected a focal length .* got 20 and 0"),
        ({"params": (1e12, 1e12, 8.0, 6.0)}, "expected a focal length .* got 1e.12 and 1e.12"),
        ({"params": (float("nan"), 21.0, 8.0, 6.0)}, "expected finite parameters of the PINHOLE camera"),
        (
            {"params": (20.0, 21.0, 1e9, 6.0)},
            r"expected the principal point in or near the 16x12 pixels, got \(1e.09, 6\)",
        ),
        ({"params": (20.0, 21.0, 8.0, -400.0)}, "expected the principal point"),
        (
            {"params": (20.0, 8.0, 6.0, 1e9), "model": "SIMPLE_RADIAL"},
            "expected distortion parameters of at most 10000",
        ),
        ({"params": (-20.0, 8.0, 6.0, 0.1), "model": "SIMPLE_RADIAL"}, "expected a focal length .* got -20"),
        ({"size": (0, 12)}, "expected 1 to 1000000 pixels a side, got 0x12"),
        ({"size": (16, 2**63)}, "expected 1 to 1000000 pixels a side, got 16x9223372036854775808"),
        ({"position": (1e300, 0.0, 0.0)}, r"expected a camera position of at most 1e.10, got \(-1e.300, -?0, -?0\)"),
    ],
)
def test_numbers_that_no_camera_has_are_refused_in_colmap_models(tmp_path, write_colmap, colmap_model, change, message):
    root = write_colmap(tmp_path / "s", changed(colmap_model, **change))
    with pytest.raises(UserError, match=rf"images.bin: 0.png: {message}.*; correct it, or take this photo out"):
        load_scene(root, DataConfig())


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        ({"fl_x": -69.0}, "expected a focal length of 0.16 to 16000 pixels, got -69 and -69"),
        ({"fl_x": 0}, "expected a focal length"),
        ({"fl_x": 1e12}, "expected a focal length"),
        ({"camera_angle_x": 1e-12}, "expected a focal length"),
        ({"camera_angle_x": 3.14159265}, "expected a focal length"),
        ({"fl_x": 20.0, "cx": 1e9}, "expected the principal point"),
        ({"fl_x": 20.0, "k1": 1e9}, "expected distortion parameters"),
        ({"fl_x": 20.0, "w": 0, "h": 12}, "expected 1 to 1000000 pixels a side, got 0x12"),
        ({"fl_x": 20.0, "w": 1e300, "h": 12}, "expected 1 to 1000000 pixels a side"),
    ],
)
def test_numbers_that_no_camera_has_are_refused_in_transforms(tmp_path, write_photos, shared, message):
    write_photos(tmp_path, ["images/0.png", "images/1.png"])
    write_transforms(tmp_path, ["images/0.png", "images/1.png"], shared)
    with pytest.raises(UserError, match=rf"transforms.json: 0.png: {message}"):
        load_scene(tmp_path, DataConfig())


@pytest.mark.parametrize("place", [[1e300, 0.0, 0.0], [1.7e308, -1.7e308, 1.7e308]])
def test_a_frame_at_the_end_of_the_numbers_is_refused(tmp_path, write_photos, place):
    write_photos(tmp_path, ["images/0.png", "images/1.png"])
    write_transforms(tmp_path, ["images/0.png", "images/1.png"], {"fl_x": 20.0})
    content = json.loads((tmp_path / "transforms.json").read_text())
    turned = [[0.6, -0.8, 0.0], [0.64, 0.48, -0.6], [0.48, 0.36, 0.8]]
    content["frames"][0]["transform_matrix"] = [[*row, x] for row, x in zip(turned, place, strict=True)]
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"transforms.json: 0.png: (expected a camera position|its pose is not finite)"):
        load_scene(tmp_path, DataConfig())


def test_a_camera_far_from_all_others_is_said(tmp_path, write_colmap, colmap_model, caplog):
    names = [f"{i}.png" for i in range(5)]
    places = [*((float(i), 0.0, 0.0) for i in range(4)), (1e7, 0.0, 0.0)]
    images = tuple((name, 1, (1.0, 0.0, 0.0, 0.0), place) for name, place in zip(names, places, strict=True))
    load_scene(write_colmap(tmp_path / "near", colmap_model(images=images[:4])), DataConfig())
    assert "as far away as most" not in caplog.text
    load_scene(write_colmap(tmp_path / "far", colmap_model(images=images)), DataConfig())
    assert "the camera of 4.png is 1e+07 times as far away as most" in caplog.text


def test_points_behind_all_cameras_are_refused(tmp_path, write_colmap, colmap_model):
    points = tuple(((0.1 * i, 0.0, -3.0), (1, 2, 3)) for i in range(3000))
    root = write_colmap(tmp_path / "s", colmap_model(points=points))
    with pytest.raises(UserError, match=r"images.bin: all points lie behind all cameras"):
        load_scene(root, DataConfig())


def test_points_that_are_all_too_far_become_random_ones(tmp_path, write_colmap, colmap_model, caplog):
    points = tuple(((1e300, sign * 1e300, 1e300), (1, 1, 1)) for sign in (-1, 1))
    root = write_colmap(tmp_path / "s", colmap_model(points=points))
    with caplog.at_level(logging.INFO, "gsdff"):
        scene = load_scene(root, DataConfig(random_points=100))
    assert len(scene.points) == 100 and scene.points.isfinite().all()
    assert "2 of 2 points are left out" in caplog.text and "starting from 100 random ones" in caplog.text


@pytest.mark.parametrize("text", [False, True])
def test_georeferenced_coordinates_keep_their_digits(tmp_path, write_colmap, colmap_model, text):
    place, near = np.array([500_000.0, 4_649_776.0, 100.0]), colmap_model()
    quat = (0.5, -0.1, 0.7, 0.2)
    images = tuple((name, camera, quat, tuple(map(float, t))) for name, camera, _, t in near.images)
    rotation = np.array(rotation_of(quat))
    moved = tuple((name, c, q, tuple((np.array(t) - rotation @ place).tolist())) for name, c, q, t in images)
    points = tuple((tuple((np.array(p) + place).tolist()), color) for p, color in near.points)
    one = load_scene(write_colmap(tmp_path / "a", colmap_model(images=images), text=text), DataConfig())
    other = load_scene(write_colmap(tmp_path / "b", colmap_model(images=moved, points=points), text=text), DataConfig())
    for a, b in zip(one.views, other.views, strict=True):
        assert torch.allclose(a.camera.viewmat, b.camera.viewmat, atol=1e-6)
    assert torch.allclose(one.points, other.points, atol=1e-6)


def rotation_of(quat):
    """Rotation matrix of a quaternion wxyz of any length."""
    w, x, y, z = np.array(quat) / np.linalg.norm(quat)
    return [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]


def test_the_held_out_photo_of_a_repeated_frame_is_not_trained_on(tmp_path, write_photos):
    write_photos(tmp_path, [f"images/{i}.png" for i in range(3)])
    frames = ["images/0.png", "images/1.png", "images/2.png"]
    write_transforms(tmp_path, frames, {"fl_x": 20.0, "test_filenames": ["images/1.png"]})
    content = json.loads((tmp_path / "transforms.json").read_text())
    content["frames"] += [content["frames"][1]] * 9
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    scene = load_scene(tmp_path, DataConfig(random_points=10))
    assert [scene.views[i].name for i in scene.train_ids] == ["0.png", "2.png"]
    assert [scene.views[i].name for i in scene.test_ids] == ["1.png"]


def test_photos_outside_are_an_option(tmp_path, write_colmap, write_photos):
    root = write_colmap(tmp_path / "s", text=True)
    write_photos(tmp_path / "private", ["1.png"])
    (root / "images/1.png").unlink()
    path = root / "sparse/0/images.txt"
    path.write_text(path.read_text().replace(" 1.png", " ../../private/1.png"))
    with pytest.raises(UserError, match=r"set `dataset.allow_outside` if you trust this file"):
        load_scene(root, DataConfig())
    assert len(load_scene(root, DataConfig(allow_outside=True)).views) == 3
