"""Features per thing: the teacher's answer for a whole thing over all views, given back to its Gaussians."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from gsdff.things.members import Things

ROUNDS = 100
"""Rounds of Weiszfeld's algorithm, which is slow if two places are nearly as good."""


def draw_thing_map(
    layers: Sequence[Int32[Tensor, "H W"]], owners: Sequence[Int32[Tensor, "_"]]
) -> Int32[Tensor, "H W"]:
    """The thing that a view's masks show in every pixel, by the first layer that has one; 0 for none."""
    things = torch.zeros_like(layers[0])
    for labels, owner in zip(layers, owners, strict=True):
        things = torch.where(things == 0, owner.to(labels.device)[labels.long()], things)
    return things


@dataclass
class ThingPool:
    """The teacher's mean features of each thing, view by view: add the views, then read `features`."""

    num_things: int
    means: list[Float[Tensor, "T K"]] = field(default_factory=list)
    weights: list[Float[Tensor, "T"]] = field(default_factory=list)

    def add(self, things: Int32[Tensor, "H W"], latents: Float[Tensor, "H W K"], weights: Float[Tensor, "H W"]) -> None:
        """Adds a view: the teacher's map with the weights of its pixels, and the thing of every pixel."""
        index = things.flatten().long()
        values = (latents * weights[..., None]).flatten(0, 1).double()
        sums = values.new_zeros(self.num_things + 1, values.shape[1]).index_add_(0, index, values)[1:]
        totals = values.new_zeros(self.num_things + 1).index_add_(0, index, weights.flatten().double())[1:]
        self.means.append((sums / totals.clamp_min(1e-12)[:, None]).float().cpu())
        self.weights.append(totals.float().cpu())

    def features(self, spread: float) -> tuple[Float[Tensor, "T K"], Bool[Tensor, "T"]]:
        """Feature of every thing, and whether any view has one.

        The geometric median of the views' means, each with the sum of its pixels' weights: views in which the teacher
        takes the thing for something else pull with a bounded force (Weiszfeld's algorithm). Distances below `spread`
        count as noise, of which the mean is taken; infinity takes the mean of all.
        """
        means, weights = torch.stack(self.means), torch.stack(self.weights)
        pull = weights
        for _ in range(ROUNDS + 1):
            total = pull.sum(0)
            median = (means * pull[..., None]).sum(0) / total.clamp_min(1e-12)[:, None]
            if spread == float("inf"):
                break
            pull = weights / ((means - median).square().sum(-1) + spread**2).sqrt()
        return median, weights.sum(0) > 0


def spread_features(
    things: Things,
    pooled: Float[Tensor, "T K"],
    is_known: Bool[Tensor, "T"],
    own: Float[Tensor, "N K"],
    *,
    sharpness: float,
    share: float,
) -> Float[Tensor, "N K"]:
    """Features of the Gaussians: the mean over their things by membership to the power `sharpness`.

    `share` of it stays the Gaussian's own; all of it if the Gaussian is in no thing.
    """
    members = things.members.long().to(own.device)
    known = torch.cat([is_known.new_zeros(1), is_known]).to(own.device)
    rows = torch.cat([pooled.new_zeros(1, pooled.shape[1]), pooled]).to(own)
    # relative to the largest, so that no power vanishes
    shares = things.shares.to(own) / things.shares[:, :1].to(own).clamp_min(1e-12)
    weights = shares.pow(sharpness) * known[members]
    totals = weights.sum(1)
    mixed = torch.zeros_like(own)
    for rank in range(members.shape[1]):
        mixed += (weights[:, rank] / totals.clamp_min(1e-12))[:, None] * rows[members[:, rank]]
    return torch.where((totals > 0)[:, None], torch.lerp(mixed, own, share), own)
