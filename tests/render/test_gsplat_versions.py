"""gsplat 1.5.3 and what follows it: the same renderings by both interfaces.

What follows is read from gsplat's main branch (gsplat/cuda/_wrapper.py after pull request 1025): tile lists may look at
ellipses, harmonics have no camera axis, and numbers of channels that are not compiled are refused.
"""

from collections.abc import Callable, Iterator

import gsplat
import pytest
import torch
from random_splats import random_splats, render
from torch import Tensor

from gsdff.render import cuda, rasterization


def isect_tiles(
    means2d: Tensor, radii: Tensor, depths: Tensor, tile_size: int, tile_width: int, tile_height: int,
    sort: bool = True, segmented: bool = False, packed: bool = False, n_images: int | None = None,
    image_ids: Tensor | None = None, gaussian_ids: Tensor | None = None, conics: Tensor | None = None,
    opacities: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Leaves out Gaussians whose alpha is below 1/255 everywhere, if it is told their ellipses."""
    assert conics.shape == (*means2d.shape[:-1], 3) and opacities.shape == means2d.shape[:-1]
    shown = radii * (opacities >= 1 / 255)[..., None]
    lists = gsplat.isect_tiles(means2d, shown, depths, tile_size, tile_width, tile_height)
    return lists


def spherical_harmonics(degrees_to_use: int, dirs: Tensor, coeffs: Tensor, masks: Tensor | None = None) -> Tensor:
    """Wants coefficients [N, K, D], whatever leads the directions."""
    assert coeffs.dim() == 3 and len(coeffs) == dirs.shape[-2]
    return gsplat.spherical_harmonics(degrees_to_use, dirs, coeffs.expand(*dirs.shape[:-2], -1, -1, -1), masks=masks)


def rasterize_to_pixels(
    means2d: Tensor, conics: Tensor, colors: Tensor, *rest: object, packed: bool = False, **options: object
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Fills up no channels."""
    if colors.shape[-1] not in (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512, 513):
        raise ValueError(f"Unsupported number of color channels: {colors.shape[-1]}")
    return gsplat.rasterize_to_pixels(means2d, conics, colors, *rest, **options)


NEWER = (isect_tiles, spherical_harmonics, rasterize_to_pixels)


@pytest.fixture(params=["1.5.3", "newer"])
def on_card(request, card, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """`rasterization` on the pretended card, by one interface of gsplat."""
    for function in NEWER if request.param == "newer" else ():
        monkeypatch.setattr(cuda, function.__name__, function)
    cuda.takes_ellipses.cache_clear()
    assert cuda.takes_ellipses() == (request.param == "newer")
    yield lambda **given: rasterization(**{k: x.cuda() if isinstance(x, Tensor) else x for k, x in given.items()})
    cuda.takes_ellipses.cache_clear()


@pytest.mark.parametrize("channels", [1, 6, 12, 33, 70])
def test_any_number_of_channels(on_card, channels):
    splats = random_splats(n=100, n_cameras=2, channels=channels).map(Tensor.float)
    expected, got = (
        render(call, splats, ("means", "colors"), lambda result: (torch.ones_like(result.renders), result.alphas * 0))
        for call in (rasterization, on_card)
    )
    torch.testing.assert_close(got.renders.cpu(), expected.renders, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.gradients["colors"].cpu(), expected.gradients["colors"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("degree", [0, 2])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_harmonics_of_two_cameras(on_card, degree, rasterize_mode):
    splats = random_splats(n=100, n_cameras=2, sh_degree=degree).map(Tensor.float)
    options = {"sh_degree": degree, "rasterize_mode": rasterize_mode}
    expected, got = (render(call, splats, **options) for call in (rasterization, on_card))
    torch.testing.assert_close(got.renders.cpu(), expected.renders, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.alphas.cpu(), expected.alphas, rtol=1e-4, atol=1e-5)


def test_tiles_that_a_faint_gaussian_would_have_are_left_out_where_gsplat_can(on_card):
    splats = random_splats(n=100).map(Tensor.float)
    splats = splats.replace(opacities=torch.where(torch.arange(100) < 50, splats.opacities, 1e-4))
    _, _, meta = on_card(**vars(splats))
    listed = meta["flatten_ids"].cpu().unique()
    assert (listed < 50).any()
    if cuda.takes_ellipses():
        assert (listed < 50).all()
