"""Pictures, checked at single pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.errors import UserError
from gsdff.io.pictures import (
    BAR_WIDTH,
    DIMMED,
    FULL_ERROR,
    GAP,
    TITLE_HEIGHT,
    color_bar,
    error_map,
    fit_pca,
    heat,
    label_colors,
    label_palette,
    legend,
    pca_colors,
    save_png,
    side_by_side,
    spotlight,
    stacked,
    titled,
    to_bytes,
)

WHITE = [255, 255, 255]


def plain(height: int, width: int, value: float) -> torch.Tensor:
    return torch.full((height, width, 3), value)


def test_a_saved_picture_reads_back_as_its_bytes(tmp_path, generator):
    picture = torch.randint(0, 256, (5, 7, 3), dtype=torch.uint8, generator=generator)
    save_png(tmp_path / "new" / "a.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), picture.numpy())
    save_png(tmp_path / "new" / "a.png", picture.float() / 255)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), picture.numpy())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_a_picture_that_cannot_be_saved_leaves_the_old_one(tmp_path, monkeypatch):
    save_png(tmp_path / "a.png", plain(2, 2, 0.5))
    before = (tmp_path / "a.png").read_bytes()

    def fail_midway(self, file, format):
        file.write_bytes(b"\x89PNG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail_midway)
    with pytest.raises(UserError, match=r"a\.png: cannot be written: the disk is full, [\d,.]+ MiB free; make room"):
        save_png(tmp_path / "a.png", plain(2, 2, 1))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_floats_are_clamped_and_rounded():
    assert to_bytes(torch.tensor([[[-1.0, 0.5, 2.0], [0.4999 / 255, 0.5001 / 255, 1.0]]])).tolist() == [
        [[0, 128, 255], [0, 1, 255]]
    ]


def test_pictures_of_any_size_stand_side_by_side_with_gaps():
    canvas = side_by_side(plain(4, 3, 0), plain(2, 5, 0.2))
    assert canvas.shape == (4, 3 + GAP + 5, 3) and canvas.dtype == torch.uint8
    assert (canvas[:, :3] == 0).all() and (canvas[:, 3 : 3 + GAP] == 255).all()
    assert (canvas[:2, 3 + GAP :] == 51).all() and (canvas[2:, 3 + GAP :] == 255).all()
    assert stacked(plain(4, 3, 0), plain(2, 5, 0.2)).shape == (4 + GAP + 2, 5, 3)


def test_titles_stand_above_their_pictures():
    canvas = titled({"photo": plain(4, 50, 0), "": plain(2, 5, 0.2), "a title wider than its picture": plain(4, 9, 0)})
    assert canvas.shape == (TITLE_HEIGHT + 4, 50 + GAP + 5 + GAP + 9, 3)
    strip, below = canvas[:TITLE_HEIGHT], canvas[TITLE_HEIGHT:]
    assert torch.equal(below, side_by_side(plain(4, 50, 0), plain(2, 5, 0.2), plain(4, 9, 0)))
    written = (strip < 128).all(-1).sum(0)
    assert written[:50].sum() > 20 and written[54:59].sum() == 0 and written[63:].sum() > 0
    assert (strip[:, 50:54] == 255).all()  # the gap stays free


def test_no_error_is_black_and_the_full_error_is_white():
    target = plain(1, 3, 0.0)
    image = torch.stack([torch.zeros(3), torch.full((3,), FULL_ERROR / 2), torch.full((3,), FULL_ERROR * 1.5)])[None]
    colors = error_map(image, target)
    assert colors[0, 0].tolist() == [0, 0, 0] and colors[0, 2].tolist() == WHITE
    ramp = heat(torch.linspace(0, 1, 50)[None])[0].long().sum(-1)
    assert (ramp.diff() >= 0).all()
    assert torch.equal(heat(torch.tensor([[-3.0, 7.0]])), heat(torch.tensor([[0.0, 1.0]])))


def test_pca_finds_the_directions_of_most_variance(generator):
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    scales = torch.tensor([5.0, 3.0, 2.0, 0.1, 0.1, 0.1])
    features = torch.randn(4000, 6, generator=generator) * scales @ axes.T + 7
    basis = fit_pca(features)
    alignment = (basis.directions.T @ axes[:, :3]).abs()
    torch.testing.assert_close(alignment, torch.eye(3), atol=0.05, rtol=0)
    colors, _ = pca_colors(features.reshape(40, 100, 6))
    assert colors.shape == (40, 100, 3)
    assert 0 <= colors.min() < 0.01 and 0.99 < colors.max() <= 1
    share_clamped = ((colors == 0) | (colors == 1)).float().mean((0, 1))
    torch.testing.assert_close(share_clamped, torch.full((3,), 0.02), atol=2e-3, rtol=0)


def test_colours_hold_still_when_the_basis_is_passed_on(generator):
    features = torch.randn(20, 30, 8, generator=generator)
    colors, basis = pca_colors(features)
    part, same = pca_colors(features[3:5, 7:9], basis)
    assert same is basis
    torch.testing.assert_close(part, colors[3:5, 7:9])
    assert torch.equal(pca_colors(features)[0], colors)


@pytest.mark.parametrize("num_channels", [1, 2])
def test_features_of_few_channels_leave_colours_at_mid_range(num_channels, generator):
    colors, _ = pca_colors(torch.randn(10, 10, num_channels, generator=generator))
    assert (colors[..., num_channels:] == 0.5).all()
    assert colors[..., :num_channels].std() > 0.1


def test_equal_features_are_grey(generator):
    colors, _ = pca_colors(torch.ones(4, 4, 5) * torch.randn(5, generator=generator))
    assert (colors == 0.5).all()


def test_palettes_are_distinct_and_hold_still():
    palette = label_palette(150).long()
    assert len(palette.unique(dim=0)) == 150 and (palette.sum(-1) > 150).all()
    assert torch.equal(label_palette(7).long(), palette[:7])
    differences = (palette[:20, None] - palette[None, :20]).abs().sum(-1) + 1000 * torch.eye(20).long()
    assert differences.min() > 40
    assert label_palette(0).shape == (0, 3)


def test_labels_take_their_colours_and_void_is_black():
    palette = label_palette(3)
    colors = label_colors(torch.tensor([[0, 2], [255, 1]], dtype=torch.uint8), palette)
    assert torch.equal(colors[0], palette[[0, 2]]) and torch.equal(colors[1, 1], palette[1])
    assert colors[1, 0].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="labels below 3 or 255, got 3"):
        label_colors(torch.tensor([[3]]), palette)


def test_a_legend_shows_every_swatch_within_its_width():
    names = ["wall", "floor", "a class with a rather long name", "chair", "table"]
    palette = label_palette(5)
    strip = legend(names, palette, width=120)
    assert strip.shape[1] == 120 and strip.shape[0] > legend(names, palette, width=1000).shape[0]
    for color in palette:
        assert ((strip == color).all(-1)).sum() >= 50
    assert strip[0, -1].tolist() == WHITE
    dark = (strip < 128).all(-1)
    assert dark.sum() - (strip == 0).all(-1).sum() > 50  # names are written (with soft edges), not only frames


def test_a_color_bar_runs_from_high_at_the_top_to_low_and_says_both():
    bar = color_bar(-0.25, 1.0, height=60)
    assert bar.shape[0] == 60 and bar[0, 0].tolist() == [255] * 3 and bar[-1, 0].tolist() == [0] * 3
    assert torch.equal(bar[:, :1].expand(60, BAR_WIDTH, 3), bar[:, :BAR_WIDTH])
    numbers = (bar[:, BAR_WIDTH:] < 128).any(-1).any(1)
    assert numbers[:20].any() and not numbers[20:40].any() and numbers[40:].any()


def test_a_spotlight_leaves_what_is_selected_and_greys_the_rest():
    picture = torch.tensor([[[200, 0, 100], [200, 0, 100]]], dtype=torch.uint8)
    lit = spotlight(picture, torch.tensor([[True, False]]))
    assert lit.tolist() == [[[200, 0, 100], [int(100 * DIMMED)] * 3]]
