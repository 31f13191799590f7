"""The training loop: stage 1 makes a scene of Gaussians from photos, stage 2 trains features with it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from gsdff.config.file import to_table
from gsdff.config.options import TrainConfig
from gsdff.gaussians import Gaussians
from gsdff.io.checkpoint import save_checkpoint
from gsdff.io.runs import RunFolder
from gsdff.scene import Scene
from gsdff.training.feature_loss import prepare_features
from gsdff.training.logger import TrainingLogger
from gsdff.training.radiance_loss import RadianceTerm

LAST_MEANS_RATE = 0.01
"""Share of the rate of the means that is left at the end of stage 1."""


class Term(Protocol):
    """A part of the loss."""

    weight: float

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The term for one training view, unweighted, and scalars to report."""


class Trainer:
    """What changes while a run trains, and the one step that changes it.

    Two trainers of one config and scene go through the same bits on a CPU (for one number of threads), whether or not
    one of them was saved and loaded on the way: views come in an order that depends on seed and step alone, and torch's
    generators are part of the state.
    """

    def __init__(self, config: TrainConfig, scene: Scene, device: torch.device, first: Gaussians):
        torch.manual_seed(config.seed)
        self.config = config
        self.scene = scene
        self.device = device
        self.step = 0
        self.optimizers: dict[str, torch.optim.Adam] = {}
        self.radiance = RadianceTerm(config, scene, device)
        self.terms: list[Term] = [self.radiance]
        self._optimise(replace(first, rasterize_mode=config.stage1.rasterize_mode))

    @property
    def total_steps(self) -> int:
        """Steps of both stages."""
        return self.config.stage1.steps + (self.config.stage2.steps if self.config.teacher.name != "none" else 0)

    def advance(self) -> dict[str, Tensor]:
        """One step: a view is rendered and compared, parameters follow the gradient, Gaussians come and go.

        Returns the scalars of all terms, and their weighted sum as `loss`.
        """
        view_id = view_at(self.step, self.scene.train_ids, self.config.seed)
        self._set_means_rate()
        loss, measures = torch.zeros((), device=self.device), {}
        for term in self.terms:
            value, scalars = term(self.gaussians, view_id, self.step)
            loss = loss + term.weight * value
            measures |= scalars
        loss.backward()
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        params = dict(self.gaussians.items())
        self.radiance.after_step(params, self.optimizers, self.step)
        self.gaussians = replace(self.gaussians, **params)
        return {"loss": loss, **measures}

    def start_stage2(self, folder: RunFolder) -> None:
        """Adds features, lifted from the teacher unless they are there already, and the terms that train them."""
        lift = self.gaussians.features is None
        features, terms = prepare_features(self.config, self.scene, self.gaussians, folder.path, self.device, lift=lift)
        self.terms = [*([] if self.config.stage2.freeze_radiance else [self.radiance]), *terms]
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
            "densifier": self.radiance.densifier.state_dict(),
            "random": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            },
        }

    def load_state_dict(self, step: int, state: dict[str, Any]) -> None:
        """Takes up where `state_dict` left off after `step` steps."""
        self.step = step
        self._optimise(Gaussians(**state["gaussians"], rasterize_mode=self.config.stage1.rasterize_mode))
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.radiance.densifier.load_state_dict(state["densifier"], self.device)
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and state["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["random"]["cuda"])

    def _optimise(self, gaussians: Gaussians) -> None:
        """Makes these the Gaussians to train, each attribute with an optimizer of its own."""
        self.gaussians = gaussians.to(self.device).map(torch.nn.Parameter)
        self.optimizers = {name: self._make_optimizer(name, tensor) for name, tensor in self.gaussians.items()}

    def _make_optimizer(self, name: str, parameter: Tensor) -> torch.optim.Adam:
        eps = self.config.stage2.adam_eps if name == "features" else 1e-15
        return torch.optim.Adam([parameter], lr=getattr(self.config.rates, name), eps=eps, fused=True)

    def _set_means_rate(self) -> None:
        """The rate of the means falls exponentially through stage 1 and is in units of the scene's extent."""
        stage1_steps = self.config.stage1.steps
        progress = min(1.0, self.step / stage1_steps) if stage1_steps else 1.0
        (group,) = self.optimizers["means"].param_groups
        group["lr"] = self.config.rates.means * self.scene.extent * LAST_MEANS_RATE**progress


def train(
    trainer: Trainer,
    logger: TrainingLogger,
    folder: RunFolder,
    advance: Callable[[Trainer], dict[str, Tensor]] = lambda trainer: trainer.advance(),
) -> None:
    """Runs both stages from where the trainer is; saves as it goes and at the end.

    `advance` does a step; who watches gives one that waits for its turn (`gsdff.viewer.live`).
    """

    def save() -> None:
        logger.check_finite(trainer.step)
        save_checkpoint(folder.checkpoints, trainer.step, trainer.state_dict() | {"report": logger.state_dict()})

    def run_until(stop: int) -> None:
        while trainer.step < stop:
            measures = advance(trainer)
            logger.add(trainer.step, trainer.gaussians, measures)
            if trainer.step % trainer.config.checkpoint_every == 0 or trainer.step == stop:
                save()

    run_until(trainer.config.stage1.steps)
    had_features = trainer.gaussians.features is not None
    trainer.start_stage2(folder)
    run_until(trainer.total_steps)
    if trainer.gaussians.features is not None and not had_features and trainer.step == trainer.config.stage1.steps:
        save()  # no step of stage 2 did
    if trainer.total_steps == 0:
        logger.write_line(0, trainer.gaussians, {"heldout_psnr": logger.score_held_out(0, trainer.gaussians)})


def view_at(step: int, train_ids: list[int], seed: int) -> int:
    """The view of a step: every pass over the training views is a permutation of its own."""
    epoch, place = divmod(step, len(train_ids))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return train_ids[torch.randperm(len(train_ids), generator=generator)[place]]
