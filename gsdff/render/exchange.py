"""Exchange of projected splats between ranks, through which gradients flow back (Grendel, Zhao et al. 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gsdff.ranks import Ranks


@dataclass(eq=False)
class Link:
    """The projected means on both sides of an exchange, whose `absgrad` is no gradient and is carried back beside it.

    Rasterisers set it as an attribute of the means that they blend (`gsplat.strategy.DefaultStrategy` reads it).
    """

    ranks: Ranks
    sent: Tensor
    """Means [V, 2] of this rank's Gaussians, in the cameras of all ranks."""
    blended: list[Tensor] = field(default_factory=list)
    """Means [1, M, 2] in this rank's camera; empty if nobody wants their `absgrad`."""


class Exchange(torch.autograd.Function):
    """Sends rows to the ranks whose cameras see them; the backward pass sends the gradients of those that came back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Sequence[int], link: Link) -> Tensor:
        """The rows [M, C] that came, of [V, C] of which `counts` go to each rank."""
        came, num_came = link.ranks.trade(rows, counts)
        ctx.sizes, ctx.link = (counts, num_came), link
        return came

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The gradients of the rows."""
        (counts, num_came), link, gradient = ctx.sizes, ctx.link, grads[0]
        if not link.blended:
            return link.ranks.trade(gradient, num_came, counts)[0], None, None
        absolute = getattr(link.blended.pop(), "absgrad", None)  # dropped here: it refers to this node
        if absolute is None:  # no Gaussian was blended
            absolute = gradient.new_zeros(1, len(gradient), 2)
        back, _ = link.ranks.trade(torch.cat([gradient, absolute[0]], dim=-1), num_came, counts)
        link.sent.absgrad = back[:, -2:]  # pyright: ignore[reportAttributeAccessIssue]
        return back[:, :-2].contiguous(), None, None
