"""Undistortion of photos: the pinhole camera of a lens, and resampling a photo for it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8

from gsdff.data.capture import Lens
from gsdff.data.worker import run_worker
from gsdff.errors import UserError


@dataclass(frozen=True)
class SizedLens:
    """A lens, and the size at which its photos are read."""

    lens: Lens
    width: int
    height: int


@dataclass(frozen=True)
class Pinhole:
    """The undistorted camera of a lens, and the sampling grid of its photos."""

    K: Float64[np.ndarray, "3 3"]
    width: int
    height: int
    grid: Float32[np.ndarray, "H W 2"] | None = None
    """Position of each pixel in the distorted photo, in pixels, centres at +0.5; None if there is no distortion."""


def pinhole_of(sized: SizedLens) -> Pinhole | None:
    """The camera of a lens whose model is a pinhole; None for other models."""
    lens = sized.lens
    if lens.model not in ("SIMPLE_PINHOLE", "PINHOLE"):
        return None
    scale = np.array([sized.width / lens.width, sized.height / lens.height, 1.0])
    return Pinhole(intrinsics(*lens.focals_and_centre) * scale[:, None], sized.width, sized.height)


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> Float64[np.ndarray, "3 3"]:
    """Intrinsic matrix K."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def rectify(lenses: list[SizedLens], folder: Path, source: Path) -> dict[SizedLens, Pinhole]:
    """Computes the pinhole of each lens; the grids are memory-mapped from files in `folder`.

    The pinhole is that of COLMAP's image_undistorter: focal lengths kept, the size cut (or extended, up to twice) so
    that no border is blank. A lens without distortion gets no grid. Raises `UserError` naming `source` for lenses that
    no pinhole can replace.
    """
    request = [{**asdict(sized.lens), "to_width": sized.width, "to_height": sized.height} for sized in lenses]
    pinholes = {}
    for sized, answer in zip(lenses, run_worker("rectify", {"lenses": request}, folder), strict=True):
        if "error" in answer:
            params = ", ".join(f"{p:g}" for p in sized.lens.params)
            raise UserError(f"{source}: cannot undistort the {sized.lens.model} camera ({params}): {answer['error']}")
        grid = np.load(answer["grid"], mmap_mode="r") if answer["grid"] else None
        pinholes[sized] = Pinhole(intrinsics(*answer["K"]), answer["width"], answer["height"], grid)
    return pinholes


def resample(image: UInt8[np.ndarray, "H W D"], grid: Float32[np.ndarray, "h w 2"]) -> UInt8[np.ndarray, "h w D"]:
    """Samples the image at positions in pixels, bilinear, as COLMAP's undistorter does."""
    size = torch.tensor([image.shape[1], image.shape[0]])
    where: Float[torch.Tensor, "1 h w 2"] = torch.from_numpy(np.array(grid))[None] * (2 / size) - 1
    values = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    fetched = torch.nn.functional.grid_sample(values, where, padding_mode="border", align_corners=False)
    return fetched[0].permute(1, 2, 0).round().to(torch.uint8).contiguous().numpy()
