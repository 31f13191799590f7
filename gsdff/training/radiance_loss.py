"""The image loss of a training view, and the growing and pruning of Gaussians that it drives."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.gaussians import Gaussians
from gsdff.losses import image_loss
from gsdff.render import render_rgb
from gsdff.scene import Scene
from gsdff.training.densify import Densifier, Optimizers, Params


class RadianceTerm:
    """Renders a view's colours and compares them with its photo: the one term of stage 1, and one of stage 2."""

    weight = 1.0

    def __init__(self, config: TrainConfig, scene: Scene, device: torch.device):
        self.config = config
        self.scene = scene
        self.device = device
        self.densifier = Densifier(config.stage1, scene.extent)
        self._meta: dict[str, Any] = {}

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the scalars to report: `l1`, `ssim` and `mse` of the image."""
        stage1 = self.config.stage1
        view = self.scene.views[view_id].to(self.device)
        background = self._draw_background()
        bands = stage1.sh_degree if step >= stage1.steps else min(step // stage1.sh_interval, stage1.sh_degree)
        rendered = render_rgb(
            gaussians,
            view.camera,
            sh_degree=min(bands, gaussians.sh_degree),
            background=background,
            absgrad=stage1.absgrad,
        )
        target = view.target if background is None else view.over(background)
        image = image_loss(rendered.image, target, stage1.ssim_weight)
        self._meta = rendered.meta
        self.densifier.before_backward(rendered.meta)
        return image.loss, {"l1": image.l1, "ssim": image.ssim, "mse": image.mse}

    def after_step(self, params: Params, optimizers: Optimizers, step: int) -> None:
        """Changes the Gaussians' number in place where `step`, the number of finished steps, says so."""
        self.densifier.after_step(params, optimizers, step, self._meta)

    def _draw_background(self) -> Float[Tensor, "3"] | None:
        """What shows behind the last Gaussian in this step; None is black."""
        if self.config.dataset.background == "black":
            return None
        if self.config.dataset.background == "white":
            return torch.ones(3, device=self.device)
        return torch.rand(3).to(self.device)
