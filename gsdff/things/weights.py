"""Weights of Gaussians in masks: how much of every mask each Gaussian shows, sparse, view by view."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from gsdff.cameras import Camera

MIN_SHARE = 0.05
"""Share of what a view shows of a Gaussian below which a mask's part of it is left out."""
MIN_PIXELS = 0.05
"""Least weight, in pixels, of a Gaussian that a view shows; fainter ones shine through something else."""
CHANNELS = 32
"""Masks whose weights are computed in one rendering pass."""

Render = Callable[[Float[Tensor, "N D"], Camera], Float[Tensor, "H W D"]]
"""Rendering of values of the Gaussians, linear in them."""


@dataclass(frozen=True)
class ViewMasks:
    """Masks of one view: one or several partitions of its pixels, such as parts and wholes."""

    camera: Camera
    layers: Sequence[Int32[Tensor, "H W"]]
    """Label maps, 0 for no mask; ids mean nothing in another layer or view."""


@dataclass(frozen=True)
class Layer:
    """Weights of the Gaussians in the masks of one label map of one view; E entries, by rising Gaussian."""

    view: int
    """Number of the view, in the order of the input."""
    rows: Int32[Tensor, "E"]
    """Gaussians."""
    masks: Int32[Tensor, "E"]
    """Labels of the map, 0 for pixels without a mask."""
    weights: Float[Tensor, "E"]
    """Σ_p w_ip over the pixels of the mask."""
    num_labels: int
    """Largest label + 1."""

    def totals(self, num_gaussians: int) -> Float[Tensor, "N"]:
        """What the view shows of each Gaussian, in pixels."""
        return torch.zeros(num_gaussians).index_add_(0, self.rows.long(), self.weights)

    def dominant(self, totals: Float[Tensor, "N"], min_share: float = 0.6) -> Int64[Tensor, "N"]:
        """The mask that shows most of each Gaussian; 0 if it is unseen or without a mask, -1 if several masks share it.

        They share it if none has `min_share` of what the view shows of it, its `totals`.
        """
        is_main = self.weights >= min_share * totals[self.rows.long()]
        labels = torch.where(totals > 0, -1, 0)
        labels[self.rows[is_main].long()] = self.masks[is_main].long()
        return labels


@dataclass(frozen=True)
class MaskWeights:
    """Weights of N Gaussians in the masks of all views; memory grows with what the views see."""

    num_gaussians: int
    num_views: int
    layers: Sequence[Layer]

    @property
    def visible(self) -> Float[Tensor, "N"]:
        """Weight of each Gaussian in all views, in pixels."""
        return sum((layer.totals(self.num_gaussians) for layer in self.layers), torch.zeros(self.num_gaussians))


def collect_weights(render: Render, views: Iterable[ViewMasks], num_gaussians: int) -> MaskWeights:
    """Computes the weights: Σ_p w_ip over a mask's pixels is the gradient of ⟨render(z), mask⟩ (`training.lift`)."""
    layers, number = [], -1
    for number, view in enumerate(views):
        for labels in view.layers:
            layers.append(_weigh(render, view.camera, labels, number, num_gaussians))
    return MaskWeights(num_gaussians, number + 1, layers)


def _weigh(render: Render, camera: Camera, labels: Int32[Tensor, "H W"], view: int, num_gaussians: int) -> Layer:
    # the labels that occur, so that gaps between ids cost nothing; 0 always does
    present = torch.cat([labels.new_zeros(1), labels.flatten()]).unique()
    index = torch.searchsorted(present, labels)
    totals, entries = torch.zeros(num_gaussians, device=labels.device), []
    for start in range(0, len(present), CHANNELS):
        stop = min(start + CHANNELS, len(present))
        one_hot = (index[..., None] == torch.arange(start, stop, device=index.device)).float()
        values = torch.zeros(num_gaussians, stop - start, device=labels.device, requires_grad=True)
        (gradient,) = torch.autograd.grad(render(values, camera), values, one_hot)
        totals += gradient.sum(dim=1)
        # few masks show a Gaussian: a table of all of them would grow with both
        rows, masks = (gradient > 0).nonzero(as_tuple=True)
        entries.append((rows, start + masks, gradient[rows, masks]))
    rows, masks, weights = (torch.cat(column) for column in zip(*entries, strict=True))
    kept = (weights >= MIN_SHARE * totals[rows]) & (totals[rows] >= MIN_PIXELS)
    order = rows[kept].argsort(stable=True)
    rows, masks, weights = (column[kept][order] for column in (rows, masks, weights))
    return Layer(view, rows.int().cpu(), present[masks].int().cpu(), weights.cpu(), int(present[-1]) + 1)
