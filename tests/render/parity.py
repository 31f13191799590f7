"""The rasteriser against the slow float64 reference, forward and backward, under random cotangents."""

import torch
from closeness import assert_close, assert_gradients_close, boundary_band
from random_splats import DIFFERENTIABLE, Result, Splats, cotangents, render

from gsdff.render import rasterization, reference

EVERYTHING = (*DIFFERENTIABLE, "viewmats")


def assert_parity(splats: Splats, wanted: tuple[str, ...] = EVERYTHING, **options: object) -> Result:
    """Checks renders, alphas and all wanted gradients; returns the reference's result."""
    splats = splats.map(lambda tensor: tensor.float().double())  # both precisions start from the same numbers
    forward = render(reference.rasterization, splats, **options)
    band = boundary_band(forward.meta["margins"])
    assert band.double().mean() < 0.25, "hardly a pixel is compared tightly"
    cotangent = cotangents(forward, band)
    twin = render(reference.rasterization, splats, wanted, cotangent, **options)
    fast = render(rasterization, splats.map(torch.Tensor.float), wanted, cotangent, **options)
    assert fast.renders.dtype == fast.alphas.dtype == torch.float32
    assert_close(fast.renders, twin.renders, band=band)
    assert_close(fast.alphas, twin.alphas, band=band)
    for name, expected in twin.gradients.items():
        assert_gradients_close(fast.gradients[name], expected, name)
    return twin
