"""Moving Gaussians keeps the picture, reaches the limit, and disturbs only what is faint."""

import pytest
import torch
from test_densify import make_params

from gsdff.config.file import lay_over
from gsdff.config.options import Stage1Config, TrainConfig
from gsdff.errors import UserError
from gsdff.training.mcmc import MIN_OPACITY, Relocation, draw, share_among_copies

OPTIONS = {"steps": 100, "refine_start": 0, "refine_every": 10, "refine_stop": 100, "strategy": "mcmc"}


def relocate(num, opacities, *, step=10, before=None, seed=0, **options):
    params, optimizers = make_params(num, scale=0.1)
    params["logit_opacities"].data = torch.tensor(opacities).logit()
    relocation = Relocation(Stage1Config(**OPTIONS | options), scene_extent=1.0, means_rate=1.0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        relocation.after_step(params, optimizers, step - 1 if before is None else before, step, {})
    return params, optimizers


@pytest.mark.parametrize("num", [1, 2, 3, 10, 51])
@pytest.mark.parametrize("opacity", [0.01, 0.3, 0.9, 0.999])
def test_copies_cover_as_much_as_the_one_they_replace(num, opacity):
    """By the integral along a line of what they let through together, which Eq. 9 has in closed form."""
    shared, factor = share_among_copies(torch.tensor([opacity]), torch.tensor([num]))
    assert 1 - (1 - float(shared)) ** num == pytest.approx(opacity, rel=1e-4)
    x = torch.linspace(-20, 20, 400_001, dtype=torch.double)
    together = 1 - (1 - float(shared) * torch.exp(-0.5 * (x / float(factor)) ** 2)) ** num
    alone = opacity * torch.exp(-0.5 * x**2)
    assert float(together.sum()) == pytest.approx(float(alone.sum()), rel=2e-4)


def test_what_has_faded_moves_to_what_is_seen_and_the_number_never_falls():
    params, optimizers = relocate(4, [0.001, 0.9, 0.9, 0.004], max_gaussians=4)
    places = params["means"][:, 0].round().int()
    assert len(places) == 4 and set(places.tolist()) <= {1, 2}
    copies = torch.bincount(places, minlength=3)[places]
    expected, factors = share_among_copies(torch.full((4,), 0.9), copies)
    torch.testing.assert_close(params["logit_opacities"].sigmoid(), expected)
    torch.testing.assert_close(params["log_scales"].exp(), (0.1 * factors)[:, None].expand(-1, 3))
    moved = copies > 1
    for name, param in params.items():
        moments = optimizers[name].state[param]["exp_avg"]
        assert (moments[moved] == 0).all() and (moments[~moved] != 0).all() and len(moments) == 4


def test_the_limit_is_reached_by_the_last_refinement():
    params, optimizers = make_params(10)
    relocation = Relocation(Stage1Config(**OPTIONS, max_gaussians=50), scene_extent=1.0, means_rate=1.0)
    counts = []
    for step in range(1, 101):
        relocation.after_step(params, optimizers, step - 1, step, {})
        counts.append(len(params["means"]))
    assert counts[8] == 10 < counts[9] < counts[50] < 50 == counts[89] == counts[99]
    assert all(optimizers[name].param_groups[0]["params"][0] is param for name, param in params.items())


def test_a_round_of_ranks_that_passes_over_a_refinement_does_it():
    params, _ = relocate(10, [0.9] * 10, before=9, step=12, max_gaussians=20)
    assert len(params["means"]) > 10


def test_noise_moves_what_is_faint_along_its_own_axes_and_falls_with_the_rate():
    params, optimizers = make_params(2)
    params["log_scales"].data = torch.tensor([[0.1, 1e-6, 1e-6]]).log().repeat(2, 1)
    params["logit_opacities"].data = torch.tensor([0.006, 0.5]).logit()
    relocation = Relocation(Stage1Config(**OPTIONS), scene_extent=1.0, means_rate=1.0)
    moves = []
    for rate in (1.0, 0.01):
        optimizers["means"].param_groups[0]["lr"] = rate
        before = params["means"].detach().clone()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            relocation.after_step(params, optimizers, 1, 2, {})
        moves.append((params["means"].detach() - before).abs())
    faint, opaque = moves[0]
    assert faint[0] > 1e-3 and (faint[1:] < 1e-6).all() and (opaque < 1e-6).all()
    torch.testing.assert_close(moves[1][0, 0], 0.01 * faint[0], rtol=0.05, atol=0)


def test_nothing_is_disturbed_after_stage_1():
    params, _ = relocate(3, [0.006] * 3, step=101, max_gaussians=3)
    torch.testing.assert_close(params["means"].detach(), make_params(3, scale=0.1)[0]["means"].detach())


def test_draws_follow_the_weights_and_leave_out_zeros():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        counts = torch.bincount(draw(torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0]), 40_000), minlength=5)
    assert counts[[0, 2, 4]].sum() == 0 and 0.24 < float(counts[1]) / 40_000 < 0.26
    assert len(draw(torch.zeros(3), 5)) == len(draw(torch.ones(3), 0)) == len(draw(torch.zeros(0), 5)) == 0


def test_a_scene_that_has_faded_altogether_stays():
    params, _ = relocate(3, [MIN_OPACITY / 2] * 3, max_gaussians=3)
    assert len(params["means"]) == 3


def test_it_is_refused_where_no_rank_holds_the_whole_scene():
    options = {"stage1": {"strategy": "mcmc"}, "shard": "gaussians"}
    with pytest.raises(UserError, match=r"`stage1.strategy` mcmc: .* choose clones or halves"):
        lay_over(TrainConfig(), options, "test").check()
