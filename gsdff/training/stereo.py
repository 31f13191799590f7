"""Depth of the training photos by stereo, where several of them agree: what photos alone tell of a scene's shape.

Planes parallel to a photo are swept through the scene. On each, other photos are laid over it and compared in small
windows (Collins 1996); of the planes every pixel gets the one that suits it and its surroundings along four directions
(semi-global matching, Hirschmueller 2008). A depth counts if another photo's confirms it, and none contradicts.
"""

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from tqdm import tqdm

from gsdff.cameras import Camera, Projections
from gsdff.scene import Scene, View

MOST_PIXELS = 65_000
"""Photos are reduced to at most so many pixels."""
MOST_POINTS = 20_000
"""The scene's points that are looked at, at most, to see which photos show the same."""
PARTNERS, LEAST_SHARED = 4, 30.0
"""Photos that one is compared with, at most, and points that each must share with it, weighed by their angles."""
BEST_ANGLE, MOST_ANGLE = 8.0, 45.0
"""Angle between two photos' rays to a point, in degrees, with which its depth is found best, and from which not."""
PLANES, WINDOW = 96, 7
"""Planes, evenly spaced in inverse depth, and the side of the windows in pixels."""
COMPARED = 2
"""Photos that a plane's correlation is the mean of, those with the largest: a surface is hidden in others."""
SMALL_STEP, LARGE_STEP = 0.06, 0.4
"""Cost of a depth that differs from the neighbouring pixel's by one plane, or by more, in units of correlation."""
LEAST_CORRELATION, LEAST_CONTRAST = 0.6, 0.01
"""Least correlation of a depth that counts, and least deviation of the grey values in its window."""
TOLERANCE = 0.01
"""Share of its depth by which a point may differ from another photo's; one contradicts from three times as much."""
GREY = (0.299, 0.587, 0.114)

Depths = Mapping[int, Float[Tensor, "h w"]]
"""Depth along the optical axis by the ids of training views, 0 where it is not known; in the working frame, at the
reduced size."""


@dataclass(frozen=True, eq=False)
class GreyPhoto:
    """One training photo at the reduced size."""

    camera: Camera
    grey: Float[Tensor, "h w"]
    counts: Bool[Tensor, "h w"]
    """Pixels that are opaque, and that no mask covers."""

    @staticmethod
    def of(view: View) -> "GreyPhoto":
        """The photo of a view."""
        width, height = view.camera.width, view.camera.height
        factor = math.ceil(math.sqrt(width * height / MOST_PIXELS))
        size = (max(1, height // factor), max(1, width // factor))
        counts = torch.ones(height, width) if view.mask is None else view.mask.float()
        if view.alpha is not None:
            counts = counts * (view.alpha == 255)
        layers = torch.stack([view.target @ view.target.new_tensor(GREY), counts])
        grey, share = F.interpolate(layers[None], size, mode="area")[0]
        return GreyPhoto(view.camera.resized(size[1], size[0]), grey, share > 1 - 1e-4)


_newest: list[tuple[weakref.ref[Scene], Depths]] = []
"""Depths of the scene that they were measured of last: its first Gaussians and its training both need them."""


def measure_depths(scene: Scene) -> Depths:
    """Depths of all training photos that share points with others; takes a second or two for each on the CPU."""
    if not (_newest and _newest[0][0]() is scene):
        _newest[:] = [(weakref.ref(scene), _measure(scene))]
    return _newest[0][1]


@torch.no_grad()
def _measure(scene: Scene) -> Depths:
    photos = {view_id: GreyPhoto.of(scene.views[view_id]) for view_id in scene.train_ids}
    partners = {view_id: ids for view_id, ids in find_partners(scene).items() if ids}
    found = {}
    for view_id, ids in tqdm(partners.items(), desc="stereo", unit="photo", leave=False, delay=1):
        limits = depth_range(scene, photos[view_id].camera)
        found[view_id] = sweep(photos[view_id], [photos[other] for other in ids], *limits)
    depths = {view_id: depth for view_id, (depth, _) in found.items()}
    sure = {view_id: is_sure & confirmed(photos, depths, view_id) for view_id, (_, is_sure) in found.items()}
    seen = {view_id: torch.where(sure[view_id], depths[view_id], 0) for view_id in found}
    return {view_id: torch.where(contradicted(photos, seen, view_id), 0, seen[view_id]) for view_id in found}


def some_points(scene: Scene) -> Float[Tensor, "P 3"]:
    """The scene's points, or some of them, evenly over the list."""
    return scene.points[:: -(-len(scene.points) // MOST_POINTS) or 1]


def find_partners(scene: Scene) -> dict[int, list[int]]:
    """The training photos that each is best compared with, best first: those with many points at good angles.

    What hides points is not known, so that they count in every photo whose picture they fall into.
    """
    ids, points = scene.train_ids, some_points(scene)
    seen = {view_id: scene.views[view_id].camera.project(points).inside for view_id in ids}
    to_camera = {view_id: F.normalize(scene.views[view_id].camera.position - points, dim=1) for view_id in ids}
    shared = {view_id: dict.fromkeys(ids, 0.0) for view_id in ids}
    for place, first in enumerate(ids):
        for second in ids[:place]:
            both = seen[first] & seen[second]
            cosines = (to_camera[first][both] * to_camera[second][both]).sum(1)
            angles = torch.rad2deg(torch.acos(cosines.clamp(-1, 1)))
            falling = ((MOST_ANGLE - angles) / (MOST_ANGLE - BEST_ANGLE)).clamp_min(0)
            shared[first][second] = shared[second][first] = float(torch.minimum(angles / BEST_ANGLE, falling).sum())
    best = {view_id: sorted(row, key=lambda other: -row[other])[:PARTNERS] for view_id, row in shared.items()}
    return {view_id: [other for other in row if shared[view_id][other] > LEAST_SHARED] for view_id, row in best.items()}


def depth_range(scene: Scene, camera: Camera) -> tuple[float, float]:
    """Nearest and farthest depth to look at: somewhat beyond those of the scene's points in the picture."""
    pixels = camera.project(scene.points)
    near, far = pixels.depths[pixels.inside].quantile(torch.tensor([0.005, 0.995])).tolist()
    return 0.8 * near, 1.25 * far


def sweep(
    photo: GreyPhoto, partners: list[GreyPhoto], near: float, far: float
) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Depth of every pixel, and whether its window has contrast and is found again in others at that depth."""
    inverse = torch.linspace(1 / far, 1 / near, PLANES)
    mean, deviation = _window_moments(photo.grey)
    directions, position = photo.camera.rays(), photo.camera.position
    volume = torch.empty(PLANES, *photo.grey.shape)
    for plane in range(PLANES):
        points = position + directions / inverse[plane]
        found = torch.stack([_correlate(photo, mean, deviation, partner, points) for partner in partners])
        volume[plane] = found.topk(min(COMPARED, len(found)), dim=0).values.mean(0)
    suits = _agree_with_surroundings(volume)
    best = suits.argmax(0)
    correlation = volume.gather(0, best[None])[0]
    is_sure = (best > 0) & (best < PLANES - 1) & (correlation > LEAST_CORRELATION) & (deviation > LEAST_CONTRAST)
    place = _refine(suits, best.clamp(1, PLANES - 2))
    return 1 / (inverse[0] + (inverse[1] - inverse[0]) * place), is_sure & photo.counts


def _window_means(layers: Float[Tensor, "L h w"]) -> Float[Tensor, "L h w"]:
    half = WINDOW // 2
    along = F.avg_pool2d(F.pad(layers[None], (half, half, 0, 0), mode="replicate"), (1, WINDOW), 1)
    return F.avg_pool2d(F.pad(along, (0, 0, half, half), mode="replicate"), (WINDOW, 1), 1)[0]


def _window_moments(grey: Float[Tensor, "h w"]) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    mean, square = _window_means(torch.stack([grey, grey.square()]))
    return mean, (square - mean.square()).clamp_min(0).sqrt()


def _correlate(
    photo: GreyPhoto,
    mean: Float[Tensor, "h w"],
    deviation: Float[Tensor, "h w"],
    partner: GreyPhoto,
    points: Float[Tensor, "h w 3"],
) -> Float[Tensor, "h w"]:
    """Normalised correlation of a photo's windows with what another shows at these points; -1 outside of it."""
    pixels, camera = partner.camera.project(points), partner.camera
    grid = 2 * pixels.places / torch.tensor([camera.width, camera.height]) - 1
    other = F.grid_sample(partner.grey[None, None], grid[None], align_corners=False, padding_mode="border")[0, 0]
    other_mean, square, product = _window_means(torch.stack([other, other.square(), other * photo.grey]))
    variance = (square - other_mean.square()).clamp_min(0)
    correlation = (product - mean * other_mean) / (variance * deviation.square() + 1e-7).sqrt()
    return torch.where(pixels.inside & pixels.take(partner.counts), correlation, -1)


def _agree_with_surroundings(volume: Float[Tensor, "D h w"]) -> Float[Tensor, "D h w"]:
    """How well each plane suits a pixel and its surroundings: sums of the costs of best paths to it, negative."""
    costs = (1 - volume).clamp(0, 1.2)
    turned = costs.transpose(1, 2).contiguous()
    across = _path_costs(costs) + _path_costs(costs.flip(2)).flip(2)
    return -across - (_path_costs(turned) + _path_costs(turned.flip(2)).flip(2)).transpose(1, 2)


def _path_costs(costs: Float[Tensor, "D h w"]) -> Float[Tensor, "D h w"]:
    """Costs of the best paths along the rows, from the left, that end at a pixel and a plane."""
    paths = costs.clone()
    none = torch.full((1, costs.shape[1]), torch.inf)
    for column in range(1, costs.shape[2]):
        before = paths[:, :, column - 1]
        least = before.min(0, keepdim=True).values
        beside = torch.minimum(torch.cat([before[1:], none]), torch.cat([none, before[:-1]])) + SMALL_STEP
        paths[:, :, column] += torch.minimum(torch.minimum(before, beside), least + LARGE_STEP) - least
    return paths


def _refine(suits: Float[Tensor, "D h w"], best: Int64[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Place between planes where a parabola through the best and its neighbours has its top."""
    below, middle, above = (suits.gather(0, (best + step)[None])[0] for step in (-1, 0, 1))
    bend = below - 2 * middle + above
    return best + torch.where(bend < -1e-6, (below - above) / 2 / bend, 0).clamp(-0.5, 0.5)


def confirmed(photos: Mapping[int, GreyPhoto], depths: Depths, view_id: int) -> Bool[Tensor, "h w"]:
    """Pixels whose depth that of another photo confirms."""
    is_right = torch.zeros(depths[view_id].shape, dtype=torch.bool)
    for pixels, measured in _seen_by_others(photos, depths, view_id):
        is_right |= pixels.inside & ((measured - pixels.depths).abs() < TOLERANCE * pixels.depths)
    return is_right


def contradicted(photos: Mapping[int, GreyPhoto], depths: Depths, view_id: int) -> Bool[Tensor, "h w"]:
    """Pixels whose points another photo looks through, at what lies farther away."""
    is_wrong = torch.zeros(depths[view_id].shape, dtype=torch.bool)
    for pixels, measured in _seen_by_others(photos, depths, view_id):
        is_wrong |= pixels.inside & (pixels.depths < measured * (1 - 3 * TOLERANCE))
    return is_wrong


def _seen_by_others(photos: Mapping[int, GreyPhoto], depths: Depths, view_id: int) -> list[tuple[Projections, Tensor]]:
    """Pixels of a photo's points in all other photos, and the depths that these have there."""
    camera = photos[view_id].camera
    points = camera.position + camera.rays() * depths[view_id][..., None]
    others = [(photos[other].camera.project(points), depths[other]) for other in depths if other != view_id]
    return [(pixels, pixels.take(measured)) for pixels, measured in others]
