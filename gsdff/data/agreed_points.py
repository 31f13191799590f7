"""Points that posed photos tell of: on rays of random pixels, at the depth at which other photos look alike."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate
from tqdm import tqdm

from gsdff.data.points import viewing_distance
from gsdff.scene import View

NUM_DEPTHS = 64
"""Number of depths that are compared, in equal ratios, each ray with a random start."""
DEPTH_RANGE = 4.0
"""Largest depth over the distance at which the cameras look, and that over the least one."""
NUM_NEIGHBOURS = 6
"""Number of photos that are compared with the one of a ray, the nearest ones."""
NUM_ALIKE = 3
"""Number of those that have to look alike: the others may be hidden there, or not show it."""
MOST_PHOTOS = 300
"""Number of photos that are looked at, evenly over the list: reduced, they take half a megabyte each."""
LONGEST_SIDE = 240
"""Pixels of a photo as it is compared."""
PATCH = ((0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2))
"""Pixels that are compared, from the one of a ray."""
RAYS_AT_A_TIME = 2000
UNSEEN = 1.0
"""Difference from a photo that does not show a point."""
TIE = 0.004
"""Difference of colours that says nothing: among depths so alike any is taken."""
MOST_APART = 0.2
"""Difference from which a point tells nothing: too few other photos show it, whose colours seldom differ as much."""


def points_where_photos_agree(
    views: list[View], num_points: int, background: Float[Tensor, "3"], seed: int = 0, *, only_shared: bool = False
) -> tuple[Float[Tensor, "P 3"], UInt8[Tensor, "P 3"]]:
    """Points in the views' world, and their colours; the same for the same photos.

    Depths lie between a quarter and four times the distance at which the cameras look. What is flat in colour agrees
    at many depths, and gets any of them. No point is taken of what masks leave out, is transparent, or has just the
    colour of the `background`, if there is anything else. With `only_shared` those that too few other photos show are
    left out. Plane sweeping (Collins 1996), for random pixels.
    """
    views = views[:: -(-len(views) // MOST_PHOTOS)]
    photos = [_Photo.of(view) for view in views]
    centres = torch.stack([view.camera.position for view in views])
    order: Int64[Tensor, "V V"] = torch.cdist(centres, centres).fill_diagonal_(-1).argsort(dim=1)
    generator = torch.Generator().manual_seed(seed)
    distance = viewing_distance(torch.stack([photo.matrix for photo in photos]).double().numpy())
    useful = torch.tensor([view.mask is None or bool(view.mask.any()) for view in views])
    useful = (useful if useful.any() else ~useful).nonzero()[:, 0]
    drawn = useful[torch.randint(len(useful), (num_points,), generator=generator)]
    counts = torch.bincount(drawn, minlength=len(views))
    points, colors, is_shared = [], [], []
    each_photo = zip(views, photos, order.tolist(), counts.tolist(), strict=True)
    for view, photo, ids, count in tqdm(each_photo, "points", len(views), unit="photo", leave=False, delay=1):
        neighbours = [photos[i] for i in ids[1 : 1 + NUM_NEIGHBOURS]]
        for pixels in _draw_pixels(view, photo, count, background, generator).split(RAYS_AT_A_TIME):
            steps = (torch.arange(NUM_DEPTHS) + torch.rand(len(pixels), 1, generator=generator)) / NUM_DEPTHS
            depths = distance * DEPTH_RANGE ** (2 * steps - 1)
            apart = TIE * torch.rand(depths.shape, generator=generator)
            if neighbours:
                each = torch.stack([_differences(photo, other, pixels, depths) for other in neighbours])
                apart += each.sort(dim=0).values[:NUM_ALIKE].mean(dim=0)
            least, best = apart.min(dim=1, keepdim=True)
            points.append(photo.position + photo.rays(pixels) * depths.gather(1, best))
            colors.append(photo.colors(pixels)[..., 0].T)
            is_shared.append(least[:, 0] < MOST_APART)
    kept = torch.cat(is_shared) | (not only_shared)
    return torch.cat(points)[kept], (255 * torch.cat(colors)[kept]).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class _Photo:
    """A photo at the size at which it is compared, with its camera."""

    image: Float[Tensor, "3 h w"]
    K: Float[Tensor, "3 3"]
    matrix: Float[Tensor, "4 4"]

    @staticmethod
    def of(view: View) -> "_Photo":
        image = view.target.permute(2, 0, 1)[None]
        factor = min(1.0, LONGEST_SIDE / max(image.shape[2:]))
        height, width = (max(1, round(factor * side)) for side in image.shape[2:])
        image = interpolate(image, size=(height, width), mode="area")[0]
        return _Photo(image, view.camera.resized(width, height).K, view.camera.viewmat)

    @property
    def size(self) -> Int64[Tensor, "2"]:
        """Width and height."""
        return torch.tensor([self.image.shape[2], self.image.shape[1]])

    @property
    def position(self) -> Float[Tensor, "3"]:
        """Centre of the camera in the world."""
        return -self.matrix[:3, :3].T @ self.matrix[:3, 3]

    def rays(self, pixels: Float[Tensor, "R 2"]) -> Float[Tensor, "R 3"]:
        """Directions in the world from the camera through pixels, of depth 1."""
        flat = (pixels - self.K[:2, 2]) / self.K.diagonal()[:2]
        return torch.cat([flat, torch.ones(len(flat), 1)], dim=1) @ self.matrix[:3, :3]

    def sample(self, places: Float[Tensor, "R D 2"]) -> Float[Tensor, "3 R D"]:
        """Colours at places in the photo, bilinear; these are -1 at its left or top border and 1 at the other."""
        return grid_sample(self.image[None], places[None], padding_mode="border", align_corners=False)[0]

    def colors(self, pixels: Float[Tensor, "R 2"]) -> Float[Tensor, "3 R 1"]:
        """Colours at pixels."""
        return self.sample((pixels / self.size * 2 - 1)[:, None])


def _draw_pixels(
    view: View, photo: _Photo, count: int, background: Float[Tensor, "3"], generator: torch.Generator
) -> Float[Tensor, "count 2"]:
    """Random places in a reduced photo, in its pixels, on what is to be learned."""
    height, width = view.image.shape[:2]
    usable = torch.ones(height, width, dtype=torch.bool) if view.mask is None else view.mask
    if view.alpha is not None:
        usable = usable & (view.alpha > 0)
    usable = usable & (view.image != (255 * background).round()).any(dim=-1)
    rows, columns = torch.nonzero(usable if usable.any() else torch.ones_like(usable)).unbind(1)
    drawn = torch.randint(len(rows), (count,), generator=generator)
    places = torch.stack([columns[drawn], rows[drawn]], dim=1) + torch.rand(count, 2, generator=generator)
    return places * (photo.size / torch.tensor([width, height]))


def _differences(
    photo: _Photo, other: _Photo, pixels: Float[Tensor, "R 2"], depths: Float[Tensor, "R D"]
) -> Float[Tensor, "R D"]:
    """Mean difference of colours around pixels from what the other photo shows at each depth."""
    turn, start = (
        other.K @ other.matrix[:3, :3],
        other.K @ (other.matrix[:3, :3] @ photo.position + other.matrix[:3, 3]),
    )
    total = torch.zeros_like(depths)
    for offset in PATCH:
        moved = pixels + torch.tensor(offset)
        x, y, z = ((photo.rays(moved) @ turn.T)[..., None] * depths[:, None] + start[:, None]).unbind(1)
        scale = 2 / z.clamp_min(1e-6)
        places = torch.stack([x * scale / other.size[0] - 1, y * scale / other.size[1] - 1], dim=-1)
        apart = (other.sample(places) - photo.colors(moved)).abs().mean(dim=0)
        total += torch.where((z > 0) & (places.abs().amax(dim=-1) < 1), apart, UNSEEN)
    return total / len(PATCH)
