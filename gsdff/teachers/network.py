"""Base of the teachers that run a network: photos in batches, windows over large photos, maps of unit norm."""

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
    """A teacher that encodes the photos with a network. Subclasses define the network and `encode`.

    Its input are the photos that the scene is trained on: undistorted, and reduced by `dataset.downscale`.
    """

    name: str

    def __init__(self, config: TeacherConfig, scene: Scene | None = None, device: torch.device | str = "cpu"):
        self.config = config
        self.device = torch.device(device)

    @cached_property
    def fingerprint(self) -> str:
        """Text that identifies the weights and the settings that change a map."""
        raise NotImplementedError

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        """Maps of photos in [0, 1] on the teacher's device; the norm of a pixel may be anything."""
        raise NotImplementedError

    def check(self, view: View) -> None:
        """Accepts every photo."""

    def fingerprint_of(self, view: View) -> str:
        """Hash of the photo's pixels."""
        digest = hashlib.blake2b(repr(tuple(view.image.shape)).encode(), digest_size=16)
        digest.update(view.image.contiguous().numpy().data)
        return digest.hexdigest()

    @torch.inference_mode()
    def extract(self, views: Sequence[View]) -> Iterator[Float[Tensor, "T h w"]]:
        """Yields the views' maps in order. Successive photos of one size share a pass, `teacher.batch` at a time."""
        for _, alike in groupby(views, key=lambda view: tuple(view.image.shape)):
            group = list(alike)
            for start in range(0, len(group), self.config.batch):
                batch = torch.stack([view.image for view in group[start : start + self.config.batch]])
                maps = self.encode(batch.to(self.device).permute(0, 3, 1, 2).float() / 255)
                if not maps.isfinite().all():
                    raise UserError(
                        f"teacher {self.name}: its network gave NaN or infinity for {group[start].name} or a photo "
                        "after it; the weights are damaged, or too large for half precision (try `device` cpu)"
                    )
                yield from F.normalize(maps.float(), dim=1, eps=1e-8)

    def to_unit(self, texts: Float[Tensor, "Q T"]) -> Float[Tensor, "Q T"]:
        """Vectors of texts at unit length, float32 on the CPU; raises `UserError` if they are not finite."""
        if not texts.isfinite().all():
            raise UserError(f"teacher {self.name}: its network gave NaN for a text; the weights are damaged")
        return F.normalize(texts.float(), dim=1).cpu()


def resize(images: Float[Tensor, "B C H W"], height: int, width: int) -> Float[Tensor, "B C h w"]:
    """Resizes bilinearly, averaging over areas when it shrinks."""
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=True)


def fit(height: int, width: int, longer: int, multiple: int) -> tuple[int, int]:
    """Height and width of the same shape with about `longer` pixels on the longer side, both a `multiple`."""
    scale = longer / max(height, width)
    multiples = round(height * scale / multiple), round(width * scale / multiple)
    return multiple * max(1, multiples[0]), multiple * max(1, multiples[1])


def slide(
    network: Callable[[Float[Tensor, "B C s s"]], Float[Tensor, "B T o o"]],
    images: Float[Tensor, "B C H W"],
    window: int,
    stride: int,
    cell: int,
) -> Float[Tensor, "B T h w"]:
    """Runs a network on windows of `window` pixels a side and averages the maps where windows overlap.

    The images are at least as large as a window. A pixel of the map covers `cell` pixels a side of the image; the
    images' sides, the window and the stride are multiples of it. Windows lie `stride` apart, the last ones flush with
    the border. Memory: one window per photo of the batch at a time.
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
    assert total is not None, "images are at least as large as a window"
    return total / count


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Offsets of the windows that cover `length`."""
    return [*range(0, length - window, stride), length - window]
