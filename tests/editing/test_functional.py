"""Edits by hand, and what they look like when drawn."""

import math
from dataclasses import replace

import pytest
import torch

from gsdff.editing.functional import (
    LUMINANCE,
    delete,
    duplicate,
    extract,
    recolor,
    recolor_matrix,
    set_opacity,
    transform,
)
from gsdff.gaussians import Gaussians
from gsdff.render import render_features, render_rgb
from gsdff.render.reference import evaluate_sh
from gsdff.rotation import axis_angle_to_matrix, euler_to_matrix, quats_to_matrices
from tests.tiny_field import make_camera, make_gaussians

NUM = 40
CAMERA = make_camera(0.3, width=40, height=30)
R = euler_to_matrix((20, -50, 110))
HALF = torch.tensor([0.5, 0.5, 0.5])
ATTRIBUTES = ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN", "features")


@pytest.fixture
def scene(generator) -> Gaussians:
    """Gaussians of all colours, of degree 3 and with features, to be trained further."""
    gaussians = make_gaussians(NUM, generator, dim=4)
    sh0, shN = (torch.randn(NUM, count, 3, generator=generator) * size for count, size in ((1, 0.8), (15, 0.1)))
    return replace(gaussians, sh0=sh0, shN=shN).map(lambda tensor: tensor.requires_grad_())


@pytest.fixture
def mask(generator):
    return torch.rand(NUM, generator=generator) < 0.4


def drawn(gaussians, camera=CAMERA):
    return render_rgb(gaussians, camera, background=HALF).image.detach()


def luminance(colors):
    return colors @ torch.tensor(LUMINANCE, dtype=colors.dtype)


def seen(gaussians, generator, num_directions=20):
    """Colours [P, N, 3] in random directions, before the rasteriser clamps them; float64."""
    directions = torch.randn(num_directions, 1, 3, generator=generator, dtype=torch.float64)
    return 0.5 + evaluate_sh(3, directions.expand(-1, len(gaussians), -1), gaussians.sh.detach().double())


def changed_attributes(before, after):
    return {name for name, tensor in before.items() if not torch.equal(tensor, getattr(after, name))}


def turned(camera, R, scale, shift):
    """The camera of a world that was scaled, turned about its origin, and moved."""
    viewmat = camera.viewmat.double().clone()
    viewmat[:3, :3] @= R.T
    viewmat[:3, 3] = scale * viewmat[:3, 3] - viewmat[:3, :3] @ shift.double()
    return replace(camera, viewmat=viewmat.float())


EDITS = {
    "extract": extract,
    "delete": delete,
    "hue": lambda g, m: recolor(g, m, (0.9, 0.2, 0.1), "hue"),
    "tint": lambda g, m: recolor(g, m, (0.9, 0.2, 0.1), "tint"),
    "grey": lambda g, m: recolor(g, m, None, "grey"),
    "transform": lambda g, m: transform(g, m, rotation=R, translation=(1, 2, 3), scale=1.5),
    "duplicate": lambda g, m: duplicate(g, m, rotation=R, translation=(1, 2, 3), scale=1.5),
    "opacity": lambda g, m: set_opacity(g, m, opacity=0.5),
    "factor": lambda g, m: set_opacity(g, m, factor=0.5),
}
every_edit = pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())


@every_edit
def test_an_edit_changes_no_input_and_gives_no_gradient(edit, scene, mask):
    given, given_mask = scene.map(torch.clone), mask.clone()
    result = edit(scene, mask)
    assert not changed_attributes(given, scene) and torch.equal(mask, given_mask)
    assert [name for name, _ in result.items()] == list(ATTRIBUTES)
    assert not any(tensor.requires_grad for _, tensor in result.items())
    assert {(len(tensor), tensor.dtype) for _, tensor in result.items()} == {(len(result), torch.float32)}


@pytest.mark.usefixtures("unchecked")
@every_edit
@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (torch.zeros(NUM, dtype=torch.bool), "some of the .* to be selected, got none"),
        (torch.ones(NUM - 1, dtype=torch.bool), f"{NUM} booleans"),
        (torch.ones(NUM, 1, dtype=torch.bool), f"{NUM} booleans"),
        (torch.ones(NUM, dtype=torch.uint8), "uint8"),
        (torch.arange(NUM), "int64"),
    ],
)
def test_a_mask_that_fits_not_or_selects_nothing_is_refused(edit, wrong, complaint, scene):
    with pytest.raises(ValueError, match=complaint):
        edit(scene, wrong)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("hue", {"sh0", "shN"}),
        ("tint", {"sh0", "shN"}),
        ("grey", {"sh0", "shN"}),
        ("transform", {"means", "quats", "log_scales", "shN"}),
        ("opacity", {"logit_opacities"}),
        ("factor", {"logit_opacities"}),
    ],
)
def test_an_edit_in_place_leaves_other_attributes_and_other_gaussians_the_same_bits(name, attributes, scene, mask):
    result = EDITS[name](scene, mask)
    assert changed_attributes(scene, result) == attributes
    assert not changed_attributes(delete(scene, mask), delete(result, mask))


def test_scenes_without_features_or_higher_bands_can_be_edited(scene, mask):
    plain = replace(scene, features=None, shN=torch.zeros(NUM, 0, 3))
    for edit in EDITS.values():
        result = edit(plain, mask)
        assert result.features is None and result.shN.shape == (len(result), 0, 3)


def test_extract_and_delete_part_the_scene(scene, mask):
    inside, outside = extract(scene, mask), delete(scene, mask)
    assert len(inside) == int(mask.sum()) and len(inside) + len(outside) == NUM
    for name, tensor in scene.items():
        assert torch.equal(getattr(inside, name), tensor[mask]) and torch.equal(getattr(outside, name), tensor[~mask])


def test_deleting_everything_draws_the_background(scene):
    left = delete(scene, torch.ones(NUM, dtype=torch.bool))
    assert len(left) == 0
    assert torch.equal(drawn(left), HALF.expand(30, 40, 3))


def test_four_quarter_turns_draw_the_original(scene, mask):
    result = scene
    for turn in range(1, 5):
        result = transform(result, mask, rotation=axis_angle_to_matrix((0, 1, 0), 90))
        difference = (drawn(result) - drawn(scene)).abs().max()
        assert difference < 1e-5 if turn == 4 else difference > 0.05


@pytest.mark.parametrize("scale", [1.0, 0.4, 2.5])
def test_a_world_turned_scaled_and_moved_with_its_camera_looks_the_same(scene, scale):
    everything = torch.ones(NUM, dtype=torch.bool)
    shift = torch.tensor([0.3, -0.2, 0.5])
    result = transform(scene, everything, rotation=R, scale=scale, translation=shift, centre=(0, 0, 0))
    camera = turned(CAMERA, R, scale, shift)
    torch.testing.assert_close(drawn(result, camera), drawn(scene), atol=1e-4, rtol=0)
    # the harmonics matter here: without turning them the picture is another
    assert (drawn(replace(result, shN=scene.shN), camera) - drawn(scene)).abs().max() > 0.01
    features = render_features(scene, CAMERA).image.detach()
    torch.testing.assert_close(render_features(result, camera).image, features, atol=1e-4, rtol=0)


def test_what_is_moved_far_away_is_seen_no_more(scene, mask):
    gone = transform(scene, mask, translation=(0, 500, 0))
    torch.testing.assert_close(drawn(gone), drawn(delete(scene, mask)), atol=1e-6, rtol=0)


def test_a_transformed_gaussian_by_hand(scene):
    means, quats = torch.tensor([[1.0, 0, 0], [5, 5, 5]]), torch.tensor([[2.0, 0, 0, 0], [1, 0, 0, 0]])
    pair = replace(scene.map(lambda tensor: tensor[:2]), means=means, quats=quats)
    options = {"rotation": axis_angle_to_matrix((0, 0, 1), 90), "translation": (0, 0, 7), "scale": 3}
    result = transform(pair, torch.tensor([True, False]), **options, centre=(0, 0, 0))
    torch.testing.assert_close(result.means, torch.tensor([[0.0, 3, 7], [5, 5, 5]]))
    torch.testing.assert_close(result.quats[0], torch.tensor([math.sqrt(2), 0, 0, math.sqrt(2)]))
    torch.testing.assert_close(result.scales, pair.scales.detach() * torch.tensor([[3.0], [1]]))


def test_covariances_turn_and_grow(scene, mask):
    def covariances(gaussians):
        root = quats_to_matrices(gaussians.quats.double()) @ gaussians.scales.double().diag_embed()
        return root @ root.mT

    before = covariances(extract(scene, mask)).detach()
    after = covariances(extract(transform(scene, mask, rotation=R, scale=1.5), mask))
    torch.testing.assert_close(after, 1.5**2 * R @ before @ R.T, atol=1e-6, rtol=1e-5)


def test_the_centre_is_the_mean_weighted_by_opacity(scene, mask):
    weights = scene.opacities[mask].detach()
    centre = (weights[:, None] * scene.means[mask].detach()).sum(0) / weights.sum()
    small = transform(scene, mask, scale=1e-6)
    torch.testing.assert_close(small.means[mask], centre.expand(int(mask.sum()), 3), atol=1e-5, rtol=0)
    explicit = transform(scene, mask, scale=2, rotation=R, centre=centre)
    torch.testing.assert_close(explicit.means, transform(scene, mask, scale=2, rotation=R).means)


def test_a_selection_without_any_opacity_still_has_a_centre(scene, mask):
    invisible = replace(scene, logit_opacities=torch.full((NUM,), -math.inf))
    plain_mean = scene.means[mask].mean(0).detach()
    small = transform(invisible, mask, scale=1e-6)
    torch.testing.assert_close(small.means[mask], plain_mean.expand(int(mask.sum()), 3), atol=1e-5, rtol=0)


def test_copies_follow_the_originals_and_are_transformed(scene, mask):
    options = {"rotation": R, "translation": (1, 2, 3), "scale": 0.5}
    result = duplicate(scene, mask, **options)
    copies = extract(transform(scene, mask, **options), mask)
    for name, tensor in result.items():
        assert torch.equal(tensor[:NUM], getattr(scene, name)) and torch.equal(tensor[NUM:], getattr(copies, name))


def test_moving_nothing_changes_nothing(scene, mask):
    for options in ({}, {"rotation": torch.eye(3), "scale": 1, "translation": (0, 0, 0)}):
        result = transform(scene, mask, **options)
        for name, tensor in scene.items():
            torch.testing.assert_close(getattr(result, name), tensor.detach(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("mode", ["hue", "tint", "grey"])
def test_a_recoloured_gaussian_shows_a_linear_map_of_its_colour_in_every_direction(mode, scene, mask):
    result = recolor(scene, mask, (0.2, 0.5, 0.9), mode)
    constant = (0.5 + scene.sh0[mask, 0].detach().double() / (2 * math.sqrt(math.pi))).clamp(min=0)
    weights = scene.opacities[mask].detach().double()
    A = recolor_matrix(weights @ constant / weights.sum(), (0.2, 0.5, 0.9), mode)
    before, after = (seen(g, torch.Generator().manual_seed(3))[:, mask] for g in (scene, result))
    torch.testing.assert_close(after, before @ A.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(luminance(after), luminance(before), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("mode", "floor"), [("tint", None), ("hue", None), ("grey", None), ("hue", 0)])
def test_recolouring_keeps_who_is_brighter_and_hue_does_even_when_clamped(mode, floor, scene, mask):
    floor = -math.inf if floor is None else floor
    compared = recolor(scene, mask, None, "grey") if floor == 0 else scene
    before, after = (
        luminance(seen(g, torch.Generator().manual_seed(3))[:, mask].clamp(min=floor))
        for g in (compared, recolor(scene, mask, (0.1, 0.8, 0.3), mode))
    )
    brighter = before[:, :, None] > before[:, None, :] + 1e-4
    assert brighter.any() and (after[:, :, None] > after[:, None, :])[brighter].all()


def test_grey_is_grey_in_every_direction(scene, mask, generator):
    colors = seen(recolor(scene, mask, None, "grey"), generator)[:, mask]
    assert (colors - colors[..., :1]).abs().max() < 1e-6
    everything = recolor(scene, torch.ones(NUM, dtype=torch.bool), None, "grey")
    image = drawn(everything)
    assert (image - image[..., :1]).abs().max() < 1e-5 and image.std() > 0.01


def test_hue_gives_every_colour_the_targets_hue(scene, mask, generator):
    target = torch.tensor([0.6, 0.1, 0.2], dtype=torch.float64)
    colors = seen(recolor(scene, mask, target.tolist(), "hue"), generator)[:, mask]
    chroma = colors - colors.mean(-1, keepdim=True)
    bright = luminance(colors) > 0.1
    cosine = torch.nn.functional.cosine_similarity(chroma[bright], target - target.mean(), dim=-1)
    assert cosine.min() > 1 - 1e-5


def test_a_dim_selection_gets_the_targets_chroma_and_a_bright_one_what_has_room():
    grey = torch.ones(3, dtype=torch.float64)
    red = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(recolor_matrix(0.2 * grey, red.tolist(), "hue") @ (0.2126 * grey), red)
    bright = recolor_matrix(0.5 * grey, red.tolist(), "hue") @ (0.5 * grey)
    green = (0.5 - 0.2126) / (1 - 0.2126)  # red at its limit of 1, the rest of the luminance shared
    torch.testing.assert_close(bright, torch.tensor([1, green, green], dtype=torch.float64))
    torch.testing.assert_close(recolor_matrix(1.2 * grey, red.tolist(), "hue") @ grey, grey)  # no room at all
    flat = recolor_matrix(0.5 * grey, (0.3, 0.3, 0.3), "hue")  # to a grey target
    torch.testing.assert_close(flat @ red, 0.2126 * grey)


def test_a_tint_takes_the_mean_to_the_target_and_keeps_differences_in_hue():
    mean = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
    target = torch.tensor([0.2, 0.3, 0.4], dtype=torch.float64)
    A = recolor_matrix(mean, target.tolist(), "tint")
    torch.testing.assert_close(A @ mean, target * luminance(mean) / luminance(target))
    assert torch.linalg.matrix_rank(A) == 3
    # by hand: multiplied channel by channel, then grey added until the luminance is right
    color = torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64)
    multiplied = color * (target / luminance(target)) / (mean / luminance(mean))
    torch.testing.assert_close(A @ color, multiplied + luminance(color) - luminance(multiplied))


@pytest.mark.parametrize("mean", [[0.0, 0, 0], [0.8, 0, 0], [3.0, 2, 1]])
@pytest.mark.parametrize("mode", ["hue", "tint"])
def test_extreme_means_give_maps_of_moderate_size_that_keep_luminance(mean, mode):
    for target in torch.eye(3).tolist():
        A = recolor_matrix(torch.tensor(mean), target, mode)
        assert A.isfinite().all() and A.abs().max() < 200
        torch.testing.assert_close(luminance(A.T), torch.tensor(LUMINANCE, dtype=torch.float64))


def test_opacities_are_set_or_multiplied_and_stay_finite(scene, mask):
    assert set_opacity(scene, mask, opacity=0.3).opacities[mask].tolist() == pytest.approx([0.3] * int(mask.sum()))
    halved = set_opacity(scene, mask, factor=0.5)
    torch.testing.assert_close(halved.opacities[mask], scene.opacities[mask].detach() / 2)
    for opaque in (set_opacity(scene, mask, opacity=1), set_opacity(scene, mask, factor=1e9)):
        assert opaque.logit_opacities.isfinite().all() and opaque.opacities[mask].min() > 0.99999


def test_an_opacity_next_to_nothing_draws_like_a_deletion(scene, mask):
    faint = set_opacity(scene, mask, opacity=1e-4)
    torch.testing.assert_close(drawn(faint), drawn(delete(scene, mask)), atol=1e-6, rtol=0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda g, m: transform(g, m, scale=0), "scale"),
        (lambda g, m: transform(g, m, scale=-1), "scale"),
        (lambda g, m: transform(g, m, scale=math.nan), "scale"),
        (lambda g, m: duplicate(g, m, scale=math.inf), "scale"),
        (lambda g, m: transform(g, m, rotation=2 * torch.eye(3)), "orthonormal"),
        (lambda g, m: transform(g, m, rotation=-torch.eye(3)), "reflection"),
        (lambda g, m: transform(g, m, translation=(1, 2)), "translation`: expected three"),
        (lambda g, m: transform(g, m, translation=(1, 2, math.inf)), "translation`: expected three"),
        (lambda g, m: transform(g, m, centre=(0, math.nan, 0)), "centre`: expected three"),
        (lambda g, m: set_opacity(g, m, opacity=0), "at most 1, got 0"),
        (lambda g, m: set_opacity(g, m, opacity=1.01), "at most 1, got 1.01"),
        (lambda g, m: set_opacity(g, m, opacity=math.nan), "got nan"),
        (lambda g, m: set_opacity(g, m, factor=0), "factor"),
        (lambda g, m: set_opacity(g, m, factor=math.inf), "factor"),
        (lambda g, m: set_opacity(g, m), "neither"),
        (lambda g, m: set_opacity(g, m, opacity=0.5, factor=2), "both"),
        (lambda g, m: recolor(g, m, (0.1, 0.2), "hue"), "three numbers"),
        (lambda g, m: recolor(g, m, (0.1, 0.2, 255), "hue"), "0..1"),
        (lambda g, m: recolor(g, m, (math.nan, 0.2, 0.5), "tint"), "0..1"),
        (lambda g, m: recolor(g, m, None, "tint"), "expected one for mode .tint., got none"),
        (lambda g, m: recolor(g, m, (0, 0, 0), "hue"), "black"),
        (lambda g, m: recolor(g, m, (1, 0, 0), "paint"), "'paint'"),
    ],
)
def test_options_out_of_range_are_refused(call, complaint, scene, mask):
    with pytest.raises(ValueError, match=complaint):
        call(scene, mask)
