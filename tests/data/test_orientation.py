"""Photos that EXIF turns become upright views whose cameras see the same rays; all eight orientations."""

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.cameras import Camera
from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.data.images import read_header
from gsdff.errors import UserError
from gsdff.stored_photo import turn, turn_camera

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
