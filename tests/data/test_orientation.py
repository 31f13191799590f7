"""Photos that EXIF turns become upright views whose cameras see the same rays; all eight orientations."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.cameras import Camera
from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.data.images import read_header
from gsdff.data.loader import read_capture
from gsdff.data.way_up import PosedPhoto, told_by_colors
from gsdff.errors import UserError
from gsdff.stored_photo import UNMIRRORED, turn, turn_camera

WIDTH, HEIGHT = 12, 16
"""Size of the upright photos."""
BACK = {6: 8, 8: 6}
MIRRORED = (2, 4, 5, 7)


def upright(i):
    """Noise, so that every pixel tells its place."""
    return np.random.default_rng(i).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def save_stored(path, pixels, orientation):
    """Writes pixels so that a program which respects EXIF shows them upright; returns the stored pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = turn(pixels, BACK.get(orientation, orientation))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).save(path, exif=exif)
    return stored


def make_scene(root, write_colmap, colmap_model, orientation, size, params, suffix="png"):
    model = colmap_model(
        cameras=((1, "PINHOLE", *size, params),),
        images=tuple((f"{i}.{suffix}", 1, (0.8, 0.0, 0.6, 0.0), (float(-i), 0.5, 0.2)) for i in range(3)),
    )
    write_colmap(root, model)
    return [save_stored(root / f"images/{i}.{suffix}", upright(i), orientation) for i in range(3)]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_poses_of_stored_photos_give_upright_views_of_the_same_rays(
    tmp_path, write_colmap, colmap_model, orientation, suffix
):
    size = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
    K = torch.tensor([[20.0, 0, 5.5], [0, 21.0, 7.0], [0, 0, 1]])
    stored = make_scene(tmp_path, write_colmap, colmap_model, orientation, size, (20, 21, 5.5, 7), suffix)
    scene = load_scene(tmp_path, DataConfig())
    rotation = torch.tensor([[0.28, 0, 0.96], [0, 1, 0], [-0.96, 0, 0.28]])
    for i, view in enumerate(scene.views):
        assert (view.camera.width, view.camera.height) == (WIDTH, HEIGHT) == view.image.shape[1::-1]
        shown = upright(i)[:, ::-1] if orientation in MIRRORED else upright(i)
        assert (view.image.numpy() == shown).all()
        # every stored pixel's ray, in the world, hits the pixel of the same colour in the view
        rows, columns = torch.meshgrid(torch.arange(size[1]), torch.arange(size[0]), indexing="ij")
        pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], -1).flatten(0, 1)
        rays = pixels @ torch.linalg.inv(K).T @ rotation
        seen = rays @ view.camera.viewmat[:3, :3].T @ view.camera.K.T
        x, y = (seen[:, :2] / seen[:, 2:]).floor().long().unbind(1)
        assert (view.image[y, x].numpy() == stored[i].reshape(-1, 3)).all()
        assert torch.linalg.det(view.camera.viewmat[:3, :3]) > 0
    positions = torch.stack([view.camera.position for view in scene.views]).double() * scene.frame.scale
    expected = torch.tensor([[-float(i), 0.5, 0.2] for i in range(3)]) @ -rotation
    assert torch.allclose(positions.float() + torch.tensor(scene.frame.centre).float(), expected, atol=1e-5)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_poses_of_turned_photos_keep_their_cameras(tmp_path, write_colmap, colmap_model, orientation):
    make_scene(tmp_path, write_colmap, colmap_model, orientation, (WIDTH, HEIGHT), (20, 21, 5.5, 7))
    for i, view in enumerate(load_scene(tmp_path, DataConfig()).views):
        assert (view.image.numpy() == upright(i)).all()
        assert torch.equal(view.camera.K, torch.tensor([[20.0, 0, 5.5], [0, 21, 7], [0, 0, 1]]))


def test_one_photo_that_fits_only_turned_tells_of_all(tmp_path, write_colmap, colmap_model):
    """Orientation 3 keeps the shape: alone it counts as stored, beside a photo of orientation 6 as turned."""
    make_scene(tmp_path, write_colmap, colmap_model, 3, (WIDTH, HEIGHT), (20, 21, 5.5, 7))
    save_stored(tmp_path / "images/1.png", upright(1), 6)
    K = torch.tensor([[20.0, 0, 5.5], [0, 21, 7], [0, 0, 1]])
    for i, view in enumerate(load_scene(tmp_path, DataConfig()).views):
        assert (view.image.numpy() == upright(i)).all() and torch.equal(view.camera.K, K)


def test_distorted_photos_are_undistorted_before_they_are_turned(tmp_path, write_colmap, colmap_model):
    """The lens belongs to the stored photo: an off-centre barrel distortion bends the same pixels either way."""
    lens = (1, "OPENCV", 48, 36, (40.0, 40.0, 20.0, 18.0, -0.1, 0.0, 0.0, 0.0))
    model = colmap_model(cameras=(lens,))
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)).resize((48, 36))
    plain, turned = write_colmap(tmp_path / "plain", model), write_colmap(tmp_path / "turned", model)
    for i in range(3):
        smooth.save(plain / f"images/{i}.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        smooth.save(turned / f"images/{i}.png", exif=exif)
    flat, view = (load_scene(root, DataConfig()).views[1] for root in (plain, turned))
    assert (turn(flat.image, 6) == view.image).all() and view.stored.lattice is not None
    expected = turn_camera(flat.camera, 6)
    assert torch.equal(view.camera.K, expected.K) and torch.equal(view.camera.viewmat, expected.viewmat)
    # the same steps bring a picture of the stored photo into the view, to the rounding of 8 bits
    again = view.stored.to_view(torch.from_numpy(np.array(smooth)).float(), view.image.shape[:2], "bilinear")
    assert (again - view.image.float()).abs().max() <= 1


def test_a_mask_that_is_to_show_the_view_and_does_not_names_the_option(tmp_path, write_colmap, colmap_model):
    make_scene(tmp_path, write_colmap, colmap_model, 6, (HEIGHT, WIDTH), (20, 21, 7, 5.5))
    (tmp_path / "masks").mkdir()
    Image.new("L", (HEIGHT, WIDTH), 255).save(tmp_path / "masks" / "1.png")
    assert load_scene(tmp_path, DataConfig()).views[1].mask is not None
    with pytest.raises(UserError, match=r"1\.png: is 16x12, .* by `dataset\.made_from` views, masks show upright"):
        load_scene(tmp_path, DataConfig(made_from="views"))


def test_a_photo_that_fits_neither_way_up_names_the_turn(tmp_path, write_colmap):
    root = write_colmap(tmp_path)
    Image.new("RGB", (12, 16)).save(root / "images/1.png")
    with pytest.raises(UserError, match=r"1\.png: is 12x16, its camera's photos are 16x12; .*EXIF"):
        load_scene(root, DataConfig())


def test_orientations_without_a_meaning_are_upright(tmp_path):
    for value in (0, 9, 42):
        save_stored(tmp_path / "a.png", upright(0), 1)
        exif = Image.Exif()
        exif[0x0112] = value
        Image.fromarray(upright(0)).save(tmp_path / "a.png", exif=exif)
        assert read_header(tmp_path / "a.png").orientation == 1


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turning_a_camera_turns_its_picture(orientation):
    camera = Camera(torch.eye(4), torch.tensor([[20.0, 0, 5], [0, 21, 7], [0, 0, 1]]), 12, 16)
    turned = turn_camera(camera, orientation)
    picture = torch.zeros(16, 12, dtype=torch.uint8)
    picture[3, 9] = 1
    point = torch.linalg.inv(camera.K) @ torch.tensor([9.5, 3.5, 1])
    x, y, z = turned.K @ (turned.viewmat[:3, :3] @ point)
    assert turn(picture, orientation)[int(y / z), int(x / z)] == 1


SQUARE = 40
"""Width and height of photos whose shape does not tell which way up they are meant."""


def look(i):
    """A square picture of a coloured plane; camera i stands at x = i / 4."""
    rows, columns = (np.indices((SQUARE, SQUARE)) + 0.5 - SQUARE / 2) / 30 * 3
    return paint(columns + i / 4, rows)


def paint(x, y):
    """Colours of the plane z = 3, smooth, and different in all eight orientations."""
    waves = np.sin(1.3 * x + 0.4), np.cos(0.9 * y + x), np.sin(0.7 * x - 1.1 * y)
    return np.round(127 + 120 * np.stack(waves, -1)).astype(np.uint8)


def make_square(root, write_colmap, colmap_model, orientation, is_turned, points=None):
    """Square photos of the plane, with poses of the stored or of the turned photo; gives what the poses belong to."""
    if points is None:
        places = np.random.default_rng(0).uniform(-1.8, 1.8, (300, 2))
        colors = paint(*places.T).tolist()
        points = tuple(((x, y, 3.0), tuple(c)) for (x, y), c in zip(places.tolist(), colors, strict=True))
    images = tuple((f"{i}.png", 1, (1.0, 0.0, 0.0, 0.0), (-i / 4, 0.0, 0.0)) for i in range(4))
    camera = (1, "PINHOLE", SQUARE, SQUARE, (30, 30, SQUARE / 2, SQUARE / 2))
    write_colmap(root, colmap_model(cameras=(camera,), images=images, points=points))
    for i in range(4):
        save_stored(root / f"images/{i}.png", look(i) if is_turned else turn(look(i), orientation), orientation)
    return [look(i) for i in range(4)]


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_points_colours_tell_of_square_photos(tmp_path, write_colmap, colmap_model, caplog, orientation, is_turned):
    posed = make_square(tmp_path, write_colmap, colmap_model, orientation, is_turned)
    for pixels, view in zip(posed, load_scene(tmp_path, DataConfig()).views, strict=True):
        shown = pixels if is_turned else turn(pixels, UNMIRRORED.get(orientation, orientation))
        assert (view.image.numpy() == shown).all()
    assert not [record for record in caplog.records if "dataset.poses" in record.message]


def test_where_nothing_tells_poses_are_those_of_stored_photos_and_a_warning_names_the_option(
    tmp_path, write_colmap, colmap_model, caplog
):
    grey = tuple(((x / 50 - 2, x / 77 - 1, 3.0), (128, 128, 128)) for x in range(200))
    for i, points in enumerate((grey, grey[:2])):
        posed = make_square(tmp_path / str(i), write_colmap, colmap_model, 3, True, points)
        caplog.clear()
        view = load_scene(tmp_path / str(i), DataConfig()).views[0]
        assert (view.image.numpy() == posed[0]).all() and view.stored.turn_after == 3
        (warning,) = [record for record in caplog.records if "dataset.poses" in record.message]
        assert warning.levelname == "WARNING" and "EXIF turns 4 photos, such as 0.png" in warning.message


@pytest.mark.parametrize("poses", ["stored", "turned"])
def test_the_option_decides_against_the_colours_and_without_a_word(tmp_path, write_colmap, colmap_model, caplog, poses):
    make_square(tmp_path, write_colmap, colmap_model, 6, poses == "stored")
    steps = [view.stored for view in load_scene(tmp_path, DataConfig(poses=poses)).views]
    assert all((step.turn_before, step.turn_after) == ((6, 1) if poses == "turned" else (1, 6)) for step in steps)
    assert "dataset.poses" not in caplog.text


@pytest.mark.parametrize("is_turned", [False, True])
def test_upward_directions_tell_of_photos_of_different_orientations(tmp_path, write_colmap, colmap_model, is_turned):
    """Half of the photos were taken with the camera upside down, and there are hardly any points."""
    up = (0.8, 0.0, 0.6, 0.0)
    down = up if is_turned else (0.0, -0.6, 0.0, 0.8)  # half a turn about the camera's axis
    images = [(f"{i}.png", 1, up if i == 0 else down, (float(-i), 0.5, 0.2)) for i in range(3)]
    camera = (1, "PINHOLE", WIDTH, HEIGHT, (20, 21, 5.5, 7))
    other = write_colmap(tmp_path / "other", colmap_model(cameras=(camera,), images=tuple(images)))
    for i in range(3):
        save_stored(other / f"images/{i}.png", upright(i), 1 if i == 0 else 3)
    first, *others = load_scene(other, DataConfig()).views
    assert first.stored is None
    assert all((view.stored.turn_before == 3) == is_turned for view in others)
    assert all(float(first.camera.viewmat[1, :3] @ view.camera.viewmat[1, :3]) > 0.99 for view in others)


def test_photos_that_contradict_one_another_are_named(tmp_path, write_colmap, colmap_model):
    cameras = tuple((i, "PINHOLE", *size, (20, 20, 6, 6)) for i, size in ((1, (WIDTH, HEIGHT)), (2, (HEIGHT, WIDTH))))
    images = tuple((f"{i}.png", 1 + i % 2, (1.0, 0.0, 0.0, 0.0), (float(i), 0.0, 0.0)) for i in range(5))
    write_colmap(tmp_path, colmap_model(cameras=cameras, images=images))
    for i in range(5):
        save_stored(tmp_path / f"images/{i}.png", upright(i), 6)
    with pytest.raises(UserError, match=r"of 2 photos .* stored \(1.png and 3.png\), .* of 3 .* \(0.png and 2.png\)"):
        load_scene(tmp_path, DataConfig())


def test_an_option_that_no_photo_fits_is_refused(tmp_path, write_colmap, colmap_model):
    make_scene(tmp_path, write_colmap, colmap_model, 6, (HEIGHT, WIDTH), (20, 21, 7, 5.5))
    with pytest.raises(UserError, match=r"`dataset.poses` turned: .*0.png is then 12x16, .* photos are 16x12"):
        load_scene(tmp_path, DataConfig(poses="turned"))
    assert load_scene(tmp_path, DataConfig(poses="stored")).views[0].stored.turn_after == 6


ANGLES = {"camera_angle_x": 2 * math.atan(WIDTH / 40), "camera_angle_y": 2 * math.atan(HEIGHT / 40)}
"""Angles of view of a turned photo with a focal length of 20."""
SIZELESS = {
    "centre": {"fl_x": 20, "cx": WIDTH / 2, "cy": HEIGHT / 2},
    "angles": ANGLES,
    "one angle and a focal length": {"fl_x": 20, "camera_angle_x": ANGLES["camera_angle_x"]},
    "one side": {"fl_x": 20, "h": HEIGHT},
}


def swap(settings):
    """The same numbers of the photo as it is stored."""
    other = {"x": "y", "y": "x", "w": "h", "h": "w"}
    return {key[:-1] + other[key[-1]] if key != "fl_x" else key: value for key, value in settings.items()}


def write_frames(root, settings):
    """transforms.json of three photos of orientation 6, stored lying on their sides."""
    poses = [np.eye(4) + np.eye(4, k=3) * i for i in range(3)]
    frames = [{"file_path": f"{i}.png", "transform_matrix": pose.tolist()} for i, pose in enumerate(poses)]
    for i in range(3):
        save_stored(root / f"{i}.png", upright(i), 6)
    (root / "transforms.json").write_text(json.dumps({**settings, "frames": frames}))


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("name", SIZELESS)
def test_numbers_of_a_camera_without_a_size_tell_which_way_up_it_is(tmp_path, caplog, name, is_turned):
    write_frames(tmp_path, SIZELESS[name] if is_turned else swap(SIZELESS[name]))
    for i, view in enumerate(load_scene(tmp_path, DataConfig(random_points=9)).views):
        assert (view.image.numpy() == upright(i)).all()
        assert torch.allclose(view.camera.K, torch.tensor([[20.0, 0, WIDTH / 2], [0, 20, HEIGHT / 2], [0, 0, 1]]))
        assert (view.stored.turn_before, view.stored.turn_after) == ((6, 1) if is_turned else (1, 6))
    assert "dataset.poses" not in caplog.text


@pytest.mark.parametrize("poses", ["auto", "stored", "turned"])
def test_an_angle_of_view_alone_belongs_to_the_side_that_the_poses_have(tmp_path, caplog, poses):
    write_frames(tmp_path, {"camera_angle_x": math.pi / 2})
    camera = load_scene(tmp_path, DataConfig(random_points=9, poses=poses)).views[0].camera
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)
    assert float(camera.K[0, 0]) == pytest.approx((WIDTH if poses == "turned" else HEIGHT) / 2)
    assert ("dataset.poses" in caplog.text) == (poses == "auto")


def test_a_size_and_a_centre_of_different_ways_up_are_refused(tmp_path):
    write_frames(tmp_path, {"w": HEIGHT, "h": WIDTH, "fl_x": 20, "cx": WIDTH / 2, "cy": HEIGHT / 2})
    with pytest.raises(UserError, match=r"principal point \(6, 8\) .* turned by 90 degrees, not of the 16x12"):
        load_scene(tmp_path, DataConfig())
    assert load_scene(tmp_path, DataConfig(poses="stored", random_points=9)).views[0].stored.turn_after == 6


@pytest.mark.parametrize("name", ["fox", "room_a", "camvid"])
def test_the_colours_of_real_scenes_tell(shared, tmp_path, name):
    """Photos of real scenes that are given an orientation, and poses of the stored or of the turned photo."""
    capture = read_capture(shared / "assets/scenes" / name, DataConfig())
    for orientation, is_turned in ((3, False), (3, True), (4, True), (2, True)):
        photos = []
        for shot in capture.shots[:: len(capture.shots) // 8]:
            with Image.open(shot.path) as picture:
                pixels = np.array(picture.convert("RGB").reduce(4))
            path = tmp_path / f"{len(photos)}.png"
            save_stored(path, pixels if is_turned else turn(pixels, orientation), orientation)
            photos.append(PosedPhoto(replace(shot, path=path), read_header(path)))
        assert told_by_colors(photos, capture) is is_turned
