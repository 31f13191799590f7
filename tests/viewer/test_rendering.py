"""Display modes: images and splat colours, compared with those of the other commands."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_answers import NUM_CHAIR
from tiny_run import open_field
from tiny_viewer import look_at

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
    splat_colors,
    split_view,
    to_numpy,
)
from gsdff.viewer.session import Session
from gsdff.viewer.shared_scene import open_shared_scene

ALL_MODES = ("colour", "depth", "opacity", "features", "relevancy", "classes", "photo", "teacher", "masks")
SPLAT_MODES = [name for name, mode in MODES.items() if mode.splat_colors is not None]
PHOTO_MODES = [name for name, mode in MODES.items() if mode.shows_photo]
CHAIR = Query(positives=("chair",))


@pytest.fixture
def session(tiny) -> Session:
    """A session with a query for the chair, and classes."""
    session = tiny.session()
    session.search(CHAIR)
    session.segment(("lamp", "wall", "chair"))
    return session


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


@pytest.mark.parametrize("highlight", [False, True])
@pytest.mark.parametrize("mode", ALL_MODES)
def test_blocks_of_rows_put_together_are_the_image(tiny, mode, highlight):
    """Small Gaussians: the projection of large ones is linearised within the block that is rendered."""
    tiny.shared.gaussians.log_scales -= 1.0
    session = tiny.session()
    session.search(CHAIR)
    session.segment(("lamp", "wall", "chair"))
    camera = look_at(tiny.shared)
    whole = render_mode(tiny.shared, session.visible, mode, camera, highlight=highlight)
    assert whole.shape == (30, 40, 3) and whole.dtype == torch.uint8 and whole.device.type == "cpu"
    assert whole.float().std() > 5
    edges = [0, 7, 16, 30]
    blocks = [
        render_mode(tiny.shared, session.visible, mode, camera, highlight=highlight, rows=slice(top, bottom))
        for top, bottom in pairwise(edges)
    ]
    assert [len(block) for block in blocks] == [7, 9, 14]
    differs = (torch.cat(blocks).int() - whole.int()).abs().amax(-1) > 2
    assert not differs.any()


@pytest.mark.parametrize("mode", SPLAT_MODES)
def test_splats_have_a_colour_each(tiny, session, mode):
    for highlight in (False, True):
        colors = splat_colors(tiny.shared, session.visible, mode, highlight=highlight)
        assert colors.shape == (60, 3) and colors.dtype == torch.float32
        assert colors.min() >= 0 and colors.max() <= 1


@pytest.mark.parametrize("mode", SPLAT_MODES)
def test_modes_without_a_query_show_the_scene(tiny, mode):
    session = tiny.session()
    if mode != "features":
        expected = session.visible.gaussians.base_colors.clamp(0, 1)
        assert torch.equal(splat_colors(tiny.shared, session.visible, mode, highlight=True), expected)
        camera = look_at(tiny.shared)
        plain = render_mode(tiny.shared, session.visible, "colour", camera, highlight=True)
        assert torch.equal(render_mode(tiny.shared, session.visible, mode, camera, highlight=True), plain)


def test_splat_colours_are_those_of_the_doors_pictures(tiny, session):
    shared, visible = tiny.shared, session.visible
    expected, _ = pca_colors(shared.gaussians.features, shared.pca)
    assert torch.equal(splat_colors(shared, visible, "features", highlight=False), expected)
    low, high = session.prepared.score_range
    expected = heat(((session.scores - low) / (high - low))[:, None])[:, 0] / 255
    assert torch.allclose(splat_colors(shared, visible, "relevancy", highlight=False), expected, atol=1e-6)
    expected = label_palette(3)[torch.where(torch.arange(60) < NUM_CHAIR, 2, 0)] / 255
    assert torch.allclose(splat_colors(shared, visible, "classes", highlight=False), expected, atol=1e-6)


def test_the_highlight_changes_the_selected_splats_alone(tiny, session):
    selected = session.visible.selected
    for mode in ("colour", "features", "classes"):
        plain, marked = (
            splat_colors(tiny.shared, session.visible, mode, highlight=highlight) for highlight in (False, True)
        )
        assert torch.equal(marked[~selected], plain[~selected])
        expected = torch.lerp(plain[selected], torch.tensor(HIGHLIGHT), 0.55)
        assert torch.allclose(marked[selected], expected, atol=1e-6)
    plain, marked = (
        splat_colors(tiny.shared, session.visible, "relevancy", highlight=highlight) for highlight in (False, True)
    )
    assert torch.equal(marked[selected], plain[selected])
    grey = marked[~selected]
    assert torch.equal(grey[:, 0], grey[:, 1]) and grey.max() <= 0.3


# --- images


def drawn(tiny, session, mode: str, camera: Camera, *, highlight: bool = False) -> torch.Tensor:
    return render_mode(tiny.shared, session.visible, mode, camera, highlight=highlight)


def test_colours_are_what_the_run_renders(tiny, session):
    camera = tiny.shared.views[1].camera
    picture = drawn(tiny, session, "colour", camera)
    assert_near(picture, to_bytes(render_rgb(session.visible.gaussians, camera).image))
    assert_near(picture, tiny.shared.views[1].image)


def test_opacity_is_alpha_and_depth_is_bright_where_it_is_near(tiny, session):
    camera = look_at(tiny.shared)
    rendered = render_depth(session.visible.gaussians, camera)
    assert_near(drawn(tiny, session, "opacity", camera), to_bytes(rendered.alpha.expand(-1, -1, 3)))
    picture = drawn(tiny, session, "depth", camera).sum(-1)
    solid = rendered.alpha[..., 0] > 0.5
    assert (picture[~solid] == 0).all() and (picture[solid] > 0).all()
    depths, brightness = rendered.image[..., 0][solid], picture[solid]
    by_depth = brightness[depths.argsort()]
    assert (by_depth.diff() <= 3).all()  # of three rounded channels


def test_features_as_three_channels_are_the_colours_of_all_k(tiny, session):
    camera = look_at(tiny.shared)
    rendered = render_features(session.visible.gaussians, camera)
    alpha = rendered.alpha
    colors, _ = pca_colors(rendered.image / alpha.clamp_min(1e-8), tiny.shared.pca)
    assert_near(drawn(tiny, session, "features", camera), to_bytes(colors * alpha))


@pytest.mark.parametrize("query", [CHAIR, Query(like=OneGaussian(40))])
def test_relevancy_is_the_doors_heat_of_a_view(tiny, session, query):
    session.search(query)
    view = tiny.shared.views[2]
    found = find(tiny.shared.field, session.prepared, view)
    low, high = found.score_range
    expected = heat(found.answered * (found.scores - low) / max(high - low, 1e-6))
    assert not found.answered.all()  # black there, though 0 may be a high cosine
    assert_near(drawn(tiny, session, "relevancy", view.camera), expected, 2)


def test_relevancy_is_lit_where_it_is_over_the_threshold(tiny, session):
    view = tiny.shared.views[2]
    found = find(tiny.shared.field, session.prepared, view)
    plain, marked = (drawn(tiny, session, "relevancy", view.camera, highlight=highlight) for highlight in (False, True))
    assert found.selected.any() and torch.equal(marked[found.selected], plain[found.selected])
    dark = marked[~found.selected]
    assert torch.equal(dark[:, 0], dark[:, 1]) and dark.max() <= round(0.3 * 255)


def test_classes_are_the_doors_labels_of_a_view(tiny, session):
    view = tiny.shared.views[2]
    found = find(tiny.shared.field, session.prepared_classes, view)
    colors = label_colors(found.labels, label_palette(3)).float() / 255
    scene = render_rgb(session.visible.gaussians, view.camera).image.clamp(0, 1)
    assert set(found.labels.unique().tolist()) == {0, 2, 255}
    assert_near(drawn(tiny, session, "classes", view.camera), to_bytes(torch.lerp(scene, colors, 0.75)))


@pytest.mark.parametrize("mode", ["colour", "depth", "opacity", "features", "classes"])
def test_the_highlight_changes_nothing_where_nothing_is_selected(tiny, session, mode):
    camera = look_at(tiny.shared)
    plain, marked = (drawn(tiny, session, mode, camera, highlight=highlight) for highlight in (False, True))
    selected = session.visible.selected.float()[:, None]
    share = render_features(session.visible.gaussians, camera, features=selected).image[..., 0]
    near = F.max_pool2d((share > 0)[None, None].float(), 3, 1, 1)[0, 0] > 0
    assert near.any() and not near.all()
    assert torch.equal(marked[~near], plain[~near]) and not torch.equal(marked[near], plain[near])
    edge = (marked == torch.tensor([round(255 * value) for value in HIGHLIGHT])).all(-1)
    assert edge.any() and near[edge].all()
    session.select(torch.zeros(60, dtype=torch.bool))
    assert torch.equal(drawn(tiny, session, mode, camera, highlight=True), plain)


@pytest.mark.parametrize("mode", ALL_MODES[:6])
def test_where_everything_is_hidden_it_is_black(tiny, session, mode):
    session.select(torch.ones(60, dtype=torch.bool))
    session.hide()
    picture = drawn(tiny, session, mode, look_at(tiny.shared), highlight=True)
    assert picture.shape == (30, 40, 3) and not picture.any()
    if mode in SPLAT_MODES:
        assert splat_colors(tiny.shared, session.visible, mode, highlight=True).shape == (0, 3)


def test_what_was_edited_is_what_is_drawn(tiny, session):
    camera = tiny.shared.views[1].camera
    session.hide()
    picture = drawn(tiny, session, "colour", camera)
    lamps = session.visible.gaussians
    assert len(lamps) == 60 - NUM_CHAIR
    assert_near(picture, to_bytes(render_rgb(lamps, camera).image))


# --- modes of photos


@pytest.mark.parametrize(("width", "height"), [(30, 22), (60, 80), (400, 22), (7, 300), (1, 1)])
@pytest.mark.parametrize("mode", PHOTO_MODES)
def test_flat_pictures_fit_into_any_window(tiny, session, mode, width, height):
    assert drawn(tiny, session, mode, look_at(tiny.shared, width, height)).shape == (height, width, 3)


def test_the_photo_is_the_one_taken_from_nearest_by(tiny, session):
    for i in (0, 4, 9):
        view = tiny.shared.views[i]
        assert torch.equal(drawn(tiny, session, "photo", view.camera), view.image)
    wide = drawn(tiny, session, "photo", replace(view.camera, width=90))
    assert torch.equal(wide[:, 30:60], view.image) and not wide[:, :30].any() and not wide[:, 60:].any()


def test_the_teachers_map_has_the_colours_of_the_scenes_features(tiny, session):
    view = tiny.shared.views[3]  # 30 x 22, its map 15 x 11
    latents = torch.from_numpy(np.load(tiny.run.folder / "features" / "a/v3.npy")).float()
    expected = to_bytes(pca_colors(latents, tiny.shared.pca)[0])
    expected[0] = 0
    assert_near(drawn(tiny, session, "teacher", replace(view.camera, width=15, height=11)), expected)


def test_masks_are_flat_colours_over_the_photo(tiny, session):
    view = tiny.shared.views[3]
    picture = drawn(tiny, session, "masks", view.camera).float()
    photo = view.image.float()
    for i, columns in ((1, slice(0, 12)), (2, slice(12, 30))):
        color = label_palette(3)[i].float()
        assert (picture[5:, columns] - (0.45 * photo[5:, columns] + 0.55 * color)).abs().max() <= 1
    assert (picture[:5] - 0.45 * photo[:5]).abs().max() <= 1


def test_a_photo_without_a_map_and_a_map_of_other_channels_are_black(tiny, session):
    view = tiny.shared.views[3]
    np.save(tiny.run.folder / "features" / "a/v3.npy", torch.ones(11, 15, 7).half().numpy())
    assert not drawn(tiny, session, "teacher", view.camera).any()
    (tiny.run.folder / "features" / "a/v3.npy").write_bytes(b"cut short")
    assert not drawn(tiny, session, "teacher", view.camera).any()
    (RunFolder(tiny.run.folder).masks / "a/v3.png").unlink()
    assert not drawn(tiny, session, "masks", view.camera).any()


def test_a_scene_without_photos_has_black_flat_pictures(tiny, session):
    shared = replace(tiny.shared, views=[])
    for mode in PHOTO_MODES:
        assert not render_mode(shared, session.visible, mode, look_at(tiny.shared), highlight=True).any()


def test_halves_are_halves():
    left, right = torch.full((4, 10, 3), 10, dtype=torch.uint8), torch.full((4, 10, 3), 20, dtype=torch.uint8)
    joined = split_view(left, right)
    assert joined[0, :, 0].tolist() == [10] * 4 + [255] * 2 + [20] * 4
    assert left.unique().tolist() == [10] and right.unique().tolist() == [20]
    assert split_view(left[:, :1], right[:, :1]).shape == (4, 1, 3)


def test_a_picture_is_a_contiguous_array(tiny, session):
    array = to_numpy(drawn(tiny, session, "colour", look_at(tiny.shared))[:, ::2])
    assert array.dtype == "uint8" and array.flags.c_contiguous and array.shape == (30, 20, 3)


def test_a_white_run_is_drawn_on_white(tiny):
    field = tiny.shared.field
    shared = replace(tiny.shared, field=replace(field, dataset=replace(field.dataset, background="white")))
    picture = render_mode(shared, tiny.session().visible, "colour", look_at(shared), highlight=False)
    assert picture[0, 0].tolist() == [255] * 3


def test_the_colours_of_features_hold_still(tiny):
    """There is one basis for the scene: moving, hiding and another tab change no colour of a Gaussian."""
    first, second = tiny.session(), tiny.session()
    second.select(torch.arange(60) < 50)
    second.hide()
    colors = splat_colors(tiny.shared, first.visible, "features", highlight=False)
    assert torch.equal(splat_colors(tiny.shared, second.visible, "features", highlight=False), colors[50:])
    again = open_shared_scene(open_field(tiny.run.folder))
    assert torch.equal(again.pca.directions, tiny.shared.pca.directions)
