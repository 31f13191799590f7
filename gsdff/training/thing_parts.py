"""Things of a scene of which each rank holds a part: brought together on the first rank, and divided again."""

from dataclasses import replace

import torch
from torch import Tensor

from gsdff.ranks import this_job
from gsdff.routes import find_starts
from gsdff.things import MaskWeights, Things
from gsdff.things.members import MOST
from gsdff.training.parts import divide_rows, join_rows


def join_weights(weights: MaskWeights) -> MaskWeights:
    """The weights of the whole scene on the first rank; without entries on the others."""
    starts = find_starts(weights.num_gaussians)
    first_row = starts[this_job().rank]
    layers = [
        replace(
            layer,
            rows=join_rows(layer.rows + first_row),
            masks=join_rows(layer.masks),
            weights=join_rows(layer.weights),
        )
        for layer in weights.layers
    ]
    return MaskWeights(starts[-1], weights.num_views, layers)


def divide_things(things: Things | None, num_own: int) -> Things:
    """What is of this rank's Gaussians, of the things that the first rank has; the others have None."""
    if things is None:
        members = torch.zeros(0, MOST, dtype=torch.int32)
        things = Things(members, members.float(), members[:, 0], torch.zeros(0), [])
    sizes, owners = this_job().from_first((things.sizes, things.owners))
    things = replace(things, sizes=sizes, owners=owners)
    rows = {name: divide_rows(tensor, num_own) for name, tensor in _rows_of(things).items()}
    return replace(things, **rows)


def join_things(things: Things) -> Things:
    """The things with the Gaussians of all parts on the first rank; without Gaussians on the others."""
    return replace(things, **{name: join_rows(tensor) for name, tensor in _rows_of(things).items()})


def take_rows(things: Things, rows: slice) -> Things:
    """The things with these Gaussians alone."""
    return replace(things, **{name: tensor[rows] for name, tensor in _rows_of(things).items()})


def _rows_of(things: Things) -> dict[str, Tensor]:
    return {"members": things.members, "shares": things.shares, "parts": things.parts}
