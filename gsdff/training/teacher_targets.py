"""Teacher maps as training targets: resized, cut into strips, cached in memory, and stored on disk."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.device import send
from gsdff.files.checked import load_array, save_array
from gsdff.latents import area_shares
from gsdff.scene import View
from gsdff.training.lift import FeatureTarget
from gsdff.training.view_data import ViewData


@dataclass(frozen=True)
class TargetStrip:
    """Some rows of a target, and the rows of the photo that they cover."""

    view_id: int
    camera: Camera
    """Camera of the whole photo."""
    rows: slice
    """Rows of the photo that the strip covers."""
    latents: Float[Tensor, "h w K"]
    weights: Float[Tensor, "h w"]
    down: Float[Tensor, "h H"]
    """Matrix that averages rows of the photo down to rows of the strip."""
    across: Float[Tensor, "w W"]
    """Matrix that averages columns of the photo down to columns of the strip."""

    def shrink(self, picture: Float[Tensor, "H W D"]) -> Float[Tensor, "h w D"]:
        """Averages a picture of `rows` down to the target's size: each pixel is the mean of the area it covers."""
        if picture.shape[:2] == self.weights.shape:
            return picture
        fewer_rows = (self.down @ picture.flatten(1)).unflatten(1, picture.shape[1:])
        return self.across @ fewer_rows


def make_target(latents: Float[Tensor, "h w K"], view: View) -> FeatureTarget:
    """Makes a target for the camera of `view` from a latent map, at the map's size but no finer than the photo.

    Maps are often square, whatever the shape of the photo: a pixel covers the same part of the photo as it did for the
    network. A side finer than the photo's is averaged down to it, since the Gaussians hold no finer detail. Pixels
    without a teacher feature, and those outside the photo's mask, have weight 0.
    """
    photo = view.camera
    height, width = min(latents.shape[0], photo.height), min(latents.shape[1], photo.width)
    weights = (latents.square().sum(-1) > 0).to(latents.dtype)
    if (height, width) != tuple(latents.shape[:2]):
        stacked = torch.cat([latents, weights[..., None]], dim=-1).permute(2, 0, 1)
        resized = F.interpolate(stacked[None], (height, width), mode="area")[0].permute(1, 2, 0)
        weights = resized[..., -1]
        latents = resized[..., :-1] / weights.clamp_min(1e-6)[..., None]
    if view.mask is not None:
        counts = send(view.mask, weights.device).to(weights.dtype)[None, None]
        weights = weights * F.interpolate(counts, (height, width), mode="area")[0, 0]
    return FeatureTarget(photo.to(latents.device), latents.contiguous(), weights.contiguous())


def enlarge_target(target: FeatureTarget, mode: str = "nearest-exact") -> FeatureTarget:
    """The same target at the size of the photo; `bilinear` leaves out pixels without a teacher feature."""
    height, width = target.camera.height, target.camera.width
    stacked = torch.cat([target.latents * target.weights[..., None], target.weights[..., None]], dim=-1)
    stacked = F.interpolate(stacked.permute(2, 0, 1)[None], (height, width), mode=mode)[0].permute(1, 2, 0)
    weights = stacked[..., -1]
    return replace(target, latents=stacked[..., :-1] / weights.clamp_min(1e-6)[..., None], weights=weights)


def take_strip(target: FeatureTarget, view_id: int, part: int, parts: int) -> TargetStrip:
    """Cuts strip number `part` of `parts` out of a target, from the top; all of it if it has fewer rows than parts."""
    (h, w), camera = target.weights.shape, target.camera
    part, parts = (0, 1) if h < parts else (part, parts)
    first, last = h * part // parts, h * (part + 1) // parts
    top, bottom = first * camera.height // h, -(-last * camera.height // h)
    return TargetStrip(
        view_id,
        camera,
        slice(top, bottom),
        target.latents[first:last],
        target.weights[first:last],
        _area_shares(camera.height, h, camera.K.device)[first:last, top:bottom],
        _area_shares(camera.width, w, camera.K.device),
    )


@lru_cache(maxsize=32)
def _area_shares(length: int, parts: int, device: torch.device) -> Float[Tensor, "parts length"]:
    return send(area_shares(length, parts), device)


@dataclass(frozen=True)
class FilteredMaps:
    """Filtered targets at the size of the photos, in half precision on disk, and on the device as far as they fit.

    A step reads the rows of its strip.
    """

    folder: Path
    data: ViewData
    _kept: dict[str, Float[Tensor, "H W K+1"]] = field(default_factory=dict)

    def save(self, view: View, target: FeatureTarget) -> None:
        """Writes the target of a view."""
        path = self._path(view)
        path.parent.mkdir(parents=True, exist_ok=True)
        stacked = torch.cat([target.latents, target.weights[..., None]], dim=-1)
        save_array(path, stacked.half().cpu().numpy(), view.key)
        if (outdated := self._kept.pop(view.key, None)) is not None:
            self.data.room += outdated.nbytes

    def load(self, view: View, rows: slice) -> tuple[Float[Tensor, "H W K"], Float[Tensor, "H W"]]:
        """Loads latents and weights of some rows; raises `UserError` if the file is damaged."""
        whole = self._kept.get(view.key)
        if whole is None:
            whole = torch.from_numpy(load_array(self._path(view), view.key, "a filtered teacher map"))
            if self.data.device.type == "cuda" and self.data.take(whole.nbytes):
                whole = self._kept[view.key] = send(whole, self.data.device)
        stacked = send(whole[rows], self.data.device).float()
        return stacked[..., :-1], stacked[..., -1]

    def _path(self, view: View) -> Path:
        return self.folder / f"{view.key}.npy"
