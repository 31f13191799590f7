"""gsplat's DefaultStrategy driven by our meta, on the CPU."""

import pytest
import torch
from gsplat.strategy import DefaultStrategy
from random_splats import random_splats

from gsdff.render import rasterization


def densify(absgrad: bool, steps: int = 6) -> list[int]:
    """The number of Gaussians after each step of a fit to a random picture."""
    splats = random_splats(n=80, n_cameras=2, seed=23).map(torch.Tensor.float)
    tensors = {
        "means": splats.means,
        "quats": splats.quats,
        "scales": splats.scales.log(),
        "opacities": splats.opacities.clamp(0.1, 0.9).logit(),
        "colors": splats.colors,
    }
    params = torch.nn.ParameterDict({name: torch.nn.Parameter(tensor.clone()) for name, tensor in tensors.items()})
    optimizers = {name: torch.optim.Adam([parameter], lr=1e-3) for name, parameter in params.items()}
    strategy = DefaultStrategy(
        refine_start_iter=0, refine_every=2, grow_grad2d=1e-5, pause_refine_after_reset=0, absgrad=absgrad
    )
    strategy.check_sanity(params, optimizers)
    state = strategy.initialize_state(scene_scale=1.0)
    torch.manual_seed(0)  # `split` draws from the global generator
    target = torch.rand(2, splats.height, splats.width, 3)
    counts = []
    for step in range(1, steps + 1):
        renders, _, meta = rasterization(
            params["means"],
            params["quats"],
            params["scales"].exp(),
            params["opacities"].sigmoid(),
            params["colors"],
            splats.viewmats,
            splats.Ks,
            splats.width,
            splats.height,
            absgrad=absgrad,
        )
        strategy.step_pre_backward(params, optimizers, state, step, meta)
        (renders - target).abs().mean().backward()
        if step == 1:
            assert state["grad2d"] is None
        strategy.step_post_backward(params, optimizers, state, step, meta)
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        counts.append(len(params["means"]))
    return counts


@pytest.mark.parametrize("absgrad", [False, True])
def test_the_default_strategy_grows_gaussians(absgrad):
    counts = densify(absgrad)
    assert counts[0] == 80
    assert counts[1] > 80
    assert counts[-1] > counts[1]
