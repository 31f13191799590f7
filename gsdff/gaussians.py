"""3D Gaussians: their attributes and their rasterisation mode."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from math import isqrt, log
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from gsdff.cameras import WorldFrame
from gsdff.errors import UserError
from gsdff.origin import ZERO, Point

logger = logging.getLogger("gsdff")

RasterizeMode = Literal["classic", "antialiased"]
SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi))."""

MOST_LOGIT = 20.0
"""Largest logit of an opacity: in float32 the opacity is 1, and that of the negative logit shows nowhere."""
LEAST_LOG_SCALE, MOST_LOG_SCALE = -40.0, 20.0
"""Limits of log scales: float32 holds the scales and their squares, and a renderer their pixels. A Gaussian of the
least scale is flat."""
FARTHEST = 1e18
"""Largest coordinate of a Gaussian: float32 has no squares of larger ones."""


@dataclass
class Gaussians:
    """Attributes of N Gaussians; `log_` and `logit_` mark values before the activation.

    All fields but `rasterize_mode`, `origin` and `is_part` are tensors of N rows. To add an attribute, add a field.
    """

    means: Float[Tensor, "N 3"]
    """Positions relative to `origin`, float32."""
    quats: Float[Tensor, "N 4"]
    """Rotations as quaternions wxyz of any norm but zero."""
    log_scales: Float[Tensor, "N 3"]
    logit_opacities: Float[Tensor, "N"]
    sh0: Float[Tensor, "N 1 3"]
    """Constant band of the spherical harmonics: colour = 0.5 + SH_C0 sh0 + ..."""
    shN: Float[Tensor, "N B 3"]
    """Higher bands of the harmonics, B = (degree + 1)^2 - 1, in gsplat's (and 3DGS's) order."""
    features: Float[Tensor, "N K"] | None = None
    """Latent features z; the T-dimensional feature is B z (`gsdff.latents`)."""
    reliability: Float[Tensor, "N"] | None = None
    """Agreement of the views on what each Gaussian shows, in [0, 1] (`gsdff.training.lift`); not trained."""
    rasterize_mode: RasterizeMode = "classic"
    """Mode of rasterisation in training, and so of rendering: the opacities of an antialiased scene (Mip-Splatting) are
    those of Gaussians that are blurred by a pixel without loss of energy."""
    origin: Point = ZERO
    """Position of the means' zero in the world, float64; not (0, 0, 0) for coordinates too large for float32."""
    is_part: bool = False
    """Whether these are this rank's part of a scene in training, which all ranks of the job render together."""

    def __len__(self) -> int:
        return len(self.means)

    @property
    def scales(self) -> Float[Tensor, "N 3"]:
        """Standard deviations along the Gaussian's own axes."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, "N"]:
        """Opacity at the centre, in (0, 1)."""
        return self.logit_opacities.sigmoid()

    @property
    def base_colors(self) -> Float[Tensor, "N 3"]:
        """RGB of the constant band, not clamped to [0, 1]."""
        return 0.5 + SH_C0 * self.sh0[:, 0]

    @property
    def sh(self) -> Float[Tensor, "N A 3"]:
        """Coefficients of all bands, A = (degree + 1)^2."""
        return torch.cat([self.sh0, self.shN], dim=1)

    @property
    def sh_degree(self) -> int:
        """Degree of the highest band stored."""
        return isqrt(self.shN.shape[1] + 1) - 1

    @property
    def are_parameters_on_cpu(self) -> bool:
        """Whether all attributes but the features are parameters on the CPU, whose `.grad` can be added to in place."""
        tensors = [tensor for name, tensor in self.items() if name != "features"]
        return all(
            tensor.is_leaf and tensor.requires_grad and not tensor.is_cuda and tensor.is_contiguous()
            for tensor in tensors
        )

    @property
    def is_drawable(self) -> Bool[Tensor, "N"]:
        """Whether a Gaussian can be drawn, and so be written to a file, once opacities and scales are `limited`.

        It cannot without a position or a rotation, or if any value is NaN, or infinite where no limit is meant.
        """
        norms = self.quats.norm(dim=-1)
        drawable = (self.means.abs() <= FARTHEST).all(dim=-1) & (norms > 0)
        for values in (norms, *(tensor for _, tensor in self.limited().items())):
            drawable &= finite_rows(values)
        return drawable

    def limited(self) -> Gaussians:
        """A copy in which opaque, invisible and flat Gaussians, which other programs write as +-inf, are finite."""
        return replace(
            self,
            log_scales=self.log_scales.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE),
            logit_opacities=self.logit_opacities.clamp(-MOST_LOGIT, MOST_LOGIT),
        )

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Iterates over pairs of name and tensor of the attributes that are present."""
        for field in fields(self):
            if isinstance(tensor := getattr(self, field.name), Tensor):
                yield field.name, tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Gaussians:
        """A copy with `function` applied to every attribute: `g.map(lambda t: t[keep])`, `g.map(torch.detach)`."""
        return replace(self, **{name: function(tensor) for name, tensor in self.items()})

    def to(self, device: torch.device | str) -> Gaussians:
        """A copy with its tensors on `device`."""
        return self.map(lambda tensor: tensor.to(device))

    @property
    def positions(self) -> Float64[Tensor, "N 3"]:
        """Positions in the world: `origin` + `means`, in float64."""
        return self.means.double() + torch.tensor(self.origin, dtype=torch.float64, device=self.means.device)

    def relative_to(self, origin: Point) -> Gaussians:
        """A copy at the same positions, as near as float32 allows, whose means are relative to another origin."""
        if origin == self.origin:
            return self
        shift = torch.tensor([a - b for a, b in zip(self.origin, origin, strict=True)], dtype=torch.float64)
        return replace(self, means=(self.means.double() + shift.to(self.means.device)).float(), origin=origin)

    def to_input_frame(self, frame: WorldFrame, origin: Point | None = None) -> Gaussians:
        """A copy converted from the working frame to the input's world; `origin` None takes the frame's."""
        origin = frame.origin if origin is None else origin
        means = frame.relative_to(origin).points_to_input(self.means).float()
        return replace(self, means=means, log_scales=self.log_scales + log(frame.scale), origin=origin)

    def to_working_frame(self, frame: WorldFrame) -> Gaussians:
        """A copy converted from the input's world to the working frame."""
        means = frame.relative_to(self.origin).points_to_working(self.means)
        return replace(self, means=means, log_scales=self.log_scales - log(frame.scale), origin=ZERO)


def finite_rows(tensor: Tensor) -> Bool[Tensor, "N"]:
    """Whether all values of an attribute are finite, for every Gaussian."""
    return tensor.isfinite().reshape(len(tensor), tensor.shape[1:].numel()).all(dim=-1)


def keep_drawable(gaussians: Gaussians, path: Path) -> Gaussians:
    """The Gaussians of a file that can be drawn, `Gaussians.limited`; logs in one line how many cannot.

    Raises `UserError` if there are some and none can be drawn.
    """
    drawable, gaussians = gaussians.is_drawable, gaussians.limited()
    num_dropped = int((~drawable).sum())
    if not num_dropped:
        return gaussians
    reason = "without a finite position, rotation, size, opacity, colour or feature"
    if num_dropped == len(gaussians):
        raise UserError(f"{path}: none of {num_dropped} Gaussians can be drawn, all are {reason}")
    logger.warning("%s: left out %d of %d Gaussians, %s", path, num_dropped, len(gaussians), reason)
    return gaussians.map(lambda tensor: tensor[drawable])
