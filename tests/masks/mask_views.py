"""Views for the tests of masks."""

import torch
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.scene import View


def make_view(image: Tensor | None = None, name: str = "street/a.jpg") -> View:
    """A view with this image [H, W, 3] uint8, by default a black one of 4x6 pixels."""
    if image is None:
        image = torch.zeros(4, 6, 3, dtype=torch.uint8)
    height, width = image.shape[:2]
    return View(name, Camera(torch.eye(4), torch.eye(3), width, height), image)


def random_image(generator: torch.Generator, height: int = 24, width: int = 32) -> Tensor:
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
