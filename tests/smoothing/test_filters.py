"""The filters against their definition: a loop over pixels and neighbours."""

from math import exp

import pytest
import torch
from kornia import filters as kornia_filters

from gsdff.smoothing import bilateral_blur, cpu, gaussian_blur, segment_blur, torch_filters

SIGMA, SIGMA_RANGE = 1.3, 1.7
SHAPES = [(1, 1, 3), (3, 2, 65), (1, 7, 1), (6, 9, 3), (9, 6, 32)]
FILTERS = ["segment", "bilateral", "joint", "gaussian"]


def draw(generator, *shape, dtype=torch.float32):
    return torch.randn(shape, generator=generator, dtype=dtype)


def scene(generator, shape, dtype=torch.float64):
    """A map, its labels in three patches and a few odd pixels, and a guide."""
    height, width, _ = shape
    segments = (torch.arange(width) * 3 // width).expand(height, width).contiguous()
    odd = torch.rand(height, width, generator=generator) < 0.2
    return draw(generator, *shape, dtype=dtype), torch.where(odd, 7, segments), draw(generator, height, width, 2)


def smooth(name, Z, segments, guide, window):
    if name == "segment":
        return segment_blur(Z, segments, window=window, sigma=SIGMA)
    if name == "gaussian":
        return gaussian_blur(Z, window=window, sigma=SIGMA)
    guide = guide if name == "joint" else None
    return bilateral_blur(Z, guide, window=window, sigma_space=SIGMA, sigma_range=SIGMA_RANGE)


def brute_force(name, Z, segments, guide, window):
    """Σ_q w_pq Z_q / Σ_q w_pq, one pair after another; autograd finds the gradient."""
    height, width, _ = Z.shape
    reach = window // 2
    guide = (guide if name == "joint" else Z).detach().double()
    rows = []
    for y in range(height):
        for x in range(width):
            total, norm = 0, 0
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    weight = exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * SIGMA**2))
                    if name in ("bilateral", "joint"):
                        distance = float((guide[y, x] - guide[v, u]).square().sum())
                        weight *= exp(-distance / (2 * SIGMA_RANGE**2))
                    elif name == "segment" and (v, u) != (y, x):
                        weight *= float(segments[y, x] == segments[v, u] != 0)
                    total, norm = total + weight * Z[v, u], norm + weight
            rows.append(total / norm)
    return torch.stack(rows).view(Z.shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [3, 7])
@pytest.mark.parametrize("name", FILTERS)
def test_both_implementations_and_their_gradients_are_those_of_the_loop_over_pairs(generator, name, window, shape):
    exact, segments, guide = scene(generator, shape)
    exact = exact.requires_grad_()
    cotangent = draw(generator, *shape, dtype=torch.float64)
    expected = brute_force(name, exact, segments, guide, window)
    (expected_grad,) = torch.autograd.grad(expected, exact, cotangent)
    for dtype, atol in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        Z = exact.detach().to(dtype).requires_grad_()
        found = smooth(name, Z, segments, guide, window)
        found.backward(cotangent.to(dtype))
        assert found.dtype == Z.grad.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=atol)
        torch.testing.assert_close(Z.grad.double(), expected_grad, rtol=0, atol=atol)


@pytest.mark.parametrize("shape", [(40, 37, 1), (21, 50, 3), (50, 21, 32), (35, 18, 65)])
@pytest.mark.parametrize("window", [5, 11, 61])
def test_the_kernels_give_the_sums_of_the_torch_path(generator, window, shape):
    Z, segments, guide = scene(generator, shape, torch.float32)
    for reference in (None, segments, guide, Z):
        exact = reference if reference is segments or reference is None else reference.double()
        expected = torch_filters.weighted_sums(Z.double(), exact, window, 2.5, 2.0)
        for found, wanted in zip(cpu.weighted_sums(Z, reference, window, 2.5, 2.0), expected, strict=True):
            scale = float(wanted.abs().max())
            torch.testing.assert_close(found.double() / scale, wanted / scale, rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_the_gradient_is_that_of_finite_differences(generator, name):
    Z, segments, guide = scene(generator, (4, 5, 2))
    if name == "bilateral":  # its weights are constants to the gradient, so they must not move with Z
        name, guide = "joint", Z.clone()
    assert torch.autograd.gradcheck(lambda Z: smooth(name, Z, segments, guide, 3), Z.requires_grad_())


def test_no_gradient_passes_through_the_weights(generator):
    Z, _, guide = scene(generator, (6, 5, 3), torch.float32)
    Z.requires_grad_()
    guide.requires_grad_()
    own = bilateral_blur(Z, window=5, sigma_space=SIGMA, sigma_range=SIGMA_RANGE)
    fixed = bilateral_blur(Z, Z.detach(), window=5, sigma_space=SIGMA, sigma_range=SIGMA_RANGE)
    assert torch.equal(own, fixed)
    assert torch.equal(*(torch.autograd.grad(out.square().sum(), Z)[0] for out in (own, fixed)))
    bilateral_blur(Z, guide, window=5, sigma_space=SIGMA, sigma_range=SIGMA_RANGE).sum().backward()
    assert guide.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FILTERS)
def test_a_constant_map_stays_as_it_is(generator, name, dtype):
    Z, segments, guide = scene(generator, (20, 15, 5), dtype)
    constant = torch.tensor([0.0, -1.5, 3.0, 1e-3, 100.0], dtype=dtype).expand_as(Z)
    torch.testing.assert_close(smooth(name, constant, segments, guide, 9), constant, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_leaks_across_the_border_of_a_segment(generator, dtype):
    Z, segments, _ = scene(generator, (20, 15, 5), dtype)
    elsewhere = (segments != 1)[..., None]
    changed = torch.where(elsewhere, 1000 * draw(generator, 20, 15, 5, dtype=dtype), Z).requires_grad_()
    before, after = (segment_blur(z, segments, window=7, sigma=SIGMA) for z in (Z, changed))
    inside = (~elsewhere).expand_as(Z)
    assert torch.equal(after[inside], before[inside])
    assert not torch.allclose(before[inside], Z[inside])
    after[inside].sum().backward()
    assert not changed.grad[~inside].any() and changed.grad[inside].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_of_no_segment_come_back_as_they_are(generator, dtype):
    Z = draw(generator, 12, 9, 4, dtype=dtype).requires_grad_()
    segments = torch.zeros(12, 9, dtype=torch.int32)
    segments[:, 5:] = -3  # a label like any other
    out = segment_blur(Z, segments, window=5, sigma=SIGMA)
    assert torch.equal(out[:, :5], Z[:, :5]) and not torch.isclose(out[:, 5:], Z[:, 5:]).any()
    (grad,) = torch.autograd.grad(out.sum(), Z)
    assert torch.equal(grad[:, :5], torch.ones_like(grad[:, :5]))


def test_one_segment_for_all_is_the_plain_blur(generator):
    Z = draw(generator, 20, 15, 3)
    everywhere = torch.full((20, 15), 2**40)  # a label beyond 32 bits
    blurred = gaussian_blur(Z, window=7, sigma=SIGMA)
    torch.testing.assert_close(segment_blur(Z, everywhere, window=7, sigma=SIGMA), blurred, rtol=0, atol=2e-6)
    wide = bilateral_blur(Z, window=7, sigma_space=SIGMA, sigma_range=1e6)
    torch.testing.assert_close(wide, blurred, rtol=0, atol=2e-6)


def test_a_narrow_range_keeps_an_edge_that_the_plain_blur_smears(generator):
    Z = 0.01 * draw(generator, 20, 16, 3)
    Z[:, 8:] += 1
    kept = bilateral_blur(Z, window=7, sigma_space=2, sigma_range=0.1)
    torch.testing.assert_close(kept[:, 8:].mean() - kept[:, :8].mean(), torch.tensor(1.0), rtol=0, atol=0.02)
    assert (kept[:, 8] - kept[:, 7]).min() > 0.95
    assert (gaussian_blur(Z, window=7, sigma=2)[:, 8] - gaussian_blur(Z, window=7, sigma=2)[:, 7]).max() < 0.3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma_range", [1e-30, 1e-3, 1e15])
def test_a_range_of_any_size_gives_finite_results(generator, sigma_range, dtype):
    Z = draw(generator, 6, 5, 3, dtype=dtype)
    Z[2] = Z[3]
    out = bilateral_blur(Z, window=3, sigma_space=SIGMA, sigma_range=sigma_range)
    assert out.isfinite().all()
    if sigma_range < 1e-2:  # only equal neighbours count
        torch.testing.assert_close(out, Z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FILTERS)
def test_a_window_of_one_is_the_identity(generator, name, dtype):
    Z, segments, guide = scene(generator, (18, 7, 3), dtype)
    assert torch.equal(smooth(name, Z, segments, guide, 1), Z)


@pytest.mark.parametrize("name", FILTERS)
def test_the_result_does_not_depend_on_threads_or_strides(generator, name):
    Z, segments, guide = scene(generator, (70, 33, 5), torch.float32)
    strided = Z.permute(2, 1, 0).contiguous().permute(2, 1, 0).requires_grad_()
    assert not strided.is_contiguous()
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3, 4):
            torch.set_num_threads(count)
            out = smooth(name, strided, segments.T.contiguous().T, guide, 9)
            results.append((out, torch.autograd.grad(out.sum(), strided)[0]))  # a cotangent without strides
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], smooth(name, Z, segments, guide, 9))
    for out, grad in results[1:]:
        assert torch.equal(out, results[0][0]) and torch.equal(grad, results[0][1])


@pytest.mark.parametrize("num_channels", [1, 3])
def test_the_interior_is_kornias(generator, num_channels):
    """Its borders are reflected, ours do not count; where the window is inside, the definitions are the same."""
    Z, _, guide = scene(generator, (24, 20, num_channels), torch.float32)
    window, interior = 7, (slice(3, -3), slice(3, -3))
    batched, batched_guide = Z.permute(2, 0, 1)[None], guide.permute(2, 0, 1)[None]
    sigmas = {"sigma_color": SIGMA_RANGE, "sigma_space": (SIGMA, SIGMA), "color_distance_type": "l2"}
    expected = {
        "bilateral": kornia_filters.bilateral_blur(batched, window, **sigmas),
        "joint": kornia_filters.joint_bilateral_blur(batched, batched_guide, window, **sigmas),
        "gaussian": kornia_filters.gaussian_blur2d(batched, window, (SIGMA, SIGMA)),
    }
    for name, wanted in expected.items():
        found = smooth(name, Z, None, guide, window)[interior]
        torch.testing.assert_close(found, wanted[0].permute(1, 2, 0)[interior], rtol=0, atol=1e-5)


Z = torch.zeros(4, 5, 2)
LABELS = torch.ones(4, 5, dtype=torch.int64)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: gaussian_blur(Z, window=4, sigma=1.0), "window must be odd"),
        (lambda: gaussian_blur(Z, window=-1, sigma=1.0), "window must be odd"),
        (lambda: gaussian_blur(Z, window=3, sigma=0.0), "sigma must be positive"),
        (lambda: segment_blur(Z, LABELS, window=3, sigma=float("nan")), "sigma must be positive"),
        (lambda: segment_blur(Z, LABELS.T, window=3, sigma=1.0), "segments must be integers"),
        (lambda: segment_blur(Z, LABELS.float(), window=3, sigma=1.0), "segments must be integers"),
        (lambda: segment_blur(Z[0], LABELS, window=3, sigma=1.0), "feature map"),
        (lambda: bilateral_blur(Z.int(), window=3, sigma_space=1.0, sigma_range=1.0), "feature map"),
        (lambda: bilateral_blur(Z, window=3, sigma_space=-1.0, sigma_range=1.0), "sigma_space must be positive"),
        (lambda: bilateral_blur(Z, window=3, sigma_space=1.0, sigma_range=0.0), "sigma_range must be positive"),
        (lambda: bilateral_blur(Z, Z[:3], window=3, sigma_space=1.0, sigma_range=1.0), "guide must be floats"),
        (lambda: bilateral_blur(Z, LABELS, window=3, sigma_space=1.0, sigma_range=1.0), "guide must be floats"),
    ],
)
def test_what_makes_no_sense_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("name", FILTERS)
def test_a_card_gives_what_the_cpu_gives(generator, name):
    Z, segments, guide = scene(generator, (40, 37, 33), torch.float32)
    results = []
    for device in ("cpu", "cuda"):
        moved = Z.detach().to(device).requires_grad_()
        out = smooth(name, moved, segments.to(device), guide.to(device), 11)
        results.append((out.cpu(), torch.autograd.grad(out.square().sum(), moved)[0].cpu()))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
