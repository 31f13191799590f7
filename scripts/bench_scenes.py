"""Seeded scenes for benchmarks of the rasteriser, and their number of intersections as gsplat counts them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gsdff.render import rasterization


@dataclass(frozen=True)
class Scene:
    """Gaussians and one camera, float32."""

    name: str
    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def arguments(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> dict:
        """Arguments of `rasterization`."""
        arguments = {name: value for name, value in vars(self).items() if name != "name"}
        return {k: v.to(device, dtype) if isinstance(v, Tensor) else v for k, v in arguments.items()}

    def thinned(self, times: int = 8) -> "Scene":
        """The scene with 1 / times^2 of its Gaussians in an image `times` smaller, equally large and dense there."""
        tensors = {name: getattr(self, name)[:: times**2] for name in ("means", "quats", "opacities", "colors")}
        K = self.Ks / torch.tensor([times, times, 1])[:, None]
        size = {"width": self.width // times, "height": self.height // times}
        return replace(self, **tensors, scales=times * self.scales[:: times**2], Ks=K, **size)


def synthetic(
    name: str, n: int, width: int, height: int, channels: int, opacity: tuple[float, float], scale: float = 1.0
) -> Scene:
    """Gaussians distributed evenly over the image at depths 2 to 8, with log-normal sizes of about `scale` pixels."""
    generator = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    focal = float(width)
    depths = uniform(2, 8, n, 1)
    pixels = torch.cat([uniform(0, width, n, 1), uniform(0, height, n, 1)], dim=-1)
    means = torch.cat([(pixels - torch.tensor([width / 2, height / 2])) * depths / focal, depths], dim=-1)
    scales = scale * torch.exp(0.5 * torch.randn(n, 3, generator=generator)) * depths / focal
    quats = torch.randn(n, 4, generator=generator)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    opacities, colors = uniform(*opacity, n), uniform(0, 1, n, channels)
    return Scene(name, means, quats, scales, opacities, colors, torch.eye(4)[None], K[None], width, height)


def with_boxes(scene: Callable[[float], Scene], target: int) -> tuple[Scene, float]:
    """The scene whose bounding boxes intersect about `target` tiles, and its scale, found by bisection."""
    low, high = log(0.05), log(50)
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if count_boxes(scene(exp(middle))) < target else (low, middle)
    return scene(exp(low)), exp(low)


def garden(path: Path, channels: int) -> Scene:
    """A real, uneven point cloud in the first camera of the file, with scales of about the distance between points."""
    from scipy.spatial import cKDTree

    data = np.load(path)
    means = torch.from_numpy(data["means3d"]).float()
    distances = cKDTree(data["means3d"]).query(data["means3d"], k=4)[0][:, 1:].mean(1)
    n = len(means)
    generator = torch.Generator().manual_seed(0)
    shapes = torch.exp(0.5 * torch.randn(n, 3, generator=generator))
    return Scene(
        name=path.stem,
        means=means,
        quats=torch.randn(n, 4, generator=generator),
        scales=torch.from_numpy(distances).float().clamp(1e-4, 0.1)[:, None] * shapes,
        opacities=torch.full((n,), 0.5),
        colors=torch.rand(n, channels, generator=generator),
        viewmats=torch.from_numpy(data["viewmats"][:1]).float(),
        Ks=torch.from_numpy(data["Ks"][:1]).float(),
        width=int(data["width"]),
        height=int(data["height"]),
    )


@torch.no_grad()
def count_boxes(scene: Scene, tile_size: int = 16) -> int:
    """Number of pairs of tile and Gaussian as gsplat counts them, by bounding boxes."""
    meta = rasterization(**scene.arguments() | {"colors": scene.colors[:, :1]})[2]
    limits = torch.tensor([-(-scene.width // tile_size), -(-scene.height // tile_size)])
    first = ((meta["means2d"] - meta["radii"]) / tile_size).floor().clamp(torch.zeros(2), limits)
    last = ((meta["means2d"] + meta["radii"]) / tile_size).ceil().clamp(torch.zeros(2), limits)
    return int(((last - first).prod(-1) * (meta["radii"] > 0).all(-1)).sum())
