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
from gsdff.training.exposure import Exposure
from gsdff.training.few_photos import FewPhotos
from gsdff.training.mcmc import Relocation
from gsdff.training.pace import Pace
from gsdff.training.parts import choose_strategy
from gsdff.training.poses import PoseRefinement
from gsdff.training.view_data import ViewData


class RadianceTerm:
    """Image loss of a rendered view against its photo: the only term of stage 1, and one term of stage 2."""

    weight = 1.0

    def __init__(self, config: TrainConfig, scene: Scene, data: ViewData, pace: Pace):
        self.config = config
        self.device = data.device
        self.views = data.views
        if config.stage1.strategy == "mcmc":
            self.densifier = Relocation(config.stage1, scene.extent, config.rates.means * scene.extent)
        else:
            self.densifier = Densifier(config.stage1, scene.extent, choose_strategy(config))
        self.exposure = Exposure(config.stage1.exposure, scene, config.stage1.steps, pace, data.device)
        self.poses = PoseRefinement(
            scene, config.stage1.steps, pace, data.device, is_on=config.stage1.refine_poses and config.stage1.steps > 0
        )
        self.few_photos = FewPhotos(config, scene, data.device)
        self._meta: dict[str, Any] = {}
        self.num_bands = 0
        """Number of higher bands of the harmonics that the last picture had."""

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss, and the scalars to log: `l1`, `ssim` and `mse` of the image."""
        stage1 = self.config.stage1
        view = self.views[view_id]
        background = self._draw_background()
        bands = stage1.sh_degree if step >= stage1.steps else min(step // stage1.sh_interval, stage1.sh_degree)
        bands = min(bands, gaussians.sh_degree)
        rendered = render_rgb(
            gaussians,
            self.poses.move(view.camera, view_id) if step < stage1.steps else view.camera,
            sh_degree=bands,
            background=background,
            absgrad=stage1.absgrad,
            adds_gradients=True,
        )
        self.num_bands = (bands + 1) ** 2 - 1
        target = view.target if background is None else view.over(background)
        self.exposure.observe(rendered.image, target, view.mask, view_id, step)
        image = image_loss(self.exposure.apply(rendered.image, view_id), target, stage1.ssim_weight, view.mask)
        self._meta = rendered.meta
        self.densifier.before_backward(rendered.meta)
        loss = image.loss
        if step < stage1.steps:
            between = self.few_photos.compare(gaussians, step, bands, background)
            loss = loss + self.densifier.prior(gaussians) + between
        return loss, {"l1": image.l1, "ssim": image.ssim, "mse": image.mse}

    def after_step(self, params: Params, optimizers: Optimizers, before: int, step: int) -> None:
        """Follows the gradients of photos' colours and poses; adds and removes Gaussians, in place.

        The latter if a refinement became due since `before` steps, at `step` now.
        """
        self.exposure.after_step(step)
        self.poses.after_step(step)
        self.densifier.after_step(params, optimizers, before, step, self._meta)

    def gradients(self) -> list[Tensor]:
        """Gradients of what is trained besides the Gaussians; of the same things on every rank."""
        return self.exposure.gradients() + self.poses.gradients()

    def _draw_background(self) -> Float[Tensor, "3"] | None:
        """Background colour of this step; None is black."""
        if self.config.dataset.background == "black":
            return None
        if self.config.dataset.background == "white":
            return torch.ones(3, device=self.device)
        return send(torch.rand(3), self.device)
