"""Any photo becomes 8-bit RGB over a background, and a damaged one is named."""

import numpy as np
import pytest
from PIL import Image

from gsdff.data.images import photo_size, read_photo
from gsdff.errors import UserError

RGB = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


def save(path, pixels, mode=None, **options):
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def test_opaque_pixels_come_back_as_stored(tmp_path):
    path = save(tmp_path / "a.png", RGB)
    photo = read_photo(path, 4, 4, 0)
    assert (photo.image == RGB).all() and photo.alpha is None and photo_size(path) == (4, 4)


@pytest.mark.parametrize(("background", "expected"), [(0, [100, 50, 0]), (255, [227, 178, 127])])
def test_half_covered_pixels_mix_with_the_background(tmp_path, background, expected):
    pixels = np.full((2, 2, 4), [200, 100, 0, 128], np.uint8)
    photo = read_photo(save(tmp_path / "a.png", pixels), 2, 2, background)
    assert np.abs(photo.image.astype(int) - expected).max() <= 1
    assert (photo.alpha == 128).all()


def test_an_alpha_that_is_full_everywhere_counts_as_none(tmp_path):
    pixels = np.dstack([RGB, np.full((4, 4), 255, np.uint8)])
    photo = read_photo(save(tmp_path / "a.png", pixels), 4, 4, 255)
    assert (photo.image == RGB).all() and photo.alpha is None


@pytest.mark.parametrize("factor", [2, 3])
def test_a_smaller_pixel_is_the_mean_of_its_area(tmp_path, factor):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4 * factor, 5 * factor, 3), np.uint8)
    small = read_photo(save(tmp_path / "a.png", pixels), 5, 4, 0).image
    means = pixels.reshape(4, factor, 5, factor, 3).mean((1, 3))
    assert np.abs(small - means).max() <= 1


def test_colour_behind_full_transparency_does_not_bleed_when_shrinking(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[:, 0], pixels[:, 1] = [0, 255, 0, 255], [255, 0, 0, 0]
    photo = read_photo(save(tmp_path / "a.png", pixels), 1, 1, 0)
    assert photo.image[0, 0].tolist() == [0, 128, 0] and photo.alpha[0, 0] == 128


def test_sixteen_bit_grey_keeps_its_brightness(tmp_path):
    pixels = np.array([[0, 65535], [257 * 100, 257 * 3]], np.uint16)
    photo = read_photo(save(tmp_path / "a.png", pixels), 2, 2, 0)
    assert photo.image[..., 0].tolist() == [[0, 255], [100, 3]]
    assert (photo.image == photo.image[..., :1]).all()


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("1", "png"), ("LA", "png"), ("P", "png"), ("CMYK", "jpg")])
def test_grey_palette_and_print_colours_are_converted(tmp_path, mode, suffix):
    pixels = np.full((8, 8, 3), 255, np.uint8)
    pixels[:, :4] = 0
    image = read_photo(save(tmp_path / f"a.{suffix}", pixels, mode), 8, 8, 0).image
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - pixels).max() <= 2


def test_a_transparent_palette_entry_shows_the_background(tmp_path):
    indices = Image.new("P", (2, 1))
    indices.putpalette([255, 0, 0, 0, 255, 0])
    indices.putpixel((1, 0), 1)
    indices.save(tmp_path / "a.png", transparency=0)
    assert read_photo(tmp_path / "a.png", 2, 1, 255).image.tolist() == [[[255, 255, 255], [0, 255, 0]]]


def test_the_orientation_tag_is_not_followed_as_colmap_does_not(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # stored turned by 90 degrees
    path = save(tmp_path / "a.jpg", RGB[:2], exif=exif)
    assert photo_size(path) == (4, 2)
    assert read_photo(path, 4, 2, 0).image.shape == (2, 4, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_damaged_photo_is_named(tmp_path, suffix):
    rng = np.random.default_rng(0)
    path = save(tmp_path / f"a.{suffix}", rng.integers(0, 256, (64, 64, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert photo_size(path) == (64, 64)  # the header is whole
    with pytest.raises(UserError, match=rf"a.{suffix}: cannot be read as a photo"):
        read_photo(path, 64, 64, 0)
    path.write_bytes(b"not a photo")
    with pytest.raises(UserError, match=rf"a.{suffix}: cannot be read as a photo"):
        photo_size(path)


def test_floating_point_pixels_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.ones((2, 2), np.float32))
    with pytest.raises(UserError, match="no agreed brightness"):
        read_photo(path, 2, 2, 0)


def test_a_photo_of_200_megapixels_is_read_at_an_eighth_of_its_size(tmp_path):
    large = Image.new("RGB", (16_000, 12_500), (200, 40, 90))
    large.paste((10, 220, 30), (8000, 0, 16_000, 12_500))
    large.save(tmp_path / "a.jpg", quality=90)
    photo = read_photo(tmp_path / "a.jpg", 2000, 1562, 0)
    assert photo.image.shape == (1562, 2000, 3)
    left, right = photo.image[:, :990].astype(int), photo.image[:, 1010:].astype(int)
    assert np.abs(left - [200, 40, 90]).max() <= 2 and np.abs(right - [10, 220, 30]).max() <= 2
