"""Display modes: images, compared with those of the other commands."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_answers import NUM_CHAIR
from tiny_run import open_field
from tiny_viewer import look_at, see

from gsdff.cameras import Camera
from gsdff.field.query import OneGaussian, Query
from gsdff.field.search import find
from gsdff.io.pictures import heat, label_colors, label_palette, pca_colors, to_bytes
from gsdff.io.runs import RunFolder
from gsdff.render import render_depth, render_features, render_rgb
from gsdff.viewer.modes import MODES
from gsdff.viewer.rendering import (
    HIGHLIGHT,
    available_modes,
    render_mode,
    split_view,
    to_numpy,
)
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.visible_scene import VisibleScene

ALL_MODES = ("colour", "depth", "opacity", "features", "relevancy", "classes", "photo", "teacher", "masks")
PHOTO_MODES = [name for name, mode in MODES.items() if mode.shows_photo]
CHAIR = Query(positives=("chair",))
CLASSES = ("lamp", "wall", "chair")


@pytest.fixture
def visible(tiny) -> VisibleScene:
    """The scene, asked for the chair, with the chair marked, and for classes."""
    return see(tiny.shared, CHAIR, classes=CLASSES, marked=torch.arange(60) < NUM_CHAIR)


def assert_near(picture, expected, levels: int = 1) -> None:
    """Checks equality up to rounding: crops and other orders of sums."""
    assert picture.dtype == torch.uint8 and picture.shape == expected.shape
    assert int((picture.int() - expected.int()).abs().max()) <= levels


def test_a_run_that_keeps_everything_has_all_modes(tiny):
    assert available_modes(tiny.shared) == ALL_MODES


def test_modes_are_of_what_there_is(tiny, tmp_path):
    shared = tiny.shared
    for path in (tiny.run.folder / "features").rglob("*.npy"):
        path.unlink()
    for path in RunFolder(tiny.run.folder).masks.rglob("*.png"):
        path.write_bytes(b"damaged")
    assert available_modes(shared) == ALL_MODES[:-2]
    assert available_modes(replace(shared, views=[])) == ALL_MODES[:-3]
    assert available_modes(replace(shared, field=replace(shared.field, basis=None))) == (*ALL_MODES[:4], "photo")
    gaussians = replace(shared.gaussians, features=None)
    field = replace(shared.field, basis=None, gaussians=gaussians)
    assert available_modes(replace(shared, field=field)) == (*ALL_MODES[:3], "photo")


def test_masks_and_maps_of_another_folder_are_found(tiny, tmp_path):
    run = tiny.shared.field.run
    for name in ("features", "masks"):
        (tiny.run.folder / name).rename(tmp_path / f"cached_{name}")
    assert available_modes(tiny.shared) == ALL_MODES[:-2]
    config = replace(
        run.config,
        features=replace(run.config.features, cache=tmp_path / "cached_features"),
        masks=replace(run.config.masks, cache=tmp_path / "cached_masks"),
    )
    field = replace(tiny.shared.field, run=replace(run, config=config))
    assert available_modes(replace(tiny.shared, field=field)) == ALL_MODES


@pytest.mark.parametrize("mode", ALL_MODES)
def test_blocks_of_rows_put_together_are_the_image(tiny, mode):
    """Small Gaussians: the projection of large ones is linearised within the block that is rendered."""
    tiny.shared.gaussians.log_scales -= 1.0
    visible = see(tiny.shared, CHAIR, classes=CLASSES, marked=torch.arange(60) < NUM_CHAIR)
    camera = look_at(tiny.shared)
    whole = render_mode(tiny.shared, visible, mode, camera)
    assert whole.shape == (30, 40, 3) and whole.dtype == torch.uint8 and whole.device.type == "cpu"
    assert whole.float().std() > 5
    blocks = [
        render_mode(tiny.shared, visible, mode, camera, slice(top, bottom)) for top, bottom in pairwise([0, 7, 16, 30])
    ]
    assert [len(block) for block in blocks] == [7, 9, 14]
    differs = (torch.cat(blocks).int() - whole.int()).abs().amax(-1) > 2
    assert not differs.any()


@pytest.mark.parametrize("mode", ["relevancy", "classes"])
def test_modes_without_a_question_show_the_scene(tiny, mode):
    visible, camera = see(tiny.shared), look_at(tiny.shared)
    plain = render_mode(tiny.shared, visible, "colour", camera)
    assert torch.equal(render_mode(tiny.shared, visible, mode, camera), plain)


# --- images


def drawn(tiny, visible: VisibleScene, mode: str, camera: Camera) -> torch.Tensor:
    """A picture without marks."""
    return render_mode(tiny.shared, unmarked(visible), mode, camera)


def unmarked(visible: VisibleScene) -> VisibleScene:
    return replace(visible, selected=torch.zeros_like(visible.selected))


def test_colours_are_what_the_run_renders(tiny, visible):
    camera = tiny.shared.views[1].camera
    picture = drawn(tiny, visible, "colour", camera)
    assert_near(picture, to_bytes(render_rgb(visible.gaussians, camera).image))
    assert_near(picture, tiny.shared.views[1].image)


def test_opacity_is_alpha_and_depth_is_bright_where_it_is_near(tiny, visible):
    camera = look_at(tiny.shared)
    rendered = render_depth(visible.gaussians, camera)
    assert_near(drawn(tiny, visible, "opacity", camera), to_bytes(rendered.alpha.expand(-1, -1, 3)))
    picture = drawn(tiny, visible, "depth", camera).sum(-1)
    solid = rendered.alpha[..., 0] > 0.5
    assert (picture[~solid] == 0).all() and (picture[solid] > 0).all()
    depths, brightness = rendered.image[..., 0][solid], picture[solid]
    by_depth = brightness[depths.argsort()]
    assert (by_depth.diff() <= 3).all()  # of three rounded channels


def test_features_as_three_channels_are_the_colours_of_all_k(tiny, visible):
    camera = look_at(tiny.shared)
    rendered = render_features(visible.gaussians, camera)
    alpha = rendered.alpha
    colors, _ = pca_colors(rendered.image / alpha.clamp_min(1e-8), tiny.shared.pca)
    assert_near(drawn(tiny, visible, "features", camera), to_bytes(colors * alpha))


@pytest.mark.parametrize("query", [CHAIR, Query(like=OneGaussian(40))])
def test_relevancy_is_the_doors_heat_of_a_view_over_the_threshold_and_grey_below(tiny, query):
    view, visible = tiny.shared.views[2], see(tiny.shared, query)
    found = find(tiny.shared.field, visible.prepared, view)
    low, high = found.score_range
    expected = heat(found.answered * (found.scores - low) / max(high - low, 1e-6))
    assert found.selected.any() and not found.selected.all() and not found.answered.all()
    picture = drawn(tiny, visible, "relevancy", view.camera)
    assert_near(picture[found.selected], expected[found.selected], 2)
    dark = picture[~found.selected]
    assert torch.equal(dark[:, 0], dark[:, 1]) and dark.max() <= round(0.3 * 255)


def test_classes_are_the_doors_labels_of_a_view(tiny, visible):
    view = tiny.shared.views[2]
    found = find(tiny.shared.field, visible.prepared_classes, view)
    colors = label_colors(found.labels, label_palette(3)).float() / 255
    scene = render_rgb(visible.gaussians, view.camera).image.clamp(0, 1)
    assert set(found.labels.unique().tolist()) == {0, 2, 255}
    assert_near(drawn(tiny, visible, "classes", view.camera), to_bytes(torch.lerp(scene, colors, 0.75)))


@pytest.mark.parametrize("mode", ["colour", "depth", "opacity", "features", "classes"])
def test_the_highlight_changes_nothing_where_nothing_is_marked(tiny, visible, mode):
    camera = look_at(tiny.shared)
    plain, marked = (render_mode(tiny.shared, scene, mode, camera) for scene in (unmarked(visible), visible))
    selected = visible.selected.float()[:, None]
    share = render_features(visible.gaussians, camera, features=selected).image[..., 0]
    near = F.max_pool2d((share > 0)[None, None].float(), 3, 1, 1)[0, 0] > 0
    assert near.any() and not near.all()
    assert torch.equal(marked[~near], plain[~near]) and not torch.equal(marked[near], plain[near])
    edge = (marked == torch.tensor([round(255 * value) for value in HIGHLIGHT])).all(-1)
    assert edge.any() and near[edge].all()


@pytest.mark.parametrize("mode", ALL_MODES[:6])
def test_where_everything_is_hidden_it_is_black(tiny, mode):
    nothing = see(tiny.shared, CHAIR, classes=CLASSES, hidden=torch.ones(60, dtype=torch.bool))
    picture = render_mode(tiny.shared, nothing, mode, look_at(tiny.shared))
    assert picture.shape == (30, 40, 3) and not picture.any()


def test_what_is_hidden_is_not_drawn(tiny):
    camera, lamps = tiny.shared.views[1].camera, see(tiny.shared, hidden=torch.arange(60) < NUM_CHAIR)
    assert len(lamps.gaussians) == 60 - NUM_CHAIR
    assert_near(drawn(tiny, lamps, "colour", camera), to_bytes(render_rgb(lamps.gaussians, camera).image))


# --- modes of photos


@pytest.mark.parametrize(("width", "height"), [(30, 22), (60, 80), (400, 22), (7, 300), (1, 1)])
@pytest.mark.parametrize("mode", PHOTO_MODES)
def test_flat_pictures_fit_into_any_window(tiny, visible, mode, width, height):
    assert drawn(tiny, visible, mode, look_at(tiny.shared, width, height)).shape == (height, width, 3)


def test_the_photo_is_the_one_taken_from_nearest_by(tiny, visible):
    for i in (0, 4, 9):
        view = tiny.shared.views[i]
        assert torch.equal(drawn(tiny, visible, "photo", view.camera), view.image)
    wide = drawn(tiny, visible, "photo", replace(view.camera, width=90))
    assert torch.equal(wide[:, 30:60], view.image) and not wide[:, :30].any() and not wide[:, 60:].any()


def test_the_teachers_map_has_the_colours_of_the_scenes_features(tiny, visible):
    view = tiny.shared.views[3]  # 30 x 22, its map 15 x 11
    latents = torch.from_numpy(np.load(tiny.run.folder / "features" / "a/v3.npy")).float()
    expected = to_bytes(pca_colors(latents, tiny.shared.pca)[0])
    expected[0] = 0
    assert_near(drawn(tiny, visible, "teacher", replace(view.camera, width=15, height=11)), expected)


def test_masks_are_flat_colours_over_the_photo(tiny, visible):
    view = tiny.shared.views[3]
    picture = drawn(tiny, visible, "masks", view.camera).float()
    photo = view.image.float()
    for i, columns in ((1, slice(0, 12)), (2, slice(12, 30))):
        color = label_palette(3)[i].float()
        assert (picture[5:, columns] - (0.45 * photo[5:, columns] + 0.55 * color)).abs().max() <= 1
    assert (picture[:5] - 0.45 * photo[:5]).abs().max() <= 1


def test_a_photo_without_a_map_and_a_map_of_other_channels_are_black(tiny, visible):
    view = tiny.shared.views[3]
    np.save(tiny.run.folder / "features" / "a/v3.npy", torch.ones(11, 15, 7).half().numpy())
    assert not drawn(tiny, visible, "teacher", view.camera).any()
    (tiny.run.folder / "features" / "a/v3.npy").write_bytes(b"cut short")
    assert not drawn(tiny, visible, "teacher", view.camera).any()
    (RunFolder(tiny.run.folder).masks / "a/v3.png").unlink()
    assert not drawn(tiny, visible, "masks", view.camera).any()


def test_a_scene_without_photos_has_black_flat_pictures(tiny, visible):
    shared = replace(tiny.shared, views=[])
    for mode in PHOTO_MODES:
        assert not render_mode(shared, visible, mode, look_at(tiny.shared)).any()


def test_halves_are_halves():
    left, right = torch.full((4, 10, 3), 10, dtype=torch.uint8), torch.full((4, 10, 3), 20, dtype=torch.uint8)
    joined = split_view(left, right)
    assert joined[0, :, 0].tolist() == [10] * 4 + [255] * 2 + [20] * 4
    assert left.unique().tolist() == [10] and right.unique().tolist() == [20]
    assert split_view(left[:, :1], right[:, :1]).shape == (4, 1, 3)


def test_a_picture_is_a_contiguous_array(tiny, visible):
    array = to_numpy(drawn(tiny, visible, "colour", look_at(tiny.shared))[:, ::2])
    assert array.dtype == "uint8" and array.flags.c_contiguous and array.shape == (30, 20, 3)


def test_a_white_run_is_drawn_on_white(tiny, visible):
    field = tiny.shared.field
    shared = replace(tiny.shared, field=replace(field, dataset=replace(field.dataset, background="white")))
    assert render_mode(shared, unmarked(visible), "colour", look_at(shared))[0, 0].tolist() == [255] * 3


def test_the_colours_of_features_are_the_same_whenever_a_scene_is_opened(tiny):
    again = open_shared_scene(open_field(tiny.run.folder))
    assert torch.equal(again.pca.directions, tiny.shared.pca.directions)
