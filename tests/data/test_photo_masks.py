"""Masks beside photos, in each convention of the field, say which pixels count."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.errors import UserError

COUNTS = np.ones((12, 16), bool)
COUNTS[:, :5] = False
"""The left five columns are left out."""


def save(path, counts, inverted=False, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(((~counts if inverted else counts) * 255).astype(np.uint8)).convert(mode).save(path)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("name", ["masks/1.png.png", "masks/1.png"])
def test_a_folder_of_masks_beside_the_images_leaves_out_black(tmp_path, write_colmap, name, mode):
    root = write_colmap(tmp_path)
    save(root / name, COUNTS, mode=mode)
    views = load_scene(root, DataConfig()).views
    assert (views[1].mask.numpy() == COUNTS).all() and views[0].mask is None
    assert load_scene(root, DataConfig(masks=False)).views[1].mask is None


def test_masks_of_instant_ngp_leave_out_white_and_are_no_photos(tmp_path, write_colmap):
    root = write_colmap(tmp_path)
    save(root / "images/dynamic_mask_1.png", COUNTS, inverted=True, mode="RGB")
    scene = load_scene(root, DataConfig())
    assert len(scene.views) == 3 and (scene.views[1].mask.numpy() == COUNTS).all()


def test_masks_of_zeros_and_ones_and_of_jpeg_are_read(tmp_path, write_colmap):
    root = write_colmap(tmp_path)
    (root / "masks").mkdir()
    Image.fromarray(COUNTS.astype(np.uint8)).save(root / "masks/0.png")
    large = np.kron(COUNTS, np.ones((40, 40), bool))
    save(root / "masks/1.jpg", large)
    views = load_scene(root, DataConfig()).views
    assert (views[0].mask.numpy() == COUNTS).all() and (views[1].mask.numpy() == COUNTS).all()


def test_a_folder_of_segments_is_not_taken_for_masks(tmp_path, write_colmap, caplog):
    root = write_colmap(tmp_path)
    (root / "masks").mkdir()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(12, 16) // 20).save(root / "masks/0.png")
    assert load_scene(root, DataConfig()).views[0].mask is None
    assert "0.png has more than two values" in caplog.text


def test_a_mask_of_another_shape_is_refused(tmp_path, write_colmap):
    root = write_colmap(tmp_path)
    save(root / "masks/1.png", np.ones((16, 12), bool))
    with pytest.raises(UserError, match=r"masks/1\.png: is 12x16, its photo 1\.png is 16x12; its sides are swapped"):
        load_scene(root, DataConfig())


def test_masks_are_undistorted_and_turned_with_their_photos(tmp_path, write_colmap, colmap_model):
    lens = (1, "OPENCV", 48, 36, (40.0, 40.0, 24.0, 18.0, -0.2, 0.0, 0.0, 0.0))
    root = write_colmap(tmp_path, colmap_model(cameras=(lens,)))
    counts = np.ones((36, 48), bool)
    counts[10:20, 6:20] = False
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(3):
        Image.fromarray(counts.astype(np.uint8) * 255).convert("RGB").save(root / f"images/{i}.png", exif=exif)
        save(root / f"masks/{i}.png", counts)
    for view in load_scene(root, DataConfig()).views:
        assert view.camera.height > view.camera.width and view.mask.shape == view.image.shape[:2]
        # the photo shows its own mask; at the edges of it bilinear and nearest differ
        agree = (view.image[..., 0] > 127) == view.mask
        assert agree.float().mean() > 0.99


def test_masked_pixels_change_neither_loss_nor_scores():
    from gsdff.losses import image_loss
    from gsdff.metrics import psnr, ssim

    generator = torch.Generator().manual_seed(0)
    target, image, other = (torch.rand(32, 40, 3, generator=generator) for _ in range(3))
    mask = torch.ones(32, 40, dtype=torch.bool)
    mask[:, :15] = False
    hidden = torch.rand(32, 40, 3, generator=generator)  # as the photo may show anything below its mask
    other[mask], hidden[mask] = image[mask], target[mask]
    image.requires_grad_()
    losses = [image_loss(picture, photo, 0.2, mask) for picture, photo in ((image, target), (other, hidden))]
    assert all(
        torch.equal(getattr(losses[0], name), getattr(losses[1], name)) for name in ("loss", "l1", "ssim", "mse")
    )
    (gradient,) = torch.autograd.grad(losses[0].loss, image)
    assert not gradient[~mask].any() and gradient[mask].any()
    whole = (other - target).abs()[mask].mean()
    assert torch.allclose(losses[1].l1, whole)
    image = image.detach()
    assert (
        psnr(image, target, mask)
        == psnr(other, target, mask)
        == pytest.approx(psnr(image[:, 15:], target[:, 15:]), abs=1e-9)
    )
    assert ssim(image, target, mask) == ssim(other, hidden, mask)
    empty = torch.zeros_like(mask)
    assert float(image_loss(image, target, 0.2, empty).loss) == pytest.approx(0, abs=1e-6)


def test_teacher_pixels_under_a_mask_have_no_weight(tmp_path, write_colmap):
    from gsdff.training.teacher_targets import make_target

    root = write_colmap(tmp_path)
    save(root / "masks/1.png", COUNTS)
    view = load_scene(root, DataConfig()).views[1]
    full = make_target(torch.ones(12, 16, 4), view)
    assert (full.weights.bool().numpy() == COUNTS).all()
    coarse = make_target(torch.ones(3, 4, 4), view)
    assert coarse.weights[:, 0].tolist() == [0] * 3 and coarse.weights[:, 1].tolist() == [0.75] * 3
    assert coarse.weights[:, 2:].eq(1).all()


def test_a_mask_path_that_does_not_exist_is_named(tmp_path, write_photos):
    write_photos(tmp_path / "images", ["0.png", "1.png"])
    pose = np.eye(4).tolist()
    frames = [{"file_path": f"images/{i}.png", "transform_matrix": pose, "mask_path": f"m/{i}.png"} for i in range(2)]
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 20, "w": 16, "h": 12, "frames": frames}))
    with pytest.raises(UserError, match=r"m/0\.png"):
        load_scene(tmp_path, DataConfig(random_points=10))
    for i in range(2):
        save(tmp_path / f"m/{i}.png", COUNTS)
    assert (load_scene(tmp_path, DataConfig(random_points=10)).views[1].mask.numpy() == COUNTS).all()


def test_masks_are_found_for_smaller_copies_and_in_another_spelling(tmp_path, write_colmap, write_photos):
    root = write_colmap(tmp_path)
    write_photos(root / "images_2", ["0.png", "1.png", "2.png"], (8, 6))
    save(root / "images/dynamic_mask_0.png", COUNTS, inverted=True)
    save(root / "Masks/1.PNG", COUNTS)
    views = load_scene(root, DataConfig(downscale=2)).views
    assert views[0].mask.shape == (6, 8) and views[1].mask.shape == (6, 8) and views[2].mask is None
    assert not views[0].mask[:, :2].any() and views[0].mask[:, 3:].all()


def test_masks_of_other_photos_and_masks_that_are_no_files_are_said(tmp_path, write_colmap, caplog):
    root = write_colmap(tmp_path)
    save(root / "masks/other.png", COUNTS)
    assert load_scene(root, DataConfig()).views[0].mask is None
    assert "none of its pictures has the name of a photo" in caplog.text
    (root / "masks/1.png").mkdir()
    with pytest.raises(UserError, match=r"masks/1\.png: expected a mask, it is a folder"):
        load_scene(root, DataConfig())


def test_a_mask_path_may_be_spelled_otherwise_but_not_lie_outside(tmp_path, write_photos):
    write_photos(tmp_path / "in/s/images", ["0.png", "1.png"])
    save(tmp_path / "in/s/m/1.png", COUNTS)
    save(tmp_path / "far/away/1.png", COUNTS)

    def load(listed, **options):
        frames = [{"file_path": f"images/{i}.png", "transform_matrix": np.eye(4).tolist()} for i in range(2)]
        frames[1]["mask_path"] = listed
        (tmp_path / "in/s/transforms.json").write_text(json.dumps({"fl_x": 20, "w": 16, "h": 12, "frames": frames}))
        return load_scene(tmp_path / "in/s", DataConfig(random_points=10, **options)).views[1].mask

    for listed in ("m/1.PNG", "M/1.png", "m\\1.jpg", "/home/me/s/m/1.png"):
        assert (load(listed).numpy() == COUNTS).all(), listed
    outside = "../../far/away/1.png"
    with pytest.raises(UserError, match=r"lies outside .*set `dataset.allow_outside`"):
        load(outside)
    assert (load(outside, allow_outside=True).numpy() == COUNTS).all()


def test_masks_that_leave_nothing_to_learn_are_refused(tmp_path, write_colmap):
    root = write_colmap(tmp_path)
    for i in range(3):
        save(root / f"masks/{i}.png", np.zeros((12, 16), bool))
    with pytest.raises(UserError, match="the masks leave no pixel to learn; are they inverted"):
        load_scene(root, DataConfig())
