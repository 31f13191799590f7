"""Gaussians of noise, for files that must keep every bit."""

import torch

from gsdff.gaussians import Gaussians


def make_gaussians(num: int, degree: int = 3, num_features: int = 0, seed: int = 0) -> Gaussians:
    """Normally distributed values in all attributes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        means=draw(num, 3),
        quats=draw(num, 4),
        log_scales=draw(num, 3) - 3,
        logit_opacities=draw(num) + 2,
        sh0=draw(num, 1, 3),
        shN=draw(num, (degree + 1) ** 2 - 1, 3),
        features=draw(num, num_features) if num_features else None,
    )


def assert_same_bits(a: Gaussians, b: Gaussians) -> None:
    """Equal bit by bit, NaN among the values; `b` is as a reader gives it."""
    assert [name for name, _ in a.items()] == [name for name, _ in b.items()]
    for (name, x), (_, y) in zip(a.items(), b.items(), strict=True):
        assert x.shape == y.shape, name
        assert y.dtype == torch.float32 and y.is_contiguous(), name
        assert torch.equal(x.contiguous().view(torch.int32), y.view(torch.int32)), name
