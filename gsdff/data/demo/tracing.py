"""Ray tracing of the demo scene: the first surface on each ray, and its distance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gsdff.data.demo.solids import Solid, Wall

SURFACE = 1e-4
"""A ray has arrived when it is this near a surface, metres; a pixel sees about 5 mm."""
_NEARLY = 2e-4
"""Distance that is near enough after `_PATIENCE` steps, when a ray runs along a surface, metres."""
_PATIENCE = 96
_MAX_STEPS = 160
_STEPS_PER_ROUND = 4


@dataclass(frozen=True)
class Hits:
    """First surfaces hit by P rays."""

    distances: Tensor
    """Distances along the unit directions, [P]."""
    surface_ids: Tensor
    """Indices into walls + solids, [P] int64."""


def trace(origin: Tensor, directions: Tensor, walls: list[Wall], solids: list[Solid]) -> Hits:
    """Finds the first surface on each ray. `origin` [3] lies inside the walls, `directions` [3, P] have unit length."""
    distances = torch.full_like(directions[0], float("inf"))
    surface_ids = torch.zeros(directions.shape[1], dtype=torch.int64)
    for index, wall in enumerate(walls):
        speed = directions[wall.axis]
        reach = torch.where(speed * wall.inward < 0, (wall.offset - origin[wall.axis]) / speed, torch.inf)
        nearer = reach < distances
        distances = torch.where(nearer, reach, distances)
        surface_ids[nearer] = index
    balls = [solid.ball for solid in solids]
    to_centres = torch.stack([centre for centre, _ in balls]) - origin
    radii = torch.tensor([radius for _, radius in balls])
    for index in to_centres.norm(dim=1).argsort().tolist():  # near ones first, which leave fewer rays to the far ones
        along = to_centres[index] @ directions
        misses_by = (to_centres[index] ** 2).sum() - along * along
        candidates = ((misses_by < radii[index] ** 2) & (along > 0)).nonzero()[:, 0]
        reach = _march(solids[index], origin, directions[:, candidates], distances[candidates])
        nearer = reach < distances[candidates]
        distances[candidates[nearer]] = reach[nearer]
        surface_ids[candidates[nearer]] = index + len(walls)
    return Hits(distances, surface_ids)


def _march(solid: Solid, origin: Tensor, directions: Tensor, limits: Tensor) -> Tensor:
    """Distance to the solid along each ray by sphere tracing, infinity if it is missed or beyond the limit."""
    start = solid.to_local(origin[:, None])
    directions = solid.to_local(directions + torch.tensor(solid.origin)[:, None])
    lower, upper = torch.tensor(solid.lower)[:, None], torch.tensor(solid.upper)[:, None]
    to_lower, to_upper = (lower - start) / directions, (upper - start) / directions
    enters = torch.minimum(to_lower, to_upper).amax(0).clamp_min(0)
    leaves = torch.minimum(torch.maximum(to_lower, to_upper).amin(0), limits)

    reach = torch.full_like(limits, torch.inf)
    active = (enters < leaves).nonzero()[:, 0]
    t, leaves, directions = enters[active], leaves[active], directions[:, active]
    for steps in range(0, _MAX_STEPS, _STEPS_PER_ROUND):
        if not len(active):
            break
        for _ in range(_STEPS_PER_ROUND):
            gap = solid.distance(start + directions * t)
            t = t + gap
        arrived = gap < (SURFACE if steps < _PATIENCE else _NEARLY)
        reach[active[arrived]] = t[arrived]
        going = ~arrived & (t < leaves)
        active, t, leaves, directions = active[going], t[going], leaves[going], directions[:, going]
    reach[active] = t  # rays still running along a face after the last step are well within a millimetre of it
    return reach
