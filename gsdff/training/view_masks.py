"""The masks of a run: made of its renderings or photos, kept in its folder, read while it trains."""

import torch
from jaxtyping import Int32, UInt8
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.io.runs import RunFolder
from gsdff.masks import Segmenter, open_segmenter
from gsdff.masks.store import MaskStore, make_masks
from gsdff.render import render_rgb
from gsdff.scene import Scene, View
from gsdff.training.smoothing_losses import needs_segments
from gsdff.training.teacher_targets import Ready


class ViewSegments:
    """The segments of every training view, by its id."""

    def __init__(self, config: TrainConfig, scene: Scene, folder: RunFolder, device: torch.device):
        self.config = config
        self.scene = scene
        self.device = device
        self.folder = config.masks.cache or folder.masks
        self.views = [scene.views[view_id] for view_id in scene.train_ids]
        self.ready = Ready(self._load, lambda labels: labels.nbytes)

    def __getitem__(self, view_id: int) -> Int32[Tensor, "H W"]:
        """At the photo's size; 0 where there is no segment."""
        return self.ready[view_id]

    def make(self, gaussians: Gaussians) -> None:
        """Makes what is missing, or no longer what these Gaussians look like."""
        self.ready.clear()
        is_rendered = self.config.masks.source == "rendered"

        def rendered(view: View) -> UInt8[Tensor, "H W 3"]:
            return draw(gaussians, view, self.config)

        image_of = {"image_of": rendered} if is_rendered else {}
        make_masks(_open(self.config, self.device), self.views, self.folder, **image_of)

    def are_there(self) -> bool:
        """Whether every view has some, be they of an earlier state of the scene."""
        return all((self.folder / f"{view.stem}.png").is_file() for view in self.views)

    def _load(self, view_id: int) -> Int32[Tensor, "H W"]:
        return MaskStore(self.folder).load(self.scene.views[view_id]).to(self.device)


def check_segments(config: TrainConfig, scene: Scene) -> None:
    """Raises `UserError` for masks that smoothing needs and cannot have; cheap."""
    if needs_segments(config.smoothing):
        segmenter = _open(config, torch.device("cpu"))
        for view_id in scene.train_ids:
            segmenter.check(scene.views[view_id])


@torch.no_grad()
def draw(gaussians: Gaussians, view: View, config: TrainConfig) -> UInt8[Tensor, "H W 3"]:
    """The scene's colours in a view, as a picture on the CPU."""
    camera = view.camera.to(gaussians.means.device)
    image = render_rgb(gaussians, camera).image
    return (image.clamp(0, 1) * 255).round().byte().cpu()


def _open(config: TrainConfig, device: torch.device) -> Segmenter:
    segmenter = open_segmenter(config.masks, device)
    if segmenter is None:
        raise UserError(
            "--masks none: smoothing inside segments (--smoothing.sam, --smoothing.tv.segments) needs masks; "
            "expected sam, felzenszwalb, precomputed or auto"
        )
    return segmenter
