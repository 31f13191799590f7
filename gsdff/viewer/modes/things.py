"""The things mode: the thing of every pixel, in a colour of its own."""

from dataclasses import replace

import torch

from gsdff.cameras import Camera
from gsdff.field.objects import choose_things, read_things
from gsdff.io.pictures import label_palette
from gsdff.things import Things
from gsdff.viewer.modes.classes import STRENGTH
from gsdff.viewer.modes.colour import render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend
from gsdff.viewer.page.things import has_things
from gsdff.viewer.shared_scene import SharedScene

NO_THING = 0.3
"""Grey of what is in no thing, as in the page."""


def render_things(inputs: ModeInput, camera: Camera) -> Image:
    """Things with most of the memberships in every pixel, over the scene."""
    visible, device = inputs.visible, inputs.shared.device
    things = _find_things(inputs.shared)
    members, shares = things.members, things.shares
    if visible.ids is not None:
        members, shares = members[visible.ids], shares[visible.ids]
    ids = choose_things(members, shares, len(things), lambda values: blend(inputs, camera, values))
    palette = as_colors(label_palette(len(things)), visible.gaussians.means)
    colors = torch.cat([palette.new_full((1, 3), NO_THING), palette])[ids.long()]
    covered = blend(inputs, camera, torch.ones(len(members), 1, device=device))
    return torch.lerp(render_colour(inputs, camera), colors, STRENGTH * covered.clamp(0, 1))


def _find_things(shared: SharedScene) -> Things:
    """The things on the scene's device, read once."""
    read = shared.field.read
    if "drawn_things" not in read:
        things = read_things(shared.field)
        members, shares = (tensor.to(shared.device) for tensor in (things.members, things.shares))
        read["drawn_things"] = replace(things, members=members, shares=shares)
    return read["drawn_things"]


def are_there(shared: SharedScene) -> bool:
    """Whether the run has things; an older run's may lie in the folder of one that trains."""
    return shared.training is None and has_things(shared.field)


THINGS = Mode("things", render_things, is_available=are_there)
