"""What holds a scene of few photos back from fitting them alone, at the cost of all other views.

Few photos leave a scene's shape open: many wrong ones show all of them well. Their depths by stereo, where photos agree
(`gsdff.training.stereo`), close it. Training starts from points at these depths too (as InstantSplat does, Fan et al.
2024), and compares renderings from between two training cameras with what their photos show there, laid out at their
depths. docs/training.md has what each brings. No held-out photo is looked at.
"""

import logging
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.config.options import TrainConfig
from gsdff.gaussians import Gaussians
from gsdff.losses import image_loss
from gsdff.render import render_rgb
from gsdff.scene import Scene
from gsdff.training.stereo import Depths, find_partners, measure_depths, some_points

log = logging.getLogger("gsdff")

FEW = 10
"""Photos that half of the points lie in: photos are few if they are fewer."""
MOST_PHOTOS = 100
"""Training photos up to which `auto` looks: depths of more take longer than they are worth."""
LEAST_KNOWN = 0.15
"""Share of the pixels of half the photos, at least, whose depth must be known: with less, many of those are wrong."""
FOUND_SHARE, MOST_FOUND = 0.4, 20_000
"""Points that are added, at most: a share of `max_gaussians`, and a number."""
LEAST_TOGETHER = 4
"""Measured points that one of them stands for, at least: fewer are mostly wrong ones, in front of plain surfaces."""
EVERY, WEIGHT = 4, 1.0
"""Steps from one comparison between cameras to the next, and its weight in the loss."""
NEIGHBOURS = 3
"""Photos that each is paired with, to look from between."""
SAME_SURFACE = 1.03
"""Depth of what still adds to a pixel's colour, over that of the nearest point in it."""
LEAST_COVERED = 0.5
"""Weight of points on a pixel, of the four around each point, from which the pixel counts."""


def has_few_photos(scene: Scene) -> bool:
    """Whether half of the points lie within the pictures of fewer than `FEW` training photos."""
    points = some_points(scene)
    if not len(points) or not 1 < len(scene.train_ids) <= MOST_PHOTOS:
        return False
    inside = [scene.views[view_id].camera.project(points).inside for view_id in scene.train_ids]
    return bool(torch.stack(inside).sum(0).median() < FEW)


def trusted_depths(config: TrainConfig, scene: Scene) -> Depths:
    """Depths that stage 1 is held back by, as `few_photos` says; none if photos are many, or show them hardly anywhere.

    None either where ranks hold parts of a scene, which are made for many photos.
    """
    choice = config.stage1.few_photos
    if choice == "off" or not config.stage1.steps or config.shard != "none":
        return {}
    if choice == "auto" and not has_few_photos(scene):
        return {}
    depths = measure_depths(scene)
    shares = torch.tensor([float((depth > 0).float().mean()) for depth in depths.values()])
    return depths if len(shares) and shares.median() >= LEAST_KNOWN else {}


def find_points(config: TrainConfig, scene: Scene) -> tuple[Float[Tensor, "F 3"], UInt8[Tensor, "F 3"]]:
    """Points at the measured depths, evenly in space, and their colours; none unless training is held back."""
    if not (depths := trusted_depths(config, scene)):
        return scene.points[:0], scene.point_colors[:0]
    points, colors = (torch.cat(parts) for parts in zip(*(lay_out(scene, depths, n) for n in depths), strict=True))
    points, colors = thin(points, colors, min(MOST_FOUND, int(FOUND_SHARE * config.stage1.max_gaussians)))
    log.info("few photos: %d points added by stereo (`stage1.few_photos`)", len(points))
    return points, (255 * colors).round().to(torch.uint8)


def lay_out(scene: Scene, depths: Depths, view_id: int) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Points that a photo's pixels of known depth show, and their colours."""
    view, depth = scene.views[view_id], depths[view_id]
    # a pixel has the depth of the smaller picture's pixel around it
    rows = torch.arange(view.camera.height) * depth.shape[0] // view.camera.height
    columns = torch.arange(view.camera.width) * depth.shape[1] // view.camera.width
    depth = depth[rows][:, columns]
    is_known = depth > 0
    points = view.camera.position + (view.camera.rays() * depth[..., None])[is_known]
    return points, view.target[is_known]


def thin(
    points: Float[Tensor, "P 3"], colors: Float[Tensor, "P 3"], most: int
) -> tuple[Float[Tensor, "F 3"], Float[Tensor, "F 3"]]:
    """Means of points and colours in cubic cells, the smallest that leave at most so many; without lonely points."""
    corner, span = points.amin(0), float((points.amax(0) - points.amin(0)).max())
    small, large = 1e-5 * span, 1.01 * span
    while large > 1.02 * small:
        middle = (small * large) ** 0.5
        small, large = (small, middle) if len(_cells(points - corner, middle).unique()) <= most else (middle, large)
    _, cell, count = _cells(points - corner, large).unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(count), 6).index_add(0, cell, torch.cat([points - corner, colors], 1))
    means = (sums / count[:, None])[count >= LEAST_TOGETHER]
    return means[:, :3] + corner, means[:, 3:]


def _cells(points: Float[Tensor, "P 3"], side: float) -> Int64[Tensor, "P"]:
    x, y, z = (points / side).long().unbind(-1)
    return (x * (int(y.max()) + 1) + y) * (int(z.max()) + 1) + z


@dataclass(frozen=True, eq=False)
class Between:
    """What two photos show of the scene from between their cameras."""

    camera: Camera
    image: UInt8[Tensor, "H W 3"]
    mask: Bool[Tensor, "H W"]
    """Pixels that are known."""

    def to(self, device: torch.device | str) -> "Between":
        """The same with its tensors on `device`."""
        return Between(self.camera.to(device), self.image.to(device), self.mask.to(device))


def look_between(scene: Scene, depths: Depths, first: int, second: int) -> Between:
    """The pixels of two photos at their depths, seen from the middle between their cameras."""
    camera = middle_camera(scene.views[first].camera, scene.views[second].camera)
    parts = [lay_out(scene, depths, view_id) for view_id in (first, second)]
    points, colors = (torch.cat(part) for part in zip(*parts, strict=True))
    pixels = camera.project(points)
    places, near, colors = pixels.places[pixels.inside] - 0.5, pixels.depths[pixels.inside], colors[pixels.inside]
    taps = [_tap(places, step, camera) for step in ((0, 0), (1, 0), (0, 1), (1, 1))]
    nearest = torch.full((camera.height * camera.width,), torch.inf)
    for cell, _ in taps:
        nearest.scatter_reduce_(0, cell, near, "amin")
    sums = torch.zeros(len(nearest), 4)
    for cell, weight in taps:
        weight = weight * (near < SAME_SURFACE * nearest[cell])
        sums.index_add_(0, cell, weight[:, None] * torch.cat([colors, torch.ones_like(near)[:, None]], 1))
    image = (255 * sums[:, :3] / sums[:, 3:].clamp_min(1e-6)).round().to(torch.uint8)
    size = (camera.height, camera.width)
    return Between(camera, image.reshape(*size, 3), (sums[:, 3] > LEAST_COVERED).reshape(size))


def _tap(
    places: Float[Tensor, "P 2"], step: tuple[int, int], camera: Camera
) -> tuple[Int64[Tensor, "P"], Float[Tensor, "P"]]:
    """Number of one of the four pixels around each place, and its weight; those at the border stand for any beyond."""
    pixel = places.floor() + torch.tensor(step)
    weight = (1 - (places - pixel).abs()).clamp_min(0).prod(-1)
    column, row = pixel.long().unbind(-1)
    return row.clamp(0, camera.height - 1) * camera.width + column.clamp(0, camera.width - 1), weight


def middle_camera(first: Camera, second: Camera) -> Camera:
    """A camera in the middle of two, turned half as far, with the lens and the size of the first."""
    poses = torch.stack([first.camtoworld, second.camtoworld]).double()
    left, _, right = torch.linalg.svd(poses[:, :3, :3].sum(0))
    pose = poses[0].clone()
    pose[:3, :3], pose[:3, 3] = left @ right, poses[:, :3, 3].mean(0)
    return replace(first, viewmat=torch.linalg.inv(pose).float())


class FewPhotos:
    """Compares renderings with photos from between the cameras, in stage 1 of a scene that is held back."""

    def __init__(self, config: TrainConfig, scene: Scene, device: torch.device | str):
        self._config = config
        self._scene = scene
        self._device = device

    @cached_property
    def pictures(self) -> list[Between]:
        """Pictures from between each photo and its best partners, made when first needed; none for other scenes."""
        if not (depths := trusted_depths(self._config, self._scene)):
            return []
        pairs = {
            tuple(sorted((view_id, other)))
            for view_id, ids in find_partners(self._scene).items()
            for other in ids[:NEIGHBOURS]
            if view_id in depths and other in depths
        }
        return [look_between(self._scene, depths, *pair).to(self._device) for pair in sorted(pairs)]

    def compare(self, gaussians: Gaussians, step: int, sh_degree: int, background: Float[Tensor, "3"] | None) -> Tensor:
        """Term of the loss; zero in most steps, and where training is not held back."""
        if step >= self._config.stage1.steps or step % EVERY or not self.pictures:
            return gaussians.means.new_zeros(())
        picture = self.pictures[int(torch.randint(len(self.pictures), ()))]
        options = {"sh_degree": sh_degree, "background": background, "adds_gradients": True}
        rendered = render_rgb(gaussians, picture.camera, **options)
        target = picture.image.float() / 255
        return WEIGHT * image_loss(rendered.image, target, self._config.stage1.ssim_weight, picture.mask).loss
