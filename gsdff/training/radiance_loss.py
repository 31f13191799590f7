"""Image loss of a training view, and the densification that its gradients drive."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.device import send
from gsdff.gaussians import Gaussians
from gsdff.losses import image_loss
from gsdff.render import render_rgb
from gsdff.scene import Scene
from gsdff.training.densify import Densifier, Optimizers, Params
from gsdff.training.parts import choose_strategy
from gsdff.training.view_data import ViewData


class RadianceTerm:
    """Image loss of a rendered view against its photo: the only term of stage 1, and one term of stage 2."""

    weight = 1.0

    def __init__(self, config: TrainConfig, scene: Scene, data: ViewData):
        self.config = config
        self.device = data.device
        self.views = data.views
        self.densifier = Densifier(config.stage1, scene.extent, choose_strategy(config))
        self._meta: dict[str, Any] = {}

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss, and the scalars to log: `l1`, `ssim` and `mse` of the image."""
        stage1 = self.config.stage1
        view = self.views[view_id]
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
        image = image_loss(rendered.image, target, stage1.ssim_weight, view.mask)
        self._meta = rendered.meta
        self.densifier.before_backward(rendered.meta)
        return image.loss, {"l1": image.l1, "ssim": image.ssim, "mse": image.mse}

    def after_step(self, params: Params, optimizers: Optimizers, before: int, step: int) -> None:
        """Adds and removes Gaussians in place, if a refinement became due since `before` steps, at `step` now."""
        self.densifier.after_step(params, optimizers, before, step, self._meta)

    def _draw_background(self) -> Float[Tensor, "3"] | None:
        """Background colour of this step; None is black."""
        if self.config.dataset.background == "black":
            return None
        if self.config.dataset.background == "white":
            return torch.ones(3, device=self.device)
        return send(torch.rand(3), self.device)
