import pytest
import torch
from kornia.metrics import ssim as kornia_ssim

from gsdff.losses import image_loss, ssim_map

SHAPES = [(1, 1), (2, 30), (40, 17), (11, 11), (64, 48)]


def draw(generator, *shape, dtype=torch.float32):
    return torch.rand(shape, generator=generator, dtype=dtype)


def test_the_loss_of_two_constant_images_is_what_the_formula_says():
    image, target = torch.full((32, 32, 3), 0.5), torch.full((32, 32, 3), 0.25)
    expected_ssim = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    torch.testing.assert_close(ssim_map(image, target)[16, 16], torch.full((3,), expected_ssim), rtol=1e-3, atol=0)
    result = image_loss(image, target, 0.2)
    assert float(result.l1) == pytest.approx(0.25)
    assert float(result.mse) == pytest.approx(0.0625)
    assert float(result.loss) == pytest.approx(0.8 * 0.25 + 0.2 * (1 - float(result.ssim)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_images_have_no_loss_and_no_gradient(generator, dtype):
    target = draw(generator, 20, 15, 3, dtype=dtype)
    image = target.clone().requires_grad_()
    result = image_loss(image, target, 0.2)
    result.loss.backward()
    assert float(result.loss.detach()) == pytest.approx(0, abs=1e-6)
    assert float(result.ssim) == pytest.approx(1, abs=1e-6)
    assert image.grad.abs().max() < 1e-8


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_is_kornias_with_black_beyond_the_borders(generator, shape):
    image, target = draw(generator, *shape, 3), draw(generator, *shape, 3)
    padded = [torch.nn.functional.pad(t.permute(2, 0, 1)[None], (5, 5, 5, 5)) for t in (image, target)]
    expected = kornia_ssim(*padded, window_size=11, eps=0.0, padding="valid")[0].permute(1, 2, 0)
    torch.testing.assert_close(ssim_map(image, target), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ssim_weight", [0.0, 0.2, 1.0])
def test_the_compiled_loss_and_its_gradient_are_those_of_the_float64_twin(generator, shape, ssim_weight):
    image, target = draw(generator, *shape, 3).requires_grad_(), draw(generator, *shape, 3)
    exact_image = image.detach().double().requires_grad_()
    compiled = image_loss(image, target, ssim_weight)
    exact = image_loss(exact_image, target.double(), ssim_weight)
    for name in ("loss", "l1", "ssim", "mse"):
        found, expected = getattr(compiled, name).detach(), getattr(exact, name).detach()
        assert float(found) == pytest.approx(float(expected), abs=2e-6), name
    (3 * compiled.loss).backward()
    (3 * exact.loss).backward()
    scale = exact_image.grad.abs().max()
    torch.testing.assert_close(image.grad.double() / scale, exact_image.grad / scale, rtol=0, atol=2e-5)


def test_the_twins_gradient_is_that_of_finite_differences(generator):
    image = draw(generator, 7, 6, 3, dtype=torch.float64).requires_grad_()
    target = image.detach() + 0.1 + draw(generator, 7, 6, 3, dtype=torch.float64)  # away from the kink of |x|
    assert torch.autograd.gradcheck(lambda x: image_loss(x, target, 0.2).loss, image)


def test_a_transposed_image_gives_the_loss_of_its_copy(generator):
    image, target = draw(generator, 24, 33, 3), draw(generator, 24, 33, 3)
    mirrored = image.transpose(0, 1).contiguous().transpose(0, 1)
    assert not mirrored.is_contiguous()
    assert image_loss(mirrored, target, 0.2).loss == image_loss(image, target, 0.2).loss


def test_the_number_of_threads_does_not_change_the_bits(generator):
    image, target = draw(generator, 45, 30, 3).requires_grad_(), draw(generator, 45, 30, 3)
    before = torch.get_num_threads()
    results = []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            result = image_loss(image, target, 0.2)
            results.append((result.loss.detach(), *torch.autograd.grad(result.loss, image)))
    finally:
        torch.set_num_threads(before)
    for loss, gradient in results[1:]:
        assert loss == results[0][0]
        assert torch.equal(gradient, results[0][1])


def test_nan_in_the_image_is_nan_in_the_loss(generator):
    image, target = draw(generator, 16, 16, 3), draw(generator, 16, 16, 3)
    image[3, 4, 1] = float("nan")
    assert image_loss(image, target, 0.2).loss.isnan()
