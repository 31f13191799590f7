"""Colours of photos relative to the scene: exposure and white balance that change from photo to photo."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.config.options import ExposureChoice
from gsdff.errors import UserError
from gsdff.files.reading import read_json
from gsdff.files.writing import whole_file
from gsdff.scene import Scene
from gsdff.training.pace import Pace

log = logging.getLogger("gsdff")

RATE = 2e-3
"""Learning rate of Adam at the start of stage 1."""
FINAL_RATE = 0.1
"""Learning rate at its end, as a share of that."""
WATCHED = (0.1, 0.25)
"""Part of stage 1 in which photos are compared with renderings, which are then what the other photos agree on."""
LEAST_SPREAD = 0.06
"""Spread of the photos' brightness, as a root mean square of logarithms, from which `auto` corrects it. Photos of one
exposure have 0.014 to 0.015 (room_a, camvid, the demo), those of fox, a video, 0.041: less is better left, as held-out
photos have the exposure of their neighbours, and a scene that was not corrected shows them in it."""
LEAST_WATCHED = 50
"""Fewest steps of that part with which `auto` decides: renderings of a shorter training are no picture yet."""
DARKEST = 1e-3
REMEDY = "copy the run again, or train it again"


class Exposure:
    """An affine map of RGB for every training photo, applied to renderings before they are compared with it.

    The mean of all maps is the identity, so that the scene keeps the colours of the photos. Source: the affine models
    of "NeRF in the Wild" (Martin-Brualla et al. 2021) and of Hierarchical 3DGS (Kerbl et al. 2024), without a network.
    """

    def __init__(self, choice: ExposureChoice, scene: Scene, steps: int, pace: Pace, device: torch.device | str):
        self.steps = steps
        """Number of steps of stage 1."""
        self._rows = {view_id: row for row, view_id in enumerate(scene.train_ids)}
        self._names = [scene.views[view_id].name for view_id in scene.train_ids]
        num = len(self._names)
        self.is_on = choice == "affine"
        self._is_decided = choice != "auto"
        self.deviations = torch.zeros(num, 3, 4, device=device, requires_grad=True)
        """Maps less the identity; columns are R, G, B and the constant."""
        self.pace = pace
        self._sums = torch.zeros(num, 4, device=device)
        """Logarithms of photo over rendering, by channel, and their numbers."""
        self._optimizer = pace.make_adam(self.deviations, RATE, 1e-15)

    def apply(self, image: Float[Tensor, "H W 3"], view_id: int) -> Float[Tensor, "H W 3"]:
        """The rendering in the colours of a training photo."""
        if not self.is_on:
            return image
        deviation = self.deviations[self._rows[view_id]] - self.deviations.mean(0)
        return image + image @ deviation[:, :3].T + deviation[:, 3]

    @torch.no_grad()
    def observe(
        self, image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], mask: Bool[Tensor, "H W"] | None,
        view_id: int, step: int,
    ) -> None:  # fmt: skip
        """Compares a rendering with its photo, while `auto` has not decided."""
        if self._is_decided or not self._first <= step < self._last:
            return
        weight = torch.ones_like(image[..., :1]) if mask is None else mask[..., None].to(image)
        means = [(picture * weight).sum((0, 1)).clamp_min(DARKEST) for picture in (target, image)]
        self._sums[self._rows[view_id], :3] += means[0].log() - means[1].log()
        self._sums[self._rows[view_id], 3] += 1

    def gradients(self) -> list[Tensor]:
        """The gradient of the maps, if a step has compared colours: on all ranks or on none."""
        return [] if self.deviations.grad is None else [self.deviations.grad]

    def after_step(self, step: int) -> None:
        """Follows the gradient; `auto` decides at the end of its watch. `step` is the number of finished steps."""
        if self.is_on:
            progress = min(1.0, step / self.steps) if self.steps else 1.0
            self._optimizer.param_groups[0]["lr"] = RATE * FINAL_RATE**progress * self.pace.rate_factor
            self._optimizer.step()
            self._optimizer.zero_grad()
        if not self._is_decided and step >= self._last:
            self._decide()

    def state_dict(self) -> dict[str, Any]:
        """State as plain values and tensors."""
        return {
            "is_on": self.is_on,
            "is_decided": self._is_decided,
            "deviations": self.deviations.detach(),
            "sums": self._sums,
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a `state_dict` of a run on the same photos."""
        self.is_on, self._is_decided = state["is_on"], state["is_decided"]
        with torch.no_grad():
            self.deviations.copy_(state["deviations"])
            self._sums.copy_(state["sums"])
        self._optimizer.load_state_dict(state["optimizer"])

    def write(self, path: Path) -> None:
        """Writes the maps of all photos by name, as `read` reads them; nothing if photos are not corrected."""
        if not self.is_on:
            return
        maps = torch.eye(3, 4) + (self.deviations - self.deviations.mean(0)).detach().cpu()
        with whole_file(path) as partial:
            content = dict(zip(self._names, maps.tolist(), strict=True))
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def read(self, path: Path) -> None:
        """Starts from the maps that another run has written; photos that it did not have start from the identity.

        Raises `UserError` for a file that holds something else.
        """
        maps = read_json(path, "maps of the photos' colours")
        if not isinstance(maps, dict):
            raise UserError(f"{path}: expected a map of colours for every photo; {REMEDY}")
        with torch.no_grad():
            for row, name in enumerate(self._names):
                if name in maps:
                    self.deviations[row] = (_as_map(maps[name], name, path) - torch.eye(3, 4)).to(self.deviations)
        self.is_on = self._is_decided = True

    @property
    def _first(self) -> int:
        return round(WATCHED[0] * self.steps)

    @property
    def _last(self) -> int:
        return round(WATCHED[1] * self.steps)

    @torch.no_grad()
    def _decide(self) -> None:
        """Turns the correction on if photos differ, from the brightness that they were seen with."""
        self._is_decided = True
        if self._last - self._first < LEAST_WATCHED:
            return
        self.pace.ranks.add_up([self._sums])
        seen = (self._sums[:, 3:] > 0).float()
        gains = self._sums[:, :3] / self._sums[:, 3:].clamp_min(1)
        gains = seen * (gains - (seen * gains).sum(0) / seen.sum().clamp_min(1))
        spread = float((gains.square().sum() / (3 * seen.sum()).clamp_min(1)).sqrt())  # the only wait for a card
        log.debug("photos differ in brightness by %.4f", spread)
        if spread >= LEAST_SPREAD:
            self.is_on = True
            self.deviations[:, :, :3] = torch.diag_embed(gains.exp() - 1)
            log.info(
                "the photos differ in brightness by %.0f %%: each gets a map of its colours (`stage1.exposure`)",
                100 * spread,
            )


def _as_map(value: Any, name: str, path: Path) -> Float[Tensor, "3 4"]:
    try:
        found = torch.tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(0)
    if found.shape != (3, 4) or not found.isfinite().all():
        raise UserError(f"{path}: {name}: expected 3 rows of 4 finite numbers; {REMEDY}")
    return found
