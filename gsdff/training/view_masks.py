"""Masks of a run: made from its renderings or photos, stored in its folder, read during training."""

from functools import partial

import torch
from jaxtyping import Int32, UInt8
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.config.smoothing import needs_segments
from gsdff.device import send
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.io.runs import RunFolder
from gsdff.masks import Segmenter, open_segmenter
from gsdff.masks.store import MaskStore, make_masks
from gsdff.render import render_rgb
from gsdff.scene import Scene, View
from gsdff.training.view_data import ViewData


class ViewSegments:
    """Segments of the training views, by the id of the view."""

    def __init__(self, config: TrainConfig, scene: Scene, folder: RunFolder, data: ViewData):
        self.config = config
        self.scene = scene
        self.data = data
        self.folder = folder.masks
        self.views = [scene.views[view_id] for view_id in scene.train_ids]
        self.cache = data.cache(self.load)

    def __getitem__(self, view_id: int) -> Int32[Tensor, "H W"]:
        """Label map at the size of the photo; 0 is no segment."""
        return self.cache[view_id]

    def make(self, gaussians: Gaussians) -> None:
        """Makes the masks that are missing or do not fit the Gaussians any more."""
        self.cache.clear()
        segmenter = _open(self.config, self.data.device)
        if self.config.masks.source == "rendered":
            image_of = partial(render_picture, gaussians)
            make_masks(segmenter, self.views, self.folder, image_of, cache=self.config.masks.cache)
        else:
            make_masks(segmenter, self.views, self.folder, cache=self.config.masks.cache)

    def are_complete(self) -> bool:
        """Whether every view has masks on disk, possibly of an earlier state of the scene."""
        return all(MaskStore(self.folder).holds(view) for view in self.views)

    def load(self, view_id: int) -> Int32[Tensor, "H W"]:
        """Label map, read from its file."""
        return send(MaskStore(self.folder).load(self.scene.views[view_id]), self.data.device)


def check_masks(config: TrainConfig, scene: Scene) -> None:
    """Raises `UserError` if smoothing needs masks that cannot be made; makes none."""
    if needs_segments(config.smoothing):
        segmenter = _open(config, torch.device("cpu"))
        for view_id in scene.train_ids:
            segmenter.check(scene.views[view_id])


@torch.no_grad()
def render_picture(gaussians: Gaussians, view: View) -> UInt8[Tensor, "H W 3"]:
    """Renders the colours of the scene in a view, as an 8-bit picture on the CPU."""
    camera = view.camera.to(gaussians.means.device)
    image = render_rgb(gaussians, camera).image
    return (image.clamp(0, 1) * 255).round().byte().cpu()


def _open(config: TrainConfig, device: torch.device) -> Segmenter:
    segmenter = open_segmenter(config.masks, device)
    if segmenter is None:
        raise UserError(
            "`masks.name` none: smoothing inside segments (`smoothing.sam.form`, `smoothing.tv.segments`) needs masks; "
            "expected sam, felzenszwalb, precomputed or auto"
        )
    return segmenter
