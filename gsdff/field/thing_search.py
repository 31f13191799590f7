"""Things by their numbers as an answer: their Gaussians, and what a view shows of them."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from gsdff.field.base import FieldBase
from gsdff.field.hit import Hit
from gsdff.field.objects import draw_things, read_things, select_thing
from gsdff.field.query import Query
from gsdff.scene import View
from gsdff.selection import Selection


def select_things(field: FieldBase, numbers: Sequence[int]) -> Selection:
    """The Gaussians of some things; raises `UserError` for a number that there is not."""
    return Selection(torch.stack([select_thing(field, number).mask for number in numbers]).any(0))


@torch.no_grad()
def find_things(field: FieldBase, query: Query, view: View | None = None) -> Hit:
    """The things that a query names by number: memberships as scores, and the things themselves selected.

    With a view its pixels: scores are blended memberships, and a pixel is selected if most of what it shows is of one
    of the things (`draw_things`). Raises `UserError` if the run has no things, or none of such a number.
    """
    things, numbers = read_things(field), torch.tensor(query.things)
    selection = select_things(field, query.things)
    scores = (things.shares * torch.isin(things.members, numbers)).sum(1).clamp(0, 1).to(field.device)
    hit = Hit(field, query, "3d", scores, torch.ones_like(selection.mask), selection.mask)
    if view is None:
        return hit
    drawn = draw_things(field, things, view)
    return replace(hit.in_view(view), selected=torch.isin(drawn, numbers.to(drawn)), space="2d")
