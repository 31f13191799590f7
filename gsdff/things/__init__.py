"""Things: masks of all views joined into objects in 3D, and features pooled per object."""

from gsdff.things.join import JoinOptions, join_masks
from gsdff.things.members import Things, assign_things
from gsdff.things.weights import MaskWeights, ViewMasks, collect_weights

__all__ = ["JoinOptions", "MaskWeights", "Things", "ViewMasks", "assign_things", "collect_weights", "join_masks"]
