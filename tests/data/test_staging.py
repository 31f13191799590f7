"""Every file in the folder of photos is accounted for before the long work, and COLMAP gets what it can read."""

import sys

import numpy as np
import pytest
from PIL import Image

from gsdff.data.images import read_photo
from gsdff.data.staging import stage_photos
from gsdff.errors import UserError


def save(path, size=(32, 24), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def test_hidden_files_are_skipped_and_others_are_counted(tmp_path, caplog):
    images = tmp_path / "images"
    save(images / "a.jpg")
    save(images / "sub/b.PNG")
    (images / "._a.jpg").write_bytes(b"\0\5\x16\7")
    (images / "notes.txt").write_text("x")
    (images / "clip.mov").write_bytes(b"x")
    staged = stage_photos(images, tmp_path / "scratch")
    assert staged.folder == images and staged.sizes == {"a.jpg": (32, 24), "sub/b.PNG": (32, 24)}
    assert "2 files are no photos and are left out (1 .txt, 1 .mov" in caplog.text.replace(
        "1 .mov, 1 .txt", "1 .txt, 1 .mov"
    )
    assert "._a" not in caplog.text and "give a video itself as `images`" in caplog.text


def test_damaged_photos_are_named_and_left_out(tmp_path, caplog):
    images = tmp_path / "images"
    for i in range(3):
        save(images / f"{i}.jpg", (200, 150))
    data = (images / "1.jpg").read_bytes()
    (images / "1.jpg").write_bytes(data[: len(data) // 2])
    (images / "2.jpg").write_bytes(b"no photo")
    assert list(stage_photos(images, tmp_path / "scratch").sizes) == ["0.jpg"]
    assert "2 of 3 photos are left out" in caplog.text
    assert "1.jpg: cannot be read as a photo" in caplog.text and "2.jpg: cannot be read as a photo" in caplog.text


def test_formats_that_colmap_cannot_read_are_converted_under_their_names(tmp_path):
    images = tmp_path / "images"
    save(images / "a.jpg", seed=1)
    pixels = save(images / "sub/b.webp", seed=2, lossless=True)
    staged = stage_photos(images, tmp_path / "scratch")
    assert staged.folder == tmp_path / "scratch/photos"
    with Image.open(staged.folder / "sub/b.webp") as picture:
        assert picture.format == "PNG" and (np.array(picture) == pixels).all()
    assert (staged.folder / "a.jpg").read_bytes() == (images / "a.jpg").read_bytes()
    assert not (images / "sub/b.png").exists()


def test_heic_photos_are_read_where_pillow_heif_is_installed(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pixels = np.full((24, 32, 3), (200, 40, 90), np.uint8)
    (tmp_path / "images").mkdir()
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "images/a.HEIC", quality=95)
    staged = stage_photos(tmp_path / "images", tmp_path / "scratch")
    assert staged.sizes == {"a.HEIC": (32, 24)}
    assert np.abs(read_photo(tmp_path / "images/a.HEIC", 32, 24, 0).image.astype(int) - pixels).max() < 8


def test_heic_photos_without_pillow_heif_say_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    save(tmp_path / "images/a.jpg")
    for i in range(2):
        (tmp_path / f"images/IMG_{i}.HEIC").write_bytes(b"x")
    with pytest.raises(
        UserError, match=r"IMG_0\.HEIC: reading HEIC photos \(2 here\) needs pillow-heif: `pip install gsdff"
    ):
        stage_photos(tmp_path / "images", tmp_path / "scratch")


@pytest.mark.parametrize("orientation", [1, 6])
def test_masks_are_given_to_colmap_in_its_own_form(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "images/a.jpg", exif=exif)
    counts = np.zeros((24, 32), np.uint8)
    counts[:10] = 255
    shown = Image.fromarray(counts)
    if orientation == 6:  # made from the photo as programs show it
        shown = shown.transpose(Image.Transpose.ROTATE_270)
    (tmp_path / "masks").mkdir()
    shown.save(tmp_path / "masks/a.png")
    staged = stage_photos(tmp_path / "images", tmp_path / "scratch")
    with Image.open(staged.masks / "a.jpg.png") as picture:
        assert (np.array(picture) == counts).all()


def test_a_mask_of_another_photo_is_refused(tmp_path):
    save(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    Image.new("L", (10, 30)).save(tmp_path / "masks/a.png")
    with pytest.raises(UserError, match=r"masks/a\.png: is 10x30, which is not the shape of its photo \(32x24\)"):
        stage_photos(tmp_path / "images", tmp_path / "scratch")
