import pytest
import torch

from gsdff.config.options import Stage1Config
from gsdff.gaussians import Gaussians
from gsdff.training.densify import Densifier

WIDTH, HEIGHT = 64, 32
DEFAULTS = {
    "steps": 1000, "refine_start": 0, "refine_every": 10, "refine_stop": 1000, "grow_grad2d": 1.0, "strategy": "halves",
}  # fmt: skip


def make_params(num, *, scale=1e-3):
    """Gaussians of one size on a line, opaque, each attribute with an optimizer that has taken a step."""
    gaussians = Gaussians(
        means=torch.arange(num, dtype=torch.float32)[:, None].repeat(1, 3),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(num, 1),
        log_scales=torch.full((num, 3), scale).log(),
        logit_opacities=torch.full((num,), 2.0),
        sh0=torch.rand(num, 1, 3),
        shN=torch.zeros(num, 3, 3),
    )
    params = dict(gaussians.map(torch.nn.Parameter).items())
    optimizers = {name: torch.optim.Adam([param], lr=0.0) for name, param in params.items()}
    for name, param in params.items():
        param.grad = torch.ones_like(param)
        optimizers[name].step()
        optimizers[name].zero_grad()
    return params, optimizers


def make_meta(gradients, absgrad=None):
    """Meta of a rendering whose screen-space gradients are `gradients`, in units of half an image."""
    means2d = torch.zeros(1, len(gradients), 2, requires_grad=True)
    means2d.grad = torch.tensor(gradients)[None, :, None] * torch.tensor([2 / WIDTH, 0])
    if absgrad is not None:
        means2d.absgrad = torch.tensor(absgrad)[None, :, None] * torch.tensor([2 / WIDTH, 0])
    radii = torch.ones(1, len(gradients), 2, dtype=torch.int32)
    return {
        "means2d": means2d, "radii": radii, "width": WIDTH, "height": HEIGHT, "n_cameras": 1, "gaussian_ids": None,
    }  # fmt: skip


def refine(gradients, *, step=10, num=None, scale=1e-3, opacities=None, **options):
    params, optimizers = make_params(num or len(gradients), scale=scale)
    if opacities is not None:
        params["logit_opacities"].data = torch.tensor(opacities).logit()
    densifier = Densifier(Stage1Config(**DEFAULTS | options), scene_extent=1.0)
    densifier.after_step(params, optimizers, step - 1, step, make_meta(gradients))
    return params, optimizers, densifier


@pytest.mark.parametrize("scale", [1e-3, 0.05])
def test_a_gaussian_with_a_large_gradient_is_halved_whatever_its_size(scale):
    params, _, _ = refine([0.5, 2.0, 0.5], scale=scale)
    assert params["means"][[0, 2], 0].tolist() == [0, 2]
    assert (params["means"][[1, 3], 0] - 1).abs().max() < scale
    torch.testing.assert_close(params["means"][[1, 3]].mean(0), torch.ones(3))
    small = params["log_scales"].exp().min(dim=1).values < 0.9 * scale
    assert small.tolist() == [False, True, False, True]


def test_a_small_gaussian_with_a_large_gradient_is_cloned():
    params, _, _ = refine([0.5, 2.0, 0.5], strategy="clones")
    assert params["means"][:, 0].tolist() == [0, 1, 2, 1]
    torch.testing.assert_close(params["log_scales"].exp(), torch.full((4, 3), 1e-3))


def test_a_large_gaussian_with_a_large_gradient_is_split_into_two_smaller_ones():
    torch.manual_seed(0)
    params, _, _ = refine([0.5, 2.0, 0.5], scale=0.05, strategy="clones")
    assert params["means"][:2, 0].tolist() == [0, 2]
    assert (params["means"][2:, 0] - 1).abs().max() < 0.3 and not torch.equal(params["means"][2], params["means"][3])
    torch.testing.assert_close(params["log_scales"][2:].exp(), torch.full((2, 3), 0.05 / 1.6))


@pytest.mark.parametrize("scale", [1e-3, 0.05])
def test_clones_and_splits_stop_at_the_cap_too(scale):
    gradients = [1.1, 5.0, 3.0, 0.2, 4.0, 2.0]
    params, _, densifier = refine(gradients, scale=scale, max_gaussians=8, strategy="clones")
    assert len(params["means"]) == 8
    small = params["log_scales"].max(1).values < torch.tensor(scale).log() - 0.1
    grown = params["means"][small] if scale > 0.01 else params["means"][6:]
    assert set(grown[:, 0].round().int().tolist()) == {1, 4}
    assert densifier.strategy.grow_grad2d == 1.0


def test_nothing_grows_between_refinements_nor_outside_their_time():
    assert len(refine([2.0, 2.0], step=9)[0]["means"]) == 2
    assert len(refine([2.0, 2.0], step=10, refine_start=10)[0]["means"]) == 2
    assert len(refine([2.0, 2.0], step=20, refine_stop=20)[0]["means"]) == 2
    assert len(refine([2.0, 2.0], step=20, steps=20)[0]["means"]) == 2
    assert len(refine([2.0, 2.0], step=20)[0]["means"]) == 4


def test_faint_gaussians_are_pruned_and_others_halved_in_their_stead():
    params, _, _ = refine([0.1, 0.5, 0.2], opacities=[0.5, 0.004, 0.006])
    assert params["means"][:, 0].round().tolist() == [0, 2, 2]
    assert (params["logit_opacities"].sigmoid() > 0.003).all()


def test_faint_gaussians_are_pruned_without_others_that_could_grow():
    params, _, _ = refine([0.0, 0.5, 0.0], opacities=[0.5, 0.004, 0.5])
    assert params["means"][:, 0].tolist() == [0, 2]


def test_the_cap_holds_and_the_largest_gradients_grow_first():
    params, _, densifier = refine([1.1, 5.0, 3.0, 0.2, 4.0, 2.0], max_gaussians=8)
    assert len(params["means"]) == 8
    assert params["means"][6:, 0].round().tolist() == [1, 4]
    assert densifier.strategy.grow_grad2d == 1.0


def test_at_the_cap_only_what_fades_is_replaced():
    params, _, _ = refine([5.0, 6.0, 5.0], opacities=[0.5, 0.5, 0.001], max_gaussians=3)
    assert params["means"][:, 0].round().tolist() == [0, 1, 1]
    params, _, _ = refine([5.0, 6.0, 5.0], max_gaussians=3)
    assert params["means"][:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("limit", "kept"), [(0.005, [0, 1, 2]), (0.05, [0, 2])])
def test_gaussians_fade_below_the_opacity_that_is_asked_for(limit, kept):
    params, _, _ = refine([0.1, 0.1, 0.1], opacities=[0.5, 0.02, 0.06], prune_opacity=limit, strategy="clones")
    assert params["means"][:, 0].tolist() == kept


def test_above_the_cap_pruning_goes_on():
    params, _, _ = refine([5.0, 5.0, 5.0], opacities=[0.5, 0.5, 0.001], max_gaussians=2)
    assert params["means"][:, 0].tolist() == [0, 1]


def test_gradients_that_tie_do_not_break_the_cap():
    assert len(refine([3.0] * 6, max_gaussians=8)[0]["means"]) <= 8


def test_opacities_are_reset_when_asked_and_their_moments_with_them():
    params, optimizers, _ = refine([0.1, 0.1], step=25, reset_every=25)
    torch.testing.assert_close(params["logit_opacities"].sigmoid(), torch.full((2,), 0.01))
    moments = optimizers["logit_opacities"].state[params["logit_opacities"]]
    assert not moments["exp_avg"].any() and not moments["exp_avg_sq"].any()
    assert optimizers["means"].state[params["means"]]["exp_avg"].all()


def test_a_reset_leaves_lower_opacities_as_they_are():
    params, _, _ = refine([0.1, 0.1], step=25, reset_every=25, opacities=[0.5, 0.007])
    torch.testing.assert_close(params["logit_opacities"].sigmoid(), torch.tensor([0.01, 0.007]))


@pytest.mark.parametrize(("step", "reset_every"), [(24, 25), (26, 25), (25, 0), (1000, 25)])
def test_opacities_are_not_reset_otherwise(step, reset_every):
    params, _, _ = refine([0.1, 0.1], step=step, reset_every=reset_every)
    torch.testing.assert_close(params["logit_opacities"], torch.nn.Parameter(torch.full((2,), 2.0)))


def test_optimizers_follow_their_parameters():
    params, optimizers, _ = refine([2.0, 0.1, 2.0])
    for name, param in params.items():
        (group,) = optimizers[name].param_groups
        assert group["params"][0] is param and param.requires_grad
        moment = optimizers[name].state[param]["exp_avg"]
        assert moment.shape == param.shape
        assert moment[1].all() and not moment[[0, 2, 3, 4]].any(), "old moments stay, halves start from none"


def test_absgrad_grows_by_absolute_gradients():
    params, optimizers = make_params(2)
    densifier = Densifier(Stage1Config(**DEFAULTS, absgrad=True), scene_extent=1.0)
    densifier.after_step(params, optimizers, 9, 10, make_meta([0.0, 0.0], absgrad=[0.5, 2.0]))
    assert params["means"][:, 0].round().tolist() == [0, 1, 1]


def test_a_restored_densifier_goes_on_as_the_first_one_would():
    runs = []
    for restores in (False, True):
        params, optimizers = make_params(3)
        config = Stage1Config(**DEFAULTS)
        densifier = Densifier(config, scene_extent=1.0)
        densifier.after_step(params, optimizers, 7, 8, make_meta([4.0, 0.1, 1.2]))
        if restores:
            state = densifier.state_dict()
            densifier = Densifier(config, scene_extent=5.0)
            densifier.load_state_dict(state, torch.device("cpu"))
        densifier.after_step(params, optimizers, 9, 10, make_meta([0.1, 0.1, 1.2]))
        runs.append(params["means"][:, 0].round().tolist())
    assert runs[0] == runs[1] == [0, 1, 2, 0, 2]


def test_the_projected_means_keep_their_gradient():
    leaf = torch.zeros(1, 2, 2, requires_grad=True)
    meta = {"means2d": leaf * 1}
    Densifier(Stage1Config(), 1.0).before_backward(meta)
    meta["means2d"].sum().backward()
    assert meta["means2d"].grad.eq(1).all()
