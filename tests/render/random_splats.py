"""Small scenes for rasteriser tests, and one call that renders them and takes gradients."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

GEOMETRY = ("means", "quats", "scales", "opacities")
DIFFERENTIABLE = (*GEOMETRY, "colors")


@dataclass(frozen=True)
class Splats:
    """Arguments of `rasterization` that are tensors or sizes, float64 on the CPU unless moved."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def map(self, function: Callable[[Tensor], Tensor]) -> "Splats":
        """A copy with `function` applied to every tensor."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in tensors.items() if isinstance(v, Tensor)})

    def select(self, ids: Tensor) -> "Splats":
        """A copy with these Gaussians, in this order. Colours must be [N, ...]."""
        return replace(self, **{name: getattr(self, name)[ids] for name in DIFFERENTIABLE})

    def replace(self, **changes: object) -> "Splats":
        """A copy with some attributes changed."""
        return replace(self, **changes)


def random_splats(
    n: int = 60,
    n_cameras: int = 1,
    channels: int = 3,
    sh_degree: int | None = None,
    width: int = 53,
    height: int = 37,
    scale: float = 1.0,
    seed: int = 0,
) -> Splats:
    """Gaussians of all sizes, shapes and opacities in and around the view of cameras at about the origin.

    Some lie behind the cameras, some outside the image. The sizes are no multiples of 16.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    depths = uniform(-0.5, 6, n, 1)
    means = torch.cat([uniform(-0.9, 0.9, n, 2) * depths.abs(), depths], dim=-1)
    quats = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    scales = scale * torch.exp(uniform(-4.5, -0.7, n, 3))
    colors = uniform(0, 1, n, channels) if sh_degree is None else uniform(-0.6, 0.6, n, (sh_degree + 1) ** 2, 3)
    viewmats = torch.eye(4, dtype=torch.float64).repeat(n_cameras, 1, 1)
    for viewmat in viewmats[1:]:
        angles = torch.linalg.matrix_exp(0.2 * torch.triu(uniform(-1, 1, 3, 3), 1) * torch.ones(3, 3))
        viewmat[:3, :3] = torch.linalg.qr(angles).Q * torch.linalg.qr(angles).R.diagonal().sign()
        viewmat[:3, 3] = uniform(-0.3, 0.3, 3)
    focal = 0.8 * width
    Ks = torch.tensor([[focal, 0, width / 2 + 1.3], [0, 1.1 * focal, height / 2 - 0.7], [0, 0, 1]], dtype=torch.float64)
    return Splats(means, quats, scales, uniform(0, 1, n), colors, viewmats, Ks.repeat(n_cameras, 1, 1), width, height)


@dataclass(frozen=True)
class Result:
    """Output of a rasteriser, and the gradients of <renders, cotangent> + <alphas, cotangent>."""

    renders: Tensor
    alphas: Tensor
    meta: dict
    gradients: dict[str, Tensor] = field(default_factory=dict)


def cotangents(result: Result, band: Tensor, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random cotangents of renders and alphas, zero in the boundary band."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(output.shape, generator=generator, dtype=torch.float64) * ~band[..., None]
        for output in (result.renders, result.alphas)
    )


def render(
    rasterization: Callable,
    splats: Splats,
    wanted: Iterable[str] = (),
    cotangent: Callable[[Result], tuple[Tensor, Tensor]] | tuple[Tensor, Tensor] | None = None,
    **options: object,
) -> Result:
    """Renders, and takes the gradients of the `wanted` attributes (and of means2d, if they depend on any)."""
    wanted = tuple(wanted)
    inputs = {f.name: getattr(splats, f.name) for f in fields(splats)}
    leaves = {name: inputs[name].detach().clone().requires_grad_() for name in wanted}
    options = {name: value.to(splats.means) if isinstance(value, Tensor) else value for name, value in options.items()}
    renders, alphas, meta = rasterization(**(inputs | leaves), **options)
    result = Result(renders, alphas, meta)
    if not wanted:
        return result
    if meta["means2d"].requires_grad:
        meta["means2d"].retain_grad()
    v_renders, v_alphas = cotangent(result) if callable(cotangent) else cotangent
    loss = (renders * v_renders.to(renders)).sum()
    if alphas.requires_grad:
        loss = loss + (alphas * v_alphas.to(alphas)).sum()
    loss.backward()
    gradients = {name: leaf.grad for name, leaf in leaves.items()}
    if meta["means2d"].requires_grad:
        gradients["means2d"] = meta["means2d"].grad
        if options.get("absgrad"):
            gradients["absgrad"] = meta["means2d"].absgrad
    return Result(renders.detach(), alphas.detach(), meta, gradients)
