import pytest
import torch

from gsdff.smoothing import total_variation


def draw(generator, *shape, dtype=torch.float32):
    return torch.randn(shape, generator=generator, dtype=dtype)


def brute_force(Z, segments=None):
    """The definition, pair by pair."""
    height, width, _ = Z.shape
    total = Z.new_zeros(())
    for y in range(height):
        for x in range(width):
            for below, right in ((y, x + 1), (y + 1, x)):
                inside = below < height and right < width
                if inside and (segments is None or segments[y, x] == segments[below, right]):
                    total = total + (Z[below, right] - Z[y, x]).abs().sum()
    return total / Z.numel()


def test_a_small_map_has_the_variation_found_by_hand():
    Z = torch.tensor([[0.0, 1.0], [3.0, 5.0]])[..., None]
    # across: 1 and 2; down: 3 and 4; four values
    assert float(total_variation(Z)) == pytest.approx(10 / 4)
    assert float(total_variation(torch.cat([Z, Z], dim=-1))) == pytest.approx(10 / 4)
    assert float(total_variation(Z, torch.tensor([[1, 1], [1, 2]]))) == pytest.approx((1 + 3) / 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_that_is_constant_in_each_segment_has_none(dtype):
    segments = torch.tensor([[1, 1, 2], [0, 1, 2], [0, 0, 0]])
    Z = torch.arange(3, dtype=dtype)[segments][..., None].repeat(1, 1, 5).requires_grad_()
    variation = total_variation(Z, segments)
    variation.backward()
    assert variation == 0 and not Z.grad.any()
    assert total_variation(Z.detach()) > 0


def test_a_step_across_a_border_changes_nothing(generator):
    segments = torch.ones(8, 9, dtype=torch.int32)
    segments[:, 4:] = 2
    Z = draw(generator, 8, 9, 3)
    raised = Z + 7 * (segments == 2)[..., None]
    torch.testing.assert_close(total_variation(raised, segments), total_variation(Z, segments))
    assert total_variation(raised) > total_variation(Z) + 0.5


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 6, 3), (7, 1, 1), (9, 8, 3), (40, 5, 32), (6, 7, 65)])
@pytest.mark.parametrize("with_segments", [False, True])
def test_both_implementations_and_their_gradients_are_those_of_the_loop_over_pairs(generator, shape, with_segments):
    exact = draw(generator, *shape, dtype=torch.float64).requires_grad_()
    segments = torch.randint(0, 3, shape[:2], generator=generator) if with_segments else None
    expected = brute_force(exact, segments)
    expected_grad = torch.autograd.grad(3 * expected, exact)[0] if expected.requires_grad else torch.zeros(shape)
    for dtype, atol in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        Z = exact.detach().to(dtype).requires_grad_()
        found = total_variation(Z, segments)
        (3 * found).backward()
        assert found.dtype == dtype
        assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=atol)
        torch.testing.assert_close(Z.grad.double(), expected_grad.double(), rtol=0, atol=atol)


@pytest.mark.parametrize("with_segments", [False, True])
def test_the_gradient_is_that_of_finite_differences(generator, with_segments):
    # steps of one or more between all values: away from the kink of |x|
    Z = torch.randperm(60, generator=generator).double().view(5, 4, 3).requires_grad_()
    segments = torch.randint(0, 2, (5, 4), generator=generator) if with_segments else None
    assert torch.autograd.gradcheck(lambda Z: total_variation(Z, segments), Z)


def test_the_result_does_not_depend_on_threads_or_strides(generator):
    Z, segments = draw(generator, 70, 33, 5), torch.randint(0, 2, (70, 33), generator=generator)
    strided = Z.permute(2, 1, 0).contiguous().permute(2, 1, 0).requires_grad_()
    assert not strided.is_contiguous()
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            variation = total_variation(strided, segments.T.contiguous().T)
            results.append((variation, torch.autograd.grad(variation, strided)[0]))
    finally:
        torch.set_num_threads(threads)
    assert results[0][0] == results[1][0] == total_variation(Z, segments)
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("Z", "segments", "complaint"),
    [
        (torch.zeros(4, 5), None, "feature map"),
        (torch.zeros(4, 5, 2, dtype=torch.int32), None, "feature map"),
        (torch.zeros(4, 5, 2), torch.zeros(5, 4, dtype=torch.int32), "segments must be integers"),
        (torch.zeros(4, 5, 2), torch.zeros(4, 5), "segments must be integers"),
    ],
)
def test_what_makes_no_sense_is_refused(Z, segments, complaint):
    with pytest.raises(ValueError, match=complaint):
        total_variation(Z, segments)
