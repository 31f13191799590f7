"""The hole that a deleted thing leaves in the training views, and what shows there alone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.gaussians import Gaussians
from gsdff.render import render_features

SURVEY_SIDE = 640
"""Most pixels along the longer side of the pictures that are looked at."""
LEAST_SHOWN = 0.05
"""Share of a pixel that the thing fills, from which the pixel is in the hole: no evidence of anything else."""
MARGIN = 2
"""Pixels around those of the thing that are in the hole too: photos mix them with the thing's colours."""
LEAST_SUPPORT = 0.1
"""Weight of a Gaussian beside the thing, as a share of that where the thing was, from which it has support."""
ROUNDS = 5
"""Most rounds of removing what has no support: each shows what was behind it."""


def shrink_cameras(cameras: Sequence[Camera], device: torch.device) -> list[Camera]:
    """The cameras on a device, with pictures of at most `SURVEY_SIDE` pixels a side."""
    shrunk = []
    for camera in cameras:
        scale = min(1.0, SURVEY_SIDE / max(camera.width, camera.height))
        small = camera.resized(max(1, round(scale * camera.width)), max(1, round(scale * camera.height)))
        shrunk.append(small.to(device))
    return shrunk


@torch.no_grad()
def find_shares(gaussians: Gaussians, mask: Bool[Tensor, "N"], cameras: Sequence[Camera]) -> list[Float[Tensor, "H W"]]:
    """Share of every pixel of every view that the selection fills."""
    selected = mask[:, None].float()
    return [render_features(gaussians, camera, features=selected).image[..., 0].clamp(0, 1) for camera in cameras]


def find_hole(share: Float[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Pixels of a view that show the selection, and those around them."""
    return widen(share > LEAST_SHOWN, MARGIN)


def widen(pixels: Bool[Tensor, "H W"], margin: int) -> Bool[Tensor, "H W"]:
    """The pixels, and those at most so many columns and rows away."""
    return F.max_pool2d(pixels[None].float(), 2 * margin + 1, stride=1, padding=margin)[0] > 0


def find_unsupported(
    gaussians: Gaussians, cameras: Sequence[Camera], shares: Sequence[Float[Tensor, "H W"]]
) -> Bool[Tensor, "N"]:
    """Gaussians that show where the thing was and hardly anywhere else, so that no photo is evidence of them.

    They are leftovers of the thing, what training put inside it, and what it stands on. `gaussians` are without the
    thing, `shares` those that it filled.
    """
    found = torch.zeros(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
    for _ in range(ROUNDS):
        inside, outside = weigh(gaussians, ~found, cameras, shares).unbind(-1)
        is_unsupported = outside < LEAST_SUPPORT * inside
        if not is_unsupported.any():
            break
        found |= is_unsupported
    return found


def weigh(
    gaussians: Gaussians, mask: Bool[Tensor, "N"], cameras: Sequence[Camera], shares: Sequence[Float[Tensor, "H W"]]
) -> Float[Tensor, "N 2"]:
    """Blending weights of Gaussians in the parts of pixels that the thing filled and in the others, over all views.

    The scene is that of the masked ones alone; the others have 0.
    """
    left = gaussians.map(lambda tensor: tensor[mask])
    # they are the gradients of what a feature of every Gaussian adds to the pictures
    features = torch.zeros(len(left), 2, device=mask.device, requires_grad=True)
    for camera, share in zip(cameras, shares, strict=True):
        image = render_features(left, camera, features=features).image
        hidden = (share / LEAST_SHOWN).clamp_max(1)
        image.backward(torch.stack([hidden, 1 - hidden], -1))
    assert features.grad is not None, "there are views"
    weights = torch.zeros(len(gaussians), 2, device=mask.device)
    weights[mask] = features.grad
    return weights
