"""The training loop: stage 1 makes a scene of Gaussians from photos, stage 2 trains features with it."""

import logging
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.checkpoint import save_checkpoint
from gsdff.config import TrainConfig, to_table
from gsdff.densify import Densifier
from gsdff.distill import FeatureTerm, prepare_features
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.initialise import initialise_gaussians
from gsdff.losses import image_loss
from gsdff.render import render_rgb
from gsdff.report import Report
from gsdff.runs import RunFolder
from gsdff.scene import Scene, View

log = logging.getLogger("gsdff")

LAST_MEANS_RATE = 0.01
"""Share of the rate of the means that is left at the end of stage 1."""
FEWEST_POINTS = 4
"""A Gaussian's first size comes from its three nearest neighbours."""


class Trainer:
    """What changes while a run trains, and the one step that changes it.

    Two trainers of one config and scene go through the same bits on a CPU (for one number of threads), whether or not
    one of them was saved and loaded on the way: views come in an order that depends on seed and step alone, and torch's
    generators are part of the state.
    """

    def __init__(self, config: TrainConfig, scene: Scene, device: torch.device):
        if len(scene.points) < FEWEST_POINTS:
            num = len(scene.points)
            raise UserError(f"{scene.root}: expected at least {FEWEST_POINTS} points to start from, got {num}")
        torch.manual_seed(config.seed)
        self.config = config
        self.scene = scene
        self.device = device
        self.step = 0
        self.optimizers: dict[str, torch.optim.Adam] = {}
        self.terms: list[FeatureTerm] = []
        self.densifier = Densifier(config.stage1, scene.extent)
        first = initialise_gaussians(
            scene.points, scene.point_colors, config.stage1.sh_degree, config.stage1.max_gaussians
        )
        if len(first) < len(scene.points):
            log.info("%d of %d points make Gaussians: stage1.max_gaussians", len(first), len(scene.points))
        self._optimise(first)

    @property
    def total_steps(self) -> int:
        """Steps of both stages."""
        return self.config.stage1.steps + (self.config.stage2.steps if self.config.teacher.name != "none" else 0)

    def advance(self) -> dict[str, Tensor]:
        """One step: a view is rendered and compared, parameters follow the gradient, Gaussians come and go.

        Returns scalars: `loss`, its parts, and `mse` of the image.
        """
        stage1 = self.config.stage1
        view_id = view_at(self.step, self.scene.train_ids, self.config.seed)
        view = self._on_device(self.scene.views[view_id])
        background = self._draw_background()
        self._set_means_rate()
        rendered = render_rgb(
            self.gaussians,
            view.camera,
            sh_degree=min(self.step // stage1.sh_interval, stage1.sh_degree),
            background=background,
            rasterize_mode=stage1.rasterize_mode,
            absgrad=stage1.absgrad,
        )
        target = view.target if background is None else view.over(background)
        image = image_loss(rendered.image, target, stage1.ssim_weight)
        values = {term.name: term(self.gaussians, view_id) for term in self.terms}
        loss = image.loss + sum(term.weight * values[term.name] for term in self.terms)
        self.densifier.before_backward(rendered.meta)
        loss.backward()
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        params = dict(self.gaussians.items())
        self.densifier.after_step(params, self.optimizers, self.step, rendered.meta)
        self.gaussians = Gaussians(**params)
        return {"loss": loss, "l1": image.l1, "ssim": image.ssim, "mse": image.mse, **values}

    def start_stage2(self, folder: RunFolder) -> None:
        """Adds features, lifted from the teacher unless they are there already, and the terms that train them."""
        lift = self.gaussians.features is None
        features, terms = prepare_features(self.config, self.scene, self.gaussians, folder.path, self.device, lift=lift)
        self.terms = list(terms)
        if features is not None:
            self.gaussians = replace(self.gaussians, features=torch.nn.Parameter(features))
            self.optimizers["features"] = self._make_optimizer("features", self.gaussians.features)

    def state_dict(self) -> dict[str, Any]:
        """All that a later sitting needs, as plain values and tensors."""
        return {
            "config": to_table(self.config),
            "frame": {"centre": list(self.scene.frame.centre), "scale": self.scene.frame.scale},
            "gaussians": dict(self.gaussians.map(torch.detach).items()),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "densifier": self.densifier.state_dict(),
            "random": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            },
        }

    def load_state_dict(self, step: int, state: dict[str, Any]) -> None:
        """Takes up where `state_dict` left off after `step` steps."""
        self.step = step
        self._optimise(Gaussians(**state["gaussians"]))
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.densifier.load_state_dict(state["densifier"], self.device)
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and state["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["random"]["cuda"])

    def _optimise(self, gaussians: Gaussians) -> None:
        """Makes these the Gaussians to train, each attribute with an optimizer of its own."""
        self.gaussians = gaussians.to(self.device).map(torch.nn.Parameter)
        self.optimizers = {name: self._make_optimizer(name, tensor) for name, tensor in self.gaussians.items()}

    def _make_optimizer(self, name: str, parameter: Tensor) -> torch.optim.Adam:
        return torch.optim.Adam([parameter], lr=getattr(self.config.rates, name), eps=1e-15, fused=True)

    def _set_means_rate(self) -> None:
        """The rate of the means falls exponentially through stage 1 and is in units of the scene's extent."""
        progress = min(1.0, self.step / max(1, self.config.stage1.steps))
        (group,) = self.optimizers["means"].param_groups
        group["lr"] = self.config.rates.means * self.scene.extent * LAST_MEANS_RATE**progress

    def _draw_background(self) -> Float[Tensor, "3"] | None:
        """What shows behind the last Gaussian in this step; None is black."""
        if self.config.dataset.background == "black":
            return None
        if self.config.dataset.background == "white":
            return torch.ones(3, device=self.device)
        return torch.rand(3).to(self.device)

    def _on_device(self, view: View) -> View:
        alpha = None if view.alpha is None else view.alpha.to(self.device)
        return replace(view, camera=view.camera.to(self.device), image=view.image.to(self.device), alpha=alpha)


def train(trainer: Trainer, report: Report, folder: RunFolder) -> None:
    """Runs both stages from where the trainer is; saves as it goes and at the end."""

    def save() -> None:
        report.check(trainer.step)
        save_checkpoint(folder.checkpoints, trainer.step, trainer.state_dict() | {"report": report.state_dict()})

    def run_until(stop: int) -> None:
        while trainer.step < stop:
            measures = trainer.advance()
            report.add(trainer.step, trainer.gaussians, measures)
            if trainer.step % trainer.config.checkpoint_every == 0 or trainer.step == stop:
                save()

    run_until(trainer.config.stage1.steps)
    had_features = trainer.gaussians.features is not None
    trainer.start_stage2(folder)
    run_until(trainer.total_steps)
    if trainer.gaussians.features is not None and not had_features and trainer.step == trainer.config.stage1.steps:
        save()  # no step of stage 2 did


def view_at(step: int, train_ids: list[int], seed: int) -> int:
    """The view of a step: every pass over the training views is a permutation of its own."""
    epoch, place = divmod(step, len(train_ids))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return train_ids[torch.randperm(len(train_ids), generator=generator)[place]]
