"""Diffusion over neighbouring Gaussians against its definition: a loop over pairs."""

from math import exp, inf, nan, sqrt

import pytest
import torch

from gsdff.gaussians import Gaussians
from gsdff.smoothing import NeighbourGraph, build_graph, diffuse

SH_C0 = 0.28209479177387814
SIGMAS = {"sigma_space": 0.9, "sigma_color": 0.4, "sigma_feature": 0.8}
RED, BLUE = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9])


def gaussians_at(means, opacities=0.5, colors=0.5):
    """Gaussians of one size whose constant band has the given colours."""
    num = len(means)
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(num, 1),
        log_scales=torch.zeros(num, 3),
        logit_opacities=torch.as_tensor(opacities).expand(num).logit(),
        sh0=((torch.as_tensor(colors).expand(num, 3) - 0.5) / SH_C0)[:, None],
        shN=torch.zeros(num, 0, 3),
    )


def cloud(generator, num, num_channels=4):
    """A random scene and its features, every fifth Gaussian unseen; some colours lie outside [0, 1]."""

    def draw(*shape):
        return torch.rand(shape, generator=generator)

    gaussians = gaussians_at(draw(num, 3), 0.02 + 0.96 * draw(num), 1.4 * draw(num, 3) - 0.2)
    features = torch.randn(num, num_channels, generator=generator)
    features[::5] = 0
    return gaussians, features


def brute_force(gaussians, features, count, guide=None):
    """One step, one pair after another, in float64; autograd finds the gradient."""
    x, o = gaussians.means.double(), gaussians.opacities.double()
    c = (0.5 + SH_C0 * gaussians.sh0[:, 0].double()).clamp(0, 1)
    num = len(x)
    lists = []
    for i in range(num):
        others = sorted((float((x[i] - x[j]).norm()), j) for j in range(num) if j != i)
        lists.append(others[:count])
    reach = [sum(distance for distance, _ in near) / len(near) for near in lists]
    rows = []
    for i in range(num):
        said = guide is None or bool(guide[i].any())
        norm = float(o[i]) if said else 0.0
        total = norm * features[i]
        for distance, j in lists[i]:
            heard = guide is None or bool(guide[j].any())
            weight = heard * sqrt(o[i] * o[j]) * exp(-(distance**2) / (2 * 0.9**2 * reach[i] * reach[j]))
            weight *= exp(-float((c[i] - c[j]).square().sum()) / (2 * 0.4**2))
            if guide is not None and said and heard:
                units = [guide[n].double() / guide[n].double().norm() for n in (i, j)]
                weight *= exp(-float((units[0] - units[1]).square().sum()) / (2 * 0.8**2))
            total, norm = total + weight * features[j], norm + weight
        rows.append(total / norm if norm > 0 else features[i])
    return torch.stack(rows)


def test_three_gaussians_get_the_weights_and_means_found_by_hand():
    means = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])
    colors = torch.tensor([[0.2, 0.5, 0.5], [0.5, 0.5, 0.5], [0.5, 0.9, 0.5]])
    features = torch.tensor([[2.0, 0], [0, 3], [1, 0]])
    gaussians = gaussians_at(means, torch.tensor([0.25, 0.64, 0.81]), colors)
    graph = build_graph(gaussians, sigma_space=2, sigma_color=0.5, sigma_feature=1, features=features)
    # distances 1, 2 and 3, mean distances 2, 1.5 and 2.5; unit features are √2 or 0 apart
    near = 0.5 * 0.8 * exp(-1 / (8 * 2 * 1.5)) * exp(-0.09 / 0.5) * exp(-1)
    far = 0.5 * 0.9 * exp(-9 / (8 * 2 * 2.5)) * exp(-(0.09 + 0.16) / 0.5)
    middle = 0.8 * 0.9 * exp(-4 / (8 * 1.5 * 2.5)) * exp(-0.16 / 0.5) * exp(-1)
    assert graph.ids.tolist() == [[1, 2], [0, 2], [1, 0]]
    torch.testing.assert_close(graph.weights, torch.tensor([[near, far], [near, middle], [middle, far]]))
    torch.testing.assert_close(graph.self_weights, torch.tensor([0.25, 0.64, 0.81]))
    first = (0.25 * features[0] + near * features[1] + far * features[2]) / (0.25 + near + far)
    torch.testing.assert_close(diffuse(features, graph, 1)[0], first)


def test_in_a_weighed_graph_a_gaussian_counts_by_its_weight_in_all_means(generator):
    gaussians, features = cloud(generator, 30, 5)
    graph = build_graph(gaussians, neighbours=6, features=features, **SIGMAS)
    weights = torch.rand(30, generator=generator)
    ids, edges = graph.ids.long(), graph.weights * weights[graph.ids.long()]
    own = graph.self_weights * weights
    expected = own[:, None] * features + (edges[..., None] * features[ids]).sum(1)
    expected /= (own + edges.sum(1))[:, None]
    torch.testing.assert_close(diffuse(features, graph.weighed(weights), 1), expected)
    assert not torch.allclose(expected, diffuse(features, graph, 1))
    torch.testing.assert_close(diffuse(features, graph.weighed(torch.full((30,), 0.3)), 2), diffuse(features, graph, 2))
    assert torch.equal(diffuse(features, graph.weighed(torch.zeros(30)), 2), features)  # a mean of nothing


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize(("num", "num_channels"), [(2, 1), (30, 5), (24, 33)])
def test_both_implementations_and_their_gradients_are_those_of_the_loop_over_pairs(
    generator, num, num_channels, guided
):
    gaussians, features = cloud(generator, num, num_channels)
    guide = features if guided else None
    graph = build_graph(gaussians, neighbours=6, features=guide, **SIGMAS)
    exact = torch.randn(num, num_channels, generator=generator, dtype=torch.float64).requires_grad_()
    cotangent = torch.randn(num, num_channels, generator=generator, dtype=torch.float64)
    expected = brute_force(gaussians, brute_force(gaussians, exact, 6, guide), 6, guide)
    (expected_grad,) = torch.autograd.grad(expected, exact, cotangent)
    for dtype in (torch.float64, torch.float32):
        z = exact.detach().to(dtype).requires_grad_()
        found = diffuse(z, graph, 2)
        found.backward(cotangent.to(dtype))
        assert found.dtype == z.grad.dtype == dtype
        # the weights are float32 either way
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-6)
        torch.testing.assert_close(z.grad.double(), expected_grad, rtol=0, atol=5e-6)


def test_the_kernel_and_its_gradient_are_those_of_the_torch_path(generator):
    gaussians, features = cloud(generator, 3000, 17)
    graph = build_graph(gaussians, features=features, **SIGMAS)
    results = []
    for dtype in (torch.float32, torch.float64):
        z = features.to(dtype).requires_grad_()
        out = diffuse(z, graph, 3)
        results.append((out.double(), torch.autograd.grad(out.square().sum(), z)[0].double()))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences(generator):
    gaussians, features = cloud(generator, 9, 3)
    graph = build_graph(gaussians, neighbours=4, features=features, **SIGMAS)
    assert torch.autograd.gradcheck(lambda z: diffuse(z, graph, 2), features.double().requires_grad_())


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_constants_stay_constant(generator, dtype, rtol):
    gaussians, features = cloud(generator, 50)
    graph = build_graph(gaussians, features=features, **SIGMAS)
    constant = torch.tensor([0.0, -1.5, 3.0, 100.0], dtype=dtype).expand(50, 4)
    torch.testing.assert_close(diffuse(constant, graph, 5), constant, rtol=rtol, atol=0)


def test_who_list_each_other_hear_each_other_alike(generator):
    gaussians, _ = cloud(generator, 60)
    graph = build_graph(gaussians, neighbours=5, features=torch.randn(60, 3, generator=generator), **SIGMAS)
    weights = torch.zeros(60, 60).scatter_(1, graph.ids.long(), graph.weights)
    mutual = (weights > 0) & (weights.T > 0)
    assert mutual.sum() > 100 and torch.equal(weights[mutual], weights.T[mutual])


def test_a_wall_of_two_colours_keeps_its_sides_apart_while_noise_falls(generator):
    steps = torch.arange(12.0)
    sheet = torch.cartesian_prod(steps, steps, torch.zeros(1))
    means = torch.cat([sheet, sheet + torch.tensor([0.0, 0, 1])])
    side = torch.cat([torch.ones(144), -torch.ones(144)])
    gaussians = gaussians_at(means, 0.9, torch.where(side[:, None] > 0, RED, BLUE))
    features = side[:, None] + 0.3 * torch.randn(288, 8, generator=generator)
    kept, mixed = (
        diffuse(features, build_graph(gaussians, sigma_space=1, sigma_color=sigma, sigma_feature=inf), 5)
        for sigma in (0.1, inf)
    )
    for sign in (1, -1):
        here = side == sign
        assert kept[here].mean() == pytest.approx(float(features[here].mean()), abs=0.02)
        assert kept[here].std() < 0.25 * features[here].std()
        assert mixed[here].mean().abs() < 0.5


def test_features_that_differ_keep_apart_what_one_colour_would_mix(generator):
    gaussians = gaussians_at(torch.rand(200, 3, generator=generator))
    features = torch.zeros(200, 2)
    features[:100, 0], features[100:, 1] = 5, 0.1  # of any norm
    graph = build_graph(gaussians, sigma_space=1, sigma_color=1, sigma_feature=0.2, features=features)
    torch.testing.assert_close(diffuse(features, graph, 10), features, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_unseen_gaussian_is_filled_in_and_pulls_nobody(generator, dtype):
    gaussians, features = cloud(generator, 40)
    features = features.to(dtype)
    unseen = ~features.any(dim=1)
    # so narrow that a distance of 1 to the zero vector would silence everyone
    graph = build_graph(gaussians, sigma_space=1, sigma_color=1, sigma_feature=0.05, features=features)
    shouting = features + 1000 * unseen[:, None]
    assert torch.equal(diffuse(features, graph, 3), diffuse(shouting, graph, 3))
    filled = diffuse(features, graph, 1)[unseen]
    assert filled.any(dim=1).all() and (filled.abs() <= features.abs().max()).all()


def test_unseen_gaussians_among_themselves_stay_as_they_are(generator):
    gaussians, features = cloud(generator, 12)
    graph = build_graph(gaussians, features=torch.zeros(12, 4), **SIGMAS)
    assert torch.equal(diffuse(features, graph, 4), features)


def test_a_transparent_gaussian_has_little_to_say(generator):
    means = torch.rand(20, 3, generator=generator)
    features = torch.zeros(20, 1)
    features[0] = 1
    faint, plain = (
        diffuse(features, build_graph(gaussians_at(means, opacities), **SIGMAS), 1)[1:].sum()
        for opacities in (torch.cat([torch.tensor([1e-4]), torch.full((19,), 0.5)]), 0.5)
    )
    assert 0 < faint < 0.03 * plain


@pytest.mark.parametrize("num", [0, 1, 2, 4])
def test_fewer_gaussians_than_neighbours_listen_to_those_there_are(generator, num):
    gaussians = gaussians_at(torch.rand(num, 3, generator=generator))
    graph = build_graph(gaussians, neighbours=16, **SIGMAS)
    assert graph.ids.shape == (num, max(0, num - 1))
    z = torch.randn(num, 3, generator=generator).requires_grad_()
    out = diffuse(z, graph, 200)
    out.sum().backward()
    assert z.grad.isfinite().all()
    torch.testing.assert_close(out, out[:1].expand_as(out), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e6])
def test_the_graph_knows_no_unit_and_stands_gaussians_at_one_place(generator, scale):
    gaussians, features = cloud(generator, 30)
    moved = gaussians_at(gaussians.means * scale, gaussians.opacities, 0.5)
    graph = build_graph(moved, features=features, **SIGMAS)
    assert graph.weights.isfinite().all() and diffuse(features, graph, 2).isfinite().all()
    if scale:
        same = build_graph(gaussians_at(gaussians.means, gaussians.opacities, 0.5), features=features, **SIGMAS)
        torch.testing.assert_close(graph.weights, same.weights, rtol=1e-3, atol=1e-6)


def test_the_order_of_the_gaussians_does_not_matter(generator):
    gaussians, features = cloud(generator, 80)
    order = torch.randperm(80, generator=generator)
    plain, shuffled = (
        diffuse(z, build_graph(g, features=z, **SIGMAS), 3)
        for g, z in ((gaussians, features), (gaussians.map(lambda t: t[order]), features[order]))
    )
    torch.testing.assert_close(shuffled, plain[order], rtol=1e-5, atol=1e-6)


def test_the_result_does_not_depend_on_threads_or_strides(generator):
    gaussians, features = cloud(generator, 5000, 7)
    graph = build_graph(gaussians, features=features, **SIGMAS)
    strided = features.T.contiguous().T.requires_grad_()
    assert not strided.is_contiguous()
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3, 4):
            torch.set_num_threads(count)
            out = diffuse(strided, graph, 2)
            results.append((out, torch.autograd.grad(out.square().sum(), strided)[0]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], diffuse(features, graph, 2))
    for out, grad in results[1:]:
        assert torch.equal(out, results[0][0]) and torch.equal(grad, results[0][1])


def test_no_steps_change_nothing_and_no_gradient_passes_through_the_weights(generator):
    gaussians, features = cloud(generator, 20)
    features.requires_grad_()
    graph = build_graph(gaussians.map(lambda t: t.requires_grad_()), features=features, **SIGMAS)
    assert not graph.weights.requires_grad and not graph.self_weights.requires_grad
    assert torch.equal(diffuse(features, graph, 0), features)


SCENE = gaussians_at(torch.arange(15.0).view(5, 3))
GRAPH = NeighbourGraph(torch.tensor([[1], [0]], dtype=torch.int32), torch.ones(2, 1), torch.ones(2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: build_graph(SCENE, neighbours=0, **SIGMAS), "the number of neighbours must be 1 to 1000, got 0"),
        (lambda: build_graph(SCENE, **SIGMAS | {"sigma_space": 0.0}), "sigma_space must be positive"),
        (lambda: build_graph(SCENE, **SIGMAS | {"sigma_color": nan}), "sigma_color must be positive"),
        (lambda: build_graph(SCENE, **SIGMAS | {"sigma_feature": -1}), "sigma_feature must be positive"),
        (lambda: build_graph(SCENE, features=torch.zeros(4, 2), **SIGMAS), r"shape \(5, F\)"),
        (lambda: build_graph(SCENE, features=torch.zeros(5), **SIGMAS), r"shape \(5, F\)"),
        (lambda: build_graph(SCENE, features=torch.full((5, 2), nan), **SIGMAS), "features must be finite"),
        (lambda: build_graph(gaussians_at(torch.full((5, 3), nan)), **SIGMAS), "5 of 5 points are not finite"),
        (lambda: diffuse(torch.zeros(3, 2), GRAPH, 1), r"shape \(2, K\)"),
        (lambda: diffuse(torch.zeros(2), GRAPH, 1), r"shape \(2, K\)"),
        (lambda: diffuse(torch.zeros(2, 2, dtype=torch.int64), GRAPH, 1), "must be floats"),
        (lambda: diffuse(torch.zeros(2, 2, device="meta"), GRAPH, 1), "the features are on meta, the graph on cpu"),
        (lambda: diffuse(torch.zeros(2, 2), GRAPH, -1), "steps must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_a_card_gives_what_the_cpu_gives(generator):
    gaussians, features = cloud(generator, 500, 9)
    results = []
    for device in ("cpu", "cuda"):
        z = features.to(device).requires_grad_()
        out = diffuse(z, build_graph(gaussians.to(device), features=z, **SIGMAS), 3)
        results.append((out.cpu(), torch.autograd.grad(out.square().sum(), z)[0].cpu()))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
