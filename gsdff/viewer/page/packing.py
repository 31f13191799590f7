"""Gaussians in few bytes, as the page keeps and draws them: packed, and unpacked again to see what was lost.

Sixteen bytes a Gaussian are Spark's own layout (version 2.2.0), so the page draws exactly what `unpack` returns: colour
and opacity in 8 bits, positions as float16, axis and angle of the rotation and logarithms of scales in 8 bits. Latents
are unit vectors in 8 bits with one step for all: queries are cosines, which do not depend on a latent's length.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from gsdff.gaussians import SH_C0, Gaussians
from gsdff.latents import MIN_NORM

SPLAT_BYTES = 16
BANDS = ((0, 3, 31), (3, 8, 31), (8, 15, 15))
"""Bands of the harmonics: first coefficient in `shN`, the one after the last, and the largest number stored of one.
That is half of what Spark has room for, or less: the error hardly shows, and the file is smaller."""
OUTLIERS = 1e-3
"""Share of colours, at either end, that may be clamped so that the others get finer steps."""
FARTHEST = 65504.0
"""Largest float16; positions beyond are drawn there."""
LEAST_LOG_SCALE, MOST_LOG_SCALE = -14.0, 6.0
"""Limits of log scales in the working frame. What is thinner is drawn as thin as this, far below a pixel; without
limits one flat Gaussian would make the steps of all others coarse."""
LEVELS = 127
"""Largest number of a latent in 8 bits."""
LEAST_SPAN = 1e-6
"""Least range of values that is divided into steps."""
BLOCK = 1 << 15
"""Gaussians that are packed at a time."""


@dataclass(frozen=True, eq=False)
class PackedScene:
    """Packed Gaussians; arrays have a row per Gaussian, in the order of the scene."""

    splats: UInt8[np.ndarray, "N 16"]
    harmonics: tuple[Int8[np.ndarray, "N _"], ...]
    """Whole bands, each coefficient's red, green and blue one after another."""
    latents: Int8[np.ndarray, "N K"] | None
    color_range: tuple[float, float]
    log_scale_range: tuple[float, float]
    band_steps: tuple[float, ...]
    latent_step: float


def pack(gaussians: Gaussians, *, has_harmonics: bool = True) -> PackedScene:
    """Packs Gaussians, which must be on the CPU and near the origin (the working frame): positions become float16.

    Without harmonics a Gaussian keeps the colour of degree 0.
    """
    colors = gaussians.base_colors.double().numpy()
    low, high = np.quantile(colors, [OUTLIERS, 1 - OUTLIERS]) if colors.size else (0.0, 1.0)
    color_range = _span(min(low, 0.0), max(high, 1.0))
    smallest, largest = _bounds(gaussians.log_scales.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE))
    scale_range = _span(min(smallest, 0.0), max(largest, -20.0))
    splats = np.empty((len(gaussians), SPLAT_BYTES), np.uint8)
    for rows in _blocks(len(gaussians)):
        splats[rows] = _pack_splats(_take(gaussians, rows), color_range, scale_range)
    harmonics, steps = _pack_harmonics(gaussians.shN if has_harmonics else gaussians.shN[:, :0])
    latents, latent_step = (None, 0.0) if gaussians.features is None else _pack_latents(gaussians.features)
    return PackedScene(splats, harmonics, latents, color_range, scale_range, steps, latent_step)


def unpack(packed: PackedScene, like: Gaussians) -> Gaussians:
    """The Gaussians that the page draws and queries; what is not stored per Gaussian is that of `like`."""
    splats = packed.splats
    low, high = packed.color_range
    colors = low + (high - low) * splats[:, :3] / 255
    low, high = packed.log_scale_range
    log_scales = low + (high - low) * (splats[:, 12:15].astype(np.float64) - 1) / 254
    means = np.ascontiguousarray(splats[:, 4:10]).view("<f2").astype(np.float32)
    bands = [step * band.astype(np.float64) for band, step in zip(packed.harmonics, packed.band_steps, strict=True)]
    shN = np.concatenate([np.zeros((len(splats), 0)), *bands], axis=1).reshape(len(splats), -1, 3)
    features = None if packed.latents is None else unpack_latents(packed)
    return replace(
        like,
        means=torch.from_numpy(means),
        quats=torch.from_numpy(_decode_rotations(splats[:, [10, 11, 15]])).float(),
        log_scales=torch.from_numpy(log_scales).float(),
        logit_opacities=torch.from_numpy(splats[:, 3] / 255).clamp(1e-6, 1 - 1e-6).logit().float(),
        sh0=torch.from_numpy((colors - 0.5) / SH_C0).float()[:, None],
        shN=torch.from_numpy(shN).float(),
        features=features,
    )


def unpack_latents(packed: PackedScene) -> Float[Tensor, "N K"]:
    """Latents as the page queries them, of about unit length, or zero where nothing is."""
    assert packed.latents is not None, "the scene has features"
    return torch.from_numpy(packed.latents).float() * packed.latent_step


def _span(low: float, high: float) -> tuple[float, float]:
    return float(low), float(max(high, low + LEAST_SPAN))


def _share(values: Float[np.ndarray, "N D"], span: tuple[float, float]) -> Float[np.ndarray, "N D"]:
    low, high = span
    return ((values - low) / (high - low)).clip(0, 1)


def _bounds(values: Float[Tensor, "*S"]) -> tuple[float, float]:
    """Least and largest value; zero for none."""
    if not values.numel():
        return 0.0, 0.0
    low, high = values.aminmax()
    return float(low), float(high)


def _blocks(num: int) -> Iterator[slice]:
    """Rows that are packed at a time, so that what is in between stays near the processor."""
    return (slice(first, first + BLOCK) for first in range(0, num, BLOCK))


def _take(gaussians: Gaussians, rows: slice) -> Gaussians:
    return gaussians.map(lambda tensor: tensor[rows])


def _pack_splats(
    gaussians: Gaussians, color_range: tuple[float, float], scale_range: tuple[float, float]
) -> UInt8[np.ndarray, "n 16"]:
    colors = _share(gaussians.base_colors.double().numpy(), color_range)
    rgba = np.concatenate([colors, gaussians.opacities.double().numpy()[:, None]], axis=1)
    half = gaussians.means.clamp(-FARTHEST, FARTHEST).numpy().astype("<f2").view(np.uint8).reshape(-1, 6)
    quats = _encode_rotations(gaussians.quats.double().numpy())
    log_scales = gaussians.log_scales.double().clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE).numpy()
    # 0 is Spark's mark of a flat Gaussian
    scales = 1 + np.round(254 * _share(log_scales, scale_range))
    parts = [np.round(255 * rgba.clip(0, 1)), half, quats[:, :2], scales, quats[:, 2:]]
    return np.concatenate([part.astype(np.uint8) for part in parts], axis=1)


def _pack_latents(features: Float[Tensor, "N K"]) -> tuple[Int8[np.ndarray, "N K"], float]:
    """Unit vectors in steps, and the step, which is a float32, as the page multiplies by."""

    def units(rows: slice) -> Float[Tensor, "n K"]:
        block = features[rows]
        found = F.normalize(block.double(), dim=1, eps=MIN_NORM)
        found[block.norm(dim=1) < MIN_NORM] = 0
        return found

    largest = max((float(units(rows).abs().max()) for rows in _blocks(len(features))), default=0.0)
    step = float(np.float32(max(largest, LEAST_SPAN) / LEVELS))
    packed = np.empty(features.shape, np.int8)
    for rows in _blocks(len(features)):
        packed[rows] = (units(rows) / step).round().clamp(-LEVELS, LEVELS).to(torch.int8).numpy()
    return packed, step


def _pack_harmonics(shN: Float[Tensor, "N B 3"]) -> tuple[tuple[Int8[np.ndarray, "N _"], ...], tuple[float, ...]]:
    bands, steps = [], []
    for first, last, levels in BANDS:
        if shN.shape[1] < last:
            break
        band = shN[:, first:last].reshape(len(shN), -1)
        low, high = _bounds(band)
        steps.append(max(high, -low, LEAST_SPAN) / levels)
        packed = np.empty(band.shape, np.int8)
        for rows in _blocks(len(band)):
            packed[rows] = (band[rows].double() / steps[-1]).round().to(torch.int8).numpy()
        bands.append(packed)
    return tuple(bands), tuple(steps)


def _encode_rotations(quats: Float[np.ndarray, "N 4"]) -> UInt8[np.ndarray, "N 3"]:
    """Axis on an octahedron and angle of quaternions wxyz, a byte for each of the three numbers."""
    quats = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    quats = np.where(quats[:, :1] < 0, -quats, quats)
    angles = 2 * np.arccos(quats[:, 0].clip(-1, 1))
    lengths = np.linalg.norm(quats[:, 1:], axis=1, keepdims=True)
    axes = np.where(lengths < 1e-6, [1.0, 0.0, 0.0], quats[:, 1:] / np.maximum(lengths, 1e-6))
    axes = axes / np.abs(axes).sum(1, keepdims=True)
    folded = (1 - np.abs(axes[:, 1::-1])) * np.where(axes[:, :2] >= 0, 1, -1)
    plane = np.where(axes[:, 2:] < 0, folded, axes[:, :2])
    return np.round(np.concatenate([255 * (plane * 0.5 + 0.5), 255 / np.pi * angles[:, None]], axis=1)).astype(np.uint8)


def _decode_rotations(codes: UInt8[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 4"]:
    plane = codes[:, :2] / 255 * 2 - 1
    heights = 1 - np.abs(plane).sum(1, keepdims=True)
    plane = plane - np.where(plane >= 0, 1, -1) * np.maximum(-heights, 0)
    axes = np.concatenate([plane, heights], axis=1)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    halves = codes[:, 2:] / 255 * np.pi / 2
    return np.concatenate([np.cos(halves), axes * np.sin(halves)], axis=1)
