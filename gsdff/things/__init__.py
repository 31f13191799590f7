"""Things: masks of all views joined into objects in 3D, and features pooled per object."""

from gsdff.things.borders import Cut, cut_along_longest, find_straddling, is_purer
from gsdff.things.join import JoinOptions, join_masks
from gsdff.things.members import Things, assign_things, recount_members
from gsdff.things.pool import ThingPool, draw_thing_map, spread_features
from gsdff.things.weights import MaskWeights, ViewMasks, collect_weights

__all__ = [
    "Cut", "JoinOptions", "MaskWeights", "ThingPool", "Things", "ViewMasks", "assign_things", "collect_weights",
    "cut_along_longest", "draw_thing_map", "find_straddling", "is_purer", "join_masks", "recount_members",
    "spread_features",
]  # fmt: skip
