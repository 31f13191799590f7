"""A dataset in short, as a checkpoint keeps it: enough to notice that a resumed run has another one.

Photos are compared by thumbnails, not by their bytes: two machines may decode a JPEG differently by a level or two.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from gsdff.scene import Scene

SIDE = 16
"""Rows and columns of a thumbnail."""
SAMPLES = 256
"""Rows and columns that a thumbnail is made of, up to twice as many."""
SAME_LEVELS = 3
"""Grey levels, of 255, by which the mean of a thumbnail's cell may differ in the same photo."""
SAME_SHARE = 1e-3
"""Share by which a pose, a focal length or a masked area may differ: rounding, not another camera."""
CAMERA_VALUES = 27
"""Numbers of a camera: its pose, its intrinsics, width and height."""


def summarize(scene: Scene) -> dict[str, Any]:
    """Names, cameras, thumbnails and masked shares of the photos, and a hash of the points; 400 bytes a photo."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in (scene.points, scene.point_colors):
        digest.update(tensor.contiguous().numpy().tobytes())
    return {
        "names": [view.name for view in scene.views],
        "cameras": torch.stack(
            [
                torch.cat([view.camera.viewmat.flatten(), view.camera.K.flatten(), torch.tensor(view.image.shape[:2])])
                for view in scene.views
            ]
        ).float(),
        "thumbnails": torch.stack([_shrink(view.image) for view in scene.views]),
        "masked": torch.tensor(
            [0.0 if view.mask is None else 1 - int(view.mask.sum()) / view.mask.numel() for view in scene.views]
        ),
        "points": digest.hexdigest(),
    }


@dataclass(frozen=True)
class Differences:
    """Differences between a dataset and the one that a run was trained on, in words; empty without any."""

    photos: str = ""
    points: str = ""


def compare(saved: Any, scene: Scene) -> Differences | None:
    """Differences from the dataset that `saved` is the summary of; None if it is no summary."""
    if not _is_summary(saved):
        return None
    now = summarize(scene)
    points = "its points" if now["points"] != saved["points"] else ""
    if now["names"] != saved["names"]:
        others = sorted(set(now["names"]) ^ set(saved["names"])) or now["names"]
        return Differences(
            f"{len(saved['names'])} photos before, {len(now['names'])} now (such as {others[0]})", points
        )
    changed = {
        "with another camera": _are_other_numbers(now["cameras"], saved["cameras"]).any(1),
        "that show something else": _differ(now["thumbnails"], saved["thumbnails"]),
        "with another mask": (now["masked"] - saved["masked"]).abs() > SAME_SHARE,
    }
    complaints = [
        f"{int(those.sum())} of {len(those)} photos {what} (such as {now['names'][int(those.int().argmax())]})"
        for what, those in changed.items()
        if those.any()
    ]
    return Differences(", ".join(complaints), points)


def changed_poses(saved: Any, scene: Scene) -> list[str]:
    """Names of the photos whose camera lies elsewhere, or is another way up, than in the dataset of a summary.

    Photos that only one of the two has do not count, and neither do lenses and sizes; none if `saved` is no summary.
    """
    if not _is_summary(saved):
        return []
    before = {name: row[:16].reshape(4, 4) for name, row in zip(saved["names"], saved["cameras"], strict=True)}
    both = [(view, before[view.name]) for view in scene.views if view.name in before]
    return [view.name for view, viewmat in both if _are_other_numbers(view.camera.viewmat, viewmat).any()]


def _are_other_numbers(now: Tensor, before: Tensor) -> Tensor:
    return (now - before).abs() > SAME_SHARE * before.abs().clamp_min(1)


def _shrink(image: UInt8[Tensor, "H W 3"]) -> UInt8[Tensor, "h w"]:
    """Thumbnail in grey, from evenly spaced rows and columns: a photo of 200 megapixels costs no more than others."""
    down, across = (max(1, length // SAMPLES) for length in image.shape[:2])
    grey = image[::down, ::across].float().mean(-1)
    return F.adaptive_avg_pool2d(grey[None], (SIDE, SIDE))[0].round().byte()


def _differ(thumbnails: Tensor, others: Tensor) -> Tensor:
    return ((thumbnails.int() - others.int()).abs() > SAME_LEVELS).flatten(1).any(1)


def _is_summary(saved: Any) -> bool:
    """Whether a value of a checkpoint is a summary, with one row a photo."""
    if not isinstance(saved, dict) or not isinstance(names := saved.get("names"), list):
        return False
    num = len(names)
    expected = {
        "cameras": ((num, CAMERA_VALUES), torch.float32),
        "thumbnails": ((num, SIDE, SIDE), torch.uint8),
        "masked": ((num,), torch.float32),
    }
    are_tensors = all(
        isinstance(tensor := saved.get(key), Tensor) and (tuple(tensor.shape), tensor.dtype) == kind
        for key, kind in expected.items()
    )
    return are_tensors and isinstance(saved.get("points"), str) and all(isinstance(name, str) for name in names)
