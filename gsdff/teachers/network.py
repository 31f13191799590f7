"""What the teachers that run a network share: photos in batches, windows over large ones, maps of unit norm."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import Scene, View


class NetworkTeacher:
    """A teacher that looks at the photos themselves. Subclasses say what the network is and what it makes of a batch.

    The network sees the photos as they are trained on: undistorted, and smaller where `dataset.downscale` says so.
    """

    name: str

    def __init__(self, config: TeacherConfig, scene: Scene | None = None, device: torch.device | str = "cpu"):
        self.config = config
        self.device = torch.device(device)

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights and of the settings that change a map."""
        raise NotImplementedError

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        """Maps of photos in [0, 1] on the teacher's device, of any length per pixel."""
        raise NotImplementedError

    def check(self, view: View) -> None:
        """Every photo can be looked at."""

    def fingerprint_of(self, view: View) -> str:
        """Hash of the photo's pixels."""
        digest = hashlib.blake2b(repr(tuple(view.image.shape)).encode(), digest_size=16)
        digest.update(view.image.contiguous().numpy())
        return digest.hexdigest()

    @torch.inference_mode()
    def extract(self, views: Sequence[View]) -> Iterator[Float[Tensor, "T h w"]]:
        """The views' maps in order; photos of one size share a pass of the network, `teacher.batch` at a time."""
        for _, alike in groupby(views, key=lambda view: tuple(view.image.shape)):
            group = list(alike)
            for start in range(0, len(group), self.config.batch):
                batch = torch.stack([view.image for view in group[start : start + self.config.batch]])
                maps = self.encode(batch.to(self.device).permute(0, 3, 1, 2).float() / 255)
                if not maps.isfinite().all():
                    raise UserError(
                        f"teacher {self.name}: its network gave values that are no numbers for {group[start].name} or "
                        "one after it; the weights are damaged, or too large for half precision (try --device cpu)"
                    )
                yield from F.normalize(maps.float(), dim=1, eps=1e-8).cpu()


def resize(images: Float[Tensor, "B C H W"], height: int, width: int) -> Float[Tensor, "B C h w"]:
    """Bilinear, averaging over the area where it shrinks."""
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=True)


def fit(height: int, width: int, longer: int, multiple: int) -> tuple[int, int]:
    """The size nearest to `longer` pixels on the longer side, of the same shape, whose sides are multiples."""
    scale = longer / max(height, width)
    return tuple(max(multiple, multiple * round(side * scale / multiple)) for side in (height, width))


def slide(
    network: Callable[[Float[Tensor, "B C s s"]], Float[Tensor, "B T o o"]],
    images: Float[Tensor, "B C H W"],
    window: int,
    stride: int,
    cell: int,
) -> Float[Tensor, "B T h w"]:
    """A network that sees `window` pixels a side, over images at least that large: the mean where windows overlap.

    `cell` is how many pixels of the image one pixel of the map covers; sides, window and stride are multiples of it.
    Windows lie `stride` apart, the last ones flush with the border. Memory: one window a photo of the batch at a time.
    """
    height, width = images.shape[2:]
    total: Tensor | None = None
    count = images.new_zeros(height // cell, width // cell)
    side = window // cell
    for top in _starts(height, window, stride):
        for left in _starts(width, window, stride):
            part = network(images[:, :, top : top + window, left : left + window])
            if total is None:
                total = part.new_zeros(len(images), part.shape[1], *count.shape)
            y, x = top // cell, left // cell
            total[:, :, y : y + side, x : x + side] += part
            count[y : y + side, x : x + side] += 1
    return total / count


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin so that they cover `length`."""
    return [*range(0, length - window, stride), length - window]
