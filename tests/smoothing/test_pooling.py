"""Means over whole segments, and the share of a pixel's surroundings in its own segment."""

from math import ceil, exp

import pytest
import torch
from torch import Tensor

from gsdff.smoothing import purity, segment_blur, segment_mean, segment_shares


def scene(generator: torch.Generator, height: int = 9, width: int = 7, dtype: torch.dtype = torch.float64):
    """A map, and labels 0 (none) to 3 strewn over it, far from one another and side by side."""
    Z = torch.randn(height, width, 4, generator=generator, dtype=dtype)
    return Z, torch.randint(0, 4, (height, width), generator=generator, dtype=torch.int32)


def mean_by_loop(Z: Tensor, labels: Tensor) -> Tensor:
    """In float64, one pixel after another."""
    out = Z.double().clone()
    for y in range(Z.shape[0]):
        for x in range(Z.shape[1]):
            if labels[y, x] != 0:
                alike = [
                    Z[v, u].double()
                    for v in range(Z.shape[0])
                    for u in range(Z.shape[1])
                    if labels[v, u] == labels[y, x]
                ]
                out[y, x] = sum(alike) / len(alike)
    return out


def purity_by_loop(labels: Tensor, sigma: float) -> Tensor:
    """In float64, one pair after another."""
    (height, width), reach = labels.shape, ceil(2 * sigma)
    out = torch.ones(height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            own, everything = 0.0, 0.0
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    weight = exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2))
                    own, everything = own + weight * float(labels[v, u] == labels[y, x]), everything + weight
            if labels[y, x] != 0:
                out[y, x] = own / everything
    return out


def test_the_mean_of_two_segments_by_hand() -> None:
    Z = torch.tensor([[[1.0], [2.0], [6.0]], [[3.0], [50.0], [8.0]]])
    labels = torch.tensor([[1, 1, 9], [1, 0, 9]])
    assert segment_mean(Z, labels)[..., 0].tolist() == [[2, 2, 7], [2, 50, 7]]


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_the_mean_is_that_of_the_loop_over_pixels(generator: torch.Generator, dtype: torch.dtype, atol: float) -> None:
    Z, labels = scene(generator, dtype=dtype)
    found = segment_mean(Z, labels)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), mean_by_loop(Z, labels), rtol=0, atol=atol)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_may_be_integers_of_any_kind_and_any_size_that_masks_have(generator, kind: torch.dtype) -> None:
    Z, labels = scene(generator)
    expected = segment_mean(Z, labels)
    assert torch.equal(segment_mean(Z, labels.to(kind)), expected)
    if kind != torch.uint8:
        renamed = torch.where(labels == 2, 30_000, labels).to(kind)
        assert torch.equal(segment_mean(Z, renamed), expected)


def test_pixels_of_no_segment_come_back_as_they_are_and_so_does_their_gradient(generator: torch.Generator) -> None:
    Z, labels = scene(generator)
    Z.requires_grad_()
    outside = labels == 0
    assert outside.sum() > 5
    out = segment_mean(Z, labels)
    cotangent = torch.randn(Z.shape, generator=generator, dtype=Z.dtype)
    out.backward(cotangent)
    assert torch.equal(out[outside], Z[outside]) and torch.equal(Z.grad[outside], cotangent[outside])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_map_stays_as_it_is_however_large_its_segments(
    generator: torch.Generator, dtype: torch.dtype
) -> None:
    """A sum of 40,000 pixels in float32 would be off by 1e-4."""
    _, labels = scene(generator, 400, 310)
    constant = torch.tensor([0.0, -1.5, 1e-3, 100.0], dtype=dtype).expand(400, 310, 4)
    torch.testing.assert_close(segment_mean(constant, labels), constant, rtol=1e-6, atol=0)


def test_the_mean_of_the_mean_is_the_mean(generator: torch.Generator) -> None:
    Z, labels = scene(generator)
    once = segment_mean(Z, labels)
    torch.testing.assert_close(segment_mean(once, labels), once, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_leaks_from_one_label_to_another(generator: torch.Generator, dtype: torch.dtype) -> None:
    Z, labels = scene(generator, dtype=dtype)
    inside = labels == 2
    changed = torch.where(inside[..., None], Z, 1000 * torch.randn(Z.shape, generator=generator, dtype=dtype))
    changed.requires_grad_()
    before, after = segment_mean(Z, labels), segment_mean(changed, labels)
    assert torch.equal(after[inside], before[inside]) and not torch.isclose(before[inside], Z[inside]).all()
    after[inside].sum().backward()
    assert not changed.grad[~inside].any() and changed.grad[inside].all()


def test_the_gradient_is_that_of_finite_differences(generator: torch.Generator) -> None:
    Z, labels = scene(generator, 4, 3)
    assert torch.autograd.gradcheck(lambda Z: segment_mean(Z, labels), Z.requires_grad_())


def test_a_blur_without_an_end_is_the_mean(generator: torch.Generator) -> None:
    """A window over the whole map and a sigma 1000 times its size: weights are 1 but for 1e-6."""
    Z, labels = scene(generator)
    blurred = segment_blur(Z, labels, window=2 * 9 + 1, sigma=1e4)
    torch.testing.assert_close(segment_mean(Z, labels), blurred, rtol=0, atol=2e-6)
    nearer = segment_blur(Z, labels, window=2 * 9 + 1, sigma=3.0)
    assert (segment_mean(Z, labels) - nearer).abs().max() > 1e-2


def test_the_result_does_not_depend_on_strides(generator: torch.Generator) -> None:
    Z, labels = scene(generator)
    turned, turned_labels = Z.permute(2, 1, 0).contiguous().permute(2, 1, 0), labels.T.contiguous().T
    assert not turned.is_contiguous()
    assert torch.equal(segment_mean(turned, turned_labels), segment_mean(Z, labels))


def test_purity_is_that_of_the_loop_over_pairs(generator: torch.Generator) -> None:
    _, labels = scene(generator)
    labels = labels.repeat_interleave(2, 0)[:9]
    for sigma, lowest in ((0.4, 0.9), (1.3, 0.6)):
        expected = purity_by_loop(labels, sigma)
        assert expected.min() < lowest
        torch.testing.assert_close(purity(labels, sigma).double(), expected, rtol=0, atol=2e-6)


def test_purity_is_one_inside_and_about_a_half_at_a_straight_border() -> None:
    labels = torch.ones(41, 40, dtype=torch.int32)
    labels[:, 20:] = 2
    pure = purity(labels, 2.0)
    for inside in (pure[:, :16], pure[:, 24:]):  # farther than ceil(2 sigma) from the border
        torch.testing.assert_close(inside, torch.ones_like(inside))
    # The two columns at the border see their own side and, of the other, all but the pixel's own column.
    taps = [exp(-(shift**2) / 8) for shift in range(-4, 5)]
    expected = sum(taps[:5]) / sum(taps)
    assert pure[20, 19] == pytest.approx(expected) and pure[20, 20] == pytest.approx(expected)
    assert purity(labels, 8.0)[20, 19] == pytest.approx(0.5, abs=0.03)
    assert (pure[20, 15:20].diff() < 0).all()


def test_pixels_of_no_segment_are_pure() -> None:
    labels = torch.zeros(9, 9, dtype=torch.int32)
    labels[:, 4:] = 5
    pure = purity(labels, 1.5)
    assert pure[:, :4].eq(1).all() and pure[:, 4].max() < 0.8


def test_what_lies_outside_the_map_is_no_surroundings() -> None:
    torch.testing.assert_close(purity(torch.full((5, 3), 7), 2.0), torch.ones(5, 3))
    shares = segment_shares(torch.full((5, 3), 7), window=5, sigma=1.0)
    torch.testing.assert_close(shares, torch.ones(5, 3))


def test_only_a_pixel_itself_has_a_share_where_there_is_no_segment() -> None:
    shares = segment_shares(torch.zeros(1, 3, dtype=torch.int32), window=3, sigma=1.0)
    tap = exp(-0.5)
    torch.testing.assert_close(shares, torch.tensor([[1 / (1 + tap), 1 / (1 + 2 * tap), 1 / (1 + tap)]]))


Z = torch.zeros(4, 5, 2)
LABELS = torch.ones(4, 5, dtype=torch.int64)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: segment_mean(Z[0], LABELS), "feature map"),
        (lambda: segment_mean(Z.int(), LABELS), "feature map"),
        (lambda: segment_mean(Z, LABELS.T), "segments must be integers"),
        (lambda: segment_mean(Z, LABELS.float()), "segments must be integers"),
        (lambda: segment_mean(Z, LABELS[..., None]), "segments must be integers"),
        (lambda: purity(LABELS, 0.0), "sigma must be positive"),
        (lambda: segment_shares(LABELS, window=4, sigma=1.0), "window must be odd"),
    ],
)
def test_what_makes_no_sense_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_a_card_gives_what_the_cpu_gives(generator: torch.Generator) -> None:
    Z, labels = scene(generator, 40, 37, torch.float32)
    results = []
    for device in ("cpu", "cuda"):
        moved = Z.to(device).requires_grad_()
        out = segment_mean(moved, labels.to(device))
        (grad,) = torch.autograd.grad(out.square().sum(), moved)
        results.append((out.detach().cpu(), grad.cpu(), purity(labels.to(device), 2.0).cpu()))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
