"""Our Triton kernels by Triton's interpreter, against the float64 twin and the CPU rasteriser.

`test_feature_pass.py` runs this file in a process of its own, as the interpreter is chosen before Triton is imported.
"""

import pytest
import torch
from closeness import BAND, assert_close, assert_gradients_close, boundary_band
from random_splats import Splats, cotangents, random_splats, render
from test_unusual_splats import UNUSUAL, points
from tile_lists import list_pairs, project_splats

from gsdff.render import rasterization, reference
from gsdff.render.splats import TILE, PixelQuery
from gsdff.render.tensor_cores import blend_features, list_tiles, score_pixels

FORWARD = {"half": 1e-3, "float32": 1e-5}
"""Largest differences of renders, for values up to 1."""
PRECISIONS = tuple(FORWARD)


def assert_parity(splats: Splats, precision: str, **options: object) -> None:
    """Renders, alphas and gradients of features are those of the float64 twin; renders also those of the CPU."""
    splats = splats.map(lambda tensor: tensor.float().double())
    forward = render(reference.rasterization, splats, **options)
    band = boundary_band(forward.meta["margins"], BAND)
    cotangent = cotangents(forward, band)
    twin = render(reference.rasterization, splats, ("colors",), cotangent, **options)
    single = splats.map(torch.Tensor.float)
    cpu = render(rasterization, single, **options)
    tiles = list_tiles(project_splats(single, **options))
    features = single.colors.clone().requires_grad_()
    image, alpha = blend_features(tiles, features, precision)
    image.backward(cotangent[0][0].float())
    assert image.dtype == alpha.dtype == torch.float32 and not alpha.requires_grad
    for other in (twin, cpu):
        assert_close(image[None].detach(), other.renders, band=band, atol=FORWARD[precision])
        assert_close(alpha[None, ..., None], other.alphas, band=band, atol=1e-5)
    assert features.grad is not None
    assert_gradients_close(features.grad, twin.gradients["colors"], rtol=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("channels", [1, 3, 16, 33, 100])
def test_any_number_of_channels(channels, precision):
    assert_parity(random_splats(channels=channels), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 31), (48, 5)])
def test_any_size_of_image(size, precision):
    assert_parity(random_splats(channels=4, width=size[0], height=size[1]), precision)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("change", [*UNUSUAL, points], ids=lambda change: change.__name__)
def test_gaussians_out_of_the_ordinary(change, rasterize_mode):
    for precision in PRECISIONS:
        assert_parity(change(random_splats(seed=7)), precision, rasterize_mode=rasterize_mode)
