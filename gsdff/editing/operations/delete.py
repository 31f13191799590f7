"""Removes the selection, and fills the hole that it leaves."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from gsdff.editing import functional
from gsdff.editing.context import EditContext
from gsdff.editing.edit import Edit
from gsdff.editing.fill import fill_hole
from gsdff.editing.hole import find_shares, find_unsupported, shrink_cameras
from gsdff.gaussians import Gaussians


@dataclass(frozen=True)
class Delete(Edit):
    """Removes the selection from the scene."""

    fill: bool = False
    """Fill the hole (`gsdff.editing.fill`): what shows in it alone goes too, and planes around it are continued where
    no training view saw what is behind."""

    takes_apart = True

    @property
    def needs_photos(self) -> bool:
        """Whether the hole is filled."""
        return self.fill

    def extend(self, gaussians: Gaussians, mask: Bool[Tensor, "N"], context: EditContext | None) -> Bool[Tensor, "N"]:
        """The selection and, if the hole is filled, what shows in it alone."""
        if not self.fill or mask.all():
            return mask
        assert context is not None, "an edit that needs photos gets them"
        working, cameras = gaussians.to_working_frame(context.frame), shrink_cameras(context.cameras, mask.device)
        rest = working.map(lambda tensor: tensor[~mask])
        extended = mask.clone()
        extended[~mask] = find_unsupported(rest, cameras, find_shares(working, mask, cameras))
        return extended

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """All Gaussians but the selected ones."""
        return functional.delete(gaussians, mask)

    def perform(
        self, gaussians: Gaussians, mask: Bool[Tensor, "N"], context: EditContext | None
    ) -> tuple[Gaussians, str]:
        """All Gaussians but the selected ones, then those that fill the hole, and how many those are."""
        rest = self.apply(gaussians, mask)
        if not self.fill or mask.all():
            return rest, ""
        assert context is not None, "an edit that needs photos gets them"
        working = gaussians.to_working_frame(context.frame)
        added = fill_hole(working, mask, shrink_cameras(context.cameras, mask.device))
        if not added:
            return rest, "no plane beside it that would go on where no view saw what is behind: nothing is added"
        new = [part.to_input_frame(context.frame, gaussians.origin) for part in added]
        filled = {name: torch.cat([tensor, *(getattr(part, name) for part in new)]) for name, tensor in rest.items()}
        count, planes = sum(map(len, new)), f"{len(new)} plane{'s' * (len(new) > 1)}"
        return replace(rest, **filled), f"no view saw all that is behind: {count} new Gaussians continue {planes} there"

    def kept(self, mask: Bool[Tensor, "N"]) -> Bool[Tensor, "N"]:
        """All Gaussians but the selected ones."""
        return ~mask
