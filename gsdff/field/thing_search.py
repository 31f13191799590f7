"""Things by their numbers as an answer: their Gaussians, and what a view shows of them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from gsdff.field.base import FieldBase
from gsdff.field.hit import Hit
from gsdff.field.objects import draw_things, find_members, read_things
from gsdff.field.query import Query
from gsdff.scene import View
from gsdff.things import Things
from gsdff.words import ThingNumber


@torch.no_grad()
def find_things(field: FieldBase, query: Query, view: View | None = None) -> Hit:
    """The things that a query names by number: memberships as scores, and the things themselves selected.

    With a view its pixels: scores are blended memberships, and a pixel is selected if most of what it shows is of one
    of the things (`draw_things`). Raises `UserError` if the run has no things, or none of such a number.
    """
    things = read_things(field)
    selected = torch.stack([find_members(things, named) for named in query.things]).any(0)
    things = leave_parts_out(things, query.things, selected)
    numbers = torch.tensor([named.number for named in query.things])
    scores = (things.shares * torch.isin(things.members, numbers)).sum(1).clamp(0, 1).to(field.device)
    selected = selected.to(field.device)
    hit = Hit(field, query, "3d", scores, torch.ones_like(selected), selected)
    if view is None:
        return hit
    drawn = draw_things(field, things, view)
    return replace(hit.in_view(view), selected=torch.isin(drawn, numbers.to(drawn)), space="2d")


def leave_parts_out(things: Things, wanted: Sequence[ThingNumber], selected: Bool[Tensor, "N"]) -> Things:
    """Things without memberships in those parts that are not wanted, of the things of which a part is.

    `selected` are the Gaussians of what is wanted. One that is more another thing's is of no part.
    """
    whole = torch.tensor([named.number for named in wanted if named.part is None])
    parted = torch.tensor([named.number for named in wanted if named.part is not None])
    is_out = torch.isin(things.members, parted) & ~torch.isin(things.members, whole)
    is_out[:, 0] &= ~selected
    return replace(things, members=things.members.masked_fill(is_out, 0), shares=things.shares.masked_fill(is_out, 0))
