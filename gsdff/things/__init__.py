"""Things: masks of all views joined into objects in 3D, and features pooled per object."""

from gsdff.things.join import JoinOptions, join_masks
from gsdff.things.members import Things, assign_things
from gsdff.things.pool import ThingPool, draw_thing_map, spread_features
from gsdff.things.weights import MaskWeights, ViewMasks, collect_weights

__all__ = [
    "JoinOptions", "MaskWeights", "ThingPool", "Things", "ViewMasks", "assign_things", "collect_weights",
    "draw_thing_map", "join_masks", "spread_features",
]  # fmt: skip
