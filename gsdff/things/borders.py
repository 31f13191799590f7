"""Gaussians that straddle a border between two things, cut into children along their longest axis."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from gsdff.gaussians import Gaussians
from gsdff.rotation import quats_to_matrices
from gsdff.things.members import Things

SHARE = 0.05
"""Least share of a Gaussian in a second thing for it to straddle a border."""
PIXELS = 0.5
"""Least weight in the second thing, in pixels of all views together; fainter ones change no cut."""
GAIN = 0.1
"""Least part of what a Gaussian shows outside its thing that cutting it must assign to the right things."""
OFFSETS = (-1.0, 0.0, 1.0)
"""Places of the children along the axis, in standard deviations of the parent."""
OPACITIES = (0.54, 0.96, 0.54)
"""Opacities of the children as shares of the parent's."""
NARROWER = 0.5
"""Standard deviation of the children along the axis, as a share of the parent's.

Places, opacities and width fit the alpha that the three compose to the parent's by least squares, and hardly depend on
the parent's opacity. The rest is 0.4 % of the square of a faint parent's profile, 0.9 % of an opaque one's.
"""


@dataclass(frozen=True, eq=False)
class Cut:
    """Gaussians of which some are cut: those that are whole in their order, then the children, sibling by sibling."""

    gaussians: Gaussians
    parents: Int64[Tensor, "M"]
    """The Gaussian that each was, or was a part of."""

    @property
    def is_child(self) -> Bool[Tensor, "M"]:
        """Whether each is a part."""
        return self.parents.bincount()[self.parents] > 1


def find_straddling(things: Things, visible: Float[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """Whether a second thing has `SHARE` of a Gaussian and `PIXELS` of its weights in all masks, `visible`."""
    second = things.shares[:, 1]
    return (second >= SHARE) & (second * visible >= PIXELS)


def cut_along_longest(gaussians: Gaussians, is_cut: Bool[Tensor, "N"]) -> Cut:
    """Cuts Gaussians into three along their longest axis; the picture changes little, as `NARROWER` says."""
    fixed = gaussians.map(torch.detach)
    ids = is_cut.nonzero()[:, 0]
    whole = fixed.map(lambda tensor: tensor[~is_cut])
    parent = fixed.map(lambda tensor: tensor[ids])
    every = torch.arange(len(ids), device=ids.device)
    axes = parent.log_scales.argmax(1)
    along = quats_to_matrices(parent.quats)[every, :, axes] * parent.scales[every, axes, None]
    log_scales = parent.log_scales.clone()
    log_scales[every, axes] += torch.tensor(NARROWER).log().to(log_scales)
    children = [
        replace(
            parent,
            means=parent.means + offset * along,
            log_scales=log_scales,
            logit_opacities=(share * parent.opacities).logit(),
        )
        for offset, share in zip(OFFSETS, OPACITIES, strict=True)
    ]
    names = [name for name, _ in fixed.items()]
    together = {name: torch.cat([getattr(part, name) for part in (whole, *children)]) for name in names}
    return Cut(replace(fixed, **together), torch.cat([(~is_cut).nonzero()[:, 0], *[ids] * len(children)]))


def is_purer(
    before: Things, after: Things, cut: Cut, visible: Float[Tensor, "N"], visible_after: Float[Tensor, "M"]
) -> Bool[Tensor, "N"]:
    """Whether a cut Gaussian shows less outside its children's things than it showed outside its own.

    Less by a share of at least `GAIN`; both relative to what is visible of it, before and after.
    """
    outside = visible_after * (1 - after.shares[:, 0])
    sums = torch.zeros(2, len(visible)).index_add_(1, cut.parents.cpu(), torch.stack([outside, visible_after]))
    share_after = sums[0] / sums[1].clamp_min(1e-6)
    was_cut = torch.zeros(len(visible), dtype=torch.bool)
    was_cut[cut.parents[cut.is_child].cpu()] = True
    return was_cut & (share_after <= (1 - GAIN) * (1 - before.shares[:, 0])) & (visible > 0)
