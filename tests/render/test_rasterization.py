"""Properties of every rendering: gradients on demand, order, layout and threads."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from closeness import assert_gradients_close, boundary_band
from parity import EVERYTHING
from random_splats import DIFFERENTIABLE, GEOMETRY, cotangents, random_splats, render

from gsdff.render import rasterization, reference


@pytest.mark.parametrize(
    "wanted",
    [
        ("colors",),
        ("means",),
        ("quats",),
        ("scales",),
        ("opacities",),
        ("viewmats",),
        ("opacities", "colors"),
        ("means", "colors"),
        GEOMETRY,
    ],
    ids="+".join,
)
@pytest.mark.parametrize("sh_degree", [None, 1])
def test_gradients_of_some_inputs_are_those_of_all(wanted, sh_degree):
    splats = random_splats(n_cameras=2, sh_degree=sh_degree, seed=11).map(torch.Tensor.float)
    forward = render(rasterization, splats, sh_degree=sh_degree)
    cotangent = cotangents(forward, torch.zeros(forward.alphas.shape[:-1], dtype=torch.bool))
    options = {"sh_degree": sh_degree, "rasterize_mode": "antialiased"}
    everything = render(rasterization, splats, EVERYTHING, cotangent, **options)
    some = render(rasterization, splats, wanted, cotangent, **options)
    assert torch.equal(some.renders, everything.renders)
    for name in wanted:
        assert_gradients_close(some.gradients[name], everything.gradients[name], name, rtol=1e-5)


def test_gradients_of_the_background():
    splats = random_splats(n_cameras=2, seed=12)
    backgrounds = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], requires_grad=True)
    renders, alphas, _ = rasterization(**vars(splats.map(torch.Tensor.float)), backgrounds=backgrounds)
    renders.sum().backward()
    expected = (1 - alphas).sum((1, 2)).expand(-1, 3)
    torch.testing.assert_close(backgrounds.grad, expected.detach(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("used", ["renders", "alphas"])
def test_a_loss_of_renders_alone_or_alphas_alone(used):
    splats = random_splats(seed=13)
    forward = render(reference.rasterization, splats)
    v_renders, v_alphas = cotangents(forward, boundary_band(forward.meta["margins"]))
    gradients = []
    for function, inputs in ((reference.rasterization, splats), (rasterization, splats.map(torch.Tensor.float))):
        leaves = {name: getattr(inputs, name).clone().requires_grad_() for name in DIFFERENTIABLE}
        renders, alphas, _ = function(**(vars(inputs) | leaves))
        loss = (renders * v_renders.to(renders)).sum() if used == "renders" else (alphas * v_alphas.to(alphas)).sum()
        loss.backward()
        gradients.append({name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None})
    twin, fast = gradients
    for name in GEOMETRY:
        assert_gradients_close(fast[name], twin[name], name)
    if used == "alphas":
        assert fast.get("colors", torch.zeros(1)).abs().max() == 0


def test_nothing_is_recorded_where_no_gradient_is_wanted():
    splats = random_splats().map(torch.Tensor.float)
    renders, alphas, _ = rasterization(**vars(splats))
    assert not renders.requires_grad
    assert not alphas.requires_grad


def test_the_order_of_gaussians_does_not_matter(generator):
    splats = random_splats(n=200, seed=17).map(torch.Tensor.float)
    ids = torch.randperm(200, generator=generator)
    ones = torch.ones(1, 37, 53, 3)
    ordered = render(rasterization, splats, DIFFERENTIABLE, (ones, ones[..., :1]))
    shuffled = render(rasterization, splats.select(ids), DIFFERENTIABLE, (ones, ones[..., :1]))
    assert torch.equal(shuffled.renders, ordered.renders)
    for name in DIFFERENTIABLE:
        assert_gradients_close(shuffled.gradients[name], ordered.gradients[name][ids], name, rtol=1e-5)


def test_layout_of_the_inputs_in_memory_does_not_matter():
    splats = random_splats(n_cameras=2, seed=18).map(torch.Tensor.float)
    strided = splats.map(lambda tensor: tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor.repeat(2)[::2][:0])
    strided = strided.replace(opacities=torch.stack([splats.opacities] * 2, dim=-1)[:, 0])
    assert not strided.means.is_contiguous()
    assert torch.equal(render(rasterization, strided).renders, render(rasterization, splats).renders)


@pytest.mark.parametrize("channels", [3, 32])
def test_runs_give_the_same_bits_again_and_with_any_number_of_threads(channels):
    splats = random_splats(n=2500, n_cameras=2, channels=channels, width=120, height=90, seed=19)
    splats = splats.map(torch.Tensor.float)
    forward = render(rasterization, splats)
    cotangent = cotangents(forward, torch.zeros(forward.alphas.shape[:-1], dtype=torch.bool))
    n_threads = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            results.append(render(rasterization, splats, EVERYTHING, cotangent, absgrad=True))
    finally:
        torch.set_num_threads(n_threads)
    for result in results[1:]:
        assert torch.equal(result.renders, results[0].renders)
        assert torch.equal(result.alphas, results[0].alphas)
        for name, gradient in result.gradients.items():
            assert torch.equal(gradient, results[0].gradients[name]), name


def test_threads_may_render_at_the_same_time():
    splats = random_splats(n=500, seed=24).map(torch.Tensor.float)
    expected = render(rasterization, splats).renders
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: render(rasterization, splats).renders, range(12)))
    assert all(torch.equal(result, expected) for result in results)


FORK = """
import os, torch
from random_splats import random_splats, render
from gsdff.render import rasterization
torch.set_num_threads(2)
splats = random_splats(n=50).map(torch.Tensor.float)
expected = render(rasterization, splats).renders
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(render(rasterization, splats).renders, expected) else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_a_forked_process_renders_too():
    process = subprocess.Popen([sys.executable, "-c", FORK], cwd=Path(__file__).parent, process_group=0)
    try:
        assert process.wait(timeout=200) == 0
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
            process.wait()


def test_a_graph_kept_gives_its_gradients_again():
    splats = random_splats(seed=25).map(torch.Tensor.float)
    means = splats.means.clone().requires_grad_()
    renders, _, _ = rasterization(**(vars(splats) | {"means": means}))
    renders.sum().backward(retain_graph=True)
    once = means.grad.clone()
    renders.sum().backward()
    assert torch.equal(means.grad, 2 * once)


def test_nothing_is_written_into_the_inputs():
    splats = random_splats(n_cameras=2, seed=26).map(torch.Tensor.float)
    before = splats.map(torch.clone)
    forward = render(rasterization, splats)
    render(rasterization, splats, EVERYTHING, (torch.ones_like(forward.renders), torch.ones_like(forward.alphas)))
    for name, tensor in vars(before).items():
        assert not isinstance(tensor, torch.Tensor) or torch.equal(getattr(splats, name), tensor)


def test_float64_is_refused_rather_than_misread():
    with pytest.raises((AssertionError, TypeError, ValueError)):
        render(rasterization, random_splats(), DIFFERENTIABLE, lambda r: (r.renders.detach(), r.alphas.detach()))
