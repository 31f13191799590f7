"""The state of a training, and its step: stage 1 fits Gaussians to photos, stage 2 trains features with them."""

from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor
from tqdm import tqdm

from gsdff.config.file import to_table
from gsdff.config.options import TrainConfig
from gsdff.gaussians import Gaussians
from gsdff.io.checkpoint import PART
from gsdff.io.checkpoint_parts import cut_state
from gsdff.io.dataset_summary import summarize
from gsdff.io.runs import RunFolder
from gsdff.render import projections_shared
from gsdff.scene import Scene
from gsdff.things import MaskWeights, Things, recount_members
from gsdff.training.adam import follow
from gsdff.training.borders import BorderTerm, cut_borders, cuts_borders
from gsdff.training.densify import Optimizers, Params
from gsdff.training.feature_loss import prepare_features
from gsdff.training.pace import Pace, is_due, view_at
from gsdff.training.parts import own_rows, shares_gaussians
from gsdff.training.radiance_loss import RadianceTerm
from gsdff.training.random_state import RandomState
from gsdff.training.terms import Term
from gsdff.training.thing_targets import weigh_masks
from gsdff.training.view_data import ViewData
from gsdff.training.view_masks import ViewSegments

COMPARE_EVERY = 200
"""Steps after which ranks compare their Gaussians."""
FINAL_MEANS_RATE = 0.01
"""Learning rate of the means at the end of stage 1, as a share of the initial one."""
SETTLING = 0.5
"""Share of stage 1 after which the other learning rates decay."""


class Trainer:
    """State of a run in training, and the step that advances it.

    Two trainers of the same config and scene are equal to the bit on a CPU (for one number of threads), also if one of
    them is saved and loaded in between: the order of the views depends on seed and step alone, and the state of the
    random numbers is saved. Torch's global generators stay as they are.

    The trainers of all ranks of a job are equal too: each shows a view of its own, and they share gradients, the sums
    for the densification and the state of the random numbers (`gsdff.training.pace`). With the option `shard` each
    holds a part of the Gaussians (`gsdff.training.parts`), and what a trainer has and saves is of its part.
    """

    def __init__(self, config: TrainConfig, scene: Scene, device: torch.device, initial: Gaussians):
        self.config = config
        self.pace = Pace.of(config)
        self.scene = scene
        self.device = device
        self.step = 0
        """Number of finished steps."""
        self.reliability: Tensor | None = None
        """Agreement of the views on every Gaussian, which the lift measures and no step changes."""
        self.optimizers: Optimizers = {}
        self.has_moved_photos = False
        """Whether photos are seen from other poses than the dataset's."""
        self.random = RandomState(config.seed, device)
        self.data = ViewData(scene.views, device)
        self.radiance = RadianceTerm(config, scene, self.data, self.pace)
        self.terms: list[Term] = [self.radiance]
        self.is_part = shares_gaussians(config)
        """Whether `gaussians` are this rank's part of the scene."""
        if self.is_part and not initial.is_part:  # a copy, as a view would keep all of the scene in memory
            initial = initial.map(lambda tensor: tensor[own_rows(len(tensor))].clone())
        self._set_gaussians(initial)

    @cached_property
    def dataset_summary(self) -> dict[str, Any]:
        """Short form of photos, poses and points, by which a resumed run notices others."""
        return summarize(self.scene)

    @property
    def total_steps(self) -> int:
        """Number of steps of both stages."""
        return self.config.stage1.steps + (self.config.stage2.steps if self.config.teacher.name != "none" else 0)

    @property
    def result(self) -> Gaussians:
        """The Gaussians as they are kept: detached, with their reliability once they have features."""
        return replace(self.gaussians.map(torch.detach), reliability=self.reliability)

    def advance(self) -> dict[str, Tensor]:
        """Does one step: renders a training view, follows the gradient of the loss, adds and removes Gaussians.

        Of several ranks each renders a view, and all follow the mean gradient. Returns the scalars of all terms, and
        the loss (their weighted sum) as `loss`.
        """
        before, after = self.step, self._step_after(self.step)
        view_id = self._view_at(before)
        self.data.fetch(self._view_at(after))
        self._set_rates()
        with self.random.in_use():
            scalars = self._follow_gradient(view_id)
            self.step = after
            self._densify(before)
        if is_due(before, after, COMPARE_EVERY):
            self.require_same_gaussians()
        return scalars

    def start_stage2(self, folder: RunFolder) -> None:
        """Adds features, lifted from the teacher unless they were loaded, and the terms that train them."""
        self._leave_photos_moved()
        lift = self.gaussians.features is None
        with self.random.in_use():
            things = self._cut_borders(folder) if lift and cuts_borders(self.config) else {}
            prepared = prepare_features(
                self.config, self.scene, self.gaussians, folder.path, self.data, lift, self.reliability, **things
            )
        self.terms = [*([] if self.config.stage2.freeze_radiance else [self.radiance]), *prepared.terms]
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()  # what is frozen has no gradient, rather than one of zero
        if prepared.features is not None:
            self.reliability = prepared.reliability
            parameter = torch.nn.Parameter(prepared.features)
            self.gaussians = replace(self.gaussians, features=parameter)
            self.optimizers["features"] = self._make_optimizer("features", parameter)
        self.random.load_state_dict(self.pace.ranks.from_first(self.random.state_dict()))  # some may have drawn more

    def _cut_borders(self, folder: RunFolder) -> dict[str, Things]:
        """Cuts Gaussians at the borders of things, and trains them for some steps that do not count."""
        options, segments = self.config.smoothing.things, ViewSegments(self.config, self.scene, folder, self.data)
        segments.make(self.gaussians)

        def weigh(gaussians: Gaussians) -> MaskWeights:
            return weigh_masks(gaussians, self.scene, segments)

        gaussians, things, parents = cut_borders(self.gaussians, weigh, options)
        self._replace_gaussians(gaussians, parents.to(self.device))
        self._set_rates()
        term = BorderTerm(things.instance_ids, self.scene, segments, things.owners, options.borders.weight)
        self.terms = [self.radiance, term]
        seed = self.config.seed + 1  # views in an order of their own
        for step in tqdm(range(0, options.borders.steps, self.pace.stride), desc="borders", unit="step", leave=False):
            self._follow_gradient(view_at(self.pace.turn(step), self.scene.train_ids, seed))
        every = torch.arange(len(self.gaussians))
        return {"things": recount_members(weigh(self.gaussians), things, every)}

    def see_from(self, scene: Scene) -> None:
        """Takes photos to be where they are in `scene`; the dataset's own poses stay those that it is known by."""
        _ = self.dataset_summary
        self.scene = scene
        self.data = ViewData(scene.views, self.device)
        self.radiance.views = self.data.views
        self.has_moved_photos = True

    def require_same_gaussians(self) -> None:
        """Raises `UserError`, on all ranks, if some hold other Gaussians or random numbers than the first."""
        remedy = (
            f"their numbers differ by step {self.step}, as those of unlike machines or of a faulty one may; continue "
            "with `resume` on machines of one kind"
        )
        tensors = {} if self.is_part else dict(self.gaussians.items())
        tensors["random numbers"] = self.random.cpu
        self.pace.ranks.require_equal_tensors(tensors, remedy=remedy)

    def state_dict(self) -> dict[str, Any]:
        """State from which another process can continue, as plain values and tensors."""
        return {
            "config": to_table(self.config),
            "frame": {"centre": list(self.scene.frame.centre), "scale": self.scene.frame.scale},
            "dataset": self.dataset_summary,
            "gaussians": dict(self.result.items()),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "densifier": self.radiance.densifier.state_dict(),
            "exposure": self.radiance.exposure.state_dict(),
            "poses": self.radiance.poses.state_dict(),
            "random": self.random.state_dict(),
        }

    def load_state_dict(self, step: int, state: dict[str, Any]) -> None:
        """Continues from the `state_dict` after `step` steps; raises an error if that is of other Gaussians.

        A whole state is divided among ranks that hold a part each.
        """
        self.step = step
        if self.is_part and PART not in state:
            state = cut_state(state, own_rows(len(state["gaussians"]["means"])))
        stored = Gaussians(**state["gaussians"])
        self.reliability = None if stored.reliability is None else stored.reliability.to(self.device)
        self._set_gaussians(replace(stored, reliability=None))
        for name, tensor in self.gaussians.items():
            saved = state["optimizers"][name]
            moments = saved["state"].get(0)  # None before the first step of this attribute
            may_lack = self.step == 0 or self.config.stage1.steps == 0 or name == "features" or tensor.numel() == 0
            if not (may_lack if moments is None else _are_moments(moments, tensor.shape)):
                raise ValueError(f"the moments of {name} are no float32 numbers of the shape {list(tensor.shape)}")
            own = self.optimizers[name].state_dict()  # rates and the like are those of the options
            self.optimizers[name].load_state_dict(own | {"state": {} if moments is None else {0: moments}})
        self.radiance.densifier.load_state_dict(state["densifier"], self.device)
        if "exposure" in state:  # an earlier version had none
            self.radiance.exposure.load_state_dict(state["exposure"])
            self.radiance.poses.load_state_dict(state["poses"])
        if self.step > self.config.stage1.steps:
            self._leave_photos_moved()
        self.random.load_state_dict(state["random"])

    def _leave_photos_moved(self) -> None:
        """Leaves photos where stage 1 has moved them, if it has, for all that follows."""
        if self.radiance.poses.is_on:
            self.see_from(self.radiance.poses.moved(self.scene))
            self.radiance.poses.is_on = False

    def _step_after(self, step: int) -> int:
        """Number of steps after the next round of the ranks, which ends with the stage at the latest."""
        stage1 = self.config.stage1.steps
        return min(step + self.pace.stride, stage1 if step < stage1 else self.total_steps)

    def _view_at(self, step: int) -> int:
        return view_at(self.pace.turn(step), self.scene.train_ids, self.config.seed)

    def _follow_gradient(self, view_id: int) -> dict[str, Tensor]:
        """Changes the Gaussians along the gradient of the loss for a view; returns the scalars, with the loss."""
        with projections_shared():
            loss, scalars = self._compute_loss(view_id)
        loss.backward()
        scalars = {name: value.detach() for name, value in {"loss": loss, **scalars}.items()}
        self._share(scalars)
        self._step_optimizers()
        return scalars

    def _share(self, scalars: dict[str, Tensor]) -> None:
        """Replaces gradients and scalars by their means over the views of all ranks."""
        ranks, own = self.pace.ranks, self._gradients()
        if self.is_part:
            for gradient in own:  # already the sum over the views
                gradient.div_(ranks.world_size)
            own = []
        ranks.average([*own, *self.radiance.gradients(), *scalars.values()])

    def _gradients(self) -> list[Tensor]:
        """Gradients of the attributes that the terms reach, the same attributes on every rank."""
        return [tensor.grad for _, tensor in self.gaussians.items() if tensor.grad is not None]

    def _compute_loss(self, view_id: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms for a view, and the scalars of all of them."""
        loss, scalars = torch.zeros((), device=self.device), {}
        for term in self.terms:
            value, more = term(self.gaussians, view_id, self.step)
            loss = loss + term.weight * value
            scalars |= more
        return loss, scalars

    def _step_optimizers(self) -> None:
        """Lets every optimizer do a step, and clears the gradients."""
        for name, optimizer in self.optimizers.items():
            if self.device.type == "cpu" and name != "features":
                follow(optimizer, 3 * self.radiance.num_bands if name == "shN" else None)
            else:
                optimizer.step()
                optimizer.zero_grad()

    def _densify(self, before: int) -> None:
        """Replaces the Gaussians by those that the densification of stage 1 makes of them."""
        params = cast(Params, dict(self.gaussians.items()))  # every attribute is a Parameter, see _set_gaussians
        self.radiance.after_step(params, self.optimizers, before, self.step)
        self.gaussians = replace(self.gaussians, **params)

    def _set_gaussians(self, gaussians: Gaussians) -> None:
        """Trains these Gaussians from now on, each attribute with an optimizer of its own."""
        gaussians = replace(gaussians, rasterize_mode=self.config.stage1.rasterize_mode, is_part=self.is_part)
        self.gaussians = gaussians.to(self.device).map(torch.nn.Parameter)
        self.optimizers = {name: self._make_optimizer(name, tensor) for name, tensor in self.gaussians.items()}

    def _replace_gaussians(self, gaussians: Gaussians, parents: Int64[Tensor, "M"]) -> None:
        """Trains parts of the present Gaussians in their place, with the moments of their parents."""
        before = self.optimizers
        self._set_gaussians(gaussians)
        for name, optimizer in self.optimizers.items():
            moments = before[name].state_dict()["state"].get(0)
            if moments is not None:
                rows = {key: value if key == "step" else value[parents] for key, value in moments.items()}
                optimizer.load_state_dict(optimizer.state_dict() | {"state": {0: rows}})

    def _make_optimizer(self, name: str, parameter: Tensor) -> torch.optim.Adam:
        eps = self.config.stage2.adam_eps if name == "features" else 1e-15
        return self.pace.make_adam(parameter, getattr(self.config.rates, name), eps)

    def _set_rates(self) -> None:
        """Lets the learning rates decay exponentially: of the means, which is in units of the scene's extent, over all
        of stage 1, and of all other attributes but the features over the end of it."""
        stage1 = self.config.stage1
        progress = min(1.0, self.step / stage1.steps) if stage1.steps else 1.0
        settling = stage1.final_rates ** max(0.0, (progress - SETTLING) / (1 - SETTLING))
        for name, optimizer in self.optimizers.items():
            (group,) = optimizer.param_groups
            factor = self.scene.extent * FINAL_MEANS_RATE**progress if name == "means" else settling
            if name != "features":
                group["lr"] = getattr(self.config.rates, name) * factor * self.pace.rate_factor


def _are_moments(state: dict[str, Any], shape: torch.Size) -> bool:
    """Whether a state of Adam is one of a parameter of this shape."""
    shapes = {"step": torch.Size(), "exp_avg": shape, "exp_avg_sq": shape}
    return state.keys() == shapes.keys() and all(
        isinstance(moment, Tensor) and moment.dtype == torch.float32 and moment.shape == shapes[name]
        for name, moment in state.items()
    )
