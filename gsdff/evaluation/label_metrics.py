"""Metrics beside mean IoU: boundaries, speckles, smoothness of features, consistency between views.

A label map holds indices of classes, and `VOID` for pixels without a label. Views add up: the score of several views is
the score of all their pixels, pairs or points together, not a mean of means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Integer, UInt8
from scipy import ndimage
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.scene import VOID

SPECKLE_AREA = 50
"""Area in pixels below which a connected component is a speckle."""
KEPT_SHARE = 0.5
"""Least part of the teacher's margin that counts as kept."""
DEPTH_TOLERANCE = 0.02
"""Largest distance of a visible point from the rendered surface along the view axis, as a share of the depth."""
MIN_ALPHA = 0.5
"""Least alpha of a pixel that shows a surface."""


@dataclass(frozen=True)
class Mean:
    """A mean as sum and count, so that means add up."""

    total: float = 0.0
    count: int = 0

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """The mean; NaN if nothing was counted."""
        return self.total / self.count if self.count else float("nan")


def agreement(predicted: Integer[Tensor, "*S"], reference: Integer[Tensor, "*S"]) -> Mean:
    """Share of equal labels among the pixels that have a label in the reference; a missing prediction never agrees."""
    _check_size(predicted, reference.shape)
    is_labelled = reference != VOID
    return Mean(int((predicted == reference)[is_labelled].sum()), int(is_labelled.sum()))


def boundary_distance(ids: Integer[Tensor, "H W"], *, void: int = VOID) -> Float[Tensor, "H W"]:
    """Euclidean distance in pixels from the centre of every pixel to the nearest boundary; inf if there is none.

    Boundaries are the points midway between two 4-neighbouring pixels of different ids, neither of them `void`: an
    object need not end at unlabelled pixels. Pixels along a straight boundary are at 0.5, 1.5, ..., so `<= r` is a band
    of r pixels on either side of it.
    """
    height, width = ids.shape
    pixels = ids.cpu().numpy()
    labelled = pixels != void
    # a grid twice as fine has cells for the points between pixels: pixels are at even indices, points at odd ones
    is_boundary = np.zeros((2 * height - 1, 2 * width - 1), dtype=bool)
    is_boundary[1::2, ::2] = (pixels[1:] != pixels[:-1]) & labelled[1:] & labelled[:-1]
    is_boundary[::2, 1::2] = (pixels[:, 1:] != pixels[:, :-1]) & labelled[:, 1:] & labelled[:, :-1]
    if not is_boundary.any():
        return torch.full((height, width), torch.inf)
    distance = np.asarray(ndimage.distance_transform_edt(~is_boundary))[::2, ::2] / 2
    return torch.from_numpy(distance).float()


def speckles(labels: Integer[Tensor, "H W"], *, min_area: int = SPECKLE_AREA) -> Mean:
    """Share of pixels in 4-connected components of equal labels with fewer than `min_area` pixels.

    VOID is a label like any other here: a pinhole in a label map is a speckle too.
    """
    pixels = labels.cpu().numpy()
    in_speckles = 0
    components = np.empty(pixels.shape, dtype=np.int32)
    for label in np.unique(pixels):
        ndimage.label(pixels == label, output=components)
        areas = np.bincount(components.ravel())[1:]
        in_speckles += int(areas[areas < min_area].sum())
    return Mean(in_speckles, labels.numel())


def gradient_energy(features: Float[Tensor, "H W K"], segments: Integer[Tensor, "H W"], *, none: int) -> Mean:
    """Mean of ‖û_p - û_q‖² over the pairs of 4-neighbouring pixels p, q inside one segment; in [0, 4].

    û is the feature at unit length, so that short features do not count as smooth. Pixels of the segment `none`, and
    pixels whose feature is zero, form no pairs. Latents z give the same value as B z.
    """
    _check_size(segments, features.shape[:2])
    unit = F.normalize(features, dim=-1)
    is_part = (segments != none) & features.any(-1)
    energy = Mean()
    for axis in (0, 1):
        first, second = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        is_pair = is_part[first] & is_part[second] & (segments[first] == segments[second])
        squares = (unit[first] - unit[second]).square().sum(-1)[is_pair]
        energy += Mean(float(squares.double().sum()), len(squares))
    return energy


def text_margin(cosines: Float[Tensor, "H W Q"], labels: UInt8[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Lead of the right text: its cosine minus the largest of the others; NaN for pixels without a label."""
    best, texts = cosines.topk(2, dim=-1)
    right = cosines.gather(-1, labels.long().clamp_max(cosines.shape[-1] - 1)[..., None])[..., 0]
    margin = right - torch.where(texts[..., 0] == labels, best[..., 1], best[..., 0])
    return margin.masked_fill(labels == VOID, torch.nan)


def margin_kept(margin: Float[Tensor, "*S"], reference: Float[Tensor, "*S"], *, share: float = KEPT_SHARE) -> Mean:
    """Share of pixels that keep so much of the reference's margin, of those where the reference has one."""
    _check_size(margin, reference.shape)
    leads = reference > 0
    return Mean(int((margin >= share * reference)[leads].sum()), int(leads.sum()))


def visible_pixels(
    points: Float[Tensor, "P 3"],
    camera: Camera,
    depth: Float[Tensor, "H W"],
    alpha: Float[Tensor, "H W"],
    *,
    tolerance: float = DEPTH_TOLERANCE,
) -> Int[Tensor, "P"]:
    """Index y · W + x of the pixel in which each point is visible, -1 if it is not.

    A point is visible if it projects into the image, its pixel is covered (alpha of `MIN_ALPHA` or more), and its depth
    differs from the rendered depth by at most `tolerance` times that depth.
    """
    _check_size(depth, (camera.height, camera.width))
    _check_size(alpha, depth.shape)
    in_camera = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    z = in_camera[:, 2]
    x, y = ((in_camera @ camera.K.T)[:, :2] / z.clamp_min(1e-6)[:, None]).unbind(-1)
    is_inside = (z > 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    x, y = (torch.where(is_inside, place, 0).long() for place in (x, y))
    pixels = y * camera.width + x
    surface = depth.flatten()[pixels]
    is_surface = ((z - surface).abs() <= tolerance * surface) & (alpha.flatten()[pixels] >= MIN_ALPHA)
    return torch.where(is_inside & is_surface, pixels, -1)


def view_consistency(labels: UInt8[Tensor, "V P"], visible: Bool[Tensor, "V P"]) -> Mean:
    """Mean probability that two views label a point the same, over the points visible in at least two views.

    For a point visible in n views, n_c of which label it c: Σ_c n_c (n_c - 1) / (n (n - 1)). VOID is a label like any
    other here.
    """
    _check_size(labels, visible.shape)
    agreeing = torch.zeros(visible.shape[1], dtype=torch.long)
    for label in labels[visible].unique():
        num_views = ((labels == label) & visible).sum(0)
        agreeing += num_views * (num_views - 1)
    num_views = visible.sum(0)
    counts = num_views >= 2
    shares = agreeing[counts] / (num_views * (num_views - 1))[counts].double()
    return Mean(float(shares.sum()), int(counts.sum()))


def _check_size(tensor: Tensor, size: tuple[int, ...]) -> None:
    if tensor.shape != torch.Size(size):
        raise ValueError(f"expected two tensors of the same size, got {tuple(tensor.shape)} and {tuple(size)}")
